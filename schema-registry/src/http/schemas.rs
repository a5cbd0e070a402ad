//! `/schemas`: schemas by id, which is what consumers ask for, and the list of all.

use axum::extract::State;
use serde_json::{Value, json};

use super::access::Sight;
use super::answer::{SchemaAnswer, schema_tags, subject_version};
use super::query::{Parameters, Place};
use super::reply::Reply;
use super::{App, Service};
use crate::refusal::Refusal;
use crate::registry::Registry;
use crate::state::{Guid, Identity};
use crate::subject::scope_of;

type Handled = Result<Reply, Reply>;

/// `GET /schemas`.
pub(super) async fn list(State(service): App, sight: Sight, query: Parameters) -> Handled {
    let prefix = query.text("subjectPrefix");
    let (filter, page) = (query.filter_deleted(), query.page()?);
    let (latest_only, aliases) = (query.flag("latestOnly"), query.flag("aliases"));
    let rule_type = query.text("ruleType").filter(|text| !text.is_empty());
    let wanted = |subject: &str, schema: &Identity| {
        sight.sees(subject) && rule_type.is_none_or(|wanted| has_rule(schema, wanted))
    };
    let mut found = service.registry.schemas(prefix, filter, latest_only, aliases, wanted, page);
    for version in &mut found {
        version.aliases.retain(|alias| sight.sees(alias));
    }
    Ok(Reply::json(&found.iter().map(subject_version).collect()))
}

fn has_rule(schema: &Identity, wanted: &str) -> bool {
    let rules = schema.rules.iter().flat_map(|rules| rules.rules());
    rules.into_iter().any(|rule| rule.r#type.as_deref() == Some(wanted))
}

/// `GET /schemas/types`.
pub(super) async fn types() -> Reply {
    Reply::json(&json!([crate::avro::TYPE]))
}

/// The answer to `GET /schemas/ids/{id}` of somebody who may see everything and asks for nothing else;
/// none if the schema has to be looked for.
pub(super) fn known(service: &Service, id: u32) -> Option<Reply> {
    service.registry.with_schema(id, |schema| service.answers.of(schema))
}

/// `GET /schemas/ids/{id}`. `subject` chooses the context.
pub(super) async fn by_id(
    State(service): App,
    sight: Sight,
    Place(id): Place<u32>,
    query: Parameters,
) -> Handled {
    let subject = query.text("subject").unwrap_or_default();
    let seen = |name: &str| sight.sees(name);
    let (context, schema) =
        service.read(|registry| registry.schema_seen(id, subject, seen)).await?;
    sight.check_schema(&service.registry, &context, id)?;
    if query.is_empty() {
        return Ok(service.answers.of(&schema));
    }
    let tags = tags(&service, &schema, &query)?;
    let schema = formatted(&service, &context, schema, &query).await?;
    let max_id = query.flag("fetchMaxId").then(|| service.registry.id_max(&context));
    let mut answer = SchemaAnswer::of(&schema, tags);
    answer.max_id = max_id;
    Ok(Reply::of(&answer))
}

/// `GET /schemas/ids/{id}/schema`: the text itself.
pub(super) async fn text(
    State(service): App,
    sight: Sight,
    Place(id): Place<u32>,
    query: Parameters,
) -> Handled {
    let subject = query.text("subject").unwrap_or_default();
    let seen = |name: &str| sight.sees(name);
    let (context, schema) =
        service.read(|registry| registry.schema_seen(id, subject, seen)).await?;
    sight.check_schema(&service.registry, &context, id)?;
    let schema = formatted(&service, &context, schema, &query).await?;
    Ok(Reply::raw(schema.text.as_bytes().to_vec()))
}

/// `GET /schemas/ids/{id}/subjects`.
pub(super) async fn subjects(
    State(service): App,
    sight: Sight,
    Place(id): Place<u32>,
    query: Parameters,
) -> Handled {
    let subject = query.text("subject").unwrap_or_default();
    let (filter, page) = (query.filter_deleted(), query.page()?);
    let seen = |name: &str| sight.sees(name);
    let read = |registry: &Registry| registry.subjects_of(id, subject, filter, seen, page);
    let names = service.read(read).await?;
    Ok(Reply::json(&names.iter().map(AsRef::<str>::as_ref).collect()))
}

/// `GET /schemas/ids/{id}/versions`.
pub(super) async fn versions(
    State(service): App,
    sight: Sight,
    Place(id): Place<u32>,
    query: Parameters,
) -> Handled {
    let subject = query.text("subject").unwrap_or_default();
    let (filter, page) = (query.filter_deleted(), query.page()?);
    let seen = |name: &str| sight.sees(name);
    let read = |registry: &Registry| registry.versions_of(id, subject, filter, seen, page);
    let uses = service.read(read).await?;
    let list: Vec<Value> = uses
        .iter()
        .map(|(subject, version)| json!({"subject": &**subject, "version": version}))
        .collect();
    Ok(Reply::json(&Value::Array(list)))
}

/// `GET /schemas/guids/{guid}`.
pub(super) async fn by_guid(
    State(service): App,
    sight: Sight,
    Place(guid): Place<String>,
    query: Parameters,
) -> Handled {
    let guid = read_guid(&service, &guid)?;
    let seen = |name: &str| sight.sees(name);
    let (context, schema) = service.read(|registry| registry.schema_by_guid(&guid, seen)).await?;
    let tags = tags(&service, &schema, &query)?;
    let schema = formatted(&service, &context, schema, &query).await?;
    Ok(Reply::of(&SchemaAnswer::of(&schema, tags)))
}

/// `GET /schemas/guids/{guid}/ids`.
pub(super) async fn ids_of_guid(
    State(service): App,
    sight: Sight,
    Place(guid): Place<String>,
) -> Handled {
    let guid = read_guid(&service, &guid)?;
    let places = service
        .read(|registry| {
            let places = registry.ids_of_guid(&guid, |name| sight.sees(name));
            if places.is_empty() { Err(Refusal::SchemaNotFound(None)) } else { Ok(places) }
        })
        .await?;
    let place =
        |(context, id): &(std::sync::Arc<str>, u32)| json!({"context": &**context, "id": id});
    Ok(Reply::json(&places.iter().map(place).collect()))
}

fn read_guid(service: &Service, text: &str) -> Result<Guid, Reply> {
    text.parse().map_err(|()| service.refuse(&Refusal::SchemaNotFound(None)))
}

/// A schema's tags, if they are asked for.
pub(super) fn tags(
    service: &Service,
    schema: &Identity,
    query: &Parameters,
) -> Result<Option<Value>, Reply> {
    let wanted: Vec<String> = query.texts("findTags").into_iter().map(str::to_owned).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let found = service.answer(service.registry.tagged(schema, &wanted))?;
    Ok(Some(schema_tags(&found)))
}

/// A schema in the form that is asked for: `format=resolved` writes out what it refers to,
/// `referenceFormat=qualified` writes references with their context.
pub(super) async fn formatted(
    service: &Service,
    context: &str,
    mut schema: Identity,
    query: &Parameters,
) -> Result<Identity, Reply> {
    let scope = scope_of(context);
    match query.text("format").unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "default" => {}
        "resolved" => {
            let (asked, parent) = (schema.clone(), scope.clone());
            let text =
                service.compute(move |registry| registry.resolved_text(&parent, &asked)).await?;
            schema.text = text.into();
            schema.references = std::sync::Arc::from([]);
        }
        other => {
            let text = format!("Invalid schema format {other}; there are default and resolved");
            return Err(service.refuse(&Refusal::InvalidSchema(text)));
        }
    }
    if query.text("referenceFormat").is_some_and(|format| format.eq_ignore_ascii_case("qualified"))
    {
        let mut references = schema.references.to_vec();
        for reference in &mut references {
            reference.subject = crate::subject::beside(&scope, &reference.subject).into_owned();
        }
        schema.references = references.into();
    }
    Ok(schema)
}
