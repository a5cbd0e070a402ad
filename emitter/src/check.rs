//! What an emitter declares, checked against the registry before anything is deployed: nothing is
//! registered, no topic is made.

use crate::register::{Declared, check, keyless};
use serde::{Deserialize, Serialize};
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};
use tidemesh_transport::RegistryClient;

/// A topic that an emitter declares: what `tidemesh schema check --emitter` reads, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// The topic.
    pub topic: String,
    /// Its schema, as text.
    pub schema: String,
    /// The fields of its key.
    #[serde(default)]
    pub key: Vec<String>,
    /// How it is cleaned up; a topic that is compacted has another key's schema.
    #[serde(default = "events")]
    pub cleanup_policy: CleanupPolicy,
    /// What stands before the topic's name in Kafka, and in the registry's subjects: `kafka.prefix`.
    #[serde(default)]
    pub prefix: String,
}

/// What an emitter's topic is made with.
const fn events() -> CleanupPolicy {
    CleanupPolicy::Delete
}

/// What the registry makes of a declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The topic.
    pub topic: String,
    /// Whether an emitter that declares it may start.
    pub is_compatible: bool,
    /// Why not.
    pub messages: Vec<String>,
}

impl Declaration {
    /// What an emitter is told of a topic; none if its schema is to be found in the registry.
    pub(crate) fn of(declared: &Declared, prefix: &str) -> Option<Self> {
        let Declared { topic, schema, key, settings } = declared;
        let schema = schema.clone()?;
        let cleanup_policy = settings.config.cleanup_policy;
        let (topic, key, prefix) = (topic.clone(), key.clone(), prefix.to_owned());
        Some(Self { topic, schema, key, cleanup_policy, prefix })
    }

    /// Reads a list of declarations, as [`EmitterBuilder::declarations`](crate::EmitterBuilder::declarations)
    /// is written by serde.
    ///
    /// # Errors
    ///
    /// `Malformed` with line and column.
    pub fn read(text: &str) -> Result<Vec<Self>> {
        serde_json::from_str(text).map_err(|error| {
            Error::new(ErrorKind::Malformed, "read an emitter's declarations")
                .caused_by(error)
                .help("write them by serde from `EmitterBuilder::declarations`")
        })
    }
}

/// Checks declarations against a registry.
///
/// # Errors
///
/// `Unavailable` if it is away, and what else it answers that says nothing of the declarations.
pub async fn check_declarations(
    registry: &RegistryClient,
    declarations: &[Declaration],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::with_capacity(declarations.len());
    for declaration in declarations {
        let messages = messages(registry, declaration).await?;
        let topic = declaration.topic.clone();
        findings.push(Finding { topic, is_compatible: messages.is_empty(), messages });
    }
    Ok(findings)
}

/// What speaks against a declaration.
async fn messages(registry: &RegistryClient, declaration: &Declaration) -> Result<Vec<String>> {
    let Declaration { topic, schema, key, cleanup_policy, prefix } = declaration;
    let key_schema = match check(topic, schema, key) {
        Ok(checked) => checked.key_schema(*cleanup_policy),
        Err(error) => return Ok(vec![error.report()]),
    };
    let mut messages = Vec::new();
    let subject = format!("{prefix}{topic}-value");
    match registry.check(&subject, schema).await {
        Ok(verdict) if !verdict.is_compatible => {
            messages.push(format!("{subject}: its readers cannot follow"));
            messages.extend(verdict.messages);
        }
        Ok(_) => {}
        // A subject that there is none of takes any schema.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let subject = format!("{prefix}{topic}-key");
    let Some(key_schema) = key_schema else {
        messages.extend(keyless(registry, topic, &subject).await?.map(|error| error.report()));
        return Ok(messages);
    };
    if registry.latest(&subject).await?.is_some()
        && registry.find(&subject, &key_schema).await?.is_none()
    {
        messages.push(format!("{subject}: the topic's records have another key"));
    }
    Ok(messages)
}
