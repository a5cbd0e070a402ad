//! What a request has in its body: events as JSON, or as Avro data, one alone or many behind their lengths.
//! No I/O.

use crate::answer::Refusal;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use tidemesh_model::{Error, ErrorKind, Result};

/// Many events: each four bytes of length, big-endian, then so many bytes of Avro data in Confluent's frame.
const AVRO_BATCH: &str = "application/vnd.tidemesh.avro-batch";

/// One event: Avro data without a frame.
const AVRO: &str = "avro/binary";

/// Many events as JSON.
const JSON: &str = "application/json";

/// The bytes of an event's length in a batch.
const LENGTH_BYTES: usize = 4;

/// The latest time of an event: the end of the year 9999, in milliseconds.
const EVENT_TIME_MS_MAX: u64 = 253_402_300_799_999;

/// Headers of a request that its events get as headers too (W3C, "Trace Context").
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// How names of headers begin that are the platform's.
const OWN_HEADERS: [&str; 2] = ["__", "tidemesh."];

/// What is said of an event that is none, without the parser's words, which may repeat a value.
const NO_EVENT: &str = "it is not an event as /v1/openapi.json has it";

/// The header of a request that names it, for clients that send it again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Avro,
    AvroBatch,
}

/// An event as it came.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) content: Content,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) event_time_ms: Option<u64>,
    pub(crate) ordering_key: Option<String>,
    pub(crate) partition: Option<u32>,
    pub(crate) idempotency_key: Option<String>,
}

/// An event's value.
#[derive(Debug)]
pub(crate) enum Content {
    Json(Json),
    /// Avro data of the topic's schema.
    Avro(Bytes),
    /// The same in Confluent's frame, which names the schema.
    Framed(Bytes),
}

/// What the address says of every event that does not say it itself.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Defaults {
    event_time_ms: Option<u64>,
    ordering_key: Option<String>,
    partition: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonBatch<'a> {
    /// Each is read by itself, so that one that is none leaves those beside it.
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonEvent {
    value: Json,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    event_time_ms: Option<u64>,
    ordering_key: Option<String>,
    partition: Option<u32>,
    idempotency_key: Option<String>,
}

impl Format {
    /// What the request calls its body. One without a name is refused: what a web page can send without
    /// asking first is never taken.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let name = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let formats = [(JSON, Self::Json), (AVRO, Self::Avro), (AVRO_BATCH, Self::AvroBatch)];
        let known = formats.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        known.map(|(_, format)| *format).ok_or_else(|| {
            Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ErrorKind::Unsupported,
                format!("the content type is none of {JSON}, {AVRO} and {AVRO_BATCH}"),
            )
        })
    }

    /// The body's events, with what the request says of all of them; an error in the place of one that is
    /// refused alone.
    pub(crate) fn events(
        self,
        body: &Bytes,
        events_max: usize,
        defaults: &Defaults,
        headers: &HeaderMap,
    ) -> Result<Vec<Result<Incoming>>, Refusal> {
        let events = match self {
            Self::Json => json_events(body)?,
            Self::Avro => vec![Ok(Incoming::of(Content::Avro(body.clone())))],
            Self::AvroBatch => avro_events(body, events_max)?.into_iter().map(Ok).collect(),
        };
        if events.len() > events_max {
            return Err(too_many(events_max));
        }
        let of_all = OfAll { defaults, key: request_key(headers)?, traces: traces(headers) };
        let filled =
            events.into_iter().enumerate().map(|(place, event)| of_all.fill(place, event?));
        Ok(filled.collect())
    }
}

/// What a request says of all its events.
struct OfAll<'a> {
    defaults: &'a Defaults,
    key: Option<&'a str>,
    traces: Vec<(&'static str, &'a str)>,
}

impl OfAll<'_> {
    /// An event with what it does not say itself, or why it is refused.
    fn fill(&self, place: usize, mut event: Incoming) -> Result<Incoming> {
        event.fill(self.defaults);
        event.check(place)?;
        if let (Some(key), None) = (self.key, &event.idempotency_key) {
            event.idempotency_key = Some(format!("{key}/{place}"));
        }
        for (name, value) in &self.traces {
            if event.headers.iter().all(|(there, _)| there != name) {
                event.headers.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        Ok(event)
    }
}

fn traces(headers: &HeaderMap) -> Vec<(&'static str, &str)> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    TRACE_HEADERS.into_iter().filter_map(|name| Some((name, text(name)?))).collect()
}

/// The request's own idempotency key. One that cannot be read is no reason to send twice.
fn request_key(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    value.to_str().ok().filter(|key| !key.is_empty()).map(Some).ok_or_else(|| {
        let message = "Idempotency-Key must be ASCII, and not empty";
        Refusal::new(StatusCode::BAD_REQUEST, ErrorKind::Malformed, message)
    })
}

impl Incoming {
    fn of(content: Content) -> Self {
        Self {
            content,
            headers: Vec::new(),
            event_time_ms: None,
            ordering_key: None,
            partition: None,
            idempotency_key: None,
        }
    }

    fn fill(&mut self, defaults: &Defaults) {
        self.event_time_ms = self.event_time_ms.or(defaults.event_time_ms);
        if self.ordering_key.is_none() && self.partition.is_none() {
            self.ordering_key.clone_from(&defaults.ordering_key);
            self.partition = defaults.partition;
        }
    }

    fn check(&self, place: usize) -> Result<()> {
        let refuse = |field: &str, message: &str| Err(refused(place, field, message));
        if self.ordering_key.is_some() && self.partition.is_some() {
            return refuse("partition", "ordering_key and partition exclude each other");
        }
        // Of those with one key only the first is sent: so what stands for none must not be one.
        if self.idempotency_key.as_ref().is_some_and(String::is_empty) {
            return refuse("idempotency_key", "an idempotency key is not empty: leave it out");
        }
        if self.event_time_ms.is_some_and(|time_ms| time_ms > EVENT_TIME_MS_MAX) {
            return refuse("event_time_ms", "the time is past the year 9999");
        }
        let is_own = |name: &str| OWN_HEADERS.iter().any(|own| name.starts_with(own));
        if let Some((name, _)) = self.headers.iter().find(|(name, _)| is_own(name)) {
            let message = "headers whose names begin with __ or tidemesh. are the platform's: \
                           name it otherwise; a key for sending again is idempotency_key";
            return refuse(&format!("headers.{}", name.escape_debug()), message);
        }
        Ok(())
    }
}

/// Why an event alone is refused, with the path of the field that is to blame; none: the event itself.
fn refused(place: usize, field: &str, message: &str) -> Error {
    let dot = if field.is_empty() || field.starts_with('[') { "" } else { "." };
    Error::new(ErrorKind::Malformed, "read an event")
        .because(message)
        .with("path", format!("events[{place}]{dot}{field}"))
}

impl From<JsonEvent> for Incoming {
    fn from(event: JsonEvent) -> Self {
        Self {
            content: Content::Json(event.value),
            headers: event.headers.into_iter().collect(),
            event_time_ms: event.event_time_ms,
            ordering_key: event.ordering_key,
            partition: event.partition,
            idempotency_key: event.idempotency_key,
        }
    }
}

fn json_events(body: &[u8]) -> Result<Vec<Result<Incoming>>, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read: Result<JsonBatch<'_>, _> = serde_path_to_error::deserialize(&mut reader);
    let batch = match read {
        Ok(batch) => batch,
        Err(error) => return Err(not_a_batch(error.inner(), error.path().to_string())),
    };
    reader.end().map_err(|error| not_a_batch(&error, String::new()))?;
    let raw = batch.events.into_iter().enumerate();
    Ok(raw.map(|(place, raw)| json_event(place, raw.get())).collect())
}

fn json_event(place: usize, text: &str) -> Result<Incoming> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let read: Result<JsonEvent, _> = serde_path_to_error::deserialize(&mut reader);
    read.map(Incoming::from).map_err(|error| {
        let path = error.path().to_string();
        refused(place, if path == "." { "" } else { &path }, NO_EVENT)
    })
}

/// What was wrong, without the parser's words, which may repeat a value.
fn not_a_batch(error: &serde_json::Error, path: String) -> Refusal {
    let (line, column) = (error.line(), error.column());
    if error.classify() == Category::Data {
        let message = format!(
            "the body is not {{\"events\":[{{\"value\":…}}]}} as /v1/openapi.json has it \
             (line {line}, column {column})"
        );
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Refusal::new(status, ErrorKind::Malformed, message).at(path);
    }
    let message = format!("the body is not JSON (line {line}, column {column})");
    Refusal::new(StatusCode::BAD_REQUEST, ErrorKind::Malformed, message)
}

fn avro_events(body: &Bytes, events_max: usize) -> Result<Vec<Incoming>, Refusal> {
    let mut events = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let torn = || {
            let message = format!(
                "event {} ends before its length says: each is 4 bytes of length, big-endian, and so \
                 many bytes of data",
                events.len()
            );
            Refusal::new(StatusCode::BAD_REQUEST, ErrorKind::Malformed, message)
        };
        let length = body.get(at..at + LENGTH_BYTES).and_then(|four| four.try_into().ok());
        let length = u32::from_be_bytes(length.ok_or_else(torn)?);
        let begin = at + LENGTH_BYTES;
        let end = usize::try_from(length).ok().and_then(|length| begin.checked_add(length));
        let end = end.filter(|end| *end <= body.len()).ok_or_else(torn)?;
        if events.len() == events_max {
            return Err(too_many(events_max));
        }
        events.push(Incoming::of(Content::Framed(body.slice(begin..end))));
        at = end;
    }
    Ok(events)
}

fn too_many(events_max: usize) -> Refusal {
    let message =
        format!("there are more events than a request may have ({events_max}): send several");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::TooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use axum::response::IntoResponse;
    use proptest::prelude::*;

    fn read(format: Format, body: &[u8]) -> Result<Vec<Result<Incoming>>, u16> {
        let (body, none) = (Bytes::copy_from_slice(body), Defaults::default());
        let read = format.events(&body, 3, &none, &HeaderMap::new());
        read.map_err(|refusal| refusal.into_response().status().as_u16())
    }

    #[test]
    fn a_body_that_is_none_is_refused_by_what_is_wrong_with_it() {
        for (body, status) in [
            ("", 400),
            ("{", 400),
            ("{\"events\":[]} x", 400),
            ("[]", 422),
            ("{\"events\":null}", 422),
            ("{\"events\":[{\"value\":}]}", 400),
            ("{\"events\":[{\"value\":1},{\"value\":1},{\"value\":1},{\"value\":1}]}", 413),
        ] {
            assert_eq!(read(Format::Json, body.as_bytes()).unwrap_err(), status, "{body}");
        }
        assert!(read(Format::Json, b"{\"events\":[]}").unwrap().is_empty());
        for (body, status) in [(&b"\0\0\0"[..], 400), (b"\0\0\0\x02a", 400), (&[0; 16], 413)] {
            assert_eq!(read(Format::AvroBatch, body).unwrap_err(), status, "{body:?}");
        }
        assert_eq!(read(Format::AvroBatch, b"\0\0\0\x01a\0\0\0\0").unwrap().len(), 2);
    }

    #[test]
    fn an_event_that_is_none_is_refused_alone_with_its_path() {
        for (event, path) in [
            ("1", "events[1]"),
            ("{}", "events[1]"),
            (r#"{"value":1,"value":2}"#, "events[1]"),
            (r#"{"value":1,"color":2}"#, "events[1].color"),
            (r#"{"value":1,"partition":-1}"#, "events[1].partition"),
            (r#"{"value":1,"event_time_ms":-1}"#, "events[1].event_time_ms"),
            (r#"{"value":1,"event_time_ms":253402300800000}"#, "events[1].event_time_ms"),
            (r#"{"value":1,"partition":1,"ordering_key":"hush"}"#, "events[1].partition"),
            (r#"{"value":1,"idempotency_key":""}"#, "events[1].idempotency_key"),
            (r#"{"value":1,"headers":{"a":1}}"#, "events[1].headers.a"),
            (r#"{"value":1,"headers":["hush"]}"#, "events[1].headers"),
            (r#"{"value":1,"headers":{"__own":"hush"}}"#, "events[1].headers.__own"),
            (
                r#"{"value":1,"headers":{"__idempotency_key":"hush"}}"#,
                "events[1].headers.__idempotency_key",
            ),
            (r#"{"value":1,"headers":{"tidemesh.a":"hush"}}"#, "events[1].headers.tidemesh.a"),
        ] {
            let body = format!(r#"{{"events":[{{"value":0}},{event},{{"value":2}}]}}"#);
            let events = read(Format::Json, body.as_bytes()).unwrap();
            assert!(events[0].is_ok() && events[2].is_ok(), "{event}");
            let error = events[1].as_ref().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed);
            assert_eq!(error.context()[0], ("path", path.to_owned()), "{event}");
            assert!(!error.report().contains("hush"), "{event}");
        }
    }

    #[test]
    fn what_the_request_says_holds_for_events_that_say_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("k"));
        headers.insert("traceparent", HeaderValue::from_static("00-a-b-01"));
        let defaults = Defaults { partition: Some(2), ..Defaults::default() };
        let body = Bytes::from_static(
            br#"{"events":[{"value":1},{"value":2,"ordering_key":"o","idempotency_key":"own",
                 "headers":{"traceparent":"mine"}}]}"#,
        );
        let events = Format::Json.events(&body, 3, &defaults, &headers).unwrap();
        let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
        assert_eq!(events[0].idempotency_key.as_deref(), Some("k/0"));
        assert_eq!(events[0].partition, Some(2));
        assert_eq!(events[0].headers, [("traceparent".to_owned(), "00-a-b-01".to_owned())]);
        assert_eq!(events[1].idempotency_key.as_deref(), Some("own"));
        assert_eq!((events[1].partition, events[1].ordering_key.as_deref()), (None, Some("o")));
        assert_eq!(events[1].headers, [("traceparent".to_owned(), "mine".to_owned())]);
    }

    #[test]
    fn a_requests_key_that_cannot_be_read_is_refused() {
        for (value, is_taken) in [(&b"k"[..], true), (b"", false), (b"\xff", false)] {
            let value = HeaderValue::from_bytes(value).unwrap();
            let headers = HeaderMap::from_iter([(IDEMPOTENCY_KEY.parse().unwrap(), value)]);
            assert_eq!(request_key(&headers).is_ok(), is_taken);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for format in [Format::Json, Format::Avro, Format::AvroBatch] {
                if let Err(status) = read(format, &body) {
                    prop_assert!((400..500).contains(&status));
                }
            }
        }
    }
}
