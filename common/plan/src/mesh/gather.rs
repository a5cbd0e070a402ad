//! Gathers what is wrong with a set of documents, up to a limit, in the documents' order.

use crate::document::{Document, PROBLEMS_MAX};
use crate::{Problem, Problems};

/// All that is wrong so far. Messages are made only while there is room.
pub(super) struct Gather<'d> {
    documents: &'d [Document],
    problems: Vec<(usize, Problem)>,
    more: usize,
}

impl<'d> Gather<'d> {
    pub(super) fn new(documents: &'d [Document]) -> Self {
        Self { documents, problems: Vec::new(), more: 0 }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.problems.len() + self.more
    }

    /// A problem with a document, by its place among them.
    pub(super) fn made(&mut self, document: usize, problem: impl FnOnce(&Document) -> Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push((document, problem(&self.documents[document])));
        } else {
            self.more += 1;
        }
    }

    /// Something at a path of a document is wrong, and what would work.
    pub(super) fn wrong(
        &mut self,
        document: usize,
        path: &str,
        message: impl FnOnce() -> (String, String),
    ) {
        self.made(document, |document| {
            let (message, help) = message();
            document.problem(path, message).help(help)
        });
    }

    /// Adds what was gathered apart, behind what there is.
    pub(super) fn take(&mut self, other: Self) {
        let room = PROBLEMS_MAX - self.problems.len();
        self.more += other.problems.len().saturating_sub(room) + other.more;
        self.problems.extend(other.problems.into_iter().take(room));
    }

    /// All of it, document by document in the order in which it stands, if there is any.
    pub(super) fn into_problems(mut self) -> Option<Problems> {
        self.problems.sort_by_key(|(document, problem)| (*document, problem.place));
        let mut problems: Vec<Problem> =
            self.problems.into_iter().map(|(_, problem)| problem).collect();
        if self.more > 0 {
            let message = format!("there are {} more problems, which are not told", self.more);
            problems.push(Problem::new("", message).help("mend those above first"));
        }
        (!problems.is_empty()).then_some(Problems(problems))
    }
}
