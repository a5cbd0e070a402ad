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
    routes: RwLock<HashMap<Box<str>, Vec<One>>>,
}

impl Requests {
    /// Counts one.
    pub(crate) fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let is_it = |one: &&One| one.method == method && one.status == status;
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = routes.get(route).and_then(|known| known.iter().find(is_it)) {
            return one.count(took);
        }
        drop(routes);
        let one = One::of(method, route, status);
        one.count(took);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        let known = routes.entry(Box::from(route)).or_default();
        // Another request may have been faster; both count into the same series.
        if !known.iter().any(|known| is_it(&known)) {
            known.push(one);
        }
    }
}

/// The two series of one method, route and status.
#[derive(Debug)]
pub(crate) struct One {
    method: &'static str,
    status: u16,
    count: Counter,
    duration: Histogram,
}

impl One {
    pub(crate) fn of(method: &'static str, route: &str, status: u16) -> Self {
        let (count, duration) = (counter(method, route, status), duration(route));
        Self { method, status, count, duration }
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
