//! The types that a binary has registered.

use super::{Batch, Declaration, Output, Processor};
use serde::Deserialize as _;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};

/// Registered types, by name and version. A copy costs nothing.
#[derive(Clone, Default)]
pub struct Processors {
    types: BTreeMap<(String, u64), Arc<dyn Factory>>,
}

impl fmt::Debug for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Processors {
    /// No types.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a type.
    ///
    /// # Errors
    ///
    /// `Config` for a declaration that no `Processor` document could have; `Conflict` if a type of its
    /// name and version is registered already.
    pub fn register<P: Processor>(&mut self) -> Result<&mut Self> {
        let declaration = P::declaration();
        declaration.check()?;
        let name = (declaration.name.clone(), declaration.version);
        if self.types.contains_key(&name) {
            return Err(Error::new(ErrorKind::Conflict, "register a processor")
                .because("there is one of its name and version already")
                .with("processor", declaration.reference())
                .help("give it another version"));
        }
        self.types.insert(name, Arc::new(Of { declaration, of: PhantomData::<fn() -> P> }));
        Ok(self)
    }

    /// The `Processor` documents that declare the types, as JSON text, which is YAML too. A set of
    /// documents needs them for a plan.
    #[must_use]
    pub fn documents(&self) -> Vec<String> {
        self.types.values().map(|of| of.declaration().document().to_string()).collect()
    }

    /// The types' names, as documents have them: `fraud-score@2`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.types.values().map(|of| of.declaration().reference()).collect()
    }

    pub(crate) fn find(&self, name: &str, version: u64) -> Result<Arc<dyn Factory>> {
        let found = self.types.get(&(name.to_owned(), version));
        found.cloned().ok_or_else(|| {
            // Not `NotFound`: a topic that is not there may come, and this will not.
            Error::new(ErrorKind::Config, "find a processor")
                .because("this binary has not registered it")
                .with("processor", format!("{name}@{version}"))
                .with("registered", self.names().join(", "))
                .help("run the pipeline by a binary that registers it with tidemesh::Daemon")
        })
    }
}

/// Makes processors of one type.
pub(crate) trait Factory: Send + Sync {
    fn declaration(&self) -> &Declaration;

    /// A processor of a configuration; none is an empty one.
    fn make(&self, config: Option<&Json>) -> Result<Box<dyn Process>>;
}

/// A processor, whatever its type.
pub(crate) trait Process: Send {
    fn process(&mut self, input: &Batch<'_>, output: &mut Output<'_>) -> Result<()>;
}

impl<P: Processor> Process for P {
    fn process(&mut self, input: &Batch<'_>, output: &mut Output<'_>) -> Result<()> {
        Processor::process(self, input, output)
    }
}

struct Of<P> {
    declaration: Declaration,
    of: PhantomData<fn() -> P>,
}

impl<P: Processor> Factory for Of<P> {
    fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    fn make(&self, config: Option<&Json>) -> Result<Box<dyn Process>> {
        let wrong = |error: serde_json::Error| {
            // Its message may repeat a value, which may be a secret.
            Error::new(ErrorKind::Config, "configure a processor")
                .because(format!("the configuration is not of its type ({:?})", error.classify()))
                .help("give its declaration a config_schema, by which documents are checked")
        };
        let nothing = json!({});
        let made = P::Config::deserialize(config.unwrap_or(&nothing)).map_err(wrong);
        let made = made.and_then(|config| guarded(|| P::new(config)));
        let made = made.map_err(|error| error.with("processor", self.declaration.reference()))?;
        Ok(Box::new(made))
    }
}

/// Runs code of a processor's: a panic is an error. Why, the panic's message says, which stands in the log
/// and may tell values.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unsupported, "run a processor")
            .because("its code panicked: the standard error output tells where"))
    })
}
