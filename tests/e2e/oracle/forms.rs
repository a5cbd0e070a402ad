//! How the topic's values follow from the server's text, each form by its documented conversion.

use super::kinds::{Form, Kind};
use serde_json::{Value as Json, json};
use tokio_postgres::Row;

/// The output function's text; that of a null is null.
fn text(value: &str, form: Form) -> String {
    let of = match form {
        Form::Money => format!("{value}::numeric::text"),
        Form::Oid => format!("{value}::oid::text"),
        Form::Hstore => format!("{value}::json::text"),
        // By the output function, as psql and COPY do.
        _ => format!("format('%s', {value})"),
    };
    format!("CASE WHEN {value} IS NOT NULL THEN {of} END")
}

/// What asks the server for a column.
pub(super) fn expression(kind: &Kind, column: usize) -> String {
    let name = format!("c{column}");
    if kind.is_array {
        let element = text("e", kind.form);
        format!(
            "CASE WHEN {name} IS NOT NULL THEN ARRAY(SELECT {element} FROM unnest({name}) e) END"
        )
    } else {
        text(&name, kind.form)
    }
}

/// The value as `tidemesh topic read` must print it.
pub(super) fn expected(kind: &Kind, row: &Row, place: usize) -> Json {
    let of = |text: Option<String>| text.map_or(Json::Null, |text| json_of(kind.form, &text));
    if kind.is_array {
        let elements: Option<Vec<Option<String>>> = row.get(place);
        elements.map_or(Json::Null, |elements| elements.into_iter().map(of).collect())
    } else {
        of(row.get(place))
    }
}

fn json_of(form: Form, text: &str) -> Json {
    match form {
        Form::Bool => json!(text == "t"),
        Form::Number | Form::Oid => text.parse::<i64>().unwrap().into(),
        Form::Float4 => float(text, text.parse::<f32>().unwrap().into()),
        Form::Float8 => float(text, text.parse::<f64>().unwrap()),
        Form::Text | Form::Money | Form::Hstore => json!(text),
        Form::Bytes => json!(text.replace("\\x", "0x")),
        Form::Date => json!(iso(text)),
        Form::Timestamp => json!(iso(text)),
        Form::TimestampTz => json!(match text {
            "infinity" | "-infinity" => text.to_owned(),
            _ => format!("{}Z", iso(&text.replace("+00", ""))),
        }),
        Form::TimeTz => {
            let zone = text.rfind(['+', '-']).unwrap();
            let minutes = if text.len() - zone == 3 { ":00" } else { "" };
            json!(format!("{text}{minutes}"))
        }
    }
}

/// The number as it is once it is read from JSON, by which serde_json is a digit off at times.
fn float(text: &str, value: f64) -> Json {
    if !value.is_finite() {
        return json!(text);
    }
    serde_json::from_str(&json!(value).to_string()).unwrap()
}

/// ISO 8601, which counts a year 0, of a date or a timestamp.
fn iso(text: &str) -> String {
    let Some(before) = text.strip_suffix(" BC") else { return text.replace(' ', "T") };
    let (year, rest) = before.split_once('-').unwrap();
    let year = 1 - year.parse::<i32>().unwrap();
    format!("{year:04}-{}", rest.replace(' ', "T"))
}
