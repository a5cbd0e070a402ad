//! What `tidemesh render` writes, as systemd and the schemas of Kubernetes' API take it, and as
//! `tidemesh` itself reads it.

use crate::pipelines::pipeline;
use crate::support::daemon::run;
use crate::support::postgres::variable;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {name: shop}\nspec:\n  postgres:\n    \
                      database: shop\n    user: capture\n    tables: [public.orders]\n";

const MYSQL: &str = "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {name: bookings}\nspec:\n  mysql:\n    \
                     user: capture\n    tables: [booking.guests]\n";

const CONFIG: &str = "registry.url = \"http://registry.example:8081\"\n[kafka]\nbootstrap_servers = \
                      \"kafka.example:9092\"\n[kafka.sasl]\nmechanism = \"scram-sha-512\"\nusername = \
                      \"mesh\"\n";

struct Site(tempfile::TempDir);

impl Site {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("mesh.toml"), config).unwrap();
        let sql = "SELECT id, qty FROM rows";
        let paid = pipeline("paid", "shop.public.orders", sql);
        let large = pipeline("Large_ones", "mesh.paid", sql);
        let documents = [SOURCE, MYSQL, &paid, &large].join("---\n");
        std::fs::write(folder.path().join("mesh.yaml"), documents).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Renders; answers the exit code, and what was said.
    fn render(&self, more: &[&str]) -> (Option<i32>, String) {
        let path = |name: &str| self.file(name).display().to_string();
        let (config, documents, out) = (path("mesh.toml"), path("mesh.yaml"), path("out"));
        let given = ["render", "--config", &config, "-f", &documents, "--out", &out];
        let output = run(&[&given, more].concat());
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    fn rendered(&self, more: &[&str]) -> BTreeMap<String, String> {
        let (code, said) = self.render(more);
        assert_eq!(code, Some(0), "{said}");
        let entries =
            std::fs::read_dir(self.file("out")).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        entries.map(|path| (name(&path), std::fs::read_to_string(&path).unwrap())).collect()
    }
}

fn objects(text: &str) -> Vec<Json> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    documents.map(|document| serde::Deserialize::deserialize(document).unwrap()).collect()
}

#[test]
fn kubernetes_takes_the_manifests() {
    let site = Site::new(CONFIG);
    let files = site.rendered(&["--for", "kubernetes", "--image", "registry.example/tidemesh:1"]);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected = [
        "config.yaml",
        "connector-bookings.yaml",
        "connector-shop.yaml",
        "network-policy.yaml",
        "pipeline-large-ones.yaml",
        "pipeline-paid.yaml",
        "tidemesh-controller.yaml",
    ];
    assert_eq!(names, expected);
    let validate = variable("TIDEMESH_TEST_KUBERNETES_VALIDATE");
    let paths = names.iter().map(|name| site.file("out").join(name));
    let output = Command::new(validate).arg("--strict").args(paths).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{said}");

    let all: Vec<Json> = files.values().flat_map(|text| objects(text)).collect();
    let mut containers = 0;
    for object in &all {
        let container = &object["spec"]["template"]["spec"]["containers"][0];
        if container.is_null() {
            continue;
        }
        containers += 1;
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let path = container[probe]["httpGet"]["path"].as_str().unwrap();
            assert!(path.starts_with("/health"), "{probe}: {path}");
        }
        assert!(container["resources"]["limits"]["memory"].is_string());
        assert!(container["envFrom"][1]["secretRef"]["name"].is_string());
        assert_eq!(container["image"], "registry.example/tidemesh:1");
        let (of, labels) =
            (&object["spec"]["selector"]["matchLabels"], &object["spec"]["template"]);
        assert_eq!(of, &labels["metadata"]["labels"]);
    }
    assert_eq!(containers, 5);
    let config = all.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    let of = |name: &str| config["data"][name].as_str().unwrap().parse::<toml::Table>().unwrap();
    let controller = of("controller.toml");
    assert_eq!(controller["controller"]["runtime"].as_str(), Some("external"));
    assert_eq!(controller["controller"]["sources"][0].as_str(), Some("shop"));
    let source = &of("connector-shop.toml")["source"][0];
    assert_eq!(source["postgres"]["user"].as_str(), Some("capture"));
    let source = &of("connector-bookings.toml")["source"][0];
    assert_eq!(source["mysql"]["user"].as_str(), Some("capture"));
    for connector in ["connector mysql", "connector postgres"] {
        let has = |object: &Json| {
            let arguments = &object["spec"]["template"]["spec"]["containers"][0]["args"];
            let words: Vec<&str> =
                arguments.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
            words.join(" ").starts_with(connector)
        };
        assert_eq!(all.iter().filter(|object| has(object)).count(), 1, "{connector}");
    }
}

#[test]
fn systemd_takes_the_units() {
    let site = Site::new(CONFIG);
    // It looks for what a unit starts.
    let program = env!("CARGO_BIN_EXE_tidemesh");
    let files = site.rendered(&["--for", "systemd", "--program", program]);
    let units = files.keys().filter(|name| name.ends_with(".service") || name.ends_with(".target"));
    let units: Vec<PathBuf> = units.map(|name| site.file("out").join(name)).collect();
    assert_eq!(units.len(), 6);
    let output = Command::new("systemd-analyze").arg("verify").args(&units).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    // It tells of the machine's own units too.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("tidemesh")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
    for (source, connector) in [("shop", "postgres"), ("bookings", "mysql")] {
        let unit = &files[&format!("tidemesh-connector-{source}.service")];
        assert!(unit.contains(&format!(" connector {connector} --config ")), "{unit}");
    }
    let unit = &files["tidemesh-pipeline-Large_ones.service"];
    for line in
        ["/health/live", "MemoryMax=", "EnvironmentFile=-/etc/tidemesh/tidemesh-pipeline-Large"]
    {
        assert!(unit.contains(line), "{line} in {unit}");
    }
    let port = |unit: &str| {
        let line = files[unit].lines().find(|line| line.contains("CONTROL__LISTEN"));
        line.unwrap().rsplit(':').next().unwrap().to_owned()
    };
    assert_ne!(port("tidemesh-pipeline-paid.service"), port("tidemesh-connector-shop.service"));
}

#[test]
fn what_cannot_be_rendered_is_refused_with_what_to_do() {
    for (config, target, says) in [
        (
            "kafka.bootstrap_servers = \"k:9\"\nkafka.sasl.mechanism = \"plain\"\nkafka.sasl.username = \
          \"a\"\nkafka.sasl.password = \"hush\"",
            "systemd",
            "TIDEMESH__KAFKA__SASL__PASSWORD",
        ),
        ("", "kubernetes", "add [kafka]"),
        ("data.url = \"tcp://log:8092\"", "kubernetes", "add registry.url"),
        ("data.ulr = \"tcp://log:8092\"", "kubernetes", "ulr"),
    ] {
        let (code, said) = Site::new(config).render(&["--for", target]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(says) && !said.contains("hush"), "{said}");
    }
    let (code, said) = Site::new(CONFIG).render(&["--for", "systemd", "--program", "a program"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--program"), "{said}");
    let long = "kafka.bootstrap_servers = \"k:9\"\nregistry.url = \"http://r:1\"";
    let site = Site::new(long);
    let name = "a".repeat(60);
    let text = pipeline(&name, "shop.public.orders", "SELECT id FROM rows");
    std::fs::write(site.file("mesh.yaml"), text).unwrap();
    let (code, said) = site.render(&["--for", "kubernetes"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("shorter name"), "{said}");
}
