//! A registry that is not ours taken over: a real Apicurio by its API in Confluent's form, and what it
//! has that ours cannot.

use crate::support::daemon::{Daemon, run};
use crate::support::eventually;
use crate::support::readers::variable;
use reqwest::Method;
use serde_json::{Value as Json, json};
use std::path::Path;
use std::process::{Command, Output};

/// Writes a record as the peer's schema says, and reads it by ours.
const FRAMED: &str = r#"
import sys
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
peer, ours = (SchemaRegistryClient({"url": url}) for url in sys.argv[1:])
context = SerializationContext("orders", MessageField.VALUE)
settings = {"auto.register.schemas": False, "use.latest.version": True}
value = {"id": 7, "base": {"f": 8}}
framed = AvroSerializer(peer, conf=settings)(value, context)
assert AvroDeserializer(ours)(framed, context) == value
print(int.from_bytes(framed[1:5], "big"))
"#;

/// One registry by its REST API.
struct Api {
    http: reqwest::Client,
    url: String,
}

impl Api {
    fn new(url: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: reqwest::Client::new(), url: url.to_owned() }
    }

    /// The peer, once it is up.
    async fn peer() -> Self {
        let peer = Self::new(&variable("TIDEMESH_TEST_APICURIO"));
        eventually("Apicurio answers: is it started, by `scripts/test`?", async || {
            peer.find("/subjects").await
        })
        .await;
        peer
    }

    /// The answer, if it is a good one.
    async fn find(&self, path: &str) -> Option<Json> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.ok()?;
        if answer.status().is_success() { answer.json().await.ok() } else { None }
    }

    async fn get(&self, path: &str) -> Json {
        self.find(path).await.unwrap_or_else(|| panic!("{} has no {path}", self.url))
    }

    async fn send(&self, method: Method, path: &str, body: Json) -> Json {
        let request = self.http.request(method, format!("{}{path}", self.url)).json(&body);
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn register(&self, subject: &str, body: Json) -> Json {
        self.send(Method::POST, &format!("/subjects/{subject}/versions"), body).await
    }

    async fn set_level(&self, place: &str, level: &str) {
        self.send(Method::PUT, &format!("/config{place}"), json!({"compatibility": level})).await;
    }

    /// What it has of a subject: its live versions, and each version whole, the deleted too.
    async fn subject(&self, subject: &str) -> (Json, Vec<Json>) {
        let path = format!("/subjects/{subject}/versions");
        let all = self.get(&format!("{path}?deleted=true")).await;
        let mut versions = Vec::new();
        for number in all.as_array().unwrap() {
            let found = self.get(&format!("{path}/{number}?deleted=true")).await;
            let references =
                if found["references"].is_null() { json!([]) } else { found["references"].clone() };
            let members = ["id", "subject", "version", "schema"].map(|name| found[name].clone());
            versions.push(json!([members, references]));
        }
        (self.get(&path).await, versions)
    }
}

/// A text that the peer keeps, and ours writes as Avro's Java library does, as every text.
const SPACED: &str = r#"{ "type" : "double" }"#;

const SUBJECTS: [&str; 6] = ["base", "orders-value", "numbers", "also", "strict", "again"];

fn record(name: &str, fields: &str) -> String {
    format!(r#"{{"type":"record","name":"{name}","fields":[{fields}]}}"#)
}

/// Versions that share an id, two texts of one schema, references, a deletion, levels.
async fn fill(peer: &Api) {
    let base = record("Base", r#"{"name":"f","type":"int"}"#);
    peer.register("base", json!({"schema": base})).await;
    let references = json!([{"name": "Base", "subject": "base", "version": 1}]);
    let more = r#"{"name":"id","type":"long"},{"name":"base","type":"Base"}"#;
    for fields in [r#"{"name":"base","type":"Base"}"#, more] {
        let body = json!({"schema": record("Order", fields), "references": references});
        peer.register("orders-value", body).await;
    }
    for schema in ["\"int\"", "\"long\"", "\"double\""] {
        peer.register("numbers", json!({"schema": schema})).await;
    }
    peer.send(Method::DELETE, "/subjects/numbers/versions/2", json!({})).await;
    peer.register("also", json!({"schema": "\"long\""})).await;
    peer.register("strict", json!({"schema": "\"string\""})).await;
    peer.set_level("/strict", "BACKWARD_TRANSITIVE").await;
    peer.register("again", json!({"schema": SPACED})).await;
    peer.set_level("", "FULL").await;
}

fn import(from: &Api, daemon: &Daemon, more: &[&str]) -> Output {
    run(&[&["schema", "import", "--from", &from.url, "--url", &daemon.url], more].concat())
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn export(daemon: &Daemon) -> String {
    let output = daemon.command(&["schema", "export"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    said(&output)
}

async fn is_taken_over(peer: &Api, ours: &Api) {
    for subject in SUBJECTS {
        let (live, mut versions) = peer.subject(subject).await;
        for version in versions.iter_mut().filter(|version| version[0][3] == SPACED) {
            version[0][3] = json!("\"double\"");
        }
        assert_eq!(ours.subject(subject).await, (live, versions.clone()));
        for version in versions {
            let path = format!("/schemas/ids/{}", version[0][0]);
            assert_eq!(ours.get(&path).await["schema"], version[0][3], "{path}");
        }
        let own = ours.find(&format!("/config/{subject}")).await;
        let level = (subject == "strict").then_some("BACKWARD_TRANSITIVE");
        assert_eq!(own, level.map(|level| json!({"compatibilityLevel": level})), "{subject}");
    }
    assert_eq!(ours.get("/config").await, peer.get("/config").await);
    let read = Command::new(variable("TIDEMESH_TEST_PYTHON"))
        .args(["-c", FRAMED, &peer.url, &ours.url])
        .output()
        .unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let latest = ours.get("/subjects/orders-value/versions/latest").await;
    assert_eq!(said(&read).trim(), latest["id"].to_string());
}

/// What the peer has that cannot be carried is told, and everything else is taken.
async fn the_rest_is_told(peer: &Api, folder: &Path) {
    let proto = r#"syntax = "proto3"; message A { int32 a = 1; }"#;
    peer.register("odd-proto", json!({"schemaType": "PROTOBUF", "schema": proto})).await;
    peer.set_level("/odd-proto", "FULL").await;
    peer.register("odd-gone", json!({"schema": "\"bytes\""})).await;
    peer.send(Method::DELETE, "/subjects/odd-gone", json!({})).await;
    peer.register("odd-last", json!({"schema": "\"boolean\""})).await;
    let daemon = registry(folder, "second").await;
    let output = import(peer, &daemon, &["--prefix", "odd-"]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let lines: Vec<&str> = told.lines().collect();
    assert!(
        lines[0].starts_with("odd-gone version 1 is listed")
            && lines[0].contains("register a version")
    );
    assert!(
        lines[1].starts_with("odd-proto version 1 is left out") && lines[1].contains("AVRO only")
    );
    assert_eq!(lines[2..], ["2 versions, 2 differences"]);
    let subjects = Api::new(&daemon.registry).get("/subjects?deleted=true").await;
    assert_eq!(
        subjects,
        json!(["odd-last"]),
        "the prefix is kept to, which the peer does not know"
    );

    // The remedy that is told for the deleted subject.
    peer.register("odd-gone", json!({"schema": "\"float\""})).await;
    let told = said(&import(peer, &daemon, &["--prefix", "odd-"]));
    assert_eq!(told.lines().last(), Some("4 versions, 1 differences"), "{told}");
    let found = Api::new(&daemon.registry).get("/subjects/odd-gone/versions/1?deleted=true").await;
    assert_eq!(found["schema"], "\"bytes\"");
}

async fn registry(folder: &Path, name: &str) -> Daemon {
    let folder = folder.join(name);
    std::fs::create_dir(&folder).unwrap();
    let config = "registry.listen = \"127.0.0.1:0\"\n";
    Daemon::start(&folder, config, &["registry", "--control", "127.0.0.1:0"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn apicurio_is_taken_over_and_what_cannot_be_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let peer = Api::peer().await;
    fill(&peer).await;
    let daemon = registry(folder.path(), "first").await;
    let ours = Api::new(&daemon.registry);
    let mut exports = Vec::new();
    for _ in 0..2 {
        let output = import(&peer, &daemon, &[]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}{error}", said(&output));
        assert_eq!(said(&output), "9 versions, 0 differences\n");
        assert!(error.contains("tells the level NONE of 5 subjects"), "{error}");
        is_taken_over(&peer, &ours).await;
        exports.push(export(&daemon));
    }
    assert_eq!(exports[0], exports[1], "a repeated import changes nothing");
    the_rest_is_told(&peer, folder.path()).await;
}
