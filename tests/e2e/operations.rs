//! What an operator sees: a real Prometheus fires our alerts when something is wrong, and every metric
//! that dashboard, rules and documentation name is one that a daemon has.

use crate::pipelines::{pipeline, with_documents};
use crate::support::daemon::{Daemon, configuration, verified};
use crate::support::eventually;
use crate::support::kafka::on_kafka;
use crate::support::postgres::{Database, Server};
use crate::support::prometheus::{Prometheus, RULES};
use crate::support::writer::TABLE;
use std::collections::BTreeSet;

const DASHBOARD: &str = include_str!("../../operations/grafana/tidemesh-postgres.json");
const DOCUMENTATION: &str = include_str!("../../docs/operations.md");

struct Site {
    database: Database,
    daemon: Daemon,
    folder: tempfile::TempDir,
}

impl Site {
    async fn on(database: Database) -> Self {
        database.execute(TABLE).await;
        let folder = tempfile::tempdir().unwrap();
        let configuration = configuration(&database, &["public.orders"], "");
        let daemon = Daemon::up(folder.path(), &configuration).await;
        daemon.streaming().await;
        Self { database, daemon, folder }
    }

    /// Declares a pipeline over its table, once the table has its topic.
    async fn runs(&self, name: &str, sql: &str) {
        let document = pipeline(name, "shop.public.orders", sql);
        eventually("the pipeline is taken", async || {
            let (code, _) = with_documents(&self.daemon, self.folder.path(), "apply", &document);
            (code == Some(0)).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_stops_fires() {
    let site = Site::on(Database::new().await).await;
    let prometheus = Prometheus::start(&site.daemon, &[]).await;
    assert!(prometheus.is_quiet("TidemeshSourceStopped").await);
    eventually("the slot is dropped behind the source's back", async || {
        let slot = &site.database.name;
        let end = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
             WHERE slot_name = '{slot}' AND active"
        );
        site.database.execute(&end).await;
        let drop = format!("SELECT pg_drop_replication_slot('{slot}')");
        site.database.client.batch_execute(&drop).await.ok()
    })
    .await;
    let alert = prometheus.fires("TidemeshSourceStopped").await;
    assert_eq!(alert["labels"]["source"], "shop", "{alert}");
    assert_eq!(alert["annotations"]["summary"], "Source shop has stopped", "{alert}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_keeps_too_much_fires_until_it_keeps_less() {
    let server = Server::start("");
    let site = Site::on(Database::on_port(server.port).await).await;
    let most = [("tidemesh:slot_lag_bytes:max", 4_000_000.0)];
    let prometheus = Prometheus::start(&site.daemon, &most).await;
    assert!(prometheus.is_quiet("TidemeshSlotLagHigh").await);
    // No append can be made, so nothing is confirmed, and the slot keeps what is written.
    site.daemon.limit_files(Some(0));
    let write = "INSERT INTO orders SELECT g, g, repeat('x', 500) FROM generate_series(1, 20000) g
                 ON CONFLICT (id) DO UPDATE SET n = excluded.n";
    site.database.execute(write).await;
    let alert = prometheus.fires("TidemeshSlotLagHigh").await;
    assert_eq!(alert["labels"]["source"], "shop", "{alert}");
    site.daemon.limit_files(None);
    // The slot moves once a checkpoint of the server's is behind what was confirmed.
    eventually("the slot is behind by less", async || {
        site.database.execute("CHECKPOINT").await;
        let kept = site.daemon.source().await["slot"]["kept_bytes"].as_u64()?;
        (kept < 4_000_000).then_some(())
    })
    .await;
    prometheus.rests("TidemeshSlotLagHigh").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_falls_silent_fires_until_it_is_heard_again() {
    let server = Server::start("");
    let site = Site::on(Database::on_port(server.port).await).await;
    let most = [("tidemesh:heartbeat_age_seconds:max", 15.0)];
    let prometheus = Prometheus::start(&site.daemon, &most).await;
    assert!(prometheus.is_quiet("TidemeshNoHeartbeat").await);
    server.stop();
    let alert = prometheus.fires("TidemeshNoHeartbeat").await;
    assert_eq!(alert["labels"]["source"], "shop", "{alert}");
    server.start_again();
    prometheus.rests("TidemeshNoHeartbeat").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_is_held_fires_until_it_is_mended() {
    let site = Site::on(Database::new().await).await;
    site.database.execute("INSERT INTO orders VALUES (1, 1, 'x')").await;
    site.runs("noted", "SELECT id, note FROM rows").await;
    let prometheus = Prometheus::start(&site.daemon, &[]).await;
    assert!(prometheus.is_quiet("TidemeshPipelineHeld").await);
    let drop = "ALTER TABLE orders DROP COLUMN note; UPDATE orders SET n = 2 WHERE id = 1";
    site.database.execute(drop).await;
    let alert = prometheus.fires("TidemeshPipelineHeld").await;
    assert_eq!(alert["labels"]["pipeline"], "noted", "{alert}");
    assert_eq!(alert["annotations"]["summary"], "Pipeline noted is held", "{alert}");
    site.runs("noted", "SELECT id, n FROM rows").await;
    prometheus.rests("TidemeshPipelineHeld").await;
    // One that goes while it is held is nobody's alert any more.
    site.database.execute("ALTER TABLE orders DROP COLUMN n; DELETE FROM orders").await;
    prometheus.fires("TidemeshPipelineHeld").await;
    let deleted = site.daemon.command(&["delete", "pipeline", "noted"]);
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    prometheus.rests("TidemeshPipelineHeld").await;
}

const LATE: &str = "apiVersion: tidemesh/v1\nkind: Alert\nmetadata: {name: noted-late}\nspec:\n  \
                    for: {pipeline: noted}\n  condition: {metric: lag_seconds, above: 1}\n  labels: \
                    {team: a}\n  annotations: {summary: 'it is {{ $labels.pipeline }}'}\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_is_declared_fires() {
    let site = Site::on(Database::new().await).await;
    site.database.execute("INSERT INTO orders VALUES (1, 1, 'x')").await;
    site.runs("noted", "SELECT id, note FROM rows").await;
    crate::pipelines::applied(&site.daemon, site.folder.path(), LATE);
    let prometheus = Prometheus::start(&site.daemon, &[]).await;
    let is = async |figure: &str, value: &str| {
        eventually(&format!("{figure} is {value}"), async || {
            let found = prometheus.query(&format!("tidemesh_pipeline_{figure}")).await?;
            (found[0]["value"][1] == value).then_some(())
        })
        .await;
    };
    is("lag_seconds", "0").await;
    is("lag_records", "0").await;
    assert!(prometheus.is_quiet("noted-late").await);
    let drop = "ALTER TABLE orders DROP COLUMN note; UPDATE orders SET n = 2 WHERE id = 1";
    site.database.execute(drop).await;
    let alert = prometheus.fires("noted-late").await;
    assert_eq!(alert["labels"]["team"], "a", "{alert}");
    assert_eq!(alert["annotations"]["summary"], "it is noted", "{alert}");
    is("lag_records", "1").await;
    is("errors_total", "1").await;
    site.runs("noted", "SELECT id, n FROM rows").await;
    prometheus.rests("noted-late").await;
    // Each panel of its dashboard asks what Prometheus answers.
    let url = format!("{}/v1/pipelines/noted/dashboard", site.daemon.url);
    let dashboard: serde_json::Value = serde_json::from_str(&get(&url).await).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
            let answer = prometheus.query(&expression).await.unwrap();
            assert!(answer[0].is_object(), "{expression}: {answer}");
        }
    }
}

/// The metrics' names in a text: `tidemesh_` or `process_` and what follows.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')
        .filter(|word| word.starts_with("tidemesh_") || word.starts_with("process_"))
        // A schema of PostgreSQL.
        .filter(|word| *word != "tidemesh_controller")
        .map(str::to_owned)
        .collect()
}

pub(crate) async fn get(url: &str) -> String {
    // The provider of TLS that every client of HTTP needs; another test may have set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::get(url).await.unwrap().error_for_status().unwrap().text().await.unwrap()
}

/// The names of what a daemon tells, each with the series that a histogram has.
async fn told(daemon: &Daemon) -> BTreeSet<String> {
    let text = get(&format!("{}/metrics", daemon.url)).await;
    let series = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    series.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

/// The name under which a series is documented: a histogram's without its ending.
fn documented(series: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| series.strip_suffix(end)).unwrap_or(series)
}

/// The dashboard's expressions, with what Grafana puts into them.
fn expressions() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets
        .map(|target| target["expr"].as_str().unwrap())
        .map(|text| text.replace("$source", ".*").replace("$__rate_interval", "5m"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_asks_what_prometheus_answers() {
    let site = Site::on(Database::new().await).await;
    let prometheus = Prometheus::start(&site.daemon, &[]).await;
    for expression in expressions() {
        let answer = prometheus.query(&expression).await.unwrap();
        assert!(answer.is_array(), "{expression}: {answer}");
    }
    eventually("the first panel has its figure", async || {
        let answer = prometheus.query(&expressions()[0]).await?;
        (answer[0]["value"][1] == "1").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_alone_tells_of_itself() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = "registry.listen = \"127.0.0.1:0\"\n";
    let role = ["registry", "--control", "127.0.0.1:0"];
    let daemon = Daemon::start(folder.path(), configuration, &role).await;
    assert_eq!(get(&format!("{}/subjects", daemon.registry)).await, "[]");
    eventually("it tells of the request and of its process", async || {
        let told = told(&daemon).await;
        let names = ["tidemesh_registry_requests_total", "process_resident_memory_bytes"];
        names.iter().all(|name| told.contains(*name)).then_some(())
    })
    .await;
    assert!(get(&format!("{}/health", daemon.url)).await.contains("\"up\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_is_named_anywhere_is_told_by_a_daemon() {
    let site = Site::on(Database::new().await).await;
    site.database.execute("INSERT INTO orders VALUES (1, 1, 'x')").await;
    verified(&site.daemon);
    site.runs("numbers", "SELECT id, n FROM rows").await;
    let other = Database::new().await;
    other.execute(TABLE).await;
    let folder = tempfile::tempdir().unwrap();
    let configuration = on_kafka(&configuration(&other, &["public.orders"], ""), "");
    let on_kafka = Daemon::up(folder.path(), &configuration).await;
    on_kafka.streaming().await;
    let own = tempfile::tempdir().unwrap();
    let (gateway, url) = crate::gateway::start(own.path(), &site.daemon, "").await;
    let emitted = eventually("an event is durable", async || crate::gateway::emit(&url, 1).await);
    assert_eq!(emitted.await.0, 200);
    let mut all = told(&site.daemon).await;
    all.extend(told(&on_kafka).await);
    all.extend(told(&gateway).await);
    let told: BTreeSet<String> = all;
    for (place, text) in [("dashboard", DASHBOARD), ("rules", RULES), ("docs", DOCUMENTATION)] {
        for name in names(text) {
            let is_told = told.iter().any(|series| *series == name || documented(series) == name);
            assert!(is_told, "{name} of the {place} is told by no daemon: {told:#?}");
        }
    }
    let in_docs = names(DOCUMENTATION);
    for series in told.iter().map(|series| documented(series)) {
        assert!(in_docs.contains(series), "{series} is not in docs/operations.md");
    }
}
