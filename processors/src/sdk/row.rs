//! Rows as a processor has them.

use std::sync::Arc;
use tidemesh_avro::datum::Datum;

/// A row: values by the names of their fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row(pub(crate) Vec<(Arc<str>, Datum)>);

impl Row {
    /// A row without fields. A field that a row lacks is null where it is written.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The row with a field, which takes the place of one of the same name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl IntoValue) -> Self {
        let value = value.into_value();
        match self.0.iter_mut().find(|(field, _)| **field == *name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.into(), value)),
        }
        self
    }

    /// A field's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Datum> {
        self.0.iter().find(|(field, _)| **field == *name).map(|(_, value)| value)
    }

    /// The fields, in the schema's order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Datum)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// A field that is a whole number.
    #[must_use]
    pub fn long(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Datum::Int(value) => Some(i64::from(*value)),
            Datum::Long(value) => Some(*value),
            _ => None,
        }
    }

    /// A field that is a floating-point number.
    #[must_use]
    pub fn double(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Datum::Float(value) => Some(f64::from(*value)),
            Datum::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// A field that is text, or an enum's symbol.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Datum::String(text) | Datum::Enum(text) => Some(text),
            _ => None,
        }
    }

    /// A field that is true or false.
    #[must_use]
    pub fn boolean(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Datum::Boolean(value) => Some(*value),
            _ => None,
        }
    }
}

/// What can be a field's value.
pub trait IntoValue {
    /// The value.
    fn into_value(self) -> Datum;
}

impl IntoValue for Datum {
    fn into_value(self) -> Datum {
        self
    }
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Datum {
        self.map_or(Datum::Null, IntoValue::into_value)
    }
}

/// Types that are a value as they are.
macro_rules! values {
    ($($of:ty => $value:expr),* $(,)?) => {
        $(impl IntoValue for $of {
            fn into_value(self) -> Datum {
                $value(self.into())
            }
        })*
    };
}

values! {
    bool => Datum::Boolean,
    i32 => Datum::Int,
    i64 => Datum::Long,
    f32 => Datum::Float,
    f64 => Datum::Double,
    &str => Datum::String,
    String => Datum::String,
    Vec<u8> => Datum::Bytes,
}
