//! A registry that is kept by TLS, users and grants: sources and the command line come to it, and each
//! thing that is wrong is told.

use crate::support::daemon::{Daemon, configuration, refused_up, run, verified};
use crate::support::postgres::Database;
use crate::support::readers::variable;
use crate::support::tls::Authority;
use crate::support::writer::TABLE;
use crate::support::{eventually, kafka};
use serde_json::Value as Json;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_tidemesh");

/// What `tidemesh registry hash-password` makes of this.
fn hash(password: &str) -> String {
    let mut child = Command::new(BINARY)
        .args(["registry", "hash-password"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let hash = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(hash.starts_with("$argon2id$") && !hash.contains(password), "{hash}");
    hash
}

/// Certificate, key and users in this folder, and the lines of `[registry]` for them.
fn kept(folder: &Path, authority: &Authority) -> String {
    let identity = authority.certificate("127.0.0.1");
    std::fs::write(folder.join("certificate.pem"), identity.certificate).unwrap();
    std::fs::write(folder.join("key.pem"), identity.key).unwrap();
    let users = format!("shop:{}\nann:{}\n", hash("hush-shop"), hash("hush-ann"));
    std::fs::write(folder.join("users"), users).unwrap();
    std::fs::write(folder.join("password"), "hush-shop\n").unwrap();
    "tls = {certificate_file = \"certificate.pem\", key_file = \"key.pem\"}\n\
     users = {file = \"users\"}\n\
     audit = {file = \"audit.jsonl\", required = true}\n\
     grant = [{to = \"user:shop\", role = \"admin\", prefix = \"shop.\"}, \
              {to = \"user:ann\", role = \"read\"}]\n"
        .to_owned()
}

/// The configuration with `[registry]` as a table of these lines.
fn with_registry(config: &str, lines: &str) -> String {
    let listen = "registry.listen = \"127.0.0.1:0\"\n";
    let config = config.replace(listen, "");
    let (process, source) = config.split_once("[[source]]").unwrap();
    format!("{process}\n[registry]\nlisten = \"127.0.0.1:0\"\n{lines}\n[[source]]{source}")
}

/// A command by somebody with a password; nobody, if both are empty.
fn command(daemon: &Daemon, ca: &str, (name, password): (&str, &str), words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(words).env("TIDEMESH_URL", &daemon.url).env("TIDEMESH_REGISTRY_CA_FILE", ca);
    if !name.is_empty() {
        command.env("TIDEMESH_REGISTRY_USERNAME", name).env("TIDEMESH_REGISTRY_PASSWORD", password);
    }
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_publishes_through_a_registry_with_tls_and_a_user() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("registry-ca");
    let ca = authority.file(folder.path());
    let kept = kept(folder.path(), &authority);
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders SELECT g, g, 'x' FROM generate_series(1, 500) g").await;
    let plain = configuration(&database, &["public.orders"], "");
    let client = format!(
        "client = {{ca_file = \"{ca}\", username = \"shop\", password_file = \"password\"}}\n"
    );
    // A wrong password is told, and the source stops.
    let wrong = client.replace("password_file = \"password\"", "password = \"hush-wrong\"");
    let mut daemon =
        Daemon::up(folder.path(), &with_registry(&plain, &format!("{kept}{wrong}"))).await;
    let told = daemon.stopped_with().await;
    assert!(told.contains("registry.client") && !told.contains("hush-"), "{told}");
    assert!(daemon.terminate().success());

    let daemon =
        Daemon::up(folder.path(), &with_registry(&plain, &format!("{kept}{client}"))).await;
    assert!(daemon.registry.starts_with("https://"), "{}", daemon.registry);
    daemon.streaming().await;
    database.execute("UPDATE orders SET n = n + 1").await;
    database.execute("ALTER TABLE orders ADD COLUMN more text").await;
    database.execute("UPDATE orders SET n = n + 1 WHERE id < 10").await;
    verified(&daemon);

    let ann = ("ann", "hush-ann");
    let listed = command(&daemon, &ca, ann, &["schema", "list"]);
    assert!(said(&listed).contains("shop.public.orders-value"), "{}", said(&listed));
    let read = ["topic", "read", "shop.public.orders", "--max", "1"];
    let read = command(&daemon, &ca, ann, &read);
    assert!(read.status.success(), "{}", said(&read));
    let delete = ["schema", "delete", "shop.public.orders-value"];
    let refused = command(&daemon, &ca, ann, &delete);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("denied operation Write"), "{}", said(&refused));
    let nobody = command(&daemon, &ca, ("", ""), &["schema", "list"]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(said(&nobody).contains("--registry-username"), "{}", said(&nobody));
    let stranger = Authority::new("other-ca").file(folder.path());
    let refused = command(&daemon, &stranger, ann, &["schema", "list"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));

    let text = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let has = |principal: &str, outcome: &str| {
        lines.iter().any(|line| line["principal"] == principal && line["outcome"] == outcome)
    };
    assert!(has("shop", "begun") && has("shop", "done") && has("ann", "refused"), "{text}");
    let all = format!("{text}{}{}{}", daemon.log_text(), said(&refused), said(&nobody));
    assert!(!all.contains("hush-") && !all.contains("$argon2id"), "a secret was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn others_reach_a_registry_only_if_it_is_kept_or_somebody_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidemesh.toml");
    let process = "control.listen = \"127.0.0.1:0\"\ndata.listen = \"127.0.0.1:0\"\n";
    let open = format!("{process}registry.listen = \"0.0.0.0:0\"\n");
    std::fs::write(&file, &open).unwrap();
    let told = refused_up(folder.path());
    assert!(told.contains("registry.listen") && told.contains("registry.insecure"), "{told}");
    let store = format!("sqlite:{}", folder.path().join("r.sqlite").display());
    let alone = run(&["registry", "--listen", "0.0.0.0:0", "--store", &store]);
    assert_eq!(alone.status.code(), Some(2));
    let daemon = Daemon::up(folder.path(), &format!("{open}registry.insecure = true\n")).await;
    eventually("it is reached", async || {
        daemon.command(&["schema", "list"]).status.success().then_some(())
    })
    .await;
}

/// Confluent's client for Python, over TLS and with a password: all that it does without them.
#[tokio::test(flavor = "multi_thread")]
async fn confluent_kafka_works_over_tls_with_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("registry-ca");
    let ca = authority.file(folder.path());
    let kept = kept(folder.path(), &authority)
        .replace("role = \"admin\", prefix = \"shop.\"", "role = \"admin\", context = \"*\"");
    let process = "control.listen = \"127.0.0.1:0\"\ndata.listen = \"127.0.0.1:0\"\n";
    let config = format!("{process}[registry]\nlisten = \"127.0.0.1:0\"\n{kept}");
    let daemon = Daemon::up(folder.path(), &config).await;
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/confluent.py");
    let output = Command::new(variable("TIDEMESH_TEST_PYTHON"))
        .args([program, &daemon.registry, &kafka::shared()])
        .env("TIDEMESH_CLIENT_CA_FILE", &ca)
        .env("TIDEMESH_CLIENT_USER", "shop:hush-shop")
        .output()
        .unwrap();
    assert!(output.status.success() && said(&output).contains("ok "), "{}", said(&output));
}
