//! What changed in a document, and the document after it (MySQL 9.1, `sql/json_diff.cc`,
//! `apply_json_diffs`; paths: `sql-common/json_path.cc`).
//!
//! The old document is taken apart into a tree, changed, and printed. Only partial updates come here,
//! so it may allocate.

use super::binary::{Budget, DEPTH_MAX, Scalar, Value, document};
use super::print::{quoted, scalar};
use crate::bytes::Bytes;

/// A document that can be changed.
#[derive(Debug, Clone)]
enum Tree {
    /// In the server's order: by the keys' lengths, then their bytes.
    Object(Vec<(Vec<u8>, Tree)>),
    Array(Vec<Tree>),
    /// As text.
    Scalar(Vec<u8>),
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leg {
    Member(Vec<u8>),
    Cell(usize),
}

const REPLACE: u8 = 0;
const INSERT: u8 = 1;
const REMOVE: u8 = 2;

/// Appends, as text, the document that `old` is after what `diff` says; none for bytes that are no
/// document or no differences of it.
pub(crate) fn apply(old: &[u8], diff: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut tree = tree(document(old)?, 0, &mut Budget::of(old))?;
    let mut bytes = Bytes(diff);
    while let Some(operation) = bytes.u8() {
        let path = path(bytes.packed_bytes()?)?;
        let value = match operation {
            REPLACE | INSERT => {
                let value = bytes.packed_bytes()?;
                Some(self::tree(document(value)?, path.len(), &mut Budget::of(value))?)
            }
            REMOVE => None,
            _ => return None,
        };
        change(&mut tree, operation, &path, value)?;
    }
    print(&tree, out);
    Some(())
}

fn tree(value: Value<'_>, depth: usize, budget: &mut Budget) -> Option<Tree> {
    budget.element()?;
    (depth <= DEPTH_MAX).then_some(())?;
    Some(match value {
        Value::Scalar(of) => Tree::Scalar(text(&of, budget)?),
        Value::Array(container) => {
            let cell = |index| tree(container.value(index)?, depth + 1, budget);
            Tree::Array((0..container.count).map(cell).collect::<Option<_>>()?)
        }
        Value::Object(container) => {
            let member = |index| {
                let key = container.key(index)?;
                budget.text(key.len())?;
                Some((key.to_vec(), tree(container.value(index)?, depth + 1, budget)?))
            };
            Tree::Object((0..container.count).map(member).collect::<Option<_>>()?)
        }
    })
}

fn text(of: &Scalar<'_>, budget: &mut Budget) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    scalar(of, &mut text)?;
    budget.text(text.len())?;
    Some(text)
}

/// `$`, then `.name`, `."name"` and `[place]`.
fn path(text: &[u8]) -> Option<Vec<Leg>> {
    let mut rest = text.strip_prefix(b"$")?;
    let mut legs = Vec::new();
    while let Some((first, behind)) = rest.split_first() {
        (legs.len() < DEPTH_MAX).then_some(())?;
        match first {
            b'[' => {
                let end = behind.iter().position(|byte| *byte == b']')?;
                let place = std::str::from_utf8(&behind[..end]).ok()?.parse().ok()?;
                legs.push(Leg::Cell(place));
                rest = &behind[end + 1..];
            }
            b'.' if behind.first() == Some(&b'"') => {
                let (name, behind) = quoted_name(&behind[1..])?;
                legs.push(Leg::Member(name));
                rest = behind;
            }
            b'.' => {
                let end = behind.iter().position(|byte| matches!(byte, b'.' | b'['));
                let (name, behind) = behind.split_at(end.unwrap_or(behind.len()));
                (!name.is_empty()).then_some(())?;
                legs.push(Leg::Member(name.to_vec()));
                rest = behind;
            }
            _ => return None,
        }
    }
    Some(legs)
}

/// A name up to its closing quote, with its escapes undone.
fn quoted_name(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut name = Vec::new();
    let mut rest = text;
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        match byte {
            b'"' => return Some((name, rest)),
            b'\\' => {
                let (escaped, behind) = rest.split_first()?;
                rest = behind;
                name.push(match escaped {
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'u' => {
                        let (digits, behind) = rest.split_at_checked(4)?;
                        rest = behind;
                        u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
                    }
                    other => *other,
                });
            }
            _ => name.push(*byte),
        }
    }
}

/// Changes one place; none if it is not there.
fn change(tree: &mut Tree, operation: u8, path: &[Leg], value: Option<Tree>) -> Option<()> {
    let Some((last, path)) = path.split_last() else {
        *tree = value.filter(|_| operation == REPLACE)?;
        return Some(());
    };
    let parent = path.iter().try_fold(tree, |tree, leg| match (tree, leg) {
        (Tree::Object(members), Leg::Member(name)) => {
            let place = place(members, name).ok()?;
            Some(&mut members[place].1)
        }
        (Tree::Array(cells), Leg::Cell(place)) => cells.get_mut(*place),
        _ => None,
    })?;
    match (parent, last) {
        (Tree::Object(members), Leg::Member(name)) => {
            match (place(members, name), operation, value) {
                (Ok(place), REPLACE, Some(value)) => members[place].1 = value,
                (Ok(place), REMOVE, _) => drop(members.remove(place)),
                (Err(place), INSERT, Some(value)) => members.insert(place, (name.clone(), value)),
                _ => return None,
            }
        }
        (Tree::Array(cells), Leg::Cell(place)) => match (operation, value) {
            (REPLACE, Some(value)) => *cells.get_mut(*place)? = value,
            (REMOVE, _) if *place < cells.len() => drop(cells.remove(*place)),
            // Behind the end is at the end.
            (INSERT, Some(value)) => cells.insert((*place).min(cells.len()), value),
            _ => return None,
        },
        _ => return None,
    }
    Some(())
}

/// Where a member is, or would be, in the server's order of keys.
fn place(members: &[(Vec<u8>, Tree)], name: &[u8]) -> Result<usize, usize> {
    members.binary_search_by(|(key, _)| (key.len(), key.as_slice()).cmp(&(name.len(), name)))
}

fn print(tree: &Tree, out: &mut Vec<u8>) {
    match tree {
        Tree::Scalar(text) => out.extend_from_slice(text),
        Tree::Array(cells) => {
            out.push(b'[');
            for (index, cell) in cells.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                print(cell, out);
            }
            out.push(b']');
        }
        Tree::Object(members) => {
            out.push(b'{');
            for (index, (key, value)) in members.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                quoted(key, out);
                out.extend_from_slice(b": ");
                print(value, out);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `{"a": 1, "bc": [true, false]}`
    fn old() -> Vec<u8> {
        let mut bytes = vec![0, 2, 0, 31, 0, 18, 0, 1, 0, 19, 0, 2, 0, 5, 1, 0, 2, 21, 0];
        bytes.extend_from_slice(b"abc");
        bytes.extend_from_slice(&[2, 0, 10, 0, 4, 1, 0, 4, 2, 0]);
        bytes
    }

    fn diff(changes: &[(u8, &str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (operation, path, value) in changes {
            out.push(*operation);
            out.push(u8::try_from(path.len()).unwrap());
            out.extend_from_slice(path.as_bytes());
            if *operation != REMOVE {
                out.push(u8::try_from(value.len()).unwrap());
                out.extend_from_slice(value);
            }
        }
        out
    }

    fn after(changes: &[(u8, &str, &[u8])]) -> Option<String> {
        let mut out = Vec::new();
        apply(&old(), &diff(changes), &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    /// By `Json_diff_vector::write_binary` in MySQL 9.1's `sql/json_diff.cc`; no real MySQL 8 was at
    /// hand.
    #[test]
    fn differences_make_the_new_document() {
        let seven = [5, 7, 0];
        let text = |changes: &[(u8, &str, &[u8])]| after(changes).unwrap();
        assert_eq!(text(&[]), r#"{"a": 1, "bc": [true, false]}"#);
        assert_eq!(text(&[(REPLACE, "$.a", &seven)]), r#"{"a": 7, "bc": [true, false]}"#);
        assert_eq!(text(&[(REMOVE, "$.bc[0]", &[])]), r#"{"a": 1, "bc": [false]}"#);
        assert_eq!(text(&[(INSERT, "$.bc[9]", &seven)]), r#"{"a": 1, "bc": [true, false, 7]}"#);
        assert_eq!(
            text(&[(INSERT, "$.\"b\\\"\"", &seven)]),
            r#"{"a": 1, "b\"": 7, "bc": [true, false]}"#
        );
        assert_eq!(
            text(&[(REMOVE, "$.bc", &[]), (INSERT, "$.b", &[12, 1, b'x'])]),
            r#"{"a": 1, "b": "x"}"#
        );
        assert_eq!(after(&[(REPLACE, "$.none", &seven)]), None);
        assert_eq!(after(&[(REPLACE, "$.a.b", &seven)]), None);
    }

    proptest! {
        #[test]
        fn any_differences_are_applied_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..40), at: proptest::sample::Index, to: u8,
        ) {
            let _ = apply(&old(), &bytes, &mut Vec::new());
            let _ = apply(&bytes, &diff(&[(REMOVE, "$.a", &[])]), &mut Vec::new());
            let mut spoiled = diff(&[(REPLACE, "$.bc[1]", &[5, 7, 0]), (INSERT, "$.b", &[12, 1, b'x'])]);
            let length = spoiled.len();
            spoiled[at.index(length)] = to;
            let _ = apply(&old(), &spoiled, &mut Vec::new());
        }
    }
}
