//! What a port is kept by, opened from its settings.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tidemesh_http::{Certificates, FILE_BYTES_MAX, Watched, certificates, network, read_file};
use tidemesh_model::{Error, ErrorKind, Result};

use super::audit::{Audit, Entry};
use super::config::SecurityConfig;
use super::denial::Denial;
use super::passwords::Passwords;
use super::rate::{Buckets, Exceeded, Rate};
use super::role::{Grant, Rights};
use super::tokens::Tokens;
use super::users::Users;

/// How many times it is noted of one address that somebody was not known there.
const UNKNOWN_NOTED: Rate = Rate { per_second: 1, burst: 10 };

/// What keeps one listener; by default nothing.
#[derive(Debug, Clone, Default)]
pub struct Security {
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) guard: Option<Arc<Guard>>,
}

impl Security {
    /// Reads certificates, users and keys, and follows their changes. To be called within a runtime.
    ///
    /// # Errors
    ///
    /// `Config` or `Malformed`, naming the key and the file.
    pub fn open(config: &SecurityConfig) -> Result<Self> {
        let read = config.tls.as_ref().map(|tls| certificates("registry", tls));
        let certificates = read.transpose()?;
        if let Some(certificates) = &certificates {
            certificates.follow();
        }
        let is_guarded = config.has_login() || config.audit.is_some() || config.requests.is_some();
        let guard = is_guarded.then(|| Guard::open(config).map(Arc::new)).transpose()?;
        Ok(Self { certificates, guard })
    }
}

/// Who asks, by their own words.
#[derive(Debug)]
pub(crate) enum Credentials<'a> {
    None,
    Password { name: &'a str, password: &'a str },
    Token(&'a str),
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// None where nobody has to say.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) rights: Rights,
}

/// Lets callers in or not.
#[derive(Debug)]
pub(crate) struct Guard {
    passwords: Option<Passwords>,
    tokens: Option<Tokens>,
    grants: Vec<Grant>,
    requests: Option<Buckets<Client>>,
    audit: Option<Audit>,
    noted: Buckets<IpAddr>,
}

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Client {
    Known(Arc<str>),
    Unknown(IpAddr),
}

impl Guard {
    fn open(config: &SecurityConfig) -> Result<Self> {
        let passwords = config.users_file.as_ref().map(|file| {
            let path = file.clone();
            let load = move || {
                let bytes = read_file(&path, "registry.users.file", FILE_BYTES_MAX)?;
                let text = String::from_utf8(bytes).map_err(|_| {
                    Error::new(ErrorKind::Config, "use the configuration")
                        .because("registry.users.file: it is no UTF-8")
                })?;
                Users::read(&text)
            };
            let users = Watched::open("the registry's users", vec![file.clone()], load)?;
            users.follow();
            Passwords::new(users)
        });
        let audit = match (&config.audit, config.has_login()) {
            (Some(audit), _) => Some(Audit::open(audit)?),
            (None, true) => Some(Audit::open(&super::AuditConfig::default())?),
            (None, false) => None,
        };
        Ok(Self {
            passwords: passwords.transpose()?,
            tokens: config.tokens.as_ref().map(Tokens::open).transpose()?,
            grants: config.grants.clone(),
            requests: config.requests.map(Buckets::new),
            audit,
            noted: Buckets::new(UNKNOWN_NOTED),
        })
    }

    /// Who this is, if they may ask now.
    pub(crate) async fn admit(
        &self,
        credentials: Credentials<'_>,
        client: IpAddr,
    ) -> std::result::Result<Caller, (Denial, Option<Arc<str>>)> {
        let known = self.identify(credentials, client).await;
        let name = known.as_ref().ok().and_then(|caller| caller.name.clone());
        if let Some(requests) = &self.requests {
            let client = name.clone().map_or(Client::Unknown(network(client)), Client::Known);
            requests.take(&client, Instant::now()).map_err(|exceeded| (exceeded.into(), name))?;
        }
        known.map_err(|denial| (denial, None))
    }

    async fn identify(
        &self,
        credentials: Credentials<'_>,
        client: IpAddr,
    ) -> std::result::Result<Caller, Denial> {
        let (name, groups) = match (credentials, &self.passwords, &self.tokens) {
            (_, None, None) => return Ok(Caller { name: None, rights: Rights::all() }),
            (Credentials::Password { name, password }, Some(passwords), _) => {
                (name.to_owned(), passwords.check(name, password, client).await?)
            }
            (Credentials::Token(token), _, Some(tokens)) => {
                let bearer = tokens.check(token).await?;
                (bearer.name, bearer.groups)
            }
            (Credentials::None, _, _) => return Err(Denial::Unknown("nobody is named")),
            _ => return Err(Denial::Unknown("this way to log in is not open here")),
        };
        let rights = Rights::of(&self.grants, &name, &groups);
        Ok(Caller { name: Some(name.into()), rights })
    }

    /// Whether callers have to say who they are.
    pub(crate) fn has_login(&self) -> bool {
        self.passwords.is_some() || self.tokens.is_some()
    }

    /// The ways to log in, for `WWW-Authenticate`.
    pub(crate) fn challenge(&self) -> &'static str {
        match (&self.passwords, &self.tokens) {
            (Some(_), Some(_)) => r#"Basic realm="registry", Bearer realm="registry""#,
            (None, Some(_)) => r#"Bearer realm="registry""#,
            _ => r#"Basic realm="registry""#,
        }
    }

    /// Whether it is still noted that somebody at this address is not known: whoever reaches the port
    /// can be refused as often as they like.
    pub(crate) fn notes_unknown(&self, client: IpAddr) -> std::result::Result<(), Exceeded> {
        self.noted.take(&network(client), Instant::now())
    }

    /// Whether changes are noted.
    pub(crate) fn audits(&self) -> bool {
        self.audit.is_some()
    }

    /// Whether a change has to be noted before it is made.
    pub(crate) fn audits_first(&self) -> bool {
        self.audit.as_ref().is_some_and(Audit::is_required)
    }

    /// Notes something, where anything is noted; says whether that was done.
    pub(crate) async fn note(&self, entry: &Entry) -> bool {
        match &self.audit {
            Some(audit) => audit.note(entry).await,
            None => true,
        }
    }
}
