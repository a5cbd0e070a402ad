//! Records of the topic, as they are written by the old schema and by the new one.

use super::case::{Case, Column, Type};
use super::random::Random;
use super::run::PARTITIONS;
use super::support::framed;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use tidemesh_avro::schema::Schema;
use tidemesh_plan::mesh::Topic;

/// How many events there are before the change, and how many behind it.
const EVENTS: usize = 16;
/// How many keys they are of.
const KEYS: usize = 5;

/// A record: its key and value, framed.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

/// Records of one key are in one partition; those without go round.
pub(crate) fn key_partition(at: usize, record: &Record) -> usize {
    match &record.key {
        Some(key) => key.iter().map(|byte| usize::from(*byte)).sum::<usize>() % PARTITIONS,
        None => at % PARTITIONS,
    }
}

/// The ids of values' schemas.
pub(crate) const OLD: u32 = 2;
pub(crate) const NEW: u32 = 3;

/// What the topic holds.
pub(crate) struct Feed {
    /// Before the change.
    pub(crate) before: Vec<Record>,
    /// Behind it, as if it had not been made.
    pub(crate) as_old: Vec<Record>,
    /// Behind it.
    pub(crate) as_new: Vec<Record>,
    /// Every row as it is at the change, read anew: the snapshot of a table's next topic.
    pub(crate) snapshot: Vec<Record>,
    /// Every row as it is in the end, read anew.
    pub(crate) last: Vec<Record>,
}

/// A row's cells, by the columns' places: as they were, and as they are by the new type.
type Row = Vec<(Json, Json)>;

struct Writer<'w> {
    case: &'w Case,
    old: &'w Topic,
    new: &'w Topic,
    rows: BTreeMap<i64, Row>,
}

/// One event: what happened to a row, and whether the row before it is known whole.
struct Event {
    op: &'static str,
    id: i64,
    before: Option<Row>,
    after: Option<Row>,
    whole: bool,
}

impl Feed {
    pub(crate) fn random(case: &Case, old: &Topic, new: &Topic, random: &mut Random) -> Self {
        let mut writer = Writer { case, old, new, rows: BTreeMap::new() };
        let first: Vec<Event> = (0..EVENTS).map(|_| writer.event(random)).collect();
        let at_change = writer.rows.clone();
        let second: Vec<Event> = (0..EVENTS).map(|_| writer.event(random)).collect();
        let write = |events: &[Event], new: bool| -> Vec<Record> {
            events.iter().flat_map(|event| writer.records(event, new)).collect()
        };
        let read = |rows: &BTreeMap<i64, Row>| -> Vec<Record> {
            let event = |(id, row): (&i64, &Row)| Event {
                op: "r",
                id: *id,
                before: None,
                after: Some(row.clone()),
                whole: true,
            };
            rows.iter().map(event).flat_map(|event| writer.records(&event, true)).collect()
        };
        Self {
            before: write(&first, false),
            as_old: write(&second, false),
            as_new: write(&second, true),
            snapshot: read(&at_change),
            last: read(&writer.rows),
        }
    }
}

impl Writer<'_> {
    fn row(&self, random: &mut Random) -> Row {
        let cell = |column: &Column| match (&column.old, &column.new) {
            (Some((_, of)), Some((_, to))) if of != to => {
                let value = of.value(random);
                let cast = of.cast(&value, *to);
                (value, cast)
            }
            (Some((_, of)), _) | (None, Some((_, of))) => {
                let value = of.value(random);
                (value.clone(), value)
            }
            (None, None) => (Json::Null, Json::Null),
        };
        self.case.columns.iter().map(cell).collect()
    }

    fn event(&mut self, random: &mut Random) -> Event {
        let id = i64::try_from(random.below(KEYS)).unwrap();
        let before = self.rows.get(&id).cloned();
        // A row of nulls alone is not told from one of which only the key is known.
        let whole = random.chance(70) && before.as_ref().is_none_or(|row| self.is_told(row));
        if before.is_some() && self.case.table && random.chance(20) {
            self.rows.remove(&id);
            return Event { op: "d", id, before, after: None, whole };
        }
        let after = self.row(random);
        self.rows.insert(id, after.clone());
        let op = if before.is_some() { "u" } else { "c" };
        Event { op, id, before, after: Some(after), whole }
    }

    /// Whether a row has a value beside its key, both as it was and as it is.
    fn is_told(&self, row: &Row) -> bool {
        let told = |new| {
            let shown = self.shown(0, row, new);
            shown.as_object().unwrap().iter().any(|(name, value)| name != "id" && !value.is_null())
        };
        told(false) && told(true)
    }

    fn records(&self, event: &Event, new: bool) -> Vec<Record> {
        let topic = if new { self.new } else { self.old };
        let after = event.after.as_ref().map_or(Json::Null, |row| self.shown(event.id, row, new));
        let before = event.before.as_ref().map_or(Json::Null, |row| match event.whole {
            true => self.shown(event.id, row, new),
            false => json!({"id": event.id}),
        });
        let id = if new { NEW } else { OLD };
        let Some(key) = &topic.key else {
            let value = framed(id, &topic.value, &after);
            return vec![Record { key: None, value: Some(value) }];
        };
        // A column of the key is never null in its row either.
        let [before, after] = [before, after].map(|row| match row.is_null() {
            true => row,
            false => filled(key, &row),
        });
        let value = json!({"before": before, "after": after, "source": source(), "op": event.op});
        let of_key = if after.is_null() { &before } else { &after };
        let key = framed(1, key, of_key);
        let value = framed(id, &topic.value, &value);
        let mut records = vec![Record { key: Some(key.clone()), value: Some(value) }];
        if event.op == "d" {
            records.push(Record { key: Some(key), value: None });
        }
        records
    }

    fn shown(&self, id: i64, row: &Row, new: bool) -> Json {
        let mut shown = Map::from_iter([("id".to_owned(), json!(id))]);
        for (column, (old, cast)) in self.case.columns.iter().zip(row) {
            let (name, value) = if new { (&column.new, cast) } else { (&column.old, old) };
            if let Some((name, _)) = name {
                shown.insert(name.clone(), value.clone());
            }
        }
        Json::Object(shown)
    }
}

/// A key's columns are never null.
fn filled(key: &Schema, row: &Json) -> Json {
    use tidemesh_avro::schema::Kind;
    let Kind::Record(fields) = &key.node(key.root()).kind else { return row.clone() };
    let mut row = row.clone();
    for field in fields.iter().filter(|field| row[&field.name].is_null()).collect::<Vec<_>>() {
        row[&field.name] = match &key.node(field.node).kind {
            Kind::String => json!(""),
            Kind::Boolean => json!(false),
            Kind::Double => json!(0.0),
            _ => json!(0),
        };
    }
    row
}

fn source() -> Json {
    json!({"version": "1", "connector": "postgresql", "name": "shop", "ts_ms": 1, "snapshot": "false",
        "db": "shop", "schema": "public", "table": "t", "epoch": 1})
}

/// The topic beside it: a few rows.
pub(crate) fn other(topic: &Topic) -> Vec<Record> {
    let key = topic.key.as_ref().unwrap();
    let of = |id: i64| {
        let after = json!({"id": id, "t": format!("u{id}")});
        let value = json!({"before": null, "after": after, "source": source(), "op": "c"});
        Record { key: Some(framed(1, key, &after)), value: Some(framed(OLD, &topic.value, &value)) }
    };
    (0..3).map(of).collect()
}

/// Types whose values as another type are the same number or text.
pub(crate) fn widened(of: Type, to: Type) -> bool {
    of == to
        || matches!(
            (of, to),
            (Type::Int, Type::Long | Type::Double) | (Type::Decimal(_), Type::Decimal(_))
        )
}
