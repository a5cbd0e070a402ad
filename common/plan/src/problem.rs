//! What is wrong with a text that a user wrote: where it stands, and what would work.

use std::fmt;

/// Where something stands in a text: line and column, both from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is about, in the document's own words: `spec.processors[0].sql`. May be empty.
    pub about: String,
    /// Where it stands in the document's text, if that is known.
    pub place: Option<Place>,
    /// Where it stands in the SQL that the document holds, if it is about SQL.
    pub sql_place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What would work, where something would.
    pub help: Option<String>,
}

/// All that is wrong, in the order in which it stands; never empty where it is an error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    /// A problem with what `about` names.
    #[must_use]
    pub fn new(about: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            about: about.into(),
            place: None,
            sql_place: None,
            message: message.into(),
            help: None,
        }
    }

    /// Says what would work.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says where it stands in the document.
    #[must_use]
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// Says where it stands in the SQL.
    #[must_use]
    pub fn at_sql(mut self, place: Option<Place>) -> Self {
        self.sql_place = place;
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl fmt::Display for Problem {
    /// `12:5: spec.processors[0].sql (SQL 2:8): there is no column …; help: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.about)?;
        if let Some(place) = self.sql_place {
            write!(f, "{}(SQL {place})", if self.about.is_empty() { "" } else { " " })?;
        }
        if !self.about.is_empty() || self.sql_place.is_some() {
            f.write_str(": ")?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problems {
    /// One problem a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
