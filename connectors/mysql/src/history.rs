//! Tables that keep their history: MariaDB's system-versioned ones, as a MariaDB 10.11.19 logs them. The log has every row that the table has: those that hold, whose
//! end is the last moment that there is, and what rows were before, as rows that ended. An update is one of
//! the row that holds, and an insert of what it was; a delete is an update that ends the row. Only rows that
//! hold are carried, as they are all that a `SELECT` has. Pure.

use crate::decode::{Cell, Image, RowChange};
use crate::relation::TableFacts;
use crate::types::{ColumnTold, Wire};

/// The names of the columns that a table has which names none itself; `information_schema` does not have
/// them, and no `SELECT *` shows them.
const HIDDEN: [&str; 2] = ["row_start", "row_end"];

/// The last moment of a `TIMESTAMP(6)`, as the log has it: of 31 bits, or of 32 from MariaDB 11.5 on (its release
/// notes; not run).
const LAST: [[u8; 7]; 2] =
    [[0x7f, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f], [0xff, 0xff, 0xff, 0xff, 0x0f, 0x42, 0x3f]];

/// What the log's columns tell of a table's history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// The place of the column that says until when a row holds; none of an ordinary table.
    pub(crate) row_end: Option<usize>,
    /// From here on columns are hidden.
    pub(crate) hidden_from: Option<usize>,
}

impl History {
    /// Of a table with these columns, and the places of its key's. Hidden ones are the last two, never null,
    /// unknown to `information_schema`, and the end is the last of the key: so an ordinary table that had
    /// columns of these names once is not taken for one.
    pub(crate) fn of(
        names: &[String],
        told: &[ColumnTold<'_>],
        key: &[usize],
        facts: &TableFacts,
    ) -> Self {
        let is_end = |name: &String| facts.of(name).is_some_and(|facts| facts.is_row_end);
        if let Some(end) = names.iter().position(is_end) {
            return Self { row_end: Some(end), hidden_from: None };
        }
        let Some(from) = names.len().checked_sub(HIDDEN.len()) else { return Self::default() };
        let is_hidden = |(place, hidden): (usize, &str)| {
            let (name, told) = (&names[place], &told[place]);
            name == hidden && facts.of(name).is_none() && told.is_moment() && !told.shape.nullable
        };
        let is_keyed = key.last().is_none_or(|last| *last == from + 1);
        match is_keyed && (from..).zip(HIDDEN).all(is_hidden) {
            true => Self { row_end: Some(from + 1), hidden_from: Some(from) },
            false => Self::default(),
        }
    }
}

/// What a change means to the rows that hold; none if it is of history alone.
#[cold]
pub(crate) fn of_current<'a>(
    change: RowChange<'a>,
    row_end: usize,
    wires: &[Wire],
) -> Option<RowChange<'a>> {
    let end = |image: Image<'a>| match image.cell(row_end, wires) {
        Some(Cell::Value(bytes)) => Some(LAST.iter().any(|last| last == bytes)),
        _ => None,
    };
    // What a minimal image leaves out has not changed.
    let holds = |image| end(image).unwrap_or(true);
    match change {
        RowChange::Insert { after } => holds(after).then_some(change),
        RowChange::Delete { before } => holds(before).then_some(change),
        RowChange::Update { before, after } => match (holds(before), end(after)) {
            (true, Some(false)) => Some(RowChange::Delete { before }),
            (true, _) => Some(change),
            (false, Some(true)) => Some(RowChange::Insert { after }),
            (false, _) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::{Server, Stream};
    use tidemesh_model::ErrorKind;

    const NAMED: &str = "a TIMESTAMP(6) GENERATED ALWAYS AS ROW START, z TIMESTAMP(6) GENERATED ALWAYS AS \
                         ROW END, PERIOD FOR SYSTEM_TIME(a, z)";

    const STATEMENTS: &[&str] = &[
        "INSERT INTO t VALUES (1, 1), (2, 2)",
        "UPDATE t SET v = 10 WHERE id = 1",
        "UPDATE t SET id = 3 WHERE id = 2",
        "DELETE FROM t WHERE id = 1",
        "REPLACE INTO t VALUES (3, 4)",
        "INSERT INTO t VALUES (3, 4) ON DUPLICATE KEY UPDATE v = 5",
        "DELETE HISTORY FROM t",
        "SET SESSION binlog_row_image = MINIMAL",
        "UPDATE t SET v = 6",
        "DELETE FROM t",
    ];

    const TOLD: &[&str] =
        &["c 1 1", "c 2 2", "u 1 10", "u 3 2", "d 1 10", "d 3 2", "c 3 4", "u 3 5", "u 3 6", "d 3"];

    /// The operation and the first two numbers.
    fn short(told: &str) -> String {
        let numbers =
            told.split("Int32(").skip(1).take(2).filter_map(|rest| rest.split(')').next());
        [&told[..1]].into_iter().chain(numbers).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn the_rows_that_hold_are_carried_and_their_history_is_not() {
        let server = Server::shared().await;
        let columns = "id INT PRIMARY KEY, v INT";
        for (database, columns) in [
            ("history_hidden", columns.to_owned()),
            (
                "history_named",
                format!(
                    "{columns}, {}",
                    NAMED.replace(",", " INVISIBLE,").replace("(a INVISIBLE", "(a")
                ),
            ),
        ] {
            let table = format!("CREATE TABLE t ({columns}) WITH SYSTEM VERSIONING");
            let mut stream = Stream::of(&server, database, &[&table], &["t"]).await;
            stream.run(STATEMENTS).await;
            let told = stream.read().await;
            let shorts: Vec<String> = told.iter().map(|told| short(told)).collect();
            assert_eq!(shorts, TOLD, "{told:?}");
        }
    }

    #[tokio::test]
    async fn versions_come_and_go_and_keep_the_tables_rows() {
        let server = Server::shared().await;
        let table = "CREATE TABLE t (id INT PRIMARY KEY, v INT)";
        let mut stream = Stream::of(&server, "history_altered", &[table], &["t"]).await;
        stream.run(&["INSERT INTO t VALUES (1, 1)", "ALTER TABLE t ADD SYSTEM VERSIONING"]).await;
        stream.run(&["UPDATE t SET v = 2", "INSERT INTO t VALUES (2, 2)"]).await;
        stream.run(&["ALTER TABLE t DROP SYSTEM VERSIONING", "UPDATE t SET v = 3"]).await;
        let shorts: Vec<String> = stream.read().await.iter().map(|told| short(told)).collect();
        assert_eq!(shorts, ["c 1 1", "u 1 2", "c 2 2", "u 1 3", "u 2 3"]);
    }

    #[tokio::test]
    async fn a_table_that_had_columns_of_these_names_is_an_ordinary_one() {
        let server = Server::shared().await;
        let table = "CREATE TABLE t (id INT PRIMARY KEY, row_start TIMESTAMP(6) NOT NULL DEFAULT '2020-01-01', \
                     row_end TIMESTAMP(6) NOT NULL DEFAULT '2020-01-01')";
        let mut stream = Stream::of(&server, "history_none", &[table], &["t"]).await;
        stream.run(&["INSERT INTO t (id) VALUES (1)"]).await;
        stream.run(&["ALTER TABLE t DROP COLUMN row_start, DROP COLUMN row_end"]).await;
        let told = stream.read().await;
        assert!(told.len() == 1 && told[0].contains("TimestampTz("), "{told:?}");
    }

    #[tokio::test]
    async fn versions_by_transactions_are_refused() {
        let server = Server::shared().await;
        let table = format!(
            "CREATE TABLE t (id INT PRIMARY KEY, {}) WITH SYSTEM VERSIONING",
            NAMED.replace("TIMESTAMP(6)", "BIGINT UNSIGNED")
        );
        let mut sql = server.database("history_numbers").await;
        sql.run(&table).await.unwrap();
        let source = serde_json::json!({"name": "history", "mysql": server.settings});
        let mut settings: tidemesh_model::SourceSettings = serde_json::from_value(source).unwrap();
        settings.snapshot.read_only = true;
        let mut config = crate::config::Config::try_from(&settings).unwrap();
        config.tables = vec![tidemesh_model::TableName::new("history_numbers", "t")];
        let error = crate::precheck::run(&mut sql, &config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Prerequisite);
        assert!(error.report().contains("TIMESTAMP(6)"), "{}", error.report());
    }
}
