//! What is asked of the server again and again while its log is read: how far the log has come, how its
//! clock stands, and whether a table was made that the settings mean.

use crate::client::Sql;
use crate::config::Config;
use crate::{discover, server};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tidemesh_model::{Error, Result};
use tidemesh_source::{Newcomer, Vitals, now_us};

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_secs(5);

/// Every so many times it is asked for the tables too.
const ROUNDS_TO_TABLES: u32 = 2;

/// The log's files and how long they were when that was asked last.
type Sizes = Arc<Mutex<BTreeMap<String, u64>>>;

/// What is asked, and what is known of it.
pub(crate) struct Watch {
    sizes: Sizes,
    asking: tidemesh_source::Watch,
}

impl Watch {
    pub(crate) fn start(config: &Config, vitals: Arc<Vitals>) -> Self {
        let sizes = Sizes::default();
        let (config, shown) = (Arc::new(config.clone()), Arc::clone(&sizes));
        let asking = tidemesh_source::Watch::start(INTERVAL, move || {
            let (config, sizes, vitals) =
                (Arc::clone(&config), Arc::clone(&shown), Arc::clone(&vitals));
            async move { watch(&config, &sizes, &vitals).await }
        });
        Self { sizes, asking }
    }

    /// Bytes of the log behind a place in it, as far as is known.
    pub(crate) fn behind(&self, file: &str, offset: u64) -> u64 {
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let files = sizes.range(file.to_owned()..);
        files
            .map(|(name, size)| if name == file { size.saturating_sub(offset) } else { *size })
            .fold(0, u64::saturating_add)
    }

    /// What was found wrong, once.
    pub(crate) fn found(&mut self) -> Option<Error> {
        self.asking.found()
    }
}

/// Watches until something is wrong.
async fn watch(
    config: &Config,
    sizes: &Mutex<BTreeMap<String, u64>>,
    vitals: &Vitals,
) -> Result<Error> {
    let mut sql = Sql::connect(&config.settings).await?;
    let (mut round, mut newcomer) = (0_u32, Newcomer::default());
    loop {
        look(&mut sql, vitals).await?;
        let files = server::files(&mut sql).await?;
        let found = files.into_iter().map(|file| (file.name, file.size_bytes)).collect();
        *sizes.lock().unwrap_or_else(PoisonError::into_inner) = found;
        round += 1;
        if round.is_multiple_of(ROUNDS_TO_TABLES)
            && let Some(error) = newcomer.look(discover::another(&mut sql, config).await?)
        {
            return Ok(error);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Asks for the clock, and tells `vitals`.
///
/// # Errors
///
/// What the server says.
pub(crate) async fn look(sql: &mut Sql, vitals: &Vitals) -> Result<()> {
    let asked_us = now_us();
    let told: Option<i64> =
        sql.row("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)", ()).await?;
    if let Some(database_us) = told {
        // Between the question and the answer.
        vitals.clock(database_us, asked_us.midpoint(now_us()));
    }
    Ok(())
}
