//! Everything that a registry holds, carried to another: by an export, and from the registry itself.

use crate::support::daemon::{Daemon, run};
use serde_json::{Value as Json, json};
use std::path::Path;

async fn registry(folder: &Path) -> Daemon {
    let config = "registry.listen = \"127.0.0.1:0\"\n";
    Daemon::start(folder, config, &["registry", "--control", "127.0.0.1:0"]).await
}

async fn send(daemon: &Daemon, method: reqwest::Method, path: &str, body: Json) -> Json {
    let request = reqwest::Client::new().request(method, format!("{}{path}", daemon.registry));
    let answer = request.json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    answer.json().await.unwrap()
}

async fn register(daemon: &Daemon, subject: &str, body: Json) -> Json {
    send(daemon, reqwest::Method::POST, &format!("/subjects/{subject}/versions"), body).await
}

fn record(name: &str, field: &str) -> String {
    format!(r#"{{"type":"record","name":"{name}","fields":[{{"name":"f","type":"{field}"}}]}}"#)
}

/// Two contexts, references, deletions, metadata, configurations, modes.
async fn fill(daemon: &Daemon) {
    use reqwest::Method;
    register(daemon, "base", json!({"schema": record("Base", "int")})).await;
    let references = json!([{"name": "Base", "subject": "base", "version": 1}]);
    register(daemon, "user", json!({"schema": record("User", "Base"), "references": references}))
        .await;
    for schema in ["\"int\"", "\"long\"", "\"double\""] {
        let metadata = json!({"properties": {"owner": "me"}});
        register(daemon, "numbers", json!({"schema": schema, "metadata": metadata})).await;
    }
    send(daemon, Method::DELETE, "/subjects/numbers/versions/2", json!({})).await;
    register(daemon, ":.c:other", json!({"schema": "\"string\""})).await;
    send(daemon, Method::PUT, "/config", json!({"compatibility": "FULL"})).await;
    send(
        daemon,
        Method::PUT,
        "/config/numbers",
        json!({"compatibility": "NONE", "normalize": true}),
    )
    .await;
    send(daemon, Method::PUT, "/config/:.c:", json!({"compatibility": "FORWARD"})).await;
    register(daemon, "gone", json!({"schema": "\"bytes\""})).await;
    send(daemon, Method::DELETE, "/subjects/gone", json!({})).await;
    let consumer = "/tidemesh/v1/consumers/billing/subjects/user";
    send(daemon, Method::PUT, consumer, json!({"fields": ["f.f"], "version": 1})).await;
    send(daemon, Method::PUT, "/mode/user", json!({"mode": "READONLY"})).await;
}

fn export(daemon: &Daemon) -> String {
    let output = run(&["schema", "export", "--url", &daemon.url]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn imported(daemon: &Daemon, arguments: &[&str]) {
    let output = run(&[&["schema", "import"], arguments, &["--url", &daemon.url]].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.ends_with("7 versions, 0 differences\n"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_carried_to_another_with_all_that_it_holds() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let first = registry(folders[0].path()).await;
    fill(&first).await;
    let told = export(&first);
    let file = folders[0].path().join("export.jsonl");
    std::fs::write(&file, &told).unwrap();

    let second = registry(folders[1].path()).await;
    // What an interrupted import leaves: a subject that imports, some of its versions.
    send(&second, reqwest::Method::PUT, "/mode/numbers", json!({"mode": "IMPORT"})).await;
    let metadata = json!({"properties": {"owner": "me"}});
    let body = json!({"schema": "\"int\"", "id": 3, "version": 1, "metadata": metadata});
    register(&second, "numbers", body).await;
    for _ in 0..2 {
        imported(&second, &[file.to_str().unwrap()]);
        let again = export(&second);
        let without_mode = |text: &str| {
            // Its own mode was none; the import names it.
            text.lines()
                .filter(|line| !line.contains("\"scope\":\"\""))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(without_mode(&again), without_mode(&told));
    }
    let made = register(&second, "new", json!({"schema": "\"float\""})).await;
    assert_eq!(made["id"], json!(7), "above all that were imported");

    let third = registry(folders[2].path()).await;
    imported(&third, &["--from", &first.registry]);
    let output = run(&["schema", "import", "--from", &second.registry, "--url", &third.url]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let conflict = registry_with_conflict(folders[2].path()).await;
    let output = run(&["schema", "import", "--from", &first.registry, "--url", &conflict.url]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("subject=base"), "{said}");
}

/// One whose ids are taken by other schemas.
async fn registry_with_conflict(folder: &Path) -> Daemon {
    let folder = folder.join("conflict");
    std::fs::create_dir(&folder).unwrap();
    let daemon = registry(&folder).await;
    register(&daemon, "x", json!({"schema": "\"boolean\""})).await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schemas_life_in_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = registry(folder.path()).await;
    let file = folder.path().join("a.avsc");
    std::fs::write(&file, "\"int\"").unwrap();
    let file = file.to_str().unwrap();
    let say = |arguments: &[&str]| {
        let output = daemon.command(&[&["schema"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), said)
    };
    assert_eq!(say(&["register", "s", file]), (0, "1\n".into()));
    assert_eq!(say(&["list"]), (0, "s\n".into()));
    assert_eq!(say(&["list", "s"]), (0, "1\tid 1\n".into()));
    assert_eq!(say(&["get", "s"]), (0, "\"int\"\n".into()));
    std::fs::write(file, "\"string\"").unwrap();
    assert_eq!(say(&["check", "s", file]).0, 1);
    assert_eq!(say(&["register", "s", file]).0, 1);
    let (code, told) = say(&["diff", "s", file]);
    assert_eq!(code, 1);
    assert!(
        told.starts_with("(root): type changed: int to string\nBACKWARD\tincompatible\n"),
        "{told}"
    );
    let (code, told) = say(&["diff", "s", file, "--json"]);
    let told: Json = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &told["differences"][0]["change"]), (1, &json!("type_changed")));
    assert_eq!(told["levels"]["FULL"]["compatible"], json!(false));
    assert_eq!(say(&["diff", "s", "--from", "1"]), (0, "no differences\n".into()));
    assert_eq!(say(&["config", "s", "--set", "NONE"]).0, 0);
    assert!(say(&["config", "s"]).1.contains("\"compatibilityLevel\": \"NONE\""));
    assert_eq!(say(&["register", "s", file]), (0, "2\n".into()));
    assert_eq!(say(&["mode", "s", "--set", "READONLY"]).0, 0);
    assert_eq!(say(&["delete", "s", "--at", "1"]).0, 2, "it may not be changed");
    assert!(say(&["mode", "s"]).1.contains("READONLY"));
    assert_eq!(say(&["mode", "s", "--delete"]).0, 0);
    assert_eq!(say(&["delete", "s", "--at", "1"]), (0, "1\n".into()));
    assert_eq!(say(&["list", "s", "--deleted"]), (0, "1\tid 1\tdeleted\n2\tid 2\n".into()));
    assert_eq!(say(&["delete", "s"]), (0, "[2]\n".into()));
    assert_eq!(say(&["delete", "s", "--permanent"]), (0, "[1,2]\n".into()));
    assert_eq!(say(&["list", "--deleted"]), (0, String::new()));
    assert_eq!(say(&["get", "s"]).0, 2);
}
