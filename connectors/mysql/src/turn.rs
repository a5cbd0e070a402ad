//! Whose turn it is. A server lets any number of clients read its log; but it lists them, by their server
//! ids, so that a second instance of a source waits as its standby while the first one reads. Where the
//! list may not be seen, or is late, the writer's epoch alone keeps two instances from mixing.

use crate::client::Sql;
use crate::config::Config;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;
use tidemesh_model::Result;

/// How long a standby waits before it looks again: with what a take-over does, well below 5 s.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// The lists of readers: MySQL 8.0.22 and later, and MariaDB.
const LISTS: [&str; 2] = ["SHOW REPLICAS", "SHOW SLAVE HOSTS"];

/// The name under which this process shows itself in the server's list of readers: its source, and
/// something that no other process has.
pub(crate) fn reader_name(source: &str) -> String {
    // Seeded by the operating system for each process, and different for each call.
    let unique = RandomState::new().build_hasher().finish();
    format!("{}{unique:016x}", prefix(source))
}

/// What the names of a source's readers begin with, whichever process they are of.
pub(crate) fn prefix(source: &str) -> String {
    // A name in the list has 60 bytes at most.
    let short: String = source.chars().take(32).collect();
    format!("tidemesh/{short}/")
}

/// Waits until no other instance of the source reads the log; `held` is told who does, as often as that
/// changes. `own` is this process's name in the list.
///
/// # Errors
///
/// `Unavailable`, `Timeout`, `Authentication`: as any question to the server.
pub(crate) async fn await_turn(
    config: &Config,
    own: &str,
    mut held: impl FnMut(String) + Send,
) -> Result<()> {
    let mut sql = Sql::connect(&config.settings).await?;
    let mut told = None;
    loop {
        let readers = readers(&mut sql).await?;
        let is_another = |(id, name): &&(u32, String)| {
            *id == config.server_id && name != own && name.starts_with(&prefix(&config.source))
        };
        let Some((_, holder)) = readers.iter().find(is_another) else { return Ok(()) };
        if told.as_ref() != Some(holder) {
            held(format!("another instance, {holder} in the server's list of replicas"));
            told = Some(holder.clone());
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Who reads the server's log: server ids and names. None that may be seen is an empty list.
pub(crate) async fn readers(sql: &mut Sql) -> Result<Vec<(u32, String)>> {
    for statement in LISTS {
        let rows: Vec<mysql_async::Row> = match sql.all(statement).await {
            Ok(rows) => rows,
            Err(error) if error.remedy() == tidemesh_model::Remedy::Stop => continue,
            Err(error) => return Err(error),
        };
        return Ok(rows.iter().filter_map(|row| Some((row.get(0)?, row.get(1)?))).collect());
    }
    tracing::debug!("the server's list of replicas may not be seen");
    Ok(Vec::new())
}
