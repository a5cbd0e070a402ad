//! What every store does, as a suite that each is held to. It panics where one does not.
#![allow(clippy::unwrap_used, reason = "a suite of tests fails by panicking")]

use super::{Change, Holder, Items, Lease, Store, open};
use std::time::{Duration, Instant};
use tidemesh_model::ErrorKind;
use tidemesh_store::StoreConfig;

const LONG: Duration = Duration::from_secs(60);

/// How long a lease lasts where it shall run out.
const SHORT: Duration = Duration::from_millis(200);

/// The longest that something may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the suite: `store` gives for each name one that is empty. On a thread that may wait, within a
/// runtime.
pub fn every_store(store: impl Fn(&str) -> StoreConfig) {
    of_two_controllers_one_writes(&store("a"));
    a_lease_runs_out(&store("b"));
    what_was_let_go_is_free(&store("c"));
    a_write_is_whole_or_nothing(&store("d"));
    the_last_of_several_changes_counts(&store("e"));
    of_many_that_ask_at_once_one_gets_the_lease(&store("f"));
    what_is_written_is_read_as_it_was(&store("g"));
}

fn two(config: &StoreConfig) -> (Box<dyn Store>, Box<dyn Store>) {
    (open(config).unwrap(), open(config).unwrap())
}

fn holder(id: &str) -> Holder {
    Holder { id: id.to_owned(), url: format!("http://{id}") }
}

fn put(name: &str, text: &str) -> Change {
    Change { name: name.to_owned(), text: Some(text.to_owned()) }
}

fn gone(name: &str) -> Change {
    Change { name: name.to_owned(), text: None }
}

fn items(all: &[(&str, &str)]) -> Items {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[track_caller]
fn ours(store: &mut dyn Store, id: &str, time: Duration) -> u64 {
    match store.lease(&holder(id), time).unwrap() {
        Lease::Ours { epoch } => epoch,
        Lease::Others(other) => panic!("{} has it", other.id),
    }
}

fn of_two_controllers_one_writes(config: &StoreConfig) {
    let (mut one, mut other) = two(config);
    let epoch = ours(&mut *one, "one", LONG);
    assert_eq!(other.lease(&holder("other"), LONG).unwrap(), Lease::Others(holder("one")));
    one.write(epoch, &[put("a", "1"), put("b", "2")]).unwrap();
    assert_eq!(ours(&mut *one, "one", Duration::ZERO), epoch, "renewed, it is the same lease");
    assert_eq!(ours(&mut *other, "other", LONG), epoch + 1);
    let error = one.write(epoch, &[put("a", "late")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.report().contains("http://other"), "{}", error.report());
    other.write(epoch + 1, &[gone("b"), put("c", "3")]).unwrap();
    assert_eq!(one.load().unwrap(), items(&[("a", "1"), ("c", "3")]));
    // Who was fenced lets nothing go that is not its own.
    one.release(epoch).unwrap();
    assert_eq!(one.lease(&holder("one"), LONG).unwrap(), Lease::Others(holder("other")));
}

fn a_lease_runs_out(config: &StoreConfig) {
    let (mut one, mut other) = two(config);
    let epoch = ours(&mut *one, "one", SHORT);
    let deadline = Instant::now() + PATIENCE;
    while other.lease(&holder("other"), LONG).unwrap() == Lease::Others(holder("one")) {
        assert!(Instant::now() < deadline, "it never ran out");
        std::thread::sleep(SHORT / 20);
    }
    assert_eq!(ours(&mut *other, "other", LONG), epoch + 1);
    assert_eq!(one.lease(&holder("one"), LONG).unwrap(), Lease::Others(holder("other")));
}

fn what_was_let_go_is_free(config: &StoreConfig) {
    let (mut one, mut other) = two(config);
    let epoch = ours(&mut *one, "one", LONG);
    one.release(epoch).unwrap();
    let next = ours(&mut *other, "other", LONG);
    assert_eq!(next, epoch + 1);
    other.release(next).unwrap();
    assert_eq!(ours(&mut *other, "other", LONG), next + 1, "who lets it go has another one next");
}

fn a_write_is_whole_or_nothing(config: &StoreConfig) {
    let (mut one, _) = two(config);
    let epoch = ours(&mut *one, "one", LONG);
    one.write(epoch, &[put("a", "1")]).unwrap();
    let changes = [gone("a"), put("b", "2")];
    assert_eq!(one.write(epoch + 1, &changes).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(one.load().unwrap(), items(&[("a", "1")]));
    one.write(epoch, &[]).unwrap();
}

fn the_last_of_several_changes_counts(config: &StoreConfig) {
    let (mut one, _) = two(config);
    let epoch = ours(&mut *one, "one", LONG);
    let changes =
        [put("a", "1"), put("b", "1"), put("a", "2"), gone("b"), gone("c"), put("c", "3")];
    one.write(epoch, &changes).unwrap();
    assert_eq!(one.load().unwrap(), items(&[("a", "2"), ("c", "3")]));
}

fn of_many_that_ask_at_once_one_gets_the_lease(config: &StoreConfig) {
    let runtime = tokio::runtime::Handle::try_current().ok();
    let asked: Vec<Lease> = std::thread::scope(|scope| {
        let ask = |number: usize| {
            let runtime = runtime.clone();
            scope.spawn(move || {
                let _inside = runtime.as_ref().map(tokio::runtime::Handle::enter);
                open(config).unwrap().lease(&holder(&number.to_string()), LONG).unwrap()
            })
        };
        let asking: Vec<_> = (0..8).map(ask).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let ours = asked.iter().filter(|lease| matches!(lease, Lease::Ours { .. })).count();
    assert_eq!(ours, 1, "{asked:?}");
}

fn what_is_written_is_read_as_it_was(config: &StoreConfig) {
    let (mut one, mut other) = two(config);
    let epoch = ours(&mut *one, "one", LONG);
    let long = "x".repeat(1 << 20);
    let texts = ["", "{\"a\":\"\\u0000\"}", "ä 'quoted' \\ \n", &long];
    let named = |(place, text): (usize, &&str)| (format!("it's/{place}"), (*text).to_owned());
    let written: Items = texts.iter().enumerate().map(named).collect();
    let changes: Vec<Change> = written.iter().map(|(name, text)| put(name, text)).collect();
    one.write(epoch, &changes).unwrap();
    assert_eq!(other.load().unwrap(), written);
}
