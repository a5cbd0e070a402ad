//! What a controller knows of one pipeline's workers, and what it has them do: decided from beats and
//! the time, without a clock or a socket.

use super::{Answer, Assignment, Beat, LAPSE, Order, Run, Worker};
use std::time::Instant;
use tidemesh_controller::{JobCounts, JobReport, JobState};

/// A pipeline.
#[derive(Debug, Default)]
pub(super) struct Entry {
    shall: Shall,
    drain: Vec<(String, String)>,
    holder: Option<Holder>,
    /// Why no process could be started for it, if so.
    trouble: Option<String>,
}

/// What is to become of a pipeline.
#[derive(Debug, Default)]
enum Shall {
    /// The controller has not said yet: a worker goes on.
    #[default]
    Open,
    /// It runs.
    Run(Box<Assignment>),
    /// It does not run.
    Stop,
}

/// The worker that has the pipeline. Others stand by.
#[derive(Debug)]
struct Holder {
    worker: Worker,
    run: Option<Run>,
    /// Whether it was answered last to run something, which it may be starting.
    told: bool,
    at: Instant,
}

impl Holder {
    fn alive(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) < LAPSE
    }
}

impl Entry {
    /// Has it run.
    pub(super) fn start(&mut self, assignment: Assignment) {
        self.shall = Shall::Run(Box::new(assignment));
        self.drain.clear();
        self.trouble = None;
    }

    /// Has it not run.
    pub(super) fn stop(&mut self) {
        self.shall = Shall::Stop;
        self.drain.clear();
    }

    /// Has it read topics to their ends.
    pub(super) fn drain(&mut self, topics: &[(String, String)]) {
        self.drain = topics.to_vec();
    }

    /// A process has ended, whatever it said last.
    pub(super) fn gone(&mut self, pid: u32) {
        if self.holder.as_ref().is_some_and(|holder| holder.worker.pid == pid) {
            self.holder = None;
        }
    }

    /// Why no process can be started.
    pub(super) fn note(&mut self, trouble: String) {
        self.trouble = Some(trouble);
    }

    /// The worker that has it, if it was heard of lately.
    pub(super) fn worker(&self, now: Instant) -> Option<&Worker> {
        self.held(now).map(|holder| &holder.worker)
    }

    /// Whether it shall run and no worker has it.
    pub(super) fn unattended(&self, now: Instant) -> bool {
        matches!(self.shall, Shall::Run(_)) && self.held(now).is_none()
    }

    /// Whether a worker has a job of it, or was told to, by what is known.
    pub(super) fn runs(&self, now: Instant) -> bool {
        self.held(now).is_some_and(|holder| holder.told || holder.run.is_some())
    }

    /// Whether nothing would be lost if it were forgotten.
    pub(super) fn idle(&self, now: Instant) -> bool {
        !matches!(self.shall, Shall::Run(_)) && self.held(now).is_none()
    }

    fn held(&self, now: Instant) -> Option<&Holder> {
        self.holder.as_ref().filter(|holder| holder.alive(now))
    }

    /// Takes a beat, and says what its worker shall do.
    pub(super) fn beat(&mut self, beat: &Beat, now: Instant) -> Answer {
        let other = self.held(now).is_some_and(|holder| holder.worker.id != beat.worker.id);
        if other {
            return just(second(beat));
        }
        if beat.leaves {
            self.holder = None;
            return just(Order::Keep);
        }
        let answer = self.order(beat);
        let (worker, run) = (beat.worker.clone(), beat.run.clone());
        let told = matches!(answer.order, Order::Run(_));
        self.holder = Some(Holder { worker, run, told, at: now });
        self.trouble = None;
        answer
    }

    fn order(&mut self, beat: &Beat) -> Answer {
        match (&mut self.shall, &beat.run) {
            (Shall::Open, Some(_)) => self.keep(),
            (Shall::Run(wanted), Some(run)) => {
                if wanted.id != run.assignment && !adopts(wanted, run) {
                    return just(Order::Run(wanted.clone()));
                }
                wanted.id.clone_from(&run.assignment);
                self.keep()
            }
            (Shall::Run(wanted), None) => just(Order::Run(wanted.clone())),
            (Shall::Stop, Some(_)) => just(Order::Stop),
            (Shall::Stop, None) if beat.worker.spawned => just(Order::Leave),
            (Shall::Stop | Shall::Open, None) => just(Order::Keep),
        }
    }

    fn keep(&self) -> Answer {
        Answer { order: Order::Keep, drain: self.drain.clone() }
    }

    /// Its job, as a launcher tells of it; none if there is none, and none to be.
    pub(super) fn report(&self, now: Instant) -> Option<JobReport> {
        let run = self.holder.as_ref().and_then(|holder| holder.run.as_ref());
        match &self.shall {
            Shall::Stop => None,
            Shall::Open => self.held(now)?.run.as_ref().map(|run| run.job.clone()),
            Shall::Run(wanted) => {
                let digest = wanted.recipe.digest().to_owned();
                let counts = run.map_or_else(JobCounts::default, |run| run.job.counts);
                Some(JobReport { digest, state: self.state(wanted, now), counts })
            }
        }
    }

    fn state(&self, wanted: &Assignment, now: Instant) -> JobState {
        if let Some(error) = &self.trouble {
            return JobState::Retrying { error: error.clone() };
        }
        let Some(holder) = &self.holder else { return JobState::Starting };
        if !holder.alive(now) {
            let silent_s = now.saturating_duration_since(holder.at).as_secs();
            let error = format!("its process has not been heard of for {silent_s} s");
            return JobState::Retrying { error };
        }
        let run = holder.run.as_ref().filter(|run| run.assignment == wanted.id);
        run.map_or(JobState::Starting, |run| run.job.state.clone())
    }
}

/// Whether what a worker runs since another controller's time is what is wanted. What has ended is started
/// again instead, but for what waits before a record that is not judged yet, or before a loss that nobody has
/// accepted.
fn adopts(wanted: &Assignment, run: &Run) -> bool {
    let goes_on = match &run.job.state {
        JobState::Starting
        | JobState::Running
        | JobState::Retrying { .. }
        | JobState::Held { .. } => true,
        JobState::Lost { places, .. } => !wanted.accepted_loss.covers_any(places),
        JobState::Drained | JobState::Failed { .. } => false,
    };
    goes_on && run.job.digest == wanted.recipe.digest() && run.planned_by == wanted.planned_by
}

/// What a worker does while another one has the pipeline.
fn second(beat: &Beat) -> Order {
    match (&beat.run, beat.worker.spawned) {
        (_, true) => Order::Leave,
        (Some(_), false) => Order::Stop,
        (None, false) => Order::Keep,
    }
}

fn just(order: Order) -> Answer {
    Answer { order, drain: Vec::new() }
}

#[cfg(test)]
mod tests;
