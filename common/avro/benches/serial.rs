//! A typed event of about 200 bytes into Avro binary: by hand, by `serial`, and by apache-avro's two
//! ways from serde. In turns within one run; the last line is one JSON object.
//!
//! `cargo bench -p tidemesh-avro --bench serial` (how many rounds may follow `--`; default 21).

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
const LAPS: usize = 40;
const ROUNDS: usize = 21;

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

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let rounds = rounds.unwrap_or(ROUNDS);
    let events = events();
    let plan = Plan::compile_with_key(&Schema::parse(SCHEMA).unwrap(), &["order_id"]).unwrap();
    let theirs = apache_avro::Schema::parse_str(SCHEMA).unwrap();
    let writer = GenericDatumWriter::builder(&theirs).build().unwrap();
    let (mut out, mut other, mut spans) = (Vec::new(), Vec::new(), Spans::default());
    let mut bytes = 0;
    for event in &events {
        out.clear();
        plan.encode_with_key(event, &mut out, &mut spans).unwrap();
        bytes += out.len();
        for way in 0..3 {
            other.clear();
            match way {
                0 => by_hand(event, &mut other),
                1 => drop(writer.write_ser(&mut other, event).unwrap()),
                _ => {
                    let value = apache_avro::to_value(event).unwrap();
                    let value = value.resolve(&theirs).unwrap();
                    drop(writer.write_value_ref(&mut other, &value).unwrap());
                }
            }
            assert_eq!(out, other, "all ways write the same");
        }
    }
    let mut figures: [Vec<f64>; 5] = Default::default();
    for _ in 0..rounds {
        figures[0].push(turn(&events, LAPS, |event| {
            out.clear();
            by_hand(event, &mut out);
            black_box(&out);
        }));
        figures[1].push(turn(&events, LAPS, |event| {
            out.clear();
            plan.encode(event, &mut out).unwrap();
            black_box(&out);
        }));
        figures[2].push(turn(&events, LAPS, |event| {
            out.clear();
            plan.encode_with_key(event, &mut out, &mut spans).unwrap();
            black_box((&out, &spans));
        }));
        figures[3].push(turn(&events, LAPS / 10, |event| {
            out.clear();
            black_box(writer.write_ser(&mut out, event).unwrap());
        }));
        figures[4].push(turn(&events, LAPS / 10, |event| {
            let value = apache_avro::to_value(event).unwrap().resolve(&theirs).unwrap();
            out.clear();
            black_box(writer.write_value_ref(&mut out, &value).unwrap());
        }));
    }
    let ratio = |over: &[f64], under: &[f64]| {
        median(over.iter().zip(under).map(|(over, under)| over / under).collect())
    };
    let encode_ratio = ratio(&figures[1], &figures[0]);
    let vs_apache = ratio(&figures[3], &figures[1]).min(ratio(&figures[4], &figures[1]));
    let names = ["by hand", "serial", "serial with key", "apache write_ser", "apache to_value"];
    println!("{} bytes an event, {rounds} rounds, median ns/event:", bytes / events.len());
    for (name, figures) in names.iter().zip(figures) {
        println!("{name:>18} {:8.1}", median(figures));
    }
    println!("{{\"encode_ratio\":{encode_ratio:.2},\"encode_vs_apache\":{vs_apache:.1}}}");
}
