//! The compiled encoder of rows: a plan per schema, driven by the visitor, writing into a reused
//! buffer. Nothing is allocated for a row.

use crate::types::{self, Form};
use crate::varint::{write_length, write_long};
use tidemesh_model::{
    CellVisitor, DataType, DecimalRef, Error, ErrorKind, Result, RowImage, RowTypes, TableSchema,
};

/// How one column's cells are written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CellPlan {
    /// The column's name, for errors.
    name: String,
    data_type: DataType,
    /// How its values, or an array's elements, are written.
    form: Form,
    /// Where null stands in the column's union; none for a column that is no union.
    null_branch: Option<Branch>,
    /// Whether the cell's bytes are part of the key.
    in_key: bool,
}

/// How one column of the key is taken from the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KeyPlan {
    /// Which of the key's cells in column order it is.
    place: usize,
    /// Whether null is the second branch in the row: in the key it is always the first, whatever
    /// default the column has.
    swapped: bool,
}

/// Which branch of a two-branch union null is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Branch {
    First,
    Second,
}

/// Avro's encoding of a union's branch numbers 0 and 1.
const BRANCH_FIRST: u8 = 0;
const BRANCH_SECOND: u8 = 2;

impl Branch {
    fn null_byte(self) -> u8 {
        match self {
            Self::First => BRANCH_FIRST,
            Self::Second => BRANCH_SECOND,
        }
    }

    fn value_byte(self) -> u8 {
        match self {
            Self::First => BRANCH_SECOND,
            Self::Second => BRANCH_FIRST,
        }
    }
}

/// How the rows of one schema are written, as an Avro record of its columns.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPlan {
    table: String,
    cells: Vec<CellPlan>,
    /// The key's columns, in the key's order.
    key: Vec<KeyPlan>,
}

/// Where the key's cells stand in the bytes of the row encoded last. Reused from row to row.
#[derive(Debug, Clone, Default)]
pub struct KeyCells {
    ranges: Vec<(usize, usize)>,
    /// Arrays and records of the cell that is being written, outermost first. Here, so that it is
    /// allocated once a writer.
    open: Vec<Open>,
}

/// An array or a record that is being written.
#[derive(Debug, Clone, Copy)]
struct Open {
    is_array: bool,
    /// Elements or fields that are written.
    done: usize,
    /// All of them.
    count: usize,
}

impl RowPlan {
    /// The plan for rows of `schema`, whose values are written by the conventions of `types`.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a type that has no place in Avro (an array of arrays), and for a key's
    /// column of which two values can be written alike.
    pub fn new(schema: &TableSchema, types: RowTypes) -> Result<Self> {
        let cells = (0..schema.fields.len())
            .map(|index| CellPlan::new(schema, index, types))
            .collect::<Result<Vec<_>>>()?;
        let mut in_column_order = schema.key.columns.clone();
        in_column_order.sort_unstable();
        let key_plan = |column: &usize| KeyPlan {
            place: in_column_order.partition_point(|other| other < column),
            swapped: cells[*column].null_branch == Some(Branch::Second),
        };
        let key = schema.key.columns.iter().map(key_plan).collect();
        Ok(Self { table: schema.name.to_string(), cells, key })
    }

    /// Appends `row` to `out` and notes where its key's cells stand. Absent cells are written as
    /// null where `absent_is_null`, and refused otherwise.
    ///
    /// # Errors
    ///
    /// `Unsupported` for an absent cell that may not be; `Internal` for a row that does not fit the
    /// schema. `out` may hold part of the row then: the caller truncates it.
    #[inline]
    pub fn encode<R: RowImage>(
        &self,
        row: &R,
        absent_is_null: bool,
        out: &mut Vec<u8>,
        key: &mut KeyCells,
    ) -> Result<()> {
        key.ranges.clear();
        key.open.clear();
        let mut encoder =
            RowEncoder { plan: self, next: 0, cell_start: 0, absent_is_null, out, key };
        row.visit(&mut encoder)?;
        let visited = encoder.next;
        if visited == self.cells.len() {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Internal, "encode a row")
            .because("the row has fewer cells than its schema")
            .with("table", &self.table)
            .with("cells", visited)
            .with("columns", self.cells.len()))
    }

    /// Appends the key of the row encoded last, which stands in `row` at `key`'s places.
    ///
    /// A key column has the same Avro type in the row as in the key, so its bytes are the same, but
    /// for the order of a union's two branches.
    pub fn write_key(&self, row: &[u8], key: &KeyCells, out: &mut Vec<u8>) {
        for column in &self.key {
            if let Some((start, end)) = key.ranges.get(column.place) {
                let begin = out.len();
                out.extend_from_slice(&row[*start..*end]);
                if column.swapped {
                    out[begin] = BRANCH_SECOND - out[begin];
                }
            }
        }
    }

    /// The cells' plans, in column order.
    pub(crate) fn cells(&self) -> &[CellPlan] {
        &self.cells
    }
}

impl CellPlan {
    fn new(schema: &TableSchema, index: usize, types: RowTypes) -> Result<Self> {
        let field = &schema.fields[index];
        if let DataType::Array(element) = &field.data_type
            && let DataType::Array(_) = **element
        {
            return Err(Error::new(ErrorKind::Unsupported, "plan an encoder")
                .because("an array of arrays has no type here")
                .with("table", &schema.name)
                .with("column", &field.name));
        }
        let in_key = schema.in_key(index);
        let form = Form::of(types, field);
        if in_key && form.merges() {
            return Err(Error::new(ErrorKind::Unsupported, "plan an encoder")
                .because("Debezium's form of a key column does not tell all its values apart")
                .with("table", &schema.name)
                .with("column", &field.name)
                .with("type", &field.source_type)
                .help("use types = \"avro\", or another key"));
        }
        let bare = in_key && schema.key.origin != tidemesh_model::KeyOrigin::WholeRow;
        let null_branch = match (bare, &field.default) {
            (true, _) => None,
            (false, Some(default)) if types::default_json(types, field, default).is_some() => {
                Some(Branch::Second)
            }
            (false, _) => Some(Branch::First),
        };
        Ok(Self {
            name: field.name.clone(),
            data_type: field.data_type.clone(),
            form,
            null_branch,
            in_key,
        })
    }

    pub(crate) fn null_branch(&self) -> Option<Branch> {
        self.null_branch
    }
}

/// The visitor that writes. One a row, on the stack.
struct RowEncoder<'p, 'o> {
    plan: &'p RowPlan,
    /// The cell that is visited next, or the one whose array or record is open.
    next: usize,
    /// Where the cell visited now begins in `out`.
    cell_start: usize,
    absent_is_null: bool,
    out: &'o mut Vec<u8>,
    key: &'o mut KeyCells,
}

impl<'p> RowEncoder<'p, '_> {
    /// How the value that comes next is written. Asked before it is begun, and only where there is
    /// more than one way: one type more in what every value passes would cost each of them.
    #[inline]
    fn form(&self) -> Form {
        self.plan.cells.get(self.next).map_or(Form::Plain, |cell| cell.form)
    }

    /// Begins a value: writes the union's branch and answers the type it must have.
    #[inline]
    fn begin(&mut self) -> Result<&'p DataType> {
        let Some(cell) = self.plan.cells.get(self.next) else {
            return Err(self.too_many());
        };
        if !self.key.open.is_empty() {
            let data_type = self.nested(&cell.data_type)?;
            self.out.push(BRANCH_SECOND);
            return Ok(data_type);
        }
        self.cell_start = self.out.len();
        if let Some(branch) = cell.null_branch {
            self.out.push(branch.value_byte());
        }
        Ok(&cell.data_type)
    }

    /// The type of the element or field that comes next in what is open.
    fn nested(&self, cell: &'p DataType) -> Result<&'p DataType> {
        let mut data_type = cell;
        for open in &self.key.open {
            data_type = match data_type {
                _ if open.done >= open.count => return Err(self.too_many()),
                DataType::Array(element) => element,
                DataType::Record(record) => &record.fields[open.done].data_type,
                _ => return Err(self.mismatch("an element or a field")),
            };
        }
        Ok(data_type)
    }

    /// Ends a value: unless it was an element or a field, the cell is done.
    #[inline]
    fn end(&mut self) -> Result<()> {
        if let Some(open) = self.key.open.last_mut() {
            open.done += 1;
            return Ok(());
        }
        if self.plan.cells[self.next].in_key {
            self.key.ranges.push((self.cell_start, self.out.len()));
        }
        self.next += 1;
        Ok(())
    }

    /// Ends what was opened last, which must be whole.
    fn close(&mut self, is_array: bool) -> Result<()> {
        match self.key.open.pop() {
            Some(open) if open.is_array == is_array && open.done == open.count => Ok(()),
            _ => Err(self.mismatch("the end of an array or a record")),
        }
    }

    #[inline]
    fn long(&mut self, value: i64) -> Result<()> {
        write_long(self.out, value);
        self.end()
    }

    #[inline]
    fn run(&mut self, bytes: &[u8]) -> Result<()> {
        write_length(self.out, bytes.len());
        self.out.extend_from_slice(bytes);
        self.end()
    }

    /// Text that is written as something else.
    fn converted(&mut self, form: Form, text: &str) -> Result<()> {
        if let Err(error) = types::write_text(form, text, self.out) {
            return Err(self.locate(error));
        }
        self.end()
    }

    #[cold]
    fn locate(&self, error: Error) -> Error {
        let error = error.with("table", &self.plan.table);
        match self.plan.cells.get(self.next) {
            Some(cell) => error.with("column", &cell.name),
            None => error,
        }
    }

    #[cold]
    fn mismatch(&self, got: &'static str) -> Error {
        let error = Error::new(ErrorKind::Internal, "encode a row")
            .because(format!("the source gave {got} where the schema has another type"))
            .with("table", &self.plan.table);
        match self.plan.cells.get(self.next) {
            Some(cell) => error.with("column", &cell.name).with("type", &cell.data_type),
            None => error,
        }
    }

    #[cold]
    fn too_many(&self) -> Error {
        Error::new(ErrorKind::Internal, "encode a row")
            .because("the row has more cells, or an array more elements, than it said")
            .with("table", &self.plan.table)
            .with("columns", self.plan.cells.len())
    }

    /// Null, where the place may be null.
    fn no_value(&mut self, what: &'static str) -> Result<()> {
        let Some(cell) = self.plan.cells.get(self.next) else {
            return Err(self.too_many());
        };
        if !self.key.open.is_empty() {
            self.nested(&cell.data_type)?;
            self.out.push(BRANCH_FIRST);
            return self.end();
        }
        let Some(branch) = cell.null_branch else {
            return Err(self.mismatch(what));
        };
        self.cell_start = self.out.len();
        self.out.push(branch.null_byte());
        self.end()
    }
}

/// One method of the visitor: checks the type, writes the value.
macro_rules! cell {
    ($name:ident, $value:ident: $type:ty, $expected:pat, $said:literal, $write:expr) => {
        #[inline]
        fn $name(&mut self, $value: $type) -> Result<()> {
            match self.begin()? {
                $expected => $write(self, $value),
                _ => Err(self.mismatch($said)),
            }
        }
    };
}

impl CellVisitor for RowEncoder<'_, '_> {
    fn null(&mut self) -> Result<()> {
        self.no_value("null")
    }

    fn absent(&mut self) -> Result<()> {
        if self.absent_is_null {
            return self.no_value("an absent cell");
        }
        let error = Error::new(ErrorKind::Unsupported, "encode a row")
            .because("the log holds no value for a column of the new row")
            .with("table", &self.plan.table);
        Err(match self.plan.cells.get(self.next) {
            Some(cell) => error.with("column", &cell.name),
            None => error,
        })
    }

    cell!(boolean, value: bool, DataType::Boolean, "a boolean", |this: &mut Self, value: bool| {
        this.out.push(u8::from(value));
        this.end()
    });
    cell!(int32, value: i32, DataType::Int32, "an int32", |this: &mut Self, value: i32| {
        this.long(i64::from(value))
    });
    cell!(int64, value: i64, DataType::Int64, "an int64", Self::long);
    cell!(float32, value: f32, DataType::Float32, "a float32", |this: &mut Self, value: f32| {
        this.out.extend_from_slice(&value.to_le_bytes());
        this.end()
    });
    cell!(float64, value: f64, DataType::Float64, "a float64", |this: &mut Self, value: f64| {
        this.out.extend_from_slice(&value.to_le_bytes());
        this.end()
    });
    #[inline]
    fn text(&mut self, value: &str) -> Result<()> {
        let form = self.form();
        match (self.begin()?, form) {
            (DataType::Text | DataType::Json | DataType::Enum { .. }, Form::Plain) => {
                self.run(value.as_bytes())
            }
            (DataType::Text, form) => self.converted(form, value),
            _ => Err(self.mismatch("text")),
        }
    }
    cell!(bytes, value: &[u8], DataType::Bytes, "bytes", Self::run);
    cell!(uuid, value: &[u8; 16], DataType::Uuid, "a uuid", |this: &mut Self, value| {
        let text = uuid_text(value);
        this.run(&text)
    });
    cell!(date, days: i32, DataType::Date, "a date", |this: &mut Self, days: i32| {
        this.long(i64::from(days))
    });

    #[inline]
    fn time(&mut self, micros: i64) -> Result<()> {
        let form = self.form();
        match (self.begin()?, form) {
            (DataType::Time, Form::Plain) => self.long(micros),
            (DataType::Time, Form::Millis) => self.long(micros / 1000),
            _ => Err(self.mismatch("a time")),
        }
    }

    #[inline]
    fn timestamp(&mut self, micros: i64) -> Result<()> {
        let form = self.form();
        match (self.begin()?, form) {
            (DataType::Timestamp, Form::Plain) => self.long(micros),
            (DataType::Timestamp, Form::Millis) => self.long(types::timestamp_millis(micros)),
            _ => Err(self.mismatch("a timestamp")),
        }
    }

    #[inline]
    fn timestamp_tz(&mut self, micros: i64) -> Result<()> {
        let form = self.form();
        match (self.begin()?, form) {
            (DataType::TimestampTz, Form::Plain) => self.long(micros),
            (DataType::TimestampTz, Form::ZonedTimestamp(digits)) => {
                types::write_zoned_timestamp(micros, digits, self.out);
                self.end()
            }
            _ => Err(self.mismatch("a timestamp with zone")),
        }
    }

    #[inline]
    fn decimal(&mut self, value: DecimalRef<'_>) -> Result<()> {
        match self.begin()? {
            DataType::Decimal { scale, .. } if *scale == value.scale() => {
                value.with_unscaled(|bytes| self.run(bytes))
            }
            _ => Err(self.mismatch("a decimal")),
        }
    }

    fn array_start(&mut self, elements: usize) -> Result<()> {
        match self.begin()? {
            DataType::Array(_) => {
                if elements > 0 {
                    write_length(self.out, elements);
                }
                self.key.open.push(Open { is_array: true, done: 0, count: elements });
                Ok(())
            }
            _ => Err(self.mismatch("an array")),
        }
    }

    fn array_end(&mut self) -> Result<()> {
        self.close(true)?;
        self.out.push(0);
        self.end()
    }

    fn record_start(&mut self) -> Result<()> {
        match self.begin()? {
            DataType::Record(record) => {
                let count = record.fields.len();
                self.key.open.push(Open { is_array: false, done: 0, count });
                Ok(())
            }
            _ => Err(self.mismatch("a record")),
        }
    }

    fn record_end(&mut self) -> Result<()> {
        self.close(false)?;
        self.end()
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The 36 characters of a UUID (RFC 9562, section 4), lower case.
#[must_use]
pub fn uuid_text(uuid: &[u8; 16]) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let mut place = 0;
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            place += 1;
        }
        text[place] = HEX[usize::from(byte >> 4)];
        text[place + 1] = HEX[usize::from(byte & 15)];
        place += 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemesh_model::{
        Field, KeyOrigin, RecordField, RecordType, RowKey, SourceKind, TableName, Value,
    };

    fn schema(types: &[(&str, DataType)], key: Vec<usize>) -> TableSchema {
        let fields = types
            .iter()
            .map(|(name, data_type)| Field {
                name: (*name).to_owned(),
                data_type: data_type.clone(),
                source_type: String::new(),
                nullable: true,
                default: None,
                aliases: Vec::new(),
                kind: SourceKind::Plain,
                key_default: None,
            })
            .collect();
        let key = RowKey { origin: KeyOrigin::PrimaryKey, columns: key };
        TableSchema::new(TableName::new("public", "t"), fields, key).unwrap()
    }

    fn encode(schema: &TableSchema, row: Vec<Value>) -> Result<(Vec<u8>, Vec<u8>)> {
        let plan = RowPlan::new(schema, RowTypes::Avro)?;
        let (mut out, mut key, mut cells) = (Vec::new(), Vec::new(), KeyCells::default());
        plan.encode(&row, false, &mut out, &mut cells)?;
        plan.write_key(&out, &cells, &mut key);
        Ok((out, key))
    }

    #[test]
    fn the_key_is_written_in_the_keys_own_order() {
        let schema = schema(
            &[("a", DataType::Int32), ("b", DataType::Text), ("c", DataType::Int64)],
            vec![2, 0],
        );
        let row = vec![Value::Int32(1), Value::Text("x".into()), Value::Int64(-1)];
        let (out, key) = encode(&schema, row).unwrap();
        assert_eq!(out, [2, 2, 2, b'x', 1]);
        assert_eq!(key, [1, 2]);
    }

    #[test]
    fn null_is_the_first_branch_in_a_key_whatever_the_columns_default() {
        let mut schema = schema(&[("a", DataType::Int32), ("b", DataType::Int32)], vec![1, 0]);
        schema.key.origin = KeyOrigin::WholeRow;
        schema.fields[0].default = Some(Value::Int32(0));
        let (out, key) = encode(&schema, vec![Value::Int32(1), Value::Int32(2)]).unwrap();
        assert_eq!((&out[..], &key[..]), (&[0, 2, 2, 4][..], &[2, 4, 2, 2][..]));
        let (out, key) = encode(&schema, vec![Value::Null, Value::Null]).unwrap();
        assert_eq!((&out[..], &key[..]), (&[2, 0][..], &[0, 0][..]));
    }

    #[test]
    fn a_cell_of_another_type_is_refused_by_column() {
        let schema = schema(&[("a", DataType::Int32)], vec![0]);
        let error = encode(&schema, vec![Value::Text("x".into())]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert!(error.to_string().contains("column=a"), "{error}");
    }

    #[test]
    fn a_row_too_short_or_too_long_is_refused() {
        let schema = schema(&[("a", DataType::Int32)], vec![0]);
        assert!(encode(&schema, vec![]).is_err());
        assert!(encode(&schema, vec![Value::Int32(1), Value::Int32(2)]).is_err());
    }

    #[test]
    fn a_null_key_is_refused() {
        let schema = schema(&[("a", DataType::Int32)], vec![0]);
        assert!(encode(&schema, vec![Value::Null]).is_err());
    }

    #[test]
    fn an_absent_cell_of_a_new_row_is_refused() {
        let schema = schema(&[("a", DataType::Int32), ("b", DataType::Text)], vec![0]);
        let error = encode(&schema, vec![Value::Int32(1), Value::Absent]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    fn pair(first: DataType, second: DataType) -> DataType {
        let field = |name: &str, data_type| RecordField {
            name: name.to_owned(),
            data_type,
            source_type: String::new(),
        };
        let fields = vec![field("x", first), field("y", second)];
        DataType::Record(RecordType { schema: "public".into(), name: "pair".into(), fields })
    }

    #[test]
    fn records_and_arrays_nest() {
        let inner = DataType::Array(Box::new(pair(DataType::Int32, DataType::Text)));
        let schema =
            schema(&[("a", DataType::Int32), ("b", pair(inner, DataType::Int64))], vec![0]);
        let elements = vec![
            Value::Record(vec![Value::Int32(1), Value::Null]),
            Value::Null,
            Value::Record(vec![Value::Null, Value::Text("z".into())]),
        ];
        let row =
            vec![Value::Int32(5), Value::Record(vec![Value::Array(elements), Value::Int64(-1)])];
        let (out, key) = encode(&schema, row).unwrap();
        // Branch, branch, three elements: a record, a null, a record; the end; branch and -1.
        assert_eq!(out, [10, 2, 2, 6, 2, 2, 2, 0, 0, 2, 0, 2, 2, b'z', 0, 2, 1]);
        assert_eq!(key, [10]);
    }

    #[test]
    fn a_record_with_fields_missing_or_left_over_is_refused() {
        let record = pair(DataType::Int32, DataType::Int32);
        let schema = schema(&[("a", DataType::Int32), ("b", record)], vec![0]);
        for count in [0, 1, 3] {
            let fields = vec![Value::Int32(1); count];
            assert!(encode(&schema, vec![Value::Int32(1), Value::Record(fields)]).is_err());
        }
        assert!(encode(&schema, vec![Value::Int32(1), Value::Array(vec![])]).is_err());
    }

    #[test]
    fn a_uuid_is_written_as_its_text() {
        let uuid: [u8; 16] = std::array::from_fn(|index| u8::try_from(index).unwrap());
        let text = uuid_text(&uuid);
        assert_eq!(std::str::from_utf8(&text).unwrap(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
