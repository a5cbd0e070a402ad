//! What keeps a registry's port: certificate, users, tokens, grants, audit log, rates.

use std::net::SocketAddr;
use std::path::PathBuf;

use tidemesh_http::TlsConfig;
use tidemesh_model::{Error, ErrorKind, Result};

use super::audit::AuditConfig;
use super::rate::Rate;
use super::role::Grant;
use super::tokens::TokenConfig;

/// Settings of a registry's security. Without any of them everybody who reaches the port may do
/// everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityConfig {
    /// Whether others may reach a port that is not kept by TLS and by a log-in.
    pub insecure: bool,
    /// TLS on the port; none: in clear.
    pub tls: Option<TlsConfig>,
    /// The users' file.
    pub users_file: Option<PathBuf>,
    /// Which tokens are taken.
    pub tokens: Option<TokenConfig>,
    /// Who may do what.
    pub grants: Vec<Grant>,
    /// Where changes are noted; none: in the log if there is a log-in, else nowhere.
    pub audit: Option<AuditConfig>,
    /// How many requests a client may make; none: as many as it likes.
    pub requests: Option<Rate>,
}

impl SecurityConfig {
    /// Whether callers have to say who they are.
    #[must_use]
    pub fn has_login(&self) -> bool {
        self.users_file.is_some() || self.tokens.is_some()
    }

    /// Refuses what would keep a port by half.
    ///
    /// # Errors
    ///
    /// `Config`, with what to do.
    pub fn check(&self, listen: SocketAddr) -> Result<()> {
        self.check_grants()?;
        self.check_audit()?;
        let is_kept = self.tls.is_some() && self.has_login();
        if is_kept || self.insecure || listen.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(wrong("listen", "others could reach it, and it has no TLS and log-in")
            .with("address", listen)
            .help(
                "set registry.tls and registry.users or registry.tokens, or listen on 127.0.0.1; \
                 registry.insecure = true lets everybody in",
            ))
    }

    fn check_audit(&self) -> Result<()> {
        match &self.audit {
            // Whether the process's log keeps a line nobody tells us.
            Some(AuditConfig { file: None, required: true }) => {
                Err(wrong("audit.required", "only a file is sure to keep what is noted")
                    .help("set registry.audit.file"))
            }
            _ => Ok(()),
        }
    }

    fn check_grants(&self) -> Result<()> {
        match (self.has_login(), self.grants.is_empty()) {
            (true, true) => Err(wrong("grant", "there is none, so nobody could do anything")
                .help("add [[registry.grant]] tables, each with to and role")),
            (false, false) => Err(wrong("grant", "without a log-in nobody is known")
                .help("set registry.users or registry.tokens")),
            _ => Ok(()),
        }
    }
}

/// What is wrong with a setting of the registry's.
pub(super) fn wrong(key: &str, problem: &str) -> Error {
    Error::new(ErrorKind::Config, "use the configuration")
        .because(format!("registry.{key}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Grantee, Role};

    #[test]
    fn others_reach_a_port_only_with_tls_and_a_log_in_or_by_an_explicit_word() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let open = SecurityConfig::default();
        open.check(address("127.0.0.1:8081")).unwrap();
        open.check(address("[::1]:8081")).unwrap();
        open.check(address("[::ffff:127.0.0.1]:8081")).unwrap();
        let grants = vec![Grant::new(Grantee::Everybody, Role::Read, ".", "").unwrap()];
        let login = SecurityConfig { users_file: Some("users".into()), grants, ..open.clone() };
        let tls = Some(TlsConfig {
            certificate_file: "c".into(),
            key_file: "k".into(),
            client_ca_file: None,
        });
        for half in [&open, &login, &SecurityConfig { tls: tls.clone(), ..open.clone() }] {
            let error = half.check(address("0.0.0.0:8081")).unwrap_err().report();
            assert!(error.contains("registry.insecure"), "{error}");
        }
        SecurityConfig { tls, ..login.clone() }.check(address("0.0.0.0:8081")).unwrap();
        SecurityConfig { insecure: true, ..open }.check(address("0.0.0.0:8081")).unwrap();
    }

    #[test]
    fn what_has_to_be_noted_needs_a_file() {
        let listen = "127.0.0.1:1".parse().unwrap();
        let with = |file| {
            let audit = Some(AuditConfig { file, required: true });
            SecurityConfig { audit, ..Default::default() }.check(listen)
        };
        assert!(with(None).unwrap_err().report().contains("registry.audit.file"));
        with(Some("audit.jsonl".into())).unwrap();
    }

    #[test]
    fn grants_and_a_log_in_go_together() {
        let listen = "127.0.0.1:1".parse().unwrap();
        let login = SecurityConfig { users_file: Some("users".into()), ..Default::default() };
        assert!(login.check(listen).unwrap_err().report().contains("registry.grant"));
        let grants = vec![Grant::new(Grantee::Everybody, Role::Read, ".", "").unwrap()];
        let error = SecurityConfig { grants, ..Default::default() }.check(listen).unwrap_err();
        assert!(error.report().contains("without a log-in"));
    }
}
