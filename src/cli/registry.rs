//! `tidemesh registry`: the registry alone, and hashes of passwords for its users' file; and as whom the
//! other commands come to a registry.

use crate::config::RegistryRole;
use clap::{Args, Subcommand};
use std::io::BufRead;
use std::net::SocketAddr;
use std::path::PathBuf;
use tidemesh_model::{Error, ErrorKind, Result, Secret};
use tidemesh_schema_registry::{RegistryConfig, hash_password};
use tidemesh_transport::{RegistryAccess, RegistryLogin};

/// The longest line that is read for a password, its end included.
const LINE_BYTES_MAX: u64 = 4 * 1024;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct RegistryArgs {
    #[command(subcommand)]
    command: Option<RegistryCommand>,
    /// The TOML file. Without one, --listen and --store say all.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "store", "insecure"])]
    config: Option<PathBuf>,
    /// Where it listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// Lets others reach it: without a file it has no TLS and asks nobody who they are.
    #[arg(long)]
    insecure: bool,
    /// Where its health and metrics are served; nowhere unless it is given.
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
    /// Its store, as sqlite:FILE or postgresql://USER@HOST/DATABASE. A password belongs into --config or
    /// the environment.
    #[arg(long, value_name = "STORE", required_unless_present = "config")]
    store: Option<String>,
}

#[derive(Debug, Subcommand)]
enum RegistryCommand {
    /// Read a password from standard input and print its hash, for the users' file.
    #[command(after_help = "Example:\n  tidemesh registry hash-password < password.txt")]
    HashPassword,
}

/// Runs the command.
pub(super) async fn run(args: RegistryArgs) -> Result<()> {
    if let Some(RegistryCommand::HashPassword) = args.command {
        let hash = hash_password(password(std::io::stdin().lock())?.expose())?;
        return super::client::print_line(&hash);
    }
    let control = args.control;
    crate::daemon::registry(role(args)?, control).await
}

/// The first line, without its end.
fn password(input: impl BufRead) -> Result<Secret> {
    let mut line = String::new();
    // The cause would name bytes of what was read.
    let read = input.take(LINE_BYTES_MAX).read_line(&mut line).map_err(|_| {
        Error::new(ErrorKind::Config, "read a password").because("the first line is no UTF-8")
    });
    read.map(|_| Secret::new(line.trim_end_matches(['\n', '\r'])))
}

fn role(args: RegistryArgs) -> Result<RegistryRole> {
    match (args.config, args.store) {
        (Some(file), _) => super::read(&file)?.registry(),
        (None, Some(store)) => {
            let mut config = RegistryConfig::new(store.parse()?);
            config.listen = args.listen;
            config.security.insecure = args.insecure;
            config.security.check(config.listen)?;
            Ok(RegistryRole { config, log: None })
        }
        (None, None) => Err(Error::new(ErrorKind::Config, "run the registry")
            .because("neither --config nor --store is given")),
    }
}

/// As whom a command comes to a registry. Passwords and tokens come from files or the environment.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Log-in to a registry")]
pub(super) struct RegistryAuth {
    /// Certificates, as PEM, that its certificate is checked against; else the system's.
    #[arg(long, value_name = "FILE", env = "TIDEMESH_REGISTRY_CA_FILE")]
    registry_ca_file: Option<PathBuf>,
    /// The user; the password is in --registry-password-file or TIDEMESH_REGISTRY_PASSWORD.
    #[arg(long, value_name = "NAME", env = "TIDEMESH_REGISTRY_USERNAME")]
    registry_username: Option<String>,
    /// A file whose first line is the password.
    #[arg(long, value_name = "FILE", env = "TIDEMESH_REGISTRY_PASSWORD_FILE")]
    registry_password_file: Option<PathBuf>,
    /// A file whose first line is a bearer token; or set TIDEMESH_REGISTRY_TOKEN.
    #[arg(long, value_name = "FILE", env = "TIDEMESH_REGISTRY_TOKEN_FILE")]
    registry_token_file: Option<PathBuf>,
}

impl RegistryAuth {
    /// Whom to trust, and nothing of who we are.
    pub(super) fn trust(&self) -> RegistryAccess {
        RegistryAccess { ca_file: self.registry_ca_file.clone(), ..RegistryAccess::default() }
    }

    /// Whether anything is said of who we are.
    pub(super) fn has_login(&self) -> bool {
        self.registry_username.is_some()
            || self.registry_token_file.is_some()
            || std::env::var_os("TIDEMESH_REGISTRY_TOKEN").is_some()
    }

    /// With who we are.
    pub(super) fn access(&self) -> Result<RegistryAccess> {
        let secret = |name: &str| std::env::var(name).ok().map(Secret::new);
        let login = match (&self.registry_username, &self.registry_token_file) {
            (Some(name), _) => Some(RegistryLogin::Password(name.clone(), self.password()?)),
            (None, Some(file)) => Some(RegistryLogin::TokenFile(file.clone())),
            (None, None) => secret("TIDEMESH_REGISTRY_TOKEN").map(RegistryLogin::Token),
        };
        Ok(RegistryAccess { login, ..self.trust() })
    }

    fn password(&self) -> Result<Secret> {
        let Some(file) = &self.registry_password_file else {
            return std::env::var("TIDEMESH_REGISTRY_PASSWORD").map(Secret::new).map_err(|_| {
                Error::new(ErrorKind::Config, "log in to the registry")
                    .because("there is a user and no password")
                    .help("set TIDEMESH_REGISTRY_PASSWORD or --registry-password-file")
            });
        };
        let unread = |error| {
            Error::new(ErrorKind::Config, "log in to the registry")
                .because("the password's file cannot be read")
                .with("file", file.display())
                .caused_by(error)
        };
        password(std::io::BufReader::new(std::fs::File::open(file).map_err(unread)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_without_its_end() {
        for (text, expected) in [("hush", "hush"), ("hush\n", "hush"), ("a b \r\nmore", "a b ")] {
            assert_eq!(password(text.as_bytes()).unwrap().expose(), expected);
        }
        password(&b"\xff\n"[..]).unwrap_err();
    }
}
