//! Gathers what is wrong with a text, up to a limit.

use super::limits::PROBLEMS_MAX;
use super::names;
use super::read::At;
use super::tree::Content;
use crate::{Problem, Problems};

/// All that is wrong so far. Messages are made only while there is room, so that a hostile text
/// costs no more than an honest one.
#[derive(Default)]
pub(super) struct Report {
    problems: Vec<Problem>,
    more: usize,
    document: String,
}

impl Report {
    /// The next problems are about this document.
    pub(super) fn begin(&mut self, document: impl Into<String>) {
        self.document = document.into();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.problems.len() + self.more
    }

    pub(super) fn push(&mut self, problem: Problem) {
        if self.has_room() {
            self.problems.push(problem);
        }
    }

    /// Whether one more is told; if not, it is counted.
    fn has_room(&mut self) -> bool {
        let room = self.problems.len() < PROBLEMS_MAX;
        self.more += usize::from(!room);
        room
    }

    /// Something at a place is wrong.
    pub(super) fn wrong(
        &mut self,
        at: &At<'_>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let reported = matches!(at.node.content, Content::Wrong);
        if !reported && self.has_room() {
            self.problems.push(at.problem(&self.document, message).help(help));
        }
    }

    /// A name at a place is none of those that there are.
    pub(super) fn unknown<'n>(
        &mut self,
        at: &At<'_>,
        message: impl Into<String>,
        name: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) {
        if self.has_room() {
            let help = names::instead_of(name, known);
            self.problems.push(at.problem(&self.document, message).help(help));
        }
    }

    /// A problem that is made only while there is room.
    pub(super) fn made(&mut self, problem: impl FnOnce() -> Problem) {
        if self.has_room() {
            self.problems.push(problem());
        }
    }

    /// All of it in the order in which it stands, if there is any.
    pub(super) fn into_problems(mut self) -> Option<Problems> {
        self.problems.sort_by_key(|problem| (problem.place.is_none(), problem.place));
        if self.more > 0 {
            let message = format!("there are {} more problems, which are not told", self.more);
            self.problems.push(Problem::new("", message).help("mend those above first"));
        }
        (!self.problems.is_empty()).then_some(Problems(self.problems))
    }
}
