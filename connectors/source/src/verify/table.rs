//! One table: read behind marks, folded with its topic, and looked at again where they differ.

use super::buckets::{Buckets, Folded};
use super::run::Verifier;
use super::suspects::{Suspect, Suspects};
use super::texts::{pack_row, unpack};
use super::topic::{TableDecoder, TopicRecord, TopicRows, column_checks};
use super::{
    Cell, ColumnDifference, Comparison, Difference, Outcome, TableTexts, TableVerdict, TextPart,
    TextRequest, TextRow, TextRows, VerifyEvent, What, blocking,
};
use crate::{Connector, TableReader};
use std::sync::Arc;
use std::time::Duration;
use tidemesh_avro::types::ColumnCheck;
use tidemesh_model::{
    Error, ErrorKind, EventFormat, Field, Position, Result, TableName, TableSchema,
};
use tidemesh_transport::Transport;
use tokio::sync::mpsc;

/// Keys that one statement asks for.
const KEYS_A_STATEMENT: usize = 500;

/// How long it is waited for older transactions to end before what differs is said to differ: the
/// log may tell a commit before readers see it.
const SETTLE_MAX: Duration = Duration::from_secs(15);

/// One attempt at a table.
pub(super) struct TableCheck<'v, C: Connector, T: Transport> {
    verifier: &'v Verifier<C, T>,
    table: &'v TableName,
    /// That it had when it was begun.
    pub(super) topic: String,
    reader: C::Reader,
    events: &'v mpsc::Sender<VerifyEvent>,
    listed_max: usize,
    rows: u64,
    about: u64,
    done: u64,
    schema: Option<Arc<TableSchema>>,
    /// Where the topic says that the table was truncated last.
    truncated_at: Option<Position>,
    /// How the schema's columns are compared.
    checks: Vec<Option<ColumnCheck>>,
    /// The table's schema changed while it was read: another attempt is due.
    pub(super) schema_changed: bool,
}

impl<'v, C: Connector, T: Transport> TableCheck<'v, C, T> {
    pub(super) async fn new(
        verifier: &'v Verifier<C, T>,
        table: &'v TableName,
        events: &'v mpsc::Sender<VerifyEvent>,
        listed_max: usize,
    ) -> Result<Self> {
        let topic = verifier.status.topic(table);
        let reader = verifier.connector.reader().await?;
        Ok(Self {
            verifier,
            table,
            topic,
            reader,
            events,
            listed_max,
            rows: 0,
            about: 0,
            done: 0,
            schema: None,
            truncated_at: None,
            checks: Vec::new(),
            schema_changed: false,
        })
    }

    pub(super) async fn run(&mut self) -> Result<TableVerdict> {
        let mut buckets = Buckets::new();
        let schema = self.read_table(&mut buckets).await?;
        let block = self.verifier.connector.block();
        let transport = Arc::clone(&self.verifier.transport);
        let registry = self.verifier.registry.clone();
        let decoder: TableDecoder<C::Reader> =
            TableDecoder::new(registry, &self.topic, &schema, &block, self.format())?;
        let mut topic = TopicRows::new(transport, &self.topic, decoder);
        self.read_topic(&mut topic, &mut buckets).await?;
        let truncated_at = self.truncated_at;
        let mut suspects = blocking(move || compare(buckets, truncated_at)).await?;
        let rechecked = suspects.count_all();
        self.look_again(&mut topic, &mut suspects).await?;
        let mut settled = true;
        if !suspects.by_key.is_empty() {
            settled = settle(&mut self.reader).await?;
            self.look_again(&mut topic, &mut suspects).await?;
        }
        let differing = self.prove(&schema, &mut suspects).await?;
        Ok(self.verdict(&suspects, differing, rechecked, settled))
    }

    /// Every row of the table, each chunk behind a mark of its own.
    async fn read_table(&mut self, buckets: &mut Buckets) -> Result<Arc<TableSchema>> {
        self.about = self.reader.plan(self.table, 1).await?.rows_estimate;
        let settings = &self.verifier.settings.snapshot;
        let (rows_max, bytes_max) = (settings.chunk_rows, settings.chunk_bytes_max);
        let mut after = None;
        loop {
            let low = self.mark().await?;
            let part = TextPart::After(after);
            let rows = self.texts(part, rows_max, bytes_max).await?;
            let low = self.verifier.reached(low).await?;
            for row in &rows.rows {
                let (key, row) = pack_row(&rows.schema, row)?;
                buckets.row(low, &key, &row)?;
            }
            self.rows += rows.rows.len() as u64;
            self.progress(rows.rows.len() as u64).await;
            after = match rows.last {
                Some(last) => Some(last),
                None => return Ok(rows.schema),
            };
        }
    }

    /// The topic up to behind the last chunk.
    async fn read_topic(
        &mut self,
        topic: &mut TopicRows<T, TableDecoder<C::Reader>>,
        buckets: &mut Buckets,
    ) -> Result<()> {
        let high = self.mark().await?;
        self.verifier.reached(high).await?;
        let records = topic.left().await?;
        self.about = self.done + records;
        let truncated_at = &mut self.truncated_at;
        topic
            .read_on(|record| match record {
                TopicRecord::Row { at, key, row } => buckets.record(at, &key, row.as_deref()),
                TopicRecord::Truncate { at } => {
                    *truncated_at = (*truncated_at).max(Some(at));
                    Ok(())
                }
            })
            .await?;
        self.progress(records).await;
        Ok(())
    }

    /// Reads suspects again and drops those that agree.
    async fn look_again(
        &mut self,
        topic: &mut TopicRows<T, TableDecoder<C::Reader>>,
        suspects: &mut Suspects,
    ) -> Result<()> {
        suspects.look_again();
        let keys: Vec<Box<[u8]>> = suspects.by_key.keys().cloned().collect();
        for keys in keys.chunks(KEYS_A_STATEMENT) {
            self.see(keys, suspects).await?;
        }
        let high = self.mark().await?;
        self.verifier.reached(high).await?;
        topic
            .read_on(|record| {
                match record {
                    TopicRecord::Row { at, key, row } => suspects.told(at, &key, row),
                    TopicRecord::Truncate { at } => suspects.truncated(at),
                }
                Ok(())
            })
            .await?;
        suspects.keep_differing();
        Ok(())
    }

    /// Reads the rows of keys, fewer at once where those are too large together.
    async fn see(&mut self, keys: &[Box<[u8]>], suspects: &mut Suspects) -> Result<()> {
        let bytes_max = self.verifier.settings.snapshot.chunk_bytes_max;
        let mut left = vec![keys];
        while let Some(keys) = left.pop() {
            let low = self.mark().await?;
            let part = TextPart::Keys(keys.iter().map(|key| unpack(key)).collect());
            let rows = self.texts(part, u32::MAX, bytes_max).await?;
            let low = self.verifier.reached(low).await?;
            if rows.last.is_some() && keys.len() > 1 {
                let (some, others) = keys.split_at(keys.len() / 2);
                left.extend([others, some]);
                continue;
            }
            keys.iter().for_each(|key| suspects.saw(low, key, None));
            for row in &rows.rows {
                let (key, row) = pack_row(&rows.schema, row)?;
                suspects.saw(low, &key, Some(row.into()));
            }
        }
        Ok(())
    }

    /// What is left, in the keys' order, compared by the database's own form of the topic's texts.
    async fn prove(
        &mut self,
        schema: &TableSchema,
        suspects: &mut Suspects,
    ) -> Result<Vec<Difference>> {
        let mut left: Vec<(Box<[u8]>, Vec<Cell>)> =
            suspects.by_key.keys().map(|key| (key.clone(), key_cells(schema, key))).collect();
        left.sort_by(|(_, one), (_, other)| one.iter().map(by_text).cmp(other.iter().map(by_text)));
        let mut differences = Vec::new();
        for (packed, key) in left {
            let Some(suspect) = suspects.by_key.get(&packed) else { continue };
            match self.difference(schema, suspect).await? {
                Some(what) if differences.len() < self.listed_max => {
                    differences.push(Difference { key, what });
                }
                Some(_) => {}
                None => drop(suspects.by_key.remove(&packed)),
            }
        }
        Ok(differences)
    }

    async fn difference(
        &mut self,
        schema: &TableSchema,
        suspect: &Suspect,
    ) -> Result<Option<What>> {
        let (row, record) = match (suspect.row(), suspect.latest()) {
            (Some(row), Some(record)) => (unpack(row), unpack(record)),
            (Some(_), None) => return Ok(Some(What::MissingInTopic)),
            (None, Some(_)) => return Ok(Some(What::ExtraInTopic)),
            // It moved again behind the last look: it agreed at some moment, or the next look says.
            (None, None) => return Ok(None),
        };
        let differing: Vec<(usize, Option<String>, Option<String>)> = row
            .into_iter()
            .zip(record)
            .enumerate()
            .filter(|(_, (row, record))| row != record)
            .map(|(column, (row, record))| (column, row, record))
            .collect();
        let texts: Vec<(Field, String)> = differing
            .iter()
            .filter(|(column, ..)| self.has_canonical(*column))
            .filter_map(|(column, _, record)| {
                Some((schema.fields[*column].clone(), record.clone()?))
            })
            .collect();
        let mut canonical = self.reader.canonical(&texts).await?.into_iter();
        let mut columns = Vec::new();
        for (column, database, topic) in differing {
            let topic = match topic {
                Some(_) if self.has_canonical(column) => canonical.next().flatten(),
                other => other,
            };
            if database != topic {
                let column = schema.fields[column].name.clone();
                columns.push(ColumnDifference { column, database, topic });
            }
        }
        Ok((!columns.is_empty()).then_some(What::Values { columns }))
    }

    fn verdict(
        &self,
        suspects: &Suspects,
        differences: Vec<Difference>,
        rechecked: u64,
        settled: bool,
    ) -> TableVerdict {
        let differing = suspects.by_key.len() as u64;
        let (outcome, reason) = match suspects.outcome(differing) {
            (Outcome::Different, _) if !settled => (
                Outcome::Unknown,
                Some("transactions that the log has are not visible to readers yet".to_owned()),
            ),
            found => found,
        };
        TableVerdict {
            table: self.table.clone(),
            topic: self.topic.clone(),
            found: Comparison {
                outcome,
                rows: self.rows,
                rechecked,
                differing,
                differences,
                reason,
            },
        }
    }

    fn format(&self) -> EventFormat {
        self.verifier.settings.format()
    }

    async fn texts(&mut self, part: TextPart, rows_max: u32, bytes_max: usize) -> Result<TextRows> {
        let request = TextRequest { table: self.table.clone(), part, rows_max, bytes_max };
        let mut rows = self.reader.texts(&request).await?;
        match &self.schema {
            Some(schema) if **schema != *rows.schema => {
                self.schema_changed = true;
                return Err(Error::new(ErrorKind::Conflict, "verify a table")
                    .because("its schema changes while it is read")
                    .help("try again once that is over"));
            }
            Some(_) => {}
            None => {
                self.checks = column_checks(&rows.schema, self.format())?;
                self.schema = Some(Arc::clone(&rows.schema));
            }
        }
        self.keep_comparable(&mut rows);
        Ok(rows)
    }

    /// Brings texts into the form in which the topic keeps what is left of them.
    fn keep_comparable(&self, rows: &mut TextRows) {
        for (column, check) in self.checks.iter().enumerate() {
            let Some(check) = check.as_ref().filter(|check| check.loses_text()) else { continue };
            let field = &rows.schema.fields[column];
            for cell in rows.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
                if let Some(text) = cell {
                    *cell = C::Reader::text(field, &check.of_text(text));
                }
            }
        }
    }

    /// Whether the database would write a topic's text of this column as it has written its own.
    fn has_canonical(&self, column: usize) -> bool {
        let check = self.checks.get(column).and_then(Option::as_ref);
        check.is_none_or(|check| !check.loses_text())
    }

    /// Writes a mark into the log; answers where its position comes.
    async fn mark(&mut self) -> Result<tokio::sync::oneshot::Receiver<Position>> {
        let (text, reached) = self.verifier.marks.expect()?;
        self.reader.mark(&text).await?;
        Ok(reached)
    }

    async fn progress(&mut self, more: u64) {
        self.done += more;
        self.about = self.about.max(self.done);
        let table = self.table.clone();
        let event = VerifyEvent::Progress { table, done: self.done, about: self.about };
        // Who asked may have gone; then this task is dropped.
        let _ = self.events.send(event).await;
    }
}

/// Keys whose row and record differ, or that moved since their chunk was read.
fn compare(buckets: Buckets, truncated_at: Option<Position>) -> Result<Suspects> {
    let mut suspects = Suspects::new();
    let gone = |at: Position| truncated_at.filter(|truncated| at < *truncated);
    for bucket in buckets.fold() {
        for (key, Folded { row, record, .. }) in bucket? {
            let record = record.map(|(at, row)| gone(at).map_or((at, row), |at| (at, None)));
            let same = match (&row, &record) {
                (Some((low, row)), Some((at, Some(record)))) => at <= low && row == record,
                (None, Some((_, None)) | None) => true,
                _ => false,
            };
            if !same {
                suspects.add(key, record, None);
            }
        }
    }
    Ok(suspects)
}

fn key_cells(schema: &TableSchema, key: &[u8]) -> Vec<Cell> {
    let columns = schema.key.columns.iter();
    let cell = |(column, text): (&usize, Option<String>)| Cell {
        column: schema.fields[*column].name.clone(),
        text,
    };
    let texts: TextRow = unpack(key);
    columns.zip(texts).map(cell).collect()
}

/// Numbers by their size, other texts by themselves.
fn by_text(cell: &Cell) -> (Option<i128>, Option<&str>) {
    let text = cell.text.as_deref();
    (text.and_then(|text| text.parse().ok()), text)
}

/// Waits until what the log told is visible; false if that takes too long.
pub(super) async fn settle(reader: &mut impl TableReader) -> Result<bool> {
    match tokio::time::timeout(SETTLE_MAX, reader.settle()).await {
        Ok(settled) => settled.map(|()| true),
        Err(_) => Ok(false),
    }
}
