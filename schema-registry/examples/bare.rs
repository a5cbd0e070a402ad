//! A bare axum handler, beside which `scripts/bench registry` times the registry: one route for
//! every request, the same bytes for every answer, on a listener set as the registry's is.
//!
//! `bare PORT FILE`: answers with the file's bytes on 127.0.0.1, until it is killed. A body that is
//! sent is read, as any handler would.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::serve::ListenerExt;
use std::error::Error;
use std::net::Ipv4Addr;
use tokio::net::TcpListener;

/// The content type of the registry's answers.
const JSON: &str = "application/vnd.schemaregistry.v1+json";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("bare PORT FILE".into());
    };
    let answer = Bytes::from(std::fs::read(file)?);
    let handler = move |_sent: Bytes| async move { ([(CONTENT_TYPE, JSON)], answer) };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.parse::<u16>()?)).await?;
    // Without it answers wait for a packet to fill; a connection that cannot be set is slower.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, Router::new().fallback(handler)).await?;
    Ok(())
}
