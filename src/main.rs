//! The `tidemesh` binary: one subcommand a role, and the command line that talks to them.

use clap::Parser;
use std::process::ExitCode;
use tidemesh::cli::{Cli, run};

/// A source has many small batches and one or two busy tasks: two workers and no more, so that the
/// process stays small beside the database.
fn main() -> ExitCode {
    let cli = Cli::parse();
    tidemesh::telemetry::install_logs();
    #[cfg(feature = "failpoints")]
    tidemesh::failpoints::arm();
    // The provider that every TLS connection uses; a second one cannot be there yet.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => {
            eprintln!("tidemesh: cannot start: {error}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tidemesh: {}", error.report());
            ExitCode::from(2)
        }
    }
}
