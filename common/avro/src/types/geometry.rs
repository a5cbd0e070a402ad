//! Geometric values in Debezium's forms (Debezium 3.7, `io.debezium.data.geometry`): coordinates, and
//! well-known binary (OGC 06-103r4, 8.2.8) of the shapes that have it. The lowest byte is first.

use crate::varint::{write_length, write_long};

/// A shape that PostgreSQL has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Point,
    Circle,
    Line,
    Segment,
    Box,
    Path,
    Polygon,
}

const WKB_POINT: u32 = 1;
const WKB_LINE_STRING: u32 = 2;
const WKB_POLYGON: u32 = 3;

const NULL: u8 = 0;
const NOT_NULL: u8 = 2;

/// Appends a shape's record from its text; none for a text that is no such shape.
pub(super) fn write_shape(shape: Shape, text: &str, out: &mut Vec<u8>) -> Option<()> {
    let numbers = Numbers::of(text)?;
    match shape {
        Shape::Point => point(numbers.all()?, out),
        Shape::Circle => {
            let [x, y, radius] = numbers.all()?;
            point([x, y], out);
            double(radius, out);
        }
        Shape::Line => {
            let [a, b, c] = numbers.all()?;
            [a, b, c].into_iter().for_each(|number| double(number, out));
        }
        Shape::Segment => {
            let [x1, y1, x2, y2] = numbers.all()?;
            wkb(WKB_LINE_STRING, [x1, y1, x2, y2], 4, None, out);
            extensions(&[("type", "lseg")], out);
        }
        Shape::Box => {
            let [x1, y1, x2, y2] = numbers.all()?;
            let ring = [x1, y1, x1, y2, x2, y2, x2, y1, x1, y1];
            wkb(WKB_POLYGON, ring, ring.len(), None, out);
            extensions(&[("type", "box")], out);
        }
        Shape::Path => {
            let closed = if text.starts_with('[') { "false" } else { "true" };
            numbers.wkb(WKB_LINE_STRING, None, out)?;
            extensions(&[("closed", closed), ("type", "path")], out);
        }
        Shape::Polygon => {
            let ends = numbers.ends()?;
            // A ring ends where it began.
            let closing = (ends.0 != ends.1).then_some(ends.0);
            numbers.wkb(WKB_POLYGON, closing, out)?;
            extensions(&[("type", "polygon")], out);
        }
    }
    Some(())
}

/// The numbers of a text, between its brackets and commas. They are read as often as they are
/// wanted, so that none is kept.
#[derive(Clone, Copy)]
struct Numbers<'a>(&'a str);

impl<'a> Numbers<'a> {
    /// None if there is one that is none.
    fn of(text: &'a str) -> Option<Self> {
        let numbers = Self(text);
        numbers.iter().all(|number| number.is_some()).then_some(numbers)
    }

    fn iter(self) -> impl Iterator<Item = Option<f64>> + 'a {
        let around = |c: char| matches!(c, '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | ',');
        let parts = self.0.split(around).filter(|part| !part.is_empty());
        parts.map(|number| number.parse().ok())
    }

    /// Exactly so many.
    fn all<const N: usize>(self) -> Option<[f64; N]> {
        let mut numbers = [0.0; N];
        let mut found = self.iter();
        for number in &mut numbers {
            *number = found.next()??;
        }
        found.next().is_none().then_some(numbers)
    }

    /// The first point and the last.
    fn ends(self) -> Option<([f64; 2], [f64; 2])> {
        let mut found = self.iter();
        let first = [found.next()??, found.next()??];
        let mut last = first;
        while let Some(x) = found.next() {
            last = [x?, found.next()??];
        }
        Some((first, last))
    }

    fn wkb(self, kind: u32, closing: Option<[f64; 2]>, out: &mut Vec<u8>) -> Option<()> {
        let count = self.iter().count();
        count.is_multiple_of(2).then_some(())?;
        wkb(kind, self.iter().flatten(), count, closing, out);
        Some(())
    }
}

fn double(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

/// A record of x, y, their well-known binary and no reference system.
fn point([x, y]: [f64; 2], out: &mut Vec<u8>) {
    double(x, out);
    double(y, out);
    out.push(NOT_NULL);
    write_length(out, 21);
    head(WKB_POINT, out);
    double(x, out);
    double(y, out);
    out.push(NULL);
}

fn head(kind: u32, out: &mut Vec<u8>) {
    out.push(1);
    out.extend_from_slice(&kind.to_le_bytes());
}

/// Well-known binary of points, as bytes, and no reference system. A polygon has one ring.
fn wkb(
    kind: u32,
    numbers: impl IntoIterator<Item = f64>,
    count: usize,
    closing: Option<[f64; 2]>,
    out: &mut Vec<u8>,
) {
    let points = count / 2 + usize::from(closing.is_some());
    let heads = if kind == WKB_POLYGON { 13 } else { 9 };
    write_length(out, heads + points * 16);
    head(kind, out);
    if kind == WKB_POLYGON {
        out.extend_from_slice(&1_u32.to_le_bytes());
    }
    out.extend_from_slice(&u32::try_from(points).unwrap_or(u32::MAX).to_le_bytes());
    numbers.into_iter().for_each(|number| double(number, out));
    closing.into_iter().flatten().for_each(|number| double(number, out));
    out.push(NULL);
}

/// The map of what well-known binary does not say.
fn extensions(entries: &[(&str, &str)], out: &mut Vec<u8>) {
    out.push(NOT_NULL);
    write_length(out, entries.len());
    for (key, value) in entries {
        for text in [key, value] {
            write_length(out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
    }
    write_long(out, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(shape: Shape, text: &str) -> String {
        let mut out = Vec::new();
        write_shape(shape, text, &mut out).unwrap();
        out.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    // The bytes that Debezium 3.7.0.Final wrote of these values.
    #[test]
    fn shapes_have_debeziums_bytes() {
        let one = "000000000000f03f";
        let zero = "0000000000000000";
        assert_eq!(
            hex(Shape::Point, "(1.5,-2)"),
            "000000000000f83f00000000000000c0022a0101000000000000000000f83f00000000000000c000"
        );
        assert_eq!(
            hex(Shape::Circle, "<(1,2),3>"),
            format!("{one}0000000000000040022a0101000000{one}0000000000000040000000000000000840")
        );
        assert_eq!(hex(Shape::Line, "{1,2,3}"), format!("{one}00000000000000400000000000000840"));
        assert_eq!(
            hex(Shape::Segment, "[(0,0),(1,1)]"),
            format!("52010200000002000000{zero}{zero}{one}{one}0002020874797065086c73656700")
        );
        assert_eq!(
            hex(Shape::Box, "(1,1),(0,0)"),
            format!(
                "ba0101030000000100000005000000{one}{one}{one}{zero}{zero}{zero}{zero}{one}{one}{one}\
                 000202087479706506626f7800"
            )
        );
        assert_eq!(
            hex(Shape::Path, "((0,0),(1,1))"),
            format!(
                "52010200000002000000{zero}{zero}{one}{one}\
                 0002040c636c6f736564087472756508747970650870617468\
                 00"
            )
        );
        assert_eq!(
            hex(Shape::Polygon, "((0,0),(1,1),(1,0))"),
            format!(
                "9a0101030000000100000004000000{zero}{zero}{one}{one}{one}{zero}{zero}{zero}\
                 00020208747970650e706f6c79676f6e00"
            )
        );
    }

    #[test]
    fn another_shape_is_refused() {
        for (shape, text) in [
            (Shape::Point, "(1)"),
            (Shape::Point, "(1,2,3)"),
            (Shape::Point, "(a,b)"),
            (Shape::Path, "[(0,0),(1)]"),
            (Shape::Polygon, "()"),
        ] {
            assert!(write_shape(shape, text, &mut Vec::new()).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "[\\]\\[(){}<>,0-9eE.+-]{0,30}|\\PC{0,20}") {
            for shape in [Shape::Point, Shape::Circle, Shape::Line, Shape::Segment, Shape::Box, Shape::Path, Shape::Polygon] {
                let _ = write_shape(shape, &text, &mut Vec::new());
            }
        }
    }
}
