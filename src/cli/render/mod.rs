//! `tidemesh render`: a mesh as processes of systemd or Kubernetes.
//!
//! `mesh` is what is to run, with each process's configuration; `systemd` and `kubernetes` make files of
//! it. Secrets are in none of them: processes have them from the environment.

mod kubernetes;
mod mesh;
mod secrets;
mod systemd;

use super::client::print_line;
use clap::{Args, ValueEnum};
use mesh::Mesh;
use std::path::{Path, PathBuf};
use tidemesh_model::{Error, ErrorKind, Result};

/// The most memory that a process may take, in MiB: twice the bounds of its queues and tables.
const MEMORY_MAX_MIB: u64 = 1024;

/// How long a process may take to end, in seconds: a job's end takes at most 30.
const STOP_MAX_S: u64 = 45;

#[derive(Debug, Args)]
pub(super) struct RenderArgs {
    /// For what.
    #[arg(long = "for", value_name = "TARGET")]
    target: Target,
    /// A file of documents, YAML or JSON, or a folder of such files; `-` reads the standard input. May
    /// be given again.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The TOML file with what all processes have: `[kafka]` or `data.url`, `registry.url`,
    /// `[controller]`. No secret may be in it.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The folder that files are written to; made if it is missing.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// For kubernetes: the image.
    #[arg(long, value_name = "IMAGE", default_value = concat!("tidemesh:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// For systemd: the program.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/tidemesh")]
    program: String,
    /// For systemd: the first control port; each process but the controller takes the next one.
    #[arg(long, value_name = "PORT", default_value_t = 8100)]
    port: u16,
}

/// What runs the processes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Target {
    /// Units of systemd.
    Systemd,
    /// Manifests of Kubernetes.
    Kubernetes,
}

/// A file to write.
#[derive(Debug)]
struct Rendered {
    name: String,
    text: String,
}

/// Files, and what else is to be done, a line each.
#[derive(Debug)]
struct Rendering {
    files: Vec<Rendered>,
    to_do: Vec<String>,
}

pub(super) fn run(args: &RenderArgs) -> Result<()> {
    let mesh = Mesh::read(&args.config, &super::mesh::texts(&args.files)?)?;
    let rendering = match args.target {
        Target::Systemd => systemd::render(&mesh, &args.program, args.port)?,
        Target::Kubernetes => kubernetes::render(&mesh, &args.image)?,
    };
    std::fs::create_dir_all(&args.out).map_err(|error| unwritten(&args.out, error))?;
    for Rendered { name, text } in &rendering.files {
        let file = args.out.join(name);
        std::fs::write(&file, text).map_err(|error| unwritten(&file, error))?;
        print_line(&format!("wrote {}", file.display()))?;
    }
    rendering.to_do.iter().try_for_each(|line| print_line(line))
}

fn unwritten(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Storage, "write what was rendered")
        .with("path", path.display())
        .caused_by(error)
}
