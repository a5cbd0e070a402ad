//! What our HTTP servers share, the schema registry and the emit gateway.
//!
//! [`serve`] accepts connections within [`Bounds`], speaks TLS where there are [`Certificates`], hands each
//! request to an [`Entrance`], and ends when it is told to. [`Watched`] keeps what was read from files:
//! certificates, users, clients.
//!
//! Absent here: routes, log-ins, and what a request may cost, which are each server's own.

mod certificates;
mod entrance;
mod listener;
mod network;
mod requests;
mod secured;
mod serve;
mod watched;

pub use certificates::{Certificates, TlsConfig, certificates};
pub use entrance::{Answer, Entrance, Peer};
pub use listener::Bounds;
pub use network::network;
pub use requests::OpenRequest;
pub use serve::serve;
pub use watched::{FILE_BYTES_MAX, Watched, read_file};
