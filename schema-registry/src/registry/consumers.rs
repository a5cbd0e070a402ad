//! Who reads a subject's data.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tidemesh_model::{Error, ErrorKind};

use super::Registry;
use crate::consumer::{Consumer, Group, GroupWatch, Observed};
use crate::decide;
use crate::level::CompatibilityLevel;
use crate::refusal::Refusal;
use crate::setting::Setting;
use crate::state::{Filter, State};
use crate::subject::{Name, beside, check_subject};

/// The longest that the log is asked, the wait for a place included; a request has more.
const OBSERVE_MS_MAX: u64 = 20_000;

/// How many requests ask the log at the same time.
pub(super) const OBSERVED_AT_ONCE: usize = 2;

/// A consumer with its subject and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredConsumer {
    /// The subject.
    pub subject: Arc<str>,
    /// The consumer's name.
    pub name: Arc<str>,
    /// What it has registered.
    pub consumer: Arc<Consumer>,
}

impl Registry {
    /// With someone who knows the log's consumer groups: those that have registered nothing then count
    /// where the level is `CONSUMERS`.
    #[must_use]
    pub fn watching(mut self, watch: Arc<dyn GroupWatch>) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Registers what a consumer reads of a subject, or changes it.
    ///
    /// # Errors
    ///
    /// 422 for a field that is none, 40402, 42205, 42208, 50001, 50002.
    pub async fn put_consumer(
        &self,
        subject: &str,
        name: &str,
        consumer: Consumer,
    ) -> Result<RegisteredConsumer, Refusal> {
        let subject = self.subject(subject);
        check_subject(self.limits(), &subject)?;
        let (parser, consumer) = (Arc::clone(&self.parser), Arc::new(consumer));
        let (place, named, put) = (subject.clone(), name.to_owned(), Arc::clone(&consumer));
        let decide =
            move |state: &State| decide::put_consumer(state, &parser, &place, &named, &put);
        let message = "Failed to register the consumer";
        self.writer.run(message, "Register consumer operation timed out", decide).await?;
        Ok(RegisteredConsumer { subject: subject.into(), name: name.into(), consumer })
    }

    /// Takes a consumer of a subject away, and gives what it was.
    ///
    /// # Errors
    ///
    /// 40411 if there is none, 50001, 50002.
    pub async fn remove_consumer(
        &self,
        subject: &str,
        name: &str,
    ) -> Result<RegisteredConsumer, Refusal> {
        let subject = self.subject(subject);
        let (place, named) = (subject.clone(), name.to_owned());
        let decide = move |state: &State| decide::remove_consumer(state, &place, &named);
        let message = "Failed to delete the consumer";
        let consumer =
            self.writer.run(message, "Delete consumer operation timed out", decide).await?;
        Ok(RegisteredConsumer { subject: subject.into(), name: name.into(), consumer })
    }

    /// One consumer of a subject.
    ///
    /// # Errors
    ///
    /// 40411 if there is none.
    pub fn consumer(&self, subject: &str, name: &str) -> Result<RegisteredConsumer, Refusal> {
        let subject = self.subject(subject);
        let consumers = self.state().consumers_of(&subject);
        let (name, consumer) =
            consumers.get_key_value(name).ok_or_else(|| decide::not_found(&subject, name))?;
        let (name, consumer) = (Arc::clone(name), Arc::clone(consumer));
        Ok(RegisteredConsumer { subject: subject.into(), name, consumer })
    }

    /// The consumers of one subject, or of all that are `seen`, by subject and name.
    pub(crate) fn consumers(
        &self,
        subject: Option<&str>,
        seen: impl Fn(&str) -> bool,
        page: super::Page,
    ) -> Vec<RegisteredConsumer> {
        let state = self.state();
        let subject = subject.filter(|subject| !subject.is_empty());
        let subject = subject.map(|subject| self.subject(subject));
        let is_meant = |name: &str| {
            let Some(subject) = subject.as_deref() else { return true };
            // A context alone means all of its subjects.
            let within = Name::of(subject);
            subject == name || within.subject.is_empty() && within.context == Name::of(name).context
        };
        let wanted = |name: &Arc<str>| is_meant(name) && seen(name);
        let all = state.consumers().filter(|(subject, _)| wanted(subject));
        let all = all.flat_map(|(subject, consumers)| {
            consumers.iter().map(|(name, consumer)| RegisteredConsumer {
                subject: Arc::clone(subject),
                name: Arc::clone(name),
                consumer: Arc::clone(consumer),
            })
        });
        page.of(all, super::VERSIONS_PAGE_MAX)
    }

    /// As [`Registry::observe`], of the subject that is meant by a name.
    pub(crate) async fn observe_for(&self, name: &str, always: bool) -> Result<Observed, Refusal> {
        match self.watch {
            None => Ok(Observed::NoLog),
            Some(_) => self.observe(&self.subject(name), always).await,
        }
    }

    /// Asks who reads a subject's data, if that is needed for judging: where the level is `CONSUMERS`,
    /// and `always` where it is asked for. A context's subjects have no topics.
    ///
    /// # Errors
    ///
    /// 50001 if the log does not answer in time.
    pub(super) async fn observe(&self, subject: &str, always: bool) -> Result<Observed, Refusal> {
        let Some(watch) = &self.watch else { return Ok(Observed::NoLog) };
        if !Name::of(subject).is_default() {
            return Ok(Observed::NoLog);
        }
        let state = self.state();
        let level = state.setting_in_scope(subject).compatibility_level;
        if !always && level != Some(CompatibilityLevel::Consumers) {
            return Ok(Observed::NotAsked);
        }
        let last = state.versions(subject, Filter::WithDeleted).next_back();
        let known = last.map_or(0, |version| version.number);
        let names = std::iter::once(Arc::from(subject)).chain(aliases_of(&state, subject));
        // The state is let go before the wait.
        drop(state);
        let groups = async {
            let _place = self.observing.acquire().await;
            let mut groups = Vec::new();
            for name in names {
                groups.extend(watch.groups(Name::of(&name).subject).await?);
            }
            Ok(groups)
        };
        let limit = Duration::from_millis(OBSERVE_MS_MAX);
        let late = || Error::new(ErrorKind::Timeout, "ask the log for its consumer groups");
        let groups = tokio::time::timeout(limit, groups).await.unwrap_or_else(|_| Err(late()));
        let groups = merged(groups.map_err(Refusal::GroupsUnknown)?);
        Ok(Observed::Groups { groups: groups.into(), known })
    }
}

/// The names that mean a subject, in the default context: their topics may have its data.
fn aliases_of(state: &State, subject: &str) -> Vec<Arc<str>> {
    let means = |scope: &str, alias: &str| !alias.is_empty() && *beside(scope, alias) == *subject;
    let of = |(scope, setting): (&Arc<str>, &Arc<Setting>)| {
        let is_alias = setting.alias.as_deref().is_some_and(|alias| means(scope, alias));
        (is_alias && Name::of(scope).is_default()).then(|| Arc::clone(scope))
    };
    state.settings().filter_map(of).collect()
}

/// One entry a group, which may read several topics.
fn merged(groups: Vec<Group>) -> Vec<Group> {
    let mut known: BTreeMap<String, Group> = BTreeMap::new();
    for group in groups {
        match known.entry(group.name.clone()) {
            Entry::Vacant(place) => drop(place.insert(group)),
            Entry::Occupied(mut place) => {
                let before = place.get_mut();
                before.pending = before.pending.take().zip(group.pending).map(|(mut ids, more)| {
                    ids.extend(more);
                    ids
                });
            }
        }
    }
    known.into_values().collect()
}
