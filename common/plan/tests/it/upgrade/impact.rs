//! What a change would do, before it is made.

use super::{Mesh, parsed, topics};
use std::time::Instant;
use tidemesh_avro::compat::{CompatibilityLevel, check_level};
use tidemesh_model::ErrorKind;
use tidemesh_plan::upgrade::Verdict;
use tidemesh_plan::upgrade::impact::{Impact, apply, impact};

const MESH: &str = "@Pipeline a\nfrom shop.orders: SELECT * FROM r
@Pipeline b\nfrom mesh.a: SELECT id, note FROM r
@Pipeline c\nfrom shop.refunds: SELECT id, amount FROM r
@Pipeline d\nfrom shop.orders: SELECT id, qty FROM r WHERE status = 'x'
@Source notes
pipeline: {name: b, sink: out}
  catalog: {owner: team-notes}";

fn asked(topic: &str, changes: &str) -> Impact {
    let mesh = Mesh::new(MESH);
    impact(&mesh.question(), topic, &parsed(changes)).unwrap()
}

fn verdicts(impact: &Impact) -> Vec<(&str, &str)> {
    impact.pipelines.iter().map(|one| (one.pipeline.as_str(), one.verdict.name())).collect()
}

#[test]
fn everything_that_a_dropped_column_touches_is_told() {
    let impact = asked("shop.orders", "drop note");
    assert_eq!(verdicts(&impact), [("a", "upgraded"), ("d", "unaffected"), ("b", "held")]);
    assert!(impact.holds());
    let b = &impact.pipelines[2];
    assert_eq!(b.owner.as_deref(), Some("team-b"));
    assert!(b.processors.contains("made") && b.sinks.contains("out") && b.reads.contains("r.note"));
    assert!(impact.owners.contains("team-notes") && !impact.owners.contains("team-c"));
    let json = serde_json::to_value(&impact).unwrap();
    assert_eq!(json["worst"], "held");
    assert_eq!(json["fields"][0]["field"], "note");
    assert_eq!(json["pipelines"][2]["reasons"][0]["rule"], "lost");
}

#[test]
fn what_readers_cannot_follow_goes_to_the_next_topic() {
    let impact = asked("shop.orders", "type total bigint");
    assert_eq!(impact.next_topic.as_deref(), Some("shop.orders.g2"));
    assert_eq!(verdicts(&impact), [("a", "held"), ("d", "moved"), ("b", "unaffected")]);
    assert_eq!(asked("shop.orders", "type total numeric(14,2)").next_topic, None);
    assert_eq!(asked("shop.orders", "add x text").worst, Verdict::Upgraded);
    assert_eq!(asked("shop.orders", "key id,qty").next_topic.as_deref(), Some("shop.orders.g2"));
    assert!(asked("shop.customers", "drop email").pipelines.is_empty());
}

#[test]
fn what_stays_in_a_topic_can_be_read_both_ways() {
    for change in
        ["add x text", "add x int = 3", "drop note", "rename note memo", "add x numeric(5,1)"]
    {
        let before = &topics()["shop.orders"].value;
        let after = apply(&topics(), "shop.orders", &parsed(change)).unwrap();
        assert_eq!(after.len(), 4, "{change}");
        let verdict =
            check_level(CompatibilityLevel::Full, &after["shop.orders"].value, &[(1, before)]);
        assert!(verdict.compatible(), "{change}: {:?}", verdict.messages());
    }
}

#[test]
fn a_change_that_cannot_be_is_refused_with_why() {
    let mesh = Mesh::new(MESH);
    for (topic, change, kind) in [
        ("shop.order", "drop note", ErrorKind::NotFound),
        ("shop.orders", "drop nothing", ErrorKind::NotFound),
        ("shop.orders", "drop id", ErrorKind::Unsupported),
        ("shop.orders", "add note text", ErrorKind::Unsupported),
        ("shop.orders", "rename note qty", ErrorKind::Unsupported),
        ("shop.orders", "type note texts", ErrorKind::Malformed),
        ("shop.orders", "schema {", ErrorKind::Malformed),
        ("shop.orders", "schema \"string\"", ErrorKind::Unsupported),
    ] {
        let error = impact(&mesh.question(), topic, &parsed(change)).unwrap_err();
        assert_eq!(error.kind(), kind, "{change}: {error}");
    }
}

#[test]
fn a_thousand_pipelines_are_asked_in_time() {
    let text: String = (0..1_000)
        .map(|number| match number % 5 {
            0 => format!(
                "@Pipeline p{number}\nfrom shop.orders: SELECT * FROM r WHERE qty > {number}\n"
            ),
            _ => {
                format!("@Pipeline p{number}\nfrom mesh.p{}: SELECT id, note FROM r\n", number - 1)
            }
        })
        .collect();
    let mesh = Mesh::new(&text);
    let begin = Instant::now();
    let impact = impact(&mesh.question(), "shop.orders", &parsed("drop note")).unwrap();
    println!("asked in {:?}", begin.elapsed());
    assert!(impact.pipelines.len() >= 400, "{}", impact.pipelines.len());
    assert!(begin.elapsed().as_secs() < 60);
}
