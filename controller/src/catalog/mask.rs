//! Which fields samples of a topic hide, and hiding them: those that the catalog says so of, and what
//! pipelines have made of them. Where it cannot be told, more is hidden.

use super::said::Sayings;
use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::BTreeSet;
use tidemesh_avro::schema::{Field, Kind, Schema};
use tidemesh_plan::lineage::Via;
use tidemesh_plan::mesh::{MeshPlan, OutputKind, Whence};
use tidemesh_plan::relation::Relation;

/// What stands in the place of a masked value, whatever it is.
const HIDDEN: &str = "***";

/// What is hidden of a topic's records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mask {
    /// Paths of fields; each step the names that the field has, or had.
    paths: BTreeSet<Vec<BTreeSet<String>>>,
    /// The columns that a pipeline gives its topic now, where anything at all is masked. Of another column
    /// that an earlier plan gave it nobody knows any more what it was made of.
    given: Option<BTreeSet<String>>,
}

impl Mask {
    /// What is hidden of a topic, whose values have this schema now.
    pub(crate) fn of(topic: &str, value: &Schema, sayings: &Sayings, mesh: &MeshPlan) -> Self {
        let mut paths = own(topic, sayings, mesh);
        let (relation, graph) = (Relation::of_topic(None, value.clone()), mesh.graph());
        let is_of_masked = |path: &[String]| {
            let upstream = graph.upstream(topic, path);
            upstream.truncated || upstream.fields.iter().any(|from| is_masked(from, sayings, mesh))
        };
        for column in relation.iter().flat_map(|relation| {
            relation.columns.iter().map(move |column| &relation.fields()[column.place])
        }) {
            leaves(value, column, &mut Vec::new(), &mut |path| {
                if is_of_masked(path) {
                    paths.push(path.to_vec());
                }
            });
        }
        let paths = paths.iter().map(|path| with_names(value, relation.as_ref().ok(), path));
        let is_output = mesh.pipelines.iter().flat_map(|plan| &plan.outputs);
        let is_output = is_output.into_iter().any(|output| output.topic == topic);
        let given = (is_output && sayings.masks_anything()).then(|| columns(value));
        Self { paths: paths.collect(), given: given.flatten() }
    }

    /// The same for records that this schema wrote.
    pub(crate) fn for_records_of(&self, schema: &Schema) -> Cow<'_, Self> {
        let Some(given) = &self.given else { return Cow::Borrowed(self) };
        let columns = columns(schema).unwrap_or_default();
        let others: Vec<&String> = columns.difference(given).collect();
        if others.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut mask = self.clone();
        mask.paths.extend(others.into_iter().map(|name| vec![BTreeSet::from([name.clone()])]));
        Cow::Owned(mask)
    }

    /// Whether a field is hidden by itself, or with one that holds it. `path` is joined by points.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('.').collect();
        let leads_to = |masked: &Vec<BTreeSet<String>>| {
            let steps = masked.iter().zip(&path);
            masked.len() <= path.len()
                && steps.into_iter().all(|(names, step)| names.contains(*step))
        };
        self.paths.iter().any(leads_to)
    }

    /// Hides what is to be hidden, wherever in the data it stands: in the row before and after, in a
    /// key, in fields within fields. Data that are no record are hidden whole.
    pub(crate) fn hide(&self, data: &mut Json) {
        if self.paths.is_empty() || data.is_null() {
            return;
        }
        if !data.is_object() {
            *data = HIDDEN.into();
            return;
        }
        self.paths.iter().for_each(|path| hide_in(data, path));
    }
}

/// The names that the columns of rows have, or had; none if they are no rows.
fn columns(schema: &Schema) -> Option<BTreeSet<String>> {
    let relation = Relation::of_topic(None, schema.clone()).ok()?;
    let fields = relation.columns.iter().map(|column| &relation.fields()[column.place]);
    Some(fields.flat_map(of_field).cloned().collect())
}

/// The masked fields that the topic's own document names. Where none speaks of the sink that writes it now, those
/// of sinks that wrote it before are masked too: their records are in it.
fn own(topic: &str, sayings: &Sayings, mesh: &MeshPlan) -> Vec<Vec<String>> {
    let mut paths = sayings.masked_of_topic(topic);
    let mut is_told = false;
    for plan in &mesh.pipelines {
        let sinks = plan.outputs.iter().filter(|output| output.kind == OutputKind::Sink);
        for output in sinks.filter(|output| output.topic == topic) {
            paths.extend(sayings.masked_of_output(plan.name(), &output.name));
            is_told |= sayings.speaks_of(plan.name(), &output.name);
        }
    }
    if !is_told {
        paths.extend(sayings.masked_of_written(topic));
    }
    paths
}

/// Whether values have something of a field. What only decides which rows there are is in none of them.
pub(crate) fn gives_values(from: &Whence) -> bool {
    !matches!(from.via, Via::Filter | Via::LookupKey)
}

/// Whether something that a field is made of is masked.
fn is_masked(from: &Whence, sayings: &Sayings, mesh: &MeshPlan) -> bool {
    gives_values(from)
        && own(&from.topic, sayings, mesh).iter().any(|masked| overlap(masked, &from.path))
}

/// Whether one path leads to the other, or beyond it.
fn overlap(one: &[String], other: &[String]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}

/// The deepest that fields are looked at by themselves: deeper ones are hidden with those that hold them.
const DEPTH_MAX: usize = 8;

/// A field's path and those within it.
fn leaves(
    schema: &Schema,
    field: &Field,
    path: &mut Vec<String>,
    told: &mut impl FnMut(&[String]),
) {
    path.push(field.name.clone());
    told(path);
    if path.len() < DEPTH_MAX {
        within(schema, field).iter().for_each(|field| leaves(schema, field, path, told));
    }
    path.pop();
}

/// A path with all the names that its fields have or had: records may be of an earlier schema, and the
/// document of an earlier name.
fn with_names(
    value: &Schema,
    relation: Option<&Relation>,
    path: &[String],
) -> Vec<BTreeSet<String>> {
    let mut fields: &[Field] = relation.map(Relation::fields).unwrap_or_default();
    let mut names = Vec::new();
    for step in path {
        let mut known = BTreeSet::from([step.clone()]);
        let is_it = |field: &&Field| of_field(field).any(|name| name == step);
        let found = fields.iter().find(is_it);
        known.extend(found.into_iter().flat_map(of_field).cloned());
        fields = found.map(|field| within(value, field)).unwrap_or_default();
        names.push(known);
    }
    names
}

fn of_field(field: &Field) -> impl Iterator<Item = &String> {
    let source = match field.properties.get("source.name") {
        Some(Json::String(name)) => Some(name),
        _ => None,
    };
    [&field.name].into_iter().chain(&field.aliases).chain(source)
}

/// The fields within a field, through what may be null, and lists.
fn within<'s>(schema: &'s Schema, field: &Field) -> &'s [Field] {
    let mut open = vec![field.node];
    while let Some(node) = open.pop() {
        match &schema.node(node).kind {
            Kind::Union(branches) => open.extend(branches),
            Kind::Array(items) | Kind::Map(items) => open.push(*items),
            Kind::Record(fields) => return fields,
            _ => {}
        }
    }
    &[]
}

/// Hides what a path leads to, from here and from anything within: an envelope holds rows, a list
/// records.
fn hide_in(data: &mut Json, path: &[BTreeSet<String>]) {
    match data {
        Json::Array(items) => items.iter_mut().for_each(|item| hide_in(item, path)),
        Json::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                hide_in(field, path);
                if let Some((first, rest)) = path.split_first()
                    && first.contains(name)
                {
                    hide_at(field, rest);
                }
            }
        }
        _ => {}
    }
}

fn hide_at(data: &mut Json, rest: &[BTreeSet<String>]) {
    if rest.is_empty() {
        *data = HIDDEN.into();
    } else {
        hide_in(data, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn mask(paths: &[&str]) -> Mask {
        let step = |name: &str| BTreeSet::from([name.to_owned()]);
        let paths = paths.iter().map(|path| path.split('.').map(step).collect());
        Mask { paths: paths.collect(), given: None }
    }

    #[test]
    fn a_masked_field_is_seen_in_no_form() {
        let mask = mask(&["email", "address.street"]);
        let row = json!({"id": 1, "email": "e@x", "address": {"street": "Long", "city": "C"}});
        let lists = json!({"address": [{"street": "Long"}, null], "email": null});
        let mut value = json!({"before": row, "after": lists, "op": "u"});
        mask.hide(&mut value);
        let hidden = json!({"id": 1, "email": "***", "address": {"street": "***", "city": "C"}});
        let after = json!({"address": [{"street": "***"}, null], "email": "***"});
        assert_eq!(value, json!({"before": hidden, "after": after, "op": "u"}));
        let mut key = json!({"email": "e@x"});
        mask.hide(&mut key);
        assert_eq!(key, json!({"email": "***"}));
        for other in [json!("e@x"), json!(["e@x"]), json!(7)] {
            let mut data = other;
            mask.hide(&mut data);
            assert_eq!(data, json!("***"), "nobody knows what it is");
        }
    }

    #[test]
    fn names_that_a_field_had_are_hidden_too() {
        let schema = Schema::parse(
            r#"{"type": "record", "name": "V", "fields": [
                {"name": "mail", "type": "string", "aliases": ["email", "e"]},
                {"name": "other", "type": "string"}]}"#,
        );
        let schema = schema.unwrap();
        let relation = Relation::of_topic(None, schema.clone()).unwrap();
        let path = with_names(&schema, Some(&relation), &["email".to_owned()]);
        let mask = Mask { paths: BTreeSet::from([path]), given: None };
        let mut value = json!({"mail": "a", "email": "b", "e": "c", "other": "d"});
        mask.hide(&mut value);
        assert_eq!(value, json!({"mail": "***", "email": "***", "e": "***", "other": "d"}));
    }

    #[test]
    fn a_column_that_an_earlier_plan_wrote_is_hidden() {
        let schema = |fields: &str| {
            let text = format!(r#"{{"type": "record", "name": "V", "fields": [{fields}]}}"#);
            Schema::parse(&text).unwrap()
        };
        let id = r#"{"name": "id", "type": "long"}"#;
        let (now, before) =
            (schema(id), schema(&format!(r#"{id}, {{"name": "email", "type": "string"}}"#)));
        let mask = Mask { paths: BTreeSet::new(), given: columns(&now) };
        assert_eq!(*mask.for_records_of(&now), mask);
        let mut row = json!({"id": 1, "email": "e@x"});
        mask.for_records_of(&before).hide(&mut row);
        assert_eq!(row, json!({"id": 1, "email": "***"}));
        let open = Mask::default();
        assert_eq!(*open.for_records_of(&before), open, "nothing is masked anywhere");
    }

    #[test]
    fn a_field_is_masked_with_what_holds_it() {
        let mask = mask(&["email", "address.street"]);
        for (path, masked) in [
            ("email", true),
            ("email.host", true),
            ("address", false),
            ("address.street", true),
            ("address.street.number", true),
            ("address.city", false),
        ] {
            assert_eq!(mask.has(path), masked, "{path}");
        }
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let name = prop_oneof![Just("secret".to_owned()), "[a-c]"];
        let leaf =
            prop_oneof![Just(json!(null)), Just(json!("hush")), any::<i64>().prop_map(Json::from)];
        leaf.prop_recursive(4, 32, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map(name.clone(), inner, 0..4)
                    .prop_map(|fields| Json::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn secrets(data: &Json) -> Vec<&Json> {
        match data {
            Json::Array(items) => items.iter().flat_map(secrets).collect(),
            Json::Object(fields) => {
                let within = fields.values().flat_map(secrets);
                fields.get("secret").into_iter().chain(within).collect()
            }
            _ => Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn whatever_the_data_are_a_masked_name_has_nothing(mut data in any_json()) {
            mask(&["secret"]).hide(&mut data);
            prop_assert!(secrets(&data).iter().all(|value| **value == json!("***")));
        }
    }
}
