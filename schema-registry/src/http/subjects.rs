//! `/subjects` and `/compatibility`: registering, looking up, deleting and checking.

use axum::extract::State;
use serde_json::{Value, json};

use super::App;
use super::body::Body;
use super::query::{Parameters, Place};
use super::reply::Reply;
use crate::refusal::Refusal;
use crate::registry::SubjectVersion;
use crate::state::Identity;
use crate::version::VersionSpec;

type Handled = Result<Reply, Reply>;

/// `GET /subjects`.
pub(super) async fn list(State(service): App, query: Parameters) -> Handled {
    let prefix = query.text("subjectPrefix").unwrap_or_default();
    let names = service.registry.subjects(prefix, query.filter(), query.page()?);
    Ok(Reply::json(&names.iter().map(AsRef::<str>::as_ref).collect()))
}

/// `POST /subjects/{subject}`: is this schema registered here?
pub(super) async fn lookup(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
    body: Body,
) -> Handled {
    let submission = body.submission(query.flag("normalize"))?;
    let deleted = query.flag("deleted");
    let found =
        service.compute(move |registry| registry.lookup(&subject, &submission, deleted)).await?;
    Ok(Reply::json(&subject_version(&found)))
}

/// `DELETE /subjects/{subject}`.
pub(super) async fn delete(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
) -> Handled {
    let permanent = query.flag("permanent");
    let timed_out = "Delete subject operation timed out";
    let versions = service
        .write(timed_out, move |registry| registry.delete_subject(&subject, permanent))
        .await?;
    Ok(Reply::json(&json!(versions)))
}

/// `GET /subjects/{subject}/versions`.
pub(super) async fn versions(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
) -> Handled {
    let versions = service
        .registry
        .versions(&subject, query.filter(), query.page()?)
        .map_err(|refusal| service.refuse(&refusal))?;
    Ok(Reply::json(&json!(versions)))
}

/// `POST /subjects/{subject}/versions`. Answers the id alone, as every version of Confluent's
/// registry does and every client of it reads.
pub(super) async fn register(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
    body: Body,
) -> Handled {
    let submission = body.submission(query.flag("normalize"))?;
    let known = service
        .compute(move |registry| {
            let found = registry.registered(&subject, &submission)?;
            Ok((found, subject, submission))
        })
        .await?;
    let id = match known {
        (Some(found), ..) => found.id,
        (None, subject, submission) => {
            let timed_out = "Register operation timed out";
            let work = move |registry: &crate::Registry| registry.register(&subject, &submission);
            service.write(timed_out, work).await?.id
        }
    };
    Ok(Reply::json(&json!({"id": id})))
}

/// `GET /subjects/{subject}/versions/{version}`.
pub(super) async fn version(
    State(service): App,
    Place((subject, version)): Place<(String, String)>,
    query: Parameters,
) -> Handled {
    let found = get(&service, &subject, &version, query.flag("deleted"))?;
    Ok(Reply::json(&subject_version(&found)))
}

/// `GET /subjects/{subject}/versions/{version}/schema`: the text itself.
pub(super) async fn version_schema(
    State(service): App,
    Place((subject, version)): Place<(String, String)>,
    query: Parameters,
) -> Handled {
    let found = get(&service, &subject, &version, query.flag("deleted"))?;
    Ok(Reply::raw(found.schema.text.as_bytes().to_vec()))
}

fn get(
    service: &super::Service,
    subject: &str,
    version: &str,
    deleted: bool,
) -> Result<SubjectVersion, Reply> {
    let found = version
        .parse::<VersionSpec>()
        .and_then(|spec| service.registry.version(subject, spec, deleted));
    found.map_err(|refusal| service.refuse(&refusal))
}

/// `GET /subjects/{subject}/versions/{version}/referencedby`.
pub(super) async fn referenced_by(
    State(service): App,
    Place((subject, version)): Place<(String, String)>,
    query: Parameters,
) -> Handled {
    let (filter, page) = (query.filter_deleted(), query.page()?);
    let ids = version
        .parse::<VersionSpec>()
        .and_then(|spec| service.registry.referenced_by(&subject, spec, filter, page))
        .map_err(|refusal| service.refuse(&refusal))?;
    Ok(Reply::json(&json!(ids)))
}

/// `DELETE /subjects/{subject}/versions/{version}`.
pub(super) async fn delete_version(
    State(service): App,
    Place((subject, version)): Place<(String, String)>,
    query: Parameters,
) -> Handled {
    let permanent = query.flag("permanent");
    let timed_out = "Delete Schema Version operation timed out";
    let number = service
        .write(timed_out, move |registry| registry.delete_version(&subject, &version, permanent))
        .await?;
    Ok(Reply::json(&json!(number)))
}

/// `POST /compatibility/subjects/{subject}/versions`: as a registration would judge.
pub(super) async fn check(
    state: App,
    Place(subject): Place<String>,
    query: Parameters,
    body: Body,
) -> Handled {
    judge(state, subject, None, query, body).await
}

/// `POST /compatibility/subjects/{subject}/versions/{version}`: against this version alone.
pub(super) async fn check_version(
    state: App,
    Place((subject, version)): Place<(String, String)>,
    query: Parameters,
    body: Body,
) -> Handled {
    let spec = version.parse().map_err(|refusal| state.refuse(&refusal))?;
    judge(state, subject, Some(spec), query, body).await
}

async fn judge(
    State(service): App,
    subject: String,
    version: Option<VersionSpec>,
    query: Parameters,
    body: Body,
) -> Handled {
    let submission = body.submission(query.flag("normalize"))?;
    let verbose = query.flag("verbose");
    let messages = service
        .compute(move |registry| match registry.check(&subject, version, &submission) {
            // Whoever asks for words gets them for an invalid schema too, as from Confluent.
            Err(Refusal::InvalidSchema(message)) if verbose => Ok(vec![message]),
            other => other,
        })
        .await?;
    let mut answer = json!({"is_compatible": messages.is_empty()});
    if verbose {
        answer["messages"] = json!(messages);
    }
    Ok(Reply::json(&answer))
}

/// A version as Confluent 7.x writes it: `schemaType` is left out for Avro, and `references`
/// where there are none.
pub(super) fn subject_version(found: &SubjectVersion) -> Value {
    let mut value = json!({
        "subject": &*found.subject,
        "version": found.version,
        "id": found.id,
    });
    with_schema(&mut value, &found.schema);
    value
}

/// Adds `references`, where there are any, and `schema`.
pub(super) fn with_schema(value: &mut Value, schema: &Identity) {
    if !schema.references.is_empty() {
        value["references"] = schema
            .references
            .iter()
            .map(|reference| {
                json!({
                    "name": reference.name,
                    "subject": reference.subject,
                    "version": reference.version,
                })
            })
            .collect();
    }
    value["schema"] = json!(&*schema.text);
}
