//! Functions over text or bytes that answer text or bytes, row by row.

use datafusion_common::arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use datafusion_common::arrow::compute::cast;
use datafusion_common::arrow::datatypes::DataType;
use datafusion_common::cast::as_binary_array;
use datafusion_common::{DataFusionError, Result};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs};
use datafusion_functions::utils::make_scalar_function;

/// An argument as text.
pub(super) fn text_array(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(if array.data_type() == &DataType::Utf8 {
        array.clone()
    } else {
        cast(array, &DataType::Utf8)?
    })
}

/// The text of a row; none if it is null.
pub(super) fn text_at(array: &ArrayRef, row: usize) -> Option<&str> {
    let array = array.as_string::<i32>();
    array.is_valid(row).then(|| array.value(row))
}

/// An argument as bytes; text as UTF-8.
pub(super) fn binary_array(array: &ArrayRef) -> Result<BinaryArray> {
    Ok(as_binary_array(&cast(array, &DataType::Binary)?)?.clone())
}

/// Calls a function of whole columns.
pub(super) fn call(
    args: &ScalarFunctionArgs,
    inner: impl Fn(&[ArrayRef]) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    make_scalar_function(inner, Vec::new())(&args.args)
}

/// An error of one row: it names no value.
pub(super) fn wrong(message: impl Into<String>) -> DataFusionError {
    DataFusionError::Execution(message.into())
}

/// The types that text functions take.
pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null)
}
