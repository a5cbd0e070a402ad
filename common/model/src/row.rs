//! Rows are visited, not built: a row image hands its cells to a visitor in schema order.

use crate::{DecimalRef, Result, Value};

/// One row image. Cells are visited in the schema's order, each exactly once.
pub trait RowImage {
    /// Hands every cell to `visitor`.
    ///
    /// # Errors
    ///
    /// `Malformed` if the bytes behind the row are not what their format says, and whatever the
    /// visitor answers. The visitor may have seen some of the cells by then.
    fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()>;
}

/// What a row image tells a visitor of a cell: exactly one method a cell, but for arrays, which are
/// `array_start`, each element, `array_end`, and records, which are `record_start`, each field,
/// `record_end`. These nest.
///
/// A visitor refuses with `Internal` a method that does not fit the schema's type at that place.
pub trait CellVisitor {
    /// SQL null.
    fn null(&mut self) -> Result<()>;
    /// Not in the log record: an unchanged large value, or a column outside a key-only image.
    fn absent(&mut self) -> Result<()>;
    /// A `DataType::Boolean`.
    fn boolean(&mut self, value: bool) -> Result<()>;
    /// A `DataType::Int32`.
    fn int32(&mut self, value: i32) -> Result<()>;
    /// A `DataType::Int64`.
    fn int64(&mut self, value: i64) -> Result<()>;
    /// A `DataType::Float32`.
    fn float32(&mut self, value: f32) -> Result<()>;
    /// A `DataType::Float64`.
    fn float64(&mut self, value: f64) -> Result<()>;
    /// A `DataType::Decimal`, with the type's scale.
    fn decimal(&mut self, value: DecimalRef<'_>) -> Result<()>;
    /// A `DataType::Text`, `Json` or `Enum`.
    fn text(&mut self, value: &str) -> Result<()>;
    /// A `DataType::Bytes`.
    fn bytes(&mut self, value: &[u8]) -> Result<()>;
    /// A `DataType::Uuid`: 16 bytes in network order.
    fn uuid(&mut self, value: &[u8; 16]) -> Result<()>;
    /// A `DataType::Date`: days since 1970-01-01.
    fn date(&mut self, days: i32) -> Result<()>;
    /// A `DataType::Time`: microseconds since midnight.
    fn time(&mut self, micros: i64) -> Result<()>;
    /// A `DataType::Timestamp`: microseconds since 1970-01-01 00:00:00.
    fn timestamp(&mut self, micros: i64) -> Result<()>;
    /// A `DataType::TimestampTz`: microseconds since 1970-01-01 00:00:00 UTC.
    fn timestamp_tz(&mut self, micros: i64) -> Result<()>;
    /// The start of a `DataType::Array` of exactly `elements` elements.
    fn array_start(&mut self, elements: usize) -> Result<()>;
    /// The end of the array begun last.
    fn array_end(&mut self) -> Result<()>;
    /// The start of a `DataType::Record`, of which every field follows.
    fn record_start(&mut self) -> Result<()>;
    /// The end of the record begun last.
    fn record_end(&mut self) -> Result<()>;
}

impl<R: RowImage + ?Sized> RowImage for &R {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
        (**self).visit(visitor)
    }
}

impl RowImage for [Value] {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
        self.iter().try_for_each(|value| value.visit(visitor))
    }
}

impl RowImage for Vec<Value> {
    fn visit<V: CellVisitor>(&self, visitor: &mut V) -> Result<()> {
        self.as_slice().visit(visitor)
    }
}

/// The visitor that builds owned values: one [`Value`] a cell.
#[derive(Debug, Default)]
pub struct Values {
    cells: Vec<Value>,
    /// Arrays and records begun and not yet ended, outermost first.
    open: Vec<Vec<Value>>,
}

impl Values {
    /// The cells of `row`, owned.
    ///
    /// # Errors
    ///
    /// What visiting the row answers.
    pub fn of(row: &impl RowImage) -> Result<Vec<Value>> {
        let mut values = Self::default();
        row.visit(&mut values)?;
        Ok(values.cells)
    }

    /// The cells that were visited.
    #[must_use]
    pub fn into_cells(self) -> Vec<Value> {
        self.cells
    }

    fn push(&mut self, value: Value) -> Result<()> {
        self.open.last_mut().unwrap_or(&mut self.cells).push(value);
        Ok(())
    }
}

impl CellVisitor for Values {
    fn null(&mut self) -> Result<()> {
        self.push(Value::Null)
    }
    fn absent(&mut self) -> Result<()> {
        self.push(Value::Absent)
    }
    fn boolean(&mut self, value: bool) -> Result<()> {
        self.push(Value::Boolean(value))
    }
    fn int32(&mut self, value: i32) -> Result<()> {
        self.push(Value::Int32(value))
    }
    fn int64(&mut self, value: i64) -> Result<()> {
        self.push(Value::Int64(value))
    }
    fn float32(&mut self, value: f32) -> Result<()> {
        self.push(Value::Float32(value))
    }
    fn float64(&mut self, value: f64) -> Result<()> {
        self.push(Value::Float64(value))
    }
    fn decimal(&mut self, value: DecimalRef<'_>) -> Result<()> {
        let unscaled = value.with_unscaled(<[u8]>::to_vec);
        self.push(Value::Decimal { unscaled, scale: value.scale() })
    }
    fn text(&mut self, value: &str) -> Result<()> {
        self.push(Value::Text(value.to_owned()))
    }
    fn bytes(&mut self, value: &[u8]) -> Result<()> {
        self.push(Value::Bytes(value.to_vec()))
    }
    fn uuid(&mut self, value: &[u8; 16]) -> Result<()> {
        self.push(Value::Uuid(*value))
    }
    fn date(&mut self, days: i32) -> Result<()> {
        self.push(Value::Date(days))
    }
    fn time(&mut self, micros: i64) -> Result<()> {
        self.push(Value::Time(micros))
    }
    fn timestamp(&mut self, micros: i64) -> Result<()> {
        self.push(Value::Timestamp(micros))
    }
    fn timestamp_tz(&mut self, micros: i64) -> Result<()> {
        self.push(Value::TimestampTz(micros))
    }
    fn array_start(&mut self, elements: usize) -> Result<()> {
        // The count comes from outside: room for a modest number, growth for the rest.
        self.open.push(Vec::with_capacity(elements.min(1024)));
        Ok(())
    }
    fn array_end(&mut self) -> Result<()> {
        let elements = self.open.pop().unwrap_or_default();
        self.push(Value::Array(elements))
    }
    fn record_start(&mut self) -> Result<()> {
        self.open.push(Vec::new());
        Ok(())
    }
    fn record_end(&mut self) -> Result<()> {
        let fields = self.open.pop().unwrap_or_default();
        self.push(Value::Record(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_values_visit_back_to_themselves() {
        let row = vec![
            Value::Int64(7),
            Value::Null,
            Value::Array(vec![Value::Text("a".into()), Value::Null]),
            Value::Record(vec![Value::Array(vec![Value::Record(vec![])]), Value::Int32(1)]),
            Value::Decimal { unscaled: vec![1, 0], scale: 2 },
            Value::Absent,
        ];
        assert_eq!(Values::of(&row).unwrap(), row);
    }
}
