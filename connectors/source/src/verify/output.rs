//! A pipeline's output: what the database says by the pipeline's own SQL, folded with the topic.
//!
//! The topic is read to where it ends; the database is asked once older transactions have ended, which
//! the log may have told of before readers saw them; then the source and each pipeline on the way come
//! up to what the database had; and the topic is read on. A row that is right is one that the topic had
//! at the first end, or came to have since: every state that readers of the database can see comes by,
//! unless compaction was faster than a pipeline. So what differs is looked at once more.

use super::buckets::{Buckets, Folded};
use super::columns::{Columns, OutputDecoder, no_row};
use super::doubt::{Doubt, explained};
use super::run::Verifier;
use super::suspects::{Suspect, Suspects};
use super::table::settle;
use super::topic::{TopicRecord, TopicRows};
use super::{
    Comparison, DIFFERENCES_LISTED, Outcome, OutputRequest, OutputVerdict, QueryPart, QueryRequest,
    TableTexts, TextRow, blocking,
};
use crate::{Connector, TableReader};
use std::collections::BTreeSet;
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Position, Result, TableName};
use tidemesh_transport::Transport;

/// Before every record: what the topic had first counts too.
const FIRST: Position = Position { epoch: 0, commit: 0, ordinal: 0 };

impl<C: Connector, T: Transport> Verifier<C, T> {
    pub(super) async fn output(&self, request: OutputRequest) -> Result<OutputVerdict> {
        let columns = Columns::new(&request)?;
        let query = self.query(&request, &columns)?;
        self.all_read(&query)?;
        let decoder = OutputDecoder::new(self.registry.clone(), &request, columns.clone())?;
        let topic = TopicRows::new(Arc::clone(&self.transport), &request.topic, decoder);
        let reader = self.connector.reader().await?;
        let mut check = OutputCheck { verifier: self, request, columns, query, reader, topic };
        let found = Box::pin(check.run()).await?;
        self.same_tables(&check.request, &check.query)?;
        let OutputRequest { pipeline, output, topic, .. } = check.request;
        Ok(OutputVerdict { pipeline, output, topic, found })
    }

    fn query(&self, request: &OutputRequest, columns: &Columns) -> Result<QueryRequest> {
        let part = |part: &QueryPart<String>| match part {
            QueryPart::Text(text) => Ok(QueryPart::Text(text.clone())),
            QueryPart::Table(topic) => self.table_of(topic).map(QueryPart::Table),
        };
        let parts = request.query.iter().map(part).collect::<Result<_>>()?;
        let (columns, types) = (columns.asked(request), self.settings.format().types);
        Ok(QueryRequest { parts, columns, types })
    }

    fn table_of(&self, topic: &str) -> Result<TableName> {
        let tables = self.connector.tables();
        let table = tables.into_iter().find(|table| self.status.topic(table) == topic);
        table.ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "verify a pipeline")
                .because("a topic that it reads is none of a table of this source now")
                .with("topic", topic)
                .with("source", &self.settings.name)
        })
    }

    /// That the tables of a query are all in their topics.
    fn all_read(&self, query: &QueryRequest) -> Result<()> {
        for part in &query.parts {
            let QueryPart::Table(table) = part else { continue };
            if let Some(reason) = self.unread(table) {
                return Err(Error::new(ErrorKind::Unavailable, "verify a pipeline")
                    .because(reason)
                    .with("table", table));
            }
        }
        Ok(())
    }

    /// That its tables are still those of its topics, and all in them.
    fn same_tables(&self, request: &OutputRequest, query: &QueryRequest) -> Result<()> {
        for part in &request.query {
            if let QueryPart::Table(topic) = part {
                self.table_of(topic)?;
            }
        }
        self.all_read(query)
    }
}

/// One comparison of an output.
struct OutputCheck<'v, C: Connector, T: Transport> {
    verifier: &'v Verifier<C, T>,
    request: OutputRequest,
    columns: Columns,
    query: QueryRequest,
    reader: C::Reader,
    topic: TopicRows<T, OutputDecoder>,
}

/// What the first look found.
struct Looked {
    suspects: Suspects,
    /// Keys of which the database has several rows.
    repeated: u64,
}

impl<C: Connector, T: Transport> OutputCheck<'_, C, T> {
    async fn run(&mut self) -> Result<Comparison> {
        let mut buckets = Buckets::new();
        self.topic
            .read_on(|record| {
                let TopicRecord::Row { at, key, row } = record else { return Err(no_row()) };
                buckets.record(at, &key, row.as_deref())
            })
            .await?;
        let mut settled = settle(&mut self.reader).await?;
        let rows = self.ask(&mut |key, row| buckets.row(FIRST, &key, &row)).await?;
        self.come_up().await?;
        let Looked { mut suspects, repeated } = blocking(move || compare(buckets)).await?;
        if repeated > 0 {
            let reason = "the SQL gives several rows of one key there, of which a topic keeps one";
            return Ok(Comparison::unknown(format!("{reason}: {repeated} keys")));
        }
        self.read_on(&mut suspects).await?;
        let rechecked = suspects.count_all();
        if !suspects.by_key.is_empty() {
            settled = self.look_again(&mut suspects).await?;
        }
        let doubts = self.doubts(settled).await?;
        Ok(self.found(&suspects, rows, rechecked, &doubts))
    }

    /// Asks for all rows once more, and keeps what still differs; answers whether all that the log has
    /// told was visible.
    async fn look_again(&mut self, suspects: &mut Suspects) -> Result<bool> {
        suspects.look_again();
        let keys: Vec<Box<[u8]>> = suspects.by_key.keys().cloned().collect();
        keys.iter().for_each(|key| suspects.saw(FIRST, key, None));
        let settled = settle(&mut self.reader).await?;
        self.ask(&mut |key, row| {
            suspects.saw(FIRST, &key, Some(row.into()));
            Ok(())
        })
        .await?;
        self.come_up().await?;
        self.read_on(suspects).await?;
        Ok(settled)
    }

    /// Hands over the key and the row of each row of the database; answers how many there are.
    async fn ask(
        &mut self,
        take: &mut (dyn FnMut(Vec<u8>, Vec<u8>) -> Result<()> + Send),
    ) -> Result<u64> {
        let (columns, mut rows) = (&self.columns, 0);
        let mut count = |row: TextRow| {
            rows += 1;
            let (key, row) = columns.of_database(row)?;
            take(key, row)
        };
        self.reader.query(&self.query, &mut count).await?;
        Ok(rows)
    }

    /// Waits until all that the database had is in the topic.
    async fn come_up(&mut self) -> Result<()> {
        let (text, reached) = self.verifier.marks.expect()?;
        self.reader.mark(&text).await?;
        self.verifier.reached(reached).await?;
        for step in &self.request.steps {
            self.verifier.caught_up(step).await?;
        }
        Ok(())
    }

    /// Reads on in the topic, and keeps what still differs.
    async fn read_on(&mut self, suspects: &mut Suspects) -> Result<()> {
        self.topic
            .read_on(|record| {
                let TopicRecord::Row { at, key, row } = record else { return Err(no_row()) };
                suspects.told(at, &key, row);
                Ok(())
            })
            .await?;
        suspects.keep_differing();
        Ok(())
    }

    /// For what a difference may prove nothing.
    async fn doubts(&mut self, settled: bool) -> Result<Vec<Doubt>> {
        let mut doubts: Vec<Doubt> =
            Doubt::of_lookups(&self.request.looked_up).into_iter().collect();
        if !settled {
            let why = "transactions that the log has are not visible to readers yet";
            doubts.push(Doubt::of_all(why.to_owned()));
        }
        let steps = self.request.steps.iter().flat_map(|step| &step.topics);
        let topics: BTreeSet<&String> = steps.chain([&self.request.topic]).collect();
        for topic in topics {
            doubts.extend(Doubt::of_retention(&self.verifier.transport.topic(topic).await?));
        }
        Ok(doubts)
    }

    fn found(
        &self,
        suspects: &Suspects,
        rows: u64,
        rechecked: u64,
        doubts: &[Doubt],
    ) -> Comparison {
        let mut reasons = BTreeSet::new();
        let mut keys: Vec<(&[u8], &Suspect)> =
            suspects.by_key.iter().map(|(key, suspect)| (key.as_ref(), suspect)).collect();
        keys.sort_unstable_by_key(|(key, _)| *key);
        let (doubtful, proven): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(_, suspect)| {
            explained(doubts, suspect.row(), suspect.latest(), &mut reasons)
        });
        let (mut outcome, mut reason) = suspects.outcome(proven.len() as u64);
        if !doubtful.is_empty() {
            let reasons = reasons.into_iter().collect::<Vec<_>>().join("; ");
            let count = doubtful.len();
            let doubt = format!("{count} keys differ and may be right: {reasons}");
            reason = Some(reason.map_or(doubt.clone(), |known| format!("{known}; {doubt}")));
            outcome = if proven.is_empty() { Outcome::Unknown } else { outcome };
        }
        let told = if proven.is_empty() { doubtful } else { proven };
        let listed_max = if self.request.all { usize::MAX } else { DIFFERENCES_LISTED };
        let listed = told.iter().take(listed_max);
        let difference = |(key, suspect): &(&[u8], &Suspect)| {
            self.columns.difference(&self.request, key, suspect)
        };
        Comparison {
            outcome,
            rows,
            rechecked,
            differing: told.len() as u64,
            differences: listed.map(difference).collect(),
            reason,
        }
    }
}

/// Keys whose row and record differ.
fn compare(buckets: Buckets) -> Result<Looked> {
    let (mut suspects, mut repeated) = (Suspects::new(), 0);
    for bucket in buckets.fold() {
        for (key, Folded { row, record, repeats }) in bucket? {
            repeated += u64::from(repeats);
            let topic = record.as_ref().and_then(|(_, row)| row.as_ref());
            let database = row.map(|(_, row)| row);
            if database.as_ref() != topic {
                suspects.add(key, record, Some((FIRST, database)));
            }
        }
    }
    Ok(Looked { suspects, repeated })
}
