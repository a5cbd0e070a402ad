//! What makes a schema the same as another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::metadata::{self, Metadata, RuleSet};
use crate::subject::{beside, scope_of};

/// A name that a schema uses for another one that is registered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// The full name of the type, as the referring schema writes it.
    pub name: String,
    /// The subject that holds the schema referred to, in the same context unless it names another.
    pub subject: String,
    /// Its version there, from 1.
    pub version: u32,
}

/// What makes a schema the same as another: its text as Avro's Java library writes it, its
/// references, metadata and rules. Confluent hashes the same four (`MD5.java`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// The schema's text.
    pub text: Arc<str>,
    /// Its references, in the order in which they were given.
    pub references: Arc<[Reference]>,
    /// What is noted on it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metadata: Option<Arc<Metadata>>,
    /// Rules for its records.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rules: Option<Arc<RuleSet>>,
}

impl Identity {
    /// A schema without metadata and rules.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>, references: Arc<[Reference]>) -> Self {
        Self { text: text.into(), references, metadata: None, rules: None }
    }

    /// What it is known by in every registry: MD5 over text, references, metadata and rules, in the order
    /// of Confluent's `Schema.java`. `enableAt` of rules, which is newer than what was read, comes last.
    #[must_use]
    pub fn guid(&self) -> Guid {
        let mut hash = Md5::new();
        hash.update(self.text.as_bytes());
        for reference in self.references.iter() {
            hash.update(&reference.name);
            hash.update(&reference.subject);
            hash.update(reference.version.to_be_bytes());
        }
        metadata::hash(self.metadata.as_deref(), self.rules.as_deref(), &mut hash);
        Guid(hash.finalize().into())
    }

    /// Whether it is another's copy, told without a look at what they hold; if not it may still be equal.
    pub(crate) fn is_copy_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text)
            && Arc::ptr_eq(&self.references, &other.references)
            && self.metadata.as_ref().map(Arc::as_ptr) == other.metadata.as_ref().map(Arc::as_ptr)
            && self.rules.as_ref().map(Arc::as_ptr) == other.rules.as_ref().map(Arc::as_ptr)
    }

    /// The versions that it refers to, as a schema of this context.
    pub(crate) fn referred(&self, context: &str) -> Vec<(Arc<str>, u32)> {
        let parent = scope_of(context);
        let place = |reference: &Reference| {
            (Arc::from(&*beside(&parent, &reference.subject)), reference.version)
        };
        self.references.iter().map(place).collect()
    }
}

/// What a schema is known by, in the form of a UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid([u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = u128::from_be_bytes(self.0);
        let group = |from: u32, digits: u32| number >> from & ((1 << (4 * digits)) - 1);
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            group(96, 8),
            group(80, 4),
            group(64, 4),
            group(48, 4),
            group(0, 12)
        )
    }
}

impl FromStr for Guid {
    type Err = ();

    /// Hexadecimal digits, with hyphens or without.
    fn from_str(text: &str) -> Result<Self, ()> {
        let digits: Vec<u8> = text
            .bytes()
            .filter(|byte| *byte != b'-')
            .map(|byte| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or(())?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |n, d| n << 4 | d)).collect();
        if digits.len() != 32 {
            return Err(());
        }
        bytes.try_into().map(Self).map_err(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_schema_is_known_by_the_md5_of_its_text() {
        let guid = Identity::new("\"int\"", Arc::from([])).guid();
        // echo -n '"int"' | md5sum
        assert_eq!(guid.to_string().replace('-', ""), format!("{:x}", Md5::digest("\"int\"")));
        assert_eq!(guid.to_string().parse(), Ok(guid));
        assert_eq!("x".parse::<Guid>(), Err(()));
        assert_eq!("0".repeat(31).parse::<Guid>(), Err(()));
    }

    #[test]
    fn each_part_makes_another_schema() {
        let plain = Identity::new("x", Arc::from([]));
        let reference = Reference { name: "n".into(), subject: "s".into(), version: 1 };
        let metadata = Metadata { sensitive: Some(["a".to_owned()].into()), ..Metadata::default() };
        let others = [
            Identity { references: Arc::from([reference]), ..plain.clone() },
            Identity { metadata: Some(Arc::new(metadata)), ..plain.clone() },
        ];
        assert!(others.iter().all(|other| other.guid() != plain.guid()));
    }
}
