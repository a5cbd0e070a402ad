//! Whether a reader gets its fields from a writer's records, by the means of `common/avro`: each field
//! projected out of both schemas, and what differs between the two.

use super::facts::Raw;
use crate::mesh::Path;
use crate::upgrade::changes::row_of;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use tidemesh_avro::alike::named_as;
use tidemesh_avro::compat::{Direction, incompatibilities};
use tidemesh_avro::consumption::{Reads, unreadable};
use tidemesh_avro::diff::{Change, Difference, diff};
use tidemesh_avro::project::{FieldPath, project};
use tidemesh_avro::schema::{Field, Kind, NodeId, Schema};

/// Whether the reader of `read` gets what it consumes from records of `written`, with the same meaning.
/// `older` records may lack a field that has a default; of newer ones it would be gone.
pub(super) fn gets(read: &Raw, consumed: &BTreeSet<Path>, written: &Raw, older: bool) -> bool {
    let (Some((_, own)), Some((_, other))) = (read.parsed(), written.parsed()) else {
        return false;
    };
    same_fields(read, consumed, written, older) && whole(&row(&own), consumed, &row(&other))
}

/// As [`gets`], for a reader of which only the fields count, not how it goes through rows.
pub(super) fn same_fields(
    read: &Raw,
    consumed: &BTreeSet<Path>,
    written: &Raw,
    older: bool,
) -> bool {
    let (Some(read), Some(written)) = (read.parsed(), written.parsed()) else { return false };
    let own = row(&read.1);
    // Rows are gone through by what fields are called, whatever their types are.
    let other = named_as(&row(&written.1), &own);
    let paths: Option<BTreeSet<FieldPath>> =
        consumed.iter().map(|path| path.join(".").parse().ok()).collect();
    let Some(paths) = paths else { return false };
    let reads = Reads::Fields(paths.clone());
    let readable = unreadable(&own, &reads, &other, Direction::Backward);
    is_enveloped(&read.1) == is_enveloped(&written.1)
        && (!is_keyed(read.0.as_ref(), &own) || same_key(read.0.as_ref(), written.0.as_ref()))
        && readable.is_ok_and(|found| found.is_empty())
        && paths.iter().all(|path| field(&own, path, &other, older))
}

fn row(value: &Schema) -> Schema {
    value.at(row_of(value))
}

fn is_enveloped(value: &Schema) -> bool {
    row_of(value) != value.root()
}

/// Whether one field is in both, and nothing of it is lost or means something else.
fn field(own: &Schema, path: &FieldPath, other: &Schema, older: bool) -> bool {
    let Ok(read) = project(own, [path]) else { return false };
    let Ok(written) = project(other, [path]) else {
        return older || has_former_name(own, path, other);
    };
    let found = diff(&read, &written);
    let all = &found.differences;
    let one = |each: &Difference| match &each.change {
        // A branch that stands in another's place is a type that has changed.
        Change::BranchAdded(to) => all.iter().any(|other| match &other.change {
            Change::BranchRemoved(from) => other.field == each.field && exact(to, from),
            _ => false,
        }),
        change => harmless(change, older),
    };
    !found.truncated && all.iter().all(one)
}

/// Whether the reader's field had a name that the writer still has.
fn has_former_name(own: &Schema, path: &FieldPath, other: &Schema) -> bool {
    let first = &path.steps()[0];
    let names: Vec<&String> = fields(other).iter().map(|field| &field.name).collect();
    let mut own = fields(own).iter();
    let field = own.find(|field| field.name == *first);
    !names.contains(&first)
        && field.is_some_and(|field| field.aliases.iter().any(|alias| names.contains(&alias)))
}

fn fields(record: &Schema) -> &[Field] {
    match &record.node(record.root()).kind {
        Kind::Record(fields) => fields,
        _ => &[],
    }
}

/// Whether a difference from the reader's field to the writer's leaves it what it is.
fn harmless(change: &Change, older: bool) -> bool {
    match change {
        Change::FieldRemoved { .. } | Change::FieldRenamed { .. } => older,
        Change::TypePromoted { from, to } | Change::TypeChanged { from, to } => exact(to, from),
        Change::LogicalTypeChanged { from, to } => one_scale(from, to),
        Change::SizeChanged { .. } | Change::SymbolsAdded(_) => false,
        _ => true,
    }
}

fn exact(written: &str, read: &str) -> bool {
    [("int", "long"), ("int", "double"), ("float", "double")].contains(&(written, read))
}

/// Whether both are decimals of one scale.
fn one_scale(read: &Json, written: &Json) -> bool {
    let decimal = |of: &Json| of["logicalType"] == "decimal";
    let scale = |of: &Json| of.get("scale").and_then(Json::as_u64).unwrap_or_default();
    decimal(read) && decimal(written) && scale(read) == scale(written)
}

/// Whether no field of both has another logical type.
pub(super) fn same_units(old: &Schema, new: &Schema) -> bool {
    let (old, new) = (row(old), row(new));
    let same = |change: &Change| match change {
        Change::LogicalTypeChanged { from, to } => one_scale(from, to),
        _ => true,
    };
    let unit = |one: &Field, other: &Field| unit(&old, one) == unit(&new, other);
    let is_same = |one: &Field| {
        let mut others = fields(&new).iter();
        let known = |other: &&Field| other.name == one.name || other.aliases.contains(&one.name);
        others.find(known).is_none_or(|other| unit(one, other))
    };
    diff(&old, &new).differences.iter().all(|each| same(&each.change))
        && fields(&old).iter().all(is_same)
}

/// A field's logical type, with the scale of a decimal; of a union of one type and null that one's.
fn unit(row: &Schema, field: &Field) -> Option<(String, Option<u64>)> {
    let is_null = |id: &NodeId| matches!(row.node(*id).kind, Kind::Null);
    let of = match &row.node(field.node).kind {
        Kind::Union(branches) => branches.iter().copied().find(|id| !is_null(id))?,
        _ => field.node,
    };
    let properties = &row.node(of).properties;
    let name = properties.get("logicalType")?.as_str()?.to_owned();
    Some((name, properties.get("scale").and_then(Json::as_u64)))
}

/// Where a column that something is read of has another type, all such columns have to be resolved.
fn whole(own: &Schema, consumed: &BTreeSet<Path>, other: &Schema) -> bool {
    let columns: BTreeSet<&String> = consumed.iter().filter_map(|path| path.first()).collect();
    let (mut alike, named) = (true, named_as(other, own));
    for column in columns {
        let Ok(path) = column.parse::<FieldPath>() else { return false };
        let (Ok(read), Ok(written)) = (project(own, [&path]), project(&named, [&path])) else {
            continue;
        };
        let all = diff(&read, &written).differences;
        let scale = |change: &Change| match change {
            Change::LogicalTypeChanged { from, to } => from["scale"] != to["scale"],
            _ => false,
        };
        if all.iter().any(|each| scale(&each.change)) {
            return false;
        }
        alike &= all.iter().all(|each| !each.change.concerns_data() || is_named(&each.change));
    }
    let taken: BTreeSet<FieldPath> =
        consumed.iter().filter_map(|path| path.first()?.parse().ok()).collect();
    let resolved = || project(own, &taken).map(|own| incompatibilities(&own, other).is_empty());
    alike || resolved().unwrap_or(false)
}

fn is_named(change: &Change) -> bool {
    matches!(change, Change::DefaultChanged { .. } | Change::Renamed { .. })
}

/// Whether the key's fields are columns, so that records with other keys would be others' rows.
fn is_keyed(key: Option<&Schema>, row: &Schema) -> bool {
    let key = key.map(fields).unwrap_or_default();
    let columns = fields(row);
    let is_column = |name: &String| columns.iter().any(|column| column.name == *name);
    !key.is_empty() && key.iter().all(|field| is_column(&field.name))
}

/// Whether two keys have the same fields of the same types, whatever their records are called.
pub(super) fn same_key(one: Option<&Schema>, other: Option<&Schema>) -> bool {
    let bare = |key: &Schema| {
        let text: Json = serde_json::from_str(&key.registry_text()).unwrap_or_default();
        unnamed(text)
    };
    one.map(bare) == other.map(bare)
}

/// A schema without its records' names, documentation and defaults.
fn unnamed(json: Json) -> Json {
    match json {
        Json::Object(mut object) => {
            let named = object.contains_key("fields") || object.contains_key("symbols");
            for name in ["namespace", "doc", "default", "aliases", "connect.name"] {
                object.shift_remove(name);
            }
            if named {
                object.shift_remove("name");
            }
            Json::Object(object.into_iter().map(|(name, of)| (name, unnamed(of))).collect())
        }
        Json::Array(items) => items.into_iter().map(unnamed).collect(),
        other => other,
    }
}
