//! What comes of a verification, as users see it.

use serde::{Deserialize, Serialize};
use tidemesh_model::TableName;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Topic and database hold the same.
    Equal,
    /// They do not.
    Different,
    /// It could not be found out.
    Unknown,
}

/// What came of a comparison of a topic with a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// What came of it.
    pub outcome: Outcome,
    /// Rows that the database gave.
    pub rows: u64,
    /// Keys that were looked at again, because they moved meanwhile or differed at first.
    pub rechecked: u64,
    /// How many keys differ; of an unknown outcome, how many differ without proving anything.
    pub differing: u64,
    /// The first of them, or all.
    pub differences: Vec<Difference>,
    /// Why it is unknown, or what limits the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Comparison {
    /// Of what could not be compared.
    #[must_use]
    pub fn unknown(reason: String) -> Self {
        Self {
            outcome: Outcome::Unknown,
            rows: 0,
            rechecked: 0,
            differing: 0,
            differences: Vec::new(),
            reason: Some(reason),
        }
    }
}

/// One table's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableVerdict {
    /// The table.
    pub table: TableName,
    /// The topic.
    pub topic: String,
    /// What came of it.
    #[serde(flatten)]
    pub found: Comparison,
}

/// One output's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputVerdict {
    /// The pipeline.
    pub pipeline: String,
    /// The sink's name, or the tapped processor's.
    pub output: String,
    /// The topic.
    pub topic: String,
    /// What came of it.
    #[serde(flatten)]
    pub found: Comparison,
}

/// One key that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The key's columns.
    pub key: Vec<Cell>,
    /// How.
    #[serde(flatten)]
    pub what: What,
}

/// A column and its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The column.
    pub column: String,
    /// The database's text; none for null.
    pub text: Option<String>,
}

/// How a key differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "difference")]
pub enum What {
    /// The table has the row, the topic does not.
    MissingInTopic,
    /// The topic has the row, the table does not.
    ExtraInTopic,
    /// Both have it, with other values.
    Values {
        /// The columns that differ.
        columns: Vec<ColumnDifference>,
    },
}

/// A column that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDifference {
    /// The column.
    pub column: String,
    /// The table's value, as text; none for null.
    pub database: Option<String>,
    /// The topic's.
    pub topic: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_one_flat_object() {
        let found = Comparison::unknown("held".into());
        let verdict = TableVerdict {
            table: TableName::new("public", "orders"),
            topic: "shop.public.orders".into(),
            found,
        };
        let text = serde_json::to_string(&verdict).unwrap();
        let fields = r#","topic":"shop.public.orders","outcome":"unknown","rows":0,"rechecked":0,"differing":0,"differences":[],"reason":"held"}"#;
        assert!(text.ends_with(fields), "{text}");
        assert_eq!(serde_json::from_str::<TableVerdict>(&text).unwrap(), verdict);
    }
}
