//! Request bodies: which content types are taken, and what their members mean.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use super::Service;
use super::reply::Reply;
use crate::config::IncompatibleCode;
use crate::consumer::Consumer;
use crate::level;
use crate::refusal::Refusal;
use crate::registry::{ExplainRequest, Submission, TagRequest};
use crate::setting;
use crate::tags::TaggedEntity;
use crate::version::VersionSpec;

/// What a body may call itself (Confluent's `Versions.java`); without a name it is the last.
const CONTENT_TYPES: [&str; 4] = [
    "application/vnd.schemaregistry.v1+json",
    "application/vnd.schemaregistry+json",
    "application/json",
    "application/octet-stream",
];

/// With this header set to `true`, members that we do not know are ignored.
const ACCEPT_UNKNOWN: &str = "confluent-accept-unknown-properties";

/// Members of a schema that this registry takes.
const SCHEMA_MEMBERS: &[&str] = &[
    "subject",
    "version",
    "id",
    "schemaType",
    "references",
    "schema",
    "metadata",
    "ruleSet",
    "schemaTagsToAdd",
    "schemaTagsToRemove",
    "propagateSchemaTags",
];

/// Members of a request to explain a verdict.
const EXPLAIN_MEMBERS: &[&str] = &[
    "subject",
    "version",
    "compatibility",
    "schemaType",
    "references",
    "schema",
    "metadata",
    "ruleSet",
];

/// Members of a consumer.
const CONSUMER_MEMBERS: &[&str] = &["fields", "version", "group"];

/// Members of a request to tag a version.
const TAG_MEMBERS: &[&str] = &[
    "newVersion",
    "metadata",
    "ruleSet",
    "tagsToAdd",
    "tagsToRemove",
    "rulesToMerge",
    "rulesToRemove",
];

/// A JSON object that was sent, and whether unknown members are an error.
#[derive(Debug)]
pub(super) struct Body {
    members: Arc<Map<String, Value>>,
    strict: bool,
}

impl FromRequest<Service> for Body {
    type Rejection = Reply;

    async fn from_request(mut request: Request, service: &Service) -> Result<Self, Reply> {
        check_content_type(request.headers())?;
        let lenient = request.headers().get(ACCEPT_UNKNOWN).is_some_and(|value| value == "true");
        DefaultBodyLimit::max(service.body_bytes_max).apply(&mut request);
        let bytes = Bytes::from_request(request, service).await.map_err(unreadable)?;
        Ok(Self { members: service.bodies.members(&bytes, object)?, strict: !lenient })
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Reply> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let name = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if CONTENT_TYPES.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(Reply::status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

fn unreadable(rejection: BytesRejection) -> Reply {
    Reply::status(rejection.status())
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, Reply> {
    if bytes.is_empty() {
        let message = "The request has no body";
        return Err(Reply::bad_body(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(malformed("The body is not a JSON object")),
        Err(error) => Err(malformed(&format!("The body is not JSON: {error}"))),
    }
}

fn malformed(message: &str) -> Reply {
    Reply::bad_body(StatusCode::BAD_REQUEST, message)
}

impl Body {
    /// The body as a schema.
    pub(super) fn submission(self, normalize: bool) -> Result<Submission, Reply> {
        self.check_members(SCHEMA_MEMBERS)?;
        Ok(Submission {
            text: self.text("schema")?,
            schema_type: self.text("schemaType")?,
            references: self.references()?,
            metadata: self.read("metadata")?,
            rules: self.read("ruleSet")?,
            id: self.number("id")?,
            version: self.number("version")?,
            tags_to_add: self.tags("schemaTagsToAdd")?,
            tags_to_remove: self.tags("schemaTagsToRemove")?,
            propagate_tags: self.members.get("propagateSchemaTags") == Some(&Value::Bool(true)),
            normalize,
        })
    }

    /// The body as a verdict to be explained, with the subject.
    pub(super) fn explain_request(
        self,
        normalize: bool,
    ) -> Result<(String, ExplainRequest), Reply> {
        self.check_members(EXPLAIN_MEMBERS)?;
        let subject = self.text("subject")?.filter(|subject| !subject.is_empty());
        let subject = subject.ok_or_else(|| unread("subject", "it is needed"))?;
        let level = self.text("compatibility")?;
        let level = level.map(|name| level::from_name(&name).ok_or(Refusal::InvalidLevel));
        let version = match self.members.get("version") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        };
        let version = version.map(|text| text.parse::<VersionSpec>()).transpose();
        let refused = |refusal: Refusal| Reply::refusal(&refusal, IncompatibleCode::default());
        let submission = Submission {
            text: self.text("schema")?,
            schema_type: self.text("schemaType")?,
            references: self.references()?,
            metadata: self.read("metadata")?,
            rules: self.read("ruleSet")?,
            normalize,
            ..Submission::default()
        };
        let level = level.transpose().map_err(refused)?;
        Ok((subject, ExplainRequest { submission, level, version: version.map_err(refused)? }))
    }

    /// The body as what a consumer reads.
    pub(super) fn consumer(self) -> Result<Consumer, Reply> {
        self.check_members(CONSUMER_MEMBERS)?;
        Ok(Consumer {
            fields: self.read("fields")?,
            version: self.read("version")?,
            group: self.text("group")?,
        })
    }

    /// The body as other tags for a version.
    pub(super) fn tag_request(self) -> Result<TagRequest, Reply> {
        self.check_members(TAG_MEMBERS)?;
        Ok(TagRequest {
            new_version: self.number("newVersion")?,
            metadata: self.read("metadata")?,
            rules: self.read("ruleSet")?,
            tags_to_add: self.tags("tagsToAdd")?,
            tags_to_remove: self.tags("tagsToRemove")?,
            rules_to_merge: self.read("rulesToMerge")?,
            rules_to_remove: self.read("rulesToRemove")?.unwrap_or_default(),
        })
    }

    /// The body as a configuration: its members, and the body to send back.
    pub(super) fn setting(self) -> Result<(Map<String, Value>, Value), Reply> {
        self.check_members(&setting::MEMBERS)?;
        let taken =
            self.members.iter().filter(|(name, _)| setting::MEMBERS.contains(&name.as_str()));
        let members: Map<String, Value> =
            taken.map(|(name, value)| (name.clone(), value.clone())).collect();
        let echo = members.iter().filter(|(_, value)| !value.is_null());
        let echo = echo.map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok((members, Value::Object(echo)))
    }

    /// The body as a mode, and the body to send back.
    pub(super) fn mode(self) -> Result<(Option<String>, Value), Reply> {
        self.check_members(&["mode"])?;
        Ok((self.text("mode")?, Value::Object((*self.members).clone())))
    }

    fn check_members(&self, known: &[&str]) -> Result<(), Reply> {
        self.check_names(self.members.keys(), known)
    }

    fn check_names<'a>(
        &self,
        mut names: impl Iterator<Item = &'a String>,
        known: &[&str],
    ) -> Result<(), Reply> {
        match names.find(|name| !known.contains(&name.as_str())) {
            Some(name) if self.strict => Err(Reply::bad_body(
                StatusCode::UNPROCESSABLE_ENTITY,
                &format!("Unrecognized field: {name}"),
            )),
            _ => Ok(()),
        }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Reply> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                T::deserialize(value).map(Some).map_err(|error| unread(name, &error.to_string()))
            }
        }
    }

    /// `[{"schemaEntity": {"entityPath": "a.B.c", "entityType": "sr_field"}, "tags": ["PII"]}]`.
    fn tags(&self, name: &str) -> Result<Vec<TaggedEntity>, Reply> {
        let list = match self.members.get(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(malformed(&format!("{name} is not an array"))),
        };
        let wrong = || malformed(&format!("an entry of {name} needs schemaEntity and tags"));
        list.iter().map(|entry| tagged(entry).ok_or_else(wrong)).collect()
    }

    fn references(&self) -> Result<Vec<(String, String, i64)>, Reply> {
        let list = match self.members.get("references") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(malformed("references is not an array")),
        };
        let known = ["name", "subject", "version"];
        let members = list.iter().filter_map(Value::as_object).flat_map(Map::keys);
        self.check_names(members, &known)?;
        list.iter()
            .map(|entry| {
                let name = entry.get("name")?.as_str()?.to_owned();
                let subject = entry.get("subject")?.as_str()?.to_owned();
                Some((name, subject, entry.get("version")?.as_i64()?))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| malformed("a reference needs name, subject and version"))
    }

    fn text(&self, name: &str) -> Result<Option<String>, Reply> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(malformed(&format!("{name} is not a string"))),
        }
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Reply> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(malformed(&format!("{name} is not a whole number"))),
            },
        }
    }
}

/// A member that is not of the contract is refused as such: it would be lost.
fn unread(name: &str, problem: &str) -> Reply {
    match problem.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
        Some((field, _)) => Reply::bad_body(
            StatusCode::UNPROCESSABLE_ENTITY,
            &format!("Unrecognized field: {name}.{field}"),
        ),
        None => malformed(&format!("{name} cannot be read: {problem}")),
    }
}

fn tagged(entry: &Value) -> Option<TaggedEntity> {
    let entity = entry.get("schemaEntity")?;
    let kind = entity.get("entityType")?.as_str()?;
    let is_record = match kind.to_ascii_lowercase().as_str() {
        "sr_record" => true,
        "sr_field" => false,
        _ => return None,
    };
    let tags = entry.get("tags")?.as_array()?;
    let tags = tags.iter().map(|tag| tag.as_str().map(str::to_owned)).collect::<Option<_>>()?;
    Some(TaggedEntity { path: entity.get("entityPath")?.as_str()?.to_owned(), is_record, tags })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(bytes: &[u8], strict: bool) -> Result<Body, Reply> {
        object(bytes).map(|members| Body { members: Arc::new(members), strict })
    }

    #[test]
    fn every_member_of_the_contract_is_read() {
        let text = br#"{"schema":"s","schemaType":"AVRO","id":-1,"version":2,"metadata":null,
            "references":[{"name":"n","subject":"t","version":3}]}"#;
        let submission = body(text, true).unwrap().submission(true).unwrap();
        assert_eq!(
            submission,
            Submission {
                text: Some("s".into()),
                schema_type: Some("AVRO".into()),
                references: vec![("n".into(), "t".into(), 3)],
                id: Some(-1),
                version: Some(2),
                normalize: true,
                ..Submission::default()
            }
        );
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let name = prop::sample::select(
                ["name", "subject", "version", "properties"].map(str::to_owned).to_vec(),
            );
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name, inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(body) = body(&bytes, false) {
                let _ = body.submission(false);
            }
        }

        #[test]
        fn any_members_are_read_or_refused(
            members in prop::collection::vec((prop::sample::select(SCHEMA_MEMBERS), value()), 0..8)
        ) {
            let members: Map<String, Value> =
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let members = Arc::new(members);
            let _ = Body { members: members.clone(), strict: true }.submission(false);
            let _ = Body { members: members.clone(), strict: false }.tag_request();
            let _ = Body { members, strict: false }.setting();
        }
    }
}
