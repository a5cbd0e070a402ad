//! What beside its verdict a judgement says.

use super::Mesh;
use tidemesh_avro::compat::CompatibilityLevel;
use tidemesh_avro::schema::Schema;
use tidemesh_plan::upgrade::{Judgement, Rule, Snapshot, StepKind, Subject, Verdict};

const STAR: &str = "@Pipeline p\nfrom shop.orders: SELECT * FROM r";
const TWO: &str = "@Pipeline a\nfrom shop.orders: SELECT id, qty FROM r
@Pipeline b\nfrom mesh.a: SELECT id, qty FROM r";

fn columns(mesh: &Mesh, pipeline: &str) -> Vec<String> {
    let judged = mesh.judge();
    let plan = judged.pipeline(pipeline).unwrap().plan.as_ref().unwrap();
    plan.outputs[0].query.columns.iter().map(|column| column.name.clone()).collect()
}

#[test]
fn an_upgrade_says_what_changes_and_has_the_plan() {
    let mut mesh = Mesh::new(STAR);
    mesh.change("shop.orders", "add extra int = 5; drop note");
    let judged = mesh.judge();
    let judgement = judged.pipeline("p").unwrap();
    assert_eq!(judgement.verdict, Verdict::Upgraded);
    let told: Vec<(&str, &str)> = judgement.outputs[0]
        .fields
        .iter()
        .map(|change| (change.field.as_deref().unwrap(), change.change.as_str()))
        .collect();
    assert_eq!(told, [("extra", "field_added"), ("note", "field_removed")]);
    assert_eq!(judgement.outputs[0].level, "FULL_TRANSITIVE");
    assert_eq!(judgement.owner.as_deref(), Some("team-p"));
    let columns = columns(&mesh, "p");
    assert!(columns.contains(&"extra".into()) && !columns.contains(&"note".into()));
    let value = &judgement.plan.as_ref().unwrap().outputs[0].schemas.value;
    assert!(value.contains(r#"{"name":"extra","type":["int","null"],"default":5}"#), "{value}");
}

#[test]
fn a_rename_flows_on_under_both_names() {
    let mut mesh = Mesh::new(STAR);
    mesh.change("shop.orders", "rename note memo");
    let judged = mesh.judge();
    let plan = judged.pipeline("p").unwrap().plan.as_ref().unwrap();
    assert!(plan.outputs[0].schemas.value.contains(r#""aliases":["note"]"#));
}

#[test]
fn a_move_says_what_the_snapshot_is() {
    for (sql, snapshot) in [
        ("SELECT id, note FROM r", Snapshot::Known),
        ("SELECT id, qty::text AS qty FROM r", Snapshot::Needed),
        // The same work, over values that the change of type may have made others.
        ("SELECT id, qty IS NULL AS none FROM r", Snapshot::Needed),
    ] {
        let mut mesh = Mesh::new(&format!("@Pipeline p\nfrom shop.orders: {sql}"));
        mesh.change("shop.orders", "type qty bigint");
        let judged = mesh.judge();
        let to = &judged.pipeline("p").unwrap().moves[0];
        assert_eq!((to.from.as_str(), to.to.as_str()), ("shop.orders", "shop.orders.g2"));
        assert_eq!(to.snapshot, snapshot, "{sql}");
        assert!(
            matches!(judged.steps[0].kind, StepKind::Drain { .. }) || snapshot == Snapshot::Needed
        );
    }
}

#[test]
fn a_table_that_goes_over_twice_is_followed_one_by_one() {
    let mut mesh = Mesh::new("@Pipeline p\nfrom shop.orders: SELECT id, note FROM r");
    mesh.change("shop.orders", "type qty bigint");
    mesh.change("shop.orders", "type qty text");
    assert!(mesh.topics.contains_key("shop.orders.g3"));
    for expected in ["shop.orders.g2", "shop.orders.g3"] {
        let judged = mesh.judge();
        assert_eq!(judged.pipeline("p").unwrap().moves[0].to, expected);
        mesh.running = judged.applied(&mesh.running);
    }
    assert_eq!(mesh.judge().pipeline("p").unwrap().verdict, Verdict::Unaffected);
}

#[test]
fn a_held_pipeline_goes_on_once_the_schema_or_its_document_is_mended() {
    let mut mesh = Mesh::new("@Pipeline p\nfrom shop.orders: SELECT id, note FROM r");
    let before = mesh.topics.clone();
    mesh.change("shop.orders", "rename note memo");
    assert_eq!(mesh.judge().pipeline("p").unwrap().verdict, Verdict::Held);
    let held = std::mem::replace(&mut mesh.topics, before);
    assert_eq!(mesh.judge().pipeline("p").unwrap().verdict, Verdict::Unaffected);
    mesh.topics = held;
    let mended = Mesh::new("@Pipeline p\nfrom shop.orders: SELECT id, note FROM r").documents;
    let text = super::documents("@Pipeline p\nfrom shop.orders: SELECT id, memo AS note FROM r");
    mesh.documents = tidemesh_plan::document::parse(&text).unwrap();
    assert_ne!(mesh.documents, mended);
    mesh.applied.insert("p".into());
    let judged = mesh.judge();
    let judgement = judged.pipeline("p").unwrap();
    assert_eq!(judgement.verdict, Verdict::Upgraded, "{judgement:#?}");
}

#[test]
fn manual_and_pinned_give_way_to_who_applies_them() {
    for evolution in ["manual", "pinned"] {
        let mut mesh = Mesh::new(&format!("{STAR}\nevolution: {evolution}"));
        mesh.change("shop.orders", "drop note");
        assert_eq!(mesh.judge().pipeline("p").unwrap().verdict, Verdict::Held);
        mesh.applied.insert("p".into());
        assert_eq!(mesh.judge().pipeline("p").unwrap().verdict, Verdict::Upgraded);
    }
}

#[test]
fn what_a_manual_pipeline_could_have_is_offered() {
    let mut mesh = Mesh::new(&format!("{STAR}\nevolution: manual"));
    mesh.change("shop.orders", "add extra text");
    let judged = mesh.judge();
    let judgement = judged.pipeline("p").unwrap();
    assert_eq!(judgement.verdict, Verdict::Stays);
    assert!(judgement.plan.is_some() && judgement.outputs.len() == 1);
    assert!(judged.steps.is_empty());
    assert_eq!(judged.applied(&mesh.running).pipelines[0].digest, judgement.digest);
}

#[test]
fn a_level_lets_through_what_it_lets_through() {
    let mut mesh = Mesh::new(TWO);
    mesh.change("shop.orders", "type qty bigint");
    let level = |level| Subject { level, history: Vec::new() };
    for topic in ["mesh.a", "mesh.b"] {
        mesh.subjects.insert(topic.into(), level(CompatibilityLevel::Backward));
    }
    let judged = mesh.judge();
    assert_eq!(judged.pipeline("a").unwrap().verdict, Verdict::Moved);
    assert_eq!(judged.pipeline("b").unwrap().verdict, Verdict::Upgraded);
    // Who reads int cannot read long: it goes first, and both behind the schemas.
    let names: Vec<String> = judged
        .steps
        .iter()
        .map(|step| step.name.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(names, ["register mesh.a", "register mesh.b", "switch b", "drain a", "switch a"]);
}

#[test]
fn older_versions_count_where_the_level_says_so() {
    let mut mesh = Mesh::new(STAR);
    mesh.change("shop.orders", "add extra text");
    let value = &mesh.running.pipelines[0].outputs[0].schemas.value;
    let older = value.replace(
        r#""fields":[{"name":"id""#,
        r#""fields":[{"name":"extra","type":["null","int"]},{"name":"id""#,
    );
    assert_ne!(*value, older);
    let history = vec![(1, Schema::parse(&older).unwrap())];
    for (level, verdict) in [
        (CompatibilityLevel::FullTransitive, Verdict::Stays),
        (CompatibilityLevel::Full, Verdict::Upgraded),
        (CompatibilityLevel::None, Verdict::Upgraded),
    ] {
        let subject = Subject { level, history: history.clone() };
        mesh.subjects.insert("mesh.p".into(), subject);
        assert_eq!(mesh.judge().pipeline("p").unwrap().verdict, verdict, "{level}");
    }
}

#[test]
fn upstream_goes_first_where_downstream_can_wait() {
    let mut mesh = Mesh::new(
        "@Pipeline a\nfrom shop.orders: SELECT * FROM r\n@Pipeline b\nfrom mesh.a: SELECT * FROM r",
    );
    mesh.change("shop.orders", "add extra text");
    let judged = mesh.judge();
    let switches: Vec<&str> = judged
        .steps
        .iter()
        .filter_map(|step| match &step.kind {
            StepKind::Switch { pipeline, .. } => Some(pipeline.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(switches, ["a", "b"]);
    mesh = Mesh::new(
        "@Pipeline a\nfrom shop.orders: SELECT * FROM r\n@Pipeline b\nfrom mesh.a: SELECT * FROM r",
    );
    mesh.change("shop.orders", "drop note");
    let judged = mesh.judge();
    let last = judged.steps.last().unwrap();
    assert!(last.name.starts_with("switch a "), "{last:?}");
}

#[test]
fn those_behind_a_held_pipeline_wait_where_all_that_drives_them_does() {
    let mut mesh = Mesh::new(
        "@Pipeline a\nfrom shop.orders: SELECT id, qty FROM r
@Pipeline b\nfrom mesh.a: SELECT id FROM r
@Pipeline c\nfrom mesh.b: SELECT id FROM r
@Pipeline u\ninputs: {x: mesh.a, y: shop.refunds}
  processors: [{name: m, sql: \"SELECT 'x' AS o, id FROM x UNION ALL SELECT 'y', id FROM y\"}]
  sinks: [{name: out, from: m, kafka: {topic: mesh.u}}]
@Pipeline v\nfrom mesh.u: SELECT o, id FROM r",
    );
    mesh.change("shop.orders", "drop qty");
    let judged = mesh.judge();
    let waits = |pipeline: &str| {
        let waits = &judged.pipeline(pipeline).unwrap().waits;
        waits.iter().map(|wait| (wait.topic.clone(), wait.held.clone())).collect::<Vec<_>>()
    };
    assert!(waits("a").is_empty() && waits("v").is_empty());
    let of = |topic: &str| vec![(topic.to_owned(), "a".to_owned())];
    assert_eq!((waits("b"), waits("c"), waits("u")), (of("mesh.a"), of("mesh.b"), of("mesh.a")));
    let names: Vec<&str> = judged.steps.iter().map(|step| step.name.as_str()).collect();
    assert!(names[0].starts_with("lease a shop.orders") && names[1].starts_with("hold a "));
}

#[test]
fn consumers_are_asked_where_the_level_is_theirs() {
    let mut mesh = Mesh::new(TWO);
    mesh.change("shop.orders", "type qty bigint");
    let subject = Subject { level: CompatibilityLevel::Consumers, history: Vec::new() };
    mesh.subjects.insert("mesh.a".into(), subject);
    let judged = mesh.judge();
    let judgement = judged.pipeline("a").unwrap();
    assert_eq!(judgement.verdict, Verdict::Held);
    assert!(judgement.reasons.iter().any(|reason| reason.message.contains("b could not read it")));
}

#[test]
fn a_topic_that_is_gone_holds_who_reads_it() {
    let mut mesh = Mesh::new(STAR);
    mesh.topics.remove("shop.orders");
    let judged = mesh.judge();
    let judgement = judged.pipeline("p").unwrap();
    assert_eq!(judgement.verdict, Verdict::Held);
    assert!(judgement.reasons[0].to_string().contains("the topic is gone"));
}

#[test]
fn events_of_an_application_follow_its_schema() {
    let text = "@Pipeline p\nfrom app.clicks: SELECT url, \"user\" FROM r";
    let with = |schema: &str| {
        let mut mesh = Mesh::new(text);
        mesh.change("app.clicks", &format!("schema {schema}"));
        mesh.judge().pipeline("p").unwrap().verdict
    };
    let fields = |rest: &str| {
        format!(
            r#"{{"type":"record","name":"Click","namespace":"app","fields":[{{"name":"url","type":"string"}}{rest}]}}"#
        )
    };
    let user = r#",{"name":"user","type":["null","long"],"default":null}"#;
    assert_eq!(with(&fields(user)), Verdict::Unaffected);
    assert_eq!(with(&fields("")), Verdict::Held);
    let narrower = user.replace("long", "int");
    let at = r#",{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}}"#;
    assert_eq!(with(&fields(&format!("{at}{narrower}"))), Verdict::Stays);
    assert_eq!(with(&fields(&narrower)), Verdict::Stays);
    let text = user.replace("long", "string");
    assert_eq!(with(&fields(&format!("{at}{text}"))), Verdict::Held);
}

#[test]
fn a_field_within_a_record_is_judged_by_itself() {
    let row = super::support::ORDERS;
    let with = |sql: &str, from: &str, to: &str| {
        let changed = row.replace(from, to);
        assert_ne!(changed, row);
        let mut mesh = Mesh::new(&format!("@Pipeline p\nfrom shop.orders: {sql}"));
        mesh.change("shop.orders", &format!("schema {changed}"));
        let judged = mesh.judge();
        let judgement = judged.pipeline("p").unwrap();
        (judgement.verdict, judgement.reasons.first().and_then(|reason| reason.field.clone()))
    };
    let city = r#"{"name":"city","type":["null","string"]},
        {"name":"geo""#;
    let without = r#"{"name":"geo""#;
    let lat = "SELECT id, (shipping).geo.lat AS lat FROM r";
    // Records that lack a field without a default are a topic that old readers cannot read.
    assert_eq!(with(lat, city, without).0, Verdict::Moved);
    let (verdict, field) = with("SELECT id, (shipping).city AS city FROM r", city, without);
    assert_eq!((verdict, field.as_deref()), (Verdict::Held, Some("shipping.city")));
    let zip = r#"{"name":"zip","type":["null","string"],"default":null},{"name":"geo""#;
    assert_eq!(with(lat, without, zip).0, Verdict::Unaffected);
    assert_eq!(with("SELECT id, shipping FROM r", without, zip).0, Verdict::Upgraded);
}

/// Judges, has the canary of `p` fail with the plan that it would get, and judges again.
fn unfit(mesh: &mut Mesh) -> Judgement {
    let judged = mesh.judge();
    let digest = judged.pipeline("p").unwrap().new_digest.clone().unwrap();
    let how = "it fails".to_owned();
    mesh.unfit.entry("p".into()).or_default().insert(digest, how);
    mesh.judge().pipeline("p").unwrap().clone()
}

#[test]
fn a_plan_that_failed_its_canary_is_not_taken() {
    let mut mesh = Mesh::new(STAR);
    mesh.change("shop.orders", "add extra int = 5");
    let judgement = unfit(&mut mesh);
    assert_eq!(judgement.verdict, Verdict::Stays);
    let [reason] = judgement.reasons.as_slice() else { panic!("{:?}", judgement.reasons) };
    assert_eq!(reason.rule, Rule::Canary);
    assert!(reason.message.ends_with("it fails") && reason.remedy.contains("resume"), "{reason}");
}

#[test]
fn who_cannot_go_on_without_the_plan_that_failed_is_held() {
    let mut mesh = Mesh::new(STAR);
    mesh.change("shop.orders", "rename note memo");
    let judgement = unfit(&mut mesh);
    assert_eq!(judgement.verdict, Verdict::Held);
    assert!(judgement.reasons.iter().any(|reason| reason.rule == Rule::Canary));
}

#[test]
fn a_move_whose_canary_failed_is_held_and_another_change_is_tried_anew() {
    let mut mesh = Mesh::new("@Pipeline p\nfrom shop.orders: SELECT id, qty::text AS qty FROM r");
    mesh.change("shop.orders", "type qty bigint");
    let judgement = unfit(&mut mesh);
    assert_eq!(judgement.verdict, Verdict::Held);

    let mut mesh = Mesh::new(STAR);
    mesh.change("shop.orders", "add extra int = 5");
    unfit(&mut mesh);
    mesh.change("shop.orders", "add more int = 5");
    assert_eq!(mesh.judge().pipeline("p").unwrap().verdict, Verdict::Upgraded);
}
