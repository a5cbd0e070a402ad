//! Where each field of the mesh comes from and goes, over all its pipelines.
//!
//! A node is a field of a topic, an edge the way that it takes through a pipeline to a field of a topic
//! that this writes. A registered processor is a node of its own: all that it declares to read may be
//! in all that it makes, since no more is known. A record and the fields within it are related: who asks
//! for `shipping` is told of what reads `shipping.city`, and conversely. What is found has a bound.

pub(super) mod build;

use super::{MeshPlan, OutputKind, OutputPlan, Path};
use crate::lineage::Via;
use build::{Flows, From, Taken, Takes};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The most steps that one question follows.
pub const FOUND_MAX: usize = 20_000;

/// The mesh's lineage.
#[derive(Debug)]
pub struct Graph<'p> {
    pipelines: Vec<Flows<'p>>,
    /// Which pipeline and output write a topic.
    writers: HashMap<&'p str, (usize, usize)>,
    /// Which pipelines read a topic, by which inputs.
    readers: HashMap<&'p str, Vec<(usize, usize)>>,
}

/// Where a field comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Upstream {
    /// The fields, on all topics on the way, by topic and path.
    pub fields: Vec<Whence>,
    /// Whether there is more, which was not followed.
    pub truncated: bool,
}

/// A field that another one comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whence {
    /// Its topic.
    pub topic: String,
    /// Its names in Avro, from the row on.
    pub path: Path,
    /// The way from it to the field that was asked for: of all steps the one that changes most; if
    /// one of them only decides, that.
    pub via: Via,
    /// The pipeline that writes its topic; none for a field of a source.
    pub writer: Option<String>,
}

/// Who reads a field.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Downstream {
    /// The pipelines, by their names.
    pub readers: Vec<Reader>,
    /// The fields that it, or a part of it, is in or decides the value of.
    pub fields: Vec<Reached>,
    /// Whether there is more, which was not followed.
    pub truncated: bool,
}

/// A pipeline that reads a field, or one that was made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// The pipeline.
    pub pipeline: String,
    /// Its processors that do so.
    pub processors: BTreeSet<String>,
    /// Its sinks whose records have something of it; a tap is its processor.
    pub sinks: BTreeSet<String>,
    /// How.
    pub ways: BTreeSet<Via>,
}

/// A field that another one reaches.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    /// Its topic.
    pub topic: String,
    /// Its names in Avro, from the row on.
    pub path: Path,
    /// The way there, as [`Whence::via`].
    pub via: Via,
    /// The pipeline that writes it.
    pub pipeline: String,
}

impl Reader {
    /// Whether it only decides by the field, and what it writes has nothing of it.
    #[must_use]
    pub fn only_decides(&self) -> bool {
        !self.ways.iter().any(|via| via.direct())
    }
}

impl<'p> Graph<'p> {
    pub(super) fn new(plan: &'p MeshPlan) -> Self {
        let pipelines: Vec<Flows<'p>> = plan.pipelines.iter().map(Flows::of).collect();
        let mut graph = Self { pipelines, writers: HashMap::new(), readers: HashMap::new() };
        for (place, pipeline) in plan.pipelines.iter().enumerate() {
            for (output, of) in pipeline.outputs.iter().enumerate() {
                graph.writers.insert(&of.topic, (place, output));
            }
            for (input, of) in pipeline.inputs.iter().enumerate() {
                graph.readers.entry(&of.topic).or_default().push((place, input));
            }
        }
        graph
    }

    /// Whether a pipeline of the mesh reads or writes a topic.
    #[must_use]
    pub fn knows(&self, topic: &str) -> bool {
        self.writers.contains_key(topic) || self.readers.contains_key(topic)
    }

    /// Where a field comes from, over all pipelines to the sources, with what decides which rows
    /// there are. An empty path is the whole row. Nothing comes before a field of a source.
    #[must_use]
    pub fn upstream(&self, topic: &str, path: &[String]) -> Upstream {
        let mut walk = Up { graph: self, seen: BTreeSet::new(), open: Vec::new() };
        walk.rows_of(topic);
        walk.open.push((Node::Topic(topic), path.to_vec(), Via::Identity));
        let truncated = walk.run();
        let asked = (Node::Topic(topic), path.to_vec(), Via::Identity);
        let found = walk.seen.iter().filter(|found| **found != asked);
        let fields = found.filter_map(|(node, path, via)| match node {
            Node::Topic(topic) => Some(Whence {
                topic: (*topic).to_owned(),
                path: path.clone(),
                via: *via,
                writer: self.writers.get(topic).map(|(place, _)| self.name(*place).to_owned()),
            }),
            Node::Stage(..) => None,
        });
        Upstream { fields: fields.collect(), truncated }
    }

    /// Who reads a field: directly, or what was made of it. What only decides which rows a pipeline
    /// writes is followed to that pipeline, and not beyond it. An empty path is the whole row.
    #[must_use]
    pub fn downstream(&self, topic: &str, path: &[String]) -> Downstream {
        let mut walk = Down {
            graph: self,
            readers: BTreeMap::new(),
            reached: BTreeSet::new(),
            open: vec![(topic.to_owned(), path.to_vec(), Via::Identity)],
        };
        let truncated = walk.run();
        Downstream {
            readers: walk.readers.into_values().collect(),
            fields: walk.reached.into_iter().collect(),
            truncated,
        }
    }

    fn name(&self, pipeline: usize) -> &'p str {
        self.pipelines[pipeline].plan.name()
    }
}

/// Something that fields are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node<'g> {
    Topic(&'g str),
    /// A pipeline's registered processor.
    Stage(usize, usize),
}

/// A question that goes upstream.
struct Up<'g> {
    graph: &'g Graph<'g>,
    seen: BTreeSet<(Node<'g>, Path, Via)>,
    open: Vec<(Node<'g>, Path, Via)>,
}

impl<'g> Up<'g> {
    /// Follows what is open; answers whether something is left.
    fn run(&mut self) -> bool {
        while let Some((node, path, via)) = self.open.pop() {
            if self.seen.len() >= FOUND_MAX {
                return true;
            }
            if self.seen.insert((node, path.clone(), via)) {
                self.values(node, &path, via);
            }
        }
        false
    }

    /// What the values of a field, or of all, are taken from.
    fn values(&mut self, node: Node<'g>, path: &[String], via: Via) {
        let Some((pipeline, takes)) = self.takes(node) else { return };
        let (wanted, within) = match (node, path.split_first()) {
            (Node::Topic(_), Some((column, within))) => (Some(column), within),
            _ => (None, path),
        };
        for (name, taken) in &takes.columns {
            if wanted.is_none_or(|wanted| wanted == name) {
                let next = taken.iter().map(|taken| self.at(pipeline, taken, within, via));
                self.open.extend(next.collect::<Vec<_>>());
            }
        }
    }

    fn at(
        &self,
        pipeline: usize,
        taken: &Taken,
        within: &[String],
        via: Via,
    ) -> (Node<'g>, Path, Via) {
        let mut path = taken.path.clone();
        if taken.via == Via::Identity && matches!(taken.from, From::Input(_)) {
            path.extend_from_slice(within);
        }
        (self.node(pipeline, taken.from), path, taken.via.then(via))
    }

    fn node(&self, pipeline: usize, from: From) -> Node<'g> {
        match from {
            From::Input(input) => {
                Node::Topic(&self.graph.pipelines[pipeline].plan.inputs[input].topic)
            }
            From::Stage(stage) => Node::Stage(pipeline, stage),
        }
    }

    /// What a topic or registered processor takes.
    fn takes(&self, node: Node<'g>) -> Option<(usize, &'g Takes)> {
        match node {
            Node::Topic(topic) => {
                let (pipeline, output) = *self.graph.writers.get(topic)?;
                Some((pipeline, &self.graph.pipelines[pipeline].outputs[output]))
            }
            Node::Stage(pipeline, stage) => {
                Some((pipeline, &self.graph.pipelines[pipeline].stages[stage]))
            }
        }
    }

    /// Opens what decides which rows a topic has, here and on all topics before it.
    fn rows_of(&mut self, topic: &str) {
        let Some((topic, _)) = self.graph.writers.get_key_value(topic) else { return };
        let mut seen = BTreeSet::new();
        let mut open = vec![Node::Topic(topic)];
        while let Some(node) = open.pop() {
            if !seen.insert(node) {
                continue;
            }
            let Some((pipeline, takes)) = self.takes(node) else { continue };
            for taken in &takes.rows {
                let next = (self.node(pipeline, taken.from), taken.path.clone(), taken.via);
                self.open.push(next);
            }
            open.extend(takes.of.iter().map(|from| self.node(pipeline, *from)));
        }
    }
}

/// A question that goes downstream.
struct Down<'g> {
    graph: &'g Graph<'g>,
    readers: BTreeMap<&'g str, Reader>,
    reached: BTreeSet<Reached>,
    open: Vec<(String, Path, Via)>,
}

/// A field at a pipeline's input.
struct Arrival<'a> {
    input: usize,
    path: &'a [String],
    via: Via,
    /// The registered processors that it comes to, by which ways.
    stages: BTreeMap<usize, BTreeSet<Via>>,
}

impl<'g> Down<'g> {
    /// Follows what is open; answers whether something is left.
    fn run(&mut self) -> bool {
        let mut seen: BTreeSet<(String, Path, Via)> = BTreeSet::new();
        while let Some(next) = self.open.pop() {
            if seen.len() >= FOUND_MAX {
                return true;
            }
            if seen.insert(next.clone()) {
                self.arrive(&next.0, &next.1, next.2);
            }
        }
        false
    }

    fn arrive(&mut self, topic: &str, path: &[String], via: Via) {
        let graph = self.graph;
        for (pipeline, input) in graph.readers.get(topic).into_iter().flatten() {
            let flows = &graph.pipelines[*pipeline];
            let mut arrival = Arrival { input: *input, path, via, stages: BTreeMap::new() };
            self.stages(flows, &mut arrival);
            self.queries(flows, &arrival);
            for (takes, output) in flows.outputs.iter().zip(&flows.plan.outputs) {
                self.output(flows, takes, output, &arrival);
            }
        }
    }

    fn reader(&mut self, flows: &Flows<'g>) -> &mut Reader {
        let name = flows.plan.name();
        self.readers.entry(name).or_insert_with(|| Reader {
            pipeline: name.to_owned(),
            processors: BTreeSet::new(),
            sinks: BTreeSet::new(),
            ways: BTreeSet::new(),
        })
    }

    fn stages(&mut self, flows: &Flows<'g>, arrival: &mut Arrival<'_>) {
        for (place, takes) in flows.stages.iter().enumerate() {
            let values = takes.columns.iter().flat_map(|(_, taken)| taken);
            let ways: BTreeSet<Via> = values.flat_map(|taken| arrival.ways(taken)).collect();
            let all = arrival.all_ways(takes);
            if !all.is_empty() {
                let name = flows.plan.stages[place].name.clone();
                let reader = self.reader(flows);
                reader.processors.insert(name);
                reader.ways.extend(all);
            }
            if !ways.is_empty() {
                arrival.stages.insert(place, ways);
            }
        }
    }

    fn queries(&mut self, flows: &Flows<'g>, arrival: &Arrival<'_>) {
        for (takes, query) in flows.queries.iter().zip(&flows.plan.queries) {
            let ways = arrival.all_ways(takes);
            if !ways.is_empty() {
                let reader = self.reader(flows);
                reader.processors.insert(query.name.clone());
                reader.ways.extend(ways);
            }
        }
    }

    fn output(
        &mut self,
        flows: &Flows<'g>,
        takes: &Takes,
        output: &OutputPlan,
        arrival: &Arrival<'_>,
    ) {
        let ways = arrival.all_ways(takes);
        if !ways.is_empty() {
            self.reader(flows).ways.extend(ways);
        }
        for (name, taken) in &takes.columns {
            for taken in taken {
                let within = arrival.within(taken);
                let path: Path = std::iter::once(name).chain(within).cloned().collect();
                for via in arrival.ways(taken) {
                    self.reach(flows, output, path.clone(), via);
                }
            }
        }
    }

    fn reach(&mut self, flows: &Flows<'g>, output: &OutputPlan, path: Path, via: Via) {
        if output.kind == OutputKind::Sink {
            self.reader(flows).sinks.insert(output.name.clone());
        }
        let reached = Reached {
            topic: output.topic.clone(),
            path: path.clone(),
            via,
            pipeline: flows.plan.name().to_owned(),
        };
        if self.reached.insert(reached) {
            self.open.push((output.topic.clone(), path, via));
        }
    }
}

impl Arrival<'_> {
    /// The ways by which it is in, or decides, what is taken.
    fn ways(&self, taken: &Taken) -> Vec<Via> {
        match taken.from {
            From::Input(input) if input == self.input && related(&taken.path, self.path) => {
                vec![self.via.then(taken.via)]
            }
            From::Input(_) => Vec::new(),
            From::Stage(stage) => {
                let ways = self.stages.get(&stage).into_iter().flatten();
                ways.map(|via| via.then(taken.via)).collect()
            }
        }
    }

    /// The ways by which it is in, or decides, anything that a query takes.
    fn all_ways(&self, takes: &Takes) -> BTreeSet<Via> {
        let values = takes.columns.iter().flat_map(|(_, taken)| taken);
        values.chain(&takes.rows).flat_map(|taken| self.ways(taken)).collect()
    }

    /// The names that lead on to it within a column that is something around it, as it is.
    fn within(&self, taken: &Taken) -> &[String] {
        match (taken.from, taken.via) {
            (From::Input(_), Via::Identity) => {
                self.path.get(taken.path.len()..).unwrap_or_default()
            }
            _ => &[],
        }
    }
}

/// Whether two fields are one, or one is within the other.
fn related(one: &[String], other: &[String]) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}
