//! Which reader a type has, by what the catalog says of it: one line a type.
//!
//! Built-in types are known by their names in `pg_catalog`, types of extensions, which may stand in
//! any schema, by the function that sends them. What is neither is refused, or carried as text where
//! the settings say so and the server sends it as text: one that it sends in a binary form of its own
//! cannot be read, and the log's form cannot be chosen by column.

use super::composite::{Attribute, Composite};
use super::reader::Reader;
use super::text::Printer;
use std::collections::HashMap;
use tidemesh_model::NumericSpecial;

/// How deep types may be made of each other. PostgreSQL lets none contain itself.
const DEPTH_MAX: u32 = 32;

/// What the catalog says of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeInfo {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    /// `pg_type.typname`.
    pub(crate) name: String,
    /// `pg_type.typtype`: `b` base, `e` enum, `d` domain, `c` composite, `r` range, `m` multirange.
    pub(crate) kind: char,
    /// A domain's base type, its modifier and its declared dimensions.
    pub(crate) base: Option<(u32, i32, i32)>,
    /// An array's element.
    pub(crate) element: Option<u32>,
    /// What stands between this type's values in an array's text.
    pub(crate) delimiter: char,
    /// An enum's labels in order.
    pub(crate) labels: Vec<String>,
    /// A range's bounds; of a multirange its range.
    pub(crate) range_of: Option<u32>,
    /// The name of the function that sends it; none for a type without a binary form.
    pub(crate) send: Option<String>,
    /// A composite type's attributes in order.
    pub(crate) attributes: Vec<AttributeInfo>,
}

/// One attribute of a composite type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttributeInfo {
    pub(crate) number: i16,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) modifier: i32,
    pub(crate) dimensions: i32,
    pub(crate) type_text: String,
}

impl TypeInfo {
    /// All types that it is made of.
    pub(crate) fn parts(&self) -> impl Iterator<Item = u32> {
        let attributes = self.attributes.iter().map(|attribute| attribute.type_oid);
        let base = self.base.map(|(oid, _, _)| oid);
        [base, self.element, self.range_of].into_iter().flatten().chain(attributes)
    }

    fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    fn is_builtin(&self) -> bool {
        self.schema == "pg_catalog"
    }
}

/// The types that were asked for with all that they are made of, and what the settings say of types.
#[derive(Debug, Default)]
pub(crate) struct Types {
    pub(crate) infos: HashMap<u32, TypeInfo>,
    pub(crate) special: NumericSpecial,
    /// `schema.type` of those that are text by declaration.
    pub(crate) text_types: Vec<String>,
}

/// Why a type is not carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The type, which may be a part of the column's.
    pub(crate) type_name: String,
    pub(crate) why: &'static str,
    /// What to do, other than changing the column's type or leaving the table out.
    pub(crate) remedy: Option<String>,
}

type Resolved<T> = Result<T, Refused>;

impl Types {
    pub(crate) fn name(&self, oid: u32) -> &str {
        self.infos.get(&oid).map_or("unknown", |info| &info.name)
    }

    /// What the catalog says of a type.
    pub(crate) fn info(&self, oid: u32) -> Option<&TypeInfo> {
        self.infos.get(&oid)
    }

    fn find(&self, oid: u32, depth: u32) -> Resolved<&TypeInfo> {
        let refused = |why| Refused { type_name: oid.to_string(), why, remedy: None };
        if depth > DEPTH_MAX {
            return Err(refused("is made of types too deep"));
        }
        self.infos.get(&oid).ok_or_else(|| refused("is not in the catalog any more"))
    }

    /// How a column is read of type `oid`, with its modifier and its declared dimensions.
    pub(crate) fn reader(&self, oid: u32, modifier: i32, dimensions: i32) -> Resolved<Reader> {
        let info = self.find(oid, 0)?;
        match self.known_reader(oid, modifier, dimensions, 0) {
            // Only as a column of its own: within another type the server would have to send it in
            // binary.
            Err(refused) => self.declared(info, refused),
            known => known,
        }
    }

    /// A type that is not known, if it is text by declaration.
    fn declared(&self, info: &TypeInfo, refused: Refused) -> Resolved<Reader> {
        let mut base = info;
        for depth in 0..DEPTH_MAX {
            match base.base {
                Some((oid, _, _)) => base = self.find(oid, depth)?,
                None => break,
            }
        }
        let name = base.full_name();
        if base.kind != 'b' || name != refused.type_name {
            return Err(refused);
        }
        if base.send.is_some() {
            return Err(refused);
        }
        if self.text_types.contains(&name) {
            return Ok(Reader::Declared);
        }
        let remedy = format!("add {name:?} to postgres.text_types to carry it as text");
        Err(Refused { remedy: Some(remedy), ..refused })
    }

    fn known_reader(
        &self,
        oid: u32,
        modifier: i32,
        dimensions: i32,
        depth: u32,
    ) -> Resolved<Reader> {
        let info = self.find(oid, depth)?;
        if let Some((base, modifier, dimensions)) = info.base {
            return self.known_reader(base, modifier, dimensions, depth + 1);
        }
        if info.kind == 'e' {
            return Ok(Reader::Enum(info.labels.clone()));
        }
        if let Some(element) = info.element {
            if dimensions > 1 || self.is_array(element, depth + 1)? {
                return self.printer(oid, depth).map(Reader::Printed);
            }
            let element = self.known_reader(element, modifier, 0, depth + 1)?;
            return Ok(Reader::Array(Box::new(element)));
        }
        if info.kind == 'c' {
            return self.composite(info, depth).map(Reader::Composite);
        }
        if let Some(reader) = self.own(info, modifier) {
            return Ok(reader);
        }
        self.printer(oid, depth).map(Reader::Printed)
    }

    /// Whether a type is an array, or a domain over one.
    fn is_array(&self, oid: u32, depth: u32) -> Resolved<bool> {
        let info = self.find(oid, depth)?;
        match info.base {
            Some((base, _, _)) => self.is_array(base, depth + 1),
            None => Ok(info.element.is_some()),
        }
    }

    fn composite(&self, info: &TypeInfo, depth: u32) -> Resolved<Composite> {
        let attribute = |of: &AttributeInfo| {
            let reader = self.known_reader(of.type_oid, of.modifier, of.dimensions, depth + 1)?;
            Ok(Attribute {
                number: of.number,
                name: of.name.clone(),
                type_oid: of.type_oid,
                type_text: of.type_text.clone(),
                reader,
            })
        };
        Ok(Composite {
            oid: info.oid,
            schema: info.schema.clone(),
            name: info.name.clone(),
            attributes: info.attributes.iter().map(attribute).collect::<Resolved<_>>()?,
        })
    }

    /// The types that are more than text.
    fn own(&self, info: &TypeInfo, modifier: i32) -> Option<Reader> {
        if !info.is_builtin() {
            return match info.send.as_deref() {
                Some("hstore_send") => Some(Reader::Hstore),
                Some("citextsend") => Some(Reader::Text),
                _ => None,
            };
        }
        Some(match info.name.as_str() {
            "bool" => Reader::Bool,
            "int2" => Reader::Int2,
            "int4" => Reader::Int4,
            "int8" => Reader::Int8,
            "oid" => Reader::Oid,
            name if name.starts_with("reg") => Reader::Oid,
            "float4" => Reader::Float4,
            "float8" => Reader::Float8,
            "numeric" => Reader::numeric(modifier, self.special),
            "money" => Reader::Money,
            "text" | "varchar" | "bpchar" | "name" => Reader::Text,
            "json" => Reader::Json,
            "jsonb" => Reader::Jsonb,
            "bytea" => Reader::Bytea,
            "uuid" => Reader::Uuid,
            "date" => Reader::Date,
            "time" => Reader::Time,
            "timetz" => Reader::TimeTz,
            "timestamp" => Reader::Timestamp,
            "timestamptz" => Reader::TimestampTz,
            "interval" => Reader::Interval,
            _ => return None,
        })
    }

    /// How a type is written as PostgreSQL's text.
    fn printer(&self, oid: u32, depth: u32) -> Resolved<Printer> {
        let info = self.find(oid, depth)?;
        if let Some((base, _, _)) = info.base {
            return self.printer(base, depth + 1);
        }
        if let Some(element) = info.element {
            let delimiter = self.find(element, depth)?.delimiter;
            return Ok(Printer::Array(Box::new(self.printer(element, depth + 1)?), delimiter));
        }
        match (info.kind, info.range_of) {
            ('e', _) => return Ok(Printer::Text),
            ('c', _) => return self.composite_printer(info, depth),
            ('r', Some(bound)) => {
                return Ok(Printer::Range(Box::new(self.printer(bound, depth + 1)?)));
            }
            ('m', Some(range)) => {
                let bound = self.find(range, depth)?.range_of;
                let bound = bound.ok_or_else(|| unknown(info))?;
                return Ok(Printer::Multirange(Box::new(self.printer(bound, depth + 1)?)));
            }
            _ => {}
        }
        if info.is_builtin() {
            return builtin_printer(&info.name).ok_or_else(|| unknown(info));
        }
        match info.send.as_deref() {
            Some("hstore_send") => Ok(Printer::Hstore),
            Some("citextsend") => Ok(Printer::Text),
            Some("ltree_send" | "lquery_send" | "ltxtq_send") => Ok(Printer::VersionedText),
            _ => Err(unknown(info)),
        }
    }

    fn composite_printer(&self, info: &TypeInfo, depth: u32) -> Resolved<Printer> {
        let attribute =
            |of: &AttributeInfo| Ok((of.type_oid, self.printer(of.type_oid, depth + 1)?));
        Ok(Printer::Composite {
            schema: info.schema.clone(),
            name: info.name.clone(),
            attributes: info.attributes.iter().map(attribute).collect::<Resolved<_>>()?,
        })
    }
}

/// The built-in types as text.
fn builtin_printer(name: &str) -> Option<Printer> {
    Some(match name {
        "bool" => Printer::Bool,
        "int2" => Printer::Int2,
        "int4" => Printer::Int4,
        "int8" => Printer::Int8,
        "oid" | "xid" | "cid" => Printer::Unsigned4,
        name if name.starts_with("reg") => Printer::Unsigned4,
        "xid8" => Printer::Unsigned8,
        "float4" => Printer::Float4,
        "float8" => Printer::Float8,
        "numeric" => Printer::Numeric,
        "text" | "varchar" | "bpchar" | "name" | "refcursor" | "json" | "xml" => Printer::Text,
        "jsonb" | "jsonpath" => Printer::VersionedText,
        "char" => Printer::Char,
        "bytea" => Printer::Bytea,
        "uuid" => Printer::Uuid,
        "date" => Printer::Date,
        "time" => Printer::Time,
        "timetz" => Printer::TimeTz,
        "timestamp" => Printer::Timestamp,
        "timestamptz" => Printer::TimestampTz,
        "interval" => Printer::Interval,
        "inet" | "cidr" => Printer::Address,
        "macaddr" => Printer::MacAddress,
        "macaddr8" => Printer::MacAddress8,
        "bit" | "varbit" => Printer::Bits,
        "point" => Printer::Point,
        "line" => Printer::Line,
        "lseg" => Printer::Segment,
        "box" => Printer::Rectangle,
        "path" => Printer::Path,
        "polygon" => Printer::Polygon,
        "circle" => Printer::Circle,
        "tsvector" => Printer::SearchVector,
        "tsquery" => Printer::SearchQuery,
        "tid" => Printer::Tid,
        "pg_lsn" => Printer::Lsn,
        "pg_snapshot" | "txid_snapshot" => Printer::Snapshot,
        "int2vector" => Printer::Int2Vector,
        "oidvector" => Printer::OidVector,
        _ => return None,
    })
}

fn unknown(info: &TypeInfo) -> Refused {
    let why = match info {
        // Its text is of the server's locale, which the log does not tell.
        _ if info.is_builtin() && info.name == "money" => {
            "has no text of its own, as a range's bound or in an array of several dimensions needs"
        }
        TypeInfo { send: None, .. } => "is not known, and has no binary form",
        _ => "is not known, and the log carries it in a binary form of its own",
    };
    Refused { type_name: info.full_name(), why, remedy: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(oid: u32, name: &str) -> TypeInfo {
        TypeInfo {
            oid,
            schema: "pg_catalog".into(),
            name: name.into(),
            kind: 'b',
            base: None,
            element: None,
            delimiter: ',',
            labels: Vec::new(),
            range_of: None,
            send: Some(format!("{name}send")),
            attributes: Vec::new(),
        }
    }

    fn types(infos: impl IntoIterator<Item = TypeInfo>) -> Types {
        let infos = infos.into_iter().map(|info| (info.oid, info)).collect();
        Types { infos, ..Types::default() }
    }

    fn of(infos: impl IntoIterator<Item = TypeInfo>, dimensions: i32) -> Resolved<Reader> {
        types(infos).reader(1, -1, dimensions)
    }

    fn elements(of: u32) -> TypeInfo {
        TypeInfo { element: Some(of), ..info(1, "_t") }
    }

    #[test]
    fn an_array_is_what_its_column_declares() {
        let int4 = || info(2, "int4");
        let array = Reader::Array(Box::new(Reader::Int4));
        let text = Reader::Printed(Printer::Array(Box::new(Printer::Int4), ','));
        assert_eq!(of([elements(2), int4()], 0), Ok(array.clone()));
        assert_eq!(of([elements(2), int4()], 1), Ok(array.clone()));
        assert_eq!(of([elements(2), int4()], 2), Ok(text));
        let domain = |dimensions| TypeInfo {
            kind: 'd',
            base: Some((3, -1, dimensions)),
            ..info(1, "matrix")
        };
        let array_type = || TypeInfo { oid: 3, ..elements(2) };
        assert_eq!(of([domain(1), array_type(), int4()], 0), Ok(array));
        assert!(matches!(of([domain(2), array_type(), int4()], 0), Ok(Reader::Printed(_))));
    }

    #[test]
    fn an_array_of_a_domain_over_an_array_is_text() {
        let domain = TypeInfo { kind: 'd', base: Some((3, -1, 1)), ..info(2, "row") };
        let inner = TypeInfo { oid: 3, ..elements(4) };
        let element = Printer::Array(Box::new(Printer::Int4), ',');
        let expected = Reader::Printed(Printer::Array(Box::new(element), ','));
        assert_eq!(of([elements(2), domain, inner, info(4, "int4")], 1), Ok(expected));
    }

    #[test]
    fn a_type_of_a_known_name_in_another_schema_is_not_taken_for_it() {
        let refused = of([TypeInfo { schema: "mine".into(), ..info(1, "int4") }], 0).unwrap_err();
        assert_eq!(refused.type_name, "mine.int4");
        assert!(refused.why.contains("binary form of its own"), "{}", refused.why);
        assert_eq!(refused.remedy, None);
    }

    #[test]
    fn a_type_without_a_binary_form_is_text_by_declaration() {
        let seg = || TypeInfo { schema: "public".into(), send: None, ..info(1, "seg") };
        let refused = of([seg()], 0).unwrap_err();
        assert!(refused.remedy.unwrap().contains("\"public.seg\""));
        let mut declared = types([seg()]);
        declared.text_types = vec!["public.seg".into()];
        assert_eq!(declared.reader(1, -1, 0), Ok(Reader::Declared));
        let mut within = types([elements(2), TypeInfo { oid: 2, ..seg() }]);
        within.text_types = vec!["public.seg".into()];
        assert_eq!(within.reader(1, -1, 0).unwrap_err().type_name, "public.seg");
    }

    #[test]
    fn money_has_no_text() {
        let range = TypeInfo { kind: 'r', range_of: Some(2), ..info(1, "moneyrange") };
        assert!(of([range, info(2, "money")], 0).unwrap_err().why.contains("text of its own"));
    }

    #[test]
    fn a_type_made_of_itself_is_refused() {
        let domain = TypeInfo { kind: 'd', base: Some((1, -1, 0)), ..info(1, "loop") };
        assert!(of([domain], 0).unwrap_err().why.contains("too deep"));
    }
}
