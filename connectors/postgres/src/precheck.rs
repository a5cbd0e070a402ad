//! Every prerequisite, checked before the log is touched; all that is missing is told at once, each
//! with the statement that mends it.

use crate::catalog::{Catalog, ColumnFacts, TableFacts, asking, with_partitions};
use crate::config::{Config, TERMS, quoted, quoted_table};
use crate::relation::{self, RelationShape, masked};
use crate::types::Refused;
use std::collections::{BTreeMap, HashMap};
use tidemesh_model::{ErrorKind, KeyOrigin, Partitions, Result, TableName};
use tidemesh_source::{Choice, Findings};

/// Server versions that are supported, by `server_version_num` / 10000.
const VERSIONS: std::ops::RangeInclusive<i32> = 14..=18;

/// What was found.
#[derive(Debug, Default)]
struct Checked {
    findings: Findings,
    /// Whether a table is partitioned and captured as a whole.
    has_root: bool,
    /// Every table's columns.
    columns: HashMap<TableName, Vec<String>>,
}

/// Checks everything and makes the publication; answers the ids that the tables have today.
///
/// # Errors
///
/// `Prerequisite` or `Privilege`, with all that is wrong and what to do about each.
pub(crate) async fn run(catalog: &Catalog, config: &Config) -> Result<BTreeMap<TableName, u32>> {
    let mut ids = BTreeMap::new();
    let mut checked = Checked::default();
    server(catalog, config, &mut checked.findings).await?;
    declared_types(catalog, config, &mut checked.findings).await?;
    for table in &config.tables {
        if let Some(id) = check_table(catalog, config, table, &mut checked).await? {
            ids.insert(table.clone(), id);
        }
    }
    for pattern in catalog.selection.unmatched(&checked.columns) {
        tracing::warn!(pattern, "no column of a captured table is of this pattern");
    }
    if checked.findings.is_empty() {
        publication(catalog, config, &mut checked).await?;
    }
    checked.findings.told("prepare the PostgreSQL source")?;
    Ok(ids)
}

async fn server(catalog: &Catalog, config: &Config, findings: &mut Findings) -> Result<()> {
    let row = catalog.client.query_one(SERVER, &[&config.slot]).await.map_err(asking)?;
    let version: i32 = row.get("version");
    if !VERSIONS.contains(&(version / 10_000)) {
        let (least, most) = (VERSIONS.start(), VERSIONS.end());
        findings.refuse(
            format!("the server's version {version} is not supported"),
            format!("Use PostgreSQL {least} to {most}."),
        );
    }
    let wal_level: String = row.get("wal_level");
    if wal_level != "logical" {
        findings.refuse(
            format!("wal_level is {wal_level}, not logical"),
            "Run ALTER SYSTEM SET wal_level = 'logical'; and restart the server.",
        );
    }
    let encoding: String = row.get("encoding");
    if encoding != "UTF8" {
        findings.refuse(
            format!("the database's encoding is {encoding}, not UTF8"),
            "Capture a database that is encoded in UTF8.",
        );
    }
    let (slots_left, slot_there): (i64, bool) = (row.get("slots_left"), row.get("slot_there"));
    if slots_left <= 0 && !slot_there {
        findings.refuse(
            "no replication slot is left",
            "Drop a slot that is not used, or raise max_replication_slots and restart the server.",
        );
    }
    let may_replicate: bool = row.get("may_replicate");
    if !may_replicate {
        let user = quoted(&config.settings.user);
        findings.lacks(
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
    checked: &mut Checked,
) -> Result<Option<u32>> {
    let rows = catalog.client.query(TABLE, &[&table.schema, &table.table]).await.map_err(asking)?;
    let name = quoted_table(table);
    let Some(row) = rows.first() else {
        checked.findings.refuse(
            format!("the table {name} does not exist"),
            format!("Correct postgres.tables, or create {name}."),
        );
        return Ok(None);
    };
    let letter = |column| char::from(row.get::<_, i8>(column).cast_unsigned());
    let (kind, persistence) = (letter("relkind"), letter("relpersistence"));
    if !matches!(kind, 'r' | 'p') || persistence != 'p' {
        checked.findings.refuse(
            format!("{name} is no ordinary, logged table"),
            format!("Leave {name} out of postgres.tables, or add it to postgres.exclude_tables."),
        );
        return Ok(None);
    }
    let id: u32 = row.get("oid");
    let (has_key, index_is_key): (bool, bool) = (row.get("has_key"), row.get("index_is_key"));
    let identity = letter("relreplident");
    if kind == 'p' {
        checked.has_root = true;
        check_root(&name, has_key, identity, &mut checked.findings);
        check_partitions(catalog, id, &name, &mut checked.findings).await?;
    } else if !is_usable(identity, has_key, index_is_key) {
        checked.findings.refuse(
            format!(
                "{name} has no replica identity by which a row can be told: once published, \
                 PostgreSQL would refuse its updates and deletes"
            ),
            format!(
                "Add a primary key to {name} and run ALTER TABLE {name} REPLICA IDENTITY DEFAULT; \
                 or run ALTER TABLE {name} REPLICA IDENTITY FULL; or add it to \
                 postgres.exclude_tables."
            ),
        );
    }
    let shape = catalog.shape(id, table, row.get::<_, i8>("relreplident").cast_unsigned()).await?;
    let facts = catalog.table(id).await?;
    let kept = check_columns(catalog, &shape, &facts, checked).await?;
    let may_select = row.get::<_, bool>("may_select")
        || (has_key && may_select_columns(catalog, id, &kept).await?);
    if !may_select {
        let user = quoted(&config.settings.user);
        let columns = if kept.len() < shape.columns.len() && has_key {
            let names: Vec<String> = kept.iter().map(|name| quoted(name)).collect();
            format!(" ({})", names.join(", "))
        } else {
            String::new()
        };
        checked.findings.lacks(
            format!("the role {user} may not read {name}"),
            format!("Run GRANT SELECT{columns} ON {name} TO {user};"),
        );
    }
    Ok(Some(id))
}

/// Whether a replica identity tells every row.
fn is_usable(identity: char, has_key: bool, index_is_key: bool) -> bool {
    match identity {
        'd' => has_key,
        'f' => true,
        'i' => index_is_key || !has_key,
        _ => false,
    }
}

/// A partitioned table is read by its key: it has no storage by whose places it could be.
fn check_root(name: &str, has_key: bool, identity: char, findings: &mut Findings) {
    if has_key && matches!(identity, 'd' | 'f') {
        return;
    }
    findings.refuse(
        format!("the partitioned table {name} has no primary key that is its replica identity"),
        format!(
            "Add a primary key to {name} and run ALTER TABLE {name} REPLICA IDENTITY DEFAULT; or \
             set postgres.partitions = \"leaf\"; or add it to postgres.exclude_tables."
        ),
    );
}

/// Every partition must be one whose changes are logged with their keys.
async fn check_partitions(
    catalog: &Catalog,
    root: u32,
    name: &str,
    findings: &mut Findings,
) -> Result<()> {
    let rows = catalog.client.query(BAD_PARTITIONS, &[&root]).await.map_err(asking)?;
    for row in rows {
        let partition = quoted_table(&TableName::new(
            row.get::<_, String>("nspname"),
            row.get::<_, String>("relname"),
        ));
        if row.get("is_logged") {
            findings.refuse(
                format!(
                    "the partition {partition} of {name} has another replica identity than its key"
                ),
                format!("Run ALTER TABLE {partition} REPLICA IDENTITY DEFAULT;"),
            );
        } else {
            findings.refuse(
                format!("the partition {partition} of {name} is no ordinary, logged table"),
                format!("Detach {partition}, or add {name} to postgres.exclude_tables."),
            );
        }
    }
    Ok(())
}

/// Checks what becomes of each column; answers the names of those that are read.
async fn check_columns(
    catalog: &Catalog,
    shape: &RelationShape,
    facts: &TableFacts,
    checked: &mut Checked,
) -> Result<Vec<String>> {
    let oids: Vec<u32> = facts.columns.values().map(|column| column.type_oid).collect();
    let types = catalog.types(&oids).await?;
    let table = quoted_table(&shape.name);
    // One without a key is refused already.
    let key = relation::key(shape, facts).ok();
    let mut columns: Vec<(&String, &ColumnFacts)> = facts.columns.iter().collect();
    columns.sort_by_key(|(_, column)| column.number);
    let mut kept = Vec::new();
    for (name, column) in &columns {
        let place = shape.columns.iter().position(|c| c.name == **name);
        let key = key.as_ref().filter(|key| place.is_some_and(|p| key.columns.contains(&p)));
        let of_key: Option<KeyOrigin> = key.map(|key| key.origin);
        let quoted = quoted(name);
        let choice = match catalog.selection.choose(&shape.name, name, of_key) {
            Ok(Choice::Skip) => continue,
            Ok(choice) => choice,
            Err(wrong) => {
                let remedy = format!("For {name:?}: {}.", wrong.remedy(&TERMS));
                checked.findings.refuse(
                    format!("{table} has the column {quoted}, which {}", wrong.why(&TERMS)),
                    remedy,
                );
                continue;
            }
        };
        if !column.is_generated {
            kept.push((*name).clone());
        }
        let type_text = &column.type_text;
        match (types.reader(column.type_oid, column.type_modifier, column.dimensions), choice) {
            (Err(Refused { type_name, why, remedy }), _) => {
                let or = remedy.map(|remedy| format!("{remedy}, or ")).unwrap_or_default();
                checked.findings.refuse(
                    format!(
                        "{table} has the column {quoted} of type {type_text}, which is not carried: \
                         the type {type_name} {why}"
                    ),
                    format!(
                        "For {name:?}: {or}change the column's type, or leave the column out by \
                         postgres.exclude_columns or {table} by postgres.exclude_tables."
                    ),
                );
            }
            (Ok(reader), Choice::Mask(mask)) => {
                if let Err(wrong) = masked(&reader, mask) {
                    checked.findings.refuse(
                        format!(
                            "{table} has the column {quoted} of type {type_text}, which {}",
                            wrong.why(&TERMS)
                        ),
                        format!("For {name:?}: {}.", wrong.remedy(&TERMS)),
                    );
                }
            }
            (Ok(_), _) => {}
        }
    }
    let names = columns.iter().map(|(name, _)| (*name).clone()).collect();
    checked.columns.insert(shape.name.clone(), names);
    Ok(kept)
}

/// Whether the role may read these columns, if it may not read the whole table.
async fn may_select_columns(catalog: &Catalog, table: u32, columns: &[String]) -> Result<bool> {
    let row = catalog.client.query_one(MAY_SELECT, &[&table, &columns]).await.map_err(asking)?;
    Ok(row.get::<_, Option<bool>>(0).unwrap_or(false))
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
        findings.refuse(
            format!("the type {entry} in postgres.text_types {wrong}"),
            format!("Take {entry:?} out of postgres.text_types."),
        );
    }
    Ok(())
}

/// Makes the publication, or adds to it, or checks one that is somebody else's.
async fn publication(catalog: &Catalog, config: &Config, checked: &mut Checked) -> Result<()> {
    let name = quoted(&config.publication);
    let rows = catalog.client.query(PUBLICATION, &[&config.publication]).await.map_err(asking)?;
    let Some(row) = rows.first() else {
        let tables: Vec<String> = config.tables.iter().map(quoted_table).collect();
        let mut statement = format!("CREATE PUBLICATION {name} FOR TABLE {}", tables.join(", "));
        if config.settings.partitions == Partitions::Root {
            statement.push_str(" WITH (publish_via_partition_root = true)");
        }
        return change(catalog, &statement, &mut checked.findings).await;
    };
    if !row.get::<_, bool>("all_operations") {
        checked.findings.refuse(
            format!("the publication {name} does not publish every operation"),
            format!(
                "Run ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate');"
            ),
        );
    }
    partitions(catalog, config, row.get("pubviaroot"), checked).await?;
    if row.get::<_, bool>("puballtables") || !checked.findings.is_empty() {
        return Ok(());
    }
    filters(catalog, config, &mut checked.findings).await?;
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
    change(catalog, &statement, &mut checked.findings).await
}

/// Rows of partitions must come as those of the table that is captured: the root's, or their own.
async fn partitions(
    catalog: &Catalog,
    config: &Config,
    is_via_root: bool,
    checked: &mut Checked,
) -> Result<()> {
    let name = quoted(&config.publication);
    let set = |to| format!("Run ALTER PUBLICATION {name} SET (publish_via_partition_root = {to});");
    if !is_via_root {
        if checked.has_root {
            checked.findings.refuse(
                format!("the publication {name} tells partitions' rows as their own, not as their table's"),
                format!(
                    "{} Others who read this publication then get them so, too. Or set \
                     postgres.partitions = \"leaf\".",
                    set("true")
                ),
            );
        }
        return Ok(());
    }
    let rows =
        catalog.client.query(PUBLISHED_ROOTS, &[&config.publication]).await.map_err(asking)?;
    for row in rows {
        let partition = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        if config.tables.contains(&partition) {
            let partition = quoted_table(&partition);
            checked.findings.refuse(
                format!(
                    "the publication {name} tells the rows of {partition} as those of the table \
                     that it is a partition of"
                ),
                set("false"),
            );
        }
    }
    Ok(())
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
        let named = |schema: usize| {
            TableName::new(row.get::<_, String>(schema), row.get::<_, String>(schema + 1))
        };
        if !config.tables.contains(&named(0)) {
            continue;
        }
        let table = quoted_table(&named(2));
        findings.refuse(
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
            findings.lacks(
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
SELECT puballtables, pubviaroot, pubinsert AND pubupdate AND pubdelete AND pubtruncate AS all_operations
FROM pg_publication WHERE pubname = $1";

const HAS_FILTERS: &str = "SELECT current_setting('server_version_num')::int >= 150000";

/// Tables that are filtered, those that are so by the table that they are a partition of, too, and
/// where the filter is.
const FILTERED: &str = concat!(
    with_partitions!(
        "SELECT r.prrelid FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
         WHERE p.pubname = $1 AND (r.prqual IS NOT NULL OR r.prattrs IS NOT NULL)"
    ),
    "
SELECT DISTINCT n.nspname::text, c.relname::text, fn.nspname::text, f.relname::text
FROM tree m
JOIN pg_class c ON c.oid = m.id JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class f ON f.oid = m.root JOIN pg_namespace fn ON fn.oid = f.relnamespace
ORDER BY 1, 2"
);

const MAY_SELECT: &str = "
SELECT bool_and(has_column_privilege($1::oid, wanted, 'SELECT')) FROM unnest($2::text[]) wanted";

/// Partitions that are no ordinary, logged tables, or whose changes are not logged with the key.
const BAD_PARTITIONS: &str = concat!(
    with_partitions!("SELECT $1::oid"),
    "
SELECT n.nspname::text, c.relname::text, c.relkind = 'r' AND c.relpersistence = 'p' AS is_logged
FROM tree t JOIN pg_class c ON c.oid = t.id
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p'
  AND NOT (c.relkind = 'r' AND c.relpersistence = 'p' AND c.relreplident IN ('d', 'f'))
ORDER BY 1, 2"
);

/// Partitions of tables that are published with them.
const PUBLISHED_ROOTS: &str = concat!(
    with_partitions!(
        "SELECT c.oid FROM pg_publication_tables p
         JOIN pg_namespace n ON n.nspname = p.schemaname
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename AND c.relkind = 'p'
         WHERE p.pubname = $1"
    ),
    "
SELECT pn.nspname::text, pc.relname::text
FROM tree t JOIN pg_class pc ON pc.oid = t.id JOIN pg_namespace pn ON pn.oid = pc.relnamespace
WHERE t.id <> t.root"
);

const PUBLISHED: &str = "
SELECT schemaname::text, tablename::text FROM pg_publication_tables WHERE pubname = $1";
