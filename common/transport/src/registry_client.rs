//! The registry's client: what writers and readers of events need of Confluent's REST API.
//!
//! `schema_registry_converter` has no call for a subject's level, so the four calls stand here.

use crate::registry_access::RegistryAccess;
use crate::revision::{GoesOn, Newest, goes_on};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidemesh_avro::envelope::SchemaIds;
use tidemesh_model::{Error, ErrorKind, Result};

/// The level of the values of topics that we write: the database goes first and old readers meet new
/// data, and new readers meet old data.
const VALUE_LEVEL: &str = "FULL_TRANSITIVE";

/// The most schemas kept by id; past it the cache begins anew.
const SCHEMAS_CACHED_MAX: usize = 10_000;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many versions are asked for at once.
const VERSIONS_PAGE: usize = 1_000;

/// The most versions of a subject that are read.
const VERSIONS_MAX: usize = 20_000;

/// The media type of Confluent's contract.
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// A client of one registry. Cheap to clone; clones share their cache.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    http: reqwest::Client,
    access: Arc<RegistryAccess>,
    url: Arc<str>,
    by_id: Arc<Mutex<HashMap<u32, Arc<str>>>>,
}

/// Whether a schema may follow those of its subject.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Verdict {
    /// Whether it may.
    pub is_compatible: bool,
    /// Why not, as the registry words it.
    #[serde(default)]
    pub messages: Vec<String>,
}

#[derive(Deserialize)]
struct Registered {
    id: u32,
}

#[derive(Deserialize)]
struct Latest {
    id: u32,
    version: u32,
    schema: String,
}

/// What a subject has, and lets follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectHistory {
    /// Its level in Confluent's spelling, its own or the registry's.
    pub level: String,
    /// Its versions, the oldest first.
    pub versions: Vec<SubjectVersion>,
}

/// A version of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SubjectVersion {
    subject: String,
    /// Its number.
    pub version: u32,
    /// Its schema's id.
    pub id: u32,
    /// Its schema.
    pub schema: String,
}

#[derive(Deserialize)]
struct Level {
    #[serde(rename = "compatibilityLevel")]
    level: String,
}

#[derive(Deserialize)]
struct SchemaText {
    schema: String,
}

#[derive(Deserialize)]
struct Failure {
    error_code: i64,
    message: String,
}

impl RegistryClient {
    /// A client of the registry at `url`, as `http://127.0.0.1:8081`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `Config` if no client can be made.
    pub fn new(url: &str) -> Result<Self> {
        Self::with_access(url, RegistryAccess::default())
    }

    /// The same of a registry that asks who comes, or whose certificate the system does not know.
    ///
    /// # Errors
    ///
    /// `Config`, naming the file that cannot be used.
    pub fn with_access(url: &str, access: RegistryAccess) -> Result<Self> {
        check_url(url)?;
        let http = access.client(REQUEST_TIMEOUT)?;
        let url = url.trim_end_matches('/').into();
        Ok(Self { http, access: Arc::new(access), url, by_id: Arc::default() })
    }

    /// Registers `schema` under `subject` and answers its id; the same schema has the same id.
    ///
    /// # Errors
    ///
    /// `Incompatible` with the registry's explanation; `Unavailable` if it is away; `Malformed` if
    /// it takes the text for no schema.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32> {
        let url = format!("{}/subjects/{}/versions", self.url, escape(subject));
        let body = serde_json::json!({ "schema": schema });
        let request = self.http.post(url).json(&body);
        let registered: Registered = self.send("register a schema", subject, request).await?;
        Ok(registered.id)
    }

    /// Registers `schema` as the only one that `subject` ever has, and answers its id.
    ///
    /// # Errors
    ///
    /// `Incompatible` if the subject has another; as [`RegistryClient::register`].
    pub async fn register_alone(&self, subject: &str, schema: &str) -> Result<u32> {
        if let Some(id) = self.find(subject, schema).await? {
            return Ok(id);
        }
        let url = format!("{}/subjects/{}/versions/latest", self.url, escape(subject));
        let request = self.http.get(url);
        let latest: Result<Registered> = self.send("look up a schema", subject, request).await;
        match latest {
            Ok(other) => Err(Error::new(ErrorKind::Incompatible, "register a schema")
                .because("the subject has another schema, and each of its records' bytes has that one's id")
                .with("subject", subject)
                .with("id", other.id)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.register(subject, schema).await
            }
            Err(error) => Err(error),
        }
    }

    /// The id of `schema` under `subject`; none if it is none of the subject's versions.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the registry is away; `Malformed` if it takes the text for no schema.
    pub async fn find(&self, subject: &str, schema: &str) -> Result<Option<u32>> {
        let url = format!("{}/subjects/{}", self.url, escape(subject));
        let body = serde_json::json!({ "schema": schema });
        let request = self.http.post(url).json(&body);
        let found: Result<Registered> = self.send("look up a schema", subject, request).await;
        match found {
            Ok(registered) => Ok(Some(registered.id)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Registers the schemas of a topic that we write, under the subjects of `topic`, and answers their
    /// ids; 0 for a key that has no schema. The key's is the only one for ever, and the value's subject
    /// gets its level before it gets a schema.
    ///
    /// # Errors
    ///
    /// As [`RegistryClient::register_alone`] and [`RegistryClient::set_level`].
    pub async fn register_topic(
        &self,
        topic: &str,
        key: Option<&str>,
        value: &str,
    ) -> Result<SchemaIds> {
        let key = match key {
            None => 0,
            Some(key) => self.register_alone(&format!("{topic}-key"), key).await?,
        };
        let value_subject = format!("{topic}-value");
        self.set_level(&value_subject, VALUE_LEVEL).await?;
        let value = self.register(&value_subject, value).await?;
        Ok(SchemaIds { key, value })
    }

    /// As [`RegistryClient::register_topic`] for a topic whose records had values of the schema with the id
    /// `last`: where the registry knows `value` from before that one, it is registered once more with a
    /// property `tidemesh.revision`, so that the subject's newest version is what is written.
    ///
    /// # Errors
    ///
    /// As [`RegistryClient::register_topic`].
    pub async fn register_topic_after(
        &self,
        topic: &str,
        key: Option<&str>,
        value: &str,
        last: Option<u32>,
    ) -> Result<SchemaIds> {
        let ids = self.register_topic(topic, key, value).await?;
        if last.is_some_and(|last| last <= ids.value) {
            return Ok(ids);
        }
        let subject = format!("{topic}-value");
        let Some(newest) = self.newest(&subject).await? else { return Ok(ids) };
        let newest = Newest { id: newest.id, version: newest.version, schema: newest.schema };
        let value = match goes_on(value, ids.value, last, &newest)? {
            GoesOn::With(id) => id,
            GoesOn::Anew(value) => self.register(&subject, &value).await?,
        };
        Ok(SchemaIds { value, ..ids })
    }

    /// Sets the compatibility level of `subject`, in Confluent's spelling.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the registry is away; `Malformed` for a level it does not know.
    pub async fn set_level(&self, subject: &str, level: &str) -> Result<()> {
        let url = format!("{}/config/{}", self.url, escape(subject));
        let body = serde_json::json!({ "compatibility": level });
        let request = self.http.put(url).json(&body);
        let _: serde_json::Value = self.send("set a compatibility level", subject, request).await?;
        Ok(())
    }

    /// Asks whether `schema` may follow those of `subject`, by the subject's level.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the registry is away; `Malformed` if it takes the text for no schema.
    pub async fn check(&self, subject: &str, schema: &str) -> Result<Verdict> {
        let subject_path = escape(subject);
        let url =
            format!("{}/compatibility/subjects/{subject_path}/versions?verbose=true", self.url);
        let body = serde_json::json!({ "schema": schema });
        self.send("check a schema", subject, self.http.post(url).json(&body)).await
    }

    /// The newest schema of `subject`: its id and text; none if the subject has none.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the registry is away.
    pub async fn latest(&self, subject: &str) -> Result<Option<(u32, Arc<str>)>> {
        let newest = self.newest(subject).await?;
        Ok(newest.map(|Latest { id, schema, .. }| (id, schema.into())))
    }

    async fn newest(&self, subject: &str) -> Result<Option<Latest>> {
        let url = format!("{}/subjects/{}/versions/latest", self.url, escape(subject));
        let latest: Result<Latest> =
            self.send("look up a schema", subject, self.http.get(url)).await;
        match latest {
            Ok(latest) => Ok(Some(latest)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The level and the versions of `subject`.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the registry is away; `TooLarge` for more versions than are read.
    pub async fn history(&self, subject: &str) -> Result<SubjectHistory> {
        let doing = "look up a subject";
        let url = format!("{}/config/{}?defaultToGlobal=true", self.url, escape(subject));
        let Level { level } = self.send(doing, subject, self.http.get(url)).await?;
        let mut versions: Vec<SubjectVersion> = Vec::new();
        for offset in (0..VERSIONS_MAX).step_by(VERSIONS_PAGE) {
            let url = format!(
                "{}/schemas?subjectPrefix={}&offset={offset}&limit={VERSIONS_PAGE}",
                self.url,
                escape(subject)
            );
            let page: Vec<SubjectVersion> = self.send(doing, subject, self.http.get(url)).await?;
            let whole = page.len() == VERSIONS_PAGE;
            versions.extend(page.into_iter().filter(|version| version.subject == subject));
            if !whole {
                versions.sort_by_key(|version| version.version);
                return Ok(SubjectHistory { level, versions });
            }
        }
        Err(Error::new(ErrorKind::TooLarge, doing)
            .with("subject", subject)
            .with("versions_max", VERSIONS_MAX))
    }

    /// The text of the schema that has `id`; kept after the first call.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Unavailable` if the registry is away.
    pub async fn schema(&self, id: u32) -> Result<Arc<str>> {
        let cached = self.cache().get(&id).cloned();
        if let Some(schema) = cached {
            return Ok(schema);
        }
        let request = self.http.get(format!("{}/schemas/ids/{id}", self.url));
        let text: SchemaText = self.send("look up a schema", &id.to_string(), request).await?;
        let schema: Arc<str> = text.schema.into();
        let mut cache = self.cache();
        if cache.len() >= SCHEMAS_CACHED_MAX {
            cache.clear();
        }
        cache.insert(id, Arc::clone(&schema));
        Ok(schema)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<str>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send<A: serde::de::DeserializeOwned>(
        &self,
        operation: &'static str,
        subject: &str,
        request: reqwest::RequestBuilder,
    ) -> Result<A> {
        let failed =
            |kind| Error::new(kind, operation).with("registry", &self.url).with("subject", subject);
        let unavailable = |error: reqwest::Error| {
            failed(ErrorKind::Unavailable)
                .because("the registry does not answer")
                .caused_by(error)
                .help("start it, or correct the registry's url")
        };
        let request = request.header("content-type", CONTENT_TYPE).header("accept", CONTENT_TYPE);
        let request = self.access.authorized(request).await?;
        let response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unavailable)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                failed(ErrorKind::Malformed)
                    .because("its answer is not understood")
                    .caused_by(error)
            });
        }
        let failure = serde_json::from_slice(&body).unwrap_or_else(|_| Failure {
            error_code: i64::from(status.as_u16()),
            message: format!("the answer has no body of the contract ({status})"),
        });
        let kind = match status.as_u16() {
            404 => ErrorKind::NotFound,
            409 => ErrorKind::Incompatible,
            401 => ErrorKind::Authentication,
            403 => ErrorKind::Privilege,
            422 => ErrorKind::Malformed,
            408 | 429 | 500..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::Config,
        };
        let error = failed(kind).because(failure.message).with("error_code", failure.error_code);
        Err(match kind {
            ErrorKind::Authentication => {
                error.help("set registry.client: a user with a password, or a token that holds")
            }
            ErrorKind::Privilege => error.help("have the registry grant the role"),
            _ => error,
        })
    }
}

/// Refuses what can never be a registry's address, before it is asked.
fn check_url(url: &str) -> Result<()> {
    let wrong = |why: &str| {
        Err(Error::new(ErrorKind::Config, "ask the schema registry").because(why).with("url", url))
    };
    if url.starts_with("https://") && !cfg!(feature = "tls") {
        return wrong("https needs the feature `tls`");
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return wrong("its url must begin with http:// or https://");
    }
    Ok(())
}

/// Percent-encodes a subject for a path (RFC 3986, "unreserved").
#[must_use]
pub fn escape(subject: &str) -> String {
    let mut escaped = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push('%');
            escaped.push_str(&format!("{byte:02X}"));
        }
    }
    escaped
}
