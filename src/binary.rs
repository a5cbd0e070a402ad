//! The whole command line as a library.

use crate::cli::{Cli, run};
use crate::telemetry;
use clap::Parser;
use std::process::ExitCode;
use tidemesh_model::Result;
use tidemesh_processors::sdk::{Processor, Processors};

/// The `tidemesh` command line with processors of one's own: what a `main` of one's own runs.
///
/// ```no_run
/// # use tidemesh::sdk::{Batch, Declaration, NoConfig, Output, Processor};
/// # struct FraudScore;
/// # impl Processor for FraudScore {
/// #     type Config = NoConfig;
/// #     fn declaration() -> Declaration { Declaration::new("fraud-score", 1) }
/// #     fn new(_: NoConfig) -> tidemesh::sdk::Result<Self> { Ok(Self) }
/// #     fn process(&mut self, _: &Batch<'_>, _: &mut Output<'_>) -> tidemesh::sdk::Result<()> { Ok(()) }
/// # }
/// fn main() -> tidemesh::sdk::Result<std::process::ExitCode> {
///     Ok(tidemesh::Daemon::new().register::<FraudScore>()?.run())
/// }
/// ```
///
/// Its `tidemesh up` knows the types without a `Processor` document. It may be run with any subcommand;
/// those that talk to a daemon do so with that of another binary too.
#[derive(Debug, Clone, Default)]
pub struct Daemon {
    processors: Processors,
}

impl Daemon {
    /// Without processors in Rust: `tidemesh` itself.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has pipelines name this processor: `fraud-score@1`, as it declares itself.
    ///
    /// # Errors
    ///
    /// `Config` for a declaration that is wrong; `Conflict` if one of its name and version is registered.
    pub fn register<P: Processor>(mut self) -> Result<Self> {
        self.processors.register::<P>()?;
        Ok(self)
    }

    /// Runs the command that the process's arguments name, to its end; what keeps it from being done goes
    /// to standard error. To be called once, by `main`: it installs the logs, handles signals, and ends the
    /// process where arguments are wrong.
    ///
    /// Its threads are as many as the machine has cores.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let cli = Cli::parse();
        telemetry::install_logs();
        crate::memory::give_back_large_buffers();
        #[cfg(feature = "failpoints")]
        crate::failpoints::arm();
        // The provider that every TLS connection uses; if the binary has installed one, that one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(run(cli, self.processors)),
            Err(error) => {
                eprintln!("tidemesh: cannot start: {error}");
                return ExitCode::from(2);
            }
        };
        result.unwrap_or_else(|error| {
            eprintln!("tidemesh: {}", error.report());
            ExitCode::from(2)
        })
    }
}
