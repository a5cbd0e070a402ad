use serde_json::json;

use super::*;
use crate::config::Limits;
use crate::consumer::Observed;
use crate::metadata::Metadata;
use crate::setting::Mode;
use crate::state::{Identity, Reference};

/// A state that takes over its own decisions, as if the disk never failed.
struct Machine {
    state: State,
    parser: Parser,
}

impl Machine {
    fn new() -> Self {
        Self { state: State::default(), parser: Parser::new(Limits::default()) }
    }

    fn apply<T>(&mut self, decision: Decision<T>) -> Result<T, Refusal> {
        let (changes, answer) = decision?;
        changes.into_iter().for_each(|change| self.state.apply(change));
        Ok(answer)
    }

    fn draft(&self, text: &str) -> Draft {
        let candidate = self.parser.parse(&self.state, "a", text, [].into(), false).unwrap();
        let (metadata, rules) = (None, None);
        let candidate = Some(candidate);
        let observed = Observed::default();
        Draft { candidate, metadata, rules, version: 0, id: None, now_ms: 0, observed }
    }

    fn decide(&self, subject: &str, draft: &Draft) -> Decision<Version> {
        register(&self.state, &self.parser, subject, draft)
    }

    /// Registers and gives (version, id).
    fn register(&mut self, subject: &str, text: &str) -> (u32, u32) {
        let decision = self.decide(subject, &self.draft(text));
        let version = self.apply(decision).unwrap();
        (version.number, version.id)
    }

    fn set(&mut self, scope: &str, members: serde_json::Value) {
        let members = members.as_object().unwrap();
        let decision = set_setting(&self.state, &self.parser, scope, members);
        self.apply(decision).unwrap();
    }

    fn mode(&mut self, scope: &str, mode: Mode) {
        let decision = set_mode(&self.state, &self.parser, scope, mode, false);
        self.apply(decision).unwrap();
    }

    fn delete(&mut self, subject: &str, number: u32, permanent: bool) -> u32 {
        let spec = VersionSpec::Number(number);
        let decision = delete_version(&self.state, subject, spec, "", permanent);
        self.apply(decision).unwrap()
    }

    fn numbers(&self, subject: &str, filter: Filter) -> Vec<u32> {
        self.state.versions(subject, filter).map(|version| version.number).collect()
    }
}

#[test]
fn registering_twice_changes_nothing() {
    let mut machine = Machine::new();
    machine.register("a", "\"int\"");
    let (changes, version) = machine.decide("a", &machine.draft("\"int\"")).unwrap();
    assert!(changes.is_empty());
    assert_eq!((version.number, version.id), (1, 1));
}

#[test]
fn a_soft_deleted_version_is_replaced_by_its_schemas_new_one() {
    let mut machine = Machine::new();
    machine.register("a", "\"int\"");
    machine.register("a", "\"long\"");
    machine.delete("a", 1, false);
    machine.delete("a", 2, false);
    assert_eq!(machine.register("a", "\"int\""), (3, 1));
    assert_eq!(machine.numbers("a", Filter::WithDeleted), [2, 3]);
}

#[test]
fn numbers_go_on_after_soft_deleted_ones_and_take_up_permanently_deleted_ones() {
    let mut machine = Machine::new();
    machine.register("a", "\"int\"");
    machine.register("a", "\"long\"");
    machine.delete("a", 2, false);
    assert_eq!(machine.register("a", "\"float\""), (3, 3));
    machine.delete("a", 3, false);
    machine.delete("a", 3, true);
    machine.delete("a", 2, true);
    assert_eq!(machine.register("a", "\"double\""), (2, 4));
}

#[test]
fn an_id_goes_with_its_last_version_and_never_comes_back() {
    let mut machine = Machine::new();
    machine.register("a", "\"int\"");
    machine.register("b", "\"int\"");
    machine.delete("a", 1, false);
    machine.delete("a", 1, true);
    assert!(machine.state.schema(".", 1).is_some(), "b still holds it");
    machine.delete("b", 1, false);
    machine.delete("b", 1, true);
    assert!(machine.state.schema(".", 1).is_none());
    assert_eq!(machine.register("a", "\"int\""), (1, 2));
}

#[test]
fn the_last_id_and_the_last_version_are_javas_largest_int() {
    let mut machine = Machine::new();
    machine.state.apply(Change::PutContext { context: ".".into(), id_next: NUMBER_MAX });
    assert_eq!(machine.register("a", "\"int\""), (1, NUMBER_MAX));
    let refused = machine.decide("b", &machine.draft("\"long\""));
    assert!(matches!(refused, Err(Refusal::NotPermitted(_))));

    let version = Version { number: NUMBER_MAX, id: NUMBER_MAX, deleted: false, created_ms: 0 };
    machine.state.apply(Change::PutVersion { subject: "a".into(), version });
    let refused = machine.decide("a", &machine.draft("\"long\""));
    assert!(matches!(refused, Err(Refusal::NotPermitted(_))));
}

#[test]
fn a_subject_with_a_referenced_version_is_kept_as_a_whole() {
    let mut machine = Machine::new();
    let record = r#"{"type":"record","name":"R","fields":[]}"#;
    machine.register("base", "\"int\"");
    machine.set("base", json!({"compatibility": "NONE"}));
    machine.register("base", record);
    let reference = Reference { name: "R".into(), subject: "base".into(), version: 2 };
    let identity = Identity::new("\"R\"", [reference].into());
    machine.state.apply(Change::AddSchema { context: ".".into(), id: 3, identity });
    let version = Version { number: 1, id: 3, deleted: false, created_ms: 0 };
    machine.state.apply(Change::PutVersion { subject: "user".into(), version });

    let refused = delete_subject(&machine.state, "base", false);
    assert!(matches!(refused, Err(Refusal::ReferenceExists { version: 2, .. })));
    assert_eq!(machine.numbers("base", Filter::Live), [1, 2]);
    let deleted = delete_subject(&machine.state, "user", false);
    machine.apply(deleted).unwrap();
    let deleted = delete_subject(&machine.state, "base", false);
    assert_eq!(machine.apply(deleted).unwrap(), [1, 2]);
    assert_eq!(machine.state.setting("base"), None, "its level goes with it");
}

#[test]
fn a_subject_that_imports_takes_schemas_with_their_ids_and_versions() {
    let mut machine = Machine::new();
    machine.mode("a", Mode::Import);
    let plain = machine.draft("\"int\"");
    assert!(matches!(machine.decide("a", &plain), Err(Refusal::NotPermitted(_))));
    let imported = Draft { id: Some(7), version: 3, ..plain };
    let made = machine.apply(machine.decide("a", &imported)).unwrap();
    assert_eq!((made.number, made.id), (3, 7));
    let again = machine.decide("a", &imported).unwrap();
    assert!(again.0.is_empty(), "it is there already");
    let other = Draft { id: Some(7), version: 4, ..machine.draft("\"string\"") };
    let refused = machine.decide("a", &other).unwrap_err();
    assert_eq!(refused.message(), "Overwrite new schema with id 7 in context  is not permitted.");
    let over = Draft { id: Some(8), version: 3, ..machine.draft("\"string\"") };
    assert!(matches!(machine.decide("a", &over), Err(Refusal::NotPermitted(_))));
    let incompatible = Draft { id: Some(8), version: 4, ..machine.draft("\"string\"") };
    machine.apply(machine.decide("a", &incompatible)).unwrap();
    assert_eq!(machine.register("b", "\"long\""), (1, 9), "ids go on above the imported ones");
    let id = Draft { id: Some(20), ..machine.draft("\"long\"") };
    assert!(matches!(machine.decide("b", &id), Err(Refusal::NotPermitted(_))));
}

#[test]
fn a_read_only_subject_changes_in_no_way() {
    let mut machine = Machine::new();
    machine.register("a", "\"int\"");
    machine.mode("a", Mode::ReadOnly);
    let message = "Subject a in context  is in read-only mode";
    let refused = |refusal: Refusal| assert_eq!(refusal.message(), message);
    refused(machine.decide("a", &machine.draft("\"long\"")).unwrap_err());
    refused(delete_subject(&machine.state, "a", false).unwrap_err());
    refused(delete_version(&machine.state, "a", VersionSpec::Latest, "", false).unwrap_err());
    refused(
        set_setting(&machine.state, &machine.parser, "a", &serde_json::Map::new()).unwrap_err(),
    );
    machine.register("b", "\"int\"");
    machine.mode("", Mode::ReadOnlyOverride);
    assert!(machine.decide("b", &machine.draft("\"long\"")).is_err());
}

#[test]
fn importing_begins_where_nothing_is() {
    let mut machine = Machine::new();
    machine.register("a", "\"int\"");
    let refused = set_mode(&machine.state, &machine.parser, "", Mode::Import, false);
    assert_eq!(refused.unwrap_err().message(), "Cannot import since found existing subjects");
    machine.delete("a", 1, false);
    machine.mode("", Mode::Import);
    assert!(machine.numbers("a", Filter::WithDeleted).is_empty(), "what was hidden is gone");
    let forced = set_mode(&machine.state, &machine.parser, "", Mode::Forward, true);
    machine.apply(forced).unwrap();
}

#[test]
fn each_context_has_its_own_ids_and_is_found_without_being_named() {
    let mut machine = Machine::new();
    machine.register("x", "\"string\"");
    assert_eq!(machine.register(":.c:a", "\"int\""), (1, 1));
    let latest = get_version(&machine.state, "a", VersionSpec::Latest, false, |_| true).unwrap();
    assert_eq!(&*latest.0, ":.c:a");
    let refused = delete_context(&machine.state, ".c").unwrap_err();
    assert_eq!(refused.code(crate::config::IncompatibleCode::default()), 42211);
    machine.delete(":.c:a", 1, false);
    machine.delete(":.c:a", 1, true);
    let deleted = delete_context(&machine.state, ".c");
    machine.apply(deleted).unwrap();
    assert_eq!(machine.state.contexts().count(), 0);
    assert_eq!(machine.register(":.c:a", "\"int\""), (1, 2), "its ids stay used up");
}

#[test]
fn metadata_comes_from_the_configuration_and_from_the_version_before() {
    let mut machine = Machine::new();
    machine.set(
        "a",
        json!({
            "defaultMetadata": {"properties": {"owner": "nobody", "kept": "yes"}},
            "overrideMetadata": {"properties": {"team": "t"}},
        }),
    );
    let noted: Metadata =
        serde_json::from_value(json!({"properties": {"owner": "me", "team": "x"}})).unwrap();
    let draft = Draft { metadata: Some(noted), ..machine.draft("\"int\"") };
    let made = machine.apply(machine.decide("a", &draft)).unwrap();
    let of = |machine: &Machine, version: &Version, name: &str| {
        let schema = machine.state.schema_of("a", version).unwrap();
        schema.metadata.as_ref().unwrap().property(name).map(str::to_owned)
    };
    let found = ["owner", "kept", "team"].map(|name| of(&machine, &made, name).unwrap());
    assert_eq!(found, ["me", "yes", "t"]);
    let next = Draft { version: -1, ..machine.draft("\"long\"") };
    let made = machine.apply(machine.decide("a", &next)).unwrap();
    assert_eq!(of(&machine, &made, "owner").as_deref(), Some("me"), "as the version before");
    assert_eq!(of(&machine, &made, "confluent:version").as_deref(), Some("2"));
    let again = machine.decide("a", &Draft { version: -1, ..machine.draft("\"long\"") }).unwrap();
    assert!(again.0.is_empty(), "the same schema is no new version");
}

#[test]
fn only_versions_of_the_same_group_are_compared() {
    let mut machine = Machine::new();
    machine.set("a", json!({"compatibilityGroup": "major"}));
    let of_group = |machine: &Machine, text: &str, major: &str| {
        let metadata = json!({"properties": {"major": major}});
        let metadata = Some(serde_json::from_value(metadata).unwrap());
        Draft { metadata, ..machine.draft(text) }
    };
    machine.apply(machine.decide("a", &of_group(&machine, "\"int\"", "1"))).unwrap();
    let other = of_group(&machine, "\"string\"", "1");
    assert!(matches!(machine.decide("a", &other), Err(Refusal::Incompatible { .. })));
    machine.apply(machine.decide("a", &of_group(&machine, "\"string\"", "2"))).unwrap();
    machine.apply(machine.decide("a", &of_group(&machine, "\"long\"", "1"))).unwrap();
}

#[test]
fn reserved_fields_stay_reserved_and_unused() {
    let mut machine = Machine::new();
    machine.set("a", json!({"validateFields": true, "compatibility": "NONE"}));
    let reserving = |machine: &Machine, text: &str, fields: &str| {
        let metadata = json!({"properties": {"confluent:reserved": fields}});
        let metadata = Some(serde_json::from_value(metadata).unwrap());
        Draft { metadata, ..machine.draft(text) }
    };
    let record = r#"{"type":"record","name":"R","fields":[{"name":"x","type":"int"}]}"#;
    let used = machine.decide("a", &reserving(&machine, record, "y, x")).unwrap_err();
    assert!(used.message().contains("conflicts with the reserved field x"), "{}", used.message());
    machine.apply(machine.decide("a", &reserving(&machine, record, "y"))).unwrap();
    let removed = machine.decide("a", &reserving(&machine, "\"int\"", "z")).unwrap_err();
    assert!(removed.message().contains("reserved field y removed"), "{}", removed.message());
}
