//! The registry's tables in PostgreSQL.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use tidemesh_model::Result;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::super::rows::{
    SchemaRow, consumer_row, corrupt, read_json, references_text, write_json,
};
use super::super::{Loaded, Mark};
use crate::setting::Mode;
use crate::state::{Change, State, Version};

/// All rows of all tables, as of one moment.
pub(super) struct Rows {
    contexts: Vec<Row>,
    schemas: Vec<Row>,
    versions: Vec<Row>,
    settings: Vec<Row>,
    modes: Vec<Row>,
    consumers: Vec<Row>,
    last: Row,
}

pub(super) async fn read(client: &Client) -> Result<Rows, Error> {
    let all = async |sql: &str| client.query(sql, &[]).await;
    Ok(Rows {
        contexts: all("SELECT name, id_next, listed FROM tidemesh_registry.context").await?,
        schemas: all("SELECT context, id, text, reference_list, metadata, rules
             FROM tidemesh_registry.schema ORDER BY context, id")
        .await?,
        versions: all("SELECT subject, number, schema_id, deleted, created_ms
             FROM tidemesh_registry.version ORDER BY subject, number")
        .await?,
        settings: all("SELECT scope, setting FROM tidemesh_registry.setting").await?,
        modes: all("SELECT scope, mode FROM tidemesh_registry.mode").await?,
        consumers: all("SELECT subject, name, consumer FROM tidemesh_registry.consumer").await?,
        last: client
            .query_one(
                "SELECT number, tag FROM tidemesh_registry.change ORDER BY number DESC LIMIT 1",
                &[],
            )
            .await?,
    })
}

impl Rows {
    pub(super) fn load(self) -> Result<Loaded> {
        let mut state = State::default();
        for row in &self.contexts {
            let context: Arc<str> = Arc::from(row.get::<_, &str>(0));
            let id_next = number(row, 1)?;
            state.apply(Change::PutContext { context: Arc::clone(&context), id_next });
            if !row.get::<_, bool>(2) {
                state.apply(Change::RemoveContext { context });
            }
        }
        for row in &self.schemas {
            let schema = SchemaRow {
                context: row.get(0),
                id: number(row, 1)?,
                text: row.get(2),
                references: row.get(3),
                metadata: row.get(4),
                rules: row.get(5),
            };
            schema.load(&mut state)?;
        }
        load_versions(&self.versions, &mut state)?;
        for row in &self.settings {
            let scope: &str = row.get(0);
            let unknown = || corrupt("a configuration is unknown").with("scope", scope);
            let setting = read_json(row.get(1)).ok().flatten().ok_or_else(unknown)?;
            let (scope, setting) = (Arc::from(scope), Arc::new(setting));
            state.apply(Change::SetSetting { scope, setting });
        }
        for row in &self.modes {
            let name: &str = row.get(1);
            let unknown = || corrupt("a mode is unknown").with("mode", name);
            let mode = Mode::from_name(name).ok_or_else(unknown)?;
            state.apply(Change::SetMode { scope: Arc::from(row.get::<_, &str>(0)), mode });
        }
        for row in &self.consumers {
            state.apply(consumer_row(row.get(0), row.get(1), row.get(2))?);
        }
        let mark = Mark { number: self.last.get(0), tag: self.last.get(1) };
        Ok(Loaded { state, mark })
    }
}

fn load_versions(rows: &[Row], state: &mut State) -> Result<()> {
    let mut subject: Arc<str> = Arc::from("");
    for row in rows {
        let name: &str = row.get(0);
        if *subject != *name {
            subject = Arc::from(name);
        }
        let version = Version {
            number: number(row, 1)?,
            id: number(row, 2)?,
            deleted: row.get(3),
            created_ms: row.get(4),
        };
        state.apply(Change::PutVersion { subject: Arc::clone(&subject), version });
    }
    Ok(())
}

fn number(row: &Row, column: usize) -> Result<u32> {
    let number: i64 = row.get(column);
    u32::try_from(number).map_err(|_| corrupt("a number is out of bounds").with("number", number))
}

/// How many statements are sent before their answers are waited for.
const PIPELINE_MAX: usize = 256;

/// A statement with its values.
struct Step {
    sql: &'static str,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Step {
    fn new(sql: &'static str) -> Self {
        Self { sql, values: Vec::new() }
    }

    fn with(mut self, value: impl ToSql + Sync + Send + 'static) -> Self {
        self.values.push(Box::new(value));
        self
    }

    fn text(self, value: &str) -> Self {
        self.with(value.to_owned())
    }
}

/// Writes changes in their order, within the transaction that is open. Each kind of statement is
/// prepared once, and many are sent together: a network would make each of them wait.
pub(super) async fn write(client: &Client, changes: &[Change]) -> Result<(), Error> {
    let steps: Vec<Step> = changes.iter().flat_map(steps).collect();
    let mut prepared: HashMap<&str, Statement> = HashMap::new();
    for step in &steps {
        if !prepared.contains_key(step.sql) {
            prepared.insert(step.sql, client.prepare(step.sql).await?);
        }
    }
    for group in steps.chunks(PIPELINE_MAX) {
        let mut sent = Vec::with_capacity(group.len());
        for step in group {
            let values = step.values.iter().map(|value| &**value as &(dyn ToSql + Sync));
            let mut answer = Box::pin(client.execute_raw(&prepared[step.sql], values));
            // The first poll sends it, so that they come in this order.
            match poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
                Poll::Ready(done) => drop(done?),
                Poll::Pending => sent.push(answer),
            }
        }
        for answer in sent {
            answer.await?;
        }
    }
    Ok(())
}

fn steps(change: &Change) -> Vec<Step> {
    match change {
        Change::PutContext { context, id_next } => vec![put_context(context, *id_next)],
        Change::RemoveContext { context } => vec![
            Step::new("UPDATE tidemesh_registry.context SET listed = false WHERE name = $1")
                .text(context),
        ],
        Change::AddSchema { context, id, identity } => {
            let sql = "INSERT INTO tidemesh_registry.schema
                       (context, id, text, reference_list, metadata, rules)
                       VALUES ($1, $2, $3, $4, $5, $6)";
            let schema = Step::new(sql)
                .text(context)
                .with(i64::from(*id))
                .text(&identity.text)
                .with(references_text(&identity.references))
                .with(write_json(identity.metadata.as_ref()))
                .with(write_json(identity.rules.as_ref()));
            vec![schema, put_context(context, id.saturating_add(1))]
        }
        Change::RemoveSchema { context, id } => vec![
            Step::new("DELETE FROM tidemesh_registry.schema WHERE context = $1 AND id = $2")
                .text(context)
                .with(i64::from(*id)),
        ],
        Change::PutVersion { subject, version } => vec![put_version(subject, version)],
        Change::RemoveVersion { subject, number } => vec![
            Step::new("DELETE FROM tidemesh_registry.version WHERE subject = $1 AND number = $2")
                .text(subject)
                .with(i64::from(*number)),
        ],
        Change::SetSetting { scope, setting } => {
            let sql = "INSERT INTO tidemesh_registry.setting VALUES ($1, $2)
                       ON CONFLICT (scope) DO UPDATE SET setting = excluded.setting";
            vec![Step::new(sql).text(scope).with(write_json(Some(setting)))]
        }
        Change::RemoveSetting { scope } => {
            vec![Step::new("DELETE FROM tidemesh_registry.setting WHERE scope = $1").text(scope)]
        }
        Change::SetMode { scope, mode } => {
            let sql = "INSERT INTO tidemesh_registry.mode VALUES ($1, $2)
                       ON CONFLICT (scope) DO UPDATE SET mode = excluded.mode";
            vec![Step::new(sql).text(scope).text(mode.name())]
        }
        Change::RemoveMode { scope } => {
            vec![Step::new("DELETE FROM tidemesh_registry.mode WHERE scope = $1").text(scope)]
        }
        Change::PutConsumer { subject, name, consumer } => {
            let sql = "INSERT INTO tidemesh_registry.consumer VALUES ($1, $2, $3)
                       ON CONFLICT (subject, name) DO UPDATE SET consumer = excluded.consumer";
            vec![Step::new(sql).text(subject).text(name).with(write_json(Some(consumer)))]
        }
        Change::RemoveConsumer { subject, name } => vec![
            Step::new("DELETE FROM tidemesh_registry.consumer WHERE subject = $1 AND name = $2")
                .text(subject)
                .text(name),
        ],
    }
}

fn put_context(context: &str, id_next: u32) -> Step {
    let sql = "INSERT INTO tidemesh_registry.context AS known VALUES ($1, $2, true)
               ON CONFLICT (name) DO UPDATE
               SET id_next = greatest(known.id_next, excluded.id_next), listed = true";
    Step::new(sql).text(context).with(i64::from(id_next))
}

fn put_version(subject: &str, version: &Version) -> Step {
    let sql = "INSERT INTO tidemesh_registry.version VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (subject, number) DO UPDATE
               SET schema_id = excluded.schema_id, deleted = excluded.deleted,
                   created_ms = excluded.created_ms";
    let Version { number, id, deleted, created_ms } = *version;
    let step = Step::new(sql).text(subject).with(i64::from(number)).with(i64::from(id));
    step.with(deleted).with(created_ms)
}
