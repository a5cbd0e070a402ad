//! House rules: who may import whom, where `unsafe` may be allowed, what the documentation must have.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tidemesh_model::{
    EmitSettings, MysqlSettings, PostgresSettings, SnapshotSettings, SourceSettings, TopicSettings,
};

/// Which of our packages each may import (`ARCHITECTURE.md`, "Imports").
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("avro", &["model"]),
    ("transport", &["model", "avro"]),
    ("plan", &["model", "avro"]),
    ("source", &["model", "avro", "transport"]),
    ("mysql", &["model", "source"]),
    ("postgres", &["model", "source"]),
    ("processors", &["model", "avro", "plan", "transport"]),
    ("store", &["model"]),
    ("http", &["model"]),
    ("schema-registry", &["model", "avro", "http", "store"]),
    ("controller", &["model", "avro", "plan", "store", "transport"]),
    ("emitter-macros", &["model", "avro"]),
    // The registry in its tests alone.
    ("emitter", &["model", "avro", "transport", "emitter-macros", "schema-registry"]),
    // Its tests have a registry in their process.
    ("emit-gateway", &["model", "avro", "transport", "http", "emitter", "schema-registry"]),
];

/// Files that may allow `unsafe_code`, each with a SAFETY comment.
const UNSAFE: &[&str] = &["src/memory.rs"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn manifest(folder: &Path) -> toml::Table {
    std::fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap()
}

/// Our packages by their names, with their manifests.
fn packages() -> BTreeMap<String, toml::Table> {
    let workspace = manifest(&root());
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let folders = members.iter().map(|member| root().join(member.as_str().unwrap()));
    folders
        .map(|folder| manifest(&folder))
        .map(|manifest| (manifest["package"]["name"].as_str().unwrap().to_owned(), manifest))
        .collect()
}

#[test]
fn every_package_imports_only_what_the_table_allows() {
    for (name, manifest) in packages() {
        let Some(short) = name.strip_prefix("tidemesh-") else { continue };
        let allowed = IMPORTS.iter().find(|(package, _)| *package == short);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{short} is not in the table"));
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(kind).and_then(toml::Value::as_table) else {
                continue;
            };
            for dependency in dependencies.keys() {
                if let Some(imported) = dependency.strip_prefix("tidemesh-") {
                    assert!(allowed.contains(&imported), "{short} must not import {imported}");
                }
            }
        }
    }
}

#[test]
fn every_package_takes_the_workspaces_lints() {
    for (name, manifest) in packages() {
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{name}");
    }
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if entry.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&entry, files);
        } else if name.ends_with(".rs") {
            files.push(entry);
        }
    }
}

#[test]
fn unsafe_is_allowed_only_where_the_list_says_so() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    assert!(files.len() > 50);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let allows = text.lines().any(|line| line.contains("allow(unsafe_") && line.contains('#'));
        let listed = UNSAFE.iter().any(|listed| file.ends_with(listed));
        assert!(!allows || listed || file.ends_with("tests/tidy.rs"), "{}", file.display());
    }
}

#[test]
fn only_the_root_package_reads_the_environment_and_exits() {
    let mut files = Vec::new();
    for folder in ["common", "connectors", "schema-registry/src"] {
        rust_files(&root().join(folder), &mut files);
    }
    // Tests hear of their servers by the environment.
    files.retain(|file| !file.components().any(|part| part.as_os_str() == "tests"));
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for forbidden in ["std::env::var", "env::vars(", "process::exit"] {
            assert!(!text.contains(forbidden), "{} has {forbidden}", file.display());
        }
    }
}

#[test]
fn the_compose_file_pins_its_images_and_keeps_to_loopback() {
    let text = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    let compose: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap();
    let services = compose["services"].as_mapping().unwrap();
    assert!(!services.is_empty());
    for (name, service) in services {
        let image = service["image"].as_str().unwrap();
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
        assert!(tag.chars().next().is_some_and(|c| c.is_ascii_digit()), "{name:?}: {image}");
        assert!(service["healthcheck"]["test"].is_sequence(), "{name:?} has no health check");
        for port in service["ports"].as_sequence().unwrap() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name:?}: {port:?}");
        }
    }
}

/// The keys of a table of settings, as its own refusal of another one lists them.
fn keys<T: serde::de::DeserializeOwned>() -> Vec<String> {
    let Err(error) = serde_json::from_value::<T>(serde_json::json!({"?": 0})) else {
        panic!("unknown keys are not refused");
    };
    let text = error.to_string();
    let quoted = text.split('`').skip(1).step_by(2).map(str::to_owned);
    quoted.filter(|key| key != "?").collect()
}

/// Each key stands in a table of the connector's page.
fn documented(page: &str, connector: Vec<String>) {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let nested = [
        ("emit.", keys::<EmitSettings>()),
        ("snapshot.", keys::<SnapshotSettings>()),
        ("topics.", keys::<TopicSettings>()),
        ("", connector),
        ("", keys::<SourceSettings>()),
    ];
    let tables = ["emit", "outbox", "snapshot", "topics", "postgres", "mysql"];
    let mut seen = 0;
    for (prefix, keys) in nested {
        for key in keys.iter().filter(|key| !tables.contains(&key.as_str())) {
            let row = format!("`{prefix}{key}`");
            let is_there = text.lines().any(|line| line.starts_with('|') && line.contains(&row));
            assert!(is_there, "{row} is in no table of {page}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn every_option_of_a_source_is_documented() {
    documented("docs/connectors/postgres.md", keys::<PostgresSettings>());
    documented("docs/connectors/mysql.md", keys::<MysqlSettings>());
}

#[test]
fn every_alert_says_what_is_wrong_and_what_to_do() {
    let text = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let anchors: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(|heading| format!("docs/operations.md#{}", heading.to_lowercase().replace(' ', "-")))
        .collect();
    let file = root().join("operations/prometheus/tidemesh.rules.yml");
    let rules: serde_yaml_ng::Value =
        serde_yaml_ng::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let groups = rules["groups"].as_sequence().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap());
    let mut alerts = 0;
    for rule in rules.filter(|rule| rule.get("alert").is_some()) {
        let name = rule["alert"].as_str().unwrap();
        let said = |what: &str| rule["annotations"][what].as_str().unwrap_or_default().to_owned();
        assert!(!said("summary").is_empty() && !said("description").is_empty(), "{name}");
        assert!(anchors.contains(&said("runbook")), "{name}: {} is no heading", said("runbook"));
        assert!(text.contains(&format!("`{name}`")), "{name} is not in docs/operations.md");
        assert!(rule["labels"]["severity"].is_string(), "{name}");
        alerts += 1;
    }
    assert!(alerts >= 8, "{alerts}");
}
