//! Certificates that were forged, or rest on what is no longer so, are found.

use super::Mesh;
use tidemesh_avro::compat::CompatibilityLevel;
use tidemesh_plan::upgrade::certificate::{Certificate, Facts, recheck};
use tidemesh_plan::upgrade::{Snapshot, Subject, Verdict};

const PAID: &str =
    "@Pipeline p\nfrom shop.orders: SELECT id, status, qty FROM r WHERE status = 'paid'";
const STAR: &str = "@Pipeline p\nfrom shop.orders: SELECT * FROM r";

/// The certificate on `p` once a topic has changed, and its facts.
fn certified(text: &str, change: &str) -> (Mesh, Certificate, Facts) {
    let mut mesh = Mesh::new(text);
    mesh.change("shop.orders", change);
    let judged = mesh.judge();
    let facts = Facts::gather(&mesh.question(), &judged, "p").unwrap();
    let certificate = judged.pipeline("p").unwrap().certificate.clone();
    (mesh, certificate, facts)
}

fn refused(certificate: &Certificate, facts: &Facts, why: &str) {
    let wrong = recheck(certificate, facts).unwrap_err();
    assert!(wrong.iter().any(|one| one.contains(why)), "{why}: {wrong:?}");
}

#[test]
fn another_verdict_does_not_follow() {
    for (text, change) in [
        (PAID, "add extra text"),
        (PAID, "drop qty"),
        (STAR, "add extra text"),
        ("@Pipeline p\nfrom shop.orders: SELECT id, note FROM r", "type qty bigint"),
        ("@Pipeline p\nfrom shop.orders: SELECT * FROM r\nevolution: manual", "add extra text"),
    ] {
        let (_, certificate, facts) = certified(text, change);
        let all =
            [Verdict::Unaffected, Verdict::Stays, Verdict::Upgraded, Verdict::Moved, Verdict::Held];
        for verdict in all.into_iter().filter(|verdict| *verdict != certificate.verdict) {
            let forged = Certificate { verdict, ..certificate.clone() };
            refused(&forged, &facts, "does not follow");
        }
    }
}

#[test]
fn facts_that_are_not_so_are_found() {
    let (_, certificate, facts) = certified(PAID, "drop qty");
    let mut forged = certificate.clone();
    forged.inputs[0].readable = true;
    refused(&forged, &facts, "whether its records can be read is not so");
    let mut forged = certificate.clone();
    forged.inputs[0].consumed.remove(&vec!["qty".to_owned()]);
    refused(&forged, &facts, "other fields are read");
    let mut forged = certificate.clone();
    forged.inputs[0].now = Some(forged.inputs[0].planned.clone());
    refused(&forged, &facts, "the schemas are others");
    let mut forged = certificate.clone();
    forged.inputs.clear();
    refused(&forged, &facts, "the inputs are others");
    refused(&Certificate { reasons: Vec::new(), ..certificate.clone() }, &facts, "does not follow");
    refused(
        &Certificate { digest: "0".repeat(64), ..certificate.clone() },
        &facts,
        "another plan runs",
    );
    refused(&Certificate { version: 2, ..certificate.clone() }, &facts, "another form");
    refused(&Certificate { may_change: false, ..certificate }, &facts, "the evolution is another");
}

#[test]
fn an_output_is_looked_at_again() {
    let (_, certificate, facts) = certified(STAR, "add extra text");
    let mut forged = certificate.clone();
    forged.outputs.clear();
    refused(&forged, &facts, "its new schema is not told");
    let mut forged = certificate.clone();
    forged.outputs[0].level = "NONE".into();
    refused(&forged, &facts, "the schemas or the level are others");
    let mut forged = certificate.clone();
    forged.outputs[0].new.value = forged.outputs[0].new.value.replace("extra", "other");
    refused(&forged, &facts, "the schemas or the level are others");
    let mut forged = certificate;
    forged.outputs[0].topic = "mesh.other".into();
    refused(&forged, &facts, "is no output");
}

#[test]
fn a_snapshot_that_is_needed_is_not_known() {
    let cast = "@Pipeline p\nfrom shop.orders: SELECT id, qty::text AS qty FROM r";
    let (_, mut certificate, facts) = certified(cast, "type qty bigint");
    assert_eq!(certificate.inputs[0].snapshot, Some(Snapshot::Needed));
    certificate.inputs[0].snapshot = Some(Snapshot::Known);
    refused(&certificate, &facts, "does not follow");
    certificate.inputs[0].snapshot = None;
    refused(&certificate, &facts, "does not follow");
}

#[test]
fn what_has_changed_since_is_found() {
    let (mut mesh, certificate, _) = certified(STAR, "add extra text");
    mesh.change("shop.orders", "drop note");
    let judged = mesh.judge();
    let facts = Facts::gather(&mesh.question(), &judged, "p").unwrap();
    refused(&certificate, &facts, "the schemas are others");
    // The same with the level of its output.
    let (mut mesh, certificate, _) = certified(STAR, "add extra text");
    let subject = Subject { level: CompatibilityLevel::Backward, history: Vec::new() };
    mesh.subjects.insert("mesh.p".into(), subject);
    let judged = mesh.judge();
    let facts = Facts::gather(&mesh.question(), &judged, "p").unwrap();
    refused(&certificate, &facts, "the level are others");
    // And with what runs.
    let running = judged.applied(&mesh.running);
    mesh.running = running;
    let judged = mesh.judge();
    let facts = Facts::gather(&mesh.question(), &judged, "p").unwrap();
    refused(&certificate, &facts, "another plan runs");
}
