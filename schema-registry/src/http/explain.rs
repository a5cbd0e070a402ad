//! `POST /tidemesh/v1/compatibility/explain`: a verdict with places, causes, suggestions, records that
//! show it, and what it does to each consumer.

use axum::extract::State;
use serde_json::{Value, json};
use tidemesh_avro::consumption::{ConsumerVerdict, Harm, Written};
use tidemesh_avro::explain::Finding;

use super::access::Sight;
use super::body::Body;
use super::query::Parameters;
use super::reply::Reply;
use super::{App, Service};
use crate::access::Role;
use crate::consumer::Observed;
use crate::level::CompatibilityLevel;
use crate::registry::{Explained, Explanation, Registry};
use crate::subject::beside;

/// Explains what a registration, or a check with other settings, would say.
pub(super) async fn explain(
    State(service): App,
    sight: Sight,
    query: Parameters,
    body: Body,
) -> Result<Reply, Reply> {
    let (subject, request) = body.explain_request(query.flag("normalize"))?;
    // A context, where one is in the path.
    let subject = beside(query.text("subject").unwrap_or_default(), &subject).into_owned();
    sight.check(Role::Read, &service.registry.subject(&subject))?;
    sight.check_references(&service.registry, &subject, &request.submission)?;
    // What others have registered meanwhile counts.
    service.registry.refresh().await;
    let observed = observe(&service, &subject, request.level).await?;
    let named = subject.clone();
    let work = move |registry: &Registry| registry.explain(&named, &request, &observed);
    let explained = service.compute(work).await?;
    Ok(Reply::json(&answer(&subject, &explained)))
}

/// Asks the log. Where the answer does not depend on it, it may be away.
async fn observe(
    service: &Service,
    subject: &str,
    level: Option<CompatibilityLevel>,
) -> Result<Observed, Reply> {
    let observed = service.registry.observe_for(subject, true).await;
    let holds = || service.registry.setting(Some(subject), true).ok()?.compatibility_level;
    match observed {
        Err(_) if level.or_else(holds) != Some(CompatibilityLevel::Consumers) => {
            Ok(Observed::NoLog)
        }
        observed => service.answer(observed),
    }
}

fn answer(subject: &str, explained: &Explained) -> Value {
    json!({
        "subject": subject,
        "is_compatible": explained.is_compatible,
        "compatibility": explained.level.name(),
        "reserved": explained.reserved,
        "explanations": explained.explanations.iter().map(explanation).collect::<Vec<_>>(),
        "consumers": explained.consumers.iter().map(consumer).collect::<Vec<_>>(),
    })
}

fn explanation(explanation: &Explanation) -> Value {
    let mut value = json!({
        "version": explanation.version,
        "direction": explanation.direction.name(),
        "findings": explanation.findings.iter().map(finding).collect::<Vec<_>>(),
    });
    match &explanation.witness {
        Ok(witness) => {
            let record = serde_json::from_str::<Value>(&witness.json);
            let hex: String = witness.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            value["witness"] = json!({
                "record": record.unwrap_or_else(|_| json!(witness.json)),
                "hex": hex,
                "refusal": witness.refusal,
            });
        }
        Err(why) => value["no_witness"] = json!(why.to_string()),
    }
    value
}

fn finding(found: &Finding) -> Value {
    json!({
        "rule": found.rule.name(),
        "location": found.location,
        "reader_path": found.reader_path,
        "writer_path": found.writer_path,
        "field": found.field,
        "reader_type": found.reader,
        "writer_type": found.writer,
        "message": found.message,
        "suggestion": found.suggestion,
        "causes": found.causes.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn consumer(verdict: &ConsumerVerdict) -> Value {
    json!({
        "consumer": verdict.consumer,
        "effect": verdict.effect.name(),
        "harms": verdict.harms.iter().map(harm).collect::<Vec<_>>(),
        "unknown": verdict.unknown.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn harm(harm: &Harm) -> Value {
    let written = match harm.written {
        Written::Candidate => json!("candidate"),
        Written::Version(number) => json!(number),
    };
    json!({"written_by": written, "finding": finding(&harm.finding)})
}
