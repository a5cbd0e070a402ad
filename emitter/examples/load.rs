//! An application under load that the end-to-end tests kill: eight tasks emit through a spool and note
//! how far their events are durable.
//!
//! `load DATA_PORT|kafka:SERVERS:PREFIX REGISTRY FOLDER LIFE EVENTS`: each task emits so many events, and
//! appends to `FOLDER/LIFE-TASK` the count of those that have their receipt. Killed at any time and started
//! again with another `LIFE`, the spool in `FOLDER/spool` delivers what was taken.
#![allow(clippy::unwrap_used, reason = "what goes wrong ends it, and the test with it")]

use serde::Serialize;
use std::borrow::Cow;
use std::io::Write;
use std::path::{Path, PathBuf};
use tidemesh_emitter::{Emitter, Event, KafkaConfig, Spool, Topic};

const TASKS: i64 = 8;

/// Keys of a task.
const KEYS: i64 = 16;

/// After so many events a task waits for a receipt.
const STEP: i64 = 500;

#[derive(Serialize)]
struct Load {
    life: i64,
    task: i64,
    number: i64,
    key: String,
    text: &'static str,
}

impl Event for Load {
    const TOPIC: &'static str = "load.events";
    const KEY: &'static [&'static str] = &["key"];

    fn schema() -> Cow<'static, str> {
        r#"{"type":"record","name":"Load","fields":[
            {"name":"life","type":"long"},
            {"name":"task","type":"long"},
            {"name":"number","type":"long"},
            {"name":"key","type":"string"},
            {"name":"text","type":"string"}]}"#
            .into()
    }
}

async fn emit(emitter: Emitter, file: PathBuf, life: i64, task: i64, events: i64) {
    let mut durable = std::fs::File::create(file).unwrap();
    for number in 0..events {
        let key = format!("{task}/{}", number % KEYS);
        let event =
            Load { life, task, number, key, text: "an event of some length, as events are" };
        let delivery = emitter.enqueue(&event).await.unwrap();
        if number % STEP == STEP - 1 || number == events - 1 {
            delivery.await.unwrap();
            writeln!(durable, "{}", number + 1).unwrap();
        }
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, registry, folder, life, events] = &arguments[..] else {
        panic!("load DATA_PORT|kafka:SERVERS:PREFIX REGISTRY FOLDER LIFE EVENTS");
    };
    let (folder, life, events) =
        (Path::new(folder), life.parse().unwrap(), events.parse().unwrap());
    let builder = Emitter::builder("load").registry(registry);
    let builder = match target.strip_prefix("kafka:").and_then(|rest| rest.rsplit_once(':')) {
        Some((servers, prefix)) => {
            let mut config = KafkaConfig::new(servers);
            config.prefix = prefix.to_owned();
            builder.kafka(config)
        }
        None => builder.remote(target),
    };
    let builder = builder.spool(Spool::new(folder.join("spool")));
    let builder = builder.event_to::<Load>(Topic::new().partitions(4));
    let emitter = builder.connect().await.unwrap();
    let emitting: Vec<_> = (0..TASKS)
        .map(|task| {
            let file = folder.join(format!("{life}-{task}"));
            tokio::spawn(emit(emitter.clone(), file, life, task, events))
        })
        .collect();
    for task in emitting {
        task.await.unwrap();
    }
    emitter.close().await.unwrap();
}
