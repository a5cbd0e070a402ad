//! A real Flink, spoken to as its users' tools do: SQL through the SQL Gateway's REST interface.

use super::readers::variable;
use serde_json::{Value as Json, json};
use std::time::{Duration, Instant};

/// How long Flink may take to come up, and for a statement, which may wait for a free slot.
const FLINK_WAIT_MAX: Duration = Duration::from_secs(180);

/// How often it is asked.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A session of the SQL Gateway.
pub(crate) struct Session {
    http: reqwest::Client,
    gateway: String,
    session: String,
}

/// A change to a result: `INSERT`, `UPDATE_BEFORE`, `UPDATE_AFTER` or `DELETE`, and the row's cells.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: String,
    pub(crate) cells: Vec<Json>,
}

impl Session {
    /// Opens one as soon as the gateway is up.
    pub(crate) async fn open() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (http, gateway) = (reqwest::Client::new(), variable("TIDEMESH_TEST_FLINK"));
        let deadline = Instant::now() + FLINK_WAIT_MAX;
        loop {
            let sent = http.post(format!("{gateway}/v2/sessions")).json(&json!({})).send().await;
            if let Ok(response) = sent
                && let Ok(answer) = response.json::<Json>().await
                && let Some(session) = answer["sessionHandle"].as_str()
            {
                let session = format!("{gateway}/v2/sessions/{session}");
                return Self { http, gateway, session };
            }
            assert!(Instant::now() < deadline, "Flink is away: run `scripts/test`");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Runs a statement to its end; answers the changes to its result.
    ///
    /// # Errors
    ///
    /// What Flink says of a statement that fails.
    pub(crate) async fn run(&self, sql: &str) -> Result<Vec<Change>, String> {
        let statements = format!("{}/statements", self.session);
        let request = self.http.post(statements).json(&json!({ "statement": sql }));
        let operation = answer(request).await?;
        let operation = operation["operationHandle"].as_str().unwrap();
        let mut page = format!("{}/operations/{operation}/result/0?rowFormat=JSON", self.session);
        let (mut changes, deadline) = (Vec::new(), Instant::now() + FLINK_WAIT_MAX);
        loop {
            let result = answer(self.http.get(&page)).await?;
            for row in result["results"]["data"].as_array().into_iter().flatten() {
                let kind = row["kind"].as_str().unwrap().to_owned();
                changes.push(Change { kind, cells: row["fields"].as_array().unwrap().clone() });
            }
            if result["resultType"] == "EOS" {
                return Ok(changes);
            }
            if let Some(next) = result["nextResultUri"].as_str() {
                page = format!("{}{next}", self.gateway);
            }
            assert!(Instant::now() < deadline, "no end of {sql}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Json, String> {
    let response = request.send().await.expect("Flink's SQL Gateway answers");
    let failed = !response.status().is_success();
    let answer: Json = response.json().await.unwrap();
    if failed { Err(answer["errors"].to_string()) } else { Ok(answer) }
}
