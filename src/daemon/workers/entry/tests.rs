//! What becomes of beats.

use super::*;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::time::Duration;
use tidemesh_controller::{AcceptedLoss, LostPlace};
use tidemesh_plan::mesh::Recipe;

fn assignment(id: &str, digest: &str) -> Assignment {
    let recipe =
        serde_json::json!({"pipeline": {}, "topics": {}, "accepted": {}, "digest": digest});
    let recipe: Recipe = serde_json::from_value(recipe).unwrap();
    Assignment {
        id: id.into(),
        recipe,
        planned_by: BTreeMap::from([("t".into(), 7)]),
        accepted_loss: AcceptedLoss::default(),
        accept_loss: IgnoredAny,
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

fn gone(begin: u64) -> LostPlace {
    LostPlace { topic: "t".into(), partition: 0, offset: 1, begin }
}

/// One that goes on behind what is gone before this offset.
fn accepting(begin: u64) -> Assignment {
    let mut assignment = assignment("new", "d");
    assignment.accepted_loss.accept(&[gone(begin)]);
    assignment
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
    let lost = JobState::Lost { error: "e".into(), places: vec![gone(5)] };
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

#[test]
fn only_what_stands_before_an_accepted_loss_is_started_again_for_it() {
    let now = Instant::now();
    let lost = |places| JobState::Lost { error: "e".into(), places };
    for (state, adopted) in [
        (JobState::Starting, true),
        (JobState::Running, true),
        (JobState::Retrying { error: "e".into() }, true),
        (JobState::Held { error: "e".into() }, true),
        (lost(vec![gone(5)]), false),
        (lost(vec![gone(6)]), true),
        // One of an earlier version does not say which.
        (lost(Vec::new()), true),
    ] {
        let mut entry = Entry::default();
        let running = beat("a", true, Some(run("old", "d", state.clone())));
        entry.start(accepting(5));
        let told = order(&mut entry, &running, now);
        assert_eq!(told == Order::Keep, adopted, "{state:?}");
        if !adopted {
            assert_eq!(told, Order::Run(Box::new(accepting(5))));
            let lost = beat("a", true, Some(run("new", "d", lost(vec![gone(9)]))));
            assert_eq!(order(&mut entry, &lost, now), Order::Keep, "it was started so");
        }
    }
}

#[test]
fn a_worker_that_was_told_to_run_counts_as_running() {
    let (mut entry, now) = (Entry::default(), Instant::now());
    entry.start(assignment("1", "d"));
    assert!(!entry.runs(now) && entry.unattended(now));
    assert!(matches!(order(&mut entry, &beat("a", true, None), now), Order::Run(_)));
    assert!(entry.runs(now) && !entry.unattended(now), "it is starting it");
    entry.stop();
    assert!(entry.runs(now), "whoever waits for its end waits");
    let starting = beat("a", true, Some(run("1", "d", JobState::Starting)));
    assert_eq!(order(&mut entry, &starting, now), Order::Stop);
    assert!(entry.runs(now));
    assert_eq!(order(&mut entry, &beat("a", true, None), now), Order::Leave);
    assert!(!entry.runs(now));
}

#[test]
fn a_worker_that_was_fenced_waits_for_the_one_that_has_its_pipeline() {
    let (mut entry, now) = (Entry::default(), Instant::now());
    entry.start(assignment("1", "d"));
    let first = beat("a", false, Some(run("1", "d", JobState::Running)));
    assert_eq!(order(&mut entry, &first, now), Order::Keep);
    let later = now + LAPSE;
    let second = beat("b", true, None);
    assert!(matches!(order(&mut entry, &second, later), Order::Run(_)));
    // Its job has ended, and it says so once it is heard of again.
    assert_eq!(order(&mut entry, &beat("a", false, None), later), Order::Keep);
    assert_eq!(order(&mut entry, &beat("a", true, None), later), Order::Leave);
    assert_eq!(entry.worker(later).map(|worker| worker.id.as_str()), Some("b"));
    // Once the other one is gone it is as good as any.
    let latest = later + LAPSE;
    assert!(matches!(order(&mut entry, &beat("a", false, None), latest), Order::Run(_)));
}

#[test]
fn what_controllers_and_workers_of_other_versions_say_is_read() {
    let before = r#"{"id": "1", "recipe": {"pipeline": {}, "topics": {}, "accepted": {}, "digest": "d"},
        "planned_by": {"t": 7}, "accept_loss": true}"#;
    let read: Assignment = serde_json::from_str(before).unwrap();
    assert_eq!(read, assignment("1", "d"), "leave to lose whatever is gone is not taken");
    let text = serde_json::to_string(&read).unwrap();
    assert!(!text.contains("loss"), "an earlier worker takes what it knows: {text}");
    let text = serde_json::to_string(&accepting(5)).unwrap();
    assert_eq!(serde_json::from_str::<Assignment>(&text).unwrap(), accepting(5));
    let lost = JobState::Lost { error: "e".into(), places: vec![gone(5)] };
    let told = beat("a", true, Some(run("1", "d", lost)));
    let text = serde_json::to_string(&told).unwrap();
    assert_eq!(serde_json::from_str::<Beat>(&text).unwrap(), told);
}
