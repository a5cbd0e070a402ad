//! A reader's schema that holds only the fields a consumer reads. Pure.
//!
//! Names, namespaces, aliases, defaults, documentation and properties stay, so that the projection
//! reads the same data as the whole. A union keeps all of its branches, since data may take any: a
//! record of which nothing is read becomes one without fields.
//!
//! A named type has one definition in a schema. Where two paths read different fields of the same
//! type (`billing.zip`, `shipping.city`), [`project`] keeps both fields in both places. Judging needs
//! it exact, and uses an inner form that keeps for each place only its own; it is never printed.

mod build;
mod path;

pub(crate) use build::Projection;
pub use path::{FIELD_PATH_STEPS_MAX, FieldPath};

use crate::schema::{Field, Kind, NodeId, Schema};
use std::collections::HashSet;
use tidemesh_model::{Error, ErrorKind, Result};

/// The most fields that an error about a missing one lists.
const LISTED_MAX: usize = 20;

/// `schema` with only the fields at `paths` and what is within and around them. Without paths the
/// root record has no fields.
///
/// # Errors
///
/// `NotFound` for a path that the schema does not have, with the fields that stand there instead;
/// `TooLarge` if the projection would have too many types.
pub fn project<'p>(
    schema: &Schema,
    paths: impl IntoIterator<Item = &'p FieldPath>,
) -> Result<Schema> {
    let paths: Vec<&FieldPath> = paths.into_iter().collect();
    paths.iter().try_for_each(|path| find(schema, path))?;
    build::merged(schema, &paths)
}

/// As [`project`], with exactly the fields of each path. Paths that the schema does not have are
/// answered beside it.
pub(crate) fn project_exactly<'s, 'p>(
    schema: &'s Schema,
    paths: impl IntoIterator<Item = &'p FieldPath>,
) -> Result<(Projection<'s>, Vec<FieldPath>)> {
    let (found, missing): (Vec<&FieldPath>, Vec<&FieldPath>) =
        paths.into_iter().partition(|path| find(schema, path).is_ok());
    Ok((build::exact(schema, &found)?, missing.into_iter().cloned().collect()))
}

/// Whether the schema has the field.
///
/// # Errors
///
/// `NotFound`, with what is there instead.
pub fn find(schema: &Schema, path: &FieldPath) -> Result<()> {
    let mut around = vec![schema.root()];
    for (step, name) in path.steps().iter().enumerate() {
        let records = records_of(schema, &around);
        around = records
            .iter()
            .flat_map(|fields| fields.iter().filter(|field| field.name == *name))
            .map(|field| field.node)
            .collect();
        if around.is_empty() {
            return Err(missing(path, step, &records));
        }
    }
    Ok(())
}

fn missing(path: &FieldPath, step: usize, records: &[&[Field]]) -> Error {
    let name = &path.steps()[step];
    let within = path.steps()[..step].join(".");
    let error = Error::new(ErrorKind::NotFound, "find a field").with("path", path);
    let place = if within.is_empty() { "the schema".to_owned() } else { format!("`{within}`") };
    if records.is_empty() {
        return error.because(format!("{place} is no record: no field is within it"));
    }
    let mut fields = records.iter().flat_map(|fields| fields.iter());
    if let Some(other) = fields.clone().find(|field| field.aliases.contains(name)) {
        let message = format!("{place} has no field `{name}`; it is called `{}` now", other.name);
        return error.because(message);
    }
    let names: Vec<&str> =
        fields.by_ref().take(LISTED_MAX).map(|field| field.name.as_str()).collect();
    let more = if fields.next().is_some() { ", …" } else { "" };
    let message = format!("{place} has no field `{name}`; it has: {}{more}", names.join(", "));
    error.because(message)
}

/// The fields of the records that types are, or that are their elements, values or branches.
fn records_of<'s>(schema: &'s Schema, types: &[NodeId]) -> Vec<&'s [Field]> {
    let (mut seen, mut stack) = (HashSet::new(), types.to_vec());
    let mut records: Vec<&[Field]> = Vec::new();
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        match &schema.node(id).kind {
            Kind::Array(inner) | Kind::Map(inner) => stack.push(*inner),
            Kind::Union(branches) => stack.extend(branches.iter().rev()),
            Kind::Record(fields) => records.push(fields),
            _ => {}
        }
    }
    records
}

#[cfg(test)]
mod tests;
