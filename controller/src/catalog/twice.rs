//! Documents of sources that speak of one topic: a connector's by its catalog of the table, and the topic's own. Which
//! of them is meant nobody could tell.

use super::said::is_of_table;
use crate::controller::{Controller, Refused};
use crate::proposal::Handed;
use crate::state::Id;
use crate::topics::Registry;
use std::collections::BTreeMap;
use std::sync::Arc;
use tidemesh_plan::document::{CatalogEntry, Document, SourceSpec, Spec};
use tidemesh_plan::{Problem, Problems};

/// What connectors' documents say of their tables, by the sources' names.
type Connectors<'d> = BTreeMap<&'d str, (&'d Document, &'d BTreeMap<String, CatalogEntry>)>;

impl<R: Registry> Controller<R> {
    /// Of what was handed in nothing may speak of a topic of which one of `all` documents does.
    pub(crate) fn check_catalog(
        &self,
        all: &[Arc<Document>],
        handed: &Handed,
    ) -> Result<(), Refused> {
        match told_twice(all, handed) {
            problems if problems.is_empty() => Ok(()),
            problems => Err(Refused::Wrong(handed.refusals(Problems(problems)))),
        }
    }
}

fn told_twice(all: &[Arc<Document>], handed: &Handed) -> Vec<Problem> {
    let (ids, connectors) = (handed.ids(), connectors(all));
    let mut problems = Vec::new();
    for document in all {
        let Spec::Source(SourceSpec::Topic { topic, .. }) = &document.spec else { continue };
        let source = topic.split('.').next().unwrap_or_default();
        let Some((connector, catalog)) = connectors.get(source) else { continue };
        let Some(table) = catalog.keys().find(|table| is_of_table(topic, source, table)) else {
            continue;
        };
        if ids.contains(&Id::of(document)) {
            problems.push(of_topic(document, topic, source, table));
        } else if ids.contains(&Id::of(connector)) {
            problems.push(of_table(connector, table, document.name(), topic));
        }
    }
    problems
}

fn connectors(all: &[Arc<Document>]) -> Connectors<'_> {
    let connectors = all.iter().filter_map(|document| match &document.spec {
        Spec::Source(SourceSpec::Connector { catalog, .. }) => {
            Some((document.name(), (document.as_ref(), catalog)))
        }
        _ => None,
    });
    connectors.collect()
}

fn of_topic(document: &Document, topic: &str, source: &str, table: &str) -> Problem {
    let message =
        format!("the source `{source}` speaks of `{topic}` too, by its catalog of `{table}`");
    document.problem("spec.topic", message).help("say all of it there, or leave that out")
}

fn of_table(connector: &Document, table: &str, source: &str, topic: &str) -> Problem {
    let message = format!("the source `{source}` speaks of its topic `{topic}` too");
    let problem = connector.problem(&format!("spec.catalog[{table:?}]"), message);
    problem.help(format!("say all of it here, and delete the source {source}"))
}
