//! Requests whose client goes away.

use crate::support::{Mesh, Running, table};
use crate::{ORDERS, id, pipeline};
use axum::body::Body;
use axum::http::Request;
use futures_util::poll;
use tidemesh_controller::PipelineStatus;
use tower::ServiceExt;

/// Has a client ask for a change and go away while the store keeps it from being made.
async fn asked_and_gone(mesh: &Mesh, controller: &Running, request: Request<Body>) {
    let blocked = mesh.block_store();
    let answer = tidemesh_controller::router(controller.0.clone()).oneshot(request);
    let mut answer = Box::pin(answer);
    assert!(poll!(&mut answer).is_pending(), "the store does not take it");
    drop(answer);
    drop(blocked);
}

fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn what_a_client_asks_for_is_done_whole_though_it_goes_away() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;

    let text = pipeline("paid", ORDERS, "SELECT id, status FROM rows");
    let body = serde_json::json!({"texts": [{"name": "t.yaml", "text": text}]}).to_string();
    let apply = Request::builder().method("POST").uri("/v1/apply");
    let apply = apply.header("content-type", "application/json").body(body.into()).unwrap();
    asked_and_gone(&mesh, &controller, apply).await;
    mesh.until("it runs", || mesh.runs("paid").is_some()).await;

    asked_and_gone(&mesh, &controller, request("POST", "/v1/pipelines/paid/pause")).await;
    let paused =
        || controller.pipeline("paid").is_some_and(|one| one.state == PipelineStatus::Paused);
    mesh.until("it is paused", paused).await;
    mesh.until("its job has ended", || mesh.runs("paid").is_none()).await;

    asked_and_gone(&mesh, &controller, request("POST", "/v1/documents/pipeline/paid/resume")).await;
    mesh.until("it runs again", || mesh.runs("paid").is_some()).await;

    let rollback = Request::builder().method("POST").uri("/v1/documents/pipeline/paid/rollback");
    let rollback = rollback.header("content-type", "application/json");
    controller.apply(&pipeline("paid", ORDERS, "SELECT id FROM rows")).await.unwrap();
    let rollback = rollback.body(r#"{"revision": 1}"#.into()).unwrap();
    asked_and_gone(&mesh, &controller, rollback).await;
    let revision = || controller.state().document(&id("paid")).map(|one| one.revision);
    mesh.until("it is set back", || revision() == Some(3)).await;

    asked_and_gone(&mesh, &controller, request("DELETE", "/v1/documents/pipeline/paid")).await;
    mesh.until("it is gone", || controller.state().document(&id("paid")).is_none()).await;
    mesh.until("its job has ended", || mesh.runs("paid").is_none()).await;
}
