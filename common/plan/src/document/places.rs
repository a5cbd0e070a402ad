//! Where what a document says stands in its text, found again by its path.

use super::tree::{Content, Node};
use crate::Place;
use std::fmt;
use std::sync::Arc;

/// The places of a document. Cheap to clone.
#[derive(Clone)]
pub(super) struct Places(Arc<Node>);

impl Places {
    pub(super) fn new(tree: Node) -> Self {
        Self(Arc::new(tree))
    }

    /// The place of what a path leads to, or of the last on the way that is there.
    pub(super) fn of(&self, path: &str) -> Place {
        let mut node: &Node = &self.0;
        let mut rest = path;
        while let Some((step, after)) = step(rest) {
            let next = match step {
                Step::Key(key) => node.get(key),
                Step::Index(index) => node.item(index),
            };
            let Some(next) = next else { break };
            (node, rest) = (next, after);
        }
        node.place
    }
}

/// Of what stands in no text.
impl Default for Places {
    fn default() -> Self {
        Self::new(Node { place: Place { line: 1, column: 1 }, content: Content::Null })
    }
}

enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

/// The first step of a path, and what comes after it.
fn step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(quoted) = path.strip_prefix("[\"") {
        let (key, after) = quoted.split_once("\"]")?;
        return Some((Step::Key(key), after));
    }
    if let Some(index) = path.strip_prefix('[') {
        let (index, after) = index.split_once(']')?;
        return Some((Step::Index(index.parse().ok()?), after));
    }
    let path = path.strip_prefix('.').unwrap_or(path);
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (key, after) = path.split_at(end);
    (!key.is_empty()).then_some((Step::Key(key), after))
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Places")
    }
}
