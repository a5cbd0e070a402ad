//! What people say of topics and fields: the `catalog` of documents of sources.

use super::former::Former;
use super::written::Written;
use crate::state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidemesh_model::TableName;
use tidemesh_plan::document::{CatalogEntry, CatalogField, Document, SourceSpec, Spec};
use tidemesh_transport::topic_name;

/// The documents that say something of topics, by what it is about.
pub(crate) struct Sayings {
    /// By source.
    sources: BTreeMap<String, Arc<Document>>,
    /// By pipeline and sink.
    published: BTreeMap<(String, String), Arc<Document>>,
    /// By topic, of those that others write.
    topics: BTreeMap<String, Arc<Document>>,
    /// By pipeline.
    pipelines: BTreeMap<String, Arc<Document>>,
    /// What documents masked that are gone.
    former: Former,
    /// What pipelines have written.
    written: Written,
    /// Sources of which a configuration says that they run elsewhere.
    elsewhere: BTreeSet<String>,
}

/// What is said of one topic.
#[derive(Default)]
pub(crate) struct Said<'d> {
    pub(crate) published_as: Option<&'d str>,
    pub(crate) owner: Option<&'d str>,
    pub(crate) description: Option<&'d str>,
    pub(crate) tags: Vec<&'d str>,
    pub(crate) fields: Option<&'d BTreeMap<String, CatalogField>>,
}

impl Sayings {
    /// `elsewhere` are sources that other processes run, by the configuration's word.
    pub(crate) fn of(state: &State, elsewhere: &[String]) -> Self {
        let (mut sources, mut published) = (BTreeMap::new(), BTreeMap::new());
        let (mut topics, mut pipelines) = (BTreeMap::new(), BTreeMap::new());
        for document in state.declared() {
            match &document.spec {
                Spec::Source(SourceSpec::Connector { .. }) => {
                    sources.insert(document.name().to_owned(), document);
                }
                Spec::Source(SourceSpec::Pipeline { output, .. }) => {
                    let of = (output.pipeline.clone(), output.sink.clone());
                    published.insert(of, document);
                }
                Spec::Source(SourceSpec::Topic { topic, .. }) => {
                    topics.insert(topic.clone(), document);
                }
                Spec::Pipeline(_) => drop(pipelines.insert(document.name().to_owned(), document)),
                Spec::Processor(_) | Spec::Alert(_) => {}
            }
        }
        let (former, written) = (Former::of(state), Written::of(state));
        let elsewhere = elsewhere.iter().cloned().collect();
        Self { sources, published, topics, pipelines, former, written, elsewhere }
    }

    /// Whether anybody has said something of a source: a document, now or once, or a configuration.
    pub(crate) fn knows(&self, source: &str) -> bool {
        self.sources.contains_key(source)
            || self.former.knows(source)
            || self.elsewhere.contains(source)
    }

    /// Whether a document has said something of a topic that others write, now or once; of a table's, of its first
    /// one.
    pub(crate) fn knows_topic(&self, topic: &str) -> bool {
        let knows = |topic| self.topics.contains_key(topic) || self.former.knows_topic(topic);
        knows(topic) || knows(first_of(topic))
    }

    /// Whether a topic is named as a table's of a source that somebody has said something of. Its connector
    /// announces it with its first row.
    pub(crate) fn knows_table(&self, topic: &str) -> bool {
        let mut parts = topic.splitn(3, '.');
        parts.next().is_some_and(|source| self.knows(source)) && parts.count() == 2
    }

    /// A pipeline that has written a topic by any revision of it, be it there still or not.
    pub(crate) fn wrote(&self, topic: &str) -> Option<&str> {
        self.written.by(topic)
    }

    /// The topics that others write, as documents name them.
    pub(crate) fn topics_of_others(&self) -> impl Iterator<Item = &str> {
        self.topics.keys().map(String::as_str)
    }

    /// Of a topic that others write, or of a table's by what is said of its first one; none if no document speaks of
    /// either.
    pub(crate) fn of_topic(&self, topic: &str) -> Option<Said<'_>> {
        let first = || Some(Said { published_as: None, ..self.of_very_topic(first_of(topic))? });
        self.of_very_topic(topic).or_else(first)
    }

    fn of_very_topic(&self, topic: &str) -> Option<Said<'_>> {
        let document = self.topics.get(topic)?;
        let Spec::Source(SourceSpec::Topic { catalog, .. }) = &document.spec else { return None };
        Some(Said { published_as: Some(document.name()), ..Said::of(document, Some(catalog)) })
    }

    pub(crate) fn of_table(&self, source: &str, table: &str) -> Said<'_> {
        let Some(document) = self.sources.get(source) else { return Said::default() };
        let Spec::Source(SourceSpec::Connector { catalog, .. }) = &document.spec else {
            return Said::default();
        };
        Said::of(document, catalog.get(table))
    }

    /// Of a sink; none is a tap, of which the pipeline's document speaks alone.
    pub(crate) fn of_output(&self, pipeline: &str, sink: Option<&String>) -> Said<'_> {
        let pipeline_said = self.pipelines.get(pipeline).map(|document| Said::of(document, None));
        let key = sink.map(|sink| (pipeline.to_owned(), sink.clone()));
        let Some(document) = key.and_then(|key| self.published.get(&key)) else {
            return pipeline_said.unwrap_or_default();
        };
        let Spec::Source(SourceSpec::Pipeline { catalog, .. }) = &document.spec else {
            return pipeline_said.unwrap_or_default();
        };
        let mut said = Said::of(document, Some(catalog));
        said.published_as = Some(document.name());
        said.owner = said.owner.or(pipeline_said.and_then(|said| said.owner));
        said
    }

    /// Whether any document masks anything, or has.
    pub(crate) fn masks_anything(&self) -> bool {
        let masks = |document: &Arc<Document>| match &document.spec {
            Spec::Source(SourceSpec::Connector { catalog, .. }) => {
                catalog.values().any(|entry| masked(&entry.fields).next().is_some())
            }
            Spec::Source(
                SourceSpec::Pipeline { catalog, .. } | SourceSpec::Topic { catalog, .. },
            ) => masked(&catalog.fields).next().is_some(),
            Spec::Pipeline(_) | Spec::Processor(_) | Spec::Alert(_) => false,
        };
        let mut documents =
            self.sources.values().chain(self.published.values()).chain(self.topics.values());
        self.former.masks_anything() || documents.any(masks)
    }

    /// The masked fields of a topic that no pipeline writes, by their paths, whichever of a table's topics
    /// it is. What a document masked that is gone is masked still.
    pub(crate) fn masked_of_topic(&self, topic: &str) -> Vec<Vec<String>> {
        let mut paths = self.masked_of_table(topic);
        paths.extend(self.masked_of_others(topic));
        // Whoever masks a table's topic by its name means what comes behind it, too.
        if first_of(topic) != topic {
            paths.extend(self.masked_of_others(first_of(topic)));
        }
        paths
    }

    /// By the document of the topic itself, or by those that are gone.
    fn masked_of_others(&self, topic: &str) -> Vec<Vec<String>> {
        match self.of_very_topic(topic) {
            Some(said) => said.fields.map(|fields| masked(fields).collect()).unwrap_or_default(),
            None => self.former.of_topic(topic).cloned().collect(),
        }
    }

    fn masked_of_table(&self, topic: &str) -> Vec<Vec<String>> {
        let Some((source, _)) = topic.split_once('.') else { return Vec::new() };
        let former = self.former.of_source(source);
        let former = former.filter(|(table, _)| is_of_table(topic, source, table));
        let mut paths: Vec<Vec<String>> =
            former.flat_map(|(_, fields)| fields).map(Vec::clone).collect();
        if let Some(Spec::Source(SourceSpec::Connector { catalog, .. })) =
            self.sources.get(source).map(|document| &document.spec)
        {
            let entries = catalog.iter().filter(|(table, _)| is_of_table(topic, source, table));
            paths.extend(entries.flat_map(|(_, entry)| masked(&entry.fields)));
        }
        paths
    }

    /// The masked fields of what a pipeline's sink writes, by their own document, or by one that is gone.
    pub(crate) fn masked_of_output(&self, pipeline: &str, sink: &str) -> Vec<Vec<String>> {
        let output = (pipeline.to_owned(), sink.to_owned());
        if !self.published.contains_key(&output) {
            return self.former.of_output(&output).cloned().collect();
        }
        let said = self.of_output(pipeline, Some(&output.1));
        said.fields.map(|fields| masked(fields).collect()).unwrap_or_default()
    }

    /// The masked fields of all that pipelines' sinks have written to a topic.
    pub(crate) fn masked_of_written(&self, topic: &str) -> Vec<Vec<String>> {
        let sinks = self.written.sinks(topic);
        sinks.flat_map(|(pipeline, sink)| self.masked_of_output(pipeline, sink)).collect()
    }

    /// Whether a document speaks of what a pipeline's sink writes.
    pub(crate) fn speaks_of(&self, pipeline: &str, sink: &str) -> bool {
        self.published.contains_key(&(pipeline.to_owned(), sink.to_owned()))
    }
}

/// Whether a topic is the first of a table, or one behind that: `shop.public.orders.g2`.
pub(super) fn is_of_table(topic: &str, source: &str, table: &str) -> bool {
    let Some((schema, table)) = table.split_once('.') else { return false };
    let first = topic_name(source, &TableName::new(schema, table));
    let rest = topic.strip_prefix(first.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(".g"))
}

/// The topic that a table had before those behind it: `shop.public.orders` of `shop.public.orders.g2`.
fn first_of(topic: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match topic.rsplit_once(".g") {
        Some((first, number)) if is_number(number) => first,
        _ => topic,
    }
}

fn masked(fields: &BTreeMap<String, CatalogField>) -> impl Iterator<Item = Vec<String>> {
    let masked = fields.iter().filter(|(_, field)| field.masked);
    masked.map(|(field, _)| path(field))
}

/// A field's path, as documents write it.
pub(crate) fn path(field: &str) -> Vec<String> {
    field.split('.').map(str::to_owned).collect()
}

impl<'d> Said<'d> {
    /// What a document says with an entry of its catalog.
    fn of(document: &'d Document, entry: Option<&'d CatalogEntry>) -> Self {
        let metadata = &document.metadata;
        let of_entry = |text: fn(&CatalogEntry) -> Option<&str>| entry.and_then(text);
        let tags = metadata.tags.iter().chain(entry.into_iter().flat_map(|entry| &entry.tags));
        Self {
            published_as: None,
            owner: of_entry(|entry| entry.owner.as_deref()).or(metadata.owner.as_deref()),
            description: of_entry(|entry| entry.description.as_deref())
                .or(metadata.description.as_deref()),
            tags: tags.map(String::as_str).collect(),
            fields: entry.map(|entry| &entry.fields),
        }
    }

    /// This, and what else is said behind it.
    pub(crate) fn before(self, other: Self) -> Self {
        let mut tags = self.tags;
        tags.extend(other.tags.into_iter().filter(|tag| !tags.contains(tag)).collect::<Vec<_>>());
        Self {
            published_as: self.published_as,
            owner: self.owner.or(other.owner),
            description: self.description.or(other.description),
            tags,
            fields: self.fields.or(other.fields),
        }
    }

    /// What is said of a field.
    pub(crate) fn field(&self, path: &str) -> Option<&'d CatalogField> {
        self.fields?.get(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tables_next_topics_are_its_own() {
        assert!(is_of_table("shop.public.orders", "shop", "public.orders"));
        assert!(is_of_table("shop.public.orders.g2", "shop", "public.orders"));
        assert!(!is_of_table("shop.public.orders_old", "shop", "public.orders"));
        assert!(!is_of_table("shop.public.orders", "other", "public.orders"));
        for (topic, first) in [
            ("shop.public.orders.g12", "shop.public.orders"),
            ("shop.public.orders", "shop.public.orders"),
            ("shop.gifts", "shop.gifts"),
            ("orders.g", "orders.g"),
        ] {
            assert_eq!(first_of(topic), first);
        }
    }
}
