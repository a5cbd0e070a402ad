//! Of which topics nobody knows what is to be masked: nothing of them, nor of what is made of them, is shown.

use super::Catalog;
use super::mask::gives_values;
use std::collections::HashSet;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_transport::Announced;

/// Why it is not known of a topic.
#[derive(Debug)]
enum Unsaid<'c> {
    /// Nothing is said of it, nor of whoever announces it.
    Announced(&'c Announced),
    /// Nothing is said of it, and nobody announces it.
    Unknown,
    /// Of this pipeline there are records in it, and no plan says any more what they are made of.
    Written(&'c str),
}

impl Catalog {
    /// Why nothing of a topic is shown, if nobody knows what is to be masked of it, or of one that its rows come
    /// from.
    pub(super) fn unsaid(&self, topic: &str) -> Result<Option<Error>> {
        let mesh = self.planned.mesh()?;
        let outputs = mesh.pipelines.iter().flat_map(|plan| &plan.outputs);
        let written: HashSet<&str> = outputs.map(|output| output.topic.as_str()).collect();
        let upstream = mesh.graph().upstream(topic, &[]);
        let from = upstream.fields.iter().filter(|from| gives_values(from));
        let topics = std::iter::once(topic).chain(from.map(|from| from.topic.as_str()));
        let mut others = topics.filter(|topic| !written.contains(topic));
        Ok(others.find_map(|from| Some(self.why_unsaid(from)?.refusal(topic, from))))
    }

    /// Of a topic that no plan writes.
    fn why_unsaid(&self, topic: &str) -> Option<Unsaid<'_>> {
        if let Some(pipeline) = self.sayings.wrote(topic) {
            return Some(Unsaid::Written(pipeline));
        }
        if self.sayings.knows_topic(topic) {
            return None;
        }
        match self.announced.get(topic) {
            Some(one) => (!self.sayings.knows(&one.source)).then_some(Unsaid::Announced(one)),
            None => (!self.sayings.knows_table(topic)).then_some(Unsaid::Unknown),
        }
    }
}

impl Unsaid<'_> {
    /// Samples of a topic are refused since this is so of one that it comes from.
    fn refusal(&self, topic: &str, from: &str) -> Error {
        let refused = |why: &str| {
            let error = Error::new(ErrorKind::Config, "sample a topic").because(why);
            error.with("topic", topic).with("its_topic", from)
        };
        match self {
            Self::Announced(announced) => refused(
                "no document and no configuration says what is masked of the source that it comes from",
            )
            .with("source", &announced.source)
            .help(
                "name the source in controller.sources if nothing of it is to be masked, or run it by a document, \
                 whose catalog says what is; of an emitter's topic a Source with spec.topic says it",
            ),
            Self::Unknown => refused(
                "nobody announces a topic that it comes from, and no document says what is masked of that",
            )
            .help("apply a Source with spec.topic, whose catalog says it"),
            Self::Written(pipeline) => refused(
                "records of a pipeline are in it, of which no plan says what they are made of, so that nobody knows \
                 what of them is masked",
            )
            .with("pipeline", pipeline)
            .help(
                "have the pipeline write it again; what others write can be shown in a topic of their own",
            ),
        }
    }
}
