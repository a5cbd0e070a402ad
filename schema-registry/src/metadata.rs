//! What a schema carries beside its text: metadata and rules. Kept and served; rules run in clients.
//!
//! Members, merging and checks are Confluent's (`Metadata.java`, `RuleSet.java`, `Rule.java`,
//! 2026-08).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

/// The property under which a schema says which version of its subject it is.
pub(crate) const VERSION_PROPERTY: &str = "confluent:version";

/// The most bytes of JSON that metadata and rules of one schema may take together.
pub(crate) const METADATA_BYTES_MAX: usize = 256 * 1024;

/// What people and programs note on a schema.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Tags by the path of what they are put on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, BTreeSet<String>>>,
    /// Properties by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, String>>,
    /// Names of the properties that are not to be shown to everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitive: Option<BTreeSet<String>>,
}

impl Metadata {
    /// Whether there is nothing in it, which is the same as none.
    fn is_empty(&self) -> bool {
        self.tags.is_none() && self.properties.is_none() && self.sensitive.is_none()
    }

    /// One property.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.as_ref()?.get(name).map(String::as_str)
    }

    /// Without the version that the registry notes.
    pub(crate) fn without_version(mut self) -> Option<Self> {
        if let Some(properties) = &mut self.properties {
            properties.remove(VERSION_PROPERTY);
            if properties.is_empty() {
                self.properties = None;
            }
        }
        Some(self).filter(|metadata| !metadata.is_empty())
    }

    fn update_hash(&self, hash: &mut Md5) {
        for (path, tags) in self.tags.iter().flatten() {
            hash.update(path);
            tags.iter().for_each(|tag| hash.update(tag));
        }
        for (name, value) in self.properties.iter().flatten() {
            hash.update(name);
            hash.update(value);
        }
        self.sensitive.iter().flatten().for_each(|name| hash.update(name));
    }
}

/// The second over the first: of the same name the second's counts.
pub(crate) fn merge_metadata(
    first: Option<Metadata>,
    second: Option<Metadata>,
) -> Option<Metadata> {
    let (first, second) = match (first, second) {
        (Some(first), Some(second)) => (first, second),
        (first, second) => return first.or(second),
    };
    Some(Metadata {
        tags: merged(first.tags, second.tags),
        properties: merged(first.properties, second.properties),
        sensitive: merged(first.sensitive, second.sensitive),
    })
}

fn merged<T: IntoIterator + Extend<T::Item>>(first: Option<T>, second: Option<T>) -> Option<T> {
    match (first, second) {
        (Some(mut first), Some(second)) => {
            first.extend(second);
            Some(first)
        }
        (first, second) => first.or(second),
    }
}

/// Notes which version of its subject a schema is.
pub(crate) fn with_version(metadata: Option<Metadata>, number: u32) -> Metadata {
    let mut metadata = metadata.unwrap_or_default();
    let properties = metadata.properties.get_or_insert_default();
    properties.insert(VERSION_PROPERTY.to_owned(), number.to_string());
    metadata
}

/// Rules that clients run on records.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RuleSet {
    /// From version to version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration_rules: Option<Vec<Rule>>,
    /// On a record's values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain_rules: Option<Vec<Rule>>,
    /// On a record's bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding_rules: Option<Vec<Rule>>,
    /// From when on they hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_at: Option<String>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Its name, once in a rule set.
    pub name: String,
    /// For readers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// `TRANSFORM` or `CONDITION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<RuleKind>,
    /// When it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<RuleMode>,
    /// Who runs it, as `CEL` or `JSONATA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// The tags of the fields that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeSet<String>>,
    /// Its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<BTreeMap<String, String>>,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expr: Option<String>,
    /// What follows where it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_success: Option<String>,
    /// What follows where it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<String>,
    /// Whether it is left out.
    #[serde(default)]
    pub disabled: bool,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RuleKind {
    /// Changes the record.
    Transform,
    /// Judges the record.
    Condition,
}

/// When a rule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RuleMode {
    /// From an older version to a newer one.
    Upgrade,
    /// From a newer version to an older one.
    Downgrade,
    /// Both.
    UpDown,
    /// At the producer.
    Write,
    /// At the consumer.
    Read,
    /// Both.
    WriteRead,
}

impl RuleKind {
    fn name(self) -> &'static str {
        match self {
            Self::Transform => "TRANSFORM",
            Self::Condition => "CONDITION",
        }
    }
}

impl RuleMode {
    fn name(self) -> &'static str {
        match self {
            Self::Upgrade => "UPGRADE",
            Self::Downgrade => "DOWNGRADE",
            Self::UpDown => "UPDOWN",
            Self::Write => "WRITE",
            Self::Read => "READ",
            Self::WriteRead => "WRITEREAD",
        }
    }

    fn migrates(self) -> bool {
        matches!(self, Self::Upgrade | Self::Downgrade | Self::UpDown)
    }
}

impl RuleSet {
    /// All of them.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        let groups = [&self.migration_rules, &self.domain_rules, &self.encoding_rules];
        groups.into_iter().flatten().flatten()
    }

    /// What is wrong with it, in Confluent's words.
    pub(crate) fn problem(&self) -> Option<String> {
        let mut names = HashSet::new();
        let groups = [
            (&self.migration_rules, "Migration rules can only be UPGRADE, DOWNGRADE, UPDOWN", true),
            (&self.domain_rules, "Domain rules can only be WRITE, READ, WRITEREAD", false),
            (&self.encoding_rules, "Encoding rules can only be WRITE, READ, WRITEREAD", false),
        ];
        for (rules, wrong_mode, migrates) in groups {
            for rule in rules.iter().flatten() {
                if !names.insert(&rule.name) {
                    return Some(format!("Found rule with duplicate name '{}'", rule.name));
                }
                if let Some(problem) = rule.problem() {
                    return Some(problem);
                }
                if rule.mode.is_some_and(|mode| mode.migrates() != migrates) {
                    return Some(wrong_mode.to_owned());
                }
            }
        }
        None
    }

    fn update_hash(&self, hash: &mut Md5) {
        self.rules().for_each(|rule| rule.update_hash(hash));
        if let Some(at) = &self.enable_at {
            hash.update(at);
        }
    }

    /// Without the rules of these names.
    pub(crate) fn without(mut self, names: &[String]) -> Self {
        let groups = [&mut self.migration_rules, &mut self.domain_rules, &mut self.encoding_rules];
        for rules in groups.into_iter().flatten() {
            rules.retain(|rule| !names.contains(&rule.name));
        }
        self
    }
}

impl Rule {
    /// A name of letters, digits, underscores and hyphens, which does not begin with a digit.
    fn problem(&self) -> Option<String> {
        let good = |(place, c): (usize, char)| {
            c == '_' || c == '-' || c.is_ascii_alphabetic() || (place > 0 && c.is_ascii_digit())
        };
        if self.name.is_empty() {
            return Some("Missing rule name".to_owned());
        }
        if !self.name.chars().enumerate().all(good) {
            return Some(format!("Illegal character in rule name '{}'", self.name));
        }
        None
    }

    /// As Confluent's `Rule.java` does it, where a rule without kind or mode has these.
    fn update_hash(&self, hash: &mut Md5) {
        hash.update(&self.name);
        self.doc.iter().for_each(|doc| hash.update(doc));
        hash.update(self.kind.unwrap_or(RuleKind::Transform).name());
        hash.update(self.mode.unwrap_or(RuleMode::WriteRead).name());
        self.r#type.iter().for_each(|name| hash.update(name));
        self.tags.iter().flatten().for_each(|tag| hash.update(tag));
        for (name, value) in self.params.iter().flatten() {
            hash.update(name);
            hash.update(value);
        }
        let texts = [&self.expr, &self.on_success, &self.on_failure];
        texts.into_iter().flatten().for_each(|text| hash.update(text));
        if self.disabled {
            hash.update([1]);
        }
    }
}

/// The second over the first: rules of the same name are the second's, which stand behind.
pub(crate) fn merge_rules(first: Option<RuleSet>, second: Option<RuleSet>) -> Option<RuleSet> {
    let (first, second) = match (first, second) {
        (Some(first), Some(second)) => (first, second),
        (first, second) => return first.or(second),
    };
    Some(RuleSet {
        migration_rules: merge_list(first.migration_rules, second.migration_rules),
        domain_rules: merge_list(first.domain_rules, second.domain_rules),
        encoding_rules: merge_list(first.encoding_rules, second.encoding_rules),
        enable_at: second.enable_at.or(first.enable_at),
    })
}

fn merge_list(first: Option<Vec<Rule>>, second: Option<Vec<Rule>>) -> Option<Vec<Rule>> {
    let (mut rules, second) = match (first, second) {
        (Some(first), Some(second)) => (first, second),
        (first, second) => return first.or(second),
    };
    rules.retain(|rule| second.iter().all(|other| other.name != rule.name));
    rules.extend(second);
    Some(rules)
}

/// Adds metadata and rules to what a schema is known by.
pub(crate) fn hash(metadata: Option<&Metadata>, rules: Option<&RuleSet>, hash: &mut Md5) {
    if let Some(metadata) = metadata {
        metadata.update_hash(hash);
    }
    if let Some(rules) = rules {
        rules.update_hash(hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn rules(value: Value) -> RuleSet {
        serde_json::from_value(value).unwrap()
    }

    fn metadata(value: Value) -> Metadata {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn of_the_same_name_the_second_counts() {
        let first = metadata(json!({"properties": {"a": "1", "b": "1"}, "sensitive": ["a"]}));
        let second = metadata(json!({"properties": {"b": "2"}, "tags": {"f": ["PII"]}}));
        let merged = merge_metadata(Some(first), Some(second)).unwrap();
        let wanted = json!({
            "tags": {"f": ["PII"]}, "properties": {"a": "1", "b": "2"}, "sensitive": ["a"]
        });
        assert_eq!(serde_json::to_value(merged).unwrap(), wanted);
        let first = rules(json!({"domainRules": [{"name": "a"}, {"name": "b", "expr": "1"}]}));
        let second = rules(json!({"domainRules": [{"name": "b", "expr": "2"}]}));
        let merged = merge_rules(Some(first), Some(second)).unwrap().domain_rules.unwrap();
        let found: Vec<_> = merged.iter().map(|r| (r.name.as_str(), r.expr.as_deref())).collect();
        assert_eq!(found, [("a", None), ("b", Some("2"))]);
    }

    #[test]
    fn a_schema_with_notes_is_known_by_what_confluent_hashes() {
        let metadata = metadata(json!({
            "tags": {"r.f": ["PII", "A"]}, "properties": {"b": "2", "a": "1"}, "sensitive": ["b"]
        }));
        let rules = rules(json!({
            "domainRules": [
                {"name": "n", "doc": "d", "kind": "CONDITION", "mode": "WRITE", "type": "CEL",
                 "tags": ["PII"], "params": {"k": "v"}, "expr": "e", "onSuccess": "NONE",
                 "onFailure": "ERROR", "disabled": true},
            ],
            "migrationRules": [{"name": "m", "type": "JSONATA", "expr": "x", "mode": "UPGRADE"}],
        }));
        let mut found = Md5::new();
        hash(Some(&metadata), Some(&rules), &mut found);
        // The order of Metadata.java, RuleSet.java and Rule.java.
        let migration = "mTRANSFORMUPGRADEJSONATAx";
        let domain = "ndCONDITIONWRITECELPIIkveNONEERROR\x01";
        let wanted = format!("r.fAPIIa1b2b{migration}{domain}");
        assert_eq!(found.finalize(), Md5::digest(wanted));
    }

    #[test]
    fn a_rule_sets_problem_is_told_in_confluents_words() {
        for (set, problem) in [
            (
                json!({"domainRules": [{"name": "a"}, {"name": "a"}]}),
                "Found rule with duplicate name 'a'",
            ),
            (
                json!({"domainRules": [{"name": "a", "mode": "UPGRADE"}]}),
                "Domain rules can only be WRITE, READ, WRITEREAD",
            ),
            (
                json!({"migrationRules": [{"name": "a", "mode": "READ"}]}),
                "Migration rules can only be UPGRADE, DOWNGRADE, UPDOWN",
            ),
            (json!({"encodingRules": [{"name": "1"}]}), "Illegal character in rule name '1'"),
        ] {
            assert_eq!(rules(set).problem().as_deref(), Some(problem));
        }
        let good = rules(json!({"migrationRules": [{"name": "a", "mode": "UPDOWN"}]}));
        assert_eq!(good.problem(), None);
    }

    #[test]
    fn the_noted_version_comes_and_goes() {
        let noted = with_version(None, 3);
        assert_eq!(noted.property(VERSION_PROPERTY), Some("3"));
        assert_eq!(noted.without_version(), None);
    }
}
