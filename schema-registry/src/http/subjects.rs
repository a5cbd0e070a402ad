//! `/subjects` and `/compatibility`: registering, looking up, deleting and checking.

use axum::extract::State;
use std::collections::BTreeMap;

use serde_json::json;

use super::access::Sight;
use super::answer::{registered, subject_version, with_schema};
use super::body::Body;
use super::query::{Parameters, Place};
use super::reply::Reply;
use super::schemas::{formatted, tags};
use super::{App, Service};
use crate::access::Role;
use crate::refusal::Refusal;
use crate::registry::{Drafted, Registry, SubjectVersion, Submission};
use crate::subject::Name;
use crate::version::VersionSpec;

type Handled = Result<Reply, Reply>;

/// `GET /subjects`.
pub(super) async fn list(State(service): App, sight: Sight, query: Parameters) -> Handled {
    let prefix = query.text("subjectPrefix");
    let seen = |name: &str| sight.sees(name);
    let names = service.registry.subjects(prefix, query.filter(), seen, query.page()?);
    Ok(Reply::json(&names.iter().map(AsRef::<str>::as_ref).collect()))
}

/// `POST /subjects/{subject}`: is this schema registered here?
pub(super) async fn lookup(
    State(service): App,
    sight: Sight,
    Place(subject): Place<String>,
    query: Parameters,
    body: Body,
) -> Handled {
    let submission = body.submission(query.flag("normalize"))?;
    sight.check_references(&service.registry, &subject, &submission)?;
    let deleted = query.flag("deleted");
    let mut found = look_up(&service, &sight, &subject, &submission, deleted).await;
    if matches!(&found, Err(refusal) if refusal.is_missing()) {
        service.registry.refresh().await;
        found = look_up(&service, &sight, &subject, &submission, deleted).await;
    }
    let found = service.answer(found)?;
    sight.check(Role::Read, &found.subject)?;
    answer_version(&service, found, &query).await
}

async fn look_up(
    service: &Service,
    sight: &Sight,
    subject: &str,
    submission: &Submission,
    deleted: bool,
) -> Result<SubjectVersion, Refusal> {
    let sight = sight.clone();
    let look_up = move |registry: &Registry, subject: &str, submission: &Submission| {
        registry.lookup(subject, submission, deleted, |name| sight.sees(name))
    };
    service.judge(subject, submission, look_up).await
}

/// `DELETE /subjects/{subject}`.
pub(super) async fn delete(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
) -> Handled {
    let permanent = query.flag("permanent");
    let versions = service.registry.delete_subject(&subject, permanent).await;
    Ok(Reply::json(&json!(service.answer(versions)?)))
}

/// `GET /subjects/{subject}/versions`.
pub(super) async fn versions(
    State(service): App,
    Place(subject): Place<String>,
    query: Parameters,
) -> Handled {
    let (filter, page) = (query.filter(), query.page()?);
    let versions = service.read(|registry| registry.versions(&subject, filter, page)).await?;
    Ok(Reply::json(&json!(versions)))
}

/// `POST /subjects/{subject}/versions`.
pub(super) async fn register(
    State(service): App,
    sight: Sight,
    Place(subject): Place<String>,
    query: Parameters,
    body: Body,
) -> Handled {
    let submission = body.submission(query.flag("normalize"))?;
    sight.check_registration(&service.registry, &subject, &submission)?;
    let drafted = match service.judge(&subject, &submission, Registry::draft).await {
        // What another process has written or deleted meanwhile must be seen first.
        Ok(Drafted::Known(_)) | Err(Refusal::InvalidSchema(_)) if service.registry.is_shared() => {
            service.registry.refresh().await;
            service.judge(&subject, &submission, Registry::draft).await
        }
        drafted => drafted,
    };
    let drafted = service.answer(drafted)?;
    let made = match drafted {
        Drafted::Known(known) => {
            let found = known.found.as_ref().map(|found| &found.subject);
            found.map_or(Ok(()), |subject| sight.check_drafted(subject, &submission))?;
            known
        }
        Drafted::New(subject, draft) => {
            sight.check_drafted(&subject, &submission)?;
            service.answer(service.registry.put(subject, draft).await)?
        }
    };
    Ok(Reply::json(&registered(&made, !made.as_sent)))
}

/// `POST /subjects/{subject}/versions/{version}/tags`: a new version with other tags.
pub(super) async fn tag(
    State(service): App,
    sight: Sight,
    Place((subject, version)): Place<(String, String)>,
    body: Body,
) -> Handled {
    let request = body.tag_request()?;
    let spec = service.answer(version.parse::<VersionSpec>())?;
    let work = move |registry: &Registry| registry.draft_tags(&subject, spec, &request);
    let (subject, draft) = service.compute(work).await?;
    sight.check(Role::Write, &subject)?;
    let made = service.answer(service.registry.put(subject, draft).await)?;
    Ok(Reply::json(&registered(&made, true)))
}

/// `GET /subjects/{subject}/metadata?key=…&value=…`: the newest version that has these properties.
pub(super) async fn version_with_metadata(
    State(service): App,
    sight: Sight,
    Place(subject): Place<String>,
    query: Parameters,
) -> Handled {
    let pairs = query.texts("key").into_iter().zip(query.texts("value"));
    let properties: BTreeMap<String, String> =
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let deleted = query.flag("deleted");
    let read = |registry: &Registry| registry.version_with_metadata(&subject, &properties, deleted);
    let found = service.read(read).await?;
    sight.check(Role::Read, &found.subject)?;
    answer_version(&service, found, &query).await
}

/// `GET /subjects/{subject}/versions/{version}`.
pub(super) async fn version(
    State(service): App,
    sight: Sight,
    Place((subject, version)): Place<(String, String)>,
    query: Parameters,
) -> Handled {
    let found = get(&service, &sight, &subject, &version, query.flag("deleted")).await?;
    answer_version(&service, found, &query).await
}

async fn answer_version(service: &Service, found: SubjectVersion, query: &Parameters) -> Handled {
    let mut answer = subject_version(&found);
    let context = Name::of(&found.subject).context;
    let asked = ["format", "referenceFormat", "findTags"];
    if asked.iter().any(|name| query.text(name).is_some()) {
        if let Some(answer) = answer.as_object_mut() {
            answer.shift_remove("references");
        }
        if let Some(tags) = tags(service, &found.schema, query)? {
            answer["schemaTags"] = tags;
        }
        let schema = formatted(service, context, found.schema.clone(), query).await?;
        with_schema(&mut answer, &schema);
    }
    Ok(Reply::json(&answer))
}

/// `GET /subjects/{subject}/versions/{version}/schema`: the text itself.
pub(super) async fn version_schema(
    State(service): App,
    sight: Sight,
    Place((subject, version)): Place<(String, String)>,
    query: Parameters,
) -> Handled {
    let found = get(&service, &sight, &subject, &version, query.flag("deleted")).await?;
    let context = Name::of(&found.subject).context;
    let schema = formatted(&service, context, found.schema.clone(), &query).await?;
    Ok(Reply::raw(schema.text.as_bytes().to_vec()))
}

/// The version; it may be another context's, if the subject is seen there.
async fn get(
    service: &Service,
    sight: &Sight,
    subject: &str,
    version: &str,
    deleted: bool,
) -> Result<SubjectVersion, Reply> {
    let spec = service.answer(version.parse::<VersionSpec>())?;
    let seen = |name: &str| sight.sees(name);
    let read = |registry: &Registry| registry.version_seen(subject, spec, deleted, seen);
    let found = service.read(read).await?;
    sight.check(Role::Read, &found.subject)?;
    Ok(found)
}

/// `GET /subjects/{subject}/versions/{version}/referencedby`.
pub(super) async fn referenced_by(
    State(service): App,
    sight: Sight,
    Place((subject, version)): Place<(String, String)>,
    query: Parameters,
) -> Handled {
    let (filter, page) = (query.filter_deleted(), query.page()?);
    let spec = service.answer(version.parse::<VersionSpec>())?;
    let seen = |name: &str| sight.sees(name);
    let read = |registry: &Registry| registry.referenced_by(&subject, spec, filter, seen, page);
    let (of, ids) = service.read(read).await?;
    sight.check(Role::Read, &of)?;
    Ok(Reply::json(&json!(ids)))
}

/// `DELETE /subjects/{subject}/versions/{version}`.
pub(super) async fn delete_version(
    State(service): App,
    Place((subject, version)): Place<(String, String)>,
    query: Parameters,
) -> Handled {
    let permanent = query.flag("permanent");
    let number = service.registry.delete_version(&subject, &version, permanent).await;
    Ok(Reply::json(&json!(service.answer(number)?)))
}

/// `POST /compatibility/subjects/{subject}/versions`: as a registration would judge.
pub(super) async fn check(
    state: App,
    sight: Sight,
    Place(subject): Place<String>,
    query: Parameters,
    body: Body,
) -> Handled {
    judge(state, sight, subject, None, query, body).await
}

/// `POST /compatibility/subjects/{subject}/versions/{version}`: against this version alone.
pub(super) async fn check_version(
    state: App,
    sight: Sight,
    Place((subject, version)): Place<(String, String)>,
    query: Parameters,
    body: Body,
) -> Handled {
    let spec = version.parse().map_err(|refusal| state.refuse(&refusal))?;
    judge(state, sight, subject, Some(spec), query, body).await
}

async fn judge(
    State(service): App,
    sight: Sight,
    subject: String,
    version: Option<VersionSpec>,
    query: Parameters,
    body: Body,
) -> Handled {
    let submission = body.submission(query.flag("normalize"))?;
    sight.check_references(&service.registry, &subject, &submission)?;
    let verbose = query.flag("verbose");
    if matches!(version, Some(spec) if service.registry.version(&subject, spec, false).is_err()) {
        service.registry.refresh().await;
    }
    let observed = service.answer(service.registry.observe_for(&subject, false).await)?;
    let check = move |registry: &Registry, subject: &str, submission: &Submission| {
        match registry.check(subject, version, submission, &observed) {
            // Whoever asks for words gets them for an invalid schema too, as from Confluent.
            Err(Refusal::InvalidSchema(message)) if verbose => Ok(vec![message]),
            other => other,
        }
    };
    let messages = service.answer(service.judge(&subject, &submission, check).await)?;
    let mut answer = json!({"is_compatible": messages.is_empty()});
    if verbose {
        answer["messages"] = json!(messages);
    }
    Ok(Reply::json(&answer))
}
