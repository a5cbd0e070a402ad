//! The columns of a pipeline's output: rows of the database and of the topic as the same texts.

use super::form::Compared;
use super::suspects::Suspect;
use super::texts::{pack, unpack};
use super::topic::{Decodes, Resolvers, TopicRecord};
use super::{
    Cell, ColumnDifference, Difference, OutputRequest, QueryColumn, RecordForm, TextRow, What,
};
use std::sync::Arc;
use tidemesh_avro::datum::Datum;
use tidemesh_avro::flat;
use tidemesh_avro::schema::{Kind, NodeId, Schema};
use tidemesh_model::{Error, ErrorKind, Position, Result};
use tidemesh_transport::{RecordRef, RegistryClient};

/// The columns of an output.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    compared: Arc<[Compared]>,
    /// Their names in Avro.
    names: Arc<[String]>,
    key: Arc<[usize]>,
}

impl Columns {
    pub(super) fn new(request: &OutputRequest) -> Result<Self> {
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

    /// The columns as the database is asked for them.
    pub(super) fn asked(&self, request: &OutputRequest) -> Vec<QueryColumn> {
        let column = |(name, compared): (&String, &Compared)| QueryColumn {
            name: name.clone(),
            form: compared.form,
        };
        request.columns.iter().zip(self.compared.iter()).map(column).collect()
    }

    /// A row of the database and its key, packed.
    pub(super) fn of_database(&self, row: TextRow) -> Result<(Vec<u8>, Vec<u8>)> {
        let of = |(text, compared): (Option<String>, &Compared)| {
            text.map(|text| compared.of_text(&text))
        };
        let row: TextRow = row.into_iter().zip(self.compared.iter()).map(of).collect();
        let key = self.key.iter().map(|column| row.get(*column).and_then(Option::as_deref));
        Ok((pack(key)?, pack(row.iter().map(Option::as_deref))?))
    }

    /// A record of these columns, or of the key's, packed.
    fn of_topic(&self, record: &Datum, columns: impl Iterator<Item = usize>) -> Result<Vec<u8>> {
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

    /// How a key differs.
    pub(super) fn difference(
        &self,
        request: &OutputRequest,
        key: &[u8],
        suspect: &Suspect,
    ) -> Difference {
        let cell = |(column, text): (&usize, Option<String>)| Cell {
            column: request.columns[*column].clone(),
            text,
        };
        let key = self.key.iter().zip(unpack(key)).map(cell).collect();
        let what = match (suspect.row(), suspect.latest()) {
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

/// Decodes an output's records.
pub(super) struct OutputDecoder {
    keys: Resolvers,
    values: Resolvers,
    form: RecordForm,
    columns: Columns,
    /// How many records there were: where the next one stands.
    count: u64,
}

impl OutputDecoder {
    pub(super) fn new(
        registry: RegistryClient,
        request: &OutputRequest,
        columns: Columns,
    ) -> Result<Self> {
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
        let key = self.columns.of_topic(&key, self.columns.key.iter().copied())?;
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
        let row = row.map(|row| self.columns.of_topic(row, all)).transpose()?;
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

/// The error of a record that stands for no row.
pub(super) fn no_row() -> Error {
    Error::new(ErrorKind::Malformed, "read a topic's record")
        .because("it has no key: something else writes to this topic")
}
