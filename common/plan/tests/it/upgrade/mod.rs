//! What changes of schemas mean for pipelines that run.

mod any;
mod cases;
mod forged;
mod impact;
mod outcomes;

use crate::support;
use std::collections::BTreeSet;
use tidemesh_avro::schema::Schema;
use tidemesh_plan::document::{Document, parse};
use tidemesh_plan::mesh::{Accepted, MeshPlan, Topic, Topics, plan};
use tidemesh_plan::upgrade::certificate::{Facts, recheck};
use tidemesh_plan::upgrade::impact::Change;
pub(crate) use tidemesh_plan::upgrade::impact::apply;
use tidemesh_plan::upgrade::{
    Judged, Judgement, Question, Step, StepKind, Subjects, Unfit, Verdict, judge,
};

/// The topics of the shop's connector, and one of an application.
pub(crate) fn topics() -> Topics {
    let envelope = |row| Topic {
        key: support::key(&["id"]),
        value: support::envelope(row),
        source: Some("shop".into()),
    };
    let clicks = Schema::parse(support::CLICKS).unwrap();
    Topics::from([
        ("shop.orders".to_owned(), envelope(support::ORDERS)),
        ("shop.refunds".to_owned(), envelope(support::REFUNDS)),
        ("shop.customers".to_owned(), envelope(support::CUSTOMERS)),
        ("app.clicks".to_owned(), Topic { key: None, value: clicks, source: None }),
    ])
}

/// A mesh that runs, and what there is now.
pub(crate) struct Mesh {
    pub(crate) documents: Vec<Document>,
    pub(crate) running: MeshPlan,
    pub(crate) topics: Topics,
    pub(crate) subjects: Subjects,
    pub(crate) applied: BTreeSet<String>,
    pub(crate) unfit: Unfit,
}

impl Mesh {
    pub(crate) fn new(text: &str) -> Self {
        let text = documents(text);
        let documents = parse(&text).unwrap_or_else(|problems| panic!("{text}\n{problems}"));
        let running = plan(&documents, &topics(), &Accepted::new());
        let running = running.unwrap_or_else(|problems| panic!("{text}\n{problems}"));
        let (subjects, applied, unfit) = (Subjects::new(), BTreeSet::new(), Unfit::new());
        Self { documents, running, topics: topics(), subjects, applied, unfit }
    }

    pub(crate) fn question(&self) -> Question<'_> {
        Question {
            running: &self.running,
            documents: &self.documents,
            topics: &self.topics,
            subjects: &self.subjects,
            applied: &self.applied,
            unfit: &self.unfit,
        }
    }

    /// Changes a topic: `drop c`, `rename c d`, `add c type = default`, `type c t`, `key c,d`, joined
    /// by semicolons.
    pub(crate) fn change(&mut self, topic: &str, changes: &str) {
        self.topics = apply(&self.topics, topic, &parsed(changes)).unwrap();
    }

    /// Judges, and checks what is so of every judgement.
    pub(crate) fn judge(&self) -> Judged {
        let judged = judge(&self.question());
        self.check(&judged);
        judged
    }

    fn check(&self, judged: &Judged) {
        let again = judge(&self.question());
        let json = |judged: &Judged| serde_json::to_string(judged).unwrap();
        assert_eq!(json(judged), json(&again));
        for judgement in &judged.pipelines {
            let facts = Facts::gather(&self.question(), judged, &judgement.pipeline).unwrap();
            let rechecked = recheck(&judgement.certificate, &facts);
            assert_eq!(rechecked, Ok(()), "{}", serde_json::to_string_pretty(judgement).unwrap());
            let text = serde_json::to_string(&judgement.certificate).unwrap();
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap().to_string(), text);
            match judgement.verdict {
                Verdict::Unaffected => assert_eq!(judgement.new_digest, None),
                Verdict::Upgraded | Verdict::Moved => {
                    assert_ne!(judgement.new_digest.as_ref(), Some(&judgement.digest));
                }
                Verdict::Stays | Verdict::Held => assert!(!judgement.reasons.is_empty()),
            }
        }
        self.check_steps(judged);
        self.check_after(judged);
    }

    fn check_steps(&self, judged: &Judged) {
        let rank = |step: &Step| match step.kind {
            StepKind::Lease { .. } | StepKind::Hold { .. } => 0,
            StepKind::Register { .. } => 1,
            StepKind::Drain { .. } | StepKind::Switch { .. } => 2,
        };
        let ranks: Vec<i32> = judged.steps.iter().map(rank).collect();
        assert!(ranks.is_sorted(), "{:#?}", judged.steps);
        let names: BTreeSet<&str> = judged.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names.len(), judged.steps.len(), "{:#?}", judged.steps);
        for judgement in &judged.pipelines {
            let is_switched = judged.steps.iter().any(|step| match &step.kind {
                StepKind::Switch { pipeline, .. } => *pipeline == judgement.pipeline,
                _ => false,
            });
            assert_eq!(is_switched, judgement.verdict.replans(), "{}", judgement.pipeline);
        }
    }

    /// Once all is done nothing more is.
    fn check_after(&self, judged: &Judged) {
        let running = judged.applied(&self.running);
        let after = judge(&Question { running: &running, ..self.question() });
        for (one, other) in judged.pipelines.iter().zip(&after.pipelines) {
            // A table may be in a topic after the next, which is judged when the next is reached.
            let next = self.topics.keys().any(|topic| topic.ends_with(".g2"));
            let settled = match one.verdict {
                Verdict::Upgraded | Verdict::Moved if next => continue,
                Verdict::Upgraded | Verdict::Moved => Verdict::Unaffected,
                verdict => verdict,
            };
            let told = |judgement: &Judgement| serde_json::to_string_pretty(judgement).unwrap();
            assert_eq!(other.verdict, settled, "{}\n{}", told(one), told(other));
        }
    }
}

pub(crate) fn parsed(changes: &str) -> Vec<Change> {
    changes.split(';').map(|change| one(change.trim())).collect()
}

fn one(text: &str) -> Change {
    let (text, default) = match text.split_once(" = ") {
        Some((text, default)) => (text, Some(serde_json::from_str(default).unwrap())),
        None => (text, None),
    };
    let words: Vec<&str> = text.splitn(3, ' ').collect();
    let word = |place: usize| words[place].to_owned();
    match words[0] {
        "drop" => Change::DropColumn { column: word(1) },
        "rename" => Change::Rename { column: word(1), to: word(2) },
        "add" => Change::Add { column: word(1), data_type: word(2), default },
        "type" => Change::Type { column: word(1), data_type: word(2) },
        "key" => Change::Key { columns: words[1].split(',').map(str::to_owned).collect() },
        "schema" => Change::Schema { text: text[7..].to_owned() },
        other => panic!("{other}"),
    }
}

/// `@Pipeline p` begins a document; `from topic: SQL` under it is short for one input `r`, one
/// processor `made` and a sink on the topic of the pipeline's name.
pub(crate) fn documents(text: &str) -> String {
    let mut out = String::new();
    let text = format!("\n{text}");
    for document in text.split("\n@").map(str::trim).filter(|document| !document.is_empty()) {
        let (head, body) = document.split_once('\n').unwrap_or((document, ""));
        let (kind, name) = head.trim().split_once(' ').unwrap();
        let body = match body.trim().strip_prefix("from ") {
            None => format!("  {}", body.trim()),
            Some(short) => spelled(name, short),
        };
        out += &format!(
            "---\napiVersion: tidemesh/v1\nkind: {kind}\nmetadata: {{name: {name}, owner: team-{name}}}\n\
             spec:\n{body}\n"
        );
    }
    out
}

fn spelled(name: &str, short: &str) -> String {
    let (first, rest) = short.split_once('\n').unwrap_or((short, ""));
    let (topic, sql) = first.split_once(": ").unwrap();
    let sql = serde_json::to_string(sql).unwrap();
    format!(
        "  inputs: {{r: {topic}}}\n  processors: [{{name: made, sql: {sql}}}]\n  sinks: [{{name: out, \
         from: made, kafka: {{topic: mesh.{name}}}}}]\n  {}",
        rest.trim()
    )
}
