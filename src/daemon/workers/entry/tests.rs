//! What becomes of beats.

use super::*;
use std::collections::BTreeMap;
use std::time::Duration;
use tidemesh_plan::mesh::Recipe;

fn assignment(id: &str, digest: &str) -> Assignment {
    let recipe =
        serde_json::json!({"pipeline": {}, "topics": {}, "accepted": {}, "digest": digest});
    let recipe: Recipe = serde_json::from_value(recipe).unwrap();
    Assignment {
        id: id.into(),
        recipe,
        planned_by: BTreeMap::from([("t".into(), 7)]),
        accept_loss: false,
    }
}

fn run(assignment: &str, digest: &str, state: JobState) -> Run {
    let job = JobReport { digest: digest.into(), state, counts: JobCounts::default() };
    Run { assignment: assignment.into(), planned_by: BTreeMap::from([("t".into(), 7)]), job }
}

fn beat(id: &str, spawned: bool, run: Option<Run>) -> Beat {
    let worker = Worker { id: id.into(), pid: 1, url: String::new(), spawned };
    Beat { worker, run, leaves: false }
}

fn order(entry: &mut Entry, beat: &Beat, now: Instant) -> Order {
    entry.beat(beat, now).order
}

fn state(entry: &Entry, now: Instant) -> Option<JobState> {
    entry.report(now).map(|report| report.state)
}

#[test]
fn a_worker_is_told_what_to_run_until_it_does() {
    let (mut entry, now) = (Entry::default(), Instant::now());
    assert_eq!(order(&mut entry, &beat("a", true, None), now), Order::Keep);
    entry.start(assignment("1", "d"));
    assert_eq!(state(&entry, now), Some(JobState::Starting));
    let told = order(&mut entry, &beat("a", true, None), now);
    assert_eq!(told, Order::Run(Box::new(assignment("1", "d"))));
    let running = beat("a", true, Some(run("1", "d", JobState::Running)));
    assert_eq!(order(&mut entry, &running, now), Order::Keep);
    assert_eq!(state(&entry, now), Some(JobState::Running));
    entry.start(assignment("2", "e"));
    assert_eq!(state(&entry, now), Some(JobState::Starting));
    assert!(matches!(order(&mut entry, &running, now), Order::Run(_)));
    entry.stop();
    assert_eq!(order(&mut entry, &running, now), Order::Stop);
    assert!(entry.runs(now));
    assert_eq!(order(&mut entry, &beat("a", true, None), now), Order::Leave);
    assert!(!entry.runs(now));
}

#[test]
fn what_ran_before_the_controller_came_goes_on() {
    let now = Instant::now();
    let held = JobState::Held { error: "e".into() };
    let lost = JobState::Lost { error: "e".into() };
    let failed = JobState::Failed { error: "e".into() };
    for (state, adopted) in [
        (JobState::Running, true),
        (JobState::Retrying { error: "e".into() }, true),
        (held, true),
        (lost, true),
        (JobState::Drained, false),
        (failed, false),
    ] {
        let (mut entry, running) = (Entry::default(), Some(run("old", "d", state.clone())));
        let running = beat("a", true, running);
        assert_eq!(order(&mut entry, &running, now), Order::Keep, "nobody has said yet");
        assert_eq!(self::state(&entry, now), Some(state.clone()), "it is told of");
        entry.start(assignment("new", "d"));
        let told = order(&mut entry, &running, now);
        assert_eq!(told == Order::Keep, adopted, "{state:?}");
        let mut entry = Entry::default();
        entry.start(assignment("new", "other"));
        assert!(matches!(order(&mut entry, &running, now), Order::Run(_)), "another plan");
        let mut judged = assignment("new", "d");
        judged.planned_by = BTreeMap::from([("t".into(), 8)]);
        entry.start(judged);
        assert!(matches!(order(&mut entry, &running, now), Order::Run(_)), "newer schemas");
    }
}

#[test]
fn a_second_worker_waits_until_the_first_is_gone() {
    let (mut entry, now) = (Entry::default(), Instant::now());
    entry.start(assignment("1", "d"));
    let first = beat("a", false, Some(run("1", "d", JobState::Running)));
    order(&mut entry, &first, now);
    assert_eq!(order(&mut entry, &beat("b", false, None), now), Order::Keep);
    assert_eq!(order(&mut entry, &beat("b", true, None), now), Order::Leave);
    let double = beat("b", false, Some(run("1", "d", JobState::Running)));
    assert_eq!(order(&mut entry, &double, now), Order::Stop);
    assert_eq!(entry.worker(now).map(|worker| worker.id.as_str()), Some("a"));

    let later = now + LAPSE + Duration::from_secs(2);
    assert!(entry.unattended(later));
    let Some(JobState::Retrying { error }) = state(&entry, later) else { panic!("it is gone") };
    assert!(error.contains("12 s"), "{error}");
    assert!(matches!(order(&mut entry, &beat("b", false, None), later), Order::Run(_)));
    // The first one wakes up again.
    assert_eq!(order(&mut entry, &first, later), Order::Stop);

    let leaving = Beat { leaves: true, ..beat("b", false, None) };
    assert_eq!(order(&mut entry, &leaving, later), Order::Keep);
    assert!(entry.unattended(later), "who says that it leaves is not waited for");
}

#[test]
fn a_drain_is_said_with_each_beat_until_another_plan_runs() {
    let (mut entry, now) = (Entry::default(), Instant::now());
    entry.start(assignment("1", "d"));
    let running = beat("a", true, Some(run("1", "d", JobState::Running)));
    let topics = [("t".to_owned(), "t.g2".to_owned())];
    entry.drain(&topics);
    assert_eq!(entry.beat(&running, now).drain, topics);
    assert_eq!(entry.beat(&running, now).drain, topics);
    entry.start(assignment("2", "e"));
    assert!(entry.beat(&running, now).drain.is_empty());
}

#[test]
fn a_process_that_does_not_start_is_told_of() {
    let (mut entry, now) = (Entry::default(), Instant::now());
    entry.start(assignment("1", "d"));
    entry.note("it ended at once".into());
    let retrying = JobState::Retrying { error: "it ended at once".into() };
    assert_eq!(state(&entry, now), Some(retrying));
    assert!(entry.unattended(now));
    order(&mut entry, &beat("a", true, None), now);
    assert_eq!(state(&entry, now), Some(JobState::Starting));
}
