//! A database of a test's own on the server that `scripts/test` starts and names in the environment.

use std::sync::atomic::{AtomicU32, Ordering};
use tidemesh_model::SourceSettings;
use tidemesh_postgres::PostgresConnector;
use tidemesh_source::conformance::{Bench, Login, Session, eventually};
use tokio_postgres::{Client, NoTls};

static NAMES: AtomicU32 = AtomicU32::new(0);

/// A port that the system gives to nobody.
const NOBODYS_PORT: u16 = 1;

fn port() -> u16 {
    let port = std::env::var("TIDEMESH_TEST_POSTGRES_15").unwrap_or_else(|_| {
        panic!("TIDEMESH_TEST_POSTGRES_15 is not set: start the server and the tests with `scripts/test`")
    });
    port.parse().expect("a port")
}

async fn connect(database: &str) -> Client {
    let config = format!("host=127.0.0.1 port={} user=postgres dbname={database}", port());
    let (client, connection) =
        tokio_postgres::connect(&config, NoTls).await.expect("the server is away");
    tokio::spawn(connection);
    client
}

/// A database, and a role of its name as which connectors log in.
pub(crate) struct Database {
    pub(crate) name: String,
    admin: Client,
}

pub(crate) async fn make() -> Database {
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    let name = format!("conformance_{}_{number}", std::process::id());
    let admin = connect("postgres").await;
    for statement in
        [format!("CREATE DATABASE {name}"), format!("CREATE ROLE {name} SUPERUSER LOGIN")]
    {
        admin.batch_execute(&statement).await.unwrap();
    }
    Database { name, admin }
}

impl Database {
    async fn execute(&self, sql: &str) {
        self.admin.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

impl Bench for Database {
    type Connector = PostgresConnector;
    type Session = PostgresSession;

    fn schema(&self) -> &str {
        "public"
    }

    fn connector(&self, tables: &[&str], login: Login) -> PostgresConnector {
        let tables: Vec<_> = tables.iter().map(|table| format!("public.{table}")).collect();
        // Whatever the server trusts, it lets nobody in whom it does not know.
        let user = match login {
            Login::Refused => format!("{}_unknown", self.name),
            Login::Right | Login::Away => self.name.clone(),
        };
        let port = if login == Login::Away { NOBODYS_PORT } else { port() };
        let settings: SourceSettings = serde_json::from_value(serde_json::json!({
            "name": self.name,
            "postgres": {
                "host": "127.0.0.1", "port": port, "database": self.name, "user": user,
                "tables": tables,
            },
        }))
        .unwrap();
        PostgresConnector::new(&settings).unwrap()
    }

    async fn session(&self) -> PostgresSession {
        PostgresSession(connect(&self.name).await)
    }

    async fn analyze(&self, table: &str) {
        self.session().await.run(&format!("ANALYZE {table}")).await;
    }

    async fn log_whole_rows(&self, table: &str) {
        self.session().await.run(&format!("ALTER TABLE {table} REPLICA IDENTITY FULL")).await;
    }

    async fn cut(&self) {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ";
        self.execute(&format!("{end} '{}'", self.name)).await;
    }

    async fn discard_log(&self) {
        let drop =
            format!("SELECT pg_drop_replication_slot(slot_name) {}", of_database(&self.name));
        eventually("the slot is dropped", async || self.admin.batch_execute(&drop).await.ok())
            .await;
    }

    async fn end(self) {
        let end_readers = format!(
            "SELECT pg_terminate_backend(active_pid) {} AND active_pid IS NOT NULL",
            of_database(&self.name)
        );
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        eventually("the database is dropped", async || {
            self.admin.batch_execute(&end_readers).await.ok()?;
            self.admin.batch_execute(&drop).await.ok()
        })
        .await;
        self.execute(&format!("DROP ROLE {}", self.name)).await;
    }
}

fn of_database(name: &str) -> String {
    format!("FROM pg_replication_slots WHERE database = '{name}'")
}

pub(crate) struct PostgresSession(pub(crate) Client);

impl Session for PostgresSession {
    async fn run(&mut self, sql: &str) {
        self.0.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}
