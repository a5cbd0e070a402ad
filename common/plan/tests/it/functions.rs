//! Whatever of functions, operators and casts is planned can be computed: each over each type of its
//! arguments, with values and without.

use crate::support::{input, resolve};
use datafusion_common::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int32Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array,
};
use datafusion_common::arrow::buffer::OffsetBuffer;
use datafusion_common::arrow::compute::take;
use datafusion_common::arrow::datatypes::{DataType, Field, Schema};
use datafusion_common::{DFSchema, DataFusionError};
use datafusion_physical_expr::PhysicalExpr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tidemesh_avro::schema::Schema as Avro;
use tidemesh_plan::query::{Input, Step};
use tidemesh_plan::sql::{function_names, physical};

const ROW: &str = r#"{"type":"record","name":"Row","fields":[
    {"name":"b","type":["null","boolean"]},
    {"name":"i","type":["null","int"]},
    {"name":"l","type":["null","long"]},
    {"name":"f","type":["null","float"]},
    {"name":"d","type":["null","double"]},
    {"name":"n","type":["null",{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}]},
    {"name":"t","type":["null","string"]},
    {"name":"y","type":["null","bytes"]},
    {"name":"dt","type":["null",{"type":"int","logicalType":"date"}]},
    {"name":"tm","type":["null",{"type":"long","logicalType":"time-micros"}]},
    {"name":"ts","type":["null",{"type":"long","logicalType":"local-timestamp-micros"}]},
    {"name":"tz","type":["null",{"type":"long","logicalType":"timestamp-micros"}]},
    {"name":"r","type":["null",{"type":"record","name":"R","fields":[{"name":"x","type":["null","int"]}]}]},
    {"name":"ta","type":["null",{"type":"array","items":["null","string"]}]},
    {"name":"ia","type":["null",{"type":"array","items":["null","int"]}]},
    {"name":"m","type":["null",{"type":"map","values":["null","string"]}]}]}"#;

const COLUMNS: [&str; 16] =
    ["b", "i", "l", "f", "d", "n", "t", "y", "dt", "tm", "ts", "tz", "r", "ta", "ia", "m"];

fn table() -> Vec<Input> {
    vec![input("t", None, Avro::parse(ROW).unwrap())]
}

fn column(name: &str, of: &DataType) -> ArrayRef {
    match name {
        "b" => Arc::new(BooleanArray::from(vec![None, Some(true), Some(false)])),
        "i" => Arc::new(Int32Array::from(vec![None, Some(2), Some(-3)])),
        "l" => Arc::new(Int64Array::from(vec![None, Some(2), Some(-3)])),
        "f" => Arc::new(Float32Array::from(vec![None, Some(0.5), Some(-3.0)])),
        "d" => Arc::new(Float64Array::from(vec![None, Some(0.5), Some(-3.0)])),
        "n" => Arc::new(
            Decimal128Array::from(vec![None, Some(150), Some(-300)])
                .with_precision_and_scale(12, 2)
                .unwrap(),
        ),
        "t" => Arc::new(StringArray::from(vec![None, Some("ab"), Some("")])),
        "y" => Arc::new(BinaryArray::from(vec![None, Some(&b"ab"[..]), Some(b"\xff")])),
        "dt" => Arc::new(Date32Array::from(vec![None, Some(20_000), Some(-1)])),
        "tm" => Arc::new(Time64MicrosecondArray::from(vec![None, Some(1_000_000), Some(0)])),
        "ts" => Arc::new(TimestampMicrosecondArray::from(vec![
            None,
            Some(1_700_000_000_000_000),
            Some(-1),
        ])),
        "tz" => Arc::new(
            TimestampMicrosecondArray::from(vec![None, Some(1_700_000_000_000_000), Some(-1)])
                .with_timezone("+00:00"),
        ),
        _ => nested(name, of),
    }
}

fn nested(name: &str, of: &DataType) -> ArrayRef {
    match (name, of) {
        ("r", DataType::Struct(fields)) => Arc::new(StructArray::new(
            fields.clone(),
            vec![Arc::new(Int32Array::from(vec![None, Some(2), None]))],
            Some(vec![false, true, true].into()),
        )),
        ("ta" | "ia", DataType::List(item)) => {
            let items: ArrayRef = match item.data_type() {
                DataType::Utf8 => Arc::new(StringArray::from(vec![Some("ab"), None, Some("")])),
                _ => Arc::new(Int32Array::from(vec![Some(2), None, Some(-3)])),
            };
            let offsets = OffsetBuffer::from_lengths([0, 3, 0]);
            Arc::new(ListArray::new(
                item.clone(),
                offsets,
                items,
                Some(vec![false, true, true].into()),
            ))
        }
        ("m", DataType::Map(entries, _)) => {
            let DataType::Struct(fields) = entries.data_type() else { panic!() };
            let of = StructArray::new(
                fields.clone(),
                vec![
                    Arc::new(StringArray::from(vec!["ab", "c"])),
                    Arc::new(StringArray::from(vec![Some("x"), None])),
                ],
                None,
            );
            let offsets = OffsetBuffer::from_lengths([0, 2, 0]);
            let nulls = Some(vec![false, true, true].into());
            Arc::new(MapArray::new(entries.clone(), offsets, of, nulls, false))
        }
        _ => panic!("{name} {of}"),
    }
}

/// Whether an expression is taken.
///
/// # Errors
///
/// Why one that is taken cannot be computed of these types, whatever the values.
fn fault(inputs: &[Input], expr: &str) -> Result<bool, String> {
    let Ok(query) = resolve(inputs, &format!("SELECT {expr} AS x FROM t")) else {
        return Ok(false);
    };
    let branch = &query.branches[0];
    let slots = branch.schema().unwrap();
    let columns = slots.fields().iter().take(COLUMNS.len());
    let columns = columns.map(|field| field.as_ref().clone().with_nullable(true));
    let arrow = Arc::new(Schema::new(columns.collect::<Vec<Field>>()));
    let schema = DFSchema::try_from(arrow.as_ref().clone()).unwrap();
    for step in &branch.steps {
        let Step::Compute { value, .. } = step else { continue };
        let value = physical(value.clone(), &schema).map_err(|error| error.to_string())?;
        (0..3).try_for_each(|row| run(value.as_ref(), &arrow, row))?;
    }
    Ok(true)
}

fn run(value: &dyn PhysicalExpr, schema: &Arc<Schema>, row: u32) -> Result<(), String> {
    let columns = schema.fields().iter().zip(COLUMNS);
    // Not a slice, behind which the values of other rows are.
    let row_only = UInt32Array::from(vec![row]);
    let columns = columns
        .map(|(field, name)| take(&column(name, field.data_type()), &row_only, None).unwrap());
    let batch = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
    let made = AssertUnwindSafe(|| value.evaluate(&batch)?.into_array(1));
    match catch_unwind(made).map_err(|_| "it panics")? {
        Ok(made) if made.data_type() != &value.data_type(schema).unwrap() => {
            Err(format!("it makes {}", made.data_type()))
        }
        Ok(_) => Ok(()),
        Err(error) => told(&error, row),
    }
}

/// A mistake of types, and not of a value. Nulls are no values that anything could fail at.
fn told(error: &DataFusionError, row: u32) -> Result<(), String> {
    let is_type = matches!(
        error.find_root(),
        DataFusionError::Internal(_)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Plan(_)
    );
    if is_type || row == 0 {
        return Err(format!("row {row}: {}", error.strip_backtrace()));
    }
    Ok(())
}

/// The calls of a function over each type, and over each with text, a number and the same beside it.
fn calls(name: &str) -> Vec<String> {
    let mut calls = vec![format!("{name}()")];
    for first in COLUMNS {
        calls.push(format!("{name}({first})"));
        for second in ["t", "2", first] {
            calls.push(format!("{name}({first}, {second})"));
        }
        calls.push(format!("{name}({first}, t, 't')"));
        calls.push(format!("{name}('day', {first})"));
    }
    calls
}

/// How many of these expressions are taken.
///
/// # Panics
///
/// If one that is taken cannot be computed.
fn all_run(exprs: impl Iterator<Item = String>) -> usize {
    let inputs = table();
    let (mut taken, mut wrong) = (0, String::new());
    for expr in exprs {
        match fault(&inputs, &expr) {
            Ok(is_taken) => taken += usize::from(is_taken),
            Err(why) => wrong += &format!("{expr}: {why}\n"),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    taken
}

#[test]
fn every_function_that_is_planned_runs() {
    let names = function_names();
    let taken = all_run(names.keys().flat_map(|name| calls(name)));
    assert!(taken > 500, "{taken}");
}

#[test]
fn every_operator_that_is_planned_runs() {
    let operators = [
        "+",
        "-",
        "*",
        "/",
        "%",
        "||",
        "&",
        "|",
        "#",
        "<<",
        ">>",
        "=",
        "<>",
        "<",
        ">=",
        "~",
        "~*",
        "!~",
        "LIKE",
        "ILIKE",
        "AND",
        "OR",
        "IS DISTINCT FROM",
        "->",
        "->>",
        "@>",
        "<@",
    ];
    let pairs = operators.iter().flat_map(|operator| {
        let of = move |first| {
            let seconds = ["t", "i", "n", "dt", "'b'", "2", first];
            seconds.map(|second| format!("{first} {operator} {second}"))
        };
        COLUMNS.into_iter().flat_map(of)
    });
    let alone = COLUMNS.into_iter().flat_map(|column| {
        ["NOT @", "-@", "@ IS NULL", "@ IS TRUE", "@ IN ('b', 'c')", "@ BETWEEN '1' AND '2'"]
            .map(|form| form.replace('@', column))
    });
    let cases = COLUMNS.into_iter().flat_map(|column| {
        COLUMNS.map(|other| format!("CASE WHEN b THEN {column} ELSE {other} END"))
    });
    let taken = all_run(pairs.chain(alone).chain(cases));
    assert!(taken > 500, "{taken}");
}

#[test]
fn every_cast_that_is_planned_runs() {
    let types = [
        "boolean",
        "smallint",
        "integer",
        "bigint",
        "real",
        "double precision",
        "numeric(12,1)",
        "numeric(50,1)",
        "text",
        "bytea",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "text[]",
        "integer[]",
    ];
    let casts = COLUMNS.into_iter().flat_map(|column| {
        types.into_iter().flat_map(move |data_type| {
            ["CAST", "try_cast"].map(|cast| format!("{cast}({column} AS {data_type})"))
        })
    });
    assert!(all_run(casts) > 150);
}
