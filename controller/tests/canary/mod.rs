//! New plans that fail when they are tried: nothing of them is taken.

use crate::support::{Mesh, Running, table};
use crate::{ORDERS, pipeline};
use tidemesh_controller::PipelineStatus;

fn reasons(controller: &Running, name: &str) -> String {
    controller.pipeline(name).unwrap().reasons.join("; ")
}

fn verdicts(controller: &Running, name: &str) -> Vec<String> {
    controller.state().upgrades(name).iter().map(|upgrade| upgrade.verdict.clone()).collect()
}

fn has_colour(controller: &Running, name: &str) -> bool {
    controller.pipeline(name).unwrap().outputs[0].fields.contains(&"colour".to_owned())
}

async fn chain(mesh: &Mesh, controller: &Running) {
    let first = pipeline("first", ORDERS, "SELECT * FROM rows");
    let second = pipeline("second", "mesh.first", "SELECT * FROM rows");
    controller.apply(&format!("{first}---\n{second}")).await.unwrap();
    mesh.until("they run", || mesh.runs("second").is_some()).await;
}

#[tokio::test]
async fn an_upgrade_that_fails_its_canary_is_rolled_back_and_so_is_what_follows_from_it() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    chain(&mesh, &controller).await;
    let before = (mesh.runs("first"), mesh.runs("second"));
    mesh.fails("first", true);
    mesh.topic(ORDERS, &table(ORDERS, &["status", "colour"]));
    mesh.until("it is told", || reasons(&controller, "first").contains("divides by zero")).await;
    assert_eq!((mesh.runs("first"), mesh.runs("second")), before);
    assert_eq!(controller.pipeline("first").unwrap().state, PipelineStatus::Running);
    assert_eq!(verdicts(&controller, "first"), ["rolled_back", "stays"]);
    assert!(verdicts(&controller, "second").is_empty(), "nothing was to come of it");

    // It is remembered, and tried again by whoever asks for it.
    controller.end().await;
    let controller = mesh.controller("two").await;
    mesh.until("it is known", || reasons(&controller, "first").contains("divides by zero")).await;
    mesh.fails("first", false);
    controller.0.pause("first", false).await.unwrap();
    mesh.until("both have it", || {
        has_colour(&controller, "first") && has_colour(&controller, "second")
    })
    .await;
    assert_eq!(reasons(&controller, "first"), "");
}

#[tokio::test]
async fn who_cannot_go_on_without_it_is_held_and_whoever_applies_it_takes_it() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status", "note"]));
    let controller = mesh.controller("one").await;
    chain(&mesh, &controller).await;
    mesh.fails("first", true);
    // A field is gone, and another one is there: without its new plan it loses what it reads.
    mesh.topic(ORDERS, &table(ORDERS, &["status", "colour"]));
    let state = |name: &str| controller.pipeline(name).unwrap().state;
    mesh.until("it is held", || state("first") == PipelineStatus::Held).await;
    assert!(reasons(&controller, "first").contains("divides by zero"));
    controller.apply(&pipeline("first", ORDERS, "SELECT * FROM rows")).await.unwrap();
    mesh.until("it goes on", || state("first") == PipelineStatus::Running).await;
    assert!(has_colour(&controller, "first"));
}

#[tokio::test]
async fn what_follows_from_an_apply_is_tried_before_anything_is_done() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status", "colour"]));
    let controller = mesh.controller("one").await;
    let first = |sql: &str| pipeline("first", ORDERS, sql);
    let second = pipeline("second", "mesh.first", "SELECT * FROM rows");
    let both = format!("{}---\n{second}", first("SELECT id, status FROM rows"));
    controller.apply(&both).await.unwrap();
    mesh.until("they run", || mesh.runs("second").is_some()).await;
    mesh.fails("second", true);
    let before = mesh.runs("second");
    controller.apply(&first("SELECT * FROM rows")).await.unwrap();
    mesh.until("the first has it", || has_colour(&controller, "first")).await;
    assert_eq!(verdicts(&controller, "second")[0], "rolled_back");
    assert!(reasons(&controller, "second").contains("divides by zero"));
    assert_eq!(mesh.runs("second"), before);
}

#[tokio::test]
async fn while_plans_are_tried_nobody_waits_for_them() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    chain(&mesh, &controller).await;
    mesh.tries_are_long(true);
    mesh.topic(ORDERS, &table(ORDERS, &["status", "colour"]));
    mesh.until("it is tried", || mesh.tries() > 0).await;
    controller.0.pause("second", true).await.unwrap();
    mesh.until("it has ended", || mesh.runs("second").is_none()).await;
    assert!(!has_colour(&controller, "first"), "nothing is taken before it was tried");
    mesh.tries_are_long(false);
    mesh.until("it has it", || has_colour(&controller, "first")).await;
    assert_eq!(controller.pipeline("second").unwrap().state, PipelineStatus::Paused);
}
