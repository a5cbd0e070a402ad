//! What a processor says of itself.

use serde_json::{Map, Value as Json, json};
use tidemesh_avro::schema::Schema;
use tidemesh_model::{Error, ErrorKind, Result};

/// A processor's name and version, what it takes and what it makes: what a `Processor` document says.
///
/// The version rises with each change of what it declares or of what it computes, so that pipelines are
/// upgraded by naming it.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    pub(crate) name: String,
    pub(crate) version: u64,
    description: Option<String>,
    inputs: Vec<(String, Json)>,
    output: Json,
    key: Vec<String>,
    config_schema: Option<Json>,
}

impl Declaration {
    /// A type of this name and version, 1 or more: `fraud-score@2`.
    #[must_use]
    pub fn new(name: &str, version: u64) -> Self {
        Self {
            name: name.to_owned(),
            version,
            description: None,
            inputs: Vec::new(),
            output: Json::Null,
            key: Vec::new(),
            config_schema: None,
        }
    }

    /// Says what it does, for people.
    #[must_use]
    pub fn description(mut self, text: &str) -> Self {
        self.description = Some(text.to_owned());
        self
    }

    /// Adds an input of rows that can be read with this Avro schema. A pipeline names its inputs in the
    /// order in which they are added. Of rows with a key all fields but the key's have to take null.
    #[must_use]
    pub fn input(mut self, name: &str, schema: Json) -> Self {
        self.inputs.push((name.to_owned(), schema));
        self
    }

    /// Says what it makes: rows of this Avro schema, with the fields of their key; none for events.
    #[must_use]
    pub fn output(mut self, schema: Json, key: &[&str]) -> Self {
        self.output = schema;
        self.key = key.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Says what configurations it takes, as a JSON Schema; without one it takes none.
    #[must_use]
    pub fn config_schema(mut self, schema: Json) -> Self {
        self.config_schema = Some(schema);
        self
    }

    /// The `Processor` document that declares the same, as JSON, which is YAML too.
    #[must_use]
    pub fn document(&self) -> Json {
        let input = |(name, schema): &(String, Json)| json!({"name": name, "schema": schema});
        let inputs: Vec<Json> = self.inputs.iter().map(input).collect();
        let mut output = json!({"schema": self.output});
        if !self.key.is_empty() {
            output["key"] = json!(self.key);
        }
        let mut spec = Map::new();
        spec.insert("version".into(), json!(self.version));
        if let Some(text) = &self.description {
            spec.insert("description".into(), json!(text));
        }
        spec.insert("inputs".into(), json!(inputs));
        spec.insert("output".into(), output);
        if let Some(schema) = &self.config_schema {
            spec.insert("config_schema".into(), schema.clone());
        }
        let metadata = json!({"name": self.name});
        json!({"apiVersion": "tidemesh/v1", "kind": "Processor", "metadata": metadata, "spec": spec})
    }

    /// Its name and version.
    pub(crate) fn reference(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    pub(crate) fn input_schemas(&self) -> Result<Vec<(String, Schema)>> {
        let schema = |(name, json): &(String, Json)| Ok((name.clone(), self.schema(json)?));
        self.inputs.iter().map(schema).collect()
    }

    pub(crate) fn output_schema(&self) -> Result<Schema> {
        self.schema(&self.output)
    }

    pub(crate) fn key(&self) -> &[String] {
        &self.key
    }

    fn schema(&self, json: &Json) -> Result<Schema> {
        Schema::parse(&json.to_string()).map_err(|error| {
            Error::new(ErrorKind::Config, "read a processor's declaration")
                .with("processor", self.reference())
                .caused_by(error)
        })
    }

    /// Checks it as a document.
    pub(crate) fn check(&self) -> Result<()> {
        match tidemesh_plan::document::parse(&self.document().to_string()) {
            Ok(_) => Ok(()),
            Err(problems) => Err(Error::new(ErrorKind::Config, "register a processor")
                .because(problems.to_string())
                .with("processor", self.reference())),
        }
    }
}
