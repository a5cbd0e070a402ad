//! A real Flink, spoken to as its users' tools do: SQL through the SQL Gateway's REST interface.

use super::eventually;
use super::readers::variable;
use serde_json::{Value as Json, json};
use std::time::{Duration, Instant};

/// How long Flink may take for a statement: it may have to come up first, and its slots to be free.
const STATEMENT_WAIT_MAX: Duration = Duration::from_secs(180);

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
        let session = eventually("Flink's SQL Gateway: `scripts/test` starts it", async || {
            let sent = http.post(format!("{gateway}/v2/sessions")).json(&json!({})).send().await;
            let answer: Json = sent.ok()?.json().await.ok()?;
            Some(answer["sessionHandle"].as_str()?.to_owned())
        });
        let session = session.await;
        let session = format!("{gateway}/v2/sessions/{session}");
        Self { http, gateway, session }
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
        let (mut changes, deadline) = (Vec::new(), Instant::now() + STATEMENT_WAIT_MAX);
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
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Json, String> {
    let response = request.send().await.expect("Flink's SQL Gateway answers");
    let failed = !response.status().is_success();
    let answer: Json = response.json().await.unwrap();
    if failed { Err(answer["errors"].to_string()) } else { Ok(answer) }
}
