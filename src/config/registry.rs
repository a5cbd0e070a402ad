//! The `[registry]` table: where it listens and stores, what keeps it, and how our own clients reach it.

use super::first_line;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result, Secret};
use tidemesh_schema_registry::{
    AuditConfig, GRANT_CONTEXT_DEFAULT, Grant, IncompatibleCode, KeySource, Limits, PORT_DEFAULT,
    Rate, RegistryConfig, SecurityConfig, StoreConfig, TlsConfig, TokenConfig, token_algorithms,
};
use tidemesh_transport::{RegistryAccess, RegistryLogin};

/// The `[registry]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySettings {
    /// Where it listens. Default `127.0.0.1:8081`.
    pub listen: SocketAddr,
    /// Lets others reach it without TLS and a log-in. Default false.
    pub insecure: bool,
    /// Its store, as `sqlite:FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`. Default
    /// `registry.sqlite` in the data folder.
    pub store: Option<Secret>,
    /// The `error_code` of an incompatible registration: 409 as Confluent 7, 40901 as Confluent 8.
    /// Default 40901.
    pub incompatible_code: u32,
    /// For a connector: the registry's address, as `http://127.0.0.1:8081`. Default: `listen`. For `up`
    /// with `registry.tls`: the same under the name that its certificate has.
    pub url: Option<String>,
    /// TLS on its port; without the table, in clear.
    pub tls: Option<RegistryTlsSettings>,
    /// Users with passwords; without the table, none.
    pub users: Option<UsersSettings>,
    /// Bearer tokens; without the table, none.
    pub tokens: Option<TokenSettings>,
    /// Who may do what. Needed with a log-in.
    pub grant: Vec<GrantSettings>,
    /// Where changes are noted. Default: in the log if there is a log-in, else nowhere.
    pub audit: Option<AuditSettings>,
    /// The bounds on what it takes in.
    pub limits: LimitSettings,
    /// How sources of this process come to it.
    pub client: ClientSettings,
}

/// The `[registry.tls]` table. All files are PEM, and read again when they change.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryTlsSettings {
    /// The certificate, with those between it and its authority behind it. No default.
    pub certificate_file: PathBuf,
    /// Its key, not encrypted. No default.
    pub key_file: PathBuf,
    /// Only clients with a certificate of these authorities are served. Default: all.
    pub client_ca_file: Option<PathBuf>,
}

/// The `[registry.users]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsersSettings {
    /// A line a user, `NAME:HASH` or `NAME:HASH:GROUP,GROUP`; read again when it changes. No default.
    pub file: PathBuf,
}

/// The `[registry.tokens]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// The issuer's keys as a file; or use `jwks_url`. Read again when it changes.
    pub jwks_file: Option<PathBuf>,
    /// The issuer's keys as an address.
    pub jwks_url: Option<String>,
    /// Certificates that the address's is checked against. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// How often the address is asked, in milliseconds. 10000 to 86400000; default 300000.
    pub refresh_interval_ms: Option<u64>,
    /// What `iss` must be. No default.
    pub issuer: String,
    /// What `aud` must have one of. No default.
    pub audience: Vec<String>,
    /// By which algorithms tokens may be signed. Default: RS256, RS384, RS512, PS256, PS384, PS512,
    /// ES256, ES384, EdDSA.
    pub algorithms: Option<Vec<String>>,
    /// The claim that says who somebody is. Default `sub`.
    pub principal_claim: Option<String>,
    /// The claim with the names of groups: a list, or a text with spaces. `a.b` is the member `b` of `a`.
    /// Default none.
    pub groups_claim: Option<String>,
    /// How far clocks may be apart, in seconds. 0 to 300; default 30.
    pub leeway_s: Option<u64>,
}

/// A `[[registry.grant]]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantSettings {
    /// `user:NAME`, `group:NAME`, or `*` for everybody who is known. No default.
    pub to: String,
    /// `read`, `write` or `admin`. No default.
    pub role: String,
    /// The context: `.` for the default one, `.NAME`, or `*` for all. Default `.`.
    pub context: Option<String>,
    /// The subjects that begin so. Default: all.
    #[serde(default)]
    pub prefix: String,
}

/// The `[registry.audit]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// A file, appended to. Default: the log, as target `audit`.
    pub file: Option<PathBuf>,
    /// Whether a change that cannot be noted is refused before it is made. Needs `file`. Default false.
    pub required: bool,
}

/// The `[registry.limits]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Bytes of a schema's text. 1024 to 16777216; default 1048576. A body may be twice as long, and
    /// 64 KiB more.
    pub schema_bytes_max: Option<u64>,
    /// How deep types may be nested. 1 to 64; default 64.
    pub schema_depth_max: Option<u64>,
    /// Schemas that one reaches by references. 0 to 4096; default 256.
    pub references_max: Option<u64>,
    /// Bytes of a subject's name. 1 to 65536; default 1024.
    pub subject_bytes_max: Option<u64>,
    /// Subjects. 1 to 10000000; default 100000.
    pub subjects_max: Option<u64>,
    /// Versions of a subject. 1 to 1000000; default 10000.
    pub subject_versions_max: Option<u64>,
    /// Contexts beside the default one. 0 to 100000; default 1000.
    pub contexts_max: Option<u64>,
    /// Requests that one client may make in a second. 1 to 1000000; default: as many as it likes.
    pub requests_per_second: Option<u64>,
    /// Requests that it may make at once. 1 to 1000000; default: twice as many as in a second.
    pub requests_burst: Option<u64>,
}

/// The `[registry.client]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientSettings {
    /// Certificates, as PEM, that the registry's is checked against. Default: the system's.
    pub ca_file: Option<PathBuf>,
    /// The client's own certificate, as PEM, where the registry asks for one. Default none.
    pub certificate_file: Option<PathBuf>,
    /// Its key, as PEM. Default none.
    pub key_file: Option<PathBuf>,
    /// The user. Default none.
    pub username: Option<String>,
    /// The password; or use `password_file`.
    pub password: Option<Secret>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// A bearer token, in place of a user; or use `token_file`.
    pub token: Option<Secret>,
    /// A file whose first line is the token; read for each request.
    pub token_file: Option<PathBuf>,
}

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT)),
            insecure: false,
            store: None,
            incompatible_code: 40901,
            url: None,
            tls: None,
            users: None,
            tokens: None,
            grant: Vec::new(),
            audit: None,
            limits: LimitSettings::default(),
            client: ClientSettings::default(),
        }
    }
}

impl RegistrySettings {
    /// Makes relative paths relative to `folder`.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        if let Some(store) = &mut self.store
            && let Some(file) = store.expose().strip_prefix("sqlite:")
        {
            *store = Secret::new(format!("sqlite:{}", folder.join(file).display()));
        }
        let mut files: Vec<&mut PathBuf> = Vec::new();
        if let Some(tls) = &mut self.tls {
            files.extend([&mut tls.certificate_file, &mut tls.key_file]);
            files.extend(&mut tls.client_ca_file);
        }
        files.extend(self.users.as_mut().map(|users| &mut users.file));
        if let Some(tokens) = &mut self.tokens {
            files.extend([&mut tokens.jwks_file, &mut tokens.ca_file].into_iter().flatten());
        }
        files.extend(self.audit.as_mut().and_then(|audit| audit.file.as_mut()));
        let client = &mut self.client;
        let own = [
            &mut client.ca_file,
            &mut client.certificate_file,
            &mut client.key_file,
            &mut client.password_file,
            &mut client.token_file,
        ];
        files.extend(own.into_iter().flatten());
        for file in files {
            *file = folder.join(&*file);
        }
    }

    /// As the registry uses it.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key, the problem and the bound.
    pub(super) fn config(&self, data_dir: &Path) -> Result<RegistryConfig> {
        let store = match &self.store {
            Some(store) => {
                let read = store.expose().parse::<StoreConfig>();
                read.map_err(|error| error.with("key", "registry.store"))?
            }
            None => StoreConfig::Sqlite(data_dir.join("registry.sqlite")),
        };
        let mut config = RegistryConfig::new(store);
        config.listen = self.listen;
        config.incompatible_code = IncompatibleCode::try_from(self.incompatible_code)?;
        config.limits = self.limits.limits()?;
        config.security = self.security()?;
        config.security.check(config.listen)?;
        Ok(config)
    }

    fn security(&self) -> Result<SecurityConfig> {
        Ok(SecurityConfig {
            insecure: self.insecure,
            tls: self.tls.clone().map(|tls| TlsConfig {
                certificate_file: tls.certificate_file,
                key_file: tls.key_file,
                client_ca_file: tls.client_ca_file,
            }),
            users_file: self.users.clone().map(|users| users.file),
            tokens: self.tokens.clone().map(TokenSettings::config).transpose()?,
            grants: self.grant.iter().map(GrantSettings::grant).collect::<Result<_>>()?,
            audit: self
                .audit
                .clone()
                .map(|audit| AuditConfig { file: audit.file, required: audit.required }),
            requests: self.limits.requests()?,
        })
    }
}

impl TokenSettings {
    fn config(self) -> Result<TokenConfig> {
        let refresh = between(
            "tokens.refresh_interval_ms",
            self.refresh_interval_ms,
            10_000..=86_400_000,
            300_000,
        )?;
        let keys = match (self.jwks_file, self.jwks_url) {
            (Some(file), None) => KeySource::File(file),
            (None, Some(url)) if url.starts_with("https://") || url.starts_with("http://") => {
                let (ca_file, refresh) = (self.ca_file, Duration::from_millis(refresh));
                KeySource::Url { url, ca_file, refresh }
            }
            (None, Some(_)) => return Err(wrong("tokens.jwks_url", "must be https:// or http://")),
            _ => return Err(wrong("tokens", "set jwks_file or jwks_url, one of them")),
        };
        if self.issuer.is_empty() || self.audience.is_empty() {
            return Err(wrong("tokens", "issuer and audience must not be empty"));
        }
        Ok(TokenConfig {
            keys,
            issuer: self.issuer,
            audiences: self.audience,
            algorithms: self.algorithms.unwrap_or_else(token_algorithms),
            principal_claim: self.principal_claim.unwrap_or_else(|| "sub".to_owned()),
            groups_claim: self.groups_claim,
            leeway_s: between("tokens.leeway_s", self.leeway_s, 0..=300, 30)?,
        })
    }
}

impl GrantSettings {
    fn grant(&self) -> Result<Grant> {
        let context = self.context.as_deref().unwrap_or(GRANT_CONTEXT_DEFAULT);
        Grant::new(self.to.parse()?, self.role.parse()?, context, &self.prefix)
    }
}

impl LimitSettings {
    fn limits(&self) -> Result<Limits> {
        let default = Limits::default();
        let bound = |key: &str, value: Option<u64>, range, default: usize| {
            let wide = u64::try_from(default).unwrap_or(u64::MAX);
            let value = between(&format!("limits.{key}"), value, range, wide)?;
            usize::try_from(value).map_err(|_| wrong(key, "too large for this machine"))
        };
        let bytes = 1_024..=16 * 1_024 * 1_024;
        let schema_bytes_max =
            bound("schema_bytes_max", self.schema_bytes_max, bytes, default.schema_bytes_max)?;
        let depth = default.schema_depth_max;
        let names = default.subject_bytes_max;
        let versions = default.subject_versions_max;
        let (subjects, contexts) = (default.subjects_max, default.contexts_max);
        Ok(Limits {
            schema_bytes_max,
            schema_depth_max: bound("schema_depth_max", self.schema_depth_max, 1..=64, depth)?,
            references_max: bound(
                "references_max",
                self.references_max,
                0..=4_096,
                default.references_max,
            )?,
            subject_bytes_max: bound(
                "subject_bytes_max",
                self.subject_bytes_max,
                1..=65_536,
                names,
            )?,
            subjects_max: bound("subjects_max", self.subjects_max, 1..=10_000_000, subjects)?,
            subject_versions_max: bound(
                "subject_versions_max",
                self.subject_versions_max,
                1..=1_000_000,
                versions,
            )?,
            contexts_max: bound("contexts_max", self.contexts_max, 0..=100_000, contexts)?,
        })
    }

    fn requests(&self) -> Result<Option<Rate>> {
        let Some(per_second) = self.requests_per_second else {
            return match self.requests_burst {
                None => Ok(None),
                Some(_) => Err(wrong("limits.requests_burst", "set requests_per_second too")),
            };
        };
        let range = 1..=1_000_000;
        let rate = |key, value, default| {
            between(key, value, range.clone(), default)
                .map(|value| u32::try_from(value).unwrap_or(u32::MAX))
        };
        let burst = per_second.saturating_mul(2).min(1_000_000);
        Ok(Some(Rate {
            per_second: rate("limits.requests_per_second", Some(per_second), 1)?,
            burst: rate("limits.requests_burst", self.requests_burst, burst)?,
        }))
    }
}

impl ClientSettings {
    /// As clients use it.
    ///
    /// # Errors
    ///
    /// `Config`, naming the key.
    pub(super) fn access(self) -> Result<RegistryAccess> {
        let identity = match (self.certificate_file, self.key_file) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(wrong("client", "certificate_file and key_file go together")),
        };
        let password = match (self.password, self.password_file) {
            (Some(_), Some(_)) => {
                return Err(wrong("client", "set password or password_file, one of them"));
            }
            (None, Some(file)) => {
                let wrong = || wrong("client.password_file", "the file cannot be read");
                Some(first_line(&file, wrong)?)
            }
            (password, None) => password,
        };
        let login = match (self.username, password, self.token, self.token_file) {
            (None, None, None, None) => None,
            (Some(name), Some(password), None, None) => {
                Some(RegistryLogin::Password(name, password))
            }
            (None, None, Some(token), None) => Some(RegistryLogin::Token(token)),
            (None, None, None, Some(file)) => Some(RegistryLogin::TokenFile(file)),
            _ => return Err(wrong("client", "set username with a password, or a token alone")),
        };
        Ok(RegistryAccess { ca_file: self.ca_file, identity, login })
    }
}

fn between(
    key: &str,
    value: Option<u64>,
    range: std::ops::RangeInclusive<u64>,
    default: u64,
) -> Result<u64> {
    match value {
        None => Ok(default),
        Some(value) if range.contains(&value) => Ok(value),
        Some(_) => Err(wrong(key, &format!("must be {} to {}", range.start(), range.end()))),
    }
}

fn wrong(key: &str, problem: &str) -> Error {
    Error::new(ErrorKind::Config, "use the configuration")
        .because(format!("registry.{key}: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RegistryConfig> {
        toml::from_str::<RegistrySettings>(text).unwrap().config(Path::new("data"))
    }

    #[test]
    fn an_empty_table_has_the_documented_defaults() {
        let config = read("").unwrap();
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.security, SecurityConfig::default());
        assert!(toml::from_str::<RegistrySettings>("").unwrap().client.access().is_ok());
    }

    #[test]
    fn a_whole_table_is_read() {
        let config = read(
            r#"listen = "0.0.0.0:8081"
            tls = {certificate_file = "c", key_file = "k"}
            users = {file = "u"}
            tokens = {jwks_url = "https://i/keys", issuer = "https://i", audience = ["registry"], groups_claim = "g"}
            grant = [{to = "*", role = "read"}, {to = "group:ops", role = "admin", context = "*"}]
            audit = {file = "a", required = true}
            limits = {requests_per_second = 50, schema_depth_max = 20}"#,
        )
        .unwrap();
        assert_eq!(config.limits.schema_depth_max, 20);
        let security = config.security;
        assert_eq!(security.requests, Some(Rate { per_second: 50, burst: 100 }));
        assert_eq!((security.grants.len(), security.audit.unwrap().required), (2, true));
        let tokens = security.tokens.unwrap();
        assert_eq!((tokens.leeway_s, &*tokens.principal_claim), (30, "sub"));
        assert!(!tokens.algorithms.contains(&"HS256".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key_and_what_to_do() {
        for (line, key) in [
            ("listen = \"0.0.0.0:8081\"", "registry.listen"),
            (
                "limits = {schema_depth_max = 65}",
                "registry.limits.schema_depth_max: must be 1 to 64",
            ),
            ("limits = {requests_burst = 5}", "registry.limits.requests_burst"),
            ("users = {file = \"u\"}", "registry.grant"),
            ("grant = [{to = \"ann\", role = \"read\"}]", "registry.grant.to"),
            ("tokens = {issuer = \"i\", audience = [\"a\"]}", "registry.tokens"),
            ("audit = {required = true}", "registry.audit.required"),
        ] {
            let error = read(line).unwrap_err().report();
            assert!(error.contains(key), "{line}: {error}");
        }
        read("listen = \"0.0.0.0:8081\"\ninsecure = true").unwrap();
    }

    #[test]
    fn a_client_has_one_way_to_log_in() {
        let access = |text: &str| toml::from_str::<ClientSettings>(text).unwrap().access();
        access("username = \"u\"\npassword = \"p\"").unwrap();
        access("token = \"t\"").unwrap();
        for wrong in [
            "username = \"u\"",
            "password = \"p\"",
            "token = \"t\"\nusername = \"u\"",
            "key_file = \"k\"",
        ] {
            assert!(access(wrong).unwrap_err().to_string().contains("registry.client"), "{wrong}");
        }
    }
}
