//! JSON that is kept as text, looked into by PostgreSQL's operators and functions: `->`, `->>`, `#>`,
//! `#>>`, `json_extract_path`, `json_extract_path_text`, `json_array_length`, `json_typeof`, each with
//! its `jsonb_` twin (PostgreSQL 18, "JSON Functions and Operators").
//!
//! A part is answered as it stands in the document, so that numbers keep all of their digits. Of an
//! object that has a key twice the last one counts, as in `jsonb`.

use super::text::{call, is_text, text_array, text_at, wrong};
use datafusion_common::arrow::array::{Array, ArrayRef, AsArray, Int32Builder, StringBuilder};
use datafusion_common::arrow::datatypes::{DataType, Int64Type};
use datafusion_common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sqlparser::ast::BinaryOperator;
use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    /// The part at a path, as JSON.
    Get,
    /// The part at a path, as text.
    GetText,
    /// How many elements an array has.
    ArrayLength,
    /// What a document is.
    Typeof,
}

const GET: &str = "json_extract_path";
const GET_TEXT: &str = "json_extract_path_text";

pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    [
        Json::new(What::Get, GET, &["jsonb_extract_path"]),
        Json::new(What::GetText, GET_TEXT, &["jsonb_extract_path_text"]),
        Json::new(What::ArrayLength, "json_array_length", &["jsonb_array_length"]),
        Json::new(What::Typeof, "json_typeof", &["jsonb_typeof"]),
    ]
    .into_iter()
    .map(|json| Arc::new(ScalarUDF::from(json)))
    .collect()
}

/// Makes calls of the operators.
#[derive(Debug)]
pub(super) struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let (what, is_path) = match expr.op {
            BinaryOperator::Arrow => (What::Get, false),
            BinaryOperator::LongArrow => (What::GetText, false),
            BinaryOperator::HashArrow => (What::Get, true),
            BinaryOperator::HashLongArrow => (What::GetText, true),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        // A chain of steps is one call.
        let mut args = match expr.left {
            Expr::ScalarFunction(call) if call.func.name() == GET => call.args,
            other => vec![other],
        };
        match (is_path, path_literal(&expr.right)) {
            (false, _) => args.push(expr.right),
            (true, Some(path)) => args.extend(path.into_iter().map(lit)),
            (true, None) => {
                return plan_err!("#> and #>> take a path that is written out, as '{{a,0,b}}'");
            }
        }
        let name = if what == What::Get { GET } else { GET_TEXT };
        let function = Arc::new(ScalarUDF::from(Json::new(what, name, &[])));
        Ok(PlannerResult::Planned(Expr::ScalarFunction(ScalarFunction::new_udf(function, args))))
    }
}

/// `'{a,0,b}'` as its steps; quotes and escapes within are not taken.
fn path_literal(expr: &Expr) -> Option<Vec<String>> {
    let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = expr else { return None };
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    if inner.contains(['"', '\\', '{', '}']) {
        return None;
    }
    Some(inner.split(',').map(|step| step.trim().to_owned()).collect())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Json {
    what: What,
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
}

impl Json {
    fn new(what: What, name: &'static str, aliases: &[&str]) -> Self {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        Self { what, name, aliases, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Json {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let Some((document, steps)) = types.split_first() else {
            return plan_err!("{} takes a JSON document", self.name);
        };
        if !is_text(document) {
            return plan_err!("{} takes a JSON document as text, not {document}", self.name);
        }
        match (self.what, steps.len()) {
            (What::Get | What::GetText, 0) => {
                return plan_err!("{} takes a document and a path", self.name);
            }
            (What::ArrayLength | What::Typeof, 1..) => {
                return plan_err!("{} takes one argument", self.name);
            }
            _ => {}
        }
        let step = |step: &DataType| match step {
            integer if integer.is_integer() => Ok(DataType::Int64),
            text if is_text(text) => Ok(DataType::Utf8),
            other => plan_err!("a step into JSON is a name or a number, not {other}"),
        };
        let steps = steps.iter().map(step).collect::<Result<Vec<_>>>()?;
        Ok(std::iter::once(DataType::Utf8).chain(steps).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.what {
            What::Get | What::GetText | What::Typeof => DataType::Utf8,
            What::ArrayLength => DataType::Int32,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        call(&args, |arrays| {
            let document = text_array(&arrays[0])?;
            match self.what {
                What::ArrayLength => lengths(&document),
                _ => self.texts(&document, &arrays[1..]),
            }
        })
    }
}

impl Json {
    fn texts(&self, document: &ArrayRef, steps: &[ArrayRef]) -> Result<ArrayRef> {
        let mut builder = StringBuilder::with_capacity(document.len(), 0);
        for row in 0..document.len() {
            builder.append_option(match text_at(document, row) {
                None => None,
                Some(text) => self.text(text, steps, row)?,
            });
        }
        Ok(Arc::new(builder.finish()))
    }

    fn text<'d>(
        &self,
        text: &'d str,
        steps: &[ArrayRef],
        row: usize,
    ) -> Result<Option<Cow<'d, str>>> {
        let mut at: &'d str = parse::<&RawValue>(text)?.get();
        for step in steps {
            let found = match step.data_type() {
                DataType::Int64 => {
                    let numbers = step.as_primitive::<Int64Type>();
                    if numbers.is_null(row) {
                        return Ok(None);
                    }
                    element(at, numbers.value(row))?
                }
                _ => match text_at(step, row) {
                    None => return Ok(None),
                    Some(name) => named(at, name)?,
                },
            };
            match found {
                None => return Ok(None),
                Some(found) => at = found,
            }
        }
        Ok(match self.what {
            What::Get => Some(Cow::Borrowed(at)),
            What::Typeof => Some(Cow::Borrowed(kind(at))),
            What::GetText | What::ArrayLength => plain(at)?,
        })
    }
}

/// The lengths of arrays; what is none is an error, as in PostgreSQL.
fn lengths(document: &ArrayRef) -> Result<ArrayRef> {
    let mut builder = Int32Builder::with_capacity(document.len());
    for row in 0..document.len() {
        builder.append_option(match text_at(document, row) {
            None => None,
            Some(text) if kind(text.trim_start()) == "array" => Some(
                i32::try_from(parse::<Vec<IgnoredAny>>(text)?.len())
                    .map_err(|_| wrong("a JSON array has too many elements"))?,
            ),
            Some(_) => return Err(wrong("json_array_length takes an array only")),
        });
    }
    Ok(Arc::new(builder.finish()))
}

fn parse<'d, T: Deserialize<'d>>(text: &'d str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        wrong(format!("not JSON, at line {} column {}", error.line(), error.column()))
    })
}

/// What a document is, by its first character.
fn kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// A scalar without quotes; JSON's null is none.
fn plain(text: &str) -> Result<Option<Cow<'_, str>>> {
    Ok(match kind(text) {
        "null" => None,
        "string" => Some(Cow::Owned(parse::<String>(text)?)),
        _ => Some(Cow::Borrowed(text)),
    })
}

/// The value of an object's name, or of an array's place written as text.
fn named<'d>(text: &'d str, name: &str) -> Result<Option<&'d str>> {
    match kind(text) {
        "object" => {
            let mut json = serde_json::Deserializer::from_str(text);
            json.deserialize_map(Named(name)).map_err(|_| wrong("not JSON"))
        }
        "array" => name.parse().map_or(Ok(None), |place| element(text, place)),
        _ => Ok(None),
    }
}

/// An array's element; from its end if the place is negative.
fn element(text: &str, place: i64) -> Result<Option<&str>> {
    if kind(text) != "array" {
        return Ok(None);
    }
    if let Ok(place) = usize::try_from(place) {
        let mut json = serde_json::Deserializer::from_str(text);
        return json.deserialize_seq(Element(place)).map_err(|_| wrong("not JSON"));
    }
    let elements: Vec<&RawValue> = parse(text)?;
    let from_end = usize::try_from(place.unsigned_abs()).unwrap_or(usize::MAX);
    Ok(elements.len().checked_sub(from_end).map(|place| elements[place].get()))
}

/// Finds one name of an object.
struct Named<'n>(&'n str);

impl<'d> Visitor<'d> for Named<'_> {
    type Value = Option<&'d str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'d>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Text<'d>>()? {
            if name.0 == self.0 {
                found = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Finds one element of an array.
struct Element(usize);

impl<'d> Visitor<'d> for Element {
    type Value = Option<&'d str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'d>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        for _ in 0..self.0 {
            if elements.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = elements.next_element::<&RawValue>()?.map(RawValue::get);
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// Text that borrows from the document where it can.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'d>(#[serde(borrow)] Cow<'d, str>);

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"a": {"b": [1.50, "x\ny", null]}, "n": 12345678901234567890123, "a2": 1, "n2": {"k": 1, "k": 2}}"#;

    fn at(what: What, steps: &[&str]) -> Option<String> {
        let json = Json::new(what, "json", &[]);
        let array = |text: &&str| -> ArrayRef {
            Arc::new(datafusion_common::arrow::array::StringArray::from(vec![*text]))
        };
        let steps: Vec<ArrayRef> = steps.iter().map(array).collect();
        json.text(DOCUMENT, &steps, 0).unwrap().map(Cow::into_owned)
    }

    #[test]
    fn a_part_is_as_it_stands_in_the_document() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(at(What::Get, &["a"]), some(r#"{"b": [1.50, "x\ny", null]}"#));
        assert_eq!(at(What::Get, &["a", "b", "1"]), some(r#""x\ny""#));
        assert_eq!(at(What::GetText, &["a", "b", "1"]), some("x\ny"));
        assert_eq!(at(What::GetText, &["a", "b", "0"]), some("1.50"));
        assert_eq!(at(What::GetText, &["n"]), some("12345678901234567890123"));
        assert_eq!(at(What::GetText, &["n2", "k"]), some("2"));
    }

    #[test]
    fn what_is_not_there_is_null() {
        for steps in [&["z"][..], &["a", "z"], &["a", "b", "9"], &["a", "b", "z"], &["n", "x"]] {
            assert_eq!(at(What::Get, steps), None, "{steps:?}");
        }
        assert_eq!(at(What::GetText, &["a", "b", "2"]), None);
        assert_eq!(at(What::Get, &["a", "b", "2"]), Some("null".into()));
        assert_eq!(element("[1,2,3]", -1).unwrap(), Some("3"));
        assert_eq!(element("[1,2,3]", -4).unwrap(), None);
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        assert!(parse::<&RawValue>("{").is_err());
        assert!(named(r#"{"a" 1}"#, "a").is_err());
    }
}
