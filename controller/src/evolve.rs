//! What other schemas, or other documents, make of what runs: each pipeline's next plan, judged by
//! `tidemesh_plan::upgrade`.

use crate::canary::{self, RolledBack, Tried};
use crate::planned::{Fresh, Moving, Planned};
use crate::state::{Id, State};
use crate::topics::{Basis, KnownTopics, Registry, Told, external};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_model::{ErrorKind, Result};
use tidemesh_plan::document::{Document, InputFrom, Kind, SourceSpec, Spec};
use tidemesh_plan::mesh::{self, MeshPlan, PipelinePlan};
use tidemesh_plan::upgrade::certificate::{Facts, recheck};
use tidemesh_plan::upgrade::{Judged, Judgement, Question, Reason, Rule, Subjects, Verdict, judge};

/// Finds again what ran before the controller was started, by the schemas with which it was accepted. A
/// plan that cannot be made again, or that this version makes otherwise, gives way to that of now.
pub(crate) async fn recall<R: Registry>(
    state: &State,
    documents: &[Arc<Document>],
    fresh: Fresh,
    topics: &KnownTopics<R>,
) -> Result<Planned> {
    let mut planned = Planned::default();
    let mut runs = Vec::new();
    for document in documents.iter().filter(|document| document.kind() == Kind::Pipeline) {
        let name = document.name();
        let kept = state.pipeline(name);
        let now = fresh.mesh.pipeline(name);
        let newest = now.map(|now| Planned::newest_of(now, &fresh.mesh, &fresh.answered));
        // Also where its plan of now is the same: verdicts rest on the schemas by which it was made.
        if newest.as_ref() != Some(&kept.basis)
            && let Some(plan) = remade(state, document, documents, &kept.basis, topics).await?
            && plan.digest == kept.digest
        {
            runs.push((plan, kept.basis));
        } else if let Some((now, basis)) = now.zip(newest) {
            runs.push((now.clone(), basis));
        } else {
            let id = Id::of(document);
            let reasons = fresh.held.get(&id).cloned().unwrap_or_default();
            planned.held.insert(name.to_owned(), reasons);
        }
    }
    planned.run(in_order(runs, &fresh.mesh));
    planned.unfit = canary::kept(state);
    (planned.asked, planned.answered) = (fresh.asked, fresh.answered);
    Ok(planned)
}

/// A pipeline's plan by other schemas, with those before it.
async fn remade<R: Registry>(
    state: &State,
    document: &Arc<Document>,
    documents: &[Arc<Document>],
    basis: &Basis,
    topics: &KnownTopics<R>,
) -> Result<Option<PipelinePlan>> {
    let wanted = before(document, documents);
    let known = match topics.topics(basis).await {
        // Somebody has removed one of the schemas for good.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        known => known?,
    };
    let accepted = crate::planned::accepted(state);
    let planned = mesh::plan(&wanted, &known, &accepted).ok();
    Ok(planned.and_then(|planned| planned.pipeline(document.name()).cloned()))
}

/// A pipeline and all before it, with the documents that are no pipelines.
fn before(document: &Arc<Document>, documents: &[Arc<Document>]) -> Vec<Document> {
    let writes = |topic: &str| {
        documents.iter().find(|one| match &one.spec {
            Spec::Pipeline(spec) => spec.topics_written().any(|(_, written)| written == topic),
            _ => false,
        })
    };
    let named = |kind: Kind, name: &str| {
        documents.iter().find(|one| one.kind() == kind && one.name() == name)
    };
    let publishes = |source: &Document| match &source.spec {
        Spec::Source(SourceSpec::Pipeline { output, .. }) => {
            named(Kind::Pipeline, &output.pipeline)
        }
        _ => None,
    };
    let (mut open, mut wanted) = (vec![document], BTreeMap::new());
    while let Some(one) = open.pop() {
        let Spec::Pipeline(spec) = &one.spec else { continue };
        if wanted.insert(Id::of(one), (**one).clone()).is_some() {
            continue;
        }
        for input in spec.inputs.values() {
            match &input.from {
                InputFrom::Topic(topic) => open.extend(writes(topic)),
                InputFrom::Source(name) => {
                    let Some(source) = named(Kind::Source, name) else { continue };
                    wanted.insert(Id::of(source), (**source).clone());
                    open.extend(publishes(source));
                }
            }
        }
    }
    let processors = documents.iter().filter(|one| one.kind() == Kind::Processor);
    wanted.extend(processors.map(|one| (Id::of(one), (**one).clone())));
    wanted.into_values().collect()
}

/// Sorts plans as this mesh has them; what it has not, comes first.
fn in_order<B>(mut plans: Vec<(PipelinePlan, B)>, by: &MeshPlan) -> Vec<(PipelinePlan, B)> {
    let places: BTreeMap<&str, usize> =
        by.pipelines.iter().enumerate().map(|(place, plan)| (plan.name(), place + 1)).collect();
    plans.sort_by_key(|(plan, _)| places.get(plan.name()).copied().unwrap_or_default());
    plans
}

/// What has become of what runs.
pub(crate) struct Followed {
    pub(crate) planned: Planned,
    pub(crate) judged: Judged,
    /// Upgrades that failed their canary: what is judged is what follows from that.
    pub(crate) failed: Vec<RolledBack>,
}

/// What becomes of what runs by the schemas of now; none if plans are to be tried first.
pub(crate) async fn follow<R: Registry>(
    running: &Planned,
    documents: &[Arc<Document>],
    Means { topics, mut tried }: Means<'_, R>,
    told: &mut Told,
) -> Result<Option<Followed>> {
    let mut next = Planned { outdated: false, ..running.clone() };
    let mut failed = Vec::new();
    let mut asked = external(documents.iter().map(Arc::as_ref));
    asked.extend(running.asks());
    let answered = topics.newest_once(&asked, told).await?;
    let known = topics.topics(&answered).await?;
    let documents: Vec<Document> = documents.iter().map(|one| (**one).clone()).collect();
    let empty = MeshPlan { pipelines: Vec::new() };
    let applied = BTreeSet::new();
    let (mut subjects, mut looked_at) = (Subjects::new(), BTreeSet::new());
    let judged = loop {
        let question = Question {
            running: running.mesh.as_ref().unwrap_or(&empty),
            documents: &documents,
            topics: &known,
            subjects: &subjects,
            applied: &applied,
            unfit: &next.unfit,
        };
        let mut judged = judge(&question);
        // Of an output that changes, the registry has the versions and the level that it must follow.
        let news = &judged_topics(&judged) - &looked_at;
        if !news.is_empty() {
            looked_at.extend(news.iter().cloned());
            subjects.extend(topics.subjects(news).await?);
            continue;
        }
        check(&question, &mut judged);
        let more = match &mut tried {
            Some(tried) => match tried.failed(running, &judged) {
                Some(failed) => failed,
                None => return Ok(None),
            },
            None => Vec::new(),
        };
        if more.is_empty() {
            break judged;
        }
        more.iter().for_each(|failed| next.failed(failed));
        failed.extend(more);
    };
    (next.asked, next.answered) = (asked, answered);
    next.take(&judged);
    Ok(Some(Followed { planned: next, judged, failed }))
}

/// What it takes to follow changes.
pub(crate) struct Means<'m, R> {
    pub(crate) topics: &'m KnownTopics<R>,
    /// What came of the plans that were tried, if anything tries them.
    pub(crate) tried: Option<&'m mut Tried>,
}

/// The topics to which something else would be written.
fn judged_topics(judged: &Judged) -> BTreeSet<String> {
    let outputs = judged.pipelines.iter().flat_map(|one| &one.outputs);
    outputs.map(|output| output.topic.clone()).collect()
}

/// Has each certificate checked by other means than it was made by. What does not hold is not done.
fn check(question: &Question<'_>, judged: &mut Judged) {
    let wrong: Vec<(usize, String)> = judged
        .pipelines
        .iter()
        .enumerate()
        .filter_map(|(place, one)| {
            let facts = Facts::gather(question, judged, &one.pipeline)?;
            let wrong = recheck(&one.certificate, &facts).err()?;
            Some((place, wrong.join("; ")))
        })
        .collect();
    for (place, message) in wrong {
        let one = &mut judged.pipelines[place];
        tracing::error!(pipeline = one.pipeline, message, "a verdict does not hold");
        let remedy = "report this as a bug: the pipeline waits, and loses nothing".to_owned();
        let message = format!("the verdict {} could not be confirmed: {message}", one.verdict);
        let (at, field, processor) = (None, None, None);
        one.reasons.push(Reason { rule: Rule::Plan, at, field, processor, message, remedy });
        (one.verdict, one.plan) = (Verdict::Held, None);
    }
}

impl Planned {
    /// Takes over what was judged.
    fn take(&mut self, judged: &Judged) {
        self.held.retain(|name, _| !self.pipelines.contains_key(name));
        self.stays.clear();
        self.moving.clear();
        let mut runs = Vec::new();
        for (plan, basis) in self.take_runs() {
            let Some(judgement) = judged.pipeline(plan.name()) else { continue };
            self.note(judgement);
            runs.push(match (judgement.verdict, &judgement.plan) {
                (Verdict::Upgraded, Some(next)) => (next.clone(), None),
                (Verdict::Moved, Some(next)) => {
                    let (next, moves) = (Arc::new(next.clone()), judgement.moves.clone());
                    self.moving.insert(plan.name().to_owned(), Moving { plan: next, moves });
                    (plan, basis)
                }
                _ => (plan, basis),
            });
        }
        self.run_by_newest(runs);
    }

    /// Takes out what runs, each plan with the schemas by which it was made.
    fn take_runs(&mut self) -> Vec<(PipelinePlan, Option<Basis>)> {
        let plans = self.mesh.take().map(|mesh| mesh.pipelines).unwrap_or_default();
        let with_basis = |plan: PipelinePlan| {
            let basis = self.bases.get(plan.name()).cloned();
            (plan, basis)
        };
        plans.into_iter().map(with_basis).collect()
    }

    /// Puts what runs in the place of what ran; a plan without schemas was made by the newest.
    fn run_by_newest(&mut self, runs: Vec<(PipelinePlan, Option<Basis>)>) {
        let mesh = MeshPlan { pipelines: runs.iter().map(|(plan, _)| plan.clone()).collect() };
        let with_basis = |(plan, basis): (PipelinePlan, Option<Basis>)| {
            let basis = basis.unwrap_or_else(|| Self::newest_of(&plan, &mesh, &self.answered));
            (plan, basis)
        };
        let runs = runs.into_iter().map(with_basis).collect();
        self.run(runs);
    }

    fn note(&mut self, judgement: &Judgement) {
        let reasons = || judgement.reasons.iter().map(ToString::to_string).collect();
        let name = judgement.pipeline.clone();
        match judgement.verdict {
            Verdict::Held => drop(self.held.insert(name, reasons())),
            Verdict::Stays => drop(self.stays.insert(name, reasons())),
            Verdict::Unaffected | Verdict::Upgraded | Verdict::Moved => {}
        }
    }

    /// Takes up pipelines that could not be planned before, and can be now.
    pub(crate) fn add(&mut self, now: Fresh) {
        let mut runs = self.take_runs();
        for plan in &now.mesh.pipelines {
            if !self.pipelines.contains_key(plan.name()) && self.held.remove(plan.name()).is_some()
            {
                let basis = Self::newest_of(plan, &now.mesh, &now.answered);
                runs.push((plan.clone(), Some(basis)));
            }
        }
        self.run_by_newest(in_order(runs, &now.mesh));
    }

    /// The newest schemas of what a pipeline reads.
    pub(crate) fn newest(&self, name: &str) -> Basis {
        let found = self.mesh.as_ref().and_then(|mesh| Some((mesh, mesh.pipeline(name)?)));
        found.map(|(mesh, plan)| Self::newest_of(plan, mesh, &self.answered)).unwrap_or_default()
    }

    /// A pipeline has gone over to its next topics.
    pub(crate) fn moved(&mut self, name: &str) {
        let Some(moving) = self.moving.remove(name) else { return };
        let mut runs = self.take_runs();
        if let Some(run) = runs.iter_mut().find(|(plan, _)| plan.name() == name) {
            *run = ((*moving.plan).clone(), None);
        }
        self.run_by_newest(runs);
    }
}

/// What runs once documents are applied: theirs by the plan of now, the others as they are judged behind
/// them. Answers what those come to; none if plans are to be tried first.
pub(crate) async fn apply<R: Registry>(
    running: &Planned,
    now: Fresh,
    handed: &BTreeSet<Id>,
    documents: &[Arc<Document>],
    means: Means<'_, R>,
    told: &mut Told,
) -> Result<Option<Followed>> {
    let is_handed = |name: &str| handed.contains(&Id::pipeline(name));
    let mut runs = Vec::new();
    for plan in &now.mesh.pipelines {
        let name = plan.name();
        match running.pipelines.get(name).filter(|_| !is_handed(name)) {
            Some(old) => {
                let basis = running.bases.get(name).cloned().unwrap_or_default();
                runs.push(((**old).clone(), basis));
            }
            None => {
                let basis = Planned::newest_of(plan, &now.mesh, &now.answered);
                runs.push((plan.clone(), basis));
            }
        }
    }
    // What is held keeps the plan that it has.
    let held = running.pipelines.values().filter(|old| {
        let id = Id::pipeline(old.name());
        now.held.contains_key(&id) && !is_handed(old.name())
    });
    for old in held {
        let basis = running.bases.get(old.name()).cloned().unwrap_or_default();
        runs.push(((**old).clone(), basis));
    }
    let mut next = running.clone();
    next.held.retain(|name, _| !is_handed(name));
    // Whoever applies a pipeline takes its plan, whatever its canary said.
    next.unfit.retain(|name, _| !is_handed(name));
    next.run(in_order(runs, &now.mesh));
    follow(&next, documents, means, told).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_avro::schema::Schema;
    use tidemesh_plan::document;
    use tidemesh_plan::mesh::{Accepted, Topic, Topics};
    use tidemesh_plan::upgrade::Unfit;

    const TOPIC: &str = "shop.public.orders";

    fn documents() -> Vec<Document> {
        let text = format!(
            "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {{name: p}}\nspec:\n  inputs: {{rows: \
             {TOPIC}}}\n  processors: [{{name: made, sql: SELECT * FROM rows}}]\n  sinks: [{{name: out, \
             from: made, kafka: {{topic: mesh.p}}}}]\n"
        );
        document::parse(&text).unwrap()
    }

    /// The table with its key and these columns of text.
    fn topics(columns: &[&str]) -> Topics {
        let parse = |json: serde_json::Value| Schema::parse(&json.to_string()).unwrap();
        let text = |name: &&str| serde_json::json!({"name": name, "type": ["null", "string"], "default": null});
        let mut fields = vec![serde_json::json!({"name": "id", "type": "long"})];
        let key = serde_json::json!({"type": "record", "name": "t.Key", "fields": fields});
        fields.extend(columns.iter().map(text));
        let row = serde_json::json!({"type": "record", "name": "t.Value", "fields": fields});
        let value = serde_json::json!({"type": "record", "name": "t.Envelope", "fields": [
            {"name": "before", "type": ["null", row], "default": null},
            {"name": "after", "type": ["null", "t.Value"], "default": null},
            {"name": "op", "type": "string"},
            {"name": "ts_ms", "type": ["null", "long"], "default": null},
        ]});
        let topic =
            Topic { key: Some(parse(key)), value: parse(value), source: Some("shop".into()) };
        Topics::from([(TOPIC.to_owned(), topic)])
    }

    /// What a new column means for who takes all, once `forge` had its way with it, checked.
    fn checked(forge: impl Fn(&mut Judgement)) -> (Judged, Planned) {
        let documents = documents();
        let running = mesh::plan(&documents, &topics(&["status"]), &Accepted::new()).unwrap();
        let now = topics(&["status", "colour"]);
        let (subjects, applied) = (Subjects::new(), BTreeSet::new());
        let question = Question {
            running: &running,
            documents: &documents,
            topics: &now,
            subjects: &subjects,
            applied: &applied,
            unfit: &Unfit::new(),
        };
        let mut judged = judge(&question);
        forge(&mut judged.pipelines[0]);
        check(&question, &mut judged);
        let mut planned = Planned::default();
        planned.run(running.pipelines.iter().map(|plan| (plan.clone(), Basis::new())).collect());
        planned.take(&judged);
        (judged, planned)
    }

    #[test]
    fn a_verdict_that_holds_is_followed() {
        let (judged, planned) = checked(|_| ());
        let judgement = judged.pipeline("p").unwrap();
        assert_eq!(judgement.verdict, Verdict::Upgraded);
        assert_eq!(planned.pipelines["p"].digest, judgement.plan.as_ref().unwrap().digest);
        assert!(planned.held("p").is_empty());
    }

    #[test]
    fn a_verdict_whose_certificate_does_not_hold_is_not_followed() {
        let forgeries: [fn(&mut Judgement); 3] = [
            |one| one.certificate.digest = "0".repeat(64),
            |one| one.certificate.inputs.clear(),
            |one| one.certificate.outputs.clear(),
        ];
        let running =
            checked(|one| one.verdict = Verdict::Unaffected).1.pipelines["p"].digest.clone();
        for forge in forgeries {
            let (judged, planned) = checked(forge);
            let judgement = judged.pipeline("p").unwrap();
            assert!(judgement.verdict == Verdict::Held && judgement.plan.is_none());
            let told = planned.held("p").join("; ");
            assert!(told.contains("the verdict upgraded could not be confirmed"), "{told}");
            assert_eq!(planned.pipelines["p"].digest, running, "it goes on by no other plan");
        }
    }
}
