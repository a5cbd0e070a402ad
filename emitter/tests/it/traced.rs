//! An event's trace, as OpenTelemetry makes and carries it.

use crate::support::{Mesh, Order, in_a_process_of_its_own, is_child, order};
use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::{SpanKind, TracerProvider};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tidemesh_emitter::{Carrier, EventOptions};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::layer::SubscriberExt;

struct Headers<'c>(&'c mut Carrier);

impl Injector for Headers<'_> {
    fn set(&mut self, name: &str, value: String) {
        self.0.set(name, value);
    }
}

fn current(carrier: &mut Carrier) {
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut Headers(carrier));
}

/// The header that leads to a span.
fn traceparent(span: &SpanData) -> String {
    let context = &span.span_context;
    format!("00-{}-{}-01", context.trace_id(), context.span_id())
}

/// Run by the other test in a process of its own: other tests' threads, without a subscriber, would decide
/// which spans there are.
#[tokio::test]
async fn child_that_is_traced() {
    if !is_child() {
        return;
    }
    let spans = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let mesh = Mesh::new().await;
    let builder = mesh.builder("shop").event::<Order>().propagate(current);
    let emitter = builder.connect().await.unwrap();
    let request = async {
        emitter.emit(&order(0)).await.unwrap();
        emitter.enqueue(&order(1)).await.unwrap().await.unwrap();
        emitter.emit_nowait(&order(2)).unwrap().await.unwrap();
        let given = EventOptions::new().header("traceparent", "given");
        emitter.emit_with(&order(3), given).await.unwrap();
    };
    request.instrument(tracing::info_span!("request")).await;
    let found = mesh.read("shop.orders").await;
    emitter.close().await.unwrap();

    let spans = spans.get_finished_spans().unwrap();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let (request, emits) = (named("request")[0], named("emit"));
    for (emit, found) in emits.iter().zip(&found[..3]) {
        assert_eq!(found.headers["traceparent"], traceparent(emit).as_bytes());
        assert_eq!(emit.parent_span_id, request.span_context.span_id());
        assert_eq!(emit.span_kind, SpanKind::Producer);
        let topic = emit.attributes.iter().find(|a| a.key.as_str() == "messaging.destination.name");
        assert_eq!(topic.unwrap().value.as_str(), "shop.orders");
    }
    assert_eq!((emits.len(), named("deliver").len(), named("connect").len()), (4, 4, 1));
    assert_eq!(found[3].headers["traceparent"], b"given");
}

#[test]
fn a_trace_goes_through_emitting_into_the_record() {
    in_a_process_of_its_own("traced::child_that_is_traced");
}
