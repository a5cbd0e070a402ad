//! Schema first: before an event can be taken, its schema is registered or found, and its topic is there.

use crate::event::Event;
use crate::settings::Topic;
use serde_json::{Value as Json, json};
use std::any::TypeId;
use tidemesh_avro::emitted::{RECORDS_ARE_EVENTS, RECORDS_ATTRIBUTE};
use tidemesh_avro::name::namespace;
use tidemesh_avro::schema::{Field, Kind, NodeId, Schema};
use tidemesh_avro::serial::Plan;
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};
use tidemesh_transport::{RegistryClient, Transport, check_topic_name};

/// A topic that an emitter was told of.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) topic: String,
    /// The schema's text; none: the newest that the registry has.
    pub(crate) schema: Option<String>,
    pub(crate) key: Vec<String>,
    pub(crate) settings: Topic,
}

impl Declared {
    /// The topic of a type's events.
    pub(crate) fn of<E: Event>(settings: Topic) -> Self {
        let topic = settings.name.clone().unwrap_or_else(|| E::TOPIC.to_owned());
        let own = || E::KEY.iter().map(|&field| field.to_owned()).collect();
        let key = settings.key.clone().unwrap_or_else(own);
        Self { topic, schema: Some(E::schema().into_owned()), key, settings }
    }

    /// A topic of events of any type.
    pub(crate) fn named(topic: String, schema: Option<String>, settings: Topic) -> Self {
        let key = settings.key.clone().unwrap_or_default();
        Self { topic, schema, key, settings }
    }
}

/// Checks what can be told of all topics without asking anybody.
///
/// # Errors
///
/// `Config` where there is none, or one is there twice; as [`check`].
pub(crate) fn check_all(all: &[(Option<TypeId>, Declared)]) -> Result<()> {
    let refused = |message: &str| Error::new(ErrorKind::Config, "make an emitter").because(message);
    if all.is_empty() {
        return Err(refused("it is told of no events").help("name them: `.event::<…>()`"));
    }
    for (place, (kind, declared)) in all.iter().enumerate() {
        let before = &all[..place];
        let twice = |what: &str| Err(refused(what).with("topic", &declared.topic));
        if before.iter().any(|(_, other)| other.topic == declared.topic) {
            return twice("a topic is named twice");
        }
        if kind.is_some() && before.iter().any(|(other, _)| other == kind) {
            return twice("a type of events is named twice");
        }
        if let Some(schema) = &declared.schema {
            check(&declared.topic, schema, &declared.key)?;
        }
    }
    Ok(())
}

/// A topic with its schemas.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) topic: String,
    pub(crate) plan: Plan,
    /// The schema's text.
    pub(crate) schema: String,
    pub(crate) value_id: u32,
    pub(crate) key_id: Option<u32>,
    /// The key's schema, as text, which a spool keeps; none without a key.
    #[cfg_attr(not(feature = "spool"), expect(dead_code, reason = "a spool's alone"))]
    pub(crate) key_schema: Option<String>,
    pub(crate) key_fields: Vec<String>,
    pub(crate) partitions: u32,
}

/// What is known of a topic without asking anybody: its schema is read, its key is checked.
pub(crate) struct Checked {
    pub(crate) plan: Plan,
    /// The key's schema but for what it says of the records; none without a key.
    pub(crate) key: Option<Json>,
}

impl Checked {
    /// The key's schema in a topic that is cleaned up so, as text; none without a key.
    pub(crate) fn key_schema(&self, cleanup: CleanupPolicy) -> Option<String> {
        let mut key = self.key.clone()?;
        // Of a topic that keeps each key's newest record alone, a record is the newest state.
        if cleanup == CleanupPolicy::Delete {
            key[RECORDS_ATTRIBUTE] = RECORDS_ARE_EVENTS.into();
        }
        Some(key.to_string())
    }
}

/// Reads a topic's schema and checks its key.
///
/// # Errors
///
/// `Config` or `Malformed`, naming topic, and field or place in the schema.
pub(crate) fn check(topic: &str, schema: &str, key: &[String]) -> Result<Checked> {
    check_topic_name(topic)?;
    let about = |error: Error| error.with("topic", topic);
    let schema = Schema::parse(schema).map_err(about)?;
    let Kind::Record(fields) = &schema.node(schema.root()).kind else {
        return Err(wrong("the schema of events must be a record").with("topic", topic));
    };
    let columns = key.iter().map(|name| {
        let field = field(fields, name).map_err(about)?;
        let bare = bare_type(&schema, field.node, true).ok_or_else(|| {
            wrong("a key's field is a boolean, int, long, string or bytes, or one of these or null")
                .with("topic", topic)
                .with("field", &field.name)
        })?;
        Ok(json!({ "name": field.name, "type": bare }))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let names: Vec<&str> = key.iter().map(|name| &**name).collect();
    let plan = Plan::compile_with_key(&schema, &names).map_err(about)?;
    if key.is_empty() {
        return Ok(Checked { plan, key: None });
    }
    // Bare types only: the schema's id is part of the key's bytes, and changes with anything in it.
    let key = json!({ "type": "record", "name": "Key", "namespace": namespace(topic), "fields": columns });
    Ok(Checked { plan, key: Some(key) })
}

fn field<'f>(fields: &'f [Field], name: &str) -> Result<&'f Field> {
    fields.iter().find(|field| field.name == name).ok_or_else(|| {
        let names: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
        wrong("its schema lacks a field of the key")
            .with("field", name)
            .with("fields", names.join(", "))
    })
}

/// A type without properties that a key can have.
fn bare_type(schema: &Schema, node: NodeId, may_be_union: bool) -> Option<Json> {
    match &schema.node(node).kind {
        Kind::Boolean | Kind::Int | Kind::Long | Kind::String | Kind::Bytes => {
            Some(schema.node(node).type_name().to_ascii_lowercase().into())
        }
        Kind::Null if !may_be_union => Some("null".into()),
        Kind::Union(branches) if may_be_union && is_nullable(schema, branches) => {
            let branches = branches.iter().map(|branch| bare_type(schema, *branch, false));
            branches.collect::<Option<Vec<_>>>().map(Json::Array)
        }
        _ => None,
    }
}

/// Whether a union is one type or null.
fn is_nullable(schema: &Schema, branches: &[NodeId]) -> bool {
    let is_null = |branch: &NodeId| matches!(schema.node(*branch).kind, Kind::Null);
    branches.len() == 2 && branches.iter().any(is_null)
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::Config, "prepare a topic of events").because(message)
}

/// Registers or finds a topic's schemas, and makes it if it is not there.
///
/// # Errors
///
/// As [`register_schemas`]; `Unavailable` if topics are away.
pub(crate) async fn register<T: Transport>(
    declared: &Declared,
    registry: &RegistryClient,
    transport: &T,
) -> Result<Registered> {
    let wanted = declared.settings.config.cleanup_policy;
    // A topic that is there stays as it is, and its key's schema tells what its records are.
    let cleanup = match transport.topic(&declared.topic).await {
        Ok(info) => info.config.cleanup_policy,
        Err(error) if error.kind() == ErrorKind::NotFound => wanted,
        Err(error) => return Err(error),
    };
    let prefix = transport.topic_prefix();
    let registered = register_schemas(declared, registry, prefix, cleanup).await?;
    let info = transport.create_topic(&declared.topic, &declared.settings.config).await?;
    let partitions = u32::try_from(info.partitions.len()).unwrap_or(u32::MAX);
    Ok(Registered { partitions, ..registered })
}

/// Registers or finds the schemas of a topic that is cleaned up so, under the name that other readers know the
/// topic by; its partitions are not known then.
///
/// # Errors
///
/// As [`check`]; `Incompatible` with the registry's explanation; `NotFound` where nothing may be
/// registered, or there is nothing to find; `Unavailable` if the registry is away.
pub(crate) async fn register_schemas(
    declared: &Declared,
    registry: &RegistryClient,
    prefix: &str,
    cleanup: CleanupPolicy,
) -> Result<Registered> {
    let Declared { topic, key, settings, .. } = declared;
    let subject = format!("{prefix}{topic}-value");
    let (schema, found) = match &declared.schema {
        Some(schema) => (schema.clone(), None),
        None => newest(registry, &subject).await?,
    };
    let checked = check(topic, &schema, key)?;
    let value_id = match found {
        Some(id) => id,
        None => value_id(registry, &subject, &schema, settings.register).await?,
    };
    let key_schema = checked.key_schema(cleanup);
    let subject = format!("{prefix}{topic}-key");
    let key_id = match &key_schema {
        None => {
            if let Some(error) = keyless(registry, topic, &subject).await? {
                return Err(error);
            }
            None
        }
        Some(text) => Some(key_id(registry, &subject, text, settings.register).await?),
    };
    Ok(Registered {
        topic: topic.clone(),
        plan: checked.plan,
        schema,
        value_id,
        key_id,
        key_schema,
        key_fields: key.clone(),
        partitions: 0,
    })
}

/// Why events without a key are refused: a topic with a key would have records that come in no order beside
/// the others, and that a compacted one drops.
pub(crate) async fn keyless(
    registry: &RegistryClient,
    topic: &str,
    subject: &str,
) -> Result<Option<Error>> {
    let Some((_, schema)) = registry.latest(subject).await? else { return Ok(None) };
    let schema = Schema::parse(&schema)?;
    let names: Vec<&str> = match &schema.node(schema.root()).kind {
        Kind::Record(fields) => fields.iter().map(|field| &*field.name).collect(),
        _ => Vec::new(),
    };
    let error = wrong("the topic's records have a key, and these events are to have none");
    let error = error.with("topic", topic).with("subject", subject).with("key", names.join(", "));
    Ok(Some(
        error
            .help("name the key's fields, as by `Topic::new().key([…])`, or emit to another topic"),
    ))
}

async fn newest(registry: &RegistryClient, subject: &str) -> Result<(String, Option<u32>)> {
    let Some((id, schema)) = registry.latest(subject).await? else {
        return Err(Error::new(ErrorKind::NotFound, "prepare a topic of events")
            .because("the registry has no schema for it")
            .with("subject", subject)
            .help("register one, or give the emitter the schema"));
    };
    Ok((schema.to_string(), Some(id)))
}

async fn value_id(
    registry: &RegistryClient,
    subject: &str,
    schema: &str,
    may_register: bool,
) -> Result<u32> {
    if !may_register {
        return found(registry, subject, schema).await;
    }
    registry.register(subject, schema).await.map_err(|error| match error.kind() {
        ErrorKind::Incompatible => error.help(
            "change the schema so that its readers can follow, or emit to a topic of another name",
        ),
        _ => error,
    })
}

async fn key_id(
    registry: &RegistryClient,
    subject: &str,
    schema: &str,
    may_register: bool,
) -> Result<u32> {
    if !may_register {
        return found(registry, subject, schema).await;
    }
    registry.register_alone(subject, schema).await.map_err(|error| match error.kind() {
        ErrorKind::Incompatible => error.help(
            "emitters of one topic agree on its key's fields, their types, and its cleanup policy; \
             or emit to a topic of another name",
        ),
        _ => error,
    })
}

/// The id of a schema that must be registered already.
async fn found(registry: &RegistryClient, subject: &str, schema: &str) -> Result<u32> {
    registry.find(subject, schema).await?.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "prepare a topic of events")
            .because("its schema is not registered, and the emitter may not register it")
            .with("subject", subject)
            .help("register it, as by `tidemesh schema register`, or let the emitter register it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: &str = r#"{"type":"record","name":"Order","fields":[
        {"name":"note","type":["null","string"]},
        {"name":"id","type":{"type":"long","logicalType":"timestamp-micros"}},
        {"name":"price","type":"double"},
        {"name":"lines","type":{"type":"array","items":"int"}}]}"#;

    fn key(fields: &[&str]) -> Result<Checked> {
        let fields: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        check("shop.orders", ORDER, &fields)
    }

    #[test]
    fn a_keys_schema_has_bare_types_in_the_keys_order() {
        let schema = key(&["id", "note"]).unwrap().key.unwrap();
        assert_eq!(schema["fields"][0], json!({ "name": "id", "type": "long" }));
        assert_eq!(schema["fields"][1], json!({ "name": "note", "type": ["null", "string"] }));
        assert!(key(&[]).unwrap().key.is_none());
    }

    #[test]
    fn a_keys_schema_says_whether_each_record_stands_for_itself() {
        let says = |cleanup| key(&["id"]).unwrap().key_schema(cleanup).unwrap();
        assert!(says(CleanupPolicy::Delete).contains(r#""tidemesh.records":"events""#));
        assert!(!says(CleanupPolicy::Compact).contains("tidemesh.records"));
        assert!(key(&[]).unwrap().key_schema(CleanupPolicy::Delete).is_none());
    }

    #[test]
    fn what_cannot_be_a_key_is_named() {
        for (fields, named) in [
            (&["price"][..], "field=price"),
            (&["lines"], "field=lines"),
            (&["missing"], "fields=note, id, price, lines"),
        ] {
            let error = key(fields).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(named), "{error}");
            assert!(error.to_string().contains("topic=shop.orders"), "{error}");
        }
        for (topic, schema) in [("a b", ORDER), ("t", "{"), ("t", "\"long\"")] {
            assert!(check(topic, schema, &[]).is_err(), "{topic} {schema}");
        }
    }
}
