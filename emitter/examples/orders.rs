//! An application that emits an event for each line it reads: `ORDER_ID AMOUNT`.
//!
//! `tidemesh up` runs on this machine, or Kafka and a registry do:
//!
//! ```sh
//! printf '1 12.50\n2 7.00\n' | cargo run -p tidemesh-emitter --features kafka,spool --example orders
//! printf '3 1.25\n' | KAFKA=127.0.0.1:9092 cargo run -p tidemesh-emitter --features kafka,spool --example orders
//! ```
//!
//! `TIDEMESH_DATA` and `TIDEMESH_REGISTRY` name the data port and the registry where they are elsewhere,
//! `SPOOL` a folder in which events are kept while their topics are away.

use std::io::BufRead;
use tidemesh_emitter::{Emitter, ErrorKind, KafkaConfig, Spool, avro_event};

avro_event! {
    file = "schemas/order_placed.avsc",
    topic = "shop.orders",
    key = ["order_id"],
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// The event of a line.
fn order(line: &str) -> Option<OrderPlaced> {
    let (order_id, total) = line.split_once(' ')?;
    Some(OrderPlaced {
        order_id: order_id.parse().ok()?,
        customer: Customer { name: "Ann".to_owned(), email: None },
        status: Status::New,
        total: total.to_owned(),
        placed_at: 1_790_000_000_000_000,
        lines: vec![OrderLine { sku: "A-1".to_owned(), quantity: 1 }],
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Emitter::builder("orders-example")
        .registry(variable("TIDEMESH_REGISTRY", "http://127.0.0.1:8081"))
        .event::<OrderPlaced>();
    builder = match std::env::var("KAFKA") {
        Ok(servers) => builder.kafka(KafkaConfig::new(servers)),
        Err(_) => builder.remote(variable("TIDEMESH_DATA", "tcp://127.0.0.1:8092")),
    };
    if let Ok(folder) = std::env::var("SPOOL") {
        builder = builder.spool(Spool::new(folder));
    }
    let emitter = builder.connect().await?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let Some(event) = order(&line) else {
            eprintln!("no order: {line}");
            continue;
        };
        match emitter.emit(&event).await {
            Ok(receipt) => println!("{line}: {} {:?}", receipt.partition, receipt.offset),
            // The event's own fault: the next ones may be right.
            Err(error) if error.kind() == ErrorKind::Malformed => eprintln!("{}", error.report()),
            Err(error) => return Err(error.into()),
        }
    }
    emitter.close().await?;
    Ok(())
}
