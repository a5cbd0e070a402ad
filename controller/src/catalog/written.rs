//! Which topics pipelines have written, by the revisions of them that the store keeps: those that were removed,
//! and those that write to another topic now. Their records are there still.

use crate::state::State;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use tidemesh_plan::document::Kind;

/// A pipeline, and its sink; none for a tap or for dead letters.
type Output = (String, Option<String>);

/// What has written each topic.
#[derive(Debug, Default)]
pub(crate) struct Written(BTreeMap<String, BTreeSet<Output>>);

impl Written {
    pub(crate) fn of(state: &State) -> Self {
        let pipelines = state.revisions.iter().filter(|(id, _)| id.kind == Kind::Pipeline);
        let revisions = pipelines.flat_map(|(id, all)| all.iter().map(move |one| (id, one)));
        let outputs = revisions.flat_map(|(id, revision)| {
            let topics = topics(&revision.document["spec"]);
            topics.map(move |(topic, sink)| (topic, id.name.as_str(), sink))
        });
        // Most revisions say of topics what those before them said.
        let outputs: BTreeSet<(&str, &str, Option<&str>)> = outputs.collect();
        let mut written = Self::default();
        for (topic, pipeline, sink) in outputs {
            let output = (pipeline.to_owned(), sink.map(str::to_owned));
            written.0.entry(topic.to_owned()).or_default().insert(output);
        }
        written
    }

    /// A pipeline that has written a topic.
    pub(crate) fn by(&self, topic: &str) -> Option<&str> {
        self.0.get(topic)?.first().map(|(pipeline, _)| pipeline.as_str())
    }

    /// The sinks that have written a topic, each with its pipeline.
    pub(crate) fn sinks(&self, topic: &str) -> impl Iterator<Item = (&str, &str)> {
        let outputs = self.0.get(topic).into_iter().flatten();
        outputs.filter_map(|(pipeline, sink)| Some((pipeline.as_str(), sink.as_deref()?)))
    }
}

/// The topics that a pipeline writes by its specification in the canonical form, and by which sinks.
fn topics(spec: &Json) -> impl Iterator<Item = (&str, Option<&str>)> {
    let list = |name: &str| spec[name].as_array().into_iter().flatten();
    let sinks = list("sinks")
        .filter_map(|sink| Some((sink["kafka"]["topic"].as_str()?, sink["name"].as_str())));
    let taps = list("processors").filter_map(|processor| processor["tap"].as_str());
    let letters = spec["dead_letter_topic"].as_str();
    sinks.chain(taps.chain(letters).map(|topic| (topic, None)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_plan::document::{Spec, parse};

    #[test]
    fn all_topics_of_a_document_are_found_in_its_canonical_form() {
        let text = "apiVersion: tidemesh/v1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n  inputs: {a: t}\n  \
                    processors: [{name: one, sql: SELECT id FROM a, tap: tapped}]\n  sinks: [{name: s, from: \
                    one, kafka: {topic: out}}, {name: r, from: a, kafka: {topic: rest}}]\n  on_error: \
                    dead_letter\n  dead_letter_topic: letters\n";
        let document = parse(text).unwrap().remove(0);
        let json = document.to_json();
        let found: BTreeMap<&str, Option<&str>> = topics(&json["spec"]).collect();
        let expected =
            [("letters", None), ("out", Some("s")), ("rest", Some("r")), ("tapped", None)];
        assert_eq!(found, BTreeMap::from(expected));
        let Spec::Pipeline(spec) = &document.spec else { panic!("it is a pipeline") };
        let written: BTreeSet<&str> = spec.topics_written().map(|(_, topic)| topic).collect();
        assert!(found.into_keys().eq(written), "all that it writes");
    }
}
