//! The registry in PostgreSQL, for any number of processes at once.
//!
//! A write holds an advisory lock for the time of its transaction, so that writes go one after
//! another over all processes. Within the lock it takes the next number and leaves its changes under
//! it; every other process takes them over from there, told by `NOTIFY` and by asking, and always
//! before it writes itself. So ids are given out once, and every decision is on the latest state.

mod tables;

use std::time::Duration;

use tidemesh_model::{Error, ErrorKind, Result};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_postgres::{Client, Row};

use super::{Loaded, Mark, News, Store};
use crate::state::Change;
use tidemesh_store::{Address, LOAD_MS_MAX, Layout, Owner, Session};

/// Whose store it is.
static OWNER: Owner = Owner {
    application: "tidemesh registry",
    setting: "registry.store",
    connecting: "connect to the registry's store",
};

/// The channel on which a write is told.
const CHANNEL: &str = "tidemesh_registry";

/// How many writes can be taken over one by one; who is further behind reads everything.
const CHANGES_KEPT: i64 = 10_000;

/// For how long after a failed attempt to connect nobody asks for news.
const REST: Duration = Duration::from_millis(500);

/// How many notifications may wait; one is enough, for whoever hears of it reads all.
const TOLD_MAX: usize = 16;

/// The tables, and the advisory lock that a write holds: `tmsr` as a number, and the layout's own.
const LAYOUT: Layout = Layout {
    schema: "tidemesh_registry",
    lock: 0x746d_7372_0000_0001,
    steps: &[include_str!("postgres/layout_1.sql"), include_str!("postgres/layout_2.sql")],
};

/// One process's way to the database. It connects when it is needed and has no connection.
pub(super) struct PostgresStore {
    session: Session,
    runtime: Runtime,
    registry_id: String,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore")
            .field("registry_id", &self.registry_id)
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Connects, and makes or upgrades the tables.
    ///
    /// # Errors
    ///
    /// `Config` if the URL cannot be read, `NewerVersion` if a newer program made the tables,
    /// `Unavailable`, `Authentication`, `Privilege` as the database has it.
    pub(super) fn open(url: &str) -> Result<Self> {
        let session = Session::new(Address::of(url, &OWNER)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            Error::new(ErrorKind::Internal, "open the registry's store").caused_by(error)
        })?;
        let mut store = Self { session, runtime, registry_id: String::new() };
        let doing = "open the registry's store";
        let (version, registry_id) = store.run(doing, prepare)?;
        LAYOUT.check(version, doing)?;
        store.registry_id = registry_id;
        Ok(store)
    }

    /// Runs something on the connection; whatever fails ends it, and with it what it had begun.
    fn run<T>(
        &mut self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T> {
        self.runtime.block_on(self.session.run(doing, work))
    }

    fn news_in(&mut self, known: Mark, doing: &'static str) -> Result<News> {
        let rows = self.run(doing, async |client| {
            let sql = "SELECT number, tag, changes FROM tidemesh_registry.change
                       WHERE number >= $1 ORDER BY number LIMIT $2";
            client.query(sql, &[&known.number, &(CHANGES_KEPT + 2)]).await
        })?;
        match read_news(&rows, known) {
            Some(news) => Ok(news),
            None => self.load_all(doing).map(News::Everything),
        }
    }

    fn load_all(&mut self, doing: &'static str) -> Result<Loaded> {
        let begin = if self.session.in_transaction() {
            "SAVEPOINT everything"
        } else {
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        };
        let end = if self.session.in_transaction() { "RELEASE everything" } else { "COMMIT" };
        let limit = Duration::from_millis(LOAD_MS_MAX);
        let load = self.session.run_within(limit, doing, async |client| {
            client.batch_execute(begin).await?;
            let sql = format!("SET LOCAL statement_timeout = {LOAD_MS_MAX}");
            client.batch_execute(&sql).await?;
            let rows = tables::read(client).await?;
            client.batch_execute(end).await?;
            Ok(rows)
        });
        self.runtime.block_on(load)?.load()
    }
}

/// What has been written since `known`; none if that cannot be told from these rows, which begin with
/// the one that is known.
fn read_news(rows: &[Row], known: Mark) -> Option<News> {
    let mark = |row: &Row| Mark { number: row.get(0), tag: row.get(1) };
    let (first, others) = rows.split_first()?;
    if mark(first) != known || rows.len() > usize::try_from(CHANGES_KEPT).unwrap_or(usize::MAX) {
        return None;
    }
    let Some(last) = others.last() else { return Some(News::None) };
    let mut changes = Vec::new();
    for row in others {
        let text: String = row.get(2);
        // What another version of this program wrote may be read from the tables.
        let Ok(read) = serde_json::from_str::<Vec<Change>>(&text) else { return None };
        changes.extend(read);
    }
    Some(News::Changes(changes, mark(last)))
}

impl Store for PostgresStore {
    fn registry_id(&self) -> &str {
        &self.registry_id
    }

    fn load(&mut self) -> Result<Loaded> {
        self.give_up();
        self.load_all("read the registry's store")
    }

    fn begin(&mut self, known: Mark) -> Result<News> {
        let doing = "write to the registry's store";
        let version = self.run(doing, async |client| {
            LAYOUT.lock(client).await?;
            LAYOUT.version(client).await
        })?;
        self.session.set_in_transaction(true);
        // Another process may have brought the tables to a newer layout since this one began.
        LAYOUT.check(version, doing)?;
        self.news_in(known, doing)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Mark> {
        let doing = "write to the registry's store";
        if !self.session.in_transaction() {
            return Err(Error::new(ErrorKind::Unavailable, doing)
                .because("the connection ended between reading and writing"));
        }
        let text = serde_json::to_string(changes)
            .map_err(|error| Error::new(ErrorKind::Internal, doing).caused_by(error))?;
        let mark = self.run(doing, async |client| {
            tables::write(client, changes).await?;
            let mark = write_number(client, &text).await?;
            client.batch_execute("COMMIT").await?;
            Ok(mark)
        })?;
        self.session.set_in_transaction(false);
        Ok(mark)
    }

    fn give_up(&mut self) {
        if self.session.in_transaction() {
            // Without a connection there is nothing to take back.
            let _ = self.run("end a write", async |client| client.batch_execute("ROLLBACK").await);
            self.session.set_in_transaction(false);
        }
    }

    fn news(&mut self, known: Mark) -> Result<News> {
        if self.session.has_failed_within(REST) {
            return Err(Error::new(ErrorKind::Unavailable, "read the registry's store")
                .because("the database was away just now"));
        }
        self.news_in(known, "read the registry's store")
    }

    fn probe(&mut self) -> Result<()> {
        let doing = "write to the registry's store";
        let version = self.run(doing, async |client| LAYOUT.version(client).await)?;
        LAYOUT.check(version, doing)?;
        self.run(doing, async |client| {
            let sql = "UPDATE tidemesh_registry.fact SET value = (value::bigint + 1)::text
                       WHERE name = 'probes'";
            client.execute(sql, &[]).await.map(|_| ())
        })
    }
}

async fn write_number(client: &Client, text: &str) -> Result<Mark, tokio_postgres::Error> {
    let sql = "INSERT INTO tidemesh_registry.change (number, tag, changes)
               SELECT max(number) + 1, floor(random() * 9007199254740992)::bigint, $1
               FROM tidemesh_registry.change RETURNING number, tag";
    let row = client.query_one(sql, &[&text]).await?;
    let mark = Mark { number: row.get(0), tag: row.get(1) };
    let oldest = mark.number - CHANGES_KEPT;
    let sql = "DELETE FROM tidemesh_registry.change WHERE number < $1";
    client.execute(sql, &[&oldest]).await?;
    client.execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &mark.number.to_string()]).await?;
    Ok(mark)
}

/// Makes or upgrades the tables; gives the layout's version, and the registry's name.
async fn prepare(client: &Client) -> Result<(usize, String), tokio_postgres::Error> {
    let version = LAYOUT.prepare(client).await?;
    let sql = "SELECT value FROM tidemesh_registry.fact WHERE name = 'registry_id'";
    let registry_id = client.query_one(sql, &[]).await?.get(0);
    Ok((version, registry_id))
}

/// Calls `told` whenever another process may have written: at each notification, after each time the
/// connection was made anew, and at every `pause`. Returns when `told` says so.
pub(crate) fn listen(url: &str, pause: Duration, mut told: impl FnMut() -> bool) -> Result<()> {
    let address = Address::of(url, &OWNER)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Internal, "follow the store").caused_by(error))?;
    runtime.block_on(async {
        let mut notifications = None;
        while told() {
            if notifications.is_none() {
                notifications = subscribe(&address).await;
            }
            match &mut notifications {
                None => tokio::time::sleep(pause).await,
                Some((_, heard)) => match tokio::time::timeout(pause, heard.recv()).await {
                    Ok(None) => notifications = None,
                    // One round of reading is for all that were told meanwhile.
                    Ok(Some(())) => while heard.try_recv().is_ok() {},
                    Err(_) => {}
                },
            }
        }
    });
    Ok(())
}

/// A connection that listens; none if there is none to be had now.
async fn subscribe(address: &Address) -> Option<(Client, mpsc::Receiver<()>)> {
    let (tell, heard) = mpsc::channel(TOLD_MAX);
    let told = move || {
        // If there is no room, reading is due anyway.
        let _ = tell.try_send(());
    };
    let client = address.connect(told).await.ok()?;
    client.batch_execute(&format!("LISTEN {CHANNEL}")).await.ok()?;
    Some((client, heard))
}
