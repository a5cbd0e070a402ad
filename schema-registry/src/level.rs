//! Compatibility levels: the ones of `tidemesh-avro`, by the names that Confluent gives them.

pub use tidemesh_avro::compat::CompatibilityLevel;

/// The level with this name, in any case, as Confluent's `CompatibilityLevel.forName` reads it.
pub(crate) fn from_name(name: &str) -> Option<CompatibilityLevel> {
    name.parse().ok()
}
