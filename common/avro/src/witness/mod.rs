//! The smallest record that shows an incompatibility: what one side can write and the other cannot
//! read. Pure.
//!
//! A verdict is believed when it can be tried. The way from the writer's schema to the reader's is
//! compiled as for reading, leniently, so that what cannot be read fails where data reaches it; then
//! the cheapest way to such a place is searched, and everything around it filled with the least that
//! its type allows: 0, empty text, no elements, the branch that costs least. The result is not
//! believed either: it is decoded with the writer's schema, encoded again, and read with the
//! reader's, which must refuse it.
//!
//! There are incompatible pairs without such a record: types that have no finite data, or that only
//! the checker's rules tell apart. [`NoWitness`] says which it is.
//!
//! Absent here: bytes that are no UTF-8, which no reader of text takes. Their writer is at fault, and
//! the checker calls the pair compatible.

mod build;
mod cost;

use crate::datum::{Datum, decode, encode, to_avro_json};
use crate::resolve::{LenientPlan, Resolver};
use crate::schema::{Kind, Schema};
use cost::{Costs, NEVER};
use std::fmt;
use std::mem::discriminant;
use tidemesh_model::{Error, ErrorKind, Result};

/// The most bytes of a witness.
pub const WITNESS_BYTES_MAX: u64 = 64 * 1024;

/// The most values of a witness: many take no bytes.
pub const WITNESS_VALUES_MAX: usize = 16_384;

/// The most ways to a break that are looked at, each as often as it is.
pub const WITNESS_WORK_MAX: usize = 20_000_000;

/// A record that the writer's schema allows and the reader's cannot read.
#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    /// It, in Avro's own JSON, by the writer's schema.
    pub json: String,
    /// It, in Avro's binary encoding, without a frame.
    pub bytes: Vec<u8>,
    /// It, as the writer's decoder sees it.
    pub datum: Datum,
    /// What the reader's decoder says, with the field's path.
    pub refusal: String,
}

/// Why there is no witness.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoWitness {
    /// All data of the writer can be read.
    Readable,
    /// What cannot be read can only stand in data that never ends.
    Endless,
    /// The smallest is past [`WITNESS_BYTES_MAX`], [`WITNESS_VALUES_MAX`], the data's depth or
    /// [`WITNESS_WORK_MAX`].
    TooLarge,
    /// The schemas themselves cannot be worked with: a default that is not of its type, too many
    /// types. The reason.
    Schema(String),
    /// What was found did not stand up to being tried: a bug of ours. The reason.
    Refuted(String),
}

impl fmt::Display for NoWitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Readable => f.write_str("every record of the writer's schema can be read"),
            Self::Endless => f.write_str("what cannot be read stands only in endless records"),
            Self::TooLarge => f.write_str("the smallest such record is too large to be shown"),
            Self::Schema(why) => write!(f, "the schemas cannot be resolved: {why}"),
            Self::Refuted(why) => write!(f, "the record that was found proves nothing: {why}"),
        }
    }
}

impl std::error::Error for NoWitness {}

/// The smallest datum, in bytes, that `writer` can write and `reader` cannot read, checked by
/// encoding, decoding and reading it. Of several as small one is taken, always the same.
///
/// # Errors
///
/// Why there is none. `Readable` for each pair that [`crate::compat::incompatibilities`] has nothing
/// against.
pub fn witness(reader: &Schema, writer: &Schema) -> Result<Witness, NoWitness> {
    let plan = Resolver::lenient_with_types(writer, reader)
        .map_err(|error| NoWitness::Schema(error.to_string()))?;
    let costs = Costs::new(writer, &plan).ok_or(NoWitness::TooLarge)?;
    match costs.of_break(plan.root()) {
        NEVER if costs.breaks_somewhere() => return Err(NoWitness::Endless),
        NEVER => return Err(NoWitness::Readable),
        bytes if bytes > WITNESS_BYTES_MAX => return Err(NoWitness::TooLarge),
        _ => {}
    }
    let bytes = build::build(writer, &plan, &costs).ok_or(NoWitness::TooLarge)?;
    tried(&plan, writer, bytes)
}

/// Decodes, encodes and reads what was built.
fn tried(plan: &LenientPlan, writer: &Schema, bytes: Vec<u8>) -> Result<Witness, NoWitness> {
    let datum = written(writer, &bytes).map_err(|error| match error.kind() {
        ErrorKind::TooLarge => NoWitness::TooLarge,
        _ => NoWitness::Refuted(error.to_string()),
    })?;
    let json = to_avro_json(writer, &bytes)
        .map_err(|error| NoWitness::Refuted(error.to_string()))?
        .to_string();
    match plan.resolver.read(&bytes) {
        Err(error) if error.kind() == ErrorKind::Incompatible => {
            Ok(Witness { json, bytes, datum, refusal: error.to_string() })
        }
        Err(error) => Err(NoWitness::Refuted(error.to_string())),
        Ok(_) => Err(NoWitness::Refuted("the reader takes it".to_owned())),
    }
}

/// The datum that the bytes are, which our encoder must be able to write, too. It takes the first of
/// two branches that look alike from without, so its bytes may differ, or it may find that the first
/// does not fit: then the decoders' word has to do.
fn written(writer: &Schema, bytes: &[u8]) -> Result<Datum> {
    let datum = decode(writer, bytes)?;
    let mut again = Vec::with_capacity(bytes.len());
    match encode(writer, &datum, &mut again) {
        Err(error) if error.kind() == ErrorKind::Internal && looks_alike(writer) => {
            return Ok(datum);
        }
        answer => answer?,
    }
    if again == bytes || decode(writer, &again)? == datum {
        return Ok(datum);
    }
    Err(Error::new(ErrorKind::Internal, "try a witness").because("it does not come back"))
}

/// Whether some union has two named types of one kind, which a datum may not tell apart.
fn looks_alike(schema: &Schema) -> bool {
    cost::reachable(schema).iter().any(|id| match &schema.node(*id).kind {
        Kind::Union(branches) => branches.iter().enumerate().any(|(place, branch)| {
            let kind = discriminant(&schema.node(*branch).kind);
            branches[..place].iter().any(|other| discriminant(&schema.node(*other).kind) == kind)
        }),
        _ => false,
    })
}

#[cfg(test)]
mod tests;
