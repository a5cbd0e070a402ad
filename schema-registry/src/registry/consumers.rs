//! Who reads a subject's data.

use std::sync::Arc;

use super::Registry;
use crate::consumer::{Consumer, GroupWatch, Observed};
use crate::decide;
use crate::level::CompatibilityLevel;
use crate::refusal::Refusal;
use crate::state::State;
use crate::subject::{Name, check_subject};

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
        let subject = subject.map(|subject| self.subject(subject));
        let wanted = |name: &Arc<str>| {
            subject.as_deref().is_none_or(|subject| subject == &**name) && seen(name)
        };
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
        if self.watch.is_none() {
            return Ok(Observed::NoLog);
        }
        self.observe(&self.subject(name), always).await
    }

    /// Asks who reads a subject's data, if that is needed for judging: where the level is `CONSUMERS`,
    /// and `always` where it is asked for.
    ///
    /// # Errors
    ///
    /// 50001 if the log does not answer.
    pub(crate) async fn observe(&self, subject: &str, always: bool) -> Result<Observed, Refusal> {
        let Some(watch) = &self.watch else { return Ok(Observed::NoLog) };
        let level = self.state().setting_in_scope(subject).compatibility_level;
        if !always && level != Some(CompatibilityLevel::Consumers) {
            return Ok(Observed::NotAsked);
        }
        let groups = watch.groups(Name::of(subject).subject).await;
        Ok(Observed::Groups(groups.map_err(Refusal::GroupsUnknown)?.into()))
    }
}
