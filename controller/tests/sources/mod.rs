//! Connectors that documents declare, over one in memory that starts them.

use crate::support::{Mesh, Running};
use axum::body::Body;
use axum::http::Request;
use std::time::{Duration, SystemTime};
use tidemesh_controller::{Asked, DocumentReport, Id, ManagedBy, Refused, Verb};
use tidemesh_model::{ErrorKind, SourceSettings};
use tidemesh_plan::document::Kind;
use tower::ServiceExt;

fn source(name: &str, database: &str) -> String {
    format!(
        "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {{name: {name}}}\nspec:\n  \
         postgres: {{database: {database}, user: u, tables: [s.t]}}\n"
    )
}

fn id(name: &str) -> Id {
    Id { kind: Kind::Source, name: name.to_owned() }
}

#[tokio::test]
async fn a_connector_runs_as_its_document_says() {
    let mesh = Mesh::open();
    let controller = mesh.controller("one").await;
    let planned = controller.plan(&source("shop", "d")).await.unwrap();
    assert_eq!(planned.documents[0].effects, ["starts a connector"]);
    assert!(mesh.source("shop").is_none());
    controller.apply(&source("shop", "d")).await.unwrap();
    mesh.until("it runs", || mesh.source("shop").is_some_and(|start| !start.paused)).await;

    controller.pause_document(&id("shop"), true).await.unwrap();
    mesh.until("it is paused", || mesh.source("shop").is_some_and(|start| start.paused)).await;
    controller.end().await;
    let controller = mesh.controller("two").await;
    mesh.until("it still is", || mesh.source("shop").is_some_and(|start| start.paused)).await;
    controller.pause_document(&id("shop"), false).await.unwrap();
    mesh.until("it goes on", || mesh.source("shop").is_some_and(|start| !start.paused)).await;

    let changed = controller.apply(&source("shop", "e")).await.unwrap();
    assert_eq!(changed.documents[0].effects, ["goes on by the new settings"]);
    let database = || mesh.source("shop")?.settings.postgres.clone().map(|one| one.database);
    mesh.until("by the new settings", || database().as_deref() == Some("e")).await;
    let gone = controller.0.delete(&id("shop"), &Asked::default()).await.unwrap();
    assert_eq!(gone.documents[0].verb, Verb::Delete);
    mesh.until("it ends", || mesh.source("shop").is_none()).await;
    let Err(Refused::Error(error)) = controller.pause_document(&id("shop"), true).await else {
        panic!("it is gone");
    };
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_connector_that_cannot_be_is_refused_where_its_document_says_so() {
    let mesh = Mesh::open();
    let controller = mesh.controller("one").await;
    let Err(Refused::Wrong(refusals)) = controller.apply(&source("shop", "wrong")).await else {
        panic!("it is wrong");
    };
    assert_eq!((refusals[0].line, refusals[0].column), (Some(5), Some(24)));
    assert_eq!(refusals[0].about, "Source shop: spec.postgres.database");
    assert!(controller.state().document(&id("shop")).is_none());
}

#[tokio::test]
async fn what_a_configuration_brings_no_document_changes() {
    let settings = serde_json::json!({
        "name": "shop", "postgres": {"database": "d", "user": "u", "tables": ["s.t"], "password": "hush"},
    });
    let settings: SourceSettings = serde_json::from_value(settings).unwrap();
    let mesh = Mesh::open().configured(vec![settings]);
    let controller = mesh.controller("one").await;
    let state = controller.state();
    let declared = state.document(&id("shop")).unwrap();
    assert_eq!(declared.managed_by, ManagedBy::File);
    assert!(!declared.document.to_json().to_string().contains("password"));
    let refused = [
        controller.apply(&source("shop", "e")).await.map(drop),
        controller.0.delete(&id("shop"), &Asked::default()).await.map(drop),
        controller.pause_document(&id("shop"), true).await,
    ];
    for refused in refused {
        let Err(Refused::Error(error)) = refused else { panic!("a file brings it") };
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    assert!(mesh.source("shop").is_none(), "it is not the controller that runs it");
}

/// A source as the API tells of it.
async fn reported(controller: &Running, name: &str) -> DocumentReport {
    let request = Request::get(format!("/v1/documents/source/{name}")).body(Body::empty()).unwrap();
    let answer = tidemesh_controller::router(controller.0.clone()).oneshot(request).await.unwrap();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_source_that_nothing_runs_says_so() {
    let mut mesh = Mesh::open();
    mesh.elsewhere = vec!["named".to_owned()];
    let controller = mesh.controller("one").await;
    for name in ["shop", "asleep", "stock", "named", "paused"] {
        controller.apply(&source(name, "d")).await.unwrap();
    }
    controller.pause_document(&id("paused"), true).await.unwrap();
    let told = reported(&controller, "shop").await;
    assert_eq!((told.state.as_deref(), told.reason), (Some("streaming"), None));
    controller.end().await;

    let now = SystemTime::now();
    mesh.log.announce("stock", "s.t", now);
    mesh.log.announce("asleep", "s.t", now - Duration::from_secs(3_600));
    let controller = mesh.without_connectors("two").await;
    let nobody = "(sources=asleep, shop)";
    mesh.until("it is told", || controller.trouble().is_some_and(|told| told.contains(nobody)))
        .await;
    assert!(controller.trouble().unwrap().contains("tidemesh up"), "and what to do");
    let told = reported(&controller, "shop").await;
    assert_eq!(told.state.as_deref(), Some("unassigned"));
    assert!(told.reason.unwrap().contains("(sources=shop)"));
    for runs in ["stock", "named", "paused"] {
        assert_eq!(reported(&controller, runs).await.state, None, "{runs}");
    }

    mesh.log.announce("shop", "s.t", now);
    controller.0.delete(&id("asleep"), &Asked::default()).await.unwrap();
    mesh.until("all is well", || controller.trouble().is_none()).await;
    assert_eq!(reported(&controller, "shop").await.state, None);
}
