//! Sources that documents declare: a daemon without a configured one starts, pauses, changes and ends
//! them, and goes on with them after it was killed.

use crate::operations::get;
use crate::pipelines::{applied, with_documents};
use crate::support::daemon::{Daemon, configuration, verified};
use crate::support::eventually;
use crate::support::postgres::Database;
use crate::support::topic::records;
use crate::support::writer::{TABLE, TOPIC};
use serde_json::Value as Json;

/// The same configuration without its source.
pub(crate) fn without_sources(configuration: &str) -> String {
    configuration.split("[[source]]").next().unwrap().to_owned()
}

/// A document that captures this database's orders, with more lines of `postgres`, each with two spaces
/// before it.
pub(crate) fn document(database: &Database, more: &str) -> String {
    format!(
        "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {{name: shop, owner: sales}}\nspec:\n  \
         heartbeat_interval_ms: 200\n  postgres:\n    host: 127.0.0.1\n    port: {}\n    database: {}\n    \
         user: postgres\n    tables: [public.orders]\n    slot: {}\n    publication: {}\n{more}",
        database.port, database.name, database.name, database.name
    )
}

fn said(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, String) {
    let output = daemon.command(arguments);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn done(daemon: &Daemon, arguments: &[&str]) -> String {
    let (code, said) = said(daemon, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {said}");
    said
}

async fn until_it_is(daemon: &Daemon, state: &str) {
    eventually(&format!("the source is {state}"), async || {
        (daemon.source().await["state"] == state).then_some(())
    })
    .await;
}

async fn has_records(daemon: &Daemon, count: usize) {
    eventually("the topic has the records", async || {
        (records(daemon, TOPIC).len() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_starts_a_source_which_outlives_the_daemon() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1, 20) g").await;
    let folder = tempfile::tempdir().unwrap();
    let config = without_sources(&configuration(&database, &[], ""));
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.logged("the controller acts").await;
    let text = document(&database, "");
    let (code, planned) = with_documents(&daemon, folder.path(), "plan", &text);
    assert!(code == Some(1) && planned.contains("> starts a connector"), "{planned}");
    applied(&daemon, folder.path(), &text);
    daemon.streaming().await;
    verified(&daemon);
    has_records(&daemon, 20).await;

    daemon.kill();
    database.execute("INSERT INTO orders VALUES (21, 21, 'y')").await;
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.logged("the controller acts").await;
    has_records(&daemon, 21).await;
    assert!(done(&daemon, &["get"]).contains("streaming"), "get tells its state");
    let described = done(&daemon, &["describe", "source", "shop"]);
    assert!(described.contains("source shop, revision 1: streaming"), "{described}");

    let paused = done(&daemon, &["pause", "source", "shop"]);
    assert!(paused.contains("its slot stays"), "{paused}");
    until_it_is(&daemon, "paused").await;
    database.execute("INSERT INTO orders VALUES (22, 22, 'z')").await;
    let health: Json = serde_json::from_str(&get(&format!("{}/health", daemon.url)).await).unwrap();
    assert_eq!(
        (&health["status"], &health["sources"]["shop"]["state"]),
        (&"up".into(), &"paused".into())
    );
    assert_eq!(records(&daemon, TOPIC).len(), 21, "a paused source brings nothing");
    done(&daemon, &["resume", "source", "shop"]);
    has_records(&daemon, 22).await;
    verified(&daemon);

    // Other settings: it goes on by them, with all that was counted.
    let changed = document(&database, "    connect_timeout_ms: 9000\n");
    let said = applied(&daemon, folder.path(), &changed);
    assert!(said.contains("> goes on by the new settings"), "{said}");
    database.execute("INSERT INTO orders VALUES (23, 23, 'z')").await;
    has_records(&daemon, 23).await;
    done(&daemon, &["rollback", "source", "shop", "--to", "1"]);
    let history = done(&daemon, &["history", "source", "shop"]);
    assert!(history.contains("rolled back to 1"), "{history}");
    daemon.streaming().await;

    let deleted = done(&daemon, &["delete", "source", "shop"]);
    let drop = format!("SELECT pg_drop_replication_slot('{}')", database.name);
    assert!(deleted.contains(&drop) && deleted.contains("source remove shop"), "{deleted}");
    eventually("it is gone", async || daemon.source().await.is_null().then_some(())).await;
    database.drop_slot().await;
    assert_eq!(records(&daemon, TOPIC).len(), 23, "its topic stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_are_refused_with_their_place() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let config = without_sources(&configuration(&database, &[], ""));
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.logged("the controller acts").await;
    let refused = |more: &str| {
        let (code, said) =
            with_documents(&daemon, folder.path(), "plan", &document(&database, more));
        assert_eq!(code, Some(2), "{said}");
        said
    };
    let place = |line: u32, column: u32| format!("mesh.yaml:{line}:{column}: Source shop");
    let said = refused("    prot: 1\n");
    assert!(said.contains(&place(14, 5)) && said.contains("did you mean `port`?"), "{said}");
    let said = refused("    password: hush\n");
    assert!(said.contains(&place(14, 5)) && !said.contains("hush"), "{said}");
    let said = refused("    password_file: /etc/passwd\n");
    assert!(said.contains(&place(14, 20)) && said.contains("folder of secrets"), "{said}");
    let said = refused("    password_file: shop\n");
    assert!(said.contains(&place(14, 20)) && said.contains("cannot be read"), "{said}");
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    std::fs::write(folder.path().join("secrets/shop"), "hush\n").unwrap();
    let text = document(&database, "    password_file: shop\n");
    assert_eq!(with_documents(&daemon, folder.path(), "plan", &text).0, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_source_is_listed_and_no_document_changes_it() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configuration(&database, &["public.orders"], "password = \"hush\"");
    let daemon = Daemon::up(folder.path(), &config).await;
    daemon.logged("the controller acts").await;
    daemon.streaming().await;
    eventually("it is listed", async || {
        said(&daemon, &["get", "sources"]).1.contains("shop").then_some(())
    })
    .await;
    let listed: Json = serde_json::from_str(&done(&daemon, &["get", "--json"])).unwrap();
    assert_eq!(listed[0]["managed_by"], "file");
    assert!(
        !listed.to_string().contains("hush") && !listed.to_string().contains("***"),
        "{listed}"
    );
    assert_eq!(daemon.described()["managed_by"], "file");
    for arguments in [["pause", "source", "shop"], ["delete", "source", "shop"]] {
        let (code, said) = said(&daemon, &arguments);
        assert!(code == Some(2) && said.contains("configuration file"), "{said}");
    }
    let (code, said) = with_documents(&daemon, folder.path(), "apply", &document(&database, ""));
    assert!(code == Some(2) && said.contains("configuration file"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_no_process_runs_says_so() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    let (folder, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = without_sources(&configuration(&database, &[], ""));
    let mut daemon = Daemon::up(folder.path(), &config).await;
    daemon.logged("the controller acts").await;
    applied(&daemon, folder.path(), &document(&database, ""));
    daemon.streaming().await;
    daemon.terminate();

    // Its store goes to a controller alone, over its log and registry.
    let log = format!("{config}controller.store = \"sqlite:another.sqlite\"\n");
    let log = Daemon::up(folder.path(), &log).await;
    let store = folder.path().join("data/controller.sqlite");
    let config = format!(
        "data_dir = \"data\"\ncontrol.listen = \"127.0.0.1:0\"\nregistry.url = \"{}\"\ndata.url = \
         \"{}\"\n[controller]\nruntime = \"external\"\nstore = \"sqlite:{}\"\n",
        log.registry,
        log.data,
        store.display()
    );
    let controller = Daemon::start(beside.path(), &config, &["controller"]).await;
    controller.logged("the controller acts").await;
    eventually("it is told", async || {
        let described = done(&controller, &["describe", "source", "shop"]);
        let state = "source shop, revision 1: unassigned";
        (described.contains(state) && described.contains("run `tidemesh up`")).then_some(())
    })
    .await;
    assert!(done(&controller, &["get"]).contains("unassigned"));
}
