//! Which Rust type each type of a schema becomes.
//!
//! Records, enums and unions become types of their own, each once; all others are types that there
//! are. A record that holds itself is boxed where no list or map is between.

use crate::names::{beside, ident, pascal};
use proc_macro2::{Ident, TokenStream};
use quote::quote;
use std::collections::{HashMap, HashSet};
use tidemesh_avro::schema::{Field, Kind, Logical, Name, NodeId, Schema};

/// The types that a schema's records, enums and unions become.
pub(crate) struct Types<'s> {
    pub(crate) schema: &'s Schema,
    /// In the order of the schema's text.
    pub(crate) order: Vec<NodeId>,
    named: HashMap<NodeId, Ident>,
    /// A union that stands at two places is two nodes, so that each has its name from its place.
    unions: HashMap<NodeId, Union>,
}

/// A union that becomes a type: more than null and one other.
pub(crate) struct Union {
    pub(crate) ident: Ident,
    /// The branches that are not null, in their order.
    pub(crate) variants: Vec<(Ident, NodeId)>,
    /// The record that holds it without a list or map between, for boxes.
    pub(crate) owner: Option<NodeId>,
    /// The field that it is of, for people.
    pub(crate) place: String,
}

/// A Rust type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rust {
    Unit,
    Bool,
    I32,
    I64,
    F32,
    F64,
    Text,
    Bytes,
    Fixed(usize),
    Made(Ident),
    Boxed(Ident),
    Option(Box<Rust>),
    Vec(Box<Rust>),
    Map(Box<Rust>),
}

impl Rust {
    pub(crate) fn tokens(&self) -> TokenStream {
        match self {
            Self::Unit => quote!(()),
            Self::Bool => quote!(bool),
            Self::I32 => quote!(i32),
            Self::I64 => quote!(i64),
            Self::F32 => quote!(f32),
            Self::F64 => quote!(f64),
            Self::Text => quote!(::std::string::String),
            Self::Bytes => quote!(::std::vec::Vec<u8>),
            Self::Fixed(size) => quote!([u8; #size]),
            Self::Made(ident) => quote!(#ident),
            Self::Boxed(ident) => quote!(::std::boxed::Box<#ident>),
            Self::Option(inner) => {
                let inner = inner.tokens();
                quote!(::core::option::Option<#inner>)
            }
            Self::Vec(inner) => {
                let inner = inner.tokens();
                quote!(::std::vec::Vec<#inner>)
            }
            Self::Map(inner) => {
                let inner = inner.tokens();
                quote!(::std::collections::BTreeMap<::std::string::String, #inner>)
            }
        }
    }

    /// Whether serde would write numbers for bytes if it were not told otherwise.
    pub(crate) fn holds_bytes(&self) -> bool {
        match self {
            Self::Bytes | Self::Fixed(_) => true,
            Self::Option(inner) | Self::Vec(inner) | Self::Map(inner) => inner.holds_bytes(),
            _ => false,
        }
    }
}

impl<'s> Types<'s> {
    /// The types of a schema that is a record.
    ///
    /// # Errors
    ///
    /// What in the schema cannot be a Rust type, and the remedy.
    pub(crate) fn new(schema: &'s Schema) -> Result<Self, String> {
        let mut order = Vec::new();
        let mut unions = Vec::new();
        collect(schema, schema.root(), &mut order, &mut unions);
        let named = name_all(schema, &order)?;
        let mut types = Self { schema, order, named, unions: HashMap::new() };
        types.name_unions(&unions)?;
        Ok(types)
    }

    /// The identifier of a record or enum.
    pub(crate) fn ident(&self, id: NodeId) -> &Ident {
        &self.named[&id]
    }

    /// The type that a union became; none if it is `Option` of another.
    pub(crate) fn union(&self, id: NodeId) -> Option<&Union> {
        self.unions.get(&id)
    }

    /// The type of a field of `owner`, or of a branch of a union that it holds.
    pub(crate) fn rust(&self, id: NodeId, owner: Option<NodeId>) -> Rust {
        let node = self.schema.node(id);
        if matches!(node.logical, Some(Logical::Decimal { .. } | Logical::Uuid)) {
            return Rust::Text;
        }
        match &node.kind {
            Kind::Null => Rust::Unit,
            Kind::Boolean => Rust::Bool,
            Kind::Int => Rust::I32,
            Kind::Long => Rust::I64,
            Kind::Float => Rust::F32,
            Kind::Double => Rust::F64,
            Kind::Bytes => Rust::Bytes,
            Kind::String => Rust::Text,
            Kind::Fixed(size) => Rust::Fixed(*size),
            Kind::Array(items) => Rust::Vec(Box::new(self.rust(*items, None))),
            Kind::Map(values) => Rust::Map(Box::new(self.rust(*values, None))),
            Kind::Enum { .. } => Rust::Made(self.ident(id).clone()),
            Kind::Record(_) => {
                let ident = self.ident(id).clone();
                let boxed = owner.is_some_and(|owner| self.reaches(id, owner));
                if boxed { Rust::Boxed(ident) } else { Rust::Made(ident) }
            }
            Kind::Union(branches) => self.union_type(id, branches, owner),
        }
    }

    fn union_type(&self, id: NodeId, branches: &[NodeId], owner: Option<NodeId>) -> Rust {
        let others = not_null(self.schema, branches);
        let inner = match (self.union(id), others.first()) {
            (Some(union), _) => Rust::Made(union.ident.clone()),
            (None, Some(only)) => self.rust(*only, owner),
            (None, None) => return Rust::Unit,
        };
        let optional = others.len() < branches.len();
        if optional { Rust::Option(Box::new(inner)) } else { inner }
    }

    /// Whether a value of the record `from` holds one of `to` without a list or map between.
    fn reaches(&self, from: NodeId, to: NodeId) -> bool {
        let mut seen = HashSet::new();
        let mut stack = vec![from];
        while let Some(id) = stack.pop() {
            if id == to {
                return true;
            }
            if !seen.insert(id) {
                continue;
            }
            match &self.schema.node(id).kind {
                Kind::Record(fields) => stack.extend(fields.iter().map(|field| field.node)),
                Kind::Union(branches) => stack.extend(branches),
                _ => {}
            }
        }
        false
    }

    fn name_unions(&mut self, found: &[Found<'_>]) -> Result<(), String> {
        let mut taken: HashSet<String> = self.named.values().map(Ident::to_string).collect();
        for found in found {
            let Kind::Union(branches) = &self.schema.node(found.id).kind else { continue };
            let record = self.ident(found.record).to_string();
            let place = format!("{}.{}", self.full_name(found.record), found.field.name);
            let name = format!("{record}{}{}", pascal(&found.field.name), found.within);
            let free = [name.clone(), format!("{name}Union")]
                .into_iter()
                .find(|name| taken.insert(name.clone()))
                .ok_or_else(|| {
                    format!(
                        "the union of {place} would be {name:?}, as another type is: rename one"
                    )
                })?;
            let union = Union {
                ident: ident(&free)?,
                variants: self.variants(branches).map_err(|why| format!("{place}: {why}"))?,
                owner: found.by_value.then_some(found.record),
                place,
            };
            self.unions.insert(found.id, union);
        }
        Ok(())
    }

    fn variants(&self, branches: &[NodeId]) -> Result<Vec<(Ident, NodeId)>, String> {
        let others = not_null(self.schema, branches);
        let pair = |id: &NodeId| {
            let written = branch_name(self.schema, *id);
            match self.named.get(id) {
                Some(ident) => (written.replace('.', "_"), ident.to_string()),
                None => {
                    let simple = self.schema.node(*id).name.as_ref().map(|name| name.name.clone());
                    (written.replace('.', "_"), pascal(simple.as_deref().unwrap_or(&written)))
                }
            }
        };
        let pairs: Vec<(String, String)> = others.iter().map(pair).collect();
        Ok(beside(&pairs)?.into_iter().zip(others).collect())
    }

    /// A named type's full name.
    pub(crate) fn full_name(&self, id: NodeId) -> String {
        branch_name(self.schema, id)
    }
}

/// How Avro names a type within a union: by its full name, else by what it is.
pub(crate) fn branch_name(schema: &Schema, id: NodeId) -> String {
    let node = schema.node(id);
    match &node.name {
        Some(name) => name.to_string(),
        None => node.type_name().to_lowercase(),
    }
}

/// The branches of a union but for null.
pub(crate) fn not_null(schema: &Schema, branches: &[NodeId]) -> Vec<NodeId> {
    let other = |id: &NodeId| !matches!(schema.node(*id).kind, Kind::Null);
    branches.iter().copied().filter(other).collect()
}

/// A union of more than null and one other, where it stands.
struct Found<'s> {
    id: NodeId,
    record: NodeId,
    field: &'s Field,
    /// The way to it from the field: a word for each list, map and branch.
    within: String,
    by_value: bool,
}

/// Finds the records, enums and unions that become types, in the order of the text.
fn collect<'s>(
    schema: &'s Schema,
    id: NodeId,
    order: &mut Vec<NodeId>,
    unions: &mut Vec<Found<'s>>,
) {
    match &schema.node(id).kind {
        _ if order.contains(&id) => {}
        Kind::Enum { .. } => order.push(id),
        Kind::Record(fields) => {
            order.push(id);
            for field in fields {
                let found = Found {
                    id: field.node,
                    record: id,
                    field,
                    within: String::new(),
                    by_value: true,
                };
                inside(schema, found, order, unions);
            }
        }
        _ => {}
    }
}

fn inside<'s>(
    schema: &'s Schema,
    found: Found<'s>,
    order: &mut Vec<NodeId>,
    unions: &mut Vec<Found<'s>>,
) {
    let Found { record, field, by_value, .. } = found;
    let deeper = |id: NodeId, step: &str, by_value: bool| Found {
        id,
        record,
        field,
        within: format!("{}{step}", found.within),
        by_value,
    };
    match &schema.node(found.id).kind {
        Kind::Array(items) => inside(schema, deeper(*items, "Item", false), order, unions),
        Kind::Map(values) => inside(schema, deeper(*values, "Value", false), order, unions),
        Kind::Union(branches) => {
            let others = not_null(schema, branches);
            let next: Vec<Found<'s>> =
                others.iter().map(|branch| deeper(*branch, "", by_value)).collect();
            // Null alone is the unit, and what is null or one other is an `Option`.
            if others.len() > 1 || branches.len() == 1 && others.len() == 1 {
                unions.push(found);
            }
            for found in next {
                inside(schema, found, order, unions);
            }
        }
        _ => collect(schema, found.id, order, unions),
    }
}

/// Names the records and enums: by their own names, and by as many parts of their namespaces as are
/// needed to tell them apart. The schema's own record keeps its name.
fn name_all(schema: &Schema, order: &[NodeId]) -> Result<HashMap<NodeId, Ident>, String> {
    let names: Vec<&Name> = order.iter().filter_map(|id| schema.node(*id).name.as_ref()).collect();
    let short: Vec<String> = names.iter().map(|name| pascal(&name.name)).collect();
    let mut taken = HashSet::new();
    let mut idents = HashMap::new();
    for (index, (id, name)) in order.iter().zip(&names).enumerate() {
        let shared = short.iter().filter(|other| **other == short[index]).count() > 1;
        let parts = name.namespace.as_deref().map_or(0, |namespace| namespace.split('.').count());
        let from = usize::from(shared && index > 0);
        let free = (from..=parts)
            .map(|parts| qualified(name, parts))
            .find(|candidate| taken.insert(candidate.clone()));
        let free = free.ok_or_else(|| {
            format!(
                "{name} would be the Rust type {}, as another type of the schema is: rename one of \
                 them, or give it a namespace",
                short[index]
            )
        })?;
        idents.insert(*id, ident(&free)?);
    }
    Ok(idents)
}

/// A type's name behind the last `parts` of its namespace.
fn qualified(name: &Name, parts: usize) -> String {
    let namespace: Vec<&str> = name.namespace.iter().flat_map(|all| all.split('.')).collect();
    let from = namespace.len().saturating_sub(parts);
    let mut out: String = namespace[from..].iter().map(|part| pascal(part)).collect();
    out.push_str(&pascal(&name.name));
    out
}
