//! Plans of pipelines that were made before: of a set of which little has changed, only that is planned
//! anew.

use super::PipelinePlan;
use super::known::Known;
use super::set::{Pipeline, Set};
use crate::document::ProcessorKind;
use quick_cache::unsync::Cache;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// How many plans a [`PlanCache`] keeps unless told otherwise: as many as a text has documents at most.
pub const PIPELINES_CACHED_MAX: usize = crate::document::DOCUMENTS_MAX;

/// Plans of pipelines, each with all that it was made of: its document, the schemas of the topics that
/// it reads, what was accepted of them, and the types of the processors that it names. A pipeline of
/// which none of this has changed has the plan that it had. Whoever plans again and again keeps one, and
/// may hand it to several threads; what is only tried, such as the impact of a change, may use the same.
pub struct PlanCache {
    pipelines_max: usize,
    plans: Mutex<Cache<Key, Arc<PipelinePlan>>>,
}

/// SHA-256 of all that a plan is made of.
pub(super) type Key = [u8; 32];

impl PlanCache {
    /// Keeps the plans of at most so many pipelines, those that were asked for last. With 0 it keeps none.
    #[must_use]
    pub fn new(pipelines_max: usize) -> Self {
        Self { pipelines_max, plans: Mutex::new(Cache::new(pipelines_max.max(1))) }
    }

    /// How many plans there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|plans| plans.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The plan of a key, made if there is none yet. What is wrong has none, and is judged each time.
    pub(super) fn get_or_plan(
        &self,
        key: impl FnOnce() -> Option<Key>,
        plan: impl FnOnce() -> Option<PipelinePlan>,
    ) -> Option<PipelinePlan> {
        let key = if self.pipelines_max > 0 { key() } else { None };
        let Some(key) = key else { return plan() };
        // It is copied once the others may look.
        let known = self.with(|plans| plans.get(&key).cloned());
        if let Some(known) = known {
            return Some(PipelinePlan::clone(&known));
        }
        let planned = plan()?;
        let kept = Arc::new(planned.clone());
        self.with(|plans| plans.insert(key, kept));
        Some(planned)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Cache<Key, Arc<PipelinePlan>>) -> T) -> T {
        // A plan is put in whole, whatever a thread was doing when it ended.
        work(&mut self.plans.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for PlanCache {
    fn default() -> Self {
        Self::new(PIPELINES_CACHED_MAX)
    }
}

impl fmt::Debug for PlanCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanCache")
            .field("pipelines_max", &self.pipelines_max)
            .field("pipelines", &self.len())
            .finish_non_exhaustive()
    }
}

/// What tells the plan of a pipeline from others; none if something that it is made of is missing.
pub(super) fn key(
    pipeline: Pipeline<'_>,
    accepted: Option<&BTreeMap<String, BTreeSet<String>>>,
    set: &Set<'_>,
    known: &Known<'_, '_>,
) -> Option<Key> {
    let mut hash = Hash(Sha256::new());
    hash.json(&pipeline.document.metadata)?;
    hash.json(pipeline.spec)?;
    hash.json(&accepted)?;
    for input in pipeline.spec.inputs.values() {
        let topic = set.topic_of(input)?;
        let writer = set.writer(topic).map(|writer| set.pipelines[writer].document.name());
        hash.json(&(topic, writer))?;
        hash.0.update(known.digest(topic)?);
    }
    for processor in &pipeline.spec.processors {
        if let ProcessorKind::Registered { processor, .. } = &processor.kind {
            hash.json(set.processor(processor)?)?;
        }
    }
    Some(hash.0.finalize().into())
}

struct Hash(Sha256);

impl Hash {
    /// Adds a value by its text in JSON, which has no line break, and one behind it.
    fn json(&mut self, value: &impl Serialize) -> Option<()> {
        serde_json::to_writer(&mut *self, value).ok()?;
        self.0.update("\n");
        Some(())
    }
}

impl io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
