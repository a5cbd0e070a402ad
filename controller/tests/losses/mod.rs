//! Losses that somebody accepts: kept, handed over with each start, and no more than what was told.

use crate::support::{Mesh, Running, table};
use crate::{ORDERS, id, pipeline};
use std::collections::BTreeMap;
use tidemesh_controller::{Asked, LostPlace, PipelineStatus, Refused};
use tidemesh_model::ErrorKind;

fn gone(partition: u32, begin: u64) -> LostPlace {
    LostPlace { topic: ORDERS.to_owned(), partition, offset: 1, begin }
}

fn accepted(places: &[(u32, u64)]) -> BTreeMap<(String, u32), u64> {
    places.iter().map(|(partition, begin)| ((ORDERS.to_owned(), *partition), *begin)).collect()
}

/// What is kept of it.
fn kept(controller: &Running) -> BTreeMap<(String, u32), u64> {
    controller.state().pipeline("paid").accepted_loss.offsets()
}

async fn open() -> (Mesh, Running) {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    controller.apply(&pipeline("paid", ORDERS, "SELECT id FROM rows")).await.unwrap();
    mesh.until("it runs", || mesh.runs("paid").is_some()).await;
    (mesh, controller)
}

async fn until(mesh: &Mesh, controller: &Running, status: PipelineStatus) {
    let is = || controller.pipeline("paid").unwrap().state == status;
    mesh.until(&format!("it is {status}"), is).await;
}

#[tokio::test]
async fn what_is_accepted_is_what_was_told_and_outlives_the_controller() {
    let (mesh, controller) = open().await;
    let Err(Refused::Error(error)) = controller.0.resume_behind_loss("paid").await else {
        panic!("nothing is lost")
    };
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.report().contains("tidemesh resume paid"), "{}", error.report());

    mesh.loses("paid", &[gone(0, 5), gone(2, 7)]);
    until(&mesh, &controller, PipelineStatus::Lost).await;
    controller.0.resume_behind_loss("paid").await.unwrap();
    until(&mesh, &controller, PipelineStatus::Running).await;
    let both = accepted(&[(0, 5), (2, 7)]);
    assert_eq!(kept(&controller), both);
    assert_eq!(mesh.accepted("paid"), Some(both.clone()));

    // Its job is started again before it has passed over them, by the next controller.
    controller.end().await;
    mesh.ends("paid");
    let controller = mesh.controller("two").await;
    mesh.until("it is started again", || mesh.accepted("paid") == Some(both.clone())).await;
    until(&mesh, &controller, PipelineStatus::Running).await;

    // One of them has grown meanwhile: nobody has accepted that.
    mesh.loses("paid", &[gone(2, 9)]);
    until(&mesh, &controller, PipelineStatus::Lost).await;
    mesh.has_committed("paid", &accepted(&[(0, 5), (2, 1)]));
    mesh.until("what was answered for goes", || kept(&controller) == accepted(&[(2, 7)])).await;
    assert_eq!(controller.pipeline("paid").unwrap().state, PipelineStatus::Lost);
    controller.0.resume_behind_loss("paid").await.unwrap();
    until(&mesh, &controller, PipelineStatus::Running).await;
    assert_eq!(mesh.accepted("paid"), Some(accepted(&[(2, 9)])));
    mesh.has_committed("paid", &accepted(&[(0, 5), (2, 30)]));
    mesh.until("nothing is left of it", || kept(&controller).is_empty()).await;
}

#[tokio::test]
async fn a_loss_that_was_accepted_when_the_controller_ended_is_passed_over_by_the_next() {
    let (mesh, controller) = open().await;
    mesh.loses("paid", &[gone(0, 5)]);
    until(&mesh, &controller, PipelineStatus::Lost).await;
    controller.0.resume_behind_loss("paid").await.unwrap();
    until(&mesh, &controller, PipelineStatus::Running).await;
    controller.end().await;
    // A worker that was not reached has its loss still.
    mesh.loses("paid", &[gone(0, 5), gone(1, 5)]);
    mesh.stands("paid");
    let controller = mesh.controller("two").await;
    mesh.until("it is started again", || mesh.accepted("paid") == Some(accepted(&[(0, 5)]))).await;
    until(&mesh, &controller, PipelineStatus::Lost).await;
    controller.0.resume_behind_loss("paid").await.unwrap();
    until(&mesh, &controller, PipelineStatus::Running).await;
    assert_eq!(kept(&controller), accepted(&[(0, 5), (1, 5)]));
}

#[tokio::test]
async fn who_is_paused_or_applied_anew_keeps_or_loses_what_was_accepted() {
    let (mesh, controller) = open().await;
    mesh.loses("paid", &[gone(0, 5)]);
    until(&mesh, &controller, PipelineStatus::Lost).await;
    controller.0.resume_behind_loss("paid").await.unwrap();
    controller.0.pause("paid", true).await.unwrap();
    controller.0.pause("paid", false).await.unwrap();
    until(&mesh, &controller, PipelineStatus::Running).await;
    assert_eq!(mesh.accepted("paid"), Some(accepted(&[(0, 5)])));
    // Another schema is nothing that somebody has applied.
    mesh.topic(ORDERS, &table(ORDERS, &["status", "colour"]));
    let with_colour = pipeline("other", ORDERS, "SELECT id, colour FROM rows");
    controller.apply(&with_colour).await.unwrap();
    assert_eq!(kept(&controller), accepted(&[(0, 5)]));
    controller.apply(&pipeline("paid", ORDERS, "SELECT id, status FROM rows")).await.unwrap();
    assert!(kept(&controller).is_empty());
    mesh.until("it is started so", || mesh.accepted("paid") == Some(BTreeMap::new())).await;
    controller.0.delete(&id("paid"), &Asked::default()).await.unwrap();
}
