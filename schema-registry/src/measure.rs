//! What the registry tells the `metrics` facade. Whoever hosts it installs the recorder.

use std::time::Duration;

/// Counts one answered request by method, matched route (never the path itself) and status.
pub(crate) fn request(method: &str, route: &str, status: u16, took: Duration) {
    let labels = [
        ("method", method.to_owned()),
        ("route", route.to_owned()),
        ("status", status.to_string()),
    ];
    metrics::counter!("tidemesh_registry_requests_total", &labels).increment(1);
    metrics::histogram!("tidemesh_registry_request_duration_seconds", "route" => labels[1].1.clone())
        .record(took.as_secs_f64());
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
