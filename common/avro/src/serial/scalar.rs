//! Values that hold no others, where the node is not just the one that they are made for.

use super::error::{Fault, shown};
use super::plan::{FixedPlan, Node};
use super::text;
use super::union::Given;
use super::writer::{Displayed, Ser};
use crate::varint::{write_length, write_long};
use std::fmt::Write;

/// The integers up to which a double, and a float, holds each.
const DOUBLE_EXACT_MAX: u128 = 1 << 53;
const FLOAT_EXACT_MAX: u128 = 1 << 24;

/// The most bytes of a float as text: Rust prints no exponent.
const FLOAT_TEXT_BYTES: usize = 64;

#[expect(clippy::cast_precision_loss, reason = "it is checked that there is none")]
pub(super) fn exact_double(value: i128) -> Option<f64> {
    (value.unsigned_abs() <= DOUBLE_EXACT_MAX).then_some(value as f64)
}

#[expect(clippy::cast_precision_loss, reason = "it is checked that there is none")]
pub(super) fn exact_float(value: i128) -> Option<f32> {
    (value.unsigned_abs() <= FLOAT_EXACT_MAX).then_some(value as f32)
}

/// The float that has all of a double's decimal digits: the number itself, or the float that is
/// printed as the double is (1.1, which no binary fraction is).
#[expect(clippy::cast_possible_truncation, reason = "it is checked that no digit is lost")]
pub(super) fn near_float(value: f64) -> Option<f32> {
    let float = value as f32;
    if f64::from(float) == value || value.is_nan() {
        return Some(float);
    }
    let mut printed = Displayed { bytes: [0; FLOAT_TEXT_BYTES], length: 0 };
    write!(printed, "{float}").ok()?;
    let text = std::str::from_utf8(&printed.bytes[..printed.length]).ok()?;
    (text.parse() == Ok(value)).then_some(float)
}

pub(super) fn boolean(ser: Ser<'_, '_>, value: bool) -> Result<(), Fault> {
    let node = ser.writer.branch(ser.node, &Given::Boolean, "bool")?;
    if !matches!(node, Node::Boolean) {
        return Err(ser.writer.misfit(node, "bool"));
    }
    ser.writer.out.push(u8::from(value));
    Ok(())
}

#[inline(never)]
pub(super) fn integer(
    ser: Ser<'_, '_>,
    value: i128,
    given: Given<'_>,
    found: &'static str,
) -> Result<(), Fault> {
    let node = ser.writer.branch(ser.node, &given, found)?;
    let out = &mut *ser.writer.out;
    let written = match node {
        Node::Int(_) => i32::try_from(value).ok().map(|value| write_long(out, value.into())),
        Node::Long(_) => i64::try_from(value).ok().map(|value| write_long(out, value)),
        Node::Float => exact_float(value).map(|value| out.extend_from_slice(&value.to_le_bytes())),
        Node::Double => {
            exact_double(value).map(|value| out.extend_from_slice(&value.to_le_bytes()))
        }
        Node::Byte => u8::try_from(value).ok().map(|value| out.push(value)),
        Node::Bytes(Some(_)) | Node::Fixed(FixedPlan { logical: Some(_), .. }) => {
            return Err(ser.writer.misfit(node, found).help(
                "an integer does not say whether it has the decimal's scale: give a decimal as \
                 text, or as bytes",
            ));
        }
        _ => return Err(ser.writer.misfit(node, found)),
    };
    written.ok_or_else(|| out_of_range(Ser { writer: ser.writer, node }, found))
}

#[cold]
pub(super) fn out_of_range(ser: Ser<'_, '_>, found: &'static str) -> Fault {
    Fault::new("the number is out of the type's range, or not exact in it")
        .found(found)
        .expected(ser.node.describe(ser.writer.nodes))
}

pub(super) fn single(ser: Ser<'_, '_>, value: f32) -> Result<(), Fault> {
    let node = ser.writer.branch(ser.node, &Given::Single, "f32")?;
    match node {
        Node::Float => ser.writer.out.extend_from_slice(&value.to_le_bytes()),
        Node::Double => ser.writer.out.extend_from_slice(&f64::from(value).to_le_bytes()),
        _ => return Err(ser.writer.misfit(node, "f32")),
    }
    Ok(())
}

pub(super) fn double(ser: Ser<'_, '_>, value: f64) -> Result<(), Fault> {
    let node = ser.writer.branch(ser.node, &Given::Double(value), "f64")?;
    match node {
        Node::Double => ser.writer.out.extend_from_slice(&value.to_le_bytes()),
        Node::Float => match near_float(value) {
            Some(float) => ser.writer.out.extend_from_slice(&float.to_le_bytes()),
            None => return Err(out_of_range(Ser { writer: ser.writer, node }, "f64")),
        },
        _ => return Err(ser.writer.misfit(node, "f64")),
    }
    Ok(())
}

#[inline(never)]
pub(super) fn text(ser: Ser<'_, '_>, value: &str) -> Result<(), Fault> {
    let node = ser.writer.branch(ser.node, &Given::Text(value), "text")?;
    match node {
        Node::String { uuid: false } => {
            ser.writer.run(value.as_bytes());
            Ok(())
        }
        // The symbol is part of the data here: an error does not repeat it.
        Node::Enum(plan) => match plan.place(value) {
            Some(place) => {
                write_length(ser.writer.out, place);
                Ok(())
            }
            None => Err(ser.writer.misfit(node, "text that is no symbol of the enum")),
        },
        _ => text::write(node, value, ser.writer.out).map_err(|wrong| match wrong {
            Some(why) => Fault::new(why).found("text").expected(node.describe(ser.writer.nodes)),
            None => ser.writer.misfit(node, "text"),
        }),
    }
}

pub(super) fn bytes(ser: Ser<'_, '_>, value: &[u8]) -> Result<(), Fault> {
    let node = ser.writer.branch(ser.node, &Given::Bytes(value.len()), "bytes")?;
    match node {
        Node::Bytes(_) => ser.writer.run(value),
        Node::Fixed(fixed) if fixed.size == value.len() => {
            ser.writer.out.extend_from_slice(value);
        }
        Node::Fixed(_) => {
            let found = format!("{} bytes", value.len());
            return Err(ser.writer.misfit(node, "bytes").found(found));
        }
        _ => return Err(ser.writer.misfit(node, "bytes")),
    }
    Ok(())
}

pub(super) fn null(ser: Ser<'_, '_>, found: &'static str) -> Result<(), Fault> {
    match ser.writer.branch(ser.node, &Given::Null, found)? {
        Node::Null => Ok(()),
        node => Err(ser.writer.misfit(node, found)),
    }
}

/// A struct without fields: a record without any, or nothing.
pub(super) fn unit_struct(ser: Ser<'_, '_>, name: &'static str) -> Result<(), Fault> {
    let node = match ser.node {
        Node::Nullable { value, branch, .. } => {
            let node = &ser.writer.nodes[*branch];
            if is_empty_record(node) && node.has_name(name) {
                ser.writer.out.push(*value);
                return Ok(());
            }
            ser.node
        }
        Node::Union(union) => {
            let of_name = |node: &Node| is_empty_record(node) && node.has_name(name);
            let nodes = ser.writer.nodes;
            let place = union.branches.iter().position(|branch| of_name(&nodes[branch.node]));
            match place {
                Some(place) => ser.writer.enter_branch(union.branches[place].node, place),
                None => ser.node,
            }
        }
        node => node,
    };
    if is_empty_record(node) {
        return Ok(());
    }
    null(Ser { writer: ser.writer, node }, "unit struct")
}

fn is_empty_record(node: &Node) -> bool {
    matches!(node, Node::Record(record) if record.fields.is_empty())
}

pub(super) fn unit_variant(ser: Ser<'_, '_>, variant: &'static str) -> Result<(), Fault> {
    let node = ser.writer.branch(ser.node, &Given::Variant(variant), "unit variant")?;
    match node {
        Node::Enum(plan) => match plan.place(variant) {
            Some(place) => write_length(ser.writer.out, place),
            None => {
                return Err(Fault::new("the enum has no such symbol")
                    .found(format!("variant {}", shown(variant)))
                    .expected(node.describe(ser.writer.nodes)));
            }
        },
        Node::String { uuid: false } => ser.writer.run(variant.as_bytes()),
        Node::Null if node.has_name(variant) => {}
        _ => return Err(ser.writer.misfit(node, "unit variant")),
    }
    Ok(())
}
