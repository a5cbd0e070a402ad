//! Starts a process for each pipeline that shall run and has no worker, and starts it again if it ends.
//!
//! A process is in a group of its own, and outlives the controller: the next one hears of it by its beats.

use super::Hub;
use crate::daemon::signals::stopped;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemesh_model::Result;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The most processes that are started with one look: each opens connections and plans.
const STARTS_MAX: usize = 4;

/// The pause before a process that has ended is started again; it doubles with each up to
/// [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The longest pause before a process is started again.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);

/// A process that ran so long is started again as if it had not failed before.
const STEADY: Duration = Duration::from_secs(60);

/// How long a process may be silent, at its start or later, before it is killed.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// How processes are started.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct Command {
    /// This program.
    pub(in crate::daemon) program: PathBuf,
    /// Its configuration file, which is the controller's.
    pub(in crate::daemon) config: PathBuf,
    /// Where the controller listens.
    pub(in crate::daemon) controller: String,
}

/// The processes that this controller has started.
struct Processes {
    hub: Arc<Hub>,
    command: Command,
    started: BTreeMap<String, Process>,
}

/// A pipeline's process, and how it went before.
struct Process {
    /// None while it waits to be started again.
    child: Option<Child>,
    pid: Option<u32>,
    at: Instant,
    /// When it was seen to be silent first, since it last was not.
    silent: Option<Instant>,
    pause: Duration,
}

/// Starts processes until `shutdown` says so; those that run then go on.
pub(in crate::daemon) async fn spawn(
    hub: Arc<Hub>,
    command: Command,
    shutdown: watch::Receiver<bool>,
) -> Result<()> {
    let mut processes = Processes { hub, command, started: BTreeMap::new() };
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopping = std::pin::pin!(stopped(shutdown));
    loop {
        tokio::select! {
            _ = looks.tick() => processes.look(Instant::now()),
            () = &mut stopping => return Ok(()),
        }
    }
}

impl Processes {
    fn look(&mut self, now: Instant) {
        self.bury(now);
        let wanted = self.hub.unattended(now);
        self.started
            .retain(|pipeline, process| process.child.is_some() || wanted.contains(pipeline));
        let attended = self.started.iter_mut().filter(|(name, _)| !wanted.contains(name));
        attended.for_each(|(_, process)| process.silent = None);
        let mut starts = 0;
        for pipeline in wanted {
            if starts < STARTS_MAX && self.is_due(&pipeline, now) {
                starts += 1;
                self.start(pipeline, now);
            }
        }
    }

    /// Takes note of processes that have ended.
    fn bury(&mut self, now: Instant) {
        for (pipeline, process) in &mut self.started {
            let Some(child) = &mut process.child else { continue };
            let ended = match child.try_wait() {
                Ok(None) => continue,
                Ok(Some(status)) => status.to_string(),
                Err(error) => error.to_string(),
            };
            if let Some(pid) = process.pid {
                self.hub.gone(pipeline, pid);
            }
            tracing::info!(pipeline, ended, "a process has ended");
            process.child = None;
            let steady = now.saturating_duration_since(process.at) >= STEADY;
            let doubled = (process.pause * 2).min(RETRY_PAUSE_MAX);
            process.pause = if steady { RETRY_PAUSE } else { doubled };
            process.at = now;
            self.hub.note(pipeline, format!("its process has ended: {ended}"));
        }
    }

    /// Whether a process is to be started. One that runs and says nothing for too long is killed, and
    /// another one started once it has ended.
    fn is_due(&mut self, pipeline: &str, now: Instant) -> bool {
        let Some(process) = self.started.get_mut(pipeline) else { return true };
        let Some(child) = &mut process.child else {
            return now.saturating_duration_since(process.at) >= process.pause;
        };
        let silent = *process.silent.get_or_insert(now);
        if now.saturating_duration_since(silent) >= SILENT_MAX {
            tracing::warn!(pipeline, "a process that says nothing is killed");
            if let Err(error) = child.start_kill() {
                tracing::warn!(pipeline, error = error.to_string(), "it cannot be killed");
            }
        }
        false
    }

    fn start(&mut self, pipeline: String, now: Instant) {
        let pause = self.started.get(&pipeline).map_or(RETRY_PAUSE, |process| process.pause);
        let child = match self.command.start(&pipeline) {
            Ok(child) => Some(child),
            Err(error) => {
                let error = format!("its process cannot be started: {error}");
                tracing::warn!(pipeline, error, "tries again");
                self.hub.note(&pipeline, error);
                None
            }
        };
        let pid = child.as_ref().and_then(Child::id);
        tracing::info!(pipeline, pid, "a process is started");
        let pause = if child.is_some() { pause } else { (pause * 2).min(RETRY_PAUSE_MAX) };
        self.started.insert(pipeline, Process { child, pid, at: now, silent: None, pause });
    }
}

impl Command {
    fn start(&self, pipeline: &str) -> std::io::Result<Child> {
        let arguments = ["pipeline", pipeline, "--spawned", "--controller", &self.controller];
        let arguments = arguments.map(OsString::from).into_iter();
        tokio::process::Command::new(&self.program)
            .args(arguments.chain(["--config".into(), self.config.clone().into()]))
            // The controller's own port is taken.
            .env("TIDEMESH__CONTROL__LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
    }
}
