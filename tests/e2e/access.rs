//! Ways to the database: TLS as each mode means it, every kind of log-in, unix sockets; over both
//! connections, the catalog's and the log's. And with how little a role comes by.

use crate::support::daemon::{Daemon, configuration, verified};
use crate::support::postgres::{Database, Server};
use crate::support::tls::Authority;

const PASSWORD: &str = "never printed";

/// A server with a table, a role that must log in, and how it may.
struct Site {
    server: Server,
    database: Database,
}

impl Site {
    /// `method` as in `pg_hba.conf`, for connections of `kind` (`host`, `hostssl`).
    async fn new(configuration: &str, kind: &str, method: &str) -> Self {
        let server = Server::start(configuration);
        let database = Database::on_port(server.port).await;
        database
            .execute(&format!(
                "CREATE TABLE orders (id bigint PRIMARY KEY, n int);
                 INSERT INTO orders SELECT n, n FROM generate_series(1, 1000) n;
                 SET password_encryption = '{}';
                 CREATE ROLE capture LOGIN SUPERUSER REPLICATION PASSWORD '{PASSWORD}'",
                if method == "md5" { "md5" } else { "scram-sha-256" }
            ))
            .await;
        server.allow(&format!(
            "{kind} all,replication capture all {method}\nhost all,replication capture all reject"
        ));
        Self { server, database }
    }

    fn configuration(&self, lines: &str) -> String {
        configuration(&self.database, &["public.orders"], lines)
            .replace("user = \"postgres\"", "user = \"capture\"")
    }

    /// Snapshot and log come through, by connections of which `encrypted` tells.
    async fn is_captured(&self, configuration: &str, encrypted: bool) {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::up(folder.path(), configuration).await;
        daemon.streaming().await;
        self.database.execute("UPDATE orders SET n = n + 1 WHERE id % 3 = 0").await;
        verified(&daemon);
        let kinds = "SELECT string_agg(DISTINCT s.ssl::text, ',') FROM pg_stat_ssl s
                     JOIN pg_stat_activity a USING (pid) WHERE a.usename = 'capture'";
        assert_eq!(self.database.text(kinds).await, encrypted.to_string());
        assert!(!daemon.log_text().contains(PASSWORD));
    }

    async fn is_refused(&self, configuration: &str, words: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::up(folder.path(), configuration).await;
        let error = daemon.stopped_with().await;
        for word in words {
            assert!(error.contains(word), "«{word}» is missing in: {error}");
        }
        assert!(!daemon.log_text().contains(PASSWORD));
    }
}

fn password() -> String {
    format!("password = \"{PASSWORD}\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_full_checks_chain_and_name_and_verify_ca_the_chain() {
    let site = Site::new("", "hostssl", "scram-sha-256").await;
    let folder = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (ours_file, other_file) = (ours.file(folder.path()), other.file(folder.path()));
    site.server.serve_tls(&ours.certificate("localhost"));
    let with = |mode: &str, file: &str, host: &str| {
        let lines = format!("{}\ntls = \"{mode}\"\ntls_ca_file = \"{file}\"", password());
        site.configuration(&lines).replace("\"127.0.0.1\"\nport", &format!("\"{host}\"\nport"))
    };
    site.is_captured(&with("verify-full", &ours_file, "localhost"), true).await;
    site.is_captured(&with("verify-ca", &ours_file, "127.0.0.1"), true).await;
    let elsewhere = with("verify-full", &ours_file, "127.0.0.1");
    site.is_refused(&elsewhere, &["TLS was not agreed on", "not valid for name", "postgres.host"])
        .await;
    for mode in ["verify-full", "verify-ca"] {
        let untrusted = with(mode, &other_file, "localhost");
        site.is_refused(&untrusted, &["TLS was not agreed on", "UnknownIssuer", "tls_ca_file"])
            .await;
    }
    site.is_captured(&with("require", &other_file, "127.0.0.1"), true).await;
    site.is_captured(&with("prefer", &other_file, "127.0.0.1"), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_file_that_holds_none_is_named() {
    let site = Site::new("", "host", "scram-sha-256").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "no certificate").unwrap();
    let lines = |file: &std::path::Path| {
        let file = file.display();
        format!("{}\ntls = \"verify-full\"\ntls_ca_file = \"{file}\"", password())
    };
    let words = ["postgres.tls_ca_file cannot be used", "ca.pem"];
    site.is_refused(&site.configuration(&lines(&file)), &words).await;
    let missing = folder.path().join("missing-ca.pem");
    site.is_refused(&site.configuration(&lines(&missing)), &words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_serves_prefer_and_not_require() {
    let site = Site::new("", "host", "scram-sha-256").await;
    let with = |mode: &str| site.configuration(&format!("{}\ntls = \"{mode}\"", password()));
    site.is_captured(&with("prefer"), false).await;
    site.is_captured(&with("disable"), false).await;
    site.is_refused(&with("require"), &["the server has no TLS", "ssl = on"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn md5_and_clear_passwords_are_given_as_asked() {
    let site = Site::new("", "host", "md5").await;
    site.is_captured(&site.configuration(&password()), false).await;
    let site = Site::new("", "hostssl", "password").await;
    site.server.serve_tls(&Authority::new("ours").certificate("localhost"));
    site.is_captured(&site.configuration(&format!("{}\ntls = \"require\"", password())), true)
        .await;
    let plain = site.configuration(&format!("{}\ntls = \"disable\"", password()));
    site.is_refused(&plain, &["pg_hba.conf rejects connection", "28000"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_comes_from_a_file_and_a_missing_one_is_told() {
    let site = Site::new("", "host", "scram-sha-256").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let by_file = site.configuration(&format!("password_file = \"{}\"", file.display()));
    site.is_captured(&by_file, false).await;
    site.is_refused(&site.configuration(""), &["a password and none is set", "password_file"])
        .await;
    site.is_refused(
        &site.configuration(&password().replace("never", "wrongly")),
        &["password authentication failed", "28P01"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_reached_by_its_folder() {
    let folder = Server::open_folder();
    let sockets = folder.path().display().to_string();
    let site =
        Site::new(&format!("unix_socket_directories = '{sockets}'"), "local", "scram-sha-256")
            .await;
    let lines = format!("{}\ntls = \"verify-full\"", password());
    let by_socket =
        site.configuration(&lines).replace("\"127.0.0.1\"\nport", &format!("\"{sockets}\"\nport"));
    site.is_captured(&by_socket, false).await;
}

/// The role, with what docs/connectors/postgres.md says that it needs and nothing else, on a database
/// where nobody has anything by default.
fn role_of(database: &Database) -> String {
    format!("{}_capture", database.name)
}

async fn least_role(database: &Database) -> String {
    let (role, name) = (role_of(database), &database.name);
    database
        .execute(&format!(
            "REVOKE ALL ON DATABASE {name} FROM PUBLIC;
             CREATE SCHEMA sales;
             CREATE TABLE sales.orders (id bigint PRIMARY KEY, n int);
             INSERT INTO sales.orders SELECT n, n FROM generate_series(1, 1000) n;
             CREATE ROLE {role} LOGIN REPLICATION;
             GRANT CONNECT ON DATABASE {name} TO {role};
             GRANT USAGE ON SCHEMA sales TO {role};"
        ))
        .await;
    configuration(database, &["sales.orders"], "")
        .replace("user = \"postgres\"", &format!("user = \"{role}\""))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_privileges_are_enough() {
    for version in [14, 15, 18] {
        let database = Database::on_version(version).await;
        let configuration = least_role(&database).await;
        let (role, name) = (role_of(&database), &database.name);
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::up(folder.path(), &configuration).await;
        let error = daemon.stopped_with().await;
        let grant = format!("GRANT SELECT ON \"sales\".\"orders\" TO \"{role}\"");
        assert!(error.contains(&grant), "{error}");
        drop(daemon);
        database.execute(&grant).await;
        let daemon = Daemon::up(folder.path(), &configuration).await;
        let error = daemon.stopped_with().await;
        let publication = format!("CREATE PUBLICATION \"{name}\" FOR TABLE \"sales\".\"orders\"");
        assert!(error.contains(&publication), "{error}");
        drop(daemon);
        database.execute(&publication).await;
        let daemon = Daemon::up(folder.path(), &configuration).await;
        daemon.streaming().await;
        database.execute("UPDATE sales.orders SET n = n + 1 WHERE id % 3 = 0").await;
        verified(&daemon);
        let slot = daemon.described()["slot"].clone();
        assert_eq!(slot["wal_status"], "reserved", "{slot}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_may_create_makes_its_publication_itself() {
    let database = Database::new().await;
    let configuration = least_role(&database).await;
    let (role, name) = (role_of(&database), &database.name);
    database
        .execute(&format!(
            "ALTER TABLE sales.orders OWNER TO {role}; GRANT CREATE ON DATABASE {name} TO {role}"
        ))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration).await;
    daemon.streaming().await;
    verified(&daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_made_for_failover_is_taken_up() {
    let database = Database::on_version(18).await;
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, n int)").await;
    let name = &database.name;
    let made = format!(
        "SELECT pg_create_logical_replication_slot('{name}', 'pgoutput', false, false, true)"
    );
    database.execute(&made).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    database.execute("INSERT INTO orders VALUES (1, 1)").await;
    verified(&daemon);
    let slot = format!(
        "SELECT (failover AND active)::text FROM pg_replication_slots WHERE slot_name = '{name}'"
    );
    assert_eq!(database.text(&slot).await, "true");
}
