//! A source on a real server, as the run loop has it: its batches are taken, and what they store is kept
//! for the next start.

use super::Server;
use crate::{MysqlConnector, MysqlSource};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tidemesh_model::{
    Change, ChangeBatch, ChangeVisitor, Origin, Position, Result, RowImage, SourceSettings,
    TableSchema, Values,
};
use tidemesh_source::{BatchLimit, Checkpoint, Connector, Source};

/// The table whose rows tell how far the log was read.
const ENDS: &str = "ends";

/// How long what was written may take to come.
const COMES_MAX: Duration = Duration::from_secs(30);

/// Its source's id among the server's readers, one for each.
static SERVER_IDS: AtomicU32 = AtomicU32::new(0);

/// A source of a database's tables, and what it has told.
pub(crate) struct Stream {
    server: Server,
    database: String,
    settings: SourceSettings,
    source: Option<MysqlSource>,
    position: Option<Position>,
    items: BTreeMap<String, Vec<u8>>,
    ends: u32,
}

impl Stream {
    /// Of these tables of a new database, of which the statements make them; it reads from here on.
    pub(crate) async fn of(
        server: &Server,
        database: &str,
        statements: &[&str],
        tables: &[&str],
    ) -> Self {
        let mut sql = server.database(database).await;
        sql.run(&format!("CREATE TABLE {ENDS} (id INT PRIMARY KEY)")).await.unwrap();
        for statement in statements {
            sql.run(statement).await.unwrap();
        }
        let number = SERVER_IDS.fetch_add(1, Ordering::Relaxed);
        let names = tables.iter().chain([&ENDS]).map(|table| format!("{database}.{table}"));
        let mut mysql = serde_json::to_value(&server.settings).unwrap();
        mysql["tables"] = names.collect::<Vec<_>>().into();
        mysql["server_id"] = (std::process::id() % 1_000_000 * 1000 + number + 1).into();
        let source = serde_json::json!({
            "name": database, "mysql": mysql, "snapshot": {"read_only": true},
        });
        let mut stream = Self {
            server: server.clone(),
            database: database.to_owned(),
            settings: serde_json::from_value(source).unwrap(),
            source: None,
            position: None,
            items: BTreeMap::new(),
            ends: 0,
        };
        stream.restart().await;
        stream.read().await;
        stream
    }

    /// A new process takes up what this one has stored.
    pub(crate) async fn restart(&mut self) {
        if let Some(source) = self.source.take() {
            source.close().await.unwrap();
        }
        let items = self.items.clone();
        let checkpoint = self.position.map(|position| Checkpoint { position, items });
        let connector = MysqlConnector::new(&self.settings).unwrap();
        connector.discover().await.unwrap();
        self.source = Some(connector.open(checkpoint, 1).await.unwrap());
    }

    /// Runs statements in a session of their own.
    pub(crate) async fn run(&self, statements: &[&str]) {
        let mut sql = self.server.sql().await;
        sql.run(&format!("USE {}", self.database)).await.unwrap();
        for statement in statements {
            sql.run(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    /// What the log tells up to here, in its order.
    pub(crate) async fn read(&mut self) -> Vec<String> {
        self.ends += 1;
        let end = format!("c {ENDS} [Int32({})]", self.ends);
        self.run(&[&format!("INSERT INTO {ENDS} VALUES ({})", self.ends)]).await;
        let mut told = Vec::new();
        tokio::time::timeout(COMES_MAX, async {
            while told.last() != Some(&end) {
                told.extend(self.batch().await);
            }
        })
        .await
        .unwrap_or_else(|_| panic!("the log's end did not come behind {told:?}"));
        told.pop();
        told
    }

    /// The same by a process that goes away behind each batch that comes further.
    pub(crate) async fn read_restarting(&mut self) -> Vec<String> {
        self.ends += 1;
        let end = format!("c {ENDS} [Int32({})]", self.ends);
        self.run(&[&format!("INSERT INTO {ENDS} VALUES ({})", self.ends)]).await;
        let mut told = Vec::new();
        while told.last() != Some(&end) {
            let before = self.position;
            told.extend(tokio::time::timeout(COMES_MAX, self.batch()).await.expect("a batch"));
            if self.position != before {
                self.restart().await;
            }
        }
        told.pop();
        told
    }

    /// Has the source mean other tables from its next start on.
    pub(crate) fn means(&mut self, tables: &[&str]) {
        let names = tables.iter().chain([&ENDS]).map(|table| format!("{}.{table}", self.database));
        let mut settings = serde_json::to_value(&self.settings).unwrap();
        settings["mysql"]["tables"] = names.collect::<Vec<_>>().into();
        self.settings = serde_json::from_value(settings).unwrap();
    }

    async fn batch(&mut self) -> VecDeque<String> {
        let limit = BatchLimit { bytes_max: 1 << 20, wait_max: Duration::from_secs(1) };
        let batch = self.source.as_mut().unwrap().next_batch(limit).await.unwrap();
        let mut tells = Tells::default();
        batch.visit(&mut tells).unwrap();
        for schema in batch.replaced() {
            tells.0.push_back(format!("replaced {}", schema.name.table));
        }
        for table in batch.rewritten() {
            tells.0.push_back(format!("rewritten {}", table.table));
        }
        for item in batch.state() {
            match &item.value {
                Some(value) => drop(self.items.insert(item.key.clone(), value.clone())),
                None => drop(self.items.remove(&item.key)),
            }
        }
        self.position = Some(batch.end());
        tells.0
    }
}

#[derive(Default)]
struct Tells(VecDeque<String>);

impl ChangeVisitor for Tells {
    fn change<R: RowImage>(
        &mut self,
        schema: &Arc<TableSchema>,
        _: &Origin<'_>,
        change: Change<R>,
    ) -> Result<()> {
        let table = &schema.name.table;
        self.0.push_back(match change {
            Change::Create { after } => format!("c {table} {:?}", Values::of(&after)?),
            Change::Read { after } => format!("r {table} {:?}", Values::of(&after)?),
            Change::Update { after, .. } => format!("u {table} {:?}", Values::of(&after)?),
            Change::Delete { before } => format!("d {table} {:?}", Values::of(&before)?),
            Change::Truncate => format!("t {table}"),
        });
        Ok(())
    }

    fn incomplete(
        &mut self,
        schema: &Arc<TableSchema>,
        _: &Origin<'_>,
        key: Vec<String>,
    ) -> Result<()> {
        self.0.push_back(format!("i {} {key:?}", schema.name.table));
        Ok(())
    }

    fn mark(&mut self, _: &Origin<'_>, _: &str) -> Result<()> {
        Ok(())
    }
}
