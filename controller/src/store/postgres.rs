//! The controller's state in a PostgreSQL database, for controllers of any number of machines.
//!
//! The lease is a row: whoever takes it or writes by it locks that row, so that both go one after the
//! other over all controllers. Its time is that of the database's clock. Calls come from threads that may
//! wait, of a runtime which drives the connection.

use super::{Change, Holder, Items, Lease, Store};
use crate::failpoint::failpoint;
use std::collections::BTreeMap;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_store::{Address, LOAD_MS_MAX, Layout, Owner, Session};
use tokio::runtime::Handle;
use tokio_postgres::{Client, Error as DatabaseError};

static OWNER: Owner = Owner {
    application: "tidemesh controller",
    setting: "controller.store",
    connecting: "connect to the controller's store",
};

/// The tables, and the advisory lock under which they are made: `tmct` as a number, and the layout's own.
const LAYOUT: Layout = Layout {
    schema: "tidemesh_controller",
    lock: 0x746d_6374_0000_0001,
    steps: &[include_str!("layout_1.sql")],
};

/// One controller's way to the database.
#[derive(Debug)]
pub(crate) struct PostgresStore {
    session: Session,
    /// Whether the tables are known to be there.
    prepared: bool,
}

impl PostgresStore {
    /// Reads the URL; the database is asked for nothing yet, and may be away.
    ///
    /// # Errors
    ///
    /// `Config` if the URL, or a certificate that it names, cannot be used.
    pub(crate) fn new(url: &str) -> Result<Self> {
        Ok(Self { session: Session::new(Address::of(url, &OWNER)?), prepared: false })
    }

    /// Runs something over tables that this program knows.
    fn run<T>(
        &mut self,
        limit: Option<Duration>,
        doing: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, DatabaseError>,
    ) -> Result<T> {
        let runtime = Handle::try_current()
            .map_err(|error| Error::new(ErrorKind::Internal, doing).caused_by(error))?;
        runtime.block_on(async {
            if !self.prepared {
                let prepare = self.session.run(doing, async |client| LAYOUT.prepare(client).await);
                LAYOUT.check(prepare.await?, doing)?;
                self.prepared = true;
            }
            let done = match limit {
                Some(limit) => self.session.run_within(limit, doing, work).await,
                None => self.session.run(doing, work).await,
            };
            // The tables may be what failed: they are looked at again.
            self.prepared = done.is_ok();
            done
        })
    }
}

impl Store for PostgresStore {
    fn lease(&mut self, holder: &Holder, time: Duration) -> Result<Lease> {
        let doing = "take the controller's lease";
        let time_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let taken = self.run(None, doing, async |client| {
            let version = LAYOUT.version(client).await?;
            Ok((version, take(client, holder, time_ms).await?))
        });
        let (version, lease) = taken?;
        // Another program may have brought the tables to a newer layout since this one began.
        LAYOUT.check(version, doing)?;
        Ok(lease)
    }

    fn release(&mut self, epoch: u64) -> Result<()> {
        self.run(None, "release the controller's lease", async |client| {
            let sql = "UPDATE tidemesh_controller.lease SET until = '-infinity', id = ''
                       WHERE epoch = $1";
            client.execute(sql, &[&epoch.cast_signed()]).await.map(|_| ())
        })
    }

    fn load(&mut self) -> Result<Items> {
        let limit = Duration::from_millis(LOAD_MS_MAX);
        self.run(Some(limit), "read the controller's state", async |client| {
            let sql = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {LOAD_MS_MAX}");
            client.batch_execute(&sql).await?;
            let rows = client.query("SELECT name, text FROM tidemesh_controller.item", &[]).await?;
            client.batch_execute("COMMIT").await?;
            Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        })
    }

    fn write(&mut self, epoch: u64, changes: &[Change]) -> Result<()> {
        let doing = "write the controller's state";
        let held = self.run(None, doing, async |client| write(client, epoch, changes).await)?;
        match held {
            None => Ok(()),
            Some((held, url)) => Err(Error::new(ErrorKind::Fenced, doing)
                .because("another controller has taken over")
                .with("epoch", epoch)
                .with("epoch_now", held)
                .with("controller", url)),
        }
    }
}

async fn take(client: &Client, holder: &Holder, time_ms: i64) -> Result<Lease, DatabaseError> {
    client.batch_execute("BEGIN").await?;
    let sql = "UPDATE tidemesh_controller.lease
               SET epoch = epoch + (id <> $1)::int, id = $1, url = $2,
                   until = clock_timestamp() + $3 * interval '1 millisecond'
               WHERE id = $1 OR until <= clock_timestamp() RETURNING epoch";
    let time_ms = bounded(time_ms);
    let taken = client.query_opt(sql, &[&holder.id, &holder.url, &time_ms]).await?;
    let lease = match taken {
        Some(row) => Lease::Ours { epoch: row.get::<_, i64>(0).unsigned_abs() },
        None => {
            let sql = "SELECT id, url FROM tidemesh_controller.lease";
            let row = client.query_one(sql, &[]).await?;
            Lease::Others(Holder { id: row.get(0), url: row.get(1) })
        }
    };
    client.batch_execute("COMMIT").await?;
    Ok(lease)
}

/// As an interval is counted.
fn bounded(time_ms: i64) -> f64 {
    f64::from(i32::try_from(time_ms).unwrap_or(i32::MAX))
}

/// Writes, if the lease is still of this epoch; else answers of which it is, and where its holder is.
async fn write(
    client: &Client,
    epoch: u64,
    changes: &[Change],
) -> Result<Option<(i64, String)>, DatabaseError> {
    client.batch_execute("BEGIN").await?;
    let sql = "SELECT epoch, url FROM tidemesh_controller.lease FOR UPDATE";
    let row = client.query_one(sql, &[]).await?;
    let held: i64 = row.get(0);
    if held.unsigned_abs() != epoch {
        client.batch_execute("ROLLBACK").await?;
        return Ok(Some((held, row.get(1))));
    }
    let last: BTreeMap<&str, Option<&str>> =
        changes.iter().map(|change| (&*change.name, change.text.as_deref())).collect();
    let gone: Vec<&str> =
        last.iter().filter(|(_, text)| text.is_none()).map(|(name, _)| *name).collect();
    let (names, texts): (Vec<&str>, Vec<&str>) =
        last.iter().filter_map(|(name, text)| Some((*name, (*text)?))).unzip();
    let sql = "DELETE FROM tidemesh_controller.item WHERE name = ANY($1)";
    client.execute(sql, &[&gone]).await?;
    let sql = "INSERT INTO tidemesh_controller.item SELECT * FROM unnest($1::text[], $2::text[])
               ON CONFLICT (name) DO UPDATE SET text = excluded.text";
    client.execute(sql, &[&names, &texts]).await?;
    failpoint("store.uncommitted");
    client.batch_execute("COMMIT").await?;
    Ok(None)
}
