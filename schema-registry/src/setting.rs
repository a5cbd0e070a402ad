//! What holds for a subject, a context or the whole registry: its configuration and its mode.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::level::CompatibilityLevel;
use crate::metadata::{Metadata, RuleSet};

/// A configuration: what is not set is taken from the scope around it.
///
/// The members are Confluent's (`Config.java`, 2026-08). Kept and served without an effect here are
/// `compatibilityPolicy` and `validateRules`, which are for other kinds of schema or for clients.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Setting {
    /// What a new schema must be able to do.
    #[serde(with = "level_name", skip_serializing_if = "Option::is_none")]
    pub compatibility_level: Option<CompatibilityLevel>,
    /// `STRICT` or `LENIENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_policy: Option<String>,
    /// A property of metadata: only versions with the same value of it are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_group: Option<String>,
    /// Whether schemas are brought into the normal form without being asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalize: Option<bool>,
    /// The subject that is meant where this one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// The same for data keys, which this registry does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alias_for_deks: Option<String>,
    /// Whether fields that metadata reserves may not be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_fields: Option<bool>,
    /// Whether names and defaults of new schemas are checked; this registry always does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_names: Option<bool>,
    /// The same, in another version of the contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_new_schemas: Option<bool>,
    /// Whether clients check rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_rules: Option<bool>,
    /// Under a schema's own metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_metadata: Option<Metadata>,
    /// Over a schema's own metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_metadata: Option<Metadata>,
    /// Under a schema's own rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_rule_set: Option<RuleSet>,
    /// Over a schema's own rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub override_rule_set: Option<RuleSet>,
}

/// The members of a configuration that a request may have. The level is written under another name
/// than it is read.
pub(crate) const MEMBERS: [&str; 14] = [
    "compatibility",
    "compatibilityPolicy",
    "compatibilityGroup",
    "normalize",
    "alias",
    "aliasForDeks",
    "validateFields",
    "validateNames",
    "validateNewSchemas",
    "validateRules",
    "defaultMetadata",
    "overrideMetadata",
    "defaultRuleSet",
    "overrideRuleSet",
];

impl Setting {
    /// Whether schemas get metadata or rules by it.
    pub(crate) fn adds_to_schemas(&self) -> bool {
        self.default_metadata.is_some()
            || self.override_metadata.is_some()
            || self.default_rule_set.is_some()
            || self.override_rule_set.is_some()
    }

    /// With what a request has: its members, and without those that it has as `null`.
    ///
    /// # Errors
    ///
    /// What cannot be read, as a sentence.
    pub(crate) fn updated(&self, members: &Map<String, Value>) -> Result<Self, String> {
        let mut whole = match serde_json::to_value(self) {
            Ok(Value::Object(whole)) => whole,
            _ => Map::new(),
        };
        for (name, value) in members {
            let name = if name == "compatibility" { "compatibilityLevel" } else { name };
            if value.is_null() {
                whole.remove(name);
            } else {
                whole.insert(name.to_owned(), value.clone());
            }
        }
        serde_json::from_value(Value::Object(whole)).map_err(|error| error.to_string())
    }
}

mod level_name {
    use super::CompatibilityLevel;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    // The signature is serde's.
    #[allow(clippy::ref_option)]
    pub(super) fn serialize<S: Serializer>(
        level: &Option<CompatibilityLevel>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match level {
            Some(level) => serializer.serialize_str(level.name()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<CompatibilityLevel>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let level = crate::level::from_name(&name);
        level.map(Some).ok_or_else(|| D::Error::custom(format!("{name} is no level")))
    }
}

/// What may be done with a subject (Confluent's `Mode.java`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mode {
    /// Everything; ids are given out here.
    #[default]
    #[serde(rename = "READWRITE")]
    ReadWrite,
    /// Reading.
    #[serde(rename = "READONLY")]
    ReadOnly,
    /// Reading, whatever mode a subject has of its own. Only globally.
    #[serde(rename = "READONLY_OVERRIDE")]
    ReadOnlyOverride,
    /// Schemas come with their ids and versions, and are not compared.
    #[serde(rename = "IMPORT")]
    Import,
    /// The same, for a registry that follows another.
    #[serde(rename = "FORWARD")]
    Forward,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::ReadWrite, Self::ReadOnly, Self::ReadOnlyOverride, Self::Import, Self::Forward];

    /// Confluent's spelling.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "READWRITE",
            Self::ReadOnly => "READONLY",
            Self::ReadOnlyOverride => "READONLY_OVERRIDE",
            Self::Import => "IMPORT",
            Self::Forward => "FORWARD",
        }
    }

    /// The mode of this name, in any case.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name().eq_ignore_ascii_case(name))
    }

    /// Whether nothing may be changed.
    pub(crate) fn is_read_only(self) -> bool {
        matches!(self, Self::ReadOnly | Self::ReadOnlyOverride)
    }

    /// Whether schemas come with their ids.
    pub(crate) fn imports(self) -> bool {
        matches!(self, Self::Import | Self::Forward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn updated(old: &Setting, members: Value) -> Result<Setting, String> {
        old.updated(members.as_object().unwrap())
    }

    #[test]
    fn an_update_keeps_what_it_does_not_name_and_takes_away_what_it_has_as_null() {
        let first =
            updated(&Setting::default(), json!({"compatibility": "full", "alias": "x"})).unwrap();
        assert_eq!(first.compatibility_level, Some(CompatibilityLevel::Full));
        let second = updated(&first, json!({"normalize": true, "alias": null})).unwrap();
        let text = serde_json::to_string(&second).unwrap();
        assert_eq!(text, r#"{"compatibilityLevel":"FULL","normalize":true}"#);
        assert_eq!(serde_json::from_str::<Setting>(&text).unwrap(), second);
        assert!(updated(&second, json!({"normalize": "yes"})).is_err());
    }

    #[test]
    fn every_mode_is_found_by_its_name_in_any_case() {
        for mode in Mode::ALL {
            assert_eq!(Mode::from_name(&mode.name().to_lowercase()), Some(mode));
        }
        assert_eq!(Mode::from_name("READ"), None);
    }
}
