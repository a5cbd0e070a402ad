//! Random values in Debezium's types: what they must become is computed here another way, and
//! apache-avro reads it.

use super::random::Tape;
use super::rows::{IDS, Records, both_read, origin, source_block};
use super::{shown, tapes};
use proptest::prelude::*;
use tidemesh_avro::datum::Datum;
use tidemesh_avro::envelope::EncodeBuffers;
use tidemesh_avro::event::EventEncoder;
use tidemesh_avro::table::topic_schemas;
use tidemesh_model::{
    Change, DataType, EnvelopeForm, EventFormat, Field, KeyOrigin, RowKey, RowTypes, SourceKind,
    TableName, TableSchema, Value,
};

const FORMAT: EventFormat =
    EventFormat { types: RowTypes::Debezium, envelope: EnvelopeForm::Debezium };

/// A type, a value of it, and what it is in the topic.
struct Case {
    data_type: DataType,
    kind: SourceKind,
    value: Value,
    expected: Datum,
}

fn case(data_type: DataType, kind: SourceKind, value: Value, expected: Datum) -> Case {
    Case { data_type, kind, value, expected }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn string(text: impl Into<String>) -> Datum {
    Datum::String(text.into())
}

fn record(fields: Vec<(&str, Datum)>) -> Datum {
    Datum::Record(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

fn below(tape: &mut Tape<'_>, limit: i64) -> i64 {
    tape.long().rem_euclid(limit)
}

fn draw(tape: &mut Tape<'_>) -> Case {
    match tape.below(10) {
        0 => {
            let value = tape.int() >> 16;
            case(DataType::Int32, SourceKind::Int16, Value::Int32(value), Datum::Int(value))
        }
        1 => {
            let millis = below(tape, 86_400_001);
            let kind = SourceKind::Time { digits: tape.byte() % 4 };
            let expected = Datum::Int(i32::try_from(millis).unwrap());
            case(DataType::Time, kind, Value::Time(millis * 1000), expected)
        }
        2 => {
            let millis = tape.long() / 1000;
            let kind = SourceKind::Timestamp { digits: tape.byte() % 4 };
            let value = Value::Timestamp(millis * 1000);
            case(DataType::Timestamp, kind, value, Datum::Long(millis))
        }
        3 => {
            let micros = tape.long();
            let kind = SourceKind::Timestamp { digits: 4 + tape.byte() % 3 };
            let value = Value::Timestamp(micros);
            case(DataType::Timestamp, kind, value, Datum::Long(micros))
        }
        4 => moment(tape),
        5 => time_tz(tape),
        6 => interval(tape),
        7 => numeric(tape),
        8 => bits(tape),
        _ => {
            let (x, y) = (f64::from(tape.int()) / 8.0, f64::from(tape.int()) * 1024.0);
            let mut wkb = vec![1, 1, 0, 0, 0];
            wkb.extend([x, y].iter().flat_map(|number| number.to_le_bytes()));
            let expected = record(vec![
                ("x", Datum::Double(x)),
                ("y", Datum::Double(y)),
                ("wkb", Datum::Bytes(wkb)),
                ("srid", Datum::Null),
            ]);
            case(DataType::Text, SourceKind::Point, text(&format!("({x},{y})")), expected)
        }
    }
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days are counted from year to year and from month to month.
fn moment(tape: &mut Tape<'_>) -> Case {
    let year = 1970 + below(tape, 9000);
    let month = below(tape, 12);
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let day = below(tape, lengths[usize::try_from(month).unwrap()]);
    let of_year: i64 = lengths.iter().take(usize::try_from(month).unwrap()).sum();
    let of_years: i64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let (hour, minute, second) = (below(tape, 24), below(tape, 60), below(tape, 60));
    let digits = tape.byte() % 7;
    let unit = 10_i64.pow(6 - u32::from(digits));
    let fraction = below(tape, 1_000_000) / unit;
    let days = of_years + of_year + day;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    let micros = seconds * 1_000_000 + fraction * unit;
    let plus = if year > 9999 { "+" } else { "" };
    let point = match digits {
        0 => String::new(),
        digits => format!(".{fraction:0width$}", width = usize::from(digits)),
    };
    let expected = format!(
        "{plus}{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}{point}Z",
        month + 1,
        day + 1
    );
    let kind = SourceKind::TimestampTz { digits };
    case(DataType::TimestampTz, kind, Value::TimestampTz(micros), string(expected))
}

fn time_tz(tape: &mut Tape<'_>) -> Case {
    let (utc, quarters) = (below(tape, 86_400), below(tape, 97) - 48);
    let local = (utc + quarters * 900).rem_euclid(86_400);
    let clock = |seconds: i64| {
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    };
    let (sign, size) = (if quarters < 0 { '-' } else { '+' }, quarters.abs() * 15);
    let value = format!("{}.25{sign}{:02}:{:02}", clock(local), size / 60, size % 60);
    let expected = string(format!("{}.25Z", clock(utc)));
    case(DataType::Text, SourceKind::TimeTz, text(&value), expected)
}

fn interval(tape: &mut Tape<'_>) -> Case {
    let part = |tape: &mut Tape<'_>| below(tape, 2001) - 1000;
    let (years, months, days) = (part(tape), part(tape), part(tape));
    let (hours, minutes, tenths) = (part(tape), part(tape), part(tape));
    let sign = if tenths < 0 { "-" } else { "" };
    let seconds = format!("{sign}{}.{}", tenths.abs() / 10, tenths.abs() % 10);
    let value = format!("P{years}Y{months}M{days}DT{hours}H{minutes}M{seconds}S");
    // A twelfth of 365.25 days is 30 days and 10.5 hours.
    let of_months = (years * 12 + months) * (30 * 24 * 10 + 105) * 360;
    let of_time = days * 86_400 + hours * 3600 + minutes * 60;
    let micros = (of_months + of_time) * 1_000_000 + tenths * 100_000;
    case(DataType::Text, SourceKind::Interval, text(&value), Datum::Long(micros))
}

fn numeric(tape: &mut Tape<'_>) -> Case {
    let (mut unscaled, mut scale) = (tape.long(), usize::from(tape.byte() % 15));
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    let value = format!("{sign}{whole}{point}{fraction}");
    while scale > 0 && unscaled % 10 == 0 {
        unscaled /= 10;
        scale -= 1;
    }
    let bytes = unscaled.to_be_bytes();
    let repeats = |at: usize| {
        let fill = if unscaled < 0 { 0xff } else { 0 };
        bytes[at] == fill && (bytes[at + 1] ^ fill) & 0x80 == 0
    };
    let begin = (0..7).find(|at| !repeats(*at)).unwrap_or(7);
    let expected = record(vec![
        ("scale", Datum::Int(i32::try_from(scale).unwrap())),
        ("value", Datum::Bytes(bytes[begin..].to_vec())),
    ]);
    case(DataType::Text, SourceKind::Numeric, text(&value), expected)
}

fn bits(tape: &mut Tape<'_>) -> Case {
    let (number, length) = (tape.long().cast_unsigned(), 2 + tape.below(62));
    let number = number % (1 << length);
    let mut bytes = number.to_le_bytes().to_vec();
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    let kind = SourceKind::Bits { length: u32::try_from(length).ok() };
    case(DataType::Text, kind, text(&format!("{number:0length$b}")), Datum::Bytes(bytes))
}

fn field(name: String, data_type: DataType, kind: SourceKind) -> Field {
    Field {
        name,
        data_type,
        source_type: "t".into(),
        nullable: true,
        default: None,
        aliases: Vec::new(),
        kind,
        key_default: None,
    }
}

proptest! {
    #[test]
    fn debeziums_forms_come_back_from_apache_avro(bytes in tapes()) {
        let mut tape = Tape(&bytes);
        let (mut fields, mut row, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        fields.push(field("id".into(), DataType::Int32, SourceKind::Plain));
        row.push(Value::Int32(1));
        expected.push(("id".into(), Datum::Int(1)));
        for index in 0..=tape.below(6) {
            let Case { data_type, kind, value, expected: datum } = draw(&mut tape);
            let name = format!("c{index}");
            if tape.yes() {
                let data_type = DataType::Array(Box::new(data_type));
                fields.push(field(name.clone(), data_type, kind));
                row.push(Value::Array(vec![Value::Null, value]));
                expected.push((name.into(), Datum::Array(vec![Datum::Null, datum])));
            } else {
                fields.push(field(name.clone(), data_type, kind));
                row.push(value);
                expected.push((name.into(), datum));
            }
        }
        let key = RowKey { origin: KeyOrigin::PrimaryKey, columns: vec![0] };
        let table = TableSchema::new(TableName::new("public", "t"), fields, key).unwrap();
        let (schemas, plan) =
            topic_schemas("shop.public.t", &table, &source_block(), FORMAT).unwrap();
        let encoder = EventEncoder::new(FORMAT.envelope, plan, &table, &source_block(), IDS);
        let (mut records, mut buffers) = (Records::default(), EncodeBuffers::default());
        let change = Change::Create { after: row };
        encoder.encode(&origin(), &change, 0, &mut buffers, &mut records).unwrap();
        let event = both_read(&schemas.value, IDS.value, records.0[0].1.as_deref().unwrap());
        prop_assert_eq!(
            shown(event.field("after").unwrap().clone()),
            shown(Datum::Record(expected)),
            "{}", schemas.value
        );
    }
}
