//! `kill -9` in the middle of appends: nothing acknowledged is lost, nothing is torn.

use super::*;
use crate::GroupOffset;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

/// What tells the child its folder and its seed; without them, it does nothing.
const FOLDER: &str = "crash-folder=";
const SEED: &str = "crash-seed=";

const KILLS: u64 = 20;

/// Records of one append: numbered values of some length.
fn numbered(first: u64, count: u64, length: usize) -> Records {
    let mut records = Records::default();
    for number in first..first + count {
        let mut value = number.to_be_bytes().to_vec();
        value.resize(8 + length, b'x');
        records.push(1, Some(&number.to_be_bytes()), &[], Some(&value)).unwrap();
    }
    records
}

/// Run by the other test in a process of its own: appends until it is killed, and says after each
/// append what was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_appends_until_it_is_killed() {
    let Some(folder) = argument(FOLDER) else { return };
    let seed = argument(SEED).unwrap().parse().unwrap();
    let mut random = StdRng::seed_from_u64(seed);
    let log = open(Path::new(&folder));
    log.create_topic("t", &TopicConfig::default()).await.unwrap();
    let writer = log.open_writer("w").await.unwrap();
    let mut next = log.topic("t").await.unwrap().partitions[0].end;
    println!("\nready {next}");
    loop {
        let count = random.random_range(1..20);
        let records = numbered(next, count, random.random_range(0..6000));
        next += count;
        let place =
            |offset| GroupOffset { group: "g".into(), topic: "t".into(), partition: 0, offset };
        log.append(Append {
            writer: Some(writer.clone()),
            batches: vec![PartitionBatch { topic: "t".into(), partition: 0, records }],
            state: vec![StateItem { key: "next".into(), value: Some(next.to_be_bytes().to_vec()) }],
            offsets: vec![place(next)],
        })
        .await
        .unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {next}").unwrap();
        out.flush().unwrap();
    }
}

/// Lets a child append until so many answers were seen, kills it, and says what it had acknowledged.
fn append_and_kill(folder: &Path, seed: u64, answers: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::tests::crash::child_that_appends_until_it_is_killed"])
        .args(["--nocapture", "--test-threads=1"])
        .arg(format!("{FOLDER}{}", folder.display()))
        .arg(format!("{SEED}{seed}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged = None;
    let mut seen = 0;
    while seen <= answers {
        let line = lines.next().expect("the child ended by itself").unwrap();
        if let Some(number) = number_in(&line) {
            acknowledged = Some(number);
            seen += 1;
        }
    }
    child.kill().unwrap();
    // What it said between the last line we read and its end counts too.
    for line in lines.map_while(Result::ok) {
        acknowledged = number_in(&line).or(acknowledged);
    }
    child.wait().unwrap();
    acknowledged.unwrap()
}

fn number_in(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("acknowledged ").or_else(|| line.strip_prefix("ready "))?;
    rest.parse().ok()
}

async fn check(folder: &Path, acknowledged: u64) -> u64 {
    let log = open(folder);
    let end = log.topic("t").await.unwrap().partitions[0].end;
    assert!(end >= acknowledged, "{acknowledged} were acknowledged, {end} are there");
    let values = read_all(&log).await.unwrap();
    for (number, value) in (0..).zip(&values) {
        assert_eq!(u64::from_be_bytes(*value.first_chunk().unwrap()), number);
    }
    assert_eq!(values.len() as u64, end);
    if end > 0 {
        let next = log.state("w").await.unwrap()["next"].clone();
        assert_eq!(next, end.to_be_bytes(), "the state goes with the records");
        assert_eq!(log.committed("g").await.unwrap()[&("t".to_owned(), 0)], end);
    }
    end
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let first: u64 = rand::rng().random();
    for seed in (0..KILLS).map(|kill| first.wrapping_add(kill)) {
        let answers = StdRng::seed_from_u64(seed).random_range(0..60);
        println!("seed {seed}: kill after {answers} answers");
        let path = folder.path().to_owned();
        let killing = move || append_and_kill(&path, seed, answers);
        let acknowledged = tokio::task::spawn_blocking(killing).await.unwrap();
        let end = check(folder.path(), acknowledged).await;
        println!("seed {seed}: {acknowledged} acknowledged, {end} there");
    }
}
