//! A real Prometheus with our alert rules, which scrapes one daemon.

use super::daemon::Daemon;
use super::postgres::{free_port, variable};
use super::{PATIENCE, eventually};
use serde_json::Value as Json;
use std::path::PathBuf;
use std::process::{Child, Command};

/// The rules for all.
pub(crate) const RULES: &str = include_str!("../../../operations/prometheus/tidemesh.rules.yml");

/// A server. Killed when it is dropped.
pub(crate) struct Prometheus {
    child: Child,
    url: String,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one for this daemon. `thresholds` takes the place of those in the rules, each by its
    /// record's name, and no alert waits: the rules' expressions are as they are.
    pub(crate) async fn start(daemon: &Daemon, thresholds: &[(&str, f64)]) -> Self {
        let bin = PathBuf::from(variable("TIDEMESH_TEST_PROMETHEUS_BIN"));
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("rules.yml");
        // As operators get them: of the daemon, with the alerts that are declared.
        let served = crate::operations::get(&format!("{}/v1/prometheus/rules", daemon.url)).await;
        std::fs::write(&rules, impatient(&served, thresholds)).unwrap();
        let config = folder.path().join("prometheus.yml");
        let target = daemon.url.trim_start_matches("http://");
        let text = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\n\
             rule_files: [{}]\n\
             scrape_configs:\n- job_name: tidemesh\n  static_configs: [{{targets: ['{target}']}}]\n",
            rules.display()
        );
        std::fs::write(&config, text).unwrap();
        let port = free_port();
        let child = Command::new(bin.join("prometheus"))
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .spawn()
            .expect("Prometheus cannot be started: run `scripts/test`");
        // The provider of TLS that every client of HTTP needs; another test may have set it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let prometheus = Self { child, url, http, _folder: folder };
        eventually("Prometheus scrapes the daemon", async || {
            let up = prometheus.query("up").await?;
            (up[0]["value"][1] == "1").then_some(())
        })
        .await;
        prometheus
    }

    /// The samples of an expression; none while it does not answer, null if it is no expression.
    pub(crate) async fn query(&self, expression: &str) -> Option<Json> {
        let url = format!("{}/api/v1/query", self.url);
        let answer = self.http.get(url).query(&[("query", expression)]).send().await.ok()?;
        let body: Json = answer.json().await.ok()?;
        Some(body["data"]["result"].clone())
    }

    /// The alerts of this name that fire.
    async fn firing(&self, alert: &str) -> Option<Vec<Json>> {
        let answer = self.http.get(format!("{}/api/v1/alerts", self.url)).send().await.ok()?;
        let body: Json = answer.json().await.ok()?;
        let alerts = body["data"]["alerts"].as_array()?.iter();
        let fires = |a: &&Json| a["labels"]["alertname"] == alert && a["state"] == "firing";
        Some(alerts.filter(fires).cloned().collect())
    }

    /// Waits until the alert fires for the source; answers it.
    pub(crate) async fn fires(&self, alert: &str) -> Json {
        eventually(&format!("{alert} fires"), async || self.firing(alert).await?.pop()).await
    }

    /// Waits until the alert does not fire any more.
    pub(crate) async fn rests(&self, alert: &str) {
        eventually(&format!("{alert} rests"), async || {
            self.firing(alert).await?.is_empty().then_some(())
        })
        .await;
    }

    /// Whether the alert fires now.
    pub(crate) async fn is_quiet(&self, alert: &str) -> bool {
        self.firing(alert).await.is_some_and(|firing| firing.is_empty())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rules with other thresholds and without their patience.
fn impatient(rules: &str, thresholds: &[(&str, f64)]) -> String {
    let mut rules: serde_yaml_ng::Value = serde_yaml_ng::from_str(rules).unwrap();
    let mut set = 0;
    for group in rules["groups"].as_sequence_mut().unwrap() {
        for rule in group["rules"].as_sequence_mut().unwrap() {
            let rule = rule.as_mapping_mut().unwrap();
            rule.remove("for");
            let record = rule.get("record").and_then(|record| record.as_str());
            let threshold = thresholds.iter().find(|(name, _)| record == Some(name));
            if let Some((_, value)) = threshold {
                rule.insert("expr".into(), format!("vector({value})").into());
                set += 1;
            }
        }
    }
    assert_eq!(set, thresholds.len(), "a threshold is not in the rules");
    serde_yaml_ng::to_string(&rules).unwrap()
}
