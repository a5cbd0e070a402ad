//! Events of about 200 bytes through an emitter: how long taking one takes, and how many a second become
//! durable: in the log of a running `tidemesh up`, in a spool, and in Kafka, beside bare librdkafka.
//! The last line is one JSON object. `scripts/bench emitter` starts what it needs:
//!
//! `emit DATA_PORT REGISTRY SPOOL_FOLDER [KAFKA] [ROUNDS]`
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use serde::Serialize;
use std::borrow::Cow;
use std::path::Path;
use std::time::{Duration, Instant};
use tidemesh_avro::schema::Schema;
use tidemesh_avro::serial::Plan;
use tidemesh_avro::write_long;
use tidemesh_emitter::{Emitter, EmitterBuilder, Event, KafkaConfig, Spool, Topic};

/// Events of a run.
const EVENTS: i64 = 1_000_000;

/// Tasks that emit them.
const TASKS: i64 = 4;

/// Events whose taking is timed, one every [`PACE`].
const TIMED: i64 = 200_000;
const PACE: Duration = Duration::from_micros(10);

#[derive(Serialize)]
struct Placed {
    order_id: i64,
    customer: String,
    email: &'static str,
    total: f64,
    paid: bool,
    coupon: Option<&'static str>,
    placed_at: i64,
    articles: [i64; 4],
    street: &'static str,
    city: &'static str,
    note: &'static str,
}

impl Event for Placed {
    const TOPIC: &'static str = "bench.placed";
    const KEY: &'static [&'static str] = &["order_id"];

    fn schema() -> Cow<'static, str> {
        r#"{"type":"record","name":"Placed","namespace":"bench","fields":[
            {"name":"order_id","type":"long"},
            {"name":"customer","type":"string"},
            {"name":"email","type":"string"},
            {"name":"total","type":"double"},
            {"name":"paid","type":"boolean"},
            {"name":"coupon","type":["null","string"],"default":null},
            {"name":"placed_at","type":{"type":"long","logicalType":"timestamp-micros"}},
            {"name":"articles","type":{"type":"array","items":"long"}},
            {"name":"street","type":"string"},
            {"name":"city","type":"string"},
            {"name":"note","type":"string"}]}"#
            .into()
    }
}

fn event(order_id: i64) -> Placed {
    Placed {
        order_id,
        customer: String::new(),
        email: "somebody.of.that.name@example.com",
        total: 12.5,
        paid: order_id % 2 == 0,
        coupon: (order_id % 3 == 0).then_some("WINTER-2026"),
        placed_at: 1_790_000_000_000_000 + order_id,
        articles: [order_id, order_id + 1, order_id + 2, order_id + 3],
        street: "Longest Street of the Town 124",
        city: "Some City on a River",
        note: "please ring twice, and leave it with the neighbours if nobody opens",
    }
}

/// Emits all events from several tasks; how many a second until the last has its receipt.
async fn throughput(emitter: &Emitter) -> f64 {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let emitter = emitter.clone();
            tokio::spawn(async move {
                let mut last = None;
                for number in (task..EVENTS).step_by(usize::try_from(TASKS).unwrap()) {
                    last = Some(emitter.enqueue(&event(number)).await.unwrap());
                }
                last.unwrap().await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    per_second(begun)
}

#[expect(clippy::cast_precision_loss, reason = "a million")]
fn per_second(begun: Instant) -> f64 {
    EVENTS as f64 / begun.elapsed().as_secs_f64()
}

/// How long taking an event takes, sorted, in microseconds.
async fn timed(emitter: &Emitter) -> Vec<f64> {
    let emitter = emitter.clone();
    let timing = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        let mut next = Instant::now();
        for number in 0..TIMED {
            let event = event(number);
            while Instant::now() < next {
                std::hint::spin_loop();
            }
            next += PACE;
            let begun = Instant::now();
            let delivery = emitter.emit_nowait(&event).unwrap();
            all.push(begun.elapsed().as_secs_f64() * 1e6);
            drop(delivery);
        }
        all.sort_by(f64::total_cmp);
        all
    });
    timing.await.unwrap()
}

/// The same events, encoded before, by librdkafka alone, as an emitter has it configured.
fn bare(kafka: &str) -> f64 {
    let plan = Plan::compile(&Schema::parse(&Placed::schema()).unwrap()).unwrap();
    let encoded = |number| {
        let mut value = vec![0; 5];
        plan.encode(&event(number), &mut value).unwrap();
        let mut key = vec![0; 5];
        write_long(&mut key, number);
        (key, value)
    };
    let events: Vec<_> = (0..4096).map(encoded).collect();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka).set("enable.idempotence", "true").set("acks", "all");
    config.set("compression.type", "lz4").set("batch.size", "1000000");
    config.set("queue.buffering.max.messages", "1000000").set("linger.ms", "5");
    let producer: ThreadedProducer<_> = config.create().unwrap();
    let begun = Instant::now();
    for (key, value) in events.iter().cycle().take(usize::try_from(EVENTS).unwrap()) {
        let mut record = BaseRecord::to("bench.bare").partition(0).key(key).payload(value);
        while let Err((_, back)) = producer.send(record) {
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    per_second(begun)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// The quantile of sorted figures.
fn at(sorted: &[f64], per_mille: usize) -> f64 {
    sorted[(sorted.len() - 1) * per_mille / 1000]
}

async fn kafka(registry: &str, address: &str, rounds: usize) -> (f64, f64) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // A broker that was just started is slower in the first round, which does not count.
    for round in 0..=rounds {
        let builder = Emitter::builder("bench-kafka").registry(registry);
        let builder = builder.kafka(KafkaConfig::new(address)).event::<Placed>();
        // The bare one's topic is made with the other settings of one.
        let builder = builder.topic_with_schema("bench.bare", Placed::schema(), Topic::new());
        let emitter = builder.connect().await.unwrap();
        ours.push(throughput(&emitter).await);
        emitter.close().await.unwrap();
        let address = address.to_owned();
        let bare = tokio::task::spawn_blocking(move || bare(&address));
        theirs.push(bare.await.unwrap());
        eprintln!("kafka {round}: emitter {:.0}/s, librdkafka {:.0}/s", ours[round], theirs[round]);
    }
    (median(ours.split_off(1)), median(theirs.split_off(1)))
}

async fn spool(builder: EmitterBuilder, folder: &Path, round: usize) -> f64 {
    let spool = Spool::new(folder.join(round.to_string()));
    let emitter = builder.spool(spool).event::<Placed>().connect().await.unwrap();
    let spooled = throughput(&emitter).await;
    emitter.close().await.unwrap();
    spooled
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [data_port, registry, folder, rest @ ..] = &arguments[..] else {
        panic!("emit DATA_PORT REGISTRY SPOOL_FOLDER [KAFKA] [ROUNDS]");
    };
    let rounds = rest.get(1).map_or(3, |rounds| rounds.parse().unwrap());
    let builder = || Emitter::builder("bench").remote(data_port).registry(registry);
    let emitter = builder().event::<Placed>().connect().await.unwrap();
    let taking = timed(&emitter).await;
    emitter.flush().await.unwrap();
    let (mut embedded, mut spooled) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        embedded.push(throughput(&emitter).await);
        emitter.flush().await.unwrap();
        spooled.push(
            spool(
                Emitter::builder("bench-spool").remote(data_port).registry(registry),
                Path::new(folder),
                round,
            )
            .await,
        );
        eprintln!("{round}: log {:.0}/s, spool {:.0}/s", embedded[round], spooled[round]);
    }
    emitter.close().await.unwrap();
    let mut figures = serde_json::json!({
        "enqueue_p50_us": at(&taking, 500),
        "enqueue_p99_us": at(&taking, 990),
        "enqueue_p999_us": at(&taking, 999),
        "embedded_per_s": median(embedded).round(),
        "spool_per_s": median(spooled).round(),
    });
    if let Some(address) = rest.first() {
        let (ours, theirs) = kafka(registry, address, rounds).await;
        figures["kafka_per_s"] = ours.round().into();
        figures["librdkafka_per_s"] = theirs.round().into();
        figures["kafka_ratio"] = (ours / theirs).into();
    }
    println!("{figures}");
}
