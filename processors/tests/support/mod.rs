//! Chains over records that are written and read as JSON.
#![allow(dead_code, reason = "each test takes what it needs")]

#[path = "../../../common/plan/tests/support/mod.rs"]
pub(crate) mod plan;

pub(crate) mod job;

use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use tidemesh_avro::datum::{Datum, decode, encode};
use tidemesh_avro::envelope::SchemaIds;
use tidemesh_avro::frame;
use tidemesh_avro::schema::{Kind, NodeId, Schema};
use tidemesh_model::{EnvelopeForm, Error, Position, Result};
use tidemesh_plan::output::{OutputSchemas, Target, output_schemas};
use tidemesh_plan::query::{Input, Query};
use tidemesh_processors::fused::{
    Chain, ChainPlan, InputRecord, LOOKUP_BYTES_MAX, Lookups, RecordOut,
};

/// JSON as a datum of a schema; what an object lacks is null.
pub(crate) fn datum(schema: &Schema, id: NodeId, json: &Json) -> Datum {
    match &schema.node(id).kind {
        Kind::Null => Datum::Null,
        Kind::Boolean => Datum::Boolean(json.as_bool().unwrap()),
        Kind::Int => Datum::Int(json.as_i64().unwrap().try_into().unwrap()),
        Kind::Long => Datum::Long(json.as_i64().unwrap()),
        Kind::Float => Datum::Float(json.to_string().parse().unwrap()),
        Kind::Double => Datum::Double(json.as_f64().unwrap()),
        Kind::Bytes => Datum::Bytes(decimal(json)),
        Kind::String => Datum::String(json.as_str().unwrap().into()),
        Kind::Fixed(_) => Datum::Fixed(json.as_str().unwrap().bytes().collect()),
        Kind::Enum { .. } => Datum::Enum(json.as_str().unwrap().into()),
        Kind::Array(items) => {
            let items = json.as_array().unwrap().iter().map(|item| datum(schema, *items, item));
            Datum::Array(items.collect())
        }
        Kind::Map(values) => {
            let entries = json.as_object().unwrap().iter();
            Datum::Map(entries.map(|(k, v)| (k.clone(), datum(schema, *values, v))).collect())
        }
        Kind::Union(branches) => {
            let is_null = |id: &&NodeId| matches!(schema.node(**id).kind, Kind::Null);
            if json.is_null() {
                return Datum::Null;
            }
            let fits = |id: &&NodeId| match &schema.node(**id).kind {
                Kind::String => json.is_string(),
                Kind::Int | Kind::Long => json.is_i64(),
                Kind::Null => false,
                _ => true,
            };
            let branch = branches.iter().filter(|id| !is_null(id)).find(fits).unwrap();
            datum(schema, *branch, json)
        }
        Kind::Record(fields) => Datum::Record(
            fields
                .iter()
                .map(|field| {
                    let value = json.get(&field.name).unwrap_or(&Json::Null);
                    (Arc::from(field.name.as_str()), datum(schema, field.node, value))
                })
                .collect(),
        ),
    }
}

/// A number of hundredths in as few bytes as it needs.
fn decimal(json: &Json) -> Vec<u8> {
    let bytes = json.as_i64().unwrap().to_be_bytes();
    let redundant =
        |pair: &[u8]| pair[0] == 0 && pair[1] < 0x80 || pair[0] == 0xff && pair[1] >= 0x80;
    let spare = bytes.windows(2).take_while(|pair| redundant(pair)).count();
    bytes[spare..].to_vec()
}

/// A datum as JSON: bytes as the whole number that they are.
pub(crate) fn shown(datum: &Datum) -> Json {
    match datum {
        Datum::Null => Json::Null,
        Datum::Boolean(value) => json!(value),
        Datum::Int(value) => json!(value),
        Datum::Long(value) => json!(value),
        Datum::Float(value) => json!(value),
        Datum::Double(value) => json!(value),
        Datum::Bytes(bytes) | Datum::Fixed(bytes) => {
            let fill = if bytes.first().is_some_and(|byte| *byte >= 0x80) { -1 } else { 0 };
            json!(bytes.iter().fold(fill, |number: i64, byte| number << 8 | i64::from(*byte)))
        }
        Datum::String(text) | Datum::Enum(text) => json!(text),
        Datum::Array(items) => items.iter().map(shown).collect(),
        Datum::Map(entries) => {
            Json::Object(entries.iter().map(|(key, value)| (key.clone(), shown(value))).collect())
        }
        Datum::Record(fields) => Json::Object(
            fields.iter().map(|(name, value)| (name.to_string(), shown(value))).collect(),
        ),
    }
}

/// The datum of a schema that bytes are, as JSON.
pub(crate) fn decoded(schema: &Schema, bytes: &[u8]) -> Json {
    shown(&decode(schema, bytes).unwrap())
}

pub(crate) fn framed(id: u32, schema: &Schema, json: &Json) -> Vec<u8> {
    let mut bytes = frame::head(id).to_vec();
    encode(schema, &datum(schema, schema.root(), json), &mut bytes).unwrap();
    bytes
}

/// Where a key or a value stands.
type Part = Option<Range<usize>>;

/// Records of one partition, in one run of bytes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    parts: Vec<(Part, Part)>,
}

impl Batch {
    pub(crate) fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let mut add = |part: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(part);
            start..self.bytes.len()
        };
        self.parts.push((key.map(&mut add), value.map(&mut add)));
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = Result<InputRecord<'_>>> + Clone {
        let part = |range: &Part| range.clone().map(|range| &self.bytes[range]);
        self.parts.iter().enumerate().map(move |(offset, (key, value))| {
            Ok(InputRecord {
                offset: offset as u64,
                timestamp_ms: 1000,
                key: part(key),
                value: part(value),
                position: None,
                operation: None,
            })
        })
    }
}

/// Key and value.
pub(crate) type Record = (Option<Vec<u8>>, Option<Vec<u8>>);

/// What a chain gave: records, and failures by offset.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) records: Vec<Record>,
    pub(crate) failures: Vec<(u64, String)>,
}

impl RecordOut for Given {
    fn record(
        &mut self,
        _: i64,
        key: Option<&[u8]>,
        _: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        self.records.push((key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec)));
        Ok(())
    }

    fn failed(&mut self, offset: u64, error: Error) -> Result<()> {
        self.failures.push((offset, error.report()));
        Ok(())
    }
}

/// Counts records and their bytes, and forgets them.
#[derive(Debug, Default)]
pub(crate) struct Nowhere {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl RecordOut for Nowhere {
    fn record(
        &mut self,
        _: i64,
        key: Option<&[u8]>,
        _: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<()> {
        self.records += 1;
        self.bytes += (key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)) as u64;
        Ok(())
    }

    fn failed(&mut self, _: u64, error: Error) -> Result<()> {
        Err(error)
    }
}

pub(crate) const IDS: SchemaIds = SchemaIds { key: 101, value: 102 };

/// A chain with what is needed to feed it and read it.
pub(crate) struct Bench {
    pub(crate) inputs: Vec<Input>,
    pub(crate) query: Query,
    pub(crate) schemas: OutputSchemas,
    pub(crate) lookups: Lookups,
    pub(crate) chain: Chain,
}

impl Bench {
    pub(crate) fn new(chain: &[(&str, &str)], envelope: EnvelopeForm) -> Self {
        Self::over(plan::inputs(), chain, envelope)
    }

    pub(crate) fn over(inputs: Vec<Input>, chain: &[(&str, &str)], envelope: EnvelopeForm) -> Self {
        let query = plan::resolve_chain(&inputs, chain).unwrap_or_else(|error| panic!("{error}"));
        let target = Target { pipeline: "p", topic: "mesh.out", envelope, key: None };
        let schemas =
            output_schemas(&query, &inputs, target).unwrap_or_else(|error| panic!("{error}"));
        let mut lookups = Lookups::new(std::iter::once(&query), &inputs, LOOKUP_BYTES_MAX).unwrap();
        let mut chain = Chain::new(ChainPlan {
            query: &query,
            inputs: &inputs,
            lookups: &lookups,
            schemas: &schemas,
            ids: IDS,
            pipeline: "p",
            topic: "mesh.out",
        })
        .unwrap();
        for (place, input) in inputs.iter().enumerate() {
            chain.learn(place, 2, &input.relation.value).unwrap();
            lookups.learn(place, 2, &input.relation.value).unwrap();
        }
        Self { inputs, query, schemas, lookups, chain }
    }

    pub(crate) fn sql(sql: &str, envelope: EnvelopeForm) -> Self {
        Self::new(&[("out", sql)], envelope)
    }

    /// An event of an input, and the tombstone behind a delete.
    pub(crate) fn event(
        &self,
        batch: &mut Batch,
        input: usize,
        op: &str,
        before: Json,
        after: Json,
    ) {
        let relation = &self.inputs[input].relation;
        let id = if after.is_null() { &before["id"] } else { &after["id"] };
        let key = relation.key.as_ref().map(|schema| framed(1, schema, &json!({"id": id})));
        let value = match &relation.key {
            Some(_) => json!({"before": before, "after": after, "op": op}),
            None => after,
        };
        batch.push(key.as_deref(), Some(&framed(2, &relation.value, &value)));
        if op == "d" {
            batch.push(key.as_deref(), None);
        }
    }

    pub(crate) fn run(&mut self, input: usize, batch: &Batch) -> Given {
        let mut given = Given::default();
        self.chain
            .process(input, &batch.bytes, batch.records(), &self.lookups, &mut given)
            .unwrap();
        given
    }

    /// Fills a lookup's table; answers the failures by offset.
    pub(crate) fn fill(&mut self, input: usize, batch: &Batch) -> Vec<(u64, String)> {
        let mut failures = Vec::new();
        let failed = |offset, error: Error| {
            failures.push((offset, error.report()));
            Ok(())
        };
        self.lookups.take(input, &batch.bytes, batch.records(), failed).unwrap();
        failures
    }

    /// Records as JSON: `[key, value]`.
    pub(crate) fn shown(&self, given: &Given) -> Vec<Json> {
        let key = self.schemas.key.as_deref().map(|key| Schema::parse(key).unwrap());
        let value = Schema::parse(&self.schemas.value).unwrap();
        let read = |schema: &Schema, id: u32, bytes: &[u8]| {
            let (found, payload) = frame::split(bytes).unwrap();
            assert_eq!(found, id);
            shown(&decode(schema, payload).unwrap())
        };
        let show = |(k, v): &Record| {
            let k = k.as_ref().zip(key.as_ref()).map(|(bytes, key)| read(key, IDS.key, bytes));
            let v = v.as_ref().map(|bytes| read(&value, IDS.value, bytes));
            json!([k, v])
        };
        given.records.iter().map(show).collect()
    }
}

/// The state that records leave: by key, as JSON; the row that is live.
pub(crate) fn folded(records: &[Json]) -> BTreeMap<String, Json> {
    let mut state = BTreeMap::new();
    for record in records {
        let key = record[0].to_string();
        let row = record[1].get("after").unwrap_or(&record[1]);
        if row.is_null() {
            state.remove(&key);
        } else {
            state.insert(key, row.clone());
        }
    }
    state
}

/// A position, for records that carry one.
pub(crate) fn position(commit: u64) -> [u8; Position::BYTES] {
    Position { epoch: 1, commit, ordinal: 1 }.to_bytes()
}
