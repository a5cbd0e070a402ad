//! A controller over a registry and a launcher in memory: what it declares, starts, follows and refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod canary;
mod catalog;
mod losses;
mod masks;
mod requests;
mod sources;
mod support;

use std::time::Duration;
use support::{KEPT_BYTES_MAX, Mesh, table};
use tidemesh_controller::{Asked, Id, PipelineStatus, Refused, Text, Verb};
use tidemesh_model::{CleanupPolicy, ErrorKind};
use tidemesh_plan::document::Kind;
use tidemesh_transport::TopicConfig;

/// A pipeline from one topic to another by one query.
fn pipeline(name: &str, topic: &str, sql: &str) -> String {
    format!(
        "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: {name}}}\nspec:\n  inputs:\n    \
         rows: {topic}\n  processors:\n    - name: made\n      sql: {sql}\n  sinks:\n    - name: out\n      \
         from: made\n      kafka: {{topic: mesh.{name}}}\n"
    )
}

fn id(name: &str) -> Id {
    Id { kind: Kind::Pipeline, name: name.to_owned() }
}

const ORDERS: &str = "shop.public.orders";

#[tokio::test]
async fn what_is_applied_runs_and_what_is_deleted_ends() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    let text = pipeline("paid", ORDERS, "SELECT id, status FROM rows");
    let planned = controller.plan(&text).await.unwrap();
    assert_eq!(planned.documents[0].verb, Verb::Create);
    assert_eq!(planned.documents[0].effects[0], "writes topic mesh.paid, with the key id");
    assert!(controller.state().documents().next().is_none(), "a plan changes nothing");

    let applied = controller.apply(&text).await.unwrap();
    assert_eq!(applied.documents[0].revision, Some(1));
    mesh.until("it runs", || mesh.runs("paid").is_some()).await;
    assert_eq!(controller.pipeline("paid").unwrap().state, PipelineStatus::Running);
    assert!(controller.plan(&text).await.unwrap().is_empty(), "it is so already");

    let changed = pipeline("paid", ORDERS, "SELECT id FROM rows");
    let change = controller.apply(&changed).await.unwrap().documents.remove(0);
    assert_eq!((change.verb, change.revision), (Verb::Change, Some(2)));
    assert_eq!(change.fields[0].path, "spec.processors[made].sql");
    assert!(change.effects[0].contains("status"), "{:?}", change.effects);
    let digest = controller.pipeline("paid").unwrap().digest;
    mesh.until("the new plan runs", || mesh.runs("paid") == digest).await;

    controller.0.delete(&id("paid"), &Asked::default()).await.unwrap();
    mesh.until("it ends", || mesh.runs("paid").is_none()).await;
    assert_eq!(controller.state().history(&id("paid")).len(), 3);
}

#[tokio::test]
async fn two_texts_with_documents_of_one_name_are_refused_at_the_later_one() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    let text =
        |file: &str, sql: &str| Text { name: file.to_owned(), text: pipeline("paid", ORDERS, sql) };
    let texts = [text("a.yaml", "SELECT id FROM rows"), text("b.yaml", "SELECT * FROM rows")];
    let refused = controller.0.apply(&texts, &Asked::default()).await;
    let Err(Refused::Wrong(refusals)) = refused else { panic!("{refused:?}") };
    let said = refusals[0].to_string();
    assert!(said.starts_with("b.yaml:3:") && said.contains("in a.yaml too"), "{said}");
    assert!(refusals.len() == 1 && controller.state().document(&id("paid")).is_none());
}

#[tokio::test]
async fn what_is_wrong_is_refused_whole_with_its_place() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    let good = pipeline("good", ORDERS, "SELECT id FROM rows");
    let bad = pipeline("bad", ORDERS, "SELECT id, colour FROM rows");
    let Err(Refused::Wrong(refusals)) = controller.apply(&format!("{good}---\n{bad}")).await else {
        panic!("it is wrong");
    };
    let text = refusals[0].to_string();
    assert!(text.starts_with("test.yaml:") && text.contains("colour"), "{text}");
    assert!(text.contains("Pipeline bad: spec.processors[0].sql"), "{text}");
    assert!(controller.state().documents().next().is_none(), "nothing is half done");
    let Err(Refused::Wrong(refusals)) = controller.apply("kind: Pipelin").await else {
        panic!("it is wrong");
    };
    assert_eq!(refusals[0].line, Some(1));
}

#[tokio::test]
async fn what_others_need_is_kept() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    let first = pipeline("first", ORDERS, "SELECT id, status FROM rows");
    let second = pipeline("second", "mesh.first", "SELECT id, status FROM rows");
    controller.apply(&format!("{first}---\n{second}")).await.unwrap();
    let without = pipeline("first", ORDERS, "SELECT id FROM rows");
    let Err(Refused::Wrong(refusals)) = controller.apply(&without).await else {
        panic!("the second reads it");
    };
    assert!(refusals[0].about.starts_with("Pipeline second"), "{refusals:?}");
    // Its topic would have no schema yet, since nothing has run.
    let gone = controller.0.delete(&id("first"), &Asked::default()).await;
    assert!(matches!(gone, Err(Refused::Wrong(_))), "{gone:?}");
}

#[tokio::test]
async fn a_new_field_flows_on_through_all_that_take_it() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    let first = pipeline("first", ORDERS, "SELECT * FROM rows");
    let second = pipeline("second", "mesh.first", "SELECT * FROM rows");
    let third = pipeline("third", "mesh.second", "SELECT id FROM rows");
    controller.apply(&[first, second, third].join("---\n")).await.unwrap();
    mesh.until("they run", || mesh.runs("third").is_some()).await;
    let before = mesh.runs("third");
    mesh.topic(ORDERS, &table(ORDERS, &["status", "colour"]));
    let fields = |name: &str| controller.pipeline(name).unwrap().outputs[0].fields.clone();
    mesh.until("the second has it", || fields("second").contains(&"colour".to_owned())).await;
    let digest = controller.pipeline("second").unwrap().digest;
    mesh.until("it runs so", || mesh.runs("second") == digest).await;
    assert_eq!(mesh.runs("third"), before, "who reads nothing of it is left alone");
}

#[tokio::test]
async fn a_pipeline_whose_field_is_gone_is_held_until_it_is_back() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status", "colour"]));
    let controller = mesh.controller("one").await;
    let one = pipeline("one", ORDERS, "SELECT id, colour FROM rows");
    let other = pipeline("other", ORDERS, "SELECT id, status FROM rows");
    controller.apply(&format!("{one}---\n{other}")).await.unwrap();
    mesh.until("they run", || mesh.runs("other").is_some() && mesh.runs("one").is_some()).await;
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let state = |name: &str| controller.pipeline(name).unwrap().state;
    mesh.until("it is held", || state("one") == PipelineStatus::Held).await;
    let reasons = controller.pipeline("one").unwrap().reasons;
    assert!(reasons[0].contains("colour"), "{reasons:?}");
    assert_eq!(state("other"), PipelineStatus::Running);
    // What is held does not keep anybody from something else.
    let third = pipeline("third", ORDERS, "SELECT id FROM rows");
    controller.apply(&third).await.unwrap();
    mesh.topic(ORDERS, &table(ORDERS, &["status", "colour"]));
    mesh.until("it is back", || state("one") == PipelineStatus::Running).await;
}

#[tokio::test]
async fn paused_is_paused_over_a_restart() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    controller.apply(&pipeline("paid", ORDERS, "SELECT id FROM rows")).await.unwrap();
    mesh.until("it runs", || mesh.runs("paid").is_some()).await;
    controller.0.pause("paid", true).await.unwrap();
    mesh.until("it ends", || mesh.runs("paid").is_none()).await;
    controller.end().await;
    let controller = mesh.controller("one again").await;
    mesh.until("it is planned", || controller.pipeline("paid").unwrap().digest.is_some()).await;
    assert_eq!(controller.pipeline("paid").unwrap().state, PipelineStatus::Paused);
    assert!(mesh.runs("paid").is_none());
    controller.0.pause("paid", false).await.unwrap();
    mesh.until("it runs again", || mesh.runs("paid").is_some()).await;
    let Err(Refused::Error(error)) = controller.0.pause("nobody", true).await else { panic!() };
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_revision_comes_back() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    let first = pipeline("paid", ORDERS, "SELECT id FROM rows");
    controller.apply(&first).await.unwrap();
    controller.apply(&pipeline("paid", ORDERS, "SELECT id, status FROM rows")).await.unwrap();
    let back = controller.0.roll_back(&id("paid"), 1, &Asked::default()).await.unwrap();
    assert_eq!(back.documents[0].revision, Some(3));
    assert!(controller.plan(&first).await.unwrap().is_empty());
    let none = controller.0.roll_back(&id("paid"), 9, &Asked::default()).await;
    assert!(matches!(none, Err(Refused::Error(error)) if error.report().contains("1, 2, 3")));
    // A column that the revision reads is gone: its text is nobody's file.
    controller.apply(&pipeline("paid", ORDERS, "SELECT id FROM rows")).await.unwrap();
    mesh.topic(ORDERS, &table(ORDERS, &["state"]));
    let gone = controller.0.roll_back(&id("paid"), 2, &Asked::default()).await;
    let Err(Refused::Wrong(refusals)) = gone else { panic!("{gone:?}") };
    let told = refusals[0].to_string();
    assert!(told.starts_with("revision 2: Pipeline paid: spec.processors[0].sql"), "{told}");
    assert_eq!((refusals[0].line, refusals[0].column), (None, None));
}

#[tokio::test]
async fn of_two_controllers_one_acts_and_the_other_takes_over() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let one = mesh.controller("one").await;
    let two = mesh.start("two");
    one.apply(&pipeline("paid", ORDERS, "SELECT id FROM rows")).await.unwrap();
    let text = pipeline("other", ORDERS, "SELECT id FROM rows");
    let Err(Refused::NotLeading(_)) = two.apply(&text).await else { panic!("one acts") };
    one.end().await;
    mesh.until("two acts", || two.leads()).await;
    two.apply(&text).await.unwrap();
    assert_eq!(two.state().documents().count(), 2);
}

#[tokio::test]
async fn who_cannot_renew_the_lease_in_time_stops_and_goes_on_once_it_can() {
    let mesh = Mesh::with_short_leases();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    let text = pipeline("paid", ORDERS, "SELECT id FROM rows");
    controller.apply(&text).await.unwrap();
    mesh.until("it runs", || mesh.runs("paid").is_some()).await;
    let blocked = mesh.block_store();
    let since = std::time::Instant::now();
    mesh.until("it steps down", || !controller.leads()).await;
    assert!(since.elapsed() < Duration::from_secs(3), "it waits for the store, not for its lease");
    mesh.until("its pipelines end", || mesh.runs("paid").is_none()).await;
    assert!(controller.trouble().unwrap().contains("lease"), "{:?}", controller.trouble());
    let Err(Refused::NotLeading(None)) = controller.apply(&text).await else { panic!("who acts?") };
    drop(blocked);
    mesh.until("it acts again", || controller.leads()).await;
    mesh.until("they run again", || mesh.runs("paid").is_some()).await;
    mesh.until("it is well", || controller.trouble().is_none()).await;
    assert!(controller.plan(&text).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_registry_that_is_away_stops_nothing() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    controller.apply(&pipeline("paid", ORDERS, "SELECT id FROM rows")).await.unwrap();
    mesh.until("it runs", || mesh.runs("paid").is_some()).await;
    mesh.registry_away(true);
    mesh.until("it is told", || controller.trouble().is_some()).await;
    assert!(mesh.runs("paid").is_some());
    let asked = controller.plan(&pipeline("x", ORDERS, "SELECT id FROM rows")).await;
    let Err(Refused::Error(error)) = asked else { panic!("nobody can tell") };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    mesh.registry_away(false);
    mesh.until("it is well", || controller.trouble().is_none()).await;
    tokio::time::timeout(Duration::from_secs(5), controller.end()).await.unwrap();
}

#[tokio::test]
async fn topics_are_kept_for_pipelines_that_wait_and_set_back_afterwards() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    let controller = mesh.controller("one").await;
    let usual = mesh.tombstones_ms(ORDERS);
    controller.apply(&pipeline("paid", ORDERS, "SELECT id, status FROM rows")).await.unwrap();
    controller.apply(&pipeline("other", ORDERS, "SELECT id FROM rows")).await.unwrap();
    mesh.until("both run", || mesh.runs("paid").is_some() && mesh.runs("other").is_some()).await;
    assert!(controller.retention_leases().is_empty());

    controller.0.pause("paid", true).await.unwrap();
    mesh.until("it is kept", || mesh.tombstones_ms(ORDERS) > usual).await;
    let lease = &controller.retention_leases()[ORDERS];
    assert_eq!(lease.former.delete_retention_ms, usual);
    // Whoever takes over knows what the topic had.
    controller.end().await;
    let controller = mesh.controller("two").await;
    controller.0.pause("other", true).await.unwrap();
    mesh.until("two wait", || controller.retention_leases()[ORDERS].pipelines.len() == 2).await;
    controller.0.pause("paid", false).await.unwrap();
    mesh.until("one waits", || controller.retention_leases()[ORDERS].pipelines.len() == 1).await;
    assert!(mesh.tombstones_ms(ORDERS) > usual);
    controller.0.delete(&id("other"), &Asked::default()).await.unwrap();
    mesh.until("it is set back", || mesh.tombstones_ms(ORDERS) == usual).await;
    mesh.until("it is forgotten", || controller.retention_leases().is_empty()).await;
}

/// Whose records go by size.
fn by_size(bytes: u64) -> TopicConfig {
    TopicConfig {
        cleanup_policy: CleanupPolicy::Delete,
        retention_bytes: Some(bytes),
        ..TopicConfig::default()
    }
}

#[tokio::test]
async fn what_an_operator_sets_meanwhile_is_kept_from_and_stays() {
    let mesh = Mesh::open();
    mesh.topic(ORDERS, &table(ORDERS, &["status"]));
    mesh.make_topic(ORDERS, by_size(50), 7);
    let controller = mesh.controller("one").await;
    controller.apply(&pipeline("paid", ORDERS, "SELECT id FROM rows")).await.unwrap();
    mesh.until("it runs", || mesh.runs("paid").is_some()).await;
    controller.0.pause("paid", true).await.unwrap();
    let bytes = || mesh.topic_config(ORDERS).retention_bytes;
    mesh.until("it is kept", || bytes().is_none()).await;
    // Somebody sets it, or makes the topic anew: it is kept all the same.
    mesh.make_topic(ORDERS, by_size(60), 0);
    mesh.until("it is kept again", || bytes().is_none()).await;
    assert_eq!(controller.retention_leases()[ORDERS].former.retention_bytes, Some(60));
    controller.0.pause("paid", false).await.unwrap();
    mesh.until("it is set back", || bytes() == Some(60)).await;
    mesh.until("it is forgotten", || controller.retention_leases().is_empty()).await;
}

#[tokio::test]
async fn topics_are_kept_within_a_budget_and_the_oldest_goes_first() {
    let mesh = Mesh::open();
    const OTHER: &str = "shop.public.other";
    for topic in [ORDERS, OTHER] {
        mesh.topic(topic, &table(topic, &["status"]));
        mesh.make_topic(topic, by_size(50), 100_000);
    }
    let controller = mesh.controller("one").await;
    let all = [(ORDERS, "paid"), (OTHER, "other")];
    for (topic, name) in all {
        controller.apply(&pipeline(name, topic, "SELECT id FROM rows")).await.unwrap();
        mesh.until("it runs", || mesh.runs(name).is_some()).await;
        controller.0.pause(name, true).await.unwrap();
        let has_size =
            || controller.retention_leases().get(topic).is_some_and(|of| of.size.is_some());
        mesh.until("it is kept", || {
            has_size() && mesh.topic_config(topic).retention_bytes.is_none()
        })
        .await;
    }
    let grow = |topic: &str, by: u64| {
        mesh.make_topic(topic, mesh.topic_config(topic), 100_000 + by);
    };
    grow(ORDERS, KEPT_BYTES_MAX / 2);
    mesh.until("its growth is seen", || controller.kept_topics().bytes == KEPT_BYTES_MAX / 2).await;
    assert_eq!((controller.kept_topics().topics, controller.kept_topics().let_go), (2, 0));
    grow(OTHER, KEPT_BYTES_MAX - KEPT_BYTES_MAX / 2);
    mesh.until("the oldest is let go", || controller.kept_topics().let_go == 1).await;
    mesh.until("it has its own settings", || mesh.topic_config(ORDERS) == by_size(50)).await;
    assert_eq!(mesh.topic_config(OTHER).retention_bytes, None, "the other is kept");
    let report = controller.pipeline("paid").unwrap();
    assert!(report.reasons[0].contains("shop.public.orders is not kept for it"), "{report:?}");
    assert!(controller.pipeline("other").unwrap().reasons.is_empty());
    // It stays so over a restart, and is forgotten once the pipeline has read what there is.
    controller.end().await;
    let controller = mesh.controller("two").await;
    mesh.until("it is known", || controller.kept_topics().let_go == 1).await;
    controller.0.pause("paid", false).await.unwrap();
    mesh.until("it is forgotten", || controller.kept_topics().let_go == 0).await;
    assert_eq!(mesh.topic_config(ORDERS), by_size(50));
}
