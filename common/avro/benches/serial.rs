//! A typed event of about 200 bytes into Avro binary: by hand, by `serial`, and by apache-avro's two
//! ways from serde. In turns within one run; the last line is one JSON object.
//!
//! `cargo bench -p tidemesh-avro --bench serial` (how many rounds may follow `--`, default
//! 151, and the name of one way, for a profiler).

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use std::hint::black_box;
use std::time::Instant;
use tidemesh_avro::schema::Schema;
use tidemesh_avro::serial::{Plan, Spans};
use tidemesh_avro::write_long;

const SCHEMA: &str = r#"{"type":"record","name":"OrderPlaced","namespace":"shop","fields":[
    {"name":"order_id","type":"long"},
    {"name":"customer","type":"string"},
    {"name":"email","type":"string"},
    {"name":"total","type":"double"},
    {"name":"paid","type":"boolean"},
    {"name":"coupon","type":["null","string"],"default":null},
    {"name":"status","type":{"type":"enum","name":"Status","symbols":["New","Paid","Sent"]}},
    {"name":"placed_at","type":{"type":"long","logicalType":"timestamp-micros"}},
    {"name":"articles","type":{"type":"array","items":"long"}},
    {"name":"shipping","type":{"type":"record","name":"Address","fields":[
        {"name":"street","type":"string"},
        {"name":"city","type":"string"},
        {"name":"postal_code","type":"string"},
        {"name":"country","type":"string"}]}},
    {"name":"note","type":"string"}]}"#;

const EVENTS: usize = 512;
/// So many times all events are a turn.
const LAPS: usize = 20;
const ROUNDS: usize = 151;

const NAMES: [&str; 5] =
    ["by-hand", "serial", "serial-with-key", "apache-write_ser", "apache-to_value"];

#[derive(Serialize)]
struct OrderPlaced {
    order_id: i64,
    customer: String,
    email: String,
    total: f64,
    paid: bool,
    coupon: Option<String>,
    status: Status,
    placed_at: i64,
    articles: Vec<i64>,
    shipping: Address,
    note: String,
}

#[derive(Serialize, Clone, Copy)]
enum Status {
    New,
    Paid,
    Sent,
}

#[derive(Serialize)]
struct Address {
    street: String,
    city: String,
    postal_code: String,
    country: String,
}

fn events() -> Vec<OrderPlaced> {
    let mut state = 1_u64;
    let mut next = move |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let event = |_| {
        let id = 100_000 + next(900_000);
        OrderPlaced {
            order_id: id.cast_signed(),
            customer: format!("customer-{:08}", next(100_000_000)),
            email: format!("someone.{}@example.com", next(1_000_000)),
            total: f64::from(u32::try_from(next(1_000_000)).unwrap()) / 100.0,
            paid: next(2) == 1,
            coupon: (next(2) == 1).then(|| format!("SPRING-{}", next(1000))),
            status: [Status::New, Status::Paid, Status::Sent][usize::try_from(next(3)).unwrap()],
            placed_at: 1_796_000_000_000_000 + next(1_000_000_000).cast_signed(),
            articles: (0..2 + next(4)).map(|_| next(1_000_000).cast_signed()).collect(),
            shipping: Address {
                street: format!("{} Long Harbour Street", next(300)),
                city: "Copenhagen".to_owned(),
                postal_code: format!("DK-{}", 1000 + next(9000)),
                country: "DK".to_owned(),
            },
            note: "leave it with the neighbours if nobody is at home".to_owned(),
        }
    };
    (0..EVENTS).map(event).collect()
}

fn text(out: &mut Vec<u8>, text: &str) {
    write_long(out, i64::try_from(text.len()).unwrap());
    out.extend_from_slice(text.as_bytes());
}

/// What one would write by hand for this type and schema.
fn by_hand(event: &OrderPlaced, out: &mut Vec<u8>) {
    write_long(out, event.order_id);
    text(out, &event.customer);
    text(out, &event.email);
    out.extend_from_slice(&event.total.to_le_bytes());
    out.push(u8::from(event.paid));
    match &event.coupon {
        None => out.push(0),
        Some(coupon) => {
            out.push(2);
            text(out, coupon);
        }
    }
    write_long(out, event.status as i64);
    write_long(out, event.placed_at);
    if !event.articles.is_empty() {
        write_long(out, i64::try_from(event.articles.len()).unwrap());
        for article in &event.articles {
            write_long(out, *article);
        }
    }
    out.push(0);
    text(out, &event.shipping.street);
    text(out, &event.shipping.city);
    text(out, &event.shipping.postal_code);
    text(out, &event.shipping.country);
    text(out, &event.note);
}

/// Nanoseconds an event of one turn.
fn turn(events: &[OrderPlaced], laps: usize, mut encode: impl FnMut(&OrderPlaced)) -> f64 {
    let began = Instant::now();
    for _ in 0..laps {
        for event in events {
            encode(black_box(event));
        }
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(u32::try_from(laps * events.len()).unwrap())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Nanoseconds an event of each way, round by round.
fn measure(
    events: &[OrderPlaced],
    schema: &str,
    rounds: usize,
    only: Option<&str>,
) -> [Vec<f64>; NAMES.len()] {
    let plan = Plan::compile_with_key(&Schema::parse(schema).unwrap(), &["order_id"]).unwrap();
    let theirs = apache_avro::Schema::parse_str(schema).unwrap();
    let writer = GenericDatumWriter::builder(&theirs).build().unwrap();
    let (mut out, mut spans) = (Vec::new(), Spans::default());
    let mut figures: [Vec<f64>; NAMES.len()] = Default::default();
    for round in 0..rounds {
        // Each round begins with another: what else the machine does may come in turns too.
        for way in (0..NAMES.len()).map(|place| (round + place) % NAMES.len()) {
            let name = NAMES[way];
            if only.is_some_and(|only| only != name) {
                continue;
            }
            let figure = match way {
                0 => turn(events, LAPS, |event| {
                    out.clear();
                    by_hand(event, &mut out);
                    black_box(&out);
                }),
                1 => turn(events, LAPS, |event| {
                    out.clear();
                    plan.encode(event, &mut out).unwrap();
                    black_box(&out);
                }),
                2 => turn(events, LAPS, |event| {
                    out.clear();
                    plan.encode_with_key(event, &mut out, &mut spans).unwrap();
                    black_box((&out, &spans));
                }),
                3 => turn(events, LAPS / 10, |event| {
                    out.clear();
                    black_box(writer.write_ser(&mut out, event).unwrap());
                }),
                _ => turn(events, LAPS / 10, |event| {
                    let value = apache_avro::to_value(event).unwrap();
                    out.clear();
                    black_box(writer.write_value_ref(&mut out, &value).unwrap());
                }),
            };
            figures[way].push(figure);
        }
    }
    figures
}

/// All ways write the same; answers how many bytes an event has.
fn check(events: &[OrderPlaced]) -> usize {
    let plan = Plan::compile(&Schema::parse(SCHEMA).unwrap()).unwrap();
    let theirs = apache_avro::Schema::parse_str(SCHEMA).unwrap();
    let writer = GenericDatumWriter::builder(&theirs).build().unwrap();
    let mut bytes = 0;
    for event in events {
        let (mut ours, mut other) = (Vec::new(), Vec::new());
        plan.encode(event, &mut ours).unwrap();
        by_hand(event, &mut other);
        assert_eq!(ours, other);
        assert_eq!(ours, writer.write_ser_to_vec(event).unwrap());
        let value = apache_avro::to_value(event).unwrap();
        assert_eq!(ours, writer.write_value_to_vec(value).unwrap());
        bytes += ours.len();
    }
    bytes / events.len()
}

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    let only = arguments.iter().find(|argument| NAMES.contains(&argument.as_str()));
    let events = events();
    let bytes = check(&events);
    let figures = measure(&events, SCHEMA, rounds, only.map(String::as_str));
    println!("{bytes} bytes an event, {rounds} rounds, median ns/event:");
    for (name, figures) in NAMES.iter().zip(&figures).filter(|(_, figures)| !figures.is_empty()) {
        println!("{name:>18} {:8.1}", median(figures.clone()));
    }
    if only.is_some() {
        return;
    }
    let ratio = |over: usize, under: usize| {
        let pairs = figures[over].iter().zip(&figures[under]);
        median(pairs.map(|(over, under)| over / under).collect())
    };
    println!(
        "{{\"encode_ratio\":{:.2},\"encode_with_key_ratio\":{:.2},\"encode_vs_apache\":{:.1},\
         \"encode_vs_apache_value\":{:.1}}}",
        ratio(1, 0),
        ratio(2, 0),
        ratio(3, 1).min(ratio(4, 1)),
        ratio(4, 1),
    );
}
