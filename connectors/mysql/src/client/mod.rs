//! Connections to the server: for SQL by `mysql_async`; errors of both kinds of connections here.

mod server_error;
mod sql;

pub(crate) use server_error::database_error;
pub(crate) use sql::Sql;
