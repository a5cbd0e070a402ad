//! What is to change: the state after it, and the items that are to be written. Only when those are
//! durable does the draft's state become the state.

use crate::canary::RolledBack;
use crate::connectors::SourceState;
use crate::loss::AcceptedLoss;
use crate::retention::Leases;
use crate::state::{
    Action, Declared, DeclaredItem, GONE_MAX, Id, ManagedBy, PipelineState, REVISIONS_MAX,
    Revision, State, UPGRADES_MAX, Upgrade,
};
use crate::store::Change;
use serde::Serialize;
use serde_json::Value as Json;
use std::sync::Arc;
use tidemesh_plan::document::{Document, Kind};
use tidemesh_plan::upgrade::{Judged, Judgement, Verdict};

/// What has become of an upgrade that failed its canary.
const ROLLED_BACK: &str = "rolled_back";

/// A state that is not durable yet.
pub(crate) struct Draft {
    pub(crate) state: State,
    pub(crate) changes: Vec<Change>,
}

impl Draft {
    pub(crate) fn of(state: &State) -> Self {
        Self { state: state.clone(), changes: Vec::new() }
    }

    /// Declares a document, as its next revision.
    pub(crate) fn declare(
        &mut self,
        document: Arc<Document>,
        managed_by: ManagedBy,
        action: Action,
        by: Option<&str>,
        at_ms: u64,
    ) -> u64 {
        let id = Id::of(&document);
        let json = document.to_json();
        let revision = self.revise(&id, action, by, at_ms, json.clone());
        let item = DeclaredItem { revision, managed_by, document: json };
        self.put(id.item(), &item);
        self.state.documents.insert(id, Declared { document, revision, managed_by });
        revision
    }

    /// Removes a document; its history stays, as one of [`GONE_MAX`].
    pub(crate) fn remove(&mut self, id: &Id, by: Option<&str>, at_ms: u64) {
        let Some(declared) = self.state.documents.remove(id) else { return };
        self.revise(id, Action::Deleted, by, at_ms, declared.document.to_json());
        self.changes.push(Change { name: id.item(), text: None });
        if id.kind == Kind::Pipeline && self.state.pipelines.remove(&id.name).is_some() {
            self.changes.push(Change { name: pipeline_item(&id.name), text: None });
        }
        if id.kind == Kind::Source && self.state.sources.remove(&id.name).is_some() {
            self.changes.push(Change { name: source_item(&id.name), text: None });
        }
        let records = (id.kind == Kind::Pipeline).then(|| self.state.upgrades.remove(&id.name));
        for record in records.flatten().unwrap_or_default() {
            let name = upgrade_item(&id.name, record.number);
            self.changes.push(Change { name, text: None });
        }
        self.forget();
    }

    /// Removes the histories of what went first, where more is gone than is remembered.
    fn forget(&mut self) {
        let gone = |id: &&Id| !self.state.documents.contains_key(*id);
        let last = |id: &Id| self.state.history(id).last().map_or(0, |last| last.at_ms);
        let mut all: Vec<(u64, Id)> =
            self.state.revisions.keys().filter(gone).map(|id| (last(id), id.clone())).collect();
        all.sort();
        let many = all.len().saturating_sub(GONE_MAX);
        for (_, id) in all.into_iter().take(many) {
            for revision in self.state.revisions.remove(&id).unwrap_or_default() {
                let name = id.revision_item(revision.number);
                self.changes.push(Change { name, text: None });
            }
        }
    }

    /// Keeps what was accepted with a pipeline, if it is something else than before.
    pub(crate) fn accept(&mut self, name: &str, accepted: PipelineState) {
        if self.state.pipelines.get(name) == Some(&accepted) {
            return;
        }
        self.put(pipeline_item(name), &accepted);
        self.state.pipelines.insert(name.to_owned(), accepted);
    }

    /// Drops which losses were accepted, if it is a pipeline that has some.
    pub(crate) fn drop_accepted_loss(&mut self, id: &Id) {
        let kept = self.state.pipelines.get(&id.name).filter(|_| id.kind == Kind::Pipeline);
        if let Some(kept) = kept.cloned() {
            let accepted_loss = AcceptedLoss::default();
            self.accept(&id.name, PipelineState { accepted_loss, ..kept });
        }
    }

    /// Keeps which topics are kept for pipelines.
    pub(crate) fn lease(&mut self, leases: &Leases) {
        let before = std::mem::replace(&mut self.state.leases, leases.clone());
        for topic in before.keys().filter(|topic| !leases.contains_key(*topic)) {
            self.changes.push(Change { name: lease_item(topic), text: None });
        }
        for (topic, lease) in leases.iter().filter(|(topic, one)| before.get(*topic) != Some(one)) {
            self.put(lease_item(topic), lease);
        }
    }

    /// Keeps what was decided of a source.
    pub(crate) fn decide(&mut self, source: &str, decided: SourceState) {
        self.put(source_item(source), &decided);
        self.state.sources.insert(source.to_owned(), decided);
    }

    /// Keeps the verdicts that change something, and are others than the last ones.
    pub(crate) fn record(&mut self, judged: &Judged, at_ms: u64) {
        let some = judged.pipelines.iter().filter(|one| one.verdict != Verdict::Unaffected);
        some.for_each(|judgement| self.record_one(judgement.verdict.name(), judgement, at_ms));
    }

    /// Keeps that an upgrade failed its canary.
    pub(crate) fn record_failed(&mut self, failed: &[RolledBack], at_ms: u64) {
        for RolledBack { judgement, how } in failed {
            let mut judgement = judgement.clone();
            judgement.why = format!("the plan that it was to get failed when it was tried: {how}");
            self.record_one(ROLLED_BACK, &judgement, at_ms);
        }
    }

    fn record_one(&mut self, verdict: &str, judgement: &Judgement, at_ms: u64) {
        let records = self.state.upgrades.entry(judgement.pipeline.clone()).or_default();
        let json = serde_json::to_value(judgement);
        let json = json.expect("verdicts are made of texts, numbers, lists and tables");
        let last = records.last();
        if last.is_some_and(|last| last.judgement == json) {
            return;
        }
        let number = last.map_or(0, |last| last.number) + 1;
        let verdict = verdict.to_owned();
        let record = Upgrade { number, at_ms, verdict, judgement: json };
        records.push(Arc::new(record.clone()));
        let old = (records.len() > UPGRADES_MAX).then(|| records.remove(0).number);
        let name = |number: u64| upgrade_item(&judgement.pipeline, number);
        self.put(name(number), &record);
        self.changes.extend(old.map(|old| Change { name: name(old), text: None }));
    }

    fn revise(
        &mut self,
        id: &Id,
        action: Action,
        by: Option<&str>,
        at_ms: u64,
        document: Json,
    ) -> u64 {
        let last = self.state.history(id).last().map_or(0, |revision| revision.number);
        let by = by.map(str::to_owned);
        let revision = Revision { number: last + 1, at_ms, by, action, document };
        self.put(id.revision_item(last + 1), &revision);
        let history = self.state.revisions.entry(id.clone()).or_default();
        history.push(Arc::new(revision));
        while history.len() > REVISIONS_MAX {
            let name = id.revision_item(history.remove(0).number);
            self.changes.push(Change { name, text: None });
        }
        last + 1
    }

    fn put(&mut self, name: String, item: &impl Serialize) {
        let text = serde_json::to_string(item);
        let text = Some(text.expect("items are made of texts, numbers, lists and tables"));
        self.changes.push(Change { name, text });
    }
}

fn upgrade_item(pipeline: &str, number: u64) -> String {
    format!("upgrade/{pipeline}/{number:010}")
}

fn lease_item(topic: &str) -> String {
    format!("retention/{topic}")
}

fn source_item(source: &str) -> String {
    format!("source/{source}")
}

fn pipeline_item(name: &str) -> String {
    format!("pipeline/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::TopicSchemas;
    use crate::store::Items;
    use std::collections::{BTreeMap, BTreeSet};
    use tidemesh_plan::document;

    fn pipeline(name: &str, sql: &str) -> Arc<Document> {
        let text = format!(
            "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: {name}}}\nspec:\n  inputs: \
             {{a: t}}\n  processors: [{{name: p, sql: '{sql}'}}]\n  sinks: [{{name: s, from: p, kafka: \
             {{topic: out.{name}}}}}]\n"
        );
        Arc::new(document::parse(&text).unwrap().remove(0))
    }

    fn keep(items: &mut Items, changes: &[Change]) {
        for Change { name, text } in changes {
            match text {
                Some(text) => items.insert(name.clone(), text.clone()),
                None => items.remove(name),
            };
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let mut items = Items::new();
        let mut draft = Draft::of(&State::default());
        let declared = pipeline("one", "SELECT id FROM a");
        draft.declare(declared.clone(), ManagedBy::User, Action::Applied, Some("ann"), 5);
        let accepted = PipelineState {
            paused: true,
            accepted: BTreeMap::from([("a".into(), BTreeSet::from(["id".into()]))]),
            digest: "d".into(),
            basis: BTreeMap::from([("t".into(), TopicSchemas { key: Some(1), value: 2 })]),
            unfit: BTreeMap::from([("e".into(), "it fails".into())]),
            accepted_loss: AcceptedLoss::default(),
        };
        draft.accept("one", accepted.clone());
        keep(&mut items, &draft.changes);
        let state = State::load(&items).unwrap();
        let id = Id::of(&declared);
        assert_eq!(state.document(&id).unwrap().document, declared);
        assert_eq!(state.pipeline("one"), accepted);
        assert_eq!(state.history(&id)[0].by.as_deref(), Some("ann"));

        let mut draft = Draft::of(&state);
        draft.remove(&id, None, 6);
        keep(&mut items, &draft.changes);
        let state = State::load(&items).unwrap();
        assert!(state.documents.is_empty() && state.pipelines.is_empty());
        assert_eq!(state.history(&id)[1].action, Action::Deleted);
    }

    #[test]
    fn a_history_has_a_bound_and_its_numbers_go_on() {
        let mut items = Items::new();
        let mut draft = Draft::of(&State::default());
        for at_ms in 0..REVISIONS_MAX as u64 + 5 {
            let document = pipeline("one", &format!("SELECT {at_ms} FROM a"));
            draft.declare(document, ManagedBy::User, Action::Applied, None, at_ms);
        }
        keep(&mut items, &draft.changes);
        let state = State::load(&items).unwrap();
        let history = state.history(&Id::pipeline("one"));
        assert_eq!(history.len(), REVISIONS_MAX);
        assert_eq!(history.first().unwrap().number, 6);
        assert_eq!(history.last().unwrap().number, REVISIONS_MAX as u64 + 5);
    }

    #[test]
    fn of_what_is_gone_a_bounded_number_is_remembered() {
        let mut items = Items::new();
        let mut draft = Draft::of(&State::default());
        let count = GONE_MAX as u64 + 3;
        for at_ms in 0..count {
            let document = pipeline(&format!("p{at_ms}"), "SELECT id FROM a");
            let id = Id::of(&document);
            draft.declare(document, ManagedBy::User, Action::Applied, None, at_ms);
            draft.remove(&id, None, at_ms);
        }
        draft.declare(pipeline("p9", "SELECT 1 FROM a"), ManagedBy::User, Action::Applied, None, 0);
        keep(&mut items, &draft.changes);
        let state = State::load(&items).unwrap();
        assert_eq!(state.revisions.len(), GONE_MAX);
        let history = |number: u64| state.history(&Id::pipeline(format!("p{number}"))).len();
        assert_eq!((history(2), history(3), history(9), history(count - 1)), (0, 2, 3, 2));
    }
}
