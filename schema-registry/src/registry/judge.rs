//! Whether a schema could be registered, and why not.

use std::sync::Arc;

use tidemesh_avro::compat::Direction;
use tidemesh_avro::consumption::ConsumerVerdict;
use tidemesh_avro::explain::Finding;
use tidemesh_avro::witness::{NoWitness, Witness, witness};

use super::{Registry, Submission};
use crate::avro::{Candidate, Objection};
use crate::consumer::Observed;
use crate::decide::{self, Judged, Question};
use crate::level::CompatibilityLevel;
use crate::refusal::Refusal;
use crate::state::{State, Version};
use crate::version::VersionSpec;

/// A verdict with its reasons.
#[derive(Debug)]
pub struct Explained {
    /// Whether it could be registered.
    pub is_compatible: bool,
    /// The level that was judged by.
    pub level: CompatibilityLevel,
    /// What is wrong about reserved fields, in words.
    pub reserved: Vec<String>,
    /// What earlier versions have against it, the newest first.
    pub explanations: Vec<Explanation>,
    /// What it does to each that reads the subject's data.
    pub consumers: Vec<ConsumerVerdict>,
}

/// What one earlier version has against a schema, in one direction.
#[derive(Debug)]
pub struct Explanation {
    /// The version.
    pub version: u32,
    /// Who cannot read whose data.
    pub direction: Direction,
    /// Why.
    pub findings: Vec<Finding>,
    /// The smallest record that shows it, tried by our encoder and decoder.
    pub witness: Result<Witness, NoWitness>,
}

/// What is to be explained.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExplainRequest {
    pub(crate) submission: Submission,
    /// In place of the level that holds.
    pub(crate) level: Option<CompatibilityLevel>,
    /// The one version that counts.
    pub(crate) version: Option<VersionSpec>,
}

impl Registry {
    /// What is wrong with a schema under the subject's configuration: nothing, if it could be
    /// registered. With `version`, against that one only; a subject without versions takes every
    /// schema.
    ///
    /// # Errors
    ///
    /// 40402 without such a version, 42201.
    pub(crate) fn check(
        &self,
        subject: &str,
        version: Option<VersionSpec>,
        submission: &Submission,
        observed: &Observed,
    ) -> Result<Vec<String>, Refusal> {
        let subject = self.subject(subject);
        let state = self.state();
        let only = only(&state, &subject, version)?;
        let candidate = self.needed(&state, &subject, submission)?;
        if version.is_some() && only.is_none() {
            return Ok(Vec::new());
        }
        let metadata = submission.metadata.as_ref();
        let question = Question { metadata, only, ..Question::of(&candidate, observed) };
        Ok(decide::judge(&state, &self.parser, &subject, &question)?.messages())
    }

    /// The same with everything that is known of the reasons, and what becomes of each consumer.
    pub(crate) fn explain(
        &self,
        subject: &str,
        request: &ExplainRequest,
        observed: &Observed,
    ) -> Result<Explained, Refusal> {
        let subject = self.subject(subject);
        let state = self.state();
        let only = only(&state, &subject, request.version)?;
        let candidate = self.needed(&state, &subject, &request.submission)?;
        let question = Question {
            metadata: request.submission.metadata.as_ref(),
            level: request.level,
            only,
            of_consumers: true,
            ..Question::of(&candidate, observed)
        };
        let judged = decide::judge(&state, &self.parser, &subject, &question)?;
        let is_compatible = judged.is_compatible();
        let Judged { level, reserved, objections, consumers } = judged;
        let explained = |objection| explanation(&candidate, objection);
        let explanations = objections.into_iter().map(explained).collect();
        Ok(Explained { is_compatible, level, reserved, explanations, consumers })
    }

    fn needed(
        &self,
        state: &State,
        subject: &str,
        submission: &Submission,
    ) -> Result<Arc<Candidate>, Refusal> {
        self.candidate(state, subject, submission)?.ok_or_else(Refusal::empty_schema)
    }
}

/// The version that is asked about; none also where `latest` is, and there is no version.
fn only(
    state: &State,
    subject: &str,
    version: Option<VersionSpec>,
) -> Result<Option<Version>, Refusal> {
    match version {
        Some(spec @ VersionSpec::Number(number)) => {
            let found = state.version(subject, number).filter(|version| !version.deleted);
            found.copied().map(Some).ok_or(Refusal::VersionNotFound(spec.number()))
        }
        Some(VersionSpec::Latest) => Ok(state.latest(subject).copied()),
        None => Ok(None),
    }
}

fn explanation(candidate: &Candidate, objection: Objection) -> Explanation {
    let Objection { offence, findings, old } = objection;
    let (reader, writer) = offence.direction.roles(candidate.schema(), old.schema());
    Explanation {
        version: offence.version,
        direction: offence.direction,
        findings,
        witness: witness(reader, writer),
    }
}
