//! What values of a MySQL or MariaDB database become where there is a choice.

use serde::{Deserialize, Serialize};

/// Choices about types, each of which loses nothing without telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MysqlTypes {
    /// What becomes of dates that are none, as `0000-00-00` and `2024-02-31`. Default `stop`.
    #[serde(default)]
    pub zero_dates: ZeroDates,
    /// How `BIGINT UNSIGNED` is carried. Default `decimal`.
    #[serde(default)]
    pub unsigned_bigint: UnsignedBigint,
    /// How `TIME` is carried, which may be negative and longer than a day. Default `text`.
    #[serde(default)]
    pub time: MysqlTime,
}

/// What becomes of dates that no calendar has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroDates {
    /// As any value that cannot be carried: the source stops, with an error that names table and
    /// column.
    #[default]
    Stop,
    /// They are carried as null; in a key, which has no null, the source stops all the same.
    Null,
    /// All of `DATE`, `DATETIME` and `TIMESTAMP` are carried as the database's text, in UTC.
    Text,
}

/// How numbers are carried that may be above the largest of 64 bits with a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnsignedBigint {
    /// As `decimal(20,0)`, which holds all of them.
    #[default]
    Decimal,
    /// As a long; a larger one stops the source.
    Long,
}

/// How spans of time are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MysqlTime {
    /// As the database's text: `-838:59:59`.
    #[default]
    Text,
    /// As a time of day; one that is negative or longer than a day stops the source.
    TimeOfDay,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_lose_nothing() {
        let types: MysqlTypes = serde_json::from_str("{}").unwrap();
        assert_eq!(types, MysqlTypes::default());
        assert_eq!(types.zero_dates, ZeroDates::Stop);
        assert_eq!(types.unsigned_bigint, UnsignedBigint::Decimal);
        assert_eq!(types.time, MysqlTime::Text);
        let text = r#"{"zero_dates": "null", "unsigned_bigint": "long", "time": "time_of_day"}"#;
        let types: MysqlTypes = serde_json::from_str(text).unwrap();
        assert_eq!(types.zero_dates, ZeroDates::Null);
    }
}
