//! What is to run: a controller, pipelines and connectors, and the configuration of each.

use super::secrets::no_secrets;
use crate::config;
use std::path::Path;
use tidemesh_controller::Text;
use tidemesh_model::{Error, ErrorKind, Result, SourceSettings};
use tidemesh_plan::document::{self, Document, SourceSpec, Spec};
use toml::{Table, Value};

/// Where processes keep what they have to keep.
pub(super) const DATA_DIR: &str = "/var/lib/tidemesh";

/// All that is to run.
#[derive(Debug)]
pub(super) struct Mesh {
    /// What all processes have.
    base: Table,
    /// What the controller has beside it.
    controller: Table,
    /// The pipelines' names.
    pub(super) pipelines: Vec<String>,
    /// The connectors.
    pub(super) sources: Vec<SourceSettings>,
}

/// Where processes listen.
pub(super) struct Place {
    /// The controller's control port.
    pub(super) control: &'static str,
    /// The data port of a process over Kafka.
    pub(super) data: &'static str,
    /// Where others reach the controller.
    pub(super) controller_url: &'static str,
}

impl Mesh {
    /// Reads a configuration and documents.
    ///
    /// # Errors
    ///
    /// `Config` for what is wrong with either, or a secret in the configuration.
    pub(super) fn read(file: &Path, texts: &[Text]) -> Result<Self> {
        // The environment here is not that of the processes.
        let raw = config::read(file, std::iter::empty())?;
        if !raw.source.is_empty() {
            return Err(wrong("source: connectors are rendered from documents")
                .help("write each as a document of the kind Source"));
        }
        let text = std::fs::read_to_string(file).map_err(|error| {
            wrong("it cannot be read").with("file", file.display()).caused_by(error)
        })?;
        let mut base: Table = text.parse().map_err(|error: toml::de::Error| {
            wrong(error.message().to_owned()).with("file", file.display())
        })?;
        no_secrets("", &Value::Table(base.clone()))?;
        let controller = match base.remove("controller") {
            Some(Value::Table(table)) => table,
            _ => Table::new(),
        };
        base.remove("control");
        base.insert("data_dir".into(), DATA_DIR.into());
        let mut mesh = Self { base, controller, pipelines: Vec::new(), sources: Vec::new() };
        documents(texts)?.into_iter().for_each(|document| mesh.add(document));
        Ok(mesh)
    }

    fn add(&mut self, document: Document) {
        match document.spec {
            Spec::Pipeline(_) => self.pipelines.push(document.metadata.name),
            Spec::Source(SourceSpec::Connector { settings, .. }) => self.sources.push(*settings),
            Spec::Source(SourceSpec::Pipeline { .. } | SourceSpec::Topic { .. })
            | Spec::Processor(_)
            | Spec::Alert(_) => {}
        }
    }

    /// Whether its processes find log and registry from another machine.
    ///
    /// # Errors
    ///
    /// `Config`, naming what is to be said.
    pub(super) fn check_reachable(&self) -> Result<()> {
        let has = |table: &str| self.base.get(table).and_then(Value::as_table);
        let url = |table: &str| has(table).is_some_and(|table| table.contains_key("url"));
        if has("kafka").is_none() && !url("data") {
            return Err(wrong("processes in containers do not find the log")
                .help("add [kafka], or data.url with the address of the daemon that holds it"));
        }
        if !url("registry") {
            return Err(
                wrong("processes in containers do not find the registry").help("add registry.url")
            );
        }
        Ok(())
    }

    /// The controller's configuration.
    pub(super) fn controller_file(&self, place: &Place) -> String {
        let mut controller = self.controller.clone();
        controller.insert("runtime".into(), "external".into());
        controller.entry("url").or_insert_with(|| place.controller_url.into());
        let names = self.sources.iter().map(|source| Value::from(source.name.as_str()));
        let known = controller.entry("sources").or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(known) = known {
            let new: Vec<Value> = names.filter(|name| !known.contains(name)).collect();
            known.extend(new);
        }
        self.written(place, |table| {
            table.insert("controller".into(), controller.into());
        })
    }

    /// The configuration of all pipelines.
    pub(super) fn pipeline_file(&self, place: &Place) -> String {
        let url = self.controller.get("url").cloned();
        let url = url.unwrap_or_else(|| place.controller_url.into());
        self.written(place, |table| {
            table.insert("controller".into(), Table::from_iter([("url".into(), url)]).into());
        })
    }

    /// A connector's configuration.
    ///
    /// # Errors
    ///
    /// `Internal` for settings that TOML cannot hold.
    pub(super) fn connector_file(&self, place: &Place, source: &SourceSettings) -> Result<String> {
        let source = Value::try_from(source).map_err(|error| {
            Error::new(ErrorKind::Internal, "write a connector's configuration")
                .with("source", &source.name)
                .caused_by(error)
        })?;
        Ok(self.written(place, |table| {
            table.insert("source".into(), Value::Array(vec![source]));
        }))
    }

    fn written(&self, place: &Place, add: impl FnOnce(&mut Table)) -> String {
        let mut table = self.base.clone();
        let control = Table::from_iter([("listen".to_owned(), place.control.into())]);
        table.insert("control".into(), control.into());
        if table.contains_key("kafka") {
            let data = table.entry("data").or_insert_with(|| Table::new().into());
            if let Value::Table(data) = data {
                data.insert("listen".into(), place.data.into());
            }
        }
        add(&mut table);
        table.to_string()
    }
}

/// The subcommand of `tidemesh connector` for a source.
///
/// # Errors
///
/// `Internal` if its settings, which are checked when documents are read, have no connector's table.
pub(super) fn connector(source: &SourceSettings) -> Result<&'static str> {
    source.connector().ok_or_else(|| {
        Error::new(ErrorKind::Internal, "render a connector").with("source", &source.name)
    })
}

/// The variable that its connector has its password from, as the only source of its file.
pub(super) fn password_variable(source: &SourceSettings) -> String {
    let connector = source.connector().unwrap_or_default().to_uppercase();
    format!("TIDEMESH__SOURCE__0__{connector}__PASSWORD")
}

fn documents(texts: &[Text]) -> Result<Vec<Document>> {
    let mut all = Vec::new();
    for Text { name, text } in texts {
        let read = document::parse(text);
        all.extend(read.map_err(|problems| wrong(problems.to_string()).with("file", name))?);
    }
    document::check_together(&all).map_err(|problems| wrong(problems.to_string()))?;
    Ok(all)
}

pub(super) fn wrong(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, "render a mesh").because(why)
}
