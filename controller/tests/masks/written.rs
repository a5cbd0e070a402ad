//! Topics that pipelines wrote once: what masked their records is gone with a plan, or a sink's name.

use super::{PEOPLE, answered, captured, delete, flat, placed, sample, source};
use crate::support::{Mesh, Running};
use crate::{id, pipeline};
use serde_json::json;
use tidemesh_controller::Asked;

const MAILS: &str = "mesh.mails";

const SQL: &str = "SELECT id, name, email FROM rows";

/// The pipeline's sink as a source.
fn published(sink: &str, more: &str) -> String {
    format!(
        "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {{name: mails}}\nspec:\n  pipeline: {{name: \
         mails, sink: {sink}}}\n{more}"
    )
}

const MASKED: &str = "  catalog: {fields: {email: {masked: true}}}\n";

/// A pipeline that writes a row whose `email` its document masks.
async fn with_mails(mesh: &Mesh) -> Running {
    captured(mesh);
    let controller = mesh.controller("one").await;
    controller.apply(&source("")).await.unwrap();
    let declared = pipeline("mails", PEOPLE, SQL);
    controller.apply(&format!("{declared}---\n{}", published("out", MASKED))).await.unwrap();
    let (schemas, data) = flat(MAILS, &["name", "email"], &["Ann", "hush"]);
    mesh.written(MAILS, &schemas, &data);
    is_masked(&controller).await;
    controller
}

async fn is_masked(controller: &Running) {
    assert_eq!(sample(controller, MAILS).await, json!({"id": 1, "name": "Ann", "email": "***"}));
}

/// No sample is given, since a pipeline wrote this topic.
async fn is_refused(controller: &Running, topic: &str, written: &str) {
    let (status, refused) = answered(controller, &format!("{topic}/samples")).await;
    let message = refused["message"].as_str().unwrap();
    assert_eq!(status, 422, "{refused}");
    for part in [&format!("its_topic={written}"), "pipeline=mails", "a topic of their own"] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

async fn delete_pipeline(controller: &Running, name: &str) {
    controller.0.delete(&id(name), &Asked::default()).await.unwrap();
}

/// A document of a topic as one that others write.
fn of_others(topic: &str) -> String {
    placed("").replace("shop.orders", topic)
}

#[tokio::test]
async fn records_of_a_removed_pipeline_are_not_shown_as_those_of_others() {
    let mesh = Mesh::open();
    let controller = with_mails(&mesh).await;
    delete(&controller, "mails").await;
    delete_pipeline(&controller, "mails").await;
    controller.apply(&of_others(MAILS)).await.unwrap();
    is_refused(&controller, MAILS, MAILS).await;
    let (_, shown) = answered(&controller, MAILS).await;
    assert_eq!(shown["fields"][2]["masked"], true, "its sink's document said so: {shown}");

    // Nor is what another pipeline makes of them.
    controller.apply(&pipeline("copies", MAILS, SQL)).await.unwrap();
    let (schemas, data) = flat("mesh.copies", &["name", "email"], &["Ann", "hush"]);
    mesh.written("mesh.copies", &schemas, &data);
    is_refused(&controller, "mesh.copies", MAILS).await;
    controller.end().await;
    let controller = mesh.controller("two").await;
    mesh.until("it has planned", || mesh.runs("copies").is_some()).await;
    is_refused(&controller, MAILS, MAILS).await;
    is_refused(&controller, "mesh.copies", MAILS).await;
}

#[tokio::test]
async fn nor_are_those_of_a_sink_and_a_tap_that_have_other_topics_now() {
    let mesh = Mesh::open();
    let controller = with_mails(&mesh).await;
    let other = pipeline("mails", PEOPLE, SQL).replace(MAILS, "mesh.others");
    let (from, to) = ("    - name: made\n", "    - name: made\n      tap: mesh.tapped\n");
    controller.apply(&other.replace(from, to)).await.unwrap();
    controller.apply(&other).await.unwrap();
    for topic in [MAILS, "mesh.tapped"] {
        let (schemas, data) = flat(topic, &["name", "email"], &["Ann", "hush"]);
        mesh.written(topic, &schemas, &data);
        controller.apply(&of_others(topic)).await.unwrap();
        is_refused(&controller, topic, topic).await;
    }
    // An emitter that took the name over has not masked what was there before it.
    let (schemas, data) = flat(MAILS, &["name", "email"], &["Ann", "hush"]);
    mesh.emitted("mailer-1", MAILS, &schemas, &data);
    is_refused(&controller, MAILS, MAILS).await;
}

#[tokio::test]
async fn what_a_sink_masked_holds_under_its_next_name() {
    let mesh = Mesh::open();
    let controller = with_mails(&mesh).await;
    delete(&controller, "mails").await;
    let renamed = pipeline("mails", PEOPLE, SQL).replace("name: out", "name: sent");
    controller.apply(&renamed).await.unwrap();
    is_masked(&controller).await;
    // Another pipeline's sink is another name, too.
    delete_pipeline(&controller, "mails").await;
    let other = pipeline("letters", PEOPLE, SQL).replace("mesh.letters", MAILS);
    controller.apply(&other).await.unwrap();
    is_masked(&controller).await;
    delete_pipeline(&controller, "letters").await;

    // Somebody says of the topic that it is not masked.
    controller.apply(&format!("{renamed}---\n{}", published("sent", ""))).await.unwrap();
    assert_eq!(sample(&controller, MAILS).await["email"], "hush");
}
