//! What the registry tells the `metrics` facade. Whoever hosts it installs the recorder, before the
//! first request.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Histogram};

/// Answered requests by method, matched route (never the path itself) and status.
///
/// A series is looked up by its labels once and then kept: to look it up takes longer than to answer
/// most requests. There are as many as there are routes, methods and statuses.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    routes: RwLock<HashMap<Box<str>, Series>>,
}

/// The series of one route.
#[derive(Debug)]
struct Series {
    duration: Histogram,
    counts: Vec<(&'static str, u16, Counter)>,
}

impl Series {
    fn of(route: &str) -> Self {
        Self { duration: duration(route), counts: Vec::new() }
    }

    /// Counts, if that was counted before.
    fn count(&self, method: &'static str, status: u16, took: Duration) -> bool {
        let known = self.counts.iter().find(|(m, s, _)| *m == method && *s == status);
        let Some((_, _, counter)) = known else { return false };
        counter.increment(1);
        self.duration.record(took.as_secs_f64());
        true
    }
}

impl Requests {
    /// Counts one.
    pub(crate) fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if routes.get(route).is_some_and(|series| series.count(method, status, took)) {
            return;
        }
        drop(routes);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let series = routes.entry(Box::from(route)).or_insert_with(|| Series::of(route));
        if !series.count(method, status, took) {
            series.counts.push((method, status, counter(method, route, status)));
            series.count(method, status, took);
        }
    }
}

/// The two series of one method, route and status, for who counts nothing else.
#[derive(Debug)]
pub(crate) struct One {
    duration: Histogram,
    count: Counter,
}

impl One {
    pub(crate) fn of(method: &'static str, route: &str, status: u16) -> Self {
        Self { duration: duration(route), count: counter(method, route, status) }
    }

    /// Counts one.
    pub(crate) fn count(&self, took: Duration) {
        self.count.increment(1);
        self.duration.record(took.as_secs_f64());
    }
}

fn duration(route: &str) -> Histogram {
    metrics::histogram!("tidemesh_registry_request_duration_seconds", "route" => route.to_owned())
}

fn counter(method: &'static str, route: &str, status: u16) -> Counter {
    let labels = [
        ("method", method.to_owned()),
        ("route", route.to_owned()),
        ("status", status.to_string()),
    ];
    metrics::counter!("tidemesh_registry_requests_total", &labels)
}

/// Reports how much the registry holds, soft-deleted subjects included.
pub(crate) fn sizes(schemas: usize, subjects: usize) {
    metrics::gauge!("tidemesh_registry_schemas").set(approximate(schemas));
    metrics::gauge!("tidemesh_registry_subjects").set(approximate(subjects));
}

/// Gauges are floating point numbers; ours stay far below the 2^53 they hold exactly.
fn approximate(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
