//! Full text search (PostgreSQL 18, `tsvector.c`, `tsquery.c`).

use crate::types::bytes::Bytes;
use std::cell::RefCell;
use std::io::Write;

/// `'word':1A,2 'other'`: each word, then its places with their weights.
pub(super) fn vector(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    for index in 0..bytes.u32()? {
        if index > 0 {
            out.push(b' ');
        }
        word(bytes.c_string()?, out);
        for place in 0..bytes.u16()? {
            out.push(if place == 0 { b':' } else { b',' });
            let packed = bytes.u16()?;
            write!(out, "{}", packed & 0x3fff).ok()?;
            match packed >> 14 {
                3 => out.push(b'A'),
                2 => out.push(b'B'),
                1 => out.push(b'C'),
                _ => {}
            }
        }
    }
    bytes.end()
}

/// Quotes and backslashes are doubled.
fn word(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    for byte in text {
        if matches!(byte, b'\'' | b'\\') {
            out.push(*byte);
        }
        out.push(*byte);
    }
    out.push(b'\'');
}

/// What a query is made of.
#[derive(Debug, Clone, Copy)]
enum Item<'a> {
    Word { weights: u8, prefix: bool, text: &'a [u8] },
    Not,
    Both(Operator),
}

/// An operator between two queries.
#[derive(Debug, Clone, Copy)]
enum Operator {
    And,
    Or,
    Phrase(u16),
}

impl Operator {
    /// `tsearch_op_priority`; a word binds tightest.
    fn priority(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Phrase(_) => 3,
        }
    }
}

const NOT_PRIORITY: u8 = 4;

fn item<'a>(bytes: &mut Bytes<'a>) -> Option<Item<'a>> {
    Some(match bytes.byte()? {
        1 => {
            let (weights, prefix) = (bytes.byte()?, bytes.byte()? != 0);
            Item::Word { weights, prefix, text: bytes.c_string()? }
        }
        2 => match bytes.byte()? {
            1 => Item::Not,
            2 => Item::Both(Operator::And),
            3 => Item::Both(Operator::Or),
            4 => Item::Both(Operator::Phrase(bytes.u16()?)),
            _ => return None,
        },
        _ => return None,
    })
}

/// What is still to be written, the next one last.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The query that begins with so many bytes left, within an operator of this priority.
    Query {
        left: usize,
        within: u8,
        right_of_phrase: bool,
    },
    Operator(Operator),
    Close,
}

thread_local! {
    /// Steps of the query that is being written: queries nest deeper than a stack is sure to hold.
    static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
}

/// A query. In the bytes each operator comes before its operands, the right one first.
pub(super) fn query(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = Bytes(bytes);
    if bytes.u32()? == 0 {
        return bytes.end();
    }
    after(bytes)?.end()?;
    let all = bytes.0;
    STEPS.with_borrow_mut(|steps| {
        steps.clear();
        steps.push(Step::Query { left: all.len(), within: 0, right_of_phrase: false });
        while let Some(step) = steps.pop() {
            match step {
                Step::Query { left, within, right_of_phrase } => {
                    let at = Bytes(&all[all.len() - left..]);
                    open(at, within, right_of_phrase, steps, out)?;
                }
                Step::Operator(Operator::And) => out.extend_from_slice(b" & "),
                Step::Operator(Operator::Or) => out.extend_from_slice(b" | "),
                Step::Operator(Operator::Phrase(1)) => out.extend_from_slice(b" <-> "),
                Step::Operator(Operator::Phrase(distance)) => {
                    write!(out, " <{distance}> ").ok()?;
                }
                Step::Close => out.extend_from_slice(b" )"),
            }
        }
        Some(())
    })
}

/// Writes a query up to its first operand, and adds the steps for the rest.
fn open(
    mut bytes: Bytes<'_>,
    within: u8,
    right_of_phrase: bool,
    steps: &mut Vec<Step>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let operand = |bytes: Bytes<'_>, within, right_of_phrase| Step::Query {
        left: bytes.0.len(),
        within,
        right_of_phrase,
    };
    let item = item(&mut bytes)?;
    let (priority, in_brackets) = match item {
        Item::Word { weights, prefix, text } => {
            word(text, out);
            marks(weights, prefix, out);
            return Some(());
        }
        Item::Not => (NOT_PRIORITY, NOT_PRIORITY < within),
        Item::Both(operator) => {
            let is_phrase = matches!(operator, Operator::Phrase(_));
            let priority = operator.priority();
            (priority, priority < within || (is_phrase && right_of_phrase))
        }
    };
    if in_brackets {
        out.extend_from_slice(b"( ");
        steps.push(Step::Close);
    }
    match item {
        Item::Both(operator) => {
            let is_phrase = matches!(operator, Operator::Phrase(_));
            steps.push(operand(bytes, priority, is_phrase));
            steps.push(Step::Operator(operator));
            steps.push(operand(after(bytes)?, priority, false));
        }
        _ => {
            out.push(b'!');
            steps.push(operand(bytes, priority, false));
        }
    }
    Some(())
}

fn marks(weights: u8, prefix: bool, out: &mut Vec<u8>) {
    if weights == 0 && !prefix {
        return;
    }
    out.push(b':');
    if prefix {
        out.push(b'*');
    }
    for (bit, letter) in [(3, b'A'), (2, b'B'), (1, b'C'), (0, b'D')] {
        if weights & (1 << bit) != 0 {
            out.push(letter);
        }
    }
}

/// What comes behind the query that the bytes begin with.
fn after(mut bytes: Bytes<'_>) -> Option<Bytes<'_>> {
    let mut missing = 1_usize;
    while missing > 0 {
        match item(&mut bytes)? {
            Item::Word { .. } => missing -= 1,
            Item::Not => {}
            Item::Both(_) => missing += 1,
        }
    }
    Some(bytes)
}
