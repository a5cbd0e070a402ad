//! What tests at a real server share: the server, and what its log says.

mod distributed;
mod log;
mod server;

pub(crate) use log::{Logged, logged};
pub(crate) use server::{OwnServer, Server};
