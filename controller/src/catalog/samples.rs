//! A topic's last records, decoded by the schemas that wrote them, without what the catalog masks.

use super::log::LastRecord;
use super::mask::Mask;
use crate::controller::Controller;
use crate::topics::Registry;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tidemesh_avro::frame;
use tidemesh_avro::json::to_json;
use tidemesh_model::{Error, ErrorKind, Result};

/// The most records that are shown at once.
pub(crate) const SAMPLES_MAX: usize = 100;

/// A topic's last records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// The topic.
    pub topic: String,
    /// The records, the newest last.
    pub records: Vec<SampleReport>,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleReport {
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Its timestamp, in milliseconds since 1970-01-01 00:00:00 UTC.
    pub timestamp_ms: i64,
    /// Its key; `{"error": …}` if it cannot be decoded.
    pub key: Json,
    /// Its value, likewise; null of a tombstone.
    pub value: Json,
}

impl<R: Registry> Controller<R> {
    /// A topic's last records.
    ///
    /// # Errors
    ///
    /// `NotFound` for what the catalog does not have; `Config` where nobody has said what is masked;
    /// `Unavailable` where it is not known yet, or the log or the registry is away: nothing is shown then.
    pub(crate) async fn samples(&self, topic: &str, count: usize) -> Result<Samples> {
        let Some(log) = &self.log else { return Err(no_log(topic)) };
        let catalog = self.catalog().await?;
        let found = catalog.found(topic)?;
        if let Some(refusal) = catalog.unsaid(topic)? {
            return Err(refusal);
        }
        let value = self.schemas(&found).await?.value.ok_or_else(|| unknown(topic))?;
        let mask = Mask::of(topic, &value, &catalog.sayings, catalog.planned.mesh()?);
        let mut records = Vec::new();
        for record in log.last(topic, count.min(SAMPLES_MAX)).await? {
            records.push(self.sample(&mask, record).await?);
        }
        Ok(Samples { topic: topic.to_owned(), records })
    }

    async fn sample(&self, mask: &Mask, record: LastRecord) -> Result<SampleReport> {
        let LastRecord { partition, offset, timestamp_ms, key, value } = record;
        let key = self.decoded(mask, key.as_deref()).await?;
        let value = self.decoded(mask, value.as_deref()).await?;
        Ok(SampleReport { partition, offset, timestamp_ms, key, value })
    }

    /// What cannot be decoded is told by its place and kind, never by its bytes.
    async fn decoded(&self, mask: &Mask, framed: Option<&[u8]>) -> Result<Json> {
        let Some(framed) = framed else { return Ok(Json::Null) };
        let broken = |error: &Error| json!({ "error": error.to_string() });
        let (id, data) = match frame::split(framed) {
            Ok(split) => split,
            Err(error) => return Ok(broken(&error)),
        };
        let schema = match self.topics.schema(id).await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Malformed) => {
                return Ok(broken(&error));
            }
            schema => schema?,
        };
        Ok(match to_json(&schema, data) {
            Ok(mut decoded) => {
                mask.for_records_of(&schema).hide(&mut decoded);
                decoded
            }
            Err(error) => broken(&error),
        })
    }
}

fn no_log(topic: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "sample a topic")
        .because("this controller reads no log")
        .with("topic", topic)
}

fn unknown(topic: &str) -> Error {
    Error::new(ErrorKind::NotFound, "sample a topic")
        .because("the registry does not have the schema of its values, or it is not one of Avro's")
        .with("topic", topic)
}
