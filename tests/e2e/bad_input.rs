//! Bad input: each with an error that says what is wrong and what to do, and nothing lost.

use crate::support::daemon::{Daemon, configuration, refused_up, run};
use crate::support::postgres::{Database, Server};

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, n int)";

/// Starts a daemon whose source must stop; answers why it did.
async fn refused(database: &Database, tables: &[&str], more: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(database, tables, more)).await;
    let error = daemon.stopped_with().await;
    assert_eq!(daemon.described()["state"], "stopped");
    error
}

/// What the binary says of a configuration that it does not take.
fn not_taken(configuration: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tidemesh.toml"), configuration).unwrap();
    refused_up(folder.path())
}

fn assert_says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "«{word}» is missing in: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_a_right_one_taken() {
    let server = Server::start("");
    let database = Database::on_port(server.port).await;
    database.execute(TABLE).await;
    database.execute("CREATE ROLE capture LOGIN REPLICATION SUPERUSER PASSWORD 'right'").await;
    server.allow("host all capture 127.0.0.1/32 scram-sha-256\nhost replication capture 127.0.0.1/32 scram-sha-256");
    let user = |password: &str| {
        configuration(&database, &["public.orders"], &format!("password = \"{password}\""))
            .replace("user = \"postgres\"", "user = \"capture\"")
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &user("wrong")).await;
    assert_says(&daemon.stopped_with().await, &["password authentication failed", "28P01"]);
    drop(daemon);
    let daemon = Daemon::up(folder.path(), &user("right")).await;
    daemon.streaming().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_privileges_are_told_all_at_once() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let role = format!("{}_role", database.name);
    database.execute(&format!("CREATE ROLE {role} LOGIN")).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "")
        .replace("user = \"postgres\"", &format!("user = \"{role}\""));
    let daemon = Daemon::up(folder.path(), &config).await;
    let error = daemon.stopped_with().await;
    assert_says(&error, &["may not replicate", "may not read", "GRANT SELECT ON", "REPLICATION;"]);
    database.execute(&format!("DROP ROLE {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_logical_decoding_is_told_how_to_get_it() {
    let server = Server::start("wal_level = replica");
    let database = Database::on_port(server.port).await;
    database.execute(TABLE).await;
    let error = refused(&database, &["public.orders"], "").await;
    assert_says(&error, &["wal_level is replica", "ALTER SYSTEM SET wal_level", "restart"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_replica_identity_is_refused_and_not_published() {
    let database = Database::new().await;
    database.execute("CREATE TABLE loose (a int)").await;
    let error = refused(&database, &["public.loose"], "").await;
    assert_says(&error, &["no replica identity", "REPLICA IDENTITY FULL"]);
    database.execute("INSERT INTO loose VALUES (1); UPDATE loose SET a = 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_leaves_rows_or_columns_out_is_refused() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    for less in ["orders (id)", "orders WHERE (id > 5)"] {
        let name = &database.name;
        database
            .execute(&format!(
                "DROP PUBLICATION IF EXISTS {name}; CREATE PUBLICATION {name} FOR TABLE {less}"
            ))
            .await;
        let error = refused(&database, &["public.orders"], "").await;
        assert_says(&error, &["a row filter or a list of columns", "DROP TABLE \"public\""]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_policy_hides_are_not_passed_over() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let role = format!("{}_blind", database.name);
    database
        .execute(&format!(
            "CREATE ROLE {role} LOGIN REPLICATION; GRANT SELECT ON orders TO {role};
             ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
             CREATE PUBLICATION {} FOR TABLE orders; INSERT INTO orders VALUES (1, 1)",
            database.name
        ))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "")
        .replace("user = \"postgres\"", &format!("user = \"{role}\""));
    let daemon = Daemon::up(folder.path(), &config).await;
    let error = daemon.logged("snapshot failed").await["error"].as_str().unwrap().to_owned();
    assert_says(&error, &["row-level security"]);
    database.execute(&format!("DROP OWNED BY {role}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_there_is_named() {
    let database = Database::new().await;
    let error = refused(&database, &["public.nowhere"], "").await;
    assert_says(&error, &["\"public\".\"nowhere\" does not exist"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_are_not_carried_are_all_named_at_the_start() {
    let database = Database::new().await;
    database
        .execute("CREATE TABLE places (id int PRIMARY KEY, at aclitem, around pg_ndistinct)")
        .await;
    let error = refused(&database, &["public.places"], "").await;
    assert_says(&error, &["\"at\" of type aclitem", "\"around\" of type pg_ndistinct"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_that_is_not_carried_and_comes_later_stops_with_table_and_column() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(folder.path(), &configuration(&database, &["public.orders"], "")).await;
    daemon.streaming().await;
    database
        .execute("ALTER TABLE orders ADD COLUMN at aclitem; INSERT INTO orders VALUES (1)")
        .await;
    let error = daemon.stopped_with().await;
    assert_says(&error, &["public.orders", "column=at", "type=pg_catalog.aclitem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_another_uses_is_waited_for_and_told() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let second = Daemon::up(elsewhere.path(), &config).await;
    let holder = second.logged("standby").await["holder"].as_str().unwrap().to_owned();
    assert_says(&holder, &["server process", "127.0.0.1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_gone_is_a_lost_position() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    assert!(daemon.terminate().success());
    database.drop_slot().await;
    let daemon = Daemon::up(folder.path(), &config).await;
    assert_says(&daemon.stopped_with().await, &["the replication slot is gone"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_up_on_the_same_folder_is_refused() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let _daemon = Daemon::up(folder.path(), &config).await;
    assert_says(&refused_up(folder.path()), &["has this folder open", "stop the other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_a_newer_version_is_refused_and_left_alone() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "");
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.streaming().await;
    assert!(daemon.terminate().success());
    let format = folder.path().join("data/log/format");
    let ours = std::fs::read_to_string(&format).unwrap();
    let (name, version) = ours.trim_end().rsplit_once(' ').unwrap();
    let newer = format!("{name} {}\n", version.parse::<u32>().unwrap() + 1);
    std::fs::write(&format, &newer).unwrap();
    let error = refused_up(folder.path());
    assert_says(&error, &["a newer version of tidemesh wrote this folder", "run the version"]);
    assert_eq!(std::fs::read_to_string(&format).unwrap(), newer);
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = not_taken("data_dir = \"data\"\nregistri.listen = \"x\"\n");
    assert_says(&error, &["line 2", "unknown field `registri`"]);
}

#[test]
fn two_tables_that_would_share_a_topic_are_refused() {
    let error = not_taken(
        "[[source]]\nname = \"s\"\n[source.postgres]\ndatabase = \"d\"\nuser = \"u\"\n\
         tables = [\"public.a b\", \"public.a_u0020b\"]\n",
    );
    assert_says(&error, &["two tables would share a topic", "first=public.a b"]);
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in [
        &["up"][..],
        &["connector", "postgres"],
        &["registry"],
        &["topic", "list"],
        &["topic", "describe"],
        &["topic", "read"],
        &["schema", "get"],
        &["schema", "check"],
        &["schema", "register"],
        &["source", "list"],
        &["source", "describe"],
        &["source", "remove"],
        &["snapshot", "start"],
        &["snapshot", "pause"],
        &["snapshot", "resume"],
        &["snapshot", "status"],
        &["verify"],
        &["checkpoint", "show"],
    ] {
        let output = run(&[command, &["--help"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("Example"), "{command:?}: {text}");
    }
    assert!(run(&["--version"]).status.success());
}
