//! What tests at a real server share: the server, what its log says, and a source that reads it.

mod distributed;
mod log;
mod server;
mod stream;

pub(crate) use log::{Logged, logged};
pub(crate) use server::{OwnServer, Server};
pub(crate) use stream::Stream;
