//! Connectors that documents declare, over one in memory that starts them.

use crate::support::Mesh;
use tidemesh_controller::{Asked, Id, ManagedBy, Refused, Verb};
use tidemesh_model::{ErrorKind, SourceSettings};
use tidemesh_plan::document::Kind;

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
