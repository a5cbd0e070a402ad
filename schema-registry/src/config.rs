//! The registry's settings: where it listens, where it stores, and its limits.
//!
//! `src/` of the root package reads files and the environment; here is only what they become.

use std::net::{Ipv4Addr, SocketAddr};

use tidemesh_avro::schema::SCHEMA_DEPTH_MAX;
use tidemesh_model::{Error, ErrorKind};
use tidemesh_store::StoreConfig;

use crate::access::SecurityConfig;

/// The port of Confluent's registry, and ours.
pub const PORT_DEFAULT: u16 = 8081;

/// Settings of one registry process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryConfig {
    /// The address of the HTTP listener; `127.0.0.1:8081` unless set, so that nothing is
    /// reachable from outside until somebody says so.
    pub listen: SocketAddr,
    /// Where schemas, versions and levels are kept: an SQLite file is held by one process at a time.
    pub store: StoreConfig,
    /// The `error_code` of a refused registration; see [`IncompatibleCode`].
    pub incompatible_code: IncompatibleCode,
    /// The bounds on what the registry takes in.
    pub limits: Limits,
    /// What keeps its port; see [`crate::Security`].
    pub security: SecurityConfig,
}

impl RegistryConfig {
    /// The defaults, over the given store.
    #[must_use]
    pub fn new(store: StoreConfig) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT)),
            store,
            incompatible_code: IncompatibleCode::default(),
            limits: Limits::default(),
            security: SecurityConfig::default(),
        }
    }
}

/// The `error_code` in the answer to a registration that is incompatible. The HTTP status is 409
/// in both cases.
///
/// Confluent Schema Registry 7.x sends 409; 8.x and later send 40901, which is the default here
/// (source: `Errors.java` of its branches 7.6.x, 7.9.x and 8.0.x to 8.4.x).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncompatibleCode {
    /// 409, as Confluent 7.x.
    Code409,
    /// 40901, as Confluent 8.x.
    #[default]
    Code40901,
}

impl IncompatibleCode {
    /// The number that is sent.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Code409 => 409,
            Self::Code40901 => 40901,
        }
    }
}

impl TryFrom<u32> for IncompatibleCode {
    type Error = Error;

    fn try_from(number: u32) -> Result<Self, Error> {
        match number {
            409 => Ok(Self::Code409),
            40901 => Ok(Self::Code40901),
            _ => Err(Error::new(ErrorKind::Config, "read the registry's incompatible_code")
                .because("it must be 409 or 40901")
                .with("incompatible_code", number)),
        }
    }
}

/// Bounds on what the registry takes in. Each refusal names its own error code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest schema text in bytes, as sent; 1 MiB, about what Confluent's registry can put
    /// into its topic by default. A longer one is refused with 42209.
    pub schema_bytes_max: usize,
    /// How deep types may be nested; 64, which is the most. A deeper one is refused with 42201.
    pub schema_depth_max: usize,
    /// The longest subject name in bytes; 1,024. A longer one is refused with 42208.
    pub subject_bytes_max: usize,
    /// How many subjects there may be, soft-deleted ones included; 100,000. One more is refused
    /// with 42205.
    pub subjects_max: usize,
    /// How many versions a subject may have, soft-deleted ones included; 10,000. One more is
    /// refused with 42205.
    pub subject_versions_max: usize,
    /// How many schemas one schema may reach through references, itself not counted; 256. More
    /// are refused with 42201.
    pub references_max: usize,
    /// How many contexts there may be beside the default one; 1,000. One more is refused with 42205.
    pub contexts_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            schema_bytes_max: 1024 * 1024,
            schema_depth_max: SCHEMA_DEPTH_MAX,
            subject_bytes_max: 1024,
            subjects_max: 100_000,
            subject_versions_max: 10_000,
            references_max: 256,
            contexts_max: 1_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_incompatible_code_is_one_of_confluents_two() {
        assert_eq!(IncompatibleCode::default().number(), 40901);
        assert_eq!(IncompatibleCode::try_from(409).unwrap().number(), 409);
        assert_eq!(IncompatibleCode::try_from(410).unwrap_err().kind(), ErrorKind::Config);
    }
}
