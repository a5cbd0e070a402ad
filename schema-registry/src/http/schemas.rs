//! `/schemas`: schemas by id, which is what consumers ask for, and the list of all.

use axum::extract::State;
use serde_json::{Value, json};

use super::App;
use super::query::{Parameters, Place};
use super::reply::Reply;
use super::subjects::{subject_version, with_schema};

type Handled = Result<Reply, Reply>;

/// `GET /schemas`.
pub(super) async fn list(State(service): App, query: Parameters) -> Handled {
    let prefix = query.text("subjectPrefix").unwrap_or_default();
    let (filter, page) = (query.filter_deleted(), query.page()?);
    let found = service.registry.schemas(prefix, filter, query.flag("latestOnly"), page);
    Ok(Reply::json(&found.iter().map(subject_version).collect()))
}

/// `GET /schemas/types`.
pub(super) async fn types() -> Reply {
    Reply::json(&json!([crate::avro::TYPE]))
}

/// `GET /schemas/ids/{id}`. `subject` is taken and does nothing: it chooses between contexts, of
/// which there is one.
pub(super) async fn by_id(
    State(service): App,
    Place(id): Place<u32>,
    query: Parameters,
) -> Handled {
    let schema = service.registry.schema(id).map_err(|refusal| service.refuse(&refusal))?;
    let mut answer = json!({});
    with_schema(&mut answer, &schema);
    if query.flag("fetchMaxId") {
        answer["maxId"] = json!(service.registry.id_max());
    }
    Ok(Reply::json(&answer))
}

/// `GET /schemas/ids/{id}/schema`: the text itself.
pub(super) async fn text(State(service): App, Place(id): Place<u32>) -> Handled {
    let schema = service.registry.schema(id).map_err(|refusal| service.refuse(&refusal))?;
    Ok(Reply::raw(schema.text.as_bytes().to_vec()))
}

/// `GET /schemas/ids/{id}/subjects`.
pub(super) async fn subjects(
    State(service): App,
    Place(id): Place<u32>,
    query: Parameters,
) -> Handled {
    let names = service
        .registry
        .subjects_of(id, query.filter_deleted(), query.page()?)
        .map_err(|refusal| service.refuse(&refusal))?;
    Ok(Reply::json(&names.iter().map(AsRef::<str>::as_ref).collect()))
}

/// `GET /schemas/ids/{id}/versions`.
pub(super) async fn versions(
    State(service): App,
    Place(id): Place<u32>,
    query: Parameters,
) -> Handled {
    let uses = service
        .registry
        .versions_of(id, query.filter_deleted(), query.page()?)
        .map_err(|refusal| service.refuse(&refusal))?;
    let list: Vec<Value> = uses
        .iter()
        .map(|(subject, version)| json!({"subject": &**subject, "version": version}))
        .collect();
    Ok(Reply::json(&Value::Array(list)))
}
