//! Any other process's way to the embedded log: the data port's protocol, its server and client.
//!
//! The protocol is pure ([`protocol`]); sockets live in `server` and `client`.

mod client;
mod protocol;
mod server;

pub use client::{RemoteReader, RemoteTransport};
pub use protocol::FRAME_BYTES_MAX;
pub use server::{Listener, serve_remote};

#[cfg(test)]
mod tests;
