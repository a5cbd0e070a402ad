//! Runs a pipeline: from its input topics to all of its output topics, exactly once.
//!
//! One append carries the output of a batch in every topic and how far the inputs were read, so that
//! either all of it is there or none. The job's epoch is taken before the offsets are read: an instance
//! that was paused is fenced with its next append. Offsets stand in the consumer group of the job, which
//! other tools see as any group.
//!
//! `until` says how far a job runs, `lost` what retention took before it came, `load` fills the tables of its
//! lookups, `work` is its loop, `flow` all that is between the topics, and `written` what it writes. `canary`
//! tries a plan before it takes the place of another one.
//!
//! **Lookups** are tables in memory, read from their topics' first records at each start and followed from
//! there. A record finds the row that the table has when it is processed: a row that changes later takes
//! nothing back of what was written, and neither does one that comes late. So what a job writes depends on
//! when it reads the lookup's topic; each record still has its effect exactly once. After a restart a
//! table is at least as new as it was before. Where a lookup decides whether a row comes through, an
//! update or delete of a row is passed on as one whose row before is not known: an update as an upsert,
//! one that finds nothing (any more) as a delete of its key, which may delete nothing.

mod canary;
mod flow;
mod load;
mod lost;
mod until;
mod work;
mod written;

pub use lost::{AcceptedLoss, Lost};
pub use until::{Cut, Until};

use crate::fused::{LOOKUP_BYTES_MAX, Lookups};
use crate::schemas::Schemas;
use crate::sdk::Processors;
use crate::sdk::stage::Stage;
use flow::Flow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use tidemesh_avro::envelope::SchemaIds;
use tidemesh_avro::schema::Schema;
use tidemesh_model::{CleanupPolicy, Error, ErrorKind, Result};
use tidemesh_plan::document::{OnError, Start};
use tidemesh_plan::mesh::{OutputPlan, PipelinePlan};
use tidemesh_plan::query::{Query, Step};
use tidemesh_plan::upgrade;
use tidemesh_transport::{GroupOffset, Outputs, TopicConfig, Transport, WriterEpoch};
use tokio::sync::watch;
use until::Bounds;
use work::{Takes, Work};
use written::{Places, Written};

/// How far a job has come: for each topic and partition the offset that it takes next.
type Offsets = BTreeMap<(String, u32), u64>;

/// A pipeline to run.
#[derive(Debug, Clone)]
pub struct PipelineJob {
    plan: Arc<PipelinePlan>,
    processors: Processors,
    lookup_bytes_max: usize,
    /// The newest schema of values of each topic that was judged.
    planned_by: BTreeMap<String, u32>,
    /// Behind which losses it goes on.
    accepted_loss: AcceptedLoss,
}

/// Why a job ended that did not fail.
#[derive(Debug)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// It has come to the cut that it was told: everything before it is answered for, nothing behind.
    AtCut,
    /// It stands before a record that it cannot read.
    Cannot(Cannot),
    /// Records that it has not answered for are gone: at least in one partition, and as far as is known now
    /// in all of them.
    Lost(Vec<Lost>),
}

/// A record whose schema the plan cannot read. All records of its partition before it are answered for.
#[derive(Debug)]
pub struct Cannot {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// Its value's schema in the registry.
    pub schema_id: u32,
    /// Why.
    pub error: Error,
}

/// What a job has done, for whoever watches it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Input records that are answered for.
    pub records_in: AtomicU64,
    /// Output records, of all outputs.
    pub records_out: AtomicU64,
    /// Records that could not be processed.
    pub dead_letters: AtomicU64,
    /// The timestamp of the newest input record that is answered for, in milliseconds since
    /// 1970-01-01 00:00:00 UTC.
    pub newest_ms: AtomicU64,
    /// Whether there was nothing more to read when it was looked last.
    pub caught_up: AtomicBool,
}

impl PipelineJob {
    /// The job of a plan without registered processors; as [`PipelineJob::with_processors`].
    ///
    /// # Errors
    ///
    /// As [`PipelineJob::with_processors`].
    pub fn new(plan: &PipelinePlan) -> Result<Self> {
        Self::with_processors(plan, &Processors::new())
    }

    /// The job of a plan, which finds its registered processors among these. It is compiled once to see
    /// that it can be.
    ///
    /// # Errors
    ///
    /// `Config` for a processor that is not registered, that declares something else than the plan was made
    /// with, or that refuses its configuration; `Unsupported` for what this runner cannot do; `Internal` for
    /// a plan that does not fit together.
    pub fn with_processors(plan: &PipelinePlan, processors: &Processors) -> Result<Self> {
        let job = Self {
            plan: Arc::new(plan.clone()),
            processors: processors.clone(),
            lookup_bytes_max: LOOKUP_BYTES_MAX,
            planned_by: BTreeMap::new(),
            accepted_loss: AcceptedLoss::new(),
        };
        job.compile().map_err(|error| error.with("pipeline", plan.name()))?;
        Ok(job)
    }

    /// Compiles all of it, to see that it can be.
    fn compile(&self) -> Result<()> {
        let flow = self.flow()?;
        let ids = SchemaIds { key: 0, value: 0 };
        let chain = |output| written::chain(&self.plan, output, ids, &flow.lookups).map(drop);
        self.plan.outputs.iter().try_for_each(chain)
    }

    /// What is before the outputs.
    fn flow(&self) -> Result<Flow> {
        let lookups = self.lookups()?;
        let stages = self.plan.stages.iter().map(|stage| {
            let made = Stage::new(stage, &self.plan, &lookups, &self.processors);
            made.map_err(|error| error.with("of", &stage.name))
        });
        let stages = stages.collect::<Result<_>>()?;
        Ok(Flow { lookups, stages, written: Vec::new() })
    }

    /// Sets the most bytes of memory that the tables of its lookups take; [`LOOKUP_BYTES_MAX`] unless it is
    /// set. A job whose tables need more fails with `TooLarge`.
    #[must_use]
    pub fn lookup_bytes_max(mut self, bytes: usize) -> Self {
        self.lookup_bytes_max = bytes;
        self
    }

    /// Says up to which schemas of values, by their ids, each topic was judged. The job ends before the
    /// first record with a later id: whoever started it judges that schema, and starts it again, perhaps
    /// by another plan. So no row goes through a plan that knows nothing of its fields. Without this no
    /// schema is taken for newer.
    #[must_use]
    pub fn planned_by(mut self, schemas: BTreeMap<String, u32>) -> Self {
        self.planned_by = schemas;
        self
    }

    /// Has it go on behind these losses when it starts, instead of ending ([`Ended::Lost`]). A partition of
    /// which more is gone by then has a loss that nobody has accepted: nothing of it is passed over.
    #[must_use]
    pub fn accept_loss(mut self, accepted: AcceptedLoss) -> Self {
        self.accepted_loss = accepted;
        self
    }

    /// Why records of a schema are not taken, if it is newer than what was judged.
    fn loses(&self, topic: &str, places: &[usize], id: u32, schema: &Schema) -> Option<Error> {
        if self.planned_by.get(topic).is_none_or(|planned| id <= *planned) {
            return None;
        }
        let lost = places.iter().find_map(|place| upgrade::loses(&self.plan, *place, schema));
        let wrong = Error::new(ErrorKind::Incompatible, "read a newer schema");
        Some(match lost {
            Some(lost) => wrong.because(lost).help(
                "apply the pipeline with what it shall read now: it goes on with this record",
            ),
            None => {
                wrong.because("it has not been judged yet").help("it is as soon as it is known")
            }
        })
    }

    /// The tables that rows are looked up in, empty.
    fn lookups(&self) -> Result<Lookups> {
        Lookups::new(self.queries(), &self.plan.tables, self.lookup_bytes_max)
    }

    /// All that is computed.
    fn queries(&self) -> impl Iterator<Item = &Query> {
        let edges = self.plan.stages.iter().flat_map(|stage| &stage.edges);
        let outputs = self.plan.outputs.iter().map(|output| &output.query);
        edges.map(|edge| &edge.query).chain(outputs)
    }

    /// Whether rows of a table are read.
    fn reads(&self, place: usize) -> bool {
        self.queries().flat_map(|query| &query.branches).any(|branch| branch.input == place)
    }

    /// Whether rows of a topic are read, by whichever of its inputs.
    fn reads_rows_of(&self, topic: &str) -> bool {
        let inputs = self.plan.inputs.iter().enumerate();
        inputs.filter(|(_, input)| input.topic == topic).any(|(place, _)| self.reads(place))
    }

    /// The inputs of a topic that something takes as tables or as rows.
    fn places_of(&self, lookups: &Lookups, topic: &str, takes: Takes) -> Vec<usize> {
        let inputs = self.plan.inputs.iter().enumerate();
        let of_topic = inputs.filter(|(_, input)| input.topic == topic);
        let taken = of_topic.filter(|(place, _)| {
            let is_table = lookups.inputs().any(|table| table == *place);
            match takes {
                Takes::Tables => is_table,
                Takes::Rows => !is_table && self.reads(*place),
            }
        });
        taken.map(|(place, _)| place).collect()
    }

    /// The topics of the inputs that are `wanted`, among those of which anything is read.
    fn topics(&self, wanted: impl Fn(usize) -> bool) -> Vec<String> {
        let steps = || self.queries().flat_map(|query| &query.branches).flat_map(|of| &of.steps);
        let looked_up = |place: usize| {
            steps().any(|step| matches!(step, Step::Lookup(lookup) if lookup.input == place))
        };
        let inputs = self.plan.inputs.iter().enumerate();
        let read = inputs.filter(|(place, _)| self.reads(*place) || looked_up(*place));
        let read = read.filter(|(place, _)| wanted(*place));
        let mut topics: Vec<String> = read.map(|(_, input)| input.topic.clone()).collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// The name under which the job writes and keeps its offsets: `pipeline.<name>`, as writer and as
    /// consumer group.
    #[must_use]
    pub fn id(&self) -> String {
        Self::id_of(self.plan.name())
    }

    /// The same by a pipeline's name.
    #[must_use]
    pub fn id_of(pipeline: &str) -> String {
        format!("pipeline.{pipeline}")
    }

    /// Runs until `until` says so, a record cannot be read, or something fails. Whoever sends `until`
    /// may drop it: then what it said last holds.
    ///
    /// Cancel-safe: a dropped call leaves what was appended, and the next run goes on from there.
    ///
    /// # Errors
    ///
    /// `Fenced` if another instance has taken over. `Incompatible` for output that its subject refuses.
    /// With `on_error: stop` what a record failed with, with its place. What the transport and the
    /// registry answer.
    pub async fn run<T: Transport, S: Schemas>(
        &self,
        transport: &T,
        schemas: &S,
        progress: &Progress,
        until: watch::Receiver<Until>,
    ) -> Result<Ended> {
        let ran = self.run_here(transport, schemas, progress, until).await;
        ran.map_err(|error| error.with("pipeline", self.plan.name()))
    }

    async fn run_here<T: Transport, S: Schemas>(
        &self,
        transport: &T,
        schemas: &S,
        progress: &Progress,
        until: watch::Receiver<Until>,
    ) -> Result<Ended> {
        let mut outputs = Outputs::default();
        outputs.bound(transport.record_bytes_max());
        let mut flow = self.flow()?;
        for output in &self.plan.outputs {
            let (ids, places) = open(output, transport, schemas, &mut outputs).await?;
            let chain = written::chain(&self.plan, output, ids, &flow.lookups)?;
            flow.written.push(Written { name: output.name.clone(), chain, places });
        }
        flow.learn_tables(&self.plan.tables)?;
        let letters = self.make_dead_letters(transport, &mut outputs).await?;
        let writer = transport.open_writer(&self.id()).await?;
        let mut committed = self.offsets(transport, &writer).await?;
        let (retained, lost) = self.look_for_lost(transport, &writer, &mut committed).await?;
        if !lost.is_empty() {
            return Ok(Ended::Lost(lost));
        }
        let work = Work {
            job: self,
            flow,
            schemas,
            progress,
            outputs,
            letters,
            writer,
            committed,
            retained,
            loaded: Offsets::new(),
            bounds: Bounds::default(),
        };
        work.run(transport, until).await
    }

    /// Makes the dead letters' topic; answers its place in the append.
    async fn make_dead_letters<T: Transport>(
        &self,
        transport: &T,
        outputs: &mut Outputs,
    ) -> Result<Option<usize>> {
        let OnError::DeadLetter { topic } = &self.plan.on_error else { return Ok(None) };
        let config =
            TopicConfig { cleanup_policy: CleanupPolicy::Delete, ..TopicConfig::default() };
        transport.create_topic(topic, &config).await?;
        Ok(Some(outputs.of(topic, 1)))
    }

    /// How far the job has come. Where "latest" is, is kept: it must not move with each start.
    async fn offsets<T: Transport>(&self, transport: &T, writer: &WriterEpoch) -> Result<Offsets> {
        let mut offsets = transport.committed(&self.id()).await?;
        let mut first = Vec::new();
        for input in self.plan.inputs.iter().filter(|input| input.start == Some(Start::Latest)) {
            // A table that has gone over to this topic was followed before: nothing of it is skipped.
            if lost::followed_before(&input.topic, &offsets) {
                continue;
            }
            let info = transport.topic(&input.topic).await?;
            for (partition, at) in (0..).zip(&info.partitions) {
                let place = (input.topic.clone(), partition);
                if !offsets.contains_key(&place) {
                    first.push((place, at.end));
                }
            }
        }
        self.commit(first, transport, writer, &mut offsets).await?;
        Ok(offsets)
    }

    fn offset(&self, topic: &str, partition: u32, offset: u64) -> GroupOffset {
        GroupOffset { group: self.id(), topic: topic.to_owned(), partition, offset }
    }
}

/// Makes an output's topic and registers its schemas.
async fn open<T: Transport, S: Schemas>(
    output: &OutputPlan,
    transport: &T,
    schemas: &S,
    outputs: &mut Outputs,
) -> Result<(SchemaIds, Places)> {
    let (key, value) = (output.schemas.key.as_deref(), &output.schemas.value);
    // Subjects are named as readers see the topic.
    let subject = format!("{}{}", transport.topic_prefix(), output.topic);
    let ids = schemas.register_topic(&subject, key, value).await?;
    let info = transport.create_topic(&output.topic, &config(output)).await?;
    let partitions = u32::try_from(info.partitions.len().max(1)).map_err(|_| {
        Error::new(ErrorKind::TooLarge, "run a pipeline").with("topic", &output.topic)
    })?;
    let first = outputs.of(&output.topic, partitions);
    Ok((ids, Places { partitions, first, next: 0 }))
}

/// How an output's topic is made if it is not there.
fn config(output: &OutputPlan) -> TopicConfig {
    let settings = &output.settings;
    TopicConfig {
        partitions: settings.partitions,
        cleanup_policy: settings.cleanup_policy,
        retention_ms: settings.retention_ms,
        retention_bytes: settings.retention_bytes,
        ..TopicConfig::default()
    }
}
