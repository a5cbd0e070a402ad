//! Any other process's way to the embedded log: the data port's protocol, its server and client.
//!
//! The protocol is pure ([`protocol`]). `server` listens, `connection` is one client's requests and
//! answers within their limits, `order` has those that change one thing done one after the other, `session`
//! answers them; `client` is the other side.

mod client;
mod connection;
mod order;
mod protocol;
mod server;
mod session;
mod socket;

pub use client::{RemoteCommitter, RemoteReader, RemoteTransport};
pub use protocol::FRAME_BYTES_MAX;
pub use server::{Listener, serve_remote};

#[cfg(test)]
mod tests;
