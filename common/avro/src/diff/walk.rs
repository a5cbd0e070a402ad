//! Through two schemas side by side.

use super::{Change, DIFFERENCES_MAX, Difference};
use crate::compat::promoted;
use crate::schema::{Definitions, Field, Kind, Node, NodeId, Schema};
use serde_json::{Map, Value as Json};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::mem::discriminant;

/// The most pairs of types that are compared.
const PAIRS_MAX: usize = 100_000;

/// The deepest nesting of pairs; deeper is told as cut off.
const DEPTH_MAX: usize = 256;

/// The attributes that make a logical type (specification 1.12, "Logical Types").
const LOGICAL_ATTRIBUTES: [&str; 3] = ["logicalType", "precision", "scale"];

/// The differences, and whether some are left out.
pub(super) fn walk(old: &Schema, new: &Schema) -> (Vec<Difference>, bool) {
    let mut walk = Walk {
        old,
        new,
        old_definitions: Definitions::new(old),
        new_definitions: Definitions::new(new),
        compared: HashSet::new(),
        fields: Vec::new(),
        depth: 0,
        differences: Vec::new(),
        truncated: false,
    };
    let place = Place { old: (old.root(), String::new()), new: (new.root(), String::new()) };
    walk.types(&place);
    (walk.differences, walk.truncated)
}

struct Walk<'s> {
    old: &'s Schema,
    new: &'s Schema,
    old_definitions: Definitions<'s>,
    new_definitions: Definitions<'s>,
    compared: HashSet<(NodeId, NodeId)>,
    fields: Vec<&'s str>,
    depth: usize,
    differences: Vec<Difference>,
    truncated: bool,
}

/// Two types that stand at one place, each with the pointer to it.
struct Place {
    old: (NodeId, String),
    new: (NodeId, String),
}

impl<'s> Walk<'s> {
    fn add(&mut self, place: &Place, change: Change) {
        let (old, new) = (place.old.1.clone(), place.new.1.clone());
        self.add_at(old, new, change);
    }

    fn add_at(&mut self, old_path: String, new_path: String, change: Change) {
        if self.differences.len() >= DIFFERENCES_MAX {
            self.truncated = true;
            return;
        }
        let field = (!self.fields.is_empty()).then(|| self.fields.join("."));
        self.differences.push(Difference { field, old_path, new_path, change });
    }

    fn within(&self, place: &Place, old: (NodeId, &str), new: (NodeId, &str)) -> Place {
        Place {
            old: (old.0, self.old_definitions.pointer(old.0, &place.old.1, old.1)),
            new: (new.0, self.new_definitions.pointer(new.0, &place.new.1, new.1)),
        }
    }

    /// Compares a pair of types once.
    fn types(&mut self, place: &Place) {
        let pair = (place.old.0, place.new.0);
        if !self.compared.insert(pair) {
            return;
        }
        if self.depth >= DEPTH_MAX || self.compared.len() > PAIRS_MAX || self.truncated {
            self.truncated = true;
            return;
        }
        self.depth += 1;
        self.types_inside(place);
        self.depth -= 1;
    }

    fn types_inside(&mut self, place: &Place) {
        let (old, new) = (self.old.node(place.old.0), self.new.node(place.new.0));
        match (&old.kind, &new.kind) {
            (Kind::Union(_), _) | (_, Kind::Union(_)) => return self.unions(place),
            (a, b) if discriminant(a) != discriminant(b) => return self.other_type(place),
            _ => {}
        }
        self.heads(place, old, new);
        match (&old.kind, &new.kind) {
            (Kind::Array(a), Kind::Array(b)) => {
                self.types(&self.within(place, (*a, "items"), (*b, "items")));
            }
            (Kind::Map(a), Kind::Map(b)) => {
                self.types(&self.within(place, (*a, "values"), (*b, "values")));
            }
            (Kind::Fixed(from), Kind::Fixed(to)) if from != to => {
                self.add(place, Change::SizeChanged { from: *from, to: *to });
            }
            (Kind::Enum { symbols: a, default: from }, Kind::Enum { symbols: b, default: to }) => {
                self.symbols(place, a, b);
                if from != to {
                    let (from, to) = (from.clone(), to.clone());
                    self.add(place, Change::EnumDefaultChanged { from, to });
                }
            }
            (Kind::Record(a), Kind::Record(b)) => self.record(place, a, b),
            _ => {}
        }
    }

    fn other_type(&mut self, place: &Place) {
        let (old, new) = (self.old.node(place.old.0), self.new.node(place.new.0));
        let (from, to) = (self.old.short_type(place.old.0), self.new.short_type(place.new.0));
        self.add(
            place,
            if promoted(&old.kind, &new.kind) {
                Change::TypePromoted { from, to }
            } else {
                Change::TypeChanged { from, to }
            },
        );
    }

    /// What types of one kind carry beside what is within them.
    fn heads(&mut self, place: &Place, old: &Node, new: &Node) {
        if let (Some(a), Some(b)) = (&old.name, &new.name)
            && a != b
        {
            let aliased = new.aliases.contains(a);
            let (from, to) = (a.to_string(), b.to_string());
            self.add(place, Change::Renamed { from, to, aliased });
        }
        if old.logical != new.logical {
            let json = |node: &Node| {
                let mut object = Map::new();
                object.insert("type".into(), node.type_name().to_lowercase().into());
                object.extend(node.properties.clone());
                Json::Object(object)
            };
            self.add(place, Change::LogicalTypeChanged { from: json(old), to: json(new) });
        }
        let names = |node: &Node| node.aliases.iter().map(ToString::to_string).collect::<Vec<_>>();
        self.aliases(place, names(old), names(new));
        self.doc(place, old.doc.as_ref(), new.doc.as_ref());
        self.attributes(place, &old.properties, &new.properties, old.logical != new.logical);
    }

    fn aliases(&mut self, place: &Place, from: Vec<String>, to: Vec<String>) {
        let set = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        if set(&from) != set(&to) {
            self.add(place, Change::AliasesChanged { from, to });
        }
    }

    fn doc(&mut self, place: &Place, from: Option<&String>, to: Option<&String>) {
        if from != to {
            let (from, to) = (from.cloned(), to.cloned());
            self.add(place, Change::DocChanged { from, to });
        }
    }

    /// `told_as_logical`: the attributes of logical types are told already. Of logical types that are
    /// not known, or do not fit, they are attributes as others.
    fn attributes(
        &mut self,
        place: &Place,
        old: &Map<String, Json>,
        new: &Map<String, Json>,
        told_as_logical: bool,
    ) {
        let more = new.keys().filter(|name| !old.contains_key(*name));
        for name in old.keys().chain(more) {
            let (from, to) = (old.get(name).cloned(), new.get(name).cloned());
            if from != to && !(told_as_logical && LOGICAL_ATTRIBUTES.contains(&name.as_str())) {
                self.add(place, Change::AttributeChanged { name: name.clone(), from, to });
            }
        }
    }

    fn symbols(&mut self, place: &Place, old: &[String], new: &[String]) {
        let without = |these: &[String], those: &[String]| -> Vec<String> {
            let those: HashSet<&String> = those.iter().collect();
            these.iter().filter(|symbol| !those.contains(symbol)).cloned().collect()
        };
        let (added, removed) = (without(new, old), without(old, new));
        if without(old, &removed) != without(new, &added) {
            self.add(place, Change::SymbolsReordered);
        }
        if !added.is_empty() {
            self.add(place, Change::SymbolsAdded(added));
        }
        if !removed.is_empty() {
            self.add(place, Change::SymbolsRemoved(removed));
        }
    }

    fn record(&mut self, place: &Place, old: &'s [Field], new: &'s [Field]) {
        let sources = matched(old, new);
        let taken: Vec<usize> = sources.iter().flatten().copied().collect();
        if !taken.is_sorted() {
            self.add(place, Change::FieldsReordered);
        }
        for (index, (field, source)) in new.iter().zip(&sources).enumerate() {
            self.fields.push(&field.name);
            match source {
                Some(source) => self.field(place, (*source, &old[*source]), (index, field)),
                None => {
                    let data_type = self.new.short_type(field.node);
                    let change = Change::FieldAdded { data_type, default: field.default.clone() };
                    let at = format!("{}/fields/{index}", place.new.1);
                    self.add_at(place.old.1.clone(), at, change);
                }
            }
            self.fields.pop();
        }
        let taken: HashSet<usize> = taken.into_iter().collect();
        for (index, field) in old.iter().enumerate().filter(|(index, _)| !taken.contains(index)) {
            self.fields.push(&field.name);
            let data_type = self.old.short_type(field.node);
            let change = Change::FieldRemoved { data_type, default: field.default.clone() };
            let at = format!("{}/fields/{index}", place.old.1);
            self.add_at(at, place.new.1.clone(), change);
            self.fields.pop();
        }
    }

    fn field(&mut self, around: &Place, old: (usize, &'s Field), new: (usize, &'s Field)) {
        let (old_step, new_step) = (format!("fields/{}", old.0), format!("fields/{}", new.0));
        let (old, new) = (old.1, new.1);
        let place = Place {
            old: (old.node, format!("{}/{old_step}", around.old.1)),
            new: (new.node, format!("{}/{new_step}", around.new.1)),
        };
        if old.name != new.name {
            let (from, to) = (old.name.clone(), new.name.clone());
            self.add(&place, Change::FieldRenamed { from, to });
        }
        if old.default != new.default {
            let (from, to) = (old.default.clone(), new.default.clone());
            self.add(&place, Change::DefaultChanged { from, to });
        }
        self.aliases(&place, old.aliases.clone(), new.aliases.clone());
        self.doc(&place, old.doc.as_ref(), new.doc.as_ref());
        if old.order != new.order {
            let json = |field: &Field| field.order.clone().map(Json::from);
            let name = "order".to_owned();
            let (from, to) = (json(old), json(new));
            self.add(&place, Change::AttributeChanged { name, from, to });
        }
        self.attributes(&place, &old.properties, &new.properties, false);
        let types = self.within(&place, (old.node, "type"), (new.node, "type"));
        self.types(&types);
    }

    /// Two unions, or a union and a type, which is as one with one branch.
    fn unions(&mut self, place: &Place) {
        let old = branches(self.old, place.old.0);
        let new = branches(self.new, place.new.0);
        let pairs = self.paired(&old, &new);
        let sources: Vec<usize> = pairs.iter().flatten().copied().collect();
        if !sources.is_sorted() {
            self.add(place, Change::BranchesReordered);
        }
        for (index, (id, source)) in new.iter().zip(&pairs).enumerate() {
            match source {
                Some(source) => {
                    let inner = self.branch(place, (old[*source], *source), (*id, index));
                    self.types(&inner);
                }
                None => {
                    let added = Change::BranchAdded(self.new.short_type(*id));
                    let inner = self.branch(place, (place.old.0, 0), (*id, index));
                    self.add_at(place.old.1.clone(), inner.new.1, added);
                }
            }
        }
        let kept: HashSet<usize> = sources.into_iter().collect();
        for (index, id) in old.iter().enumerate().filter(|(index, _)| !kept.contains(index)) {
            let removed = Change::BranchRemoved(self.old.short_type(*id));
            let inner = self.branch(place, (*id, index), (place.new.0, 0));
            self.add_at(inner.old.1, place.new.1.clone(), removed);
        }
    }

    /// The place of two branches; a type that is no union is its own branch.
    fn branch(&self, place: &Place, old: (NodeId, usize), new: (NodeId, usize)) -> Place {
        let mut inner =
            self.within(place, (old.0, &old.1.to_string()), (new.0, &new.1.to_string()));
        if old.0 == place.old.0 {
            inner.old.1.clone_from(&place.old.1);
        }
        if new.0 == place.new.0 {
            inner.new.1.clone_from(&place.new.1);
        }
        inner
    }

    /// For each new branch the old one that it was: of its kind and full name, else of its kind and
    /// name or alias, else of a type that is promoted to it. Unions can have very many branches.
    fn paired(&self, old: &[NodeId], new: &[NodeId]) -> Vec<Option<usize>> {
        let mut free: BTreeSet<usize> = (0..old.len()).collect();
        let mut pairs: Vec<Option<usize>> = vec![None; new.len()];
        let old_nodes: Vec<&Node> = old.iter().map(|id| self.old.node(*id)).collect();
        let full = |node: &Node| (node.type_name(), node.name.as_ref().map(ToString::to_string));
        let short = |node: &Node| (node.type_name(), node.name.as_ref().map(|n| n.name.clone()));
        let by_full = first_places(&old_nodes, full);
        let by_short = first_places(&old_nodes, short);
        let known = |node: &Node, round: usize| match round {
            0 => by_full.get(&full(node)).copied(),
            1 => by_short.get(&short(node)).copied(),
            _ => node.aliases.iter().find_map(|alias| {
                by_full.get(&(node.type_name(), Some(alias.to_string()))).copied()
            }),
        };
        for round in 0..3 {
            for (pair, id) in pairs.iter_mut().zip(new).filter(|(pair, _)| pair.is_none()) {
                *pair = known(self.new.node(*id), round).filter(|place| free.remove(place));
            }
        }
        let mut unnamed: Vec<usize> =
            free.into_iter().filter(|place| old_nodes[*place].name.is_none()).collect();
        for (pair, id) in pairs.iter_mut().zip(new).filter(|(pair, _)| pair.is_none()) {
            let fits = |place: &usize| promoted(&old_nodes[*place].kind, &self.new.node(*id).kind);
            *pair = unnamed.iter().position(fits).map(|at| unnamed.remove(at));
        }
        pairs
    }
}

/// For each key the first place that has it.
fn first_places<K: Eq + std::hash::Hash>(
    nodes: &[&Node],
    key: impl Fn(&Node) -> K,
) -> HashMap<K, usize> {
    let mut places = HashMap::new();
    for (place, node) in nodes.iter().enumerate() {
        places.entry(key(node)).or_insert(place);
    }
    places
}

/// A union's branches; a type that is none is its own.
fn branches(schema: &Schema, id: NodeId) -> Vec<NodeId> {
    match &schema.node(id).kind {
        Kind::Union(branches) => branches.clone(),
        _ => vec![id],
    }
}

/// For each new field the old one that it was: of its name, else of the first of its aliases that is
/// no new field's name.
fn matched(old: &[Field], new: &[Field]) -> Vec<Option<usize>> {
    let places: HashMap<&str, usize> =
        old.iter().enumerate().map(|(place, field)| (field.name.as_str(), place)).collect();
    let mut taken: HashSet<&str> = new.iter().map(|field| field.name.as_str()).collect();
    let source = |field: &Field| places.get(field.name.as_str()).copied();
    let mut sources: Vec<Option<usize>> = new.iter().map(source).collect();
    for (field, source) in new.iter().zip(&mut sources).filter(|(_, source)| source.is_none()) {
        let mut aliases = field.aliases.iter().map(String::as_str);
        let alias = aliases.find(|alias| places.contains_key(alias) && !taken.contains(alias));
        if let Some(alias) = alias {
            taken.insert(alias);
            *source = places.get(alias).copied();
        }
    }
    sources
}
