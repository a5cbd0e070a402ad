//! Schemas that somebody sends: to register them, to look them up, to have them checked.
//!
//! What needs the processor is done by the caller's thread, which needs a deep stack; only then does
//! the writing thread decide.

use std::sync::Arc;

use super::Registry;
use super::read::{SubjectVersion, subject_version};
use crate::avro::{self, Candidate};
use crate::consumer::Observed;
use crate::decide::{self, Draft};
use crate::level::CompatibilityLevel;
use crate::metadata::{METADATA_BYTES_MAX, Metadata, RuleSet, merge_rules, with_version};
use crate::refusal::Refusal;
use crate::state::{Filter, Identity, Reference, State, Version};
use crate::store::rows::now_ms;
use crate::subject::{beside, check_subject};
use crate::tags::{self, TaggedEntity};
use crate::version::VersionSpec;

/// The most bytes of stored text with which a schema is compared where it was received.
const LIGHT_BYTES_MAX: usize = 128 * 1024;

/// As many each version counts for at least.
const LIGHT_VERSION_BYTES_MIN: usize = 1024;

/// A schema that somebody sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Submission {
    /// The schema's text; absent, the subject's latest is meant.
    pub text: Option<String>,
    /// `AVRO`, which is also meant where it is absent.
    pub schema_type: Option<String>,
    /// What its names refer to: name, subject and version, where -1 is the latest.
    pub references: Vec<(String, String, i64)>,
    /// What is noted on it.
    pub metadata: Option<Metadata>,
    /// Rules for its records.
    pub rules: Option<RuleSet>,
    /// The id that it comes with; allowed in import mode only.
    pub id: Option<i64>,
    /// The version it is expected to get; 0 and absent mean any, -1 the next, which is then noted in
    /// its metadata.
    pub version: Option<i64>,
    /// Tags to put on its types and fields.
    pub tags_to_add: Vec<TaggedEntity>,
    /// Tags to take off them.
    pub tags_to_remove: Vec<TaggedEntity>,
    /// Whether to take over the tags of the version before.
    pub propagate_tags: bool,
    /// Whether to bring the text into a normal form first (`normalize=true`).
    pub normalize: bool,
}

/// What a registration gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The id of the schema: the same for the same schema in every subject of a context.
    pub id: u32,
    /// The version of the subject.
    pub version: u32,
    /// The version as it stands, unless somebody has deleted it since.
    pub found: Option<SubjectVersion>,
    /// Whether the schema was registered as it was sent, or found so.
    pub as_sent: bool,
}

/// What is to be done for a registration.
#[derive(Debug)]
pub(crate) enum Drafted {
    /// Nothing: it is registered.
    Known(Registered),
    /// This, by the writing thread.
    New(String, Draft),
}

/// Other tags, metadata and rules for a version that is there.
#[derive(Debug, Default)]
pub(crate) struct TagRequest {
    pub(crate) new_version: Option<i64>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) rules: Option<RuleSet>,
    pub(crate) tags_to_add: Vec<TaggedEntity>,
    pub(crate) tags_to_remove: Vec<TaggedEntity>,
    pub(crate) rules_to_merge: Option<RuleSet>,
    pub(crate) rules_to_remove: Vec<String>,
}

impl Registry {
    /// Registers a schema under a subject. The same schema gives the same id and version again.
    ///
    /// # Errors
    ///
    /// Confluent's 409 or 40901, 42201, 42205, 42208, 42209, 42210, 50001, 50002; then nothing is
    /// registered.
    pub async fn register(
        &self,
        subject: &str,
        submission: &Submission,
    ) -> Result<Registered, Refusal> {
        match self.draft(subject, submission)? {
            Drafted::Known(registered) => Ok(registered),
            Drafted::New(subject, draft) => self.put(subject, draft).await,
        }
    }

    /// The first half of a registration: all that needs no store. Most calls need no more.
    pub(crate) fn draft(&self, subject: &str, submission: &Submission) -> Result<Drafted, Refusal> {
        let subject = self.subject(subject);
        let state = self.state();
        check_subject(self.limits(), &subject)?;
        check_notes(submission.metadata.as_ref(), submission.rules.as_ref())?;
        let candidate = self.candidate(&state, &subject, submission)?;
        let candidate = self.tagged_candidate(&state, &subject, submission, candidate)?;
        let draft = Draft {
            candidate,
            metadata: submission.metadata.clone(),
            rules: submission.rules.clone(),
            version: version_wanted(submission)?,
            id: submission.id.and_then(|id| u32::try_from(id).ok()),
            now_ms: now_ms(),
            observed: Observed::default(),
        };
        match decide::known(&state, &self.parser, &subject, &draft)? {
            Some(version) => {
                let known = self.registered(&state, &subject, version, &draft);
                Ok(Drafted::Known(known))
            }
            None => Ok(Drafted::New(subject, draft)),
        }
    }

    /// The second half, by the writing thread.
    pub(crate) async fn put(
        &self,
        subject: String,
        mut draft: Draft,
    ) -> Result<Registered, Refusal> {
        draft.observed = self.observe(&subject, false).await?;
        let mut draft = Arc::new(draft);
        let mut decided = self.decide(&subject, &draft).await;
        if matches!(decided, Err(Refusal::Timeout(decide::NOT_ASKED))) {
            // Another node has just set the level by which consumers count.
            Arc::make_mut(&mut draft).observed = self.observe(&subject, true).await?;
            decided = self.decide(&subject, &draft).await;
        }
        Ok(self.registered(&self.state(), &subject, decided?, &draft))
    }

    async fn decide(&self, subject: &str, draft: &Arc<Draft>) -> Result<Version, Refusal> {
        let parser = Arc::clone(&self.parser);
        let (name, drafted) = (subject.to_owned(), Arc::clone(draft));
        let message = "Register schema operation failed while writing to the store";
        let timed_out = "Register operation timed out";
        let decide = move |state: &State| decide::register(state, &parser, &name, &drafted);
        self.writer.run(message, timed_out, decide).await
    }

    fn registered(
        &self,
        state: &State,
        subject: &str,
        version: Version,
        draft: &Draft,
    ) -> Registered {
        let name = state.subject_name(subject).unwrap_or_else(|| Arc::from(subject));
        let found = subject_version(state, name, version).ok();
        let as_sent = found.as_ref().is_none_or(|found| {
            let stored = found.schema.metadata.as_deref().cloned();
            let same = stored.as_ref() == draft.metadata.as_ref()
                || draft.version == 0
                    && stored.and_then(Metadata::without_version) == draft.metadata;
            same && found.schema.rules.as_deref() == draft.rules.as_ref()
                && draft.candidate.is_some()
        });
        Registered { id: version.id, version: version.number, found, as_sent }
    }

    /// Other tags, metadata and rules for a version, which make a new one.
    pub(crate) fn draft_tags(
        &self,
        subject: &str,
        version: VersionSpec,
        request: &TagRequest,
    ) -> Result<(String, Draft), Refusal> {
        let subject = self.subject(subject);
        let state = self.state();
        let (name, found) =
            decide::get_version(&state, &subject, version, false, decide::nowhere_else)?;
        let subject = name.to_string();
        let stored = subject_version(&state, name, found)?.schema;
        let text = tags::change(&stored.text, &request.tags_to_add, &request.tags_to_remove)?;
        let references = Arc::clone(&stored.references);
        let candidate = self.parser.parse(&state, &subject, &text, references, false)?;
        let new_version = request.new_version.unwrap_or(0);
        let metadata = request.metadata.clone().or_else(|| stored.metadata.as_deref().cloned());
        let noted = u32::try_from(new_version).unwrap_or(0);
        let rules = self.tag_rules(&state, &subject, request)?;
        check_notes(request.metadata.as_ref(), rules.as_ref())?;
        let draft = Draft {
            candidate: Some(candidate),
            metadata: Some(with_version(metadata, noted)),
            rules,
            version: new_version,
            id: None,
            now_ms: now_ms(),
            observed: Observed::default(),
        };
        Ok((subject, draft))
    }

    /// The rules of a request, or those of the version before with changes.
    fn tag_rules(
        &self,
        state: &State,
        subject: &str,
        request: &TagRequest,
    ) -> Result<Option<RuleSet>, Refusal> {
        if request.rules_to_merge.is_none() && request.rules_to_remove.is_empty() {
            return Ok(request.rules.clone());
        }
        let before = match request.new_version {
            Some(number) if number > 1 => VersionSpec::Number(
                u32::try_from(number - 1)
                    .map_err(|_| Refusal::InvalidVersion(number.to_string()))?,
            ),
            _ => VersionSpec::Latest,
        };
        let (name, version) =
            decide::get_version(state, subject, before, false, decide::nowhere_else)?;
        let rules = subject_version(state, name, version)?.schema.rules;
        let rules = merge_rules(rules.as_deref().cloned(), request.rules_to_merge.clone());
        Ok(rules.map(|rules| rules.without(&request.rules_to_remove)))
    }

    /// Finds the version of a subject that holds this schema. A subject of the default context that
    /// does not is looked for in the others, among those that are `seen`.
    ///
    /// # Errors
    ///
    /// 40401 without such a subject, 40403 without such a schema in it, 42201.
    pub fn lookup(
        &self,
        subject: &str,
        submission: &Submission,
        deleted: bool,
        seen: impl Fn(&str) -> bool,
    ) -> Result<SubjectVersion, Refusal> {
        let subject = self.subject(subject);
        let filter = if deleted { Filter::WithDeleted } else { Filter::Live };
        let state = self.state();
        let own = self.candidate(&state, &subject, submission);
        for (place, name) in decide::in_contexts(&state, &subject, seen).enumerate() {
            let candidate = match place {
                0 => own.as_ref().map(Clone::clone).map_err(Refusal::repeated)?,
                // What it refers to may not be there.
                _ => self.candidate(&state, &name, submission).unwrap_or_default(),
            };
            let Some(candidate) = candidate else { continue };
            if let Some(version) = self.find(&state, &name, submission, &candidate, filter) {
                return subject_version(&state, name, version);
            }
        }
        if state.has_subject(&subject, filter) {
            return Err(Refusal::SchemaNotFound(None));
        }
        Err(Refusal::SubjectNotFound(subject))
    }

    /// As it was sent, or with what it would get if it were registered now.
    fn find(
        &self,
        state: &State,
        subject: &str,
        submission: &Submission,
        candidate: &Candidate,
        filter: Filter,
    ) -> Option<Version> {
        let (metadata, rules) = (&submission.metadata, &submission.rules);
        let sent = candidate.identity(metadata.clone(), rules.clone());
        let find = |identity: &Identity| {
            decide::find(state, &self.parser, subject, candidate, identity, filter)
        };
        find(&sent).or_else(|| {
            let latest = state.schema_of(subject, state.latest(subject)?)?;
            let setting = state.setting_in_scope(subject);
            let (metadata, rules) =
                decide::notes(&setting, metadata.clone(), rules.clone(), Some(latest));
            let next = candidate.identity(metadata, rules);
            (next != sent).then(|| find(&next))?
        })
    }

    /// Whether judging a schema takes no time: its text was parsed before, and there is little to compare
    /// it with.
    pub(crate) fn is_known(&self, subject: &str, submission: &Submission) -> bool {
        let Some(text) = submission.text.as_deref().filter(|_| submission.references.is_empty())
        else {
            return false;
        };
        let (state, subject) = (self.state(), self.subject(subject));
        let setting = state.setting_in_scope(&subject);
        let normalize = submission.normalize || setting.normalize == Some(true);
        setting.compatibility_level != Some(CompatibilityLevel::Consumers)
            && self.parser.is_known(text, normalize)
            && is_light(&state, &subject)
    }

    fn normalizes(&self, state: &State, subject: &str, submission: &Submission) -> bool {
        submission.normalize || state.setting_in_scope(subject).normalize == Some(true)
    }

    pub(super) fn candidate(
        &self,
        state: &State,
        subject: &str,
        submission: &Submission,
    ) -> Result<Option<Arc<Candidate>>, Refusal> {
        if let Some(other) = submission.schema_type.as_deref().filter(|name| *name != avro::TYPE) {
            return Err(Refusal::InvalidSchema(format!(
                "Invalid schema type {other}; this registry holds schemas of type AVRO only"
            )));
        }
        let Some(text) = submission.text.as_deref().filter(|text| !text.trim().is_empty()) else {
            return Ok(None);
        };
        if text.len() > self.limits().schema_bytes_max {
            return Err(Refusal::SchemaTooLarge);
        }
        if submission.references.len() > self.limits().references_max {
            return Err(avro::too_many_references(self.limits()));
        }
        let references = resolve_versions(state, subject, &submission.references)?;
        let normalize = self.normalizes(state, subject, submission);
        self.parser.parse(state, subject, text, references, normalize).map(Some)
    }

    /// With the tags that are asked for.
    fn tagged_candidate(
        &self,
        state: &State,
        subject: &str,
        submission: &Submission,
        candidate: Option<Arc<Candidate>>,
    ) -> Result<Option<Arc<Candidate>>, Refusal> {
        let latest = state.latest(subject).and_then(|version| state.schema_of(subject, version));
        let inherited = match latest.filter(|_| submission.propagate_tags) {
            Some(latest) => tags::find(&latest.text, &["*".to_owned()])?,
            None => Vec::new(),
        };
        let (add, remove) = (&submission.tags_to_add, &submission.tags_to_remove);
        if inherited.is_empty() && add.is_empty() && remove.is_empty() {
            return Ok(candidate);
        }
        let (text, references) = match (&candidate, latest) {
            (Some(candidate), _) => (Arc::clone(&candidate.text), &candidate.references),
            (None, Some(latest)) => (Arc::clone(&latest.text), &latest.references),
            (None, None) => return Err(Refusal::empty_schema()),
        };
        let references = Arc::clone(references);
        let text = tags::inherit(&text, &inherited)?;
        let text = tags::change(&text, add, remove)?;
        self.parser.parse(state, subject, &text, references, false).map(Some)
    }
}

/// Whether a subject has few and short versions, none of which refers to others, wherever it is looked
/// for.
fn is_light(state: &State, subject: &str) -> bool {
    let mut bytes = 0;
    decide::in_contexts(state, subject, |_| true).all(|name| {
        state.versions(&name, Filter::WithDeleted).all(|version| {
            let Some(schema) = state.schema_of(&name, version) else { return true };
            bytes += schema.text.len().max(LIGHT_VERSION_BYTES_MIN);
            bytes <= LIGHT_BYTES_MAX && schema.references.is_empty()
        })
    })
}

/// Numbers as Confluent's clients send them: 0 is none, -1 the next.
fn version_wanted(submission: &Submission) -> Result<i64, Refusal> {
    let tagged = !submission.tags_to_add.is_empty() || !submission.tags_to_remove.is_empty();
    match submission.version {
        // Tags make a version that says which it is.
        None | Some(0) => Ok(if tagged { -1 } else { 0 }),
        Some(number) if number < 0 => Ok(-1),
        Some(number) if number <= i64::from(decide::NUMBER_MAX) => Ok(number),
        Some(number) => Err(Refusal::InvalidVersion(number.to_string())),
    }
}

fn check_notes(metadata: Option<&Metadata>, rules: Option<&RuleSet>) -> Result<(), Refusal> {
    if let Some(problem) = rules.and_then(RuleSet::problem) {
        return Err(Refusal::InvalidRuleSet(problem));
    }
    let bytes = |text: serde_json::Result<String>| text.map_or(usize::MAX, |text| text.len());
    let whole = metadata.map_or(0, |metadata| bytes(serde_json::to_string(metadata)))
        + rules.map_or(0, |rules| bytes(serde_json::to_string(rules)));
    if whole > METADATA_BYTES_MAX {
        return Err(Refusal::SchemaTooLarge);
    }
    Ok(())
}

/// References with numbers in place of -1.
fn resolve_versions(
    state: &State,
    parent: &str,
    references: &[(String, String, i64)],
) -> Result<Arc<[Reference]>, Refusal> {
    references
        .iter()
        .map(|(name, subject, version)| {
            let place = beside(parent, subject);
            let number = match version {
                -1 => state.latest(&place).map(|latest| latest.number),
                number => u32::try_from(*number).ok(),
            };
            let version =
                number.ok_or_else(|| avro::reference_not_found(subject, &version.to_string()))?;
            let subject = crate::subject::normalized(subject).into_owned();
            Ok(Reference { name: name.clone(), subject, version })
        })
        .collect()
}
