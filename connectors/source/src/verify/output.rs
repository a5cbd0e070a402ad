//! A pipeline's output: what the database says by the pipeline's own SQL, folded with the topic.
//!
//! The topic is read to where it ends; the database is asked once older transactions have ended, which
//! the log may have told of before readers saw them; then the source and each pipeline on the way come
//! up to what the database had; and the topic is read on. A row that is right is one that the topic had
//! at the first end, or came to have since: every state that readers of the database can see comes by.

use super::buckets::{Buckets, Folded};
use super::form::Compared;
use super::run::Verifier;
use super::suspects::Suspects;
use super::texts::{pack, unpack};
use super::topic::{Decodes, Resolvers, TopicRecord, TopicRows};
use super::{
    Cell, ColumnDifference, Difference, OutputRequest, OutputVerdict, QueryColumn, QueryPart,
    QueryRequest, RecordForm, StepBefore, TableTexts, What,
};
use crate::{Connector, TableReader};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tidemesh_avro::datum::Datum;
use tidemesh_avro::flat;
use tidemesh_avro::schema::{Kind, NodeId, Schema};
use tidemesh_model::{Error, ErrorKind, Position, Result};
use tidemesh_transport::{
    FetchLimit, Reader, RecordRef, RegistryClient, Start, Subscription, Transport,
};

/// How often it is looked how far a pipeline has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long a pipeline may stand still with records before it.
const STANDS_MAX: Duration = Duration::from_secs(60);

/// Bytes that are fetched to see whether there is anything.
const PEEK_BYTES_MAX: usize = 64 * 1024;

/// How long it is waited for what an end says is there: what a transaction leaves behind is no record.
const PEEK_WAIT_MAX: Duration = Duration::from_millis(200);

impl<C: Connector, T: Transport> Verifier<C, T> {
    pub(super) async fn output(&self, request: OutputRequest) -> Result<OutputVerdict> {
        let columns = Columns::new(&request)?;
        let query = self.query(&request, &columns)?;
        let mut reader = self.connector.reader().await?;
        let decoder = OutputDecoder::new(self.registry.clone(), &request, columns.clone())?;
        let mut topic = TopicRows::new(Arc::clone(&self.transport), &request.topic, decoder);
        let mut buckets = Buckets::new();
        topic
            .read_on(|record| {
                let TopicRecord::Row { at, key, row } = record else { return Err(no_row()) };
                buckets.record(at, &key, row.as_deref())
            })
            .await?;
        reader.settle().await?;
        let rows = columns.ask(&mut reader, &query, &mut buckets).await?;
        let (text, reached) = self.marks.expect()?;
        reader.mark(&text).await?;
        self.reached(reached).await?;
        for step in &request.steps {
            self.caught_up(step).await?;
        }
        let (mut suspects, asked) = super::blocking(move || compare(buckets)).await?;
        topic
            .read_on(|record| {
                let TopicRecord::Row { at, key, row } = record else { return Err(no_row()) };
                suspects.told(at, &key, row);
                Ok(())
            })
            .await?;
        let rechecked = suspects.by_key.len() as u64 + suspects.left_out;
        suspects.by_key.retain(|key, suspect| {
            let row = asked.get(key).map(AsRef::as_ref);
            !suspect.agrees(FIRST, row)
        });
        Ok(columns.verdict(&request, &suspects, &asked, rows, rechecked))
    }

    fn query(&self, request: &OutputRequest, columns: &Columns) -> Result<QueryRequest> {
        let tables = self.connector.tables();
        let part = |part: &QueryPart<String>| {
            let topic = match part {
                QueryPart::Text(text) => return Ok(QueryPart::Text(text.clone())),
                QueryPart::Table(topic) => topic,
            };
            let table = tables.iter().find(|table| self.status.topic(table) == *topic);
            let table = table.ok_or_else(|| {
                Error::new(ErrorKind::Unsupported, "verify a pipeline")
                    .because("a topic that it reads is none of a table of this source now")
                    .with("topic", topic)
                    .with("source", &self.settings.name)
            })?;
            Ok(QueryPart::Table(table.clone()))
        };
        let parts = request.query.iter().map(part).collect::<Result<_>>()?;
        let column = |(name, compared): (&String, &Compared)| QueryColumn {
            name: name.clone(),
            form: compared.form,
        };
        let columns = request.columns.iter().zip(columns.compared.iter()).map(column).collect();
        Ok(QueryRequest { parts, columns })
    }

    /// Waits until a pipeline has taken all that is in its topics now.
    async fn caught_up(&self, step: &StepBefore) -> Result<()> {
        let mut ends: HashMap<(String, u32), u64> = HashMap::new();
        for topic in &step.topics {
            let partitions = self.transport.topic(topic).await?.partitions;
            ends.extend((0..).zip(partitions).map(|(place, of)| ((topic.clone(), place), of.end)));
        }
        let (mut stood, mut stands_at) = (Duration::ZERO, None);
        loop {
            let committed = self.transport.committed(&step.group).await?;
            let behind =
                ends.iter().any(|(place, end)| committed.get(place).copied().unwrap_or(0) < *end);
            if !behind || !self.more(&step.topics, &committed, &ends).await? {
                return Ok(());
            }
            let stands = stands_at.as_ref() == Some(&committed);
            stood = if stands { stood + LOOK_INTERVAL } else { Duration::ZERO };
            stands_at = Some(committed);
            if stood >= STANDS_MAX {
                return Err(Error::new(ErrorKind::Unavailable, "wait for a pipeline")
                    .because("it does not come on")
                    .with("pipeline", &step.pipeline)
                    .help("see `tidemesh describe` of it"));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether there are records between what a group has committed and these ends: what ends a
    /// transaction takes an offset, and is none.
    async fn more(
        &self,
        topics: &[String],
        committed: &std::collections::BTreeMap<(String, u32), u64>,
        ends: &HashMap<(String, u32), u64>,
    ) -> Result<bool> {
        let start = Start::Offsets(committed.clone());
        let subscription = Subscription { topics: topics.to_vec(), group: None, start };
        let mut reader = self.transport.subscribe(subscription).await?;
        let limit = FetchLimit { bytes_max: PEEK_BYTES_MAX, wait_max: PEEK_WAIT_MAX };
        for batch in reader.poll(limit).await? {
            let end = ends.get(&(batch.topic.to_string(), batch.partition)).copied().unwrap_or(0);
            for record in batch.iter() {
                if record?.0 < end {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// Before every record: what the topic had first counts too.
const FIRST: Position = Position { epoch: 0, commit: 0, ordinal: 0 };

/// The columns of an output.
#[derive(Debug, Clone)]
struct Columns {
    compared: Arc<[Compared]>,
    names: Arc<[String]>,
    key: Arc<[usize]>,
}

impl Columns {
    fn new(request: &OutputRequest) -> Result<Self> {
        let schema = Schema::parse(&request.value)?;
        let row = row_of(&schema, request.form).ok_or_else(not_a_row)?;
        let Kind::Record(fields) = &schema.node(row).kind else { return Err(not_a_row()) };
        if fields.len() < request.columns.len() {
            return Err(not_a_row());
        }
        let fields = &fields[..request.columns.len()];
        Ok(Self {
            compared: fields.iter().map(|field| Compared::new(&schema, field.node)).collect(),
            names: fields.iter().map(|field| field.name.clone()).collect(),
            key: request.key_columns.clone().into(),
        })
    }

    /// Puts what the database says into buckets; answers how many rows it has.
    async fn ask<R: TableTexts>(
        &self,
        reader: &mut R,
        query: &QueryRequest,
        buckets: &mut Buckets,
    ) -> Result<u64> {
        let mut rows = 0;
        let mut take = |row: Vec<Option<String>>| {
            let of = |(text, compared): (Option<String>, &Compared)| {
                text.map(|text| compared.of_text(&text))
            };
            let row: Vec<Option<String>> =
                row.into_iter().zip(self.compared.iter()).map(of).collect();
            let key = self.key.iter().map(|column| row.get(*column).and_then(Option::as_deref));
            rows += 1;
            buckets.row(FIRST, &pack(key)?, &pack(row.iter().map(Option::as_deref))?)
        };
        reader.query(query, &mut take).await?;
        Ok(rows)
    }

    /// A record of these columns, or of the key's, as a row of texts.
    fn texts(&self, record: &Datum, columns: impl Iterator<Item = usize>) -> Result<Vec<u8>> {
        let mut cells = Vec::new();
        for column in columns {
            let datum = record.field(&self.names[column]).ok_or_else(|| {
                Error::new(ErrorKind::Malformed, "read a topic's record")
                    .because("it lacks a column of the output")
                    .with("column", &self.names[column])
            })?;
            cells.push(self.compared[column].of_datum(datum));
        }
        pack(cells.iter().map(Option::as_deref))
    }

    fn verdict(
        &self,
        request: &OutputRequest,
        suspects: &Suspects,
        asked: &HashMap<Box<[u8]>, Box<[u8]>>,
        rows: u64,
        rechecked: u64,
    ) -> OutputVerdict {
        let differing = suspects.by_key.len() as u64;
        let (outcome, reason) = suspects.outcome();
        let mut keys: Vec<&[u8]> = suspects.by_key.keys().map(AsRef::as_ref).collect();
        keys.sort_unstable();
        let listed_max = if request.all { usize::MAX } else { super::DIFFERENCES_LISTED };
        let differences = keys.into_iter().take(listed_max).map(|key| {
            let topic = suspects.by_key.get(key).and_then(|suspect| suspect.latest());
            self.difference(request, key, asked.get(key).map(AsRef::as_ref), topic)
        });
        OutputVerdict {
            pipeline: request.pipeline.clone(),
            output: request.output.clone(),
            topic: request.topic.clone(),
            outcome,
            rows,
            rechecked,
            differing,
            differences: differences.collect(),
            reason,
        }
    }

    fn difference(
        &self,
        request: &OutputRequest,
        key: &[u8],
        database: Option<&[u8]>,
        topic: Option<&[u8]>,
    ) -> Difference {
        let named = self.key.iter().zip(unpack(key));
        let cell = |(column, text): (&usize, Option<String>)| Cell {
            column: request.columns[*column].clone(),
            text,
        };
        let key = named.map(cell).collect();
        let what = match (database, topic) {
            (Some(database), Some(topic)) => {
                let both = unpack(database).into_iter().zip(unpack(topic));
                let columns = request.columns.iter().zip(both);
                let columns = columns.filter(|(_, (database, topic))| database != topic).map(
                    |(column, (database, topic))| ColumnDifference {
                        column: column.clone(),
                        database,
                        topic,
                    },
                );
                What::Values { columns: columns.collect() }
            }
            (Some(_), None) => What::MissingInTopic,
            (None, _) => What::ExtraInTopic,
        };
        Difference { key, what }
    }
}

/// Keys whose row and record differ, and the rows that the database has of them.
type Compare = (Suspects, HashMap<Box<[u8]>, Box<[u8]>>);

fn compare(buckets: Buckets) -> Result<Compare> {
    let (mut suspects, mut asked) = (Suspects::default(), HashMap::new());
    for bucket in buckets.fold() {
        for (key, Folded { row, record }) in bucket? {
            let topic = record.as_ref().and_then(|(_, row)| row.as_ref());
            let database = row.map(|(_, row)| row);
            if database.as_ref() == topic {
                continue;
            }
            let left_out = suspects.left_out;
            suspects.add(key.clone(), record, database.as_ref().map_or(0, |row| row.len()));
            if suspects.left_out == left_out
                && let Some(row) = database
            {
                asked.insert(key, row);
            }
        }
    }
    Ok((suspects, asked))
}

/// Decodes an output's records.
struct OutputDecoder {
    keys: Resolvers,
    values: Resolvers,
    form: RecordForm,
    columns: Columns,
    /// How many records there were: where the next one stands.
    count: u64,
}

impl OutputDecoder {
    fn new(registry: RegistryClient, request: &OutputRequest, columns: Columns) -> Result<Self> {
        let of_today = Schema::parse(&request.value)?;
        Ok(Self {
            keys: Resolvers::as_written(registry.clone()),
            values: Resolvers::of_today(registry, of_today),
            form: request.form,
            columns,
            count: 0,
        })
    }
}

impl Decodes for OutputDecoder {
    async fn record(&mut self, record: &RecordRef<'_>) -> Result<TopicRecord> {
        self.count += 1;
        let at = Position { epoch: 0, commit: self.count, ordinal: 0 };
        let key = self.keys.read(record.key.ok_or_else(no_row)?).await?;
        let key = self.columns.texts(&key, self.columns.key.iter().copied())?;
        let Some(value) = record.value else { return Ok(TopicRecord::Row { at, key, row: None }) };
        let event = self.values.read(value).await?;
        let row = match self.form {
            RecordForm::State => Some(&event),
            RecordForm::Flat => {
                let deleted = event.field(flat::DELETED);
                Some(&event)
                    .filter(|_| !matches!(deleted, Some(Datum::String(text)) if text == "true"))
            }
            RecordForm::Envelope => event.field("after").filter(|after| **after != Datum::Null),
        };
        let all = 0..self.columns.names.len();
        let row = row.map(|row| self.columns.texts(row, all)).transpose()?;
        Ok(TopicRecord::Row { at, key, row })
    }
}

fn row_of(schema: &Schema, form: RecordForm) -> Option<NodeId> {
    if form != RecordForm::Envelope {
        return Some(schema.root());
    }
    let Kind::Record(fields) = &schema.node(schema.root()).kind else { return None };
    let after = fields.iter().find(|field| field.name == "after")?;
    match &schema.node(after.node).kind {
        Kind::Union(branches) => branches
            .iter()
            .copied()
            .find(|branch| matches!(schema.node(*branch).kind, Kind::Record(_))),
        _ => Some(after.node),
    }
}

fn not_a_row() -> Error {
    Error::new(ErrorKind::Malformed, "verify a pipeline").because("its schema has no row")
}

fn no_row() -> Error {
    Error::new(ErrorKind::Malformed, "read a topic's record")
        .because("it has no key: something else writes to this topic")
}
