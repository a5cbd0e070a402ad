//! One pipeline planned by itself, from the topics that are handed in, so that what is wrong with one
//! says nothing of others.

use crate::document::{Document, Evolution, InputFrom, PipelineSpec, ProcessorKind, Spec};
use crate::mesh::{Accepted, InputPlan, PipelinePlan, Topic, Topics, plan};
use crate::relation::Relation;
use crate::{Problem, Problems};
use std::collections::{BTreeMap, BTreeSet};

/// A pipeline's document, with what it is planned by beside it.
pub(super) struct Replan<'d> {
    pub(super) document: &'d Document,
    pub(super) spec: &'d PipelineSpec,
    /// The documents of registered processors.
    pub(super) processors: &'d [&'d Document],
    /// The inputs as the running plan has them.
    pub(super) inputs: &'d [InputPlan],
}

/// Which fields a star takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields {
    /// Those that the document says.
    AsSaid,
    /// Those that it took before.
    Frozen,
}

impl Replan<'_> {
    /// A plan over these topics, one for each input by its name.
    ///
    /// # Errors
    ///
    /// What is wrong with the pipeline.
    pub(super) fn plan(
        &self,
        of_inputs: &BTreeMap<&str, (&str, Topic)>,
        fields: Fields,
    ) -> Result<PipelinePlan, Problems> {
        let mut document = self.document.clone();
        let spec = PipelineSpec { evolution: self.evolution(fields), ..self.rewritten(of_inputs) };
        document.spec = Spec::Pipeline(spec);
        let mut documents = vec![document];
        documents.extend(self.registered().cloned());
        let topics: Topics =
            of_inputs.values().map(|(name, topic)| ((*name).to_owned(), topic.clone())).collect();
        let accepted =
            Accepted::from([(self.document.name().to_owned(), self.accepted(of_inputs))]);
        let planned = plan(&documents, &topics, &accepted)?.pipelines.into_iter().next();
        let mut planned = planned.ok_or_else(|| {
            Problems::from(
                Problem::new(self.document.name(), "it is no pipeline")
                    .help("declare it as kind: Pipeline"),
            )
        })?;
        self.name_origins(&mut planned);
        Ok(planned)
    }

    fn evolution(&self, fields: Fields) -> Evolution {
        match fields {
            Fields::AsSaid => self.spec.evolution,
            Fields::Frozen => Evolution::Pinned,
        }
    }

    /// The pipeline with topics in place of published sources and of tables' former topics.
    fn rewritten(&self, of_inputs: &BTreeMap<&str, (&str, Topic)>) -> PipelineSpec {
        let mut spec = self.spec.clone();
        for (name, input) in &mut spec.inputs {
            if let Some((topic, _)) = of_inputs.get(name.as_str()) {
                input.from = InputFrom::Topic((*topic).to_owned());
            }
        }
        spec
    }

    /// The documents of the processors that it names.
    fn registered(&self) -> impl Iterator<Item = &Document> {
        let named = |document: &&&Document| {
            self.spec.processors.iter().any(|step| match &step.kind {
                ProcessorKind::Registered { processor, .. } => processor.name == document.name(),
                ProcessorKind::Sql { .. } => false,
            })
        };
        self.processors.iter().filter(named).copied()
    }

    /// What the running plan took, and what of that is called otherwise now.
    fn accepted(
        &self,
        of_inputs: &BTreeMap<&str, (&str, Topic)>,
    ) -> BTreeMap<String, BTreeSet<String>> {
        let of = |input: &InputPlan| {
            let mut accepted = input.accepted.clone();
            if let Some((_, topic)) = of_inputs.get(input.name.as_str()) {
                accepted.extend(renamed(topic, &input.accepted));
            }
            (input.name.clone(), accepted)
        };
        self.inputs.iter().map(of).collect()
    }

    /// An input is called as the document calls it, whatever topic it is read from.
    fn name_origins(&self, planned: &mut PipelinePlan) {
        for input in &mut planned.inputs {
            if let Some(before) = self.inputs.iter().find(|before| before.name == input.name) {
                input.source.clone_from(&before.source);
                input.writer.clone_from(&before.writer);
            }
        }
    }
}

/// The columns that had an accepted name which no column has now.
fn renamed(topic: &Topic, accepted: &BTreeSet<String>) -> BTreeSet<String> {
    let Ok(relation) = Relation::of_topic(topic.key.clone(), topic.value.clone()) else {
        return BTreeSet::new();
    };
    let is_there = |name: &String| {
        let columns = 0..relation.columns.len();
        columns.clone().any(|place| relation.field(place).name == *name)
    };
    let was = |place: &usize| {
        let aliases = &relation.field(*place).aliases;
        aliases.iter().any(|alias| accepted.contains(alias) && !is_there(alias))
    };
    let columns = (0..relation.columns.len()).filter(was);
    columns.map(|place| relation.columns[place].name.clone()).collect()
}
