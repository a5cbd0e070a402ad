//! Of which topics nobody knows what is to be masked: nothing of them, nor of what is made of them, is shown.

use super::Catalog;
use super::mask::gives_values;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::mesh::MeshPlan;
use tidemesh_transport::Announced;

/// Why it is not known of a topic.
#[derive(Debug)]
pub(super) enum Unsaid<'c> {
    /// Nothing is said of it, nor of whoever announces it.
    Announced(&'c Announced),
    /// Of this pipeline there are records in it, and no plan says any more what they are made of.
    Written(&'c str),
}

impl Catalog {
    /// A topic that rows of this one come from, of which it is not known what is to be masked.
    pub(super) fn unsaid(&self, topic: &str) -> Result<Option<Error>> {
        let mesh = self.planned.mesh()?;
        let upstream = mesh.graph().upstream(topic, &[]);
        let from = upstream.fields.iter().filter(|from| gives_values(from));
        let mut topics = std::iter::once(topic).chain(from.map(|from| from.topic.as_str()));
        Ok(topics.find_map(|from| Some(self.why_unsaid(from, mesh)?.refusal(topic, from))))
    }

    fn why_unsaid(&self, topic: &str, mesh: &MeshPlan) -> Option<Unsaid<'_>> {
        let mut outputs = mesh.pipelines.iter().flat_map(|plan| &plan.outputs);
        if outputs.any(|output| output.topic == topic) {
            return None;
        }
        if let Some(pipeline) = self.sayings.wrote(topic) {
            return Some(Unsaid::Written(pipeline));
        }
        let announced = self.announced.get(topic)?;
        let is_said = self.sayings.knows(&announced.source) || self.sayings.knows_topic(topic);
        (!is_said).then_some(Unsaid::Announced(announced))
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
