//! Every prerequisite, checked before the log is touched; all that is missing is told at once, each
//! with the statement that mends it.

use crate::catalog::{Catalog, ColumnFacts, asking};
use crate::config::{Config, quoted, quoted_table};
use crate::types::Refused;
use std::collections::BTreeMap;
use tidemesh_model::{Error, ErrorKind, Result, TableName};

/// Server versions that are supported, by `server_version_num` / 10000.
const VERSIONS: std::ops::RangeInclusive<i32> = 14..=18;

/// What was found wrong.
#[derive(Debug, Default)]
struct Findings {
    wrong: Vec<String>,
    remedies: Vec<String>,
    privilege_only: bool,
}

impl Findings {
    fn add(&mut self, wrong: impl Into<String>, remedy: impl Into<String>) {
        self.wrong.push(wrong.into());
        self.remedies.push(remedy.into());
    }
}

/// Checks everything and makes the publication; answers the ids that the tables have today.
///
/// # Errors
///
/// `Prerequisite` or `Privilege`, with all that is wrong and what to do about each.
pub(crate) async fn run(catalog: &Catalog, config: &Config) -> Result<BTreeMap<TableName, u32>> {
    let mut ids = BTreeMap::new();
    let mut findings = Findings { privilege_only: true, ..Findings::default() };
    server(catalog, config, &mut findings).await?;
    declared_types(catalog, config, &mut findings).await?;
    for table in &config.tables {
        if let Some(id) = check_table(catalog, config, table, &mut findings).await? {
            ids.insert(table.clone(), id);
        }
    }
    if findings.wrong.is_empty() {
        publication(catalog, config, &mut findings).await?;
    }
    if findings.wrong.is_empty() {
        return Ok(ids);
    }
    let kind = if findings.privilege_only { ErrorKind::Privilege } else { ErrorKind::Prerequisite };
    Err(Error::new(kind, "prepare the PostgreSQL source")
        .because(findings.wrong.join("; "))
        .help(findings.remedies.join(" ")))
}

async fn server(catalog: &Catalog, config: &Config, findings: &mut Findings) -> Result<()> {
    let row = catalog.client.query_one(SERVER, &[&config.slot]).await.map_err(asking)?;
    let version: i32 = row.get("version");
    if !VERSIONS.contains(&(version / 10_000)) {
        let (least, most) = (VERSIONS.start(), VERSIONS.end());
        findings.privilege_only = false;
        findings.add(
            format!("the server's version {version} is not supported"),
            format!("Use PostgreSQL {least} to {most}."),
        );
    }
    let wal_level: String = row.get("wal_level");
    if wal_level != "logical" {
        findings.privilege_only = false;
        findings.add(
            format!("wal_level is {wal_level}, not logical"),
            "Run ALTER SYSTEM SET wal_level = 'logical'; and restart the server.",
        );
    }
    let encoding: String = row.get("encoding");
    if encoding != "UTF8" {
        findings.privilege_only = false;
        findings.add(
            format!("the database's encoding is {encoding}, not UTF8"),
            "Capture a database that is encoded in UTF8.",
        );
    }
    let (slots_left, slot_there): (i64, bool) = (row.get("slots_left"), row.get("slot_there"));
    if slots_left <= 0 && !slot_there {
        findings.privilege_only = false;
        findings.add(
            "no replication slot is left",
            "Drop a slot that is not used, or raise max_replication_slots and restart the server.",
        );
    }
    let may_replicate: bool = row.get("may_replicate");
    if !may_replicate {
        let user = quoted(&config.settings.user);
        findings.add(
            format!("the role {user} may not replicate"),
            format!(
                "Run ALTER ROLE {user} REPLICATION; (on RDS: GRANT rds_replication TO {user};)"
            ),
        );
    }
    Ok(())
}

async fn check_table(
    catalog: &Catalog,
    config: &Config,
    table: &TableName,
    findings: &mut Findings,
) -> Result<Option<u32>> {
    let rows = catalog.client.query(TABLE, &[&table.schema, &table.table]).await.map_err(asking)?;
    let name = quoted_table(table);
    let Some(row) = rows.first() else {
        findings.privilege_only = false;
        findings.add(
            format!("the table {name} does not exist"),
            format!("Correct postgres.tables, or create {name}."),
        );
        return Ok(None);
    };
    let (kind, persistence): (i8, i8) = (row.get("relkind"), row.get("relpersistence"));
    if char::from(kind.cast_unsigned()) != 'r' || char::from(persistence.cast_unsigned()) != 'p' {
        findings.privilege_only = false;
        findings.add(
            format!("{name} is no ordinary, logged table"),
            format!("Leave {name} out of postgres.tables (partitioned tables come later; list the partitions)."),
        );
        return Ok(None);
    }
    let identity: i8 = row.get("relreplident");
    let (has_key, index_is_key): (bool, bool) = (row.get("has_key"), row.get("index_is_key"));
    let usable = match char::from(identity.cast_unsigned()) {
        'd' => has_key,
        'f' => true,
        'i' => index_is_key || !has_key,
        _ => false,
    };
    if !usable {
        findings.privilege_only = false;
        findings.add(
            format!(
                "{name} has no replica identity by which a row can be told: once published, \
                 PostgreSQL would refuse its updates and deletes"
            ),
            format!(
                "Add a primary key to {name} and run ALTER TABLE {name} REPLICA IDENTITY DEFAULT; \
                 or run ALTER TABLE {name} REPLICA IDENTITY FULL;"
            ),
        );
    }
    let id: u32 = row.get("oid");
    check_types(catalog, table, id, findings).await?;
    if !row.get::<_, bool>("may_select") {
        let user = quoted(&config.settings.user);
        findings.add(
            format!("the role {user} may not read {name}"),
            format!("Run GRANT SELECT ON {name} TO {user};"),
        );
    }
    Ok(Some(id))
}

/// Names every column whose type is not carried.
async fn check_types(
    catalog: &Catalog,
    table: &TableName,
    oid: u32,
    findings: &mut Findings,
) -> Result<()> {
    let columns = catalog.table(oid).await?.columns;
    let oids: Vec<u32> = columns.values().map(|column| column.type_oid).collect();
    let types = catalog.types(&oids).await?;
    let refused = |(name, column): (&String, &ColumnFacts)| {
        let read = types.reader(column.type_oid, column.type_modifier, column.dimensions);
        let type_text = column.type_text.clone();
        read.err().map(|refused| (column.number, name.clone(), type_text, refused))
    };
    let mut wrong: Vec<_> = columns.iter().filter_map(refused).collect();
    wrong.sort_by_key(|(number, ..)| *number);
    let table = quoted_table(table);
    for (_, name, type_text, Refused { type_name, why, remedy }) in wrong {
        findings.privilege_only = false;
        let or = remedy.map(|remedy| format!("{remedy}, or ")).unwrap_or_default();
        findings.add(
            format!(
                "{table} has the column {} of type {type_text}, which is not carried: the type \
                 {type_name} {why}",
                quoted(&name)
            ),
            format!("For {name:?}: {or}change the column's type, or leave {table} out of postgres.tables."),
        );
    }
    Ok(())
}

/// A type that is declared to be text must be there, and be one that the log carries as text.
async fn declared_types(catalog: &Catalog, config: &Config, findings: &mut Findings) -> Result<()> {
    for entry in &config.settings.text_types {
        let (schema, name) = entry.split_once('.').unwrap_or_default();
        let rows = catalog.client.query(TEXT_TYPE, &[&schema, &name]).await.map_err(asking)?;
        let wrong = match rows.first() {
            None => "is not there",
            Some(row) if row.get(0) => {
                "has a binary form, in which the log carries it: only types without one can be \
                 declared to be text"
            }
            Some(_) => continue,
        };
        findings.privilege_only = false;
        findings.add(
            format!("the type {entry} in postgres.text_types {wrong}"),
            format!("Take {entry:?} out of postgres.text_types."),
        );
    }
    Ok(())
}

/// Makes the publication, or adds to it, or checks one that is somebody else's.
async fn publication(catalog: &Catalog, config: &Config, findings: &mut Findings) -> Result<()> {
    let name = quoted(&config.publication);
    let rows = catalog.client.query(PUBLICATION, &[&config.publication]).await.map_err(asking)?;
    let Some(row) = rows.first() else {
        let tables: Vec<String> = config.tables.iter().map(quoted_table).collect();
        let statement = format!("CREATE PUBLICATION {name} FOR TABLE {}", tables.join(", "));
        return change(catalog, &statement, findings).await;
    };
    if !row.get::<_, bool>("all_operations") {
        findings.privilege_only = false;
        findings.add(
            format!("the publication {name} does not publish every operation"),
            format!(
                "Run ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate');"
            ),
        );
    }
    if row.get::<_, bool>("puballtables") {
        return Ok(());
    }
    filters(catalog, config, findings).await?;
    let rows = catalog.client.query(PUBLISHED, &[&config.publication]).await.map_err(asking)?;
    let published: Vec<TableName> = rows
        .iter()
        .map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)))
        .collect();
    let missing: Vec<String> =
        config.tables.iter().filter(|table| !published.contains(table)).map(quoted_table).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let statement = format!("ALTER PUBLICATION {name} ADD TABLE {}", missing.join(", "));
    change(catalog, &statement, findings).await
}

/// A row filter or a list of columns would make the log tell less than a snapshot.
async fn filters(catalog: &Catalog, config: &Config, findings: &mut Findings) -> Result<()> {
    // PostgreSQL 14 has neither, nor the columns that tell of them.
    let has = catalog.client.query_one(HAS_FILTERS, &[]).await.map_err(asking)?;
    if !has.get::<_, bool>(0) {
        return Ok(());
    }
    let rows = catalog.client.query(FILTERED, &[&config.publication]).await.map_err(asking)?;
    let name = quoted(&config.publication);
    for row in rows {
        let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        if !config.tables.contains(&table) {
            continue;
        }
        let table = quoted_table(&table);
        findings.privilege_only = false;
        findings.add(
            format!("the publication {name} has a row filter or a list of columns for {table}"),
            format!(
                "Run ALTER PUBLICATION {name} DROP TABLE {table}; \
                 ALTER PUBLICATION {name} ADD TABLE {table};"
            ),
        );
    }
    Ok(())
}

/// Runs a statement; where the role may not, the statement is what somebody else has to run.
async fn change(catalog: &Catalog, statement: &str, findings: &mut Findings) -> Result<()> {
    match catalog.client.batch_execute(statement).await {
        Ok(()) => {
            tracing::info!(statement, "publication");
            Ok(())
        }
        Err(error) => {
            let error = asking(error);
            if error.kind() != ErrorKind::Privilege {
                return Err(error);
            }
            findings.add(
                "the role may not make or change the publication",
                format!("As the tables' owner, run {statement};"),
            );
            Ok(())
        }
    }
}

const SERVER: &str = "
SELECT current_setting('server_version_num')::int AS version,
       current_setting('wal_level') AS wal_level,
       current_setting('server_encoding') AS encoding,
       current_setting('max_replication_slots')::bigint
         - (SELECT count(*) FROM pg_replication_slots) AS slots_left,
       EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1) AS slot_there,
       (SELECT r.rolreplication OR r.rolsuper
            OR EXISTS (SELECT FROM pg_roles m WHERE m.rolname = 'rds_replication'
                       AND pg_has_role(r.oid, m.oid, 'member'))
        FROM pg_roles r WHERE r.rolname = current_user) AS may_replicate";

const TABLE: &str = "
SELECT c.oid, c.relkind, c.relpersistence, c.relreplident,
       has_table_privilege(c.oid, 'SELECT') AS may_select,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary) AS has_key,
       EXISTS (SELECT FROM pg_index i
               WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisreplident) AS index_is_key
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2";

/// Whether it has a binary form.
const TEXT_TYPE: &str = "
SELECT t.typsend <> 0 FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = $1 AND t.typname = $2";

const PUBLICATION: &str = "
SELECT puballtables, pubinsert AND pubupdate AND pubdelete AND pubtruncate AS all_operations
FROM pg_publication WHERE pubname = $1";

const HAS_FILTERS: &str = "SELECT current_setting('server_version_num')::int >= 150000";

const FILTERED: &str = "
SELECT n.nspname::text, c.relname::text
FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.pubname = $1 AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL)
ORDER BY 1, 2";

const PUBLISHED: &str = "
SELECT schemaname::text, tablename::text FROM pg_publication_tables WHERE pubname = $1";
