//! What the stores of the control plane share: how they are named ([`StoreConfig`]), and of one in
//! PostgreSQL the way to it ([`Address`], over TLS where its URL says so), the connection
//! ([`Session`]) and the tables' version ([`Layout`]). What a store holds is its own.

mod address;
mod config;
mod layout;
mod session;
mod tls;

pub use address::{Address, CONNECT_MS_MAX, STATEMENT_MS_MAX};
pub use config::StoreConfig;
pub use layout::Layout;
pub use session::{LOAD_MS_MAX, Session, failed};

/// Whose store it is: how errors speak of it.
#[derive(Debug)]
pub struct Owner {
    /// As the database's list of connections shows it: `tidemesh registry`.
    pub application: &'static str,
    /// The key in the configuration: `registry.store`.
    pub setting: &'static str,
    /// `connect to the registry's store`.
    pub connecting: &'static str,
}
