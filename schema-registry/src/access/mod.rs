//! Who may use the registry and for what: passwords, tokens, roles, rates, and the log of changes.
//!
//! No HTTP here: `http/access` asks, and answers. [`Security`] is what a listener is kept by.

mod audit;
mod config;
mod denial;
mod guard;
mod issuer;
mod keys;
mod passwords;
mod rate;
mod role;
mod signature;
mod tokens;
mod users;

pub use audit::AuditConfig;
pub(crate) use audit::{Entry, REFUSED};
pub use config::SecurityConfig;
pub(crate) use denial::Denial;
pub use guard::Security;
pub(crate) use guard::{Caller, Credentials, Guard};
pub use issuer::KeySource;
pub(crate) use rate::Exceeded;
pub use rate::Rate;
pub(crate) use role::Rights;
pub use role::{GRANT_CONTEXT_DEFAULT, Grant, Grantee, Role};
pub use tidemesh_http::TlsConfig;
pub use tokens::{TokenConfig, token_algorithms};
pub use users::hash_password;
