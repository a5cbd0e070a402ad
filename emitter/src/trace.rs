//! An event's trace: the spans that emitting makes, and the headers by which a trace goes on at who reads.

use crate::options::EventOptions;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use tracing::Span;

/// Takes the headers by which a trace goes on, as W3C's `traceparent` and `tracestate`:
/// [`EmitterBuilder::propagate`](crate::EmitterBuilder::propagate).
#[derive(Debug, Default)]
pub struct Carrier {
    headers: Vec<(String, String)>,
}

impl Carrier {
    /// Sets a header. One that the event is given by its options stays as it is.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.headers.push((name.into(), value.into()));
    }

    /// What is said of an event, and these headers.
    pub(crate) fn beside<'a>(&'a self, options: &'a EventOptions<'_>) -> Cow<'a, EventOptions<'a>> {
        let is_given = |name: &str| options.headers.iter().any(|(given, _)| *given == name);
        let new = self.headers.iter().filter(|(name, _)| !is_given(name));
        let new: Vec<_> = new.map(|(name, value)| (&**name, value.as_bytes())).collect();
        if new.is_empty() {
            return Cow::Borrowed(options);
        }
        let mut options: EventOptions<'a> = options.clone();
        options.headers.extend(new);
        Cow::Owned(options)
    }
}

type Context = dyn Fn(&mut Carrier) + Send + Sync;

/// Asked for the headers of each event.
#[derive(Clone, Default)]
pub(crate) struct Propagator(Option<Arc<Context>>);

impl Propagator {
    pub(crate) fn new(context: impl Fn(&mut Carrier) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(context)))
    }

    /// The headers of what is current now.
    pub(crate) fn ask(&self) -> Carrier {
        let mut carrier = Carrier::default();
        if let Some(context) = &self.0 {
            context(&mut carrier);
        }
        carrier
    }
}

impl fmt::Debug for Propagator {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("Propagator").field(&self.0.is_some()).finish()
    }
}

/// The span of one event, which ends with what the application waits for. Its kind and its topic are told as
/// OpenTelemetry's conventions for messaging have them (semantic conventions 1.38).
pub(crate) fn emitting(topic: &str) -> Span {
    tracing::debug_span!("emit", otel.kind = "producer", messaging.destination.name = topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_trace_come_beside_those_that_are_given() {
        let propagator = Propagator::new(|carrier| {
            carrier.set("traceparent", "of the trace");
            carrier.set("tracestate", "t");
        });
        let options = EventOptions::new().header("traceparent", "given");
        let carrier = propagator.ask();
        let all = carrier.beside(&options);
        assert_eq!(all.headers, [("traceparent", &b"given"[..]), ("tracestate", b"t")]);
        assert!(matches!(Carrier::default().beside(&options), Cow::Borrowed(_)));
        assert!(Propagator::default().ask().headers.is_empty());
    }
}
