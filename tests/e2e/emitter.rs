//! The emitter's promise, with real stores and a real process: what was taken is there once, in order.

use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::kafka::Broker;
use crate::support::postgres::free_port;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use tidemesh_avro::{frame, read_long};
use tidemesh_emitter::EMITTER_HEADER;
use tidemesh_transport::kafka::{KafkaConfig, KafkaTransport};
use tidemesh_transport::{FetchLimit, Reader, RemoteTransport, Start, Subscription, Transport};

/// What `emitter/examples/load.rs` has.
const TASKS: u64 = 8;
const KEYS: i64 = 16;
const TOPIC: &str = "load.events";

/// Events that all lives together take.
const EVENTS: u64 = 1_000_000;

/// How often the application is killed.
const KILLS: u64 = 10;

/// A configuration of `up` without a source, whose ports stay over a restart.
fn configuration() -> String {
    let (registry, control, data) = (free_port(), free_port(), free_port());
    format!(
        "data_dir = \"data\"\nregistry.listen = \"127.0.0.1:{registry}\"\n\
         control.listen = \"127.0.0.1:{control}\"\ndata.listen = \"127.0.0.1:{data}\"\n"
    )
}

/// The application, one life of it.
struct Application {
    child: Child,
}

impl Application {
    fn start(target: &str, registry: &str, folder: &Path, life: u64, events: u64) -> Self {
        let tidemesh = Path::new(env!("CARGO_BIN_EXE_tidemesh"));
        let example = tidemesh.with_file_name("examples").join("load");
        assert!(
            example.exists(),
            "build it: cargo build -p tidemesh-emitter --all-features --example load"
        );
        let mut command = Command::new(example);
        command.args([target, registry]).arg(folder);
        Self { child: command.args([life.to_string(), events.to_string()]).spawn().unwrap() }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many of a task's events have their receipt.
fn durable(folder: &Path, life: u64, task: u64) -> i64 {
    let text = std::fs::read_to_string(folder.join(format!("{life}-{task}"))).unwrap_or_default();
    // A last line that a kill has cut short counts for nothing.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().last().map_or(0, |line| line.parse().unwrap())
}

/// The same of all tasks.
fn all_durable(folder: &Path, life: u64) -> u64 {
    (0..TASKS).map(|task| u64::try_from(durable(folder, life, task)).unwrap()).sum()
}

/// What stands in the topic: each event's life, task and number, by partition in order. Each spool's events
/// are numbered without gap or repetition, and those of a key keep their order.
async fn events<T: Transport>(log: &T) -> HashMap<(i64, i64, i64), u32> {
    let subscription =
        Subscription { topics: vec![TOPIC.to_owned()], group: None, start: Start::Earliest };
    let mut reader = log.subscribe(subscription).await.unwrap();
    let limit = FetchLimit { bytes_max: 4 << 20, wait_max: Duration::from_secs(2) };
    let mut found = HashMap::new();
    let mut sequences: BTreeMap<(u32, Vec<u8>), u64> = BTreeMap::new();
    let mut newest: HashMap<(i64, i64), (i64, i64)> = HashMap::new();
    loop {
        let batches = reader.poll(limit).await.unwrap();
        if batches.is_empty() {
            return found;
        }
        for batch in batches {
            for record in batch.iter() {
                let (_, record) = record.unwrap();
                let (instance, sequence) = record.header(EMITTER_HEADER).unwrap().split_at(8);
                let next = sequences.entry((batch.partition, instance.to_vec())).or_default();
                assert_eq!(u64::from_be_bytes(sequence.try_into().unwrap()), *next);
                *next += 1;
                let (_, mut data) = frame::split(record.value.unwrap()).unwrap();
                let [life, task, number] = [(); 3].map(|()| read_long(&mut data).unwrap());
                let before = newest.insert((task, number % KEYS), (life, number));
                assert!(before < Some((life, number)), "{before:?} before {life} {number}");
                *found.entry((life, task, number)).or_default() += 1;
            }
        }
    }
}

/// Kills the application again and again, and its store by `restart` twice.
async fn lives(target: &str, registry: &str, folder: &Path, mut restart: impl AsyncFnMut()) -> u64 {
    for life in 0..KILLS {
        let mut application = Application::start(target, registry, folder, life, EVENTS / TASKS);
        if life == 3 || life == 7 {
            eventually("events come", async || (all_durable(folder, life) > 0).then_some(())).await;
            restart().await;
        }
        eventually("a life's events are durable", async || {
            (all_durable(folder, life) >= EVENTS / (KILLS + 1)).then_some(())
        })
        .await;
        application.kill();
    }
    let taken: u64 = (0..KILLS).map(|life| all_durable(folder, life)).sum();
    let rest = EVENTS.saturating_sub(taken) / TASKS + 1;
    let mut last = Application::start(target, registry, folder, KILLS, rest);
    let ended = last.child.wait().unwrap();
    assert!(ended.success(), "{ended}");
    taken + rest * TASKS
}

async fn are_there_once<T: Transport>(log: &T, folder: &Path, taken: u64) {
    let found = events(log).await;
    assert!(found.values().all(|count| *count == 1), "none is there twice");
    for life in 0..=KILLS {
        for task in 0..TASKS {
            let task_number = i64::try_from(task).unwrap();
            for number in 0..durable(folder, life, task) {
                let place = (i64::try_from(life).unwrap(), task_number, number);
                assert!(found.contains_key(&place), "{place:?} is lost");
            }
        }
    }
    assert!(found.len() as u64 >= taken && taken >= EVENTS, "{} of {taken}", found.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_events_through_kills_of_application_and_daemon_are_there_once() {
    let (mesh, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = configuration();
    let mut daemon = Some(Daemon::up(mesh.path(), &config).await);
    let (data, registry) = daemon.as_ref().map(|d| (d.data.clone(), d.registry.clone())).unwrap();
    let taken = lives(&data, &registry, folder.path(), async || {
        daemon.take().unwrap().kill();
        daemon = Some(Daemon::up(mesh.path(), &config).await);
    })
    .await;
    are_there_once(&RemoteTransport::new(&data).unwrap(), folder.path(), taken).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_events_through_kills_of_application_and_broker_are_there_once() {
    let (mesh, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let daemon = Daemon::up(mesh.path(), &configuration()).await;
    let mut broker = Broker::start();
    let servers = broker.servers();
    let target = format!("kafka:{servers}:load.");
    let taken = lives(&target, &daemon.registry, folder.path(), async || {
        broker.kill().await;
        broker.start_again();
    })
    .await;
    let mut config = KafkaConfig::new(servers);
    config.prefix = "load.".to_owned();
    are_there_once(&KafkaTransport::new(&config).unwrap(), folder.path(), taken).await;
}

/// The example that the README shows.
#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_example_runs() {
    let mesh = tempfile::tempdir().unwrap();
    let daemon = Daemon::up(mesh.path(), &configuration()).await;
    let tidemesh = PathBuf::from(env!("CARGO_BIN_EXE_tidemesh"));
    let example = tidemesh.with_file_name("examples").join("orders");
    let script = "printf '1 12.50\\n2 7.00\\nnothing\\n3 1.255\\n' | \"$0\"";
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(example)
        .env("TIDEMESH_DATA", &daemon.data)
        .env("TIDEMESH_REGISTRY", &daemon.registry)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    let (out, err) = (out.unwrap(), err.unwrap());
    assert!(output.status.success(), "{err}");
    assert_eq!(out, "1 12.50: 0 Some(0)\n2 7.00: 0 Some(1)\n");
    assert!(err.contains("no order: nothing") && err.contains("total"), "{err}");
    let records = crate::support::topic::records(&daemon, "shop.orders");
    assert_eq!(records.len(), 2, "{records:?}");
}
