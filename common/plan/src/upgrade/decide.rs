//! The verdict on each pipeline: what there is now against what it runs by, and what its document wants.

use super::carry::{Missing, lost};
use super::certificate::Certificate;
use super::inputs::{InputChange, Move, Seen, remedy, seen};
use super::outputs::{OutputChange, check};
use super::reason::{Reason, Rule};
use super::replan::{Fields, Replan};
use super::steps::{Order, steps};
use super::world::World;
use super::{Judged, Judgement, Question, Verdict, Wait, generations};
use crate::document::{Document, Evolution, PipelineSpec, Spec};
use crate::mesh::{PipelinePlan, Topic};
use crate::relation::Relation;
use crate::{Problem, Problems};
use std::collections::BTreeMap;

/// Judges all pipelines, in their order.
pub(super) fn judge(question: &Question<'_>) -> Judged {
    let mut world = World::new(question);
    let (mut pipelines, mut order) = (Vec::new(), Order::default());
    let mut waiting = BTreeMap::new();
    for running in &question.running.pipelines {
        let document = world.documents.get(running.name()).copied();
        let spec = document.map(|document| (document, &document.spec));
        let Some((document, Spec::Pipeline(spec))) = spec else { continue };
        let case = Case { running, document, spec, seen: seen(running, &world), world: &world };
        let judgement = case.judgement(&waiting);
        order.add(running, case.seen.iter().filter(|seen| !seen.readable()));
        starve(&judgement, running, &mut waiting);
        let plan = judgement.plan.as_ref().filter(|_| judgement.verdict.replans()).cloned();
        pipelines.push(judgement);
        if let Some(plan) = plan {
            world.writes(&plan);
        }
    }
    let steps = steps(question.running, &pipelines, &order);
    Judged { pipelines, steps }
}

/// What a pipeline writes comes no more: it is held, or all that it is driven by waits.
fn starve(judgement: &Judgement, running: &PipelinePlan, waiting: &mut BTreeMap<String, String>) {
    let held = match judgement.verdict {
        Verdict::Held => Some(&judgement.pipeline),
        _ => {
            let mut driving = running.inputs.iter().filter(|input| input.start.is_some());
            let waits = |name: &String| judgement.waits.iter().any(|wait| wait.input == *name);
            let all = driving.all(|input| waits(&input.name));
            judgement.waits.first().filter(|_| all).map(|wait| &wait.held)
        }
    };
    for output in running.outputs.iter().filter(|_| held.is_some()) {
        waiting.extend(held.map(|held| (output.topic.clone(), held.clone())));
    }
}

/// A pipeline that is judged.
pub(super) struct Case<'c> {
    pub(super) running: &'c PipelinePlan,
    document: &'c Document,
    spec: &'c PipelineSpec,
    pub(super) seen: Vec<Seen<'c>>,
    pub(super) world: &'c World<'c>,
}

/// A plan that the pipeline could have.
struct Candidate {
    plan: PipelinePlan,
    /// Whether it does the same work, whatever the topics are called.
    same: bool,
    outputs: Vec<OutputChange>,
    /// Why it must not be taken.
    reasons: Vec<Reason>,
}

/// What was decided.
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    why: String,
    pub(super) moves: Vec<Move>,
    outputs: Vec<OutputChange>,
    pub(super) reasons: Vec<Reason>,
    pub(super) plan: Option<PipelinePlan>,
    /// A plan that was refused.
    pub(super) refused: Option<PipelinePlan>,
}

impl Decision {
    fn new(verdict: Verdict, why: &str) -> Self {
        let (moves, outputs, reasons) = (Vec::new(), Vec::new(), Vec::new());
        Self { verdict, why: why.to_owned(), moves, outputs, reasons, plan: None, refused: None }
    }

    fn with(mut self, candidate: Candidate) -> Self {
        self.outputs = candidate.outputs;
        if candidate.reasons.is_empty() {
            self.plan = Some(candidate.plan);
        } else {
            self.refused = Some(candidate.plan);
        }
        self.reasons.extend(candidate.reasons);
        self
    }

    fn because(mut self, reasons: impl IntoIterator<Item = Reason>) -> Self {
        self.reasons.extend(reasons);
        self
    }
}

impl Case<'_> {
    fn judgement(&self, waiting: &BTreeMap<String, String>) -> Judgement {
        let mut decision = self.decide();
        let mut seen = std::collections::BTreeSet::new();
        decision.reasons.retain(|reason| seen.insert(reason.clone()));
        let certificate = Certificate::of(self, &decision);
        let changes: Vec<InputChange> = self.seen.iter().filter_map(Seen::change).collect();
        Judgement {
            pipeline: self.running.name().to_owned(),
            owner: self.document.metadata.owner.clone(),
            verdict: decision.verdict,
            why: decision.why,
            inputs: changes,
            moves: decision.moves,
            outputs: decision.outputs,
            reasons: decision.reasons,
            waits: self.waits(waiting),
            digest: self.running.digest.clone(),
            new_digest: decision.plan.as_ref().map(|plan| plan.digest.clone()),
            plan: decision.plan,
            certificate,
        }
    }

    fn waits(&self, waiting: &BTreeMap<String, String>) -> Vec<Wait> {
        let of = |input: &crate::mesh::InputPlan| {
            let held = waiting.get(&input.topic)?.clone();
            Some(Wait { input: input.name.clone(), topic: input.topic.clone(), held })
        };
        self.running.inputs.iter().filter_map(of).collect()
    }

    fn applied(&self) -> bool {
        self.world.question.applied.contains(self.running.name())
    }

    /// Whether the document, or somebody, lets it have a plan that does other work.
    pub(super) fn may_change(&self) -> bool {
        self.spec.evolution == Evolution::Auto || self.applied()
    }

    fn readable(&self) -> bool {
        self.seen.iter().all(Seen::readable)
    }

    fn decide(&self) -> Decision {
        let moving = self.seen.iter().any(|seen| seen.moves().is_some());
        let changed = self.seen.iter().any(|seen| seen.changed);
        if !moving && !changed && !self.applied() {
            return Decision::new(Verdict::Unaffected, "nothing that it reads has changed");
        }
        let said = self.candidate(Fields::AsSaid);
        match (moving, self.readable()) {
            (true, _) => self.moved(said),
            (false, true) => self.goes_on(said),
            (false, false) => self.stopped(said),
        }
    }

    /// Its plan as it is gets all that it reads.
    fn goes_on(&self, said: Result<Candidate, Vec<Reason>>) -> Decision {
        let stays = |why| Decision::new(Verdict::Stays, why);
        match said {
            Err(reasons) => stays("it still gets all that it reads, and no new plan can be made")
                .because(reasons),
            Ok(said) if said.same => {
                Decision::new(Verdict::Unaffected, "it reads nothing of what changed")
            }
            Ok(said) if !self.may_change() => {
                stays("it still gets all that it reads, and its document keeps its plan")
                    .because([self.kept()])
                    .with(said)
            }
            Ok(said) if !said.reasons.is_empty() => {
                stays("it still gets all that it reads, and the new plan is refused").with(said)
            }
            Ok(said) => self.upgraded(said),
        }
    }

    /// Its plan as it is does not get all that it reads.
    fn stopped(&self, said: Result<Candidate, Vec<Reason>>) -> Decision {
        let held = || {
            let why = "it does not get all that it reads, and has no plan that does";
            let mode = (!self.may_change()).then(|| self.kept());
            Decision::new(Verdict::Held, why).because(self.losses()).because(mode)
        };
        match said {
            Err(reasons) => held().because(reasons),
            Ok(said) if said.same => held(),
            Ok(said) if !self.may_change() || !said.reasons.is_empty() => held().with(said).held(),
            Ok(said) => self.upgraded(said),
        }
    }

    /// A table that it reads goes on in another topic.
    fn moved(&self, said: Result<Candidate, Vec<Reason>>) -> Decision {
        let fits = |one: &Candidate| one.reasons.is_empty() && (!one.same || self.readable());
        let mut held = Decision::new(
            Verdict::Held,
            "a table that it reads goes on in another topic, and it has no plan for that one",
        );
        match said {
            Ok(said) if fits(&said) && (said.same || self.may_change()) => {
                return self.moves_by(said);
            }
            Ok(said) => held = held.with(said).held(),
            Err(reasons) => held = held.because(reasons),
        }
        // With the fields that it had it may do the same work there.
        let frozen = self.candidate(Fields::Frozen).ok();
        let frozen = frozen.filter(|frozen| frozen.same && fits(frozen));
        if let Some(plan) = frozen.or_else(|| self.as_it_is()) {
            return self.moves_by(plan).because(held.reasons);
        }
        let mode = (!self.may_change()).then(|| self.kept());
        let reasons = std::mem::take(&mut held.reasons);
        held.because(self.losses()).because(self.lost_beyond()).because(mode).because(reasons)
    }

    fn moves_by(&self, plan: Candidate) -> Decision {
        let why = if plan.same {
            "it does the same work in the table's next topic"
        } else {
            "its new plan reads the table's next topic, and its outputs' subjects take what it writes"
        };
        let moves = self.seen.iter().filter_map(|seen| seen.to_move(plan.same));
        let moves = moves.collect();
        Decision { moves, ..Decision::new(Verdict::Moved, why) }.with(plan)
    }

    fn upgraded(&self, plan: Candidate) -> Decision {
        let why = if plan.outputs.is_empty() {
            "its new plan reads older records too, and writes what the running one does"
        } else {
            "its new plan reads older records too, and its outputs' subjects take what it writes"
        };
        Decision::new(Verdict::Upgraded, why).with(plan)
    }

    /// That the document keeps the plan as it is.
    fn kept(&self) -> Reason {
        let (rule, word) = match self.spec.evolution {
            Evolution::Manual => (Rule::Manual, "manual"),
            Evolution::Pinned | Evolution::Auto => (Rule::Pinned, "pinned"),
        };
        let remedy = "apply the pipeline, or write evolution: auto";
        Reason::new(rule, format!("its document says evolution: {word}"), remedy)
    }

    /// What its plan loses in the topics that it reads.
    fn losses(&self) -> Vec<Reason> {
        self.seen.iter().flat_map(|seen| seen.reasons(self.running)).collect()
    }

    /// What its plan would lose in the topics that tables go on in.
    fn lost_beyond(&self) -> Vec<Reason> {
        let of = |seen: &Seen<'_>| {
            let (_, topic) = seen.moves()?;
            let next = Relation::of_topic(topic.key.clone(), topic.value.clone()).ok()?;
            let lost = lost(seen.planned, &seen.plan.reads, &next, Missing::Lost);
            Some(seen.reasons_of(&lost, self.running))
        };
        self.seen.iter().filter_map(of).flatten().collect()
    }

    /// The plan that the document means now, with what stands against it.
    fn candidate(&self, fields: Fields) -> Result<Candidate, Vec<Reason>> {
        let replan = Replan {
            document: self.document,
            spec: self.spec,
            processors: &self.world.processors,
            inputs: &self.running.inputs,
        };
        let plan = replan.plan(&self.topics(), fields);
        let plan = plan.map_err(|problems| self.wrong(problems))?;
        let same = self
            .running_beyond()
            .map_or(self.running.digest == plan.digest, |beyond| beyond.digest == plan.digest);
        let (outputs, mut reasons) = check(self.running, &plan, self.world);
        reasons.extend(self.pending(&plan));
        reasons.extend(self.unfit(&plan));
        Ok(Candidate { plan, same, outputs, reasons })
    }

    /// The running plan in the topics that tables go on in, if one does.
    fn running_beyond(&self) -> Option<PipelinePlan> {
        let next = |topic: &str| {
            let seen = self.seen.iter().find(|seen| seen.plan.topic == topic)?;
            seen.moves().map(|(name, _)| name.clone())
        };
        let moves = self.seen.iter().any(|seen| seen.moves().is_some());
        moves.then(|| self.running.over(next))
    }

    /// The running plan in those topics, if it gets there all that it reads.
    fn as_it_is(&self) -> Option<Candidate> {
        let gets = |seen: &Seen<'_>| match seen.moves() {
            None => seen.readable(),
            Some((_, topic)) => {
                let next = Relation::of_topic(topic.key.clone(), topic.value.clone());
                next.is_ok_and(|next| {
                    lost(seen.planned, &seen.plan.reads, &next, Missing::Lost).is_empty()
                })
            }
        };
        let plan = self.running_beyond().filter(|_| self.seen.iter().all(gets))?;
        let plan = Some(plan).filter(|plan| self.unfit(plan).is_none())?;
        Some(Candidate { plan, same: true, outputs: Vec::new(), reasons: Vec::new() })
    }

    /// The topic of each input: that which the running plan reads, or the next one, as long as the
    /// document means the same table.
    fn topics(&self) -> BTreeMap<&str, (&str, Topic)> {
        let of = |(name, input)| {
            let name: &String = name;
            let said = self.world.topic_of(input)?;
            let seen = self.seen.iter().find(|seen| seen.plan.name == *name);
            let same =
                |seen: &&Seen<'_>| generations::first(&seen.plan.topic) == generations::first(said);
            let (topic, known) = match seen.filter(same).and_then(Seen::target) {
                Some(target) => target,
                None => {
                    let last = generations::last(said, &self.world.topics);
                    (last, self.world.topics.get(last)?)
                }
            };
            Some((name.as_str(), (topic, known.clone())))
        };
        self.spec.inputs.iter().filter_map(of).collect()
    }

    /// Why a plan cannot read records that may still stand in its topics.
    fn pending(&self, plan: &PipelinePlan) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for (input, table) in plan.inputs.iter().zip(&plan.tables) {
            let seen = self.seen.iter().find(|seen| {
                seen.plan.name == input.name && seen.plan.topic == input.topic && seen.changed
            });
            let Some(seen) = seen else { continue };
            let lost = lost(&table.relation, &input.reads, seen.planned, Missing::Default);
            reasons.extend(lost.iter().map(|lost| {
                let name = lost.path.join(".");
                let message = format!("older records of {}: {name} {}", input.topic, lost.loss);
                Reason::new(Rule::Pending, message, remedy(&name, &lost.loss))
                    .at(&input.name)
                    .field(&lost.path)
            }));
        }
        reasons
    }

    /// How a plan failed when it was tried, if it did.
    fn unfit(&self, plan: &PipelinePlan) -> Option<Reason> {
        let how = self.world.question.unfit.get(plan.name())?.get(&plan.digest)?;
        let remedy = "apply the pipeline to take it all the same, or mended; `tidemesh resume \
                      pipeline` tries it again";
        Some(Reason::new(
            Rule::Canary,
            format!("the new plan failed when it was tried: {how}"),
            remedy,
        ))
    }

    /// Problems of planning as reasons.
    fn wrong(&self, problems: Problems) -> Vec<Reason> {
        let of = |problem: Problem| {
            let place = problem.about.split("processors[").nth(1);
            let place = place.and_then(|rest| rest.split(']').next()?.parse::<usize>().ok());
            let step = place.and_then(|place| self.spec.processors.get(place));
            let help = problem.help.unwrap_or_else(|| "mend the document".to_owned());
            Reason::new(Rule::Plan, problem.message, help)
                .processor(step.map(|step| step.name.clone()))
        };
        problems.0.into_iter().map(of).collect()
    }
}

impl Decision {
    /// A held pipeline has no plan that is to run: what it could have is kept as refused.
    fn held(mut self) -> Self {
        self.refused = self.plan.take().or(self.refused);
        self
    }
}
