//! Losses that somebody has accepted: of a pipeline whose job has ended where records are gone.
//!
//! What is accepted is a value, not leave to lose: for each partition where the first record stood that was
//! there when it was accepted. It is durable, and goes with each start of the job, which passes over that much
//! and tells what lies beyond it as another loss. It is dropped once the job has committed so far, and with a
//! new revision of the pipeline's document.

use crate::controller::{Controller, Refused};
use crate::draft::Draft;
use crate::launcher::{JobReport, JobState};
use crate::state::State;
use crate::topics::Registry;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};

/// Records of a partition that are gone, and that a pipeline has not answered for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostPlace {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset of the first that is gone: up to it all is answered for.
    pub offset: u64,
    /// The offset of the first that is there.
    pub begin: u64,
}

/// What of a pipeline's losses was accepted: for each topic and partition the offset of the first record that
/// was there then ([`LostPlace::begin`]).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AcceptedLoss(BTreeMap<String, BTreeMap<u32, u64>>);

impl AcceptedLoss {
    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Accepts these losses beside those of before.
    pub fn accept(&mut self, places: &[LostPlace]) {
        for LostPlace { topic, partition, begin, .. } in places {
            let of_topic = self.0.entry(topic.clone()).or_default();
            let accepted = of_topic.entry(*partition).or_default();
            *accepted = (*accepted).max(*begin);
        }
    }

    /// Whether one of these losses was accepted. One that has grown since was not.
    #[must_use]
    pub fn covers_any(&self, places: &[LostPlace]) -> bool {
        let accepted = |place: &LostPlace| self.0.get(&place.topic)?.get(&place.partition);
        places.iter().any(|place| accepted(place).is_some_and(|begin| place.begin <= *begin))
    }

    /// All of it: for each topic and partition the offset.
    #[must_use]
    pub fn offsets(&self) -> BTreeMap<(String, u32), u64> {
        let of_topic = |(topic, of): (&String, &BTreeMap<u32, u64>)| {
            let offset = |(partition, begin): (&u32, &u64)| ((topic.clone(), *partition), *begin);
            of.iter().map(offset).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_topic).collect()
    }

    /// Drops what a job that has `committed` so far has passed over.
    fn drop_answered(&mut self, committed: &BTreeMap<(String, u32), u64>) {
        for (topic, of) in &mut self.0 {
            of.retain(|partition, begin| {
                let offset = committed.get(&(topic.clone(), *partition));
                offset.is_none_or(|offset| offset < begin)
            });
        }
        self.0.retain(|_, of| !of.is_empty());
    }
}

/// What a pipeline has lost, as its job told it.
///
/// # Errors
///
/// `Conflict` if it has told of no loss.
pub(crate) fn told<'j>(pipeline: &str, job: Option<&'j JobReport>) -> Result<&'j [LostPlace]> {
    let unknown = |why: &str, remedy: String| {
        Err(Error::new(ErrorKind::Conflict, "accept a pipeline's loss")
            .because(why)
            .with("pipeline", pipeline)
            .help(remedy))
    };
    match job.map(|job| &job.state) {
        Some(JobState::Lost { places, .. }) if places.is_empty() => unknown(
            "its worker, which is of an earlier version, does not tell which records are gone",
            "run its worker by the controller's version".to_owned(),
        ),
        Some(JobState::Lost { places, .. }) => Ok(places),
        _ => unknown(
            "it is not known to have lost any records",
            format!("tidemesh resume {pipeline}: if records are gone it tells which, and waits"),
        ),
    }
}

impl<R: Registry> Controller<R> {
    /// Has a pipeline run again behind the records that it has told are gone. Others that go before it has
    /// passed over those, or later, are told again.
    ///
    /// # Errors
    ///
    /// As [`Controller::pause`]; `Conflict` if it has told of no loss.
    pub async fn resume_behind_loss(&self, pipeline: &str) -> Result<(), Refused> {
        self.set_paused(pipeline, false, |kept| {
            let jobs = self.launcher.jobs();
            let lost = told(pipeline, jobs.get(pipeline))?;
            for LostPlace { topic, partition, offset, begin } in lost {
                tracing::warn!(pipeline, topic, partition, offset, begin, "a loss is accepted");
            }
            kept.accepted_loss.accept(lost);
            Ok(())
        })
        .await
    }

    /// Drops what was accepted of losses that jobs have passed over.
    pub(crate) async fn drop_answered_losses(&self) -> Result<()> {
        let (Some(keeper), Ok(epoch)) = (&self.keeper, self.epoch()) else { return Ok(()) };
        let state = self.state();
        let mut draft = Draft::of(&state);
        for name in accepting(&state) {
            let committed = keeper.committed(name).await?;
            let mut kept = state.pipeline(name);
            kept.accepted_loss.drop_answered(&committed);
            draft.accept(name, kept);
        }
        if !draft.changes.is_empty() {
            self.write(epoch, draft.changes).await?;
            self.seen().state = Arc::new(draft.state);
        }
        Ok(())
    }
}

/// The pipelines that have losses which were accepted, and that shall run.
fn accepting(state: &State) -> impl Iterator<Item = &str> {
    let all = state.pipelines.iter();
    let waits = all.filter(|(_, kept)| !kept.accepted_loss.is_empty() && !kept.paused);
    waits.map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::PipelineState;

    fn place(topic: &str, partition: u32, begin: u64) -> LostPlace {
        LostPlace { topic: topic.into(), partition, offset: 1, begin }
    }

    #[test]
    fn what_was_accepted_covers_no_more_than_was_gone_then() {
        let mut accepted = AcceptedLoss::default();
        assert!(accepted.is_empty());
        accepted.accept(&[place("t", 0, 5), place("t", 2, 7)]);
        assert!(accepted.covers_any(&[place("t", 0, 5)]));
        assert!(accepted.covers_any(&[place("t", 0, 6), place("t", 2, 7)]), "the second one");
        for other in [place("t", 0, 6), place("t", 1, 5), place("u", 0, 5)] {
            assert!(!accepted.covers_any(&[other]));
        }
        accepted.accept(&[place("t", 0, 6), place("t", 2, 3)]);
        let offsets = [(("t".to_owned(), 0), 6), (("t".to_owned(), 2), 7)];
        assert_eq!(accepted.offsets(), offsets.into());
    }

    #[test]
    fn what_a_job_has_committed_needs_no_acceptance() {
        let mut accepted = AcceptedLoss::default();
        accepted.accept(&[place("t", 0, 5), place("t", 1, 5), place("u", 0, 5)]);
        let at = |topic: &str, offset| ((topic.to_owned(), 0), offset);
        accepted.drop_answered(&[at("t", 5), at("u", 4)].into());
        let left = [(("t".to_owned(), 1), 5), (("u".to_owned(), 0), 5)];
        assert_eq!(accepted.offsets(), left.into());
        accepted.drop_answered(&[(("t".to_owned(), 1), 9), at("u", 9)].into());
        assert!(accepted.is_empty());
    }

    #[test]
    fn what_was_accepted_is_kept_and_a_state_from_before_has_none() {
        let before = r#"{"paused": true, "accepted": {"a": ["id"]}, "digest": "d",
            "basis": {"t": {"value": 2}}}"#;
        let mut kept: PipelineState = serde_json::from_str(before).unwrap();
        assert!(kept.paused && kept.accepted_loss.is_empty());
        assert!(!serde_json::to_string(&kept).unwrap().contains("accepted_loss"));
        kept.accepted_loss.accept(&[place("t", 3, 5)]);
        let text = serde_json::to_string(&kept).unwrap();
        assert!(text.contains(r#""accepted_loss":{"t":{"3":5}}"#), "{text}");
        assert_eq!(serde_json::from_str::<PipelineState>(&text).unwrap(), kept);
    }

    #[test]
    fn what_a_worker_tells_is_read_whether_or_not_it_tells_places() {
        let told = |more: &str| {
            let counts =
                r#"{"records_in": 0, "records_out": 0, "dead_letters": 0, "newest_ms": 0}"#;
            let text = format!(
                r#"{{"digest": "d", "state": "lost", "error": "e"{more}, "counts": {counts}}}"#
            );
            serde_json::from_str::<JobReport>(&text).unwrap()
        };
        let report =
            told(r#", "places": [{"topic": "t", "partition": 0, "offset": 1, "begin": 5}]"#);
        assert_eq!(super::told("p", Some(&report)).unwrap(), [place("t", 0, 5)]);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<JobReport>(&text).unwrap(), report);
        let error = super::told("p", Some(&told(""))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.report().contains("earlier version"), "{}", error.report());
        let error = super::told("p", None).unwrap_err().report();
        assert!(error.contains("tidemesh resume p"), "{error}");
    }
}
