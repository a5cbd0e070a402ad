//! The `tidemesh` binary: one subcommand a role, and the command line that talks to them.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidemesh::Daemon::new().run()
}
