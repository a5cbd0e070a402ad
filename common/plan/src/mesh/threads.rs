//! The same work for many items, by several threads.

use crate::sql::with_stack;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::thread::{Builder, Scope, ScopedJoinHandle, available_parallelism, scope};

/// The most threads that plan one set.
const THREADS_MAX: usize = 8;

/// A thread that has fewer items costs more than it saves.
const ITEMS_A_THREAD_MIN: usize = 8;

/// How many threads run at once on this machine, within the bound.
pub(super) fn here() -> usize {
    // To ask costs a look into the system's files.
    static HERE: LazyLock<usize> =
        LazyLock::new(|| available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX));
    *HERE
}

/// What `work` makes of each item, in their order, by at most so many threads. Each has a stack on which
/// queries can be resolved, as the one that calls has.
pub(super) fn map<T: Sync, R: Send>(
    items: &[T],
    threads_max: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let threads = (items.len() / ITEMS_A_THREAD_MIN).min(threads_max).max(1);
    if threads == 1 {
        return items.iter().map(work).collect();
    }
    let all = |part: &[T]| part.iter().map(&work).collect::<Vec<R>>();
    let apart = |part: &[T]| with_stack(|| all(part));
    let mut parts = items.chunks(items.len().div_ceil(threads));
    let own = parts.next().unwrap_or_default();
    scope(|scope| {
        let others: Vec<_> = parts.map(|part| (part, spawn(scope, part, &apart))).collect();
        let mut done = all(own);
        for (part, thread) in others {
            done.extend(thread.map_or_else(|| all(part), join));
        }
        done
    })
}

/// A thread for a part; none if the system has none to give.
fn spawn<'s, T: Sync, R: Send + 's>(
    scope: &'s Scope<'s, '_>,
    part: &'s [T],
    all: &'s (impl Fn(&[T]) -> Vec<R> + Sync),
) -> Option<ScopedJoinHandle<'s, Vec<R>>> {
    Builder::new().spawn_scoped(scope, move || all(part)).ok()
}

fn join<R>(thread: ScopedJoinHandle<'_, Vec<R>>) -> Vec<R> {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_their_items() {
        for count in [0, 1, 15, 16, 33, 1_000] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(map(&items, 3, |item| item * 2), doubled);
        }
    }
}
