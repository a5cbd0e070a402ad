//! Processors in Rust, for what SQL cannot say: what an own binary registers and pipelines name.
//!
//! A processor takes rows of its inputs, a batch at a time, and makes rows. It declares both with Avro
//! schemas, and a pipeline that hands it something else is refused before it runs. It runs within the
//! pipeline's job: what is before it and behind it, SQL too, is one step with it, and all outputs of a batch
//! and the offsets of its input are one append. So each record has its effect exactly once, though it may
//! be *processed* more often: after a crash, or when something of its batch failed.
//!
//! So a processor is a function of the records that it is handed: what it remembers between calls may be
//! a cache, and nothing that its output depends on, since it is made anew with each start of the job.
//!
//! ```
//! use serde::Deserialize;
//! use serde_json::json;
//! use tidemesh_processors::sdk::{Batch, Change, Declaration, Output, Processor, Result, Row};
//! use tidemesh_processors::testing::Bench;
//!
//! /// Orders of more than a threshold.
//! struct Large {
//!     threshold: f64,
//! }
//!
//! #[derive(Deserialize)]
//! struct Config {
//!     threshold: f64,
//! }
//!
//! impl Processor for Large {
//!     type Config = Config;
//!
//!     fn declaration() -> Declaration {
//!         let order = json!({"type": "record", "name": "Order", "fields": [
//!             {"name": "id", "type": "long"},
//!             {"name": "total", "type": ["null", "double"], "default": null}]});
//!         let large = json!({"type": "record", "name": "Large", "fields": [
//!             {"name": "id", "type": "long"}, {"name": "total", "type": "double"}]});
//!         Declaration::new("large", 1)
//!             .input("orders", order)
//!             .output(large, &["id"])
//!             .config_schema(json!({"type": "object", "required": ["threshold"],
//!                 "properties": {"threshold": {"type": "number"}}}))
//!     }
//!
//!     fn new(config: Config) -> Result<Self> {
//!         Ok(Self { threshold: config.threshold })
//!     }
//!
//!     fn process(&mut self, input: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
//!         for record in input.records() {
//!             let total = record.after().and_then(|row| row.double("total")).unwrap_or(0.0);
//!             let key = record.key().cloned().unwrap_or_default();
//!             match record.change() {
//!                 Change::Event(_) | Change::Upsert { .. } if total > self.threshold => {
//!                     output.upsert(record, key.with("total", total));
//!                 }
//!                 // It may have been larger before.
//!                 _ => output.delete(record, key),
//!             }
//!         }
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! let mut bench = Bench::new::<Large>(json!({"threshold": 100.0}))?;
//! let made = bench.upserts("orders", &["id"], &[json!({"id": 1, "total": 250.0})])?;
//! assert_eq!(made, [json!({"op": "u", "key": {"id": 1}, "row": {"id": 1, "total": 250.0}})]);
//! # Ok(())
//! # }
//! ```

mod batch;
mod declaration;
mod output;
mod registered;
mod row;
pub(crate) mod stage;
pub(crate) mod value;
pub(crate) mod write;

pub use batch::{Batch, Change, Record};
pub use declaration::Declaration;
pub use output::{OUTPUT_BYTES_MAX, Output};
pub use registered::Processors;
pub use row::{IntoValue, Row};
pub use tidemesh_avro::datum::Datum as Value;
pub use tidemesh_model::{Error, ErrorKind, Operation, Result};

pub(crate) use output::Emitted;
pub(crate) use registered::{Factory, Process, guarded};
pub(crate) use write::RowWriter;

use serde::de::DeserializeOwned;

/// A processor's type.
///
/// **Order**: records of one key come in the order of their topic, and what is made of them keeps it.
/// **Duplicates**: a record may be handed again, alone or in another batch, before its output is written;
/// what was made of it then is dropped. **Threads**: one at a time; `process` blocks the pipeline's job, so
/// it waits for nothing outside. **Panics** are caught, and are the record's error.
pub trait Processor: Send + Sized + 'static {
    /// Its configuration, as a pipeline's document has it; `{}` where that has none. See
    /// [`NoConfig`].
    type Config: DeserializeOwned;

    /// Its name and version, what it takes and what it makes.
    fn declaration() -> Declaration;

    /// A processor of this configuration.
    ///
    /// # Errors
    ///
    /// `Config` for one that it cannot take: the pipeline does not start.
    fn new(config: Self::Config) -> Result<Self>;

    /// Processes records of one of its inputs. What is made belongs to the record that it is made of.
    ///
    /// # Errors
    ///
    /// Of a record that cannot be processed tell [`Output::fail`]. An error that is answered is of all the
    /// records: they are tried again, each alone, and it is the error of those that answer it then. What
    /// becomes of such a record the pipeline's `on_error` says.
    fn process(&mut self, input: &Batch<'_>, output: &mut Output<'_>) -> Result<()>;
}

/// The configuration of a processor that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}
