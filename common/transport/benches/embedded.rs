//! The embedded log at its busiest: a million records of 300 bytes, in appends of about 1 MiB, each
//! synced, one in flight while the next is made ready. Prints one JSON object.
//!
//! `cargo bench -p tidemesh-transport --bench embedded` (a folder may follow `--`; default: a
//! temporary one. A folder in memory measures no disk.)

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tidemesh_transport::{
    Append, EmbeddedConfig, EmbeddedTransport, FetchLimit, PartitionBatch, Reader, Records, Start,
    Subscription, TopicConfig, Transport,
};

const RECORDS: u64 = 1_000_000;
const RECORD_BYTES: usize = 300;
const APPEND_BYTES: usize = 1024 * 1024;

fn main() {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let temporary = tempfile::tempdir().unwrap();
    let folder = given.map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(run(&folder));
}

async fn run(folder: &Path) {
    let log = EmbeddedTransport::open(&EmbeddedConfig::new(folder)).unwrap();
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    let begin = Usage::now();
    let appends = write(&log).await;
    let written = Usage::now();
    let read = read(&log).await;
    let done = Usage::now();
    assert_eq!(read, RECORDS);
    let per_record =
        |from: &Usage, to: &Usage| (to.cpu - from.cpu).as_secs_f64() * 1e6 / count(RECORDS);
    println!(
        "{{\"records\":{RECORDS},\"appends\":{appends},\"append_records_per_s\":{:.0},\
         \"append_cpu_us_per_record\":{:.2},\"read_records_per_s\":{:.0},\
         \"read_cpu_us_per_record\":{:.2},\"rss_before_mb\":{:.1},\"rss_peak_mb\":{:.1},\
         \"rss_growth_append_mb\":{:.1}}}",
        count(RECORDS) / (written.at - begin.at).as_secs_f64(),
        per_record(&begin, &written),
        count(RECORDS) / (done.at - written.at).as_secs_f64(),
        per_record(&written, &done),
        begin.rss_mb,
        done.peak_mb,
        written.peak_mb - begin.rss_mb,
    );
}

/// Appends all records, the buffers used again; answers how many appends it took.
async fn write(log: &EmbeddedTransport) -> u64 {
    let value = vec![b'v'; RECORD_BYTES - 40];
    let (mut number, mut appends) = (0_u64, 0);
    let mut spare = Records::default();
    let mut in_flight: Option<tokio::task::JoinHandle<Records>> = None;
    while number < RECORDS {
        let mut records = std::mem::take(&mut spare);
        while number < RECORDS && records.len_bytes() < APPEND_BYTES {
            records.push(1, Some(&number.to_be_bytes()), &[], Some(&value)).unwrap();
            number += 1;
        }
        if let Some(before) = in_flight.take() {
            spare = before.await.unwrap();
        }
        let log = log.clone();
        in_flight = Some(tokio::spawn(async move {
            let batches = vec![PartitionBatch { topic: "t".into(), partition: 0, records }];
            let appended = log.append(Append { batches, ..Append::default() }).await.unwrap();
            appended.recycled.into_iter().next().unwrap_or_default()
        }));
        appends += 1;
    }
    if let Some(last) = in_flight {
        last.await.unwrap();
    }
    appends
}

async fn read(log: &EmbeddedTransport) -> u64 {
    let subscription =
        Subscription { topics: vec!["t".to_owned()], group: None, start: Start::Earliest };
    let mut reader = log.subscribe(subscription).await.unwrap();
    let limit = FetchLimit { bytes_max: 4 << 20, wait_max: Duration::from_secs(10) };
    let mut records = 0;
    while records < RECORDS {
        for batch in reader.poll(limit).await.unwrap() {
            records += batch.iter().map(|record| record.unwrap().0).fold(0, |sum, _| sum + 1);
        }
    }
    records
}

fn count(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

/// What the process has used so far (proc(5)).
struct Usage {
    at: Instant,
    cpu: Duration,
    rss_mb: f64,
    peak_mb: f64,
}

impl Usage {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mb = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let cpu = Duration::try_from(cpu).unwrap();
        Self { at: Instant::now(), cpu, rss_mb: mb("VmRSS:"), peak_mb: mb("VmHWM:") }
    }
}
