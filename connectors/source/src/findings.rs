//! What checks before a start find: all that is wrong is told at once, each with what mends it.

use tidemesh_model::{Error, ErrorKind, Result};

/// What was found wrong.
#[derive(Debug, Default)]
pub struct Findings {
    wrong: Vec<String>,
    remedies: Vec<String>,
    /// The kind of what no grant mends: the first that was found.
    refused: Option<ErrorKind>,
}

impl Findings {
    /// A privilege that is missing.
    pub fn lacks(&mut self, wrong: impl Into<String>, remedy: impl Into<String>) {
        self.wrong.push(wrong.into());
        self.remedies.push(remedy.into());
    }

    /// A prerequisite that is not met, which no grant mends.
    pub fn refuse(&mut self, wrong: impl Into<String>, remedy: impl Into<String>) {
        self.refuse_as(ErrorKind::Prerequisite, wrong, remedy);
    }

    /// As [`Findings::refuse`], with another kind, which holds if nothing was refused before.
    pub fn refuse_as(
        &mut self,
        kind: ErrorKind,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.refused.get_or_insert(kind);
        self.lacks(wrong, remedy);
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wrong.is_empty()
    }

    /// One error of all that was found.
    ///
    /// # Errors
    ///
    /// `Privilege` if privileges are all that is missing, else `Prerequisite` or the kind that was
    /// given.
    pub fn told(self, doing: &'static str) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        Err(Error::new(self.refused.unwrap_or(ErrorKind::Privilege), doing)
            .because(self.wrong.join("; "))
            .help(self.remedies.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_told_at_once_and_a_grant_mends_privileges_alone() {
        assert!(Findings::default().told("prepare").is_ok());
        let mut findings = Findings::default();
        findings.lacks("a may not", "Grant a.");
        let error = findings.told("prepare").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Privilege);
        let mut findings = Findings::default();
        findings.lacks("a may not", "Grant a.");
        findings.refuse("b is off", "Set b.");
        findings.refuse_as(ErrorKind::Conflict, "c is there", "Stop c.");
        let error = findings.told("prepare").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Prerequisite);
        let report = error.report();
        assert!(report.contains("a may not; b is off; c is there"), "{report}");
        assert!(report.contains("Grant a. Set b. Stop c."), "{report}");
    }
}
