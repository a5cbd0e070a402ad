//! What the server's log says of tables and their rows, read by the decoders as the source reads it.

use super::Server;
use crate::config::TERMS;
use crate::decode::{Message, RowChange, decode};
use crate::frame::{FILE_MAGIC, Flavor, Frame, Framer, next_event};
use crate::relation::{Relation, Row, TableFacts};
use std::collections::HashMap;
use std::process::Command;
use tidemesh_model::{MysqlTypes, TableName, Value, Values};
use tidemesh_source::Selection;

/// A table of the log, and the rows that were inserted into it.
#[derive(Debug)]
pub(crate) struct Logged {
    pub(crate) relation: Relation,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// What the whole log says of these tables. What `information_schema` adds is given.
pub(crate) fn logged(
    server: &Server,
    facts: &HashMap<TableName, TableFacts>,
    types: &MysqlTypes,
) -> HashMap<TableName, Logged> {
    let mut found = HashMap::new();
    for file in files(server) {
        read(&file, facts, types, &mut found);
    }
    found
}

/// The server's files of the log.
fn files(server: &Server) -> Vec<Vec<u8>> {
    let settings = &server.settings;
    let folder = std::env::temp_dir().join(format!(
        "tidemesh-mysql-log-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    let client = |program: &str, more: &[&str]| {
        let output = Command::new(program)
            .args(["--no-defaults", "--user", &settings.user, "--host", &settings.host])
            .args(["--port", &settings.port.to_string()])
            .args(more)
            .current_dir(&folder)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}; install mariadb-server"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = client("mariadb", &["-N", "-B", "-e", "SHOW BINARY LOGS"]);
    let mut files = Vec::new();
    for line in listed.lines() {
        let name = line.split('\t').next().unwrap();
        client("mariadb-binlog", &["--read-from-remote-server", "--raw", name]);
        files.push(std::fs::read(folder.join(name)).unwrap());
    }
    std::fs::remove_dir_all(&folder).unwrap();
    files
}

fn read(
    file: &[u8],
    facts: &HashMap<TableName, TableFacts>,
    types: &MysqlTypes,
    found: &mut HashMap<TableName, Logged>,
) {
    let mut flavor = Flavor::MySql;
    let mut names: HashMap<u64, TableName> = HashMap::new();
    let mut input = file.strip_prefix(&FILE_MAGIC).unwrap();
    let mut framer = Framer::default();
    while let Some(event) = next_event(&mut input).unwrap() {
        let event = match framer.frame(event).unwrap() {
            Frame::FormatDescription(format) => {
                flavor = format.flavor();
                continue;
            }
            Frame::Event(event) => event,
            _ => continue,
        };
        let mut scratch = Vec::new();
        match decode(event, &mut scratch).unwrap() {
            Message::TableMap(map) => {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                let name = TableName::new(text(map.database), text(map.table));
                names.insert(map.id, name.clone());
                let Some(facts) = facts.get(&name) else { continue };
                let relation =
                    Relation::new(&map, flavor, facts, types, &Selection::all(&TERMS)).unwrap();
                found.entry(name).or_insert_with(|| Logged { relation, rows: Vec::new() });
            }
            Message::Rows(rows) => {
                let Some(logged) = names.get(&rows.table).and_then(|name| found.get_mut(name))
                else {
                    continue;
                };
                let mut cursor = rows.cursor(&logged.relation.wires).unwrap();
                while let Some(change) = cursor.next().unwrap() {
                    let RowChange::Insert { after: image } = change else { continue };
                    let (relation, header) = (&logged.relation, rows.header());
                    let row = Row { relation, image, before: None, header };
                    logged.rows.push(Values::of(&row).unwrap());
                }
            }
            // A server that is kept has what earlier runs of the tests made.
            Message::Query(query) => {
                let sql = String::from_utf8_lossy(query.sql).into_owned();
                if let Some((_, dropped)) = sql.split_once("DROP DATABASE IF EXISTS ") {
                    found.retain(|name, _| name.schema != dropped.trim());
                }
            }
            _ => {}
        }
    }
}
