//! Many faults in a row, chosen by a seed, while somebody writes and two instances take turns: every so
//! often the topic's history must be the table's, and `verify` find nothing.
//!
//! `scripts/test` runs it for a short while, `scripts/torture` for a long one.

use crate::history::{History, Told};
use crate::support::daemon::{Daemon, configuration, with};
use crate::support::kafka::{Broker, on_broker};
use crate::support::postgres::{Database, Server, connect, free_port};
use crate::support::proxy::{Fault, Proxy};
use crate::support::topic::records_from;
use crate::support::writer::{TABLE, TOPIC, Writer, seed};
use crate::support::{PATIENCE, POLL_INTERVAL, eventually};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// How long it goes on where `TIDEMESH_TORTURE_SECONDS` does not say; what always comes comes all the
/// same.
const SECONDS: u64 = 20;

/// Faults from one check to the next.
const FAULTS_TO_CHECK: u32 = 12;

/// Transactions a second that are written; the topic is read to its end at each check.
const RATE: u32 = 20;

/// How long after the phase has begun a fault comes.
const MOMENT_MAX: Duration = Duration::from_millis(700);

/// How long both instances are down, while somebody writes what they must then catch up with.
const DOWN: Duration = Duration::from_secs(1);

/// How long the network may fail, in seconds.
const NETWORK_SECONDS_MAX: u64 = 6;

/// How often a column comes or goes while that is the phase.
const DDL_INTERVAL: Duration = Duration::from_millis(100);

/// The server gives up a client that is silent for so long.
const SERVER: &str = "wal_sender_timeout = '3s'";

/// A snapshot takes a second or so, and timeouts end within a fault's time.
const SOURCE: &str = "batch_bytes_max = 16384\nsnapshot.chunk_rows = 5\nsnapshot.parallel = 1";
const BROKER: &str = "transaction_timeout_ms = 5000\nrequest_timeout_ms = 5000";

/// What the source does when the fault comes.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Streaming,
    Snapshot,
    CatchUp,
    Ddl,
}

/// What may be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Connector,
    Broker,
    Database,
    Registry,
}

/// What comes.
#[derive(Debug)]
enum Blow {
    /// `kill -9` of these together; then they are started again.
    Kill(Vec<Part>),
    /// The instance that streams is stopped until the other one streams, and goes on then.
    Pause,
    /// The network before a part fails for a while.
    Network(Part, Fault, Duration),
    /// Every connection to a part is reset.
    Reset(Part),
    /// Every connection to a part is half-open for ever.
    Lose(Part),
}

impl Blow {
    /// What comes in any case, and first.
    fn always(number: u32) -> Option<(Phase, Self)> {
        let kill = || Self::Kill(vec![Part::Connector]);
        match number {
            0 => Some((Phase::Streaming, kill())),
            1 => Some((Phase::Snapshot, kill())),
            2 => Some((Phase::CatchUp, kill())),
            3 => Some((Phase::Ddl, kill())),
            4 => Some((Phase::Ddl, Self::Pause)),
            5 => {
                let servers = vec![Part::Broker, Part::Database, Part::Registry];
                Some((Phase::Snapshot, Self::Kill(servers)))
            }
            _ => None,
        }
    }

    fn random(random: &mut StdRng) -> Self {
        let servers = [Part::Broker, Part::Database, Part::Registry];
        let server = *servers.choose(random).unwrap();
        match random.random_range(0..20) {
            0..=11 => Self::Kill(vec![Part::Connector]),
            12 => Self::Pause,
            13 | 14 => Self::Kill(vec![server]),
            15 => {
                let mut parts = vec![Part::Connector, Part::Broker, Part::Database, Part::Registry];
                parts.shuffle(random);
                parts.truncate(random.random_range(2..=4));
                Self::Kill(parts)
            }
            16 => Self::Reset(server),
            17 => Self::Lose(server),
            _ => {
                let time = Duration::from_secs(random.random_range(1..=NETWORK_SECONDS_MAX));
                Self::Network(server, *Fault::ALL.choose(random).unwrap(), time)
            }
        }
    }
}

/// An instance of the connector.
struct Instance {
    daemon: Daemon,
    folder: TempDir,
    config: String,
}

impl Instance {
    async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(folder.path(), config, &["connector", "postgres"]).await;
        Self { daemon, folder, config: config.to_owned() }
    }

    async fn start_again(&mut self) {
        let role = ["connector", "postgres"];
        self.daemon = Daemon::start(self.folder.path(), &self.config, &role).await;
    }
}

/// A registry at a port of its own, which it keeps.
struct Registry {
    daemon: Daemon,
    folder: TempDir,
    config: String,
}

impl Registry {
    async fn start(port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!("data_dir = \"data\"\nregistry.listen = \"127.0.0.1:{port}\"\n");
        let daemon = Self::run(&folder, &config).await;
        Self { daemon, folder, config }
    }

    async fn run(folder: &TempDir, config: &str) -> Daemon {
        Daemon::start(folder.path(), config, &["registry", "--control", "127.0.0.1:0"]).await
    }

    async fn start_again(&mut self) {
        self.daemon = Self::run(&self.folder, &self.config).await;
    }
}

/// The parts, and what happened to them.
struct Torture {
    random: StdRng,
    server: Server,
    database: Database,
    broker: Broker,
    registry: Registry,
    instances: [Instance; 2],
    /// Before the broker, the database, the registry.
    proxies: [Proxy; 3],
    told: Told,
    /// The topic is read up to here.
    offset: u64,
    began: Instant,
    faults: u32,
    kills: u32,
}

impl Torture {
    async fn start(seed: u64) -> Self {
        let server = Server::start(SERVER);
        let database = Database::on_port(server.port).await;
        database.execute(TABLE).await;
        let (broker, before_broker) = Broker::behind_proxy().await;
        let port = free_port();
        let registry = Registry::start(port).await;
        let before_database = Proxy::start(server.port).await;
        let before_registry = Proxy::start(port).await;
        let url = format!("registry.url = \"http://127.0.0.1:{}\"", before_registry.port);
        let config = with(&configuration(&database, &["public.orders"], ""), SOURCE);
        let config = on_broker(&config, &broker.servers(), BROKER)
            .replace("registry.listen = \"127.0.0.1:0\"", &url);
        let config = before_database.stands_in(&config, server.port);
        let instances = [Instance::start(&config).await, Instance::start(&config).await];
        let torture = Self {
            random: StdRng::seed_from_u64(seed),
            server,
            database,
            broker,
            registry,
            instances,
            proxies: [before_broker, before_database, before_registry],
            told: Told::default(),
            offset: 0,
            began: Instant::now(),
            faults: 0,
            kills: 0,
        };
        // What is written before the slot is there is not told version by version.
        torture.active().await;
        torture
    }

    /// Which instance streams.
    async fn active(&self) -> usize {
        eventually("an instance streams", async || {
            self.instances.iter().position(|one| one.daemon.described()["state"] == "streaming")
        })
        .await
    }

    /// One fault in a phase.
    async fn round(&mut self) {
        let phases = [Phase::Streaming, Phase::Snapshot, Phase::CatchUp, Phase::Ddl];
        let by_chance = (*phases.choose(&mut self.random).unwrap(), Blow::random(&mut self.random));
        let (phase, blow) = Blow::always(self.faults).unwrap_or(by_chance);
        let moment = self.random.random_range(Duration::ZERO..MOMENT_MAX);
        self.faults += 1;
        let seconds = self.began.elapsed().as_secs();
        println!("fault {} after {seconds} s: {phase:?}, {blow:?}", self.faults);
        let ddl = self.enter(phase).await;
        tokio::time::sleep(moment).await;
        self.strike(blow).await;
        if let Some(ddl) = ddl {
            ddl.abort();
        }
    }

    /// Enters a phase; answers what is to be ended with it.
    async fn enter(&mut self, phase: Phase) -> Option<JoinHandle<()>> {
        match phase {
            Phase::Streaming => {
                self.active().await;
            }
            Phase::Snapshot => {
                let active = self.active().await;
                self.instances[active].daemon.command(&["snapshot", "start", "shop"]);
            }
            Phase::CatchUp => {
                for instance in &mut self.instances {
                    instance.daemon.kill();
                    self.kills += 1;
                }
                tokio::time::sleep(DOWN).await;
                for instance in &mut self.instances {
                    instance.start_again().await;
                }
            }
            Phase::Ddl => {
                self.active().await;
                return Some(tokio::spawn(alter(self.server.port, self.database.name.clone())));
            }
        }
        None
    }

    async fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Kill(parts) => self.kill(parts).await,
            Blow::Pause => self.pause().await,
            Blow::Network(part, fault, time) => {
                self.proxy(part).fail(fault);
                tokio::time::sleep(time).await;
                self.proxy(part).heal();
            }
            Blow::Reset(part) => self.proxy(part).reset(),
            Blow::Lose(part) => self.proxy(part).lose(),
        }
    }

    fn proxy(&self, part: Part) -> &Proxy {
        match part {
            Part::Broker => &self.proxies[0],
            Part::Connector | Part::Database => &self.proxies[1],
            Part::Registry => &self.proxies[2],
        }
    }

    /// Mostly the instance that streams, when somebody does.
    fn victim(&mut self) -> usize {
        let streams = |one: &Instance| one.daemon.described()["state"] == "streaming";
        let active = self.instances.iter().position(streams);
        let any = self.random.random_range(0..self.instances.len());
        let takes_active = self.random.random_bool(0.8);
        active.filter(|_| takes_active).unwrap_or(any)
    }

    async fn kill(&mut self, parts: Vec<Part>) {
        let victim = if parts.contains(&Part::Connector) { self.victim() } else { 0 };
        for part in &parts {
            self.kills += 1;
            match part {
                Part::Connector => self.instances[victim].daemon.kill(),
                Part::Broker => self.broker.kill().await,
                Part::Database => self.server.kill(),
                Part::Registry => self.registry.daemon.kill(),
            }
        }
        for part in &parts {
            match part {
                Part::Connector => self.instances[victim].start_again().await,
                Part::Broker => self.broker.start_again(),
                Part::Database => self.server.start_after_kill().await,
                Part::Registry => self.registry.start_again().await,
            }
        }
    }

    async fn pause(&mut self) {
        let active = self.active().await;
        let (paused, other) = (&self.instances[active].daemon, &self.instances[1 - active].daemon);
        paused.signal("-STOP");
        other.streaming().await;
        paused.signal("-CONT");
    }

    /// Waits until the topic tells what was written and no more, and has it verified.
    async fn check(&mut self, written: &History) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(difference) = written.difference(&self.told) {
            assert!(Instant::now() < deadline, "after {} faults: {difference}", self.faults);
            tokio::time::sleep(POLL_INTERVAL).await;
            let records = records_from(&self.instances[0].daemon, TOPIC, self.offset);
            if let Some(last) = records.last() {
                self.offset = last["offset"].as_u64().unwrap() + 1;
            }
            self.told.add(&records);
        }
        self.verify().await;
        for instance in &self.instances {
            let report = instance.daemon.described();
            assert_ne!(report["state"], "stopped", "after {} faults: {report}", self.faults);
        }
        println!("after {} faults, {} offsets: no difference", self.faults, self.offset);
    }
    /// `verify` finds nothing, where it can find out: whoever is asked may be relieved meanwhile.
    async fn verify(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let daemon = &self.instances[self.active().await].daemon;
            let output = daemon.command(&["verify", "--source", "shop", "--json"]);
            if output.status.success() {
                return;
            }
            let said = String::from_utf8_lossy(&output.stdout);
            let is_unknown = output.status.code() == Some(2);
            assert!(is_unknown && Instant::now() < deadline, "{} faults: {said}", self.faults);
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Has a column come and go that nobody writes.
async fn alter(port: u16, database: String) {
    loop {
        if let Some(client) = connect(port, &database, "postgres").await {
            for change in ["ADD COLUMN IF NOT EXISTS extra int", "DROP COLUMN IF EXISTS extra"] {
                // The server may be away.
                let _ = client.batch_execute(&format!("ALTER TABLE orders {change}")).await;
                tokio::time::sleep(DDL_INTERVAL).await;
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_nothing_is_lost_or_repeated() {
    let seconds = std::env::var("TIDEMESH_TORTURE_SECONDS");
    let seconds = seconds.ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let seed = seed();
    let mut torture = Torture::start(seed).await;
    let mut written = History::default();
    let ends = Instant::now() + Duration::from_secs(seconds);
    let goes_on =
        |torture: &Torture| Instant::now() < ends || Blow::always(torture.faults).is_some();
    while goes_on(&torture) {
        let seed = torture.random.random();
        let writer = Writer::enduring(&torture.database, seed, RATE, written);
        let check_at = torture.faults + FAULTS_TO_CHECK;
        while goes_on(&torture) && torture.faults < check_at {
            torture.round().await;
        }
        written = writer.stop().await;
        torture.check(&written).await;
    }
    let Torture { faults, kills, .. } = torture;
    println!("torture: {faults} faults ({kills} kills), seed {seed}, 0 differences");
}
