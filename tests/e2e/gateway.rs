//! The emit gateway as a process of its own, beside a daemon that has the log: what is sent to it is in the
//! topic, over restarts of the daemon, over TLS too, and the Python package works against it.

use crate::clients::is_as_its_document_says;
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::tls::Authority;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::process::Command;

/// A daemon that has a log and a registry and nothing else.
pub(crate) const ALONE: &str = "data_dir = \"data\"\nregistry.listen = \"127.0.0.1:0\"\n\
                     control.listen = \"127.0.0.1:0\"\ndata.listen = \"127.0.0.1:0\"\n";

const ORDER: &str = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"}]}"#;

/// SHA-256 of `py`, the token of the tests.
const TOKEN_SHA256: &str = "6e491c02882ac36e3bcaaac4d151d4b2793135d4482adf227b1b730cdd90b46d";

/// A gateway over a daemon's log, with a log-in.
async fn gateway(folder: &Path, daemon: &Daemon) -> (Daemon, String) {
    start(folder, daemon, &login(folder)).await
}

/// The line of a log-in with the tests' token.
fn login(folder: &Path) -> String {
    let client = format!(
        "[[client]]\nname = \"py\"\ntoken_sha256 = \"{TOKEN_SHA256}\"\ntopics = [\"py.*\", \"shop.*\"]\n"
    );
    std::fs::write(folder.join("clients.toml"), client).unwrap();
    "clients_file = \"clients.toml\"\n".to_owned()
}

/// The same, which others may reach, since it has a certificate of this authority.
async fn secured(folder: &Path, daemon: &Daemon, authority: &Authority) -> (Daemon, String) {
    let identity = authority.certificate("127.0.0.1");
    std::fs::write(folder.join("certificate.pem"), identity.certificate).unwrap();
    std::fs::write(folder.join("key.pem"), identity.key).unwrap();
    let lines = format!(
        "name = \"secured\"\ntls = {{certificate_file = \"certificate.pem\", key_file = \"key.pem\"}}\n{}",
        login(folder)
    );
    let (gateway, url) = start_on(folder, daemon, "0.0.0.0:0", &lines).await;
    assert!(url.starts_with("https://0.0.0.0:"), "{url}");
    (gateway, url.replace("0.0.0.0", "127.0.0.1"))
}

/// A gateway, with more lines in its table.
pub(crate) async fn start(folder: &Path, daemon: &Daemon, lines: &str) -> (Daemon, String) {
    start_on(folder, daemon, "127.0.0.1:0", lines).await
}

async fn start_on(folder: &Path, daemon: &Daemon, listen: &str, lines: &str) -> (Daemon, String) {
    std::fs::write(folder.join("order.avsc"), ORDER).unwrap();
    let configuration = format!(
        "control.listen = \"127.0.0.1:0\"\ndata.url = \"{}\"\nregistry.url = \"{}\"\n\
         [gateway]\nlisten = \"{listen}\"\n{lines}\
         [[gateway.topic]]\nname = \"shop.orders\"\nschema_file = \"order.avsc\"\nkey = [\"id\"]\n\
         [[gateway.topic]]\nname = \"py.*\"\n",
        daemon.data, daemon.registry
    );
    let gateway = Daemon::start(folder, &configuration, &["emit-gateway"]).await;
    let url = gateway.logged("listening").await["gateway"].as_str().unwrap().to_owned();
    (gateway, url)
}

/// Emits an order, and answers with status and body.
pub(crate) async fn emit(url: &str, id: i64) -> Option<(u16, Json)> {
    let body = json!({ "events": [{ "value": { "id": id }, "idempotency_key": id.to_string() }] });
    let request = reqwest::Client::new()
        .post(format!("{url}/v1/topics/shop.orders/events"))
        .bearer_auth("py")
        .json(&body);
    let answer = request.send().await.ok()?;
    Some((answer.status().as_u16(), answer.json().await.ok()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_a_gateway_is_in_the_topic() {
    let (log, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let daemon = Daemon::up(log.path(), ALONE).await;
    let (gateway, url) = gateway(own.path(), &daemon).await;
    for id in 0..3 {
        let emitted = eventually("an answer", async || emit(&url, id).await).await;
        assert_eq!(emitted.0, 200, "{emitted:?}");
        assert_eq!(emitted.1["results"][0]["offset"], id);
    }
    let again = emit(&url, 1).await.unwrap();
    assert_eq!(again.1["results"][0]["offset"], 1, "one key is one event");
    let topic = daemon.command(&["topic", "read", "shop.orders"]);
    let read = String::from_utf8_lossy(&topic.stdout);
    assert_eq!(read.lines().count(), 3, "{read}");
    let audit = daemon.command(&["topic", "audit", "shop.orders"]);
    let audited = String::from_utf8_lossy(&audit.stdout);
    assert!(audit.status.success() && audited.contains("\"events\":3"), "{audited}");
    let metrics = reqwest::get(format!("{}/metrics", gateway.url)).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("tidemesh_gateway_requests_total"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_answers_as_its_openapi_document_says() {
    let (log, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let daemon = Daemon::up(log.path(), ALONE).await;
    let (_gateway, url) = start(own.path(), &daemon, "").await;
    is_as_its_document_says("gateway", &url);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_package_works_against_a_gateway_in_clear_and_with_tls() {
    let (log, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let daemon = Daemon::up(log.path(), ALONE).await;
    let (_gateway, url) = gateway(own.path(), &daemon).await;
    let (kept, authority) = (tempfile::tempdir().unwrap(), Authority::new("gateway-ca"));
    let (_secured, secured) = secured(kept.path(), &daemon, &authority).await;
    let mut command = Command::new("python3");
    command
        .args(["-B", "-W", "error", "-m", "unittest", "discover", "--start-directory", "tests"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/emitter/python"))
        .env("PYTHONPATH", "src:tests")
        .env("TIDEMESH_TEST_GATEWAY", &url)
        .env("TIDEMESH_TEST_SECURED_GATEWAY", &secured)
        .env("TIDEMESH_TEST_CA_FILE", authority.file(kept.path()))
        .env("TIDEMESH_TEST_REGISTRY", &daemon.registry)
        .env("TIDEMESH_TEST_GATEWAY_TOKEN", "py");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("\nOK\n"), "{said}");
}
