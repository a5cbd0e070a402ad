//! A registered processor within a pipeline's job: its edges, what they hand it, and what it makes, which is
//! a table for whatever is behind it.

use super::write::TABLE_SCHEMA_ID;
use super::{
    Batch, Factory, OUTPUT_BYTES_MAX, Output, Process, Processors, Record, RowWriter, guarded,
};
use crate::fused::{Chain, ChangeReader, InputRecord, Lookups, ROWS_MAX, RecordOut};
use serde_json::Value as Json;
use std::ops::Range;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Operation, Result};
use tidemesh_plan::mesh::{Edge, PipelinePlan, StagePlan};

/// One registered processor at work.
pub(crate) struct Stage {
    pub(crate) name: String,
    /// Its type, for errors.
    reference: String,
    of: Arc<dyn Factory>,
    config: Option<Json>,
    processor: Box<dyn Process>,
    edges: Vec<StageEdge>,
    writer: RowWriter,
    /// The place of what it makes among the plan's tables.
    pub(crate) table: usize,
    pub(crate) made: Made,
}

/// One input of a processor.
#[derive(Debug)]
struct StageEdge {
    /// The input's name in the declaration.
    name: String,
    chain: Chain,
    reader: ChangeReader,
    /// What waits to be processed.
    records: Vec<Record>,
}

/// What a processor has made of a batch of its pipeline's input.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    records: Vec<MadeRecord>,
}

#[derive(Debug)]
struct MadeRecord {
    offset: u64,
    timestamp_ms: i64,
    position: Option<Range<usize>>,
    operation: Option<Operation>,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
}

/// Is told of records that cannot be processed, by their offsets.
pub(crate) trait Failed {
    /// # Errors
    ///
    /// The error itself, to stop.
    fn failed(&mut self, offset: u64, error: Error) -> Result<()>;
}

/// Whether the registered type is what the plan was made with.
fn check(stage: &StagePlan, plan: &PipelinePlan, of: &dyn Factory) -> Result<()> {
    let declaration = of.declaration();
    let inputs = declaration.input_schemas()?;
    let declared = stage.edges.iter().map(|edge| (&edge.name, edge.declared.registry_text()));
    let registered = inputs.iter().map(|(name, schema)| (name, schema.registry_text()));
    let writer = RowWriter::new(declaration.output_schema()?, declaration.key())?;
    let table = &plan.tables[stage.table].relation;
    let text = |schema: &Option<tidemesh_avro::schema::Schema>| {
        schema.as_ref().map(|schema| schema.registry_text().to_string())
    };
    if declared.eq(registered)
        && writer.value.registry_text() == table.value.registry_text()
        && text(&writer.key) == text(&table.key)
    {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "run a registered processor")
        .because("its Processor document declares other schemas than the registered type")
        .with("processor", declaration.reference())
        .help("apply the document that the binary gives of it, or give the type another version"))
}

impl Stage {
    /// The stage of a plan, compiled.
    ///
    /// # Errors
    ///
    /// `Config` for a type that is not registered, that declares something else than the plan has, or that
    /// refuses its configuration; as [`Chain::new`].
    pub(crate) fn new(
        stage: &StagePlan,
        plan: &PipelinePlan,
        lookups: &Lookups,
        processors: &Processors,
    ) -> Result<Self> {
        let of = processors.find(&stage.processor.name, stage.processor.version)?;
        check(stage, plan, of.as_ref())?;
        let edges = stage.edges.iter().map(|edge| StageEdge::new(edge, plan, lookups));
        let declaration = of.declaration();
        Ok(Self {
            name: stage.name.clone(),
            reference: declaration.reference(),
            writer: RowWriter::new(declaration.output_schema()?, declaration.key())?,
            config: stage.config.clone(),
            processor: of.make(stage.config.as_ref())?,
            edges: edges.collect::<Result<_>>()?,
            of,
            table: stage.table,
            made: Made::default(),
        })
    }

    /// What hands it rows.
    pub(crate) fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.edges.iter().map(|edge| &edge.chain)
    }

    /// What hands it rows.
    pub(crate) fn chains_mut(&mut self) -> impl Iterator<Item = &mut Chain> {
        self.edges.iter_mut().map(|edge| &mut edge.chain)
    }

    /// Takes records of a table, which is an input or what another stage has made.
    ///
    /// # Errors
    ///
    /// As [`Chain::process`].
    pub(crate) fn take<'r>(
        &mut self,
        table: usize,
        bytes: &[u8],
        records: impl Iterator<Item = Result<InputRecord<'r>>> + Clone,
        lookups: &Lookups,
        failed: &mut dyn Failed,
    ) -> Result<()> {
        for StageEdge { chain, reader, records: waiting, .. } in &mut self.edges {
            let mut out = Collected { reader, waiting, failed: &mut *failed };
            chain.process(table, bytes, records.clone(), lookups, &mut out)?;
        }
        Ok(())
    }

    /// Processes what was taken; what is made of it takes the place of what was made before.
    ///
    /// # Errors
    ///
    /// What `failed` answers; `Config` if the processor cannot be made again after a panic.
    pub(crate) fn process(&mut self, failed: &mut dyn Failed) -> Result<()> {
        self.made.clear();
        for edge in 0..self.edges.len() {
            let mut records = std::mem::take(&mut self.edges[edge].records);
            for part in records.chunks_mut(ROWS_MAX) {
                self.part(edge, part, failed)?;
            }
            records.clear();
            self.edges[edge].records = records;
        }
        Ok(())
    }

    /// Processes some records together, or if that fails each of them alone.
    fn part(&mut self, edge: usize, part: &mut [Record], failed: &mut dyn Failed) -> Result<()> {
        let Err(error) = self.call(edge, part, failed)? else { return Ok(()) };
        if let [record] = part {
            return failed.failed(record.offset, error);
        }
        for place in 0..part.len() {
            let one = &mut part[place..=place];
            if let Err(error) = self.call(edge, one, failed)? {
                failed.failed(one[0].offset, error)?;
            }
        }
        Ok(())
    }

    /// Calls the processor. What it makes counts if it answers that it is well.
    fn call(
        &mut self,
        edge: usize,
        part: &mut [Record],
        failed: &mut dyn Failed,
    ) -> Result<Result<()>> {
        part.iter_mut().enumerate().for_each(|(place, record)| record.place = place);
        let Self { edges, processor, writer, made, reference, .. } = self;
        let room = OUTPUT_BYTES_MAX.saturating_sub(made.bytes.len());
        let mut output = Output::new(writer, room);
        let batch = Batch { input: &edges[edge].name, records: part };
        let mut returned = false;
        let called = guarded(|| {
            let answer = processor.process(&batch, &mut output);
            returned = true;
            answer
        });
        if let Err(error) = called {
            let error = error.with("processor", reference);
            if !returned {
                // Whatever state a panic has left it in.
                self.processor = self.of.make(self.config.as_ref())?;
            }
            return Ok(Err(error));
        }
        for (place, error) in std::mem::take(&mut output.failed) {
            output.emitted.retain(|emitted| emitted.of != place);
            let error = error.with("processor", &*reference);
            part.get(place).map_or(Ok(()), |record| failed.failed(record.offset, error))?;
        }
        made.add(part, &output);
        Ok(Ok(()))
    }
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("processor", &self.reference).finish_non_exhaustive()
    }
}

impl StageEdge {
    fn new(edge: &Edge, plan: &PipelinePlan, lookups: &Lookups) -> Result<Self> {
        let reader = ChangeReader::new(edge)?;
        let chain = Chain::changes(edge, &plan.tables, lookups);
        let chain = chain.map_err(|error| error.with("input", &edge.name))?;
        Ok(Self { name: edge.name.clone(), chain, reader, records: Vec::new() })
    }
}

/// Decodes what a chain hands to a processor.
struct Collected<'c> {
    reader: &'c ChangeReader,
    waiting: &'c mut Vec<Record>,
    failed: &'c mut dyn Failed,
}

impl RecordOut for Collected<'_> {
    fn record(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        position: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        let (offset, read) = self.reader.read(key, value)?;
        match read {
            Ok((key, change)) => self.waiting.push(Record {
                place: 0,
                offset,
                timestamp_ms,
                position: position.map(<[u8]>::to_vec),
                key,
                change,
            }),
            Err(error) => self.failed.failed(offset, error)?,
        }
        Ok(())
    }

    fn failed(&mut self, offset: u64, error: Error) -> Result<()> {
        self.failed.failed(offset, error)
    }
}

impl Made {
    fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }

    /// Adds what was made of records.
    fn add(&mut self, of: &[Record], output: &Output<'_>) {
        let base = self.bytes.len();
        self.bytes.extend_from_slice(&output.bytes);
        let at = |range: &Range<usize>| base + range.start..base + range.end;
        for emitted in &output.emitted {
            let Some(record) = of.get(emitted.of) else { continue };
            let position = record.position.as_ref().map(|position| {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(position);
                start..self.bytes.len()
            });
            self.records.push(MadeRecord {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                position,
                operation: emitted.operation,
                key: emitted.key.as_ref().map(at),
                value: emitted.value.as_ref().map(at),
            });
        }
    }

    /// What was made, as records of the table.
    pub(crate) fn records(&self) -> impl Iterator<Item = Result<InputRecord<'_>>> + Clone {
        let part = |range: &Option<Range<usize>>| range.clone().map(|range| &self.bytes[range]);
        self.records.iter().map(move |record| {
            Ok(InputRecord {
                offset: record.offset,
                timestamp_ms: record.timestamp_ms,
                key: part(&record.key),
                value: part(&record.value),
                position: part(&record.position),
                operation: record.operation,
            })
        })
    }
}

/// The id of the schema that tables are written with.
pub(crate) const SCHEMA_ID: u32 = TABLE_SCHEMA_ID;
