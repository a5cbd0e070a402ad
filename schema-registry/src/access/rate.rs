//! How often one client may do something: a bucket of tokens for each, which fills again with time.

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

/// How many clients are remembered; one that is forgotten has a full bucket again.
const CLIENTS_MAX: usize = 10_000;

/// How much is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many come back in a second.
    pub per_second: u32,
    /// How many may be used at once.
    pub burst: u32,
}

/// A bucket for each client.
#[derive(Debug)]
pub(crate) struct Buckets<K: Hash + Eq> {
    rate: Rate,
    buckets: Cache<K, Arc<Mutex<Bucket>>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    since: Instant,
    /// Whether the last one that was asked for was refused.
    empty: bool,
}

/// Too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// After so long one more is allowed.
    pub(crate) retry_after: Duration,
    /// Whether this is the first refusal since the last one that was allowed.
    pub(crate) first: bool,
}

impl<K: Hash + Eq + Clone> Buckets<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, buckets: Cache::new(CLIENTS_MAX) }
    }

    /// Uses one up.
    pub(crate) fn take(&self, client: &K, now: Instant) -> Result<(), Exceeded> {
        let bucket = self.bucket(client, now);
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.since).as_secs_f64();
        // Of none at all nothing could be said when to come again.
        let rate = f64::from(self.rate.per_second.max(1));
        bucket.tokens = (bucket.tokens + passed * rate).min(f64::from(self.rate.burst));
        bucket.since = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            bucket.empty = false;
            return Ok(());
        }
        let retry_after = Duration::from_secs_f64((1.0 - bucket.tokens) / rate);
        let first = !std::mem::replace(&mut bucket.empty, true);
        Err(Exceeded { retry_after, first })
    }

    /// Gives one back that was not meant to count.
    pub(crate) fn give_back(&self, client: &K) {
        if let Some(bucket) = self.buckets.get(client) {
            let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.tokens = (bucket.tokens + 1.0).min(f64::from(self.rate.burst));
        }
    }

    fn bucket(&self, client: &K, now: Instant) -> Arc<Mutex<Bucket>> {
        let full = || {
            let tokens = f64::from(self.rate.burst);
            Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(Bucket {
                tokens,
                since: now,
                empty: false,
            })))
        };
        match self.buckets.get_or_insert_with(client, full) {
            Ok(bucket) => bucket,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_what_comes_back() {
        let buckets = Buckets::new(Rate { per_second: 2, burst: 3 });
        let start = Instant::now();
        for _ in 0..3 {
            buckets.take(&"a", start).unwrap();
        }
        let exceeded = buckets.take(&"a", start).unwrap_err();
        assert_eq!(exceeded, Exceeded { retry_after: Duration::from_millis(500), first: true });
        assert!(!buckets.take(&"a", start).unwrap_err().first);
        buckets.take(&"b", start).unwrap();
        buckets.take(&"a", start + Duration::from_millis(500)).unwrap();
        assert!(buckets.take(&"a", start + Duration::from_millis(500)).unwrap_err().first);
        buckets.give_back(&"a");
        buckets.take(&"a", start + Duration::from_millis(500)).unwrap();
    }

    #[test]
    fn the_clients_that_are_remembered_are_bounded() {
        let buckets = Buckets::new(Rate { per_second: 1, burst: 1 });
        let now = Instant::now();
        for client in 0..3 * CLIENTS_MAX {
            buckets.take(&client, now).unwrap();
        }
        assert!(buckets.buckets.len() <= CLIENTS_MAX);
    }
}
