//! Connectors: which of those that documents declare shall run, and what starts them. The controller
//! imports none itself: whoever runs it hands something in that does.

use crate::act::missing;
use crate::controller::{Controller, Refused, Role, now_ms};
use crate::draft::Draft;
use crate::failpoint::failpoint;
use crate::proposal::Handed;
use crate::state::{Id, ManagedBy, State};
use crate::topics::Registry;
use futures_util::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tidemesh_model::{Error, ErrorKind, Result, SourceSettings};
use tidemesh_plan::document::{Document, Kind, SourceSpec, Spec};
use tidemesh_plan::{Problem, Problems};

/// For so long after a table of it was announced a source counts as run by another process: four of the
/// signs that a connector at rest gives of itself.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(120);

/// The longest that a round waits to hear what is announced.
const ANNOUNCED_WAIT_MAX: Duration = Duration::from_secs(10);

/// Starts and ends connectors; tries again what fails for a time. A source has at most one.
pub trait Connectors: Send + Sync + 'static {
    /// Looks whether a connector could be made of these settings, as far as that is known without its
    /// database.
    ///
    /// # Errors
    ///
    /// `Config`, in words that begin with the key and a colon.
    fn check(&self, settings: &SourceSettings) -> Result<()>;

    /// Runs a source's connector once that of before, if it has one, has come to an end; if it is
    /// paused, only looks after what its database keeps for it.
    ///
    /// # Errors
    ///
    /// As [`Connectors::check`]; then it does not run.
    fn start(&self, source: StartSource) -> BoxFuture<'_, Result<()>>;

    /// Ends a source's connector between two appends, and waits for that.
    fn stop<'c>(&'c self, source: &'c str) -> BoxFuture<'c, ()>;

    /// The sources that documents declare, by their names; also those that have ended by themselves.
    fn sources(&self) -> BTreeMap<String, SourceJob>;
}

/// A connector to run.
#[derive(Debug, Clone, PartialEq)]
pub struct StartSource {
    /// Its settings, as the document has them.
    pub settings: Arc<SourceSettings>,
    /// Whether it shall not run for now.
    pub paused: bool,
}

/// What is known of a source's connector.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceJob {
    /// As it was started.
    pub start: StartSource,
    /// How it is: `starting`, `standby`, `streaming`, `retrying`, `stopped`, `drained`, `paused`.
    pub state: String,
}

/// How a source is that a document has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceReport {
    /// The state of its connector; `unassigned` if no process runs it.
    pub(crate) state: String,
    /// Why no process runs it, and what to do.
    pub(crate) reason: Option<String>,
}

/// What was decided of a source, beside its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct SourceState {
    /// Whether it shall not run for now.
    #[serde(default)]
    pub(crate) paused: bool,
}

/// A connector's settings; none of another document.
pub(crate) fn settings(document: &Document) -> Option<&SourceSettings> {
    match &document.spec {
        Spec::Source(SourceSpec::Connector { settings, .. }) => Some(settings),
        _ => None,
    }
}

impl<R: Registry> Controller<R> {
    /// Has what starts connectors do so for those that documents declare.
    #[must_use]
    pub fn with_connectors(mut self, connectors: Arc<dyn Connectors>) -> Self {
        self.connectors = Some(connectors);
        self
    }

    /// How the sources are that documents have run, by their names; only those that run here or, if this
    /// controller acts, nowhere.
    pub(crate) fn source_reports(&self) -> BTreeMap<String, SourceReport> {
        let Some(connectors) = &self.connectors else {
            let seen = self.seen();
            let unassigned =
                seen.unassigned.iter().filter(|_| matches!(seen.role, Role::Leading { .. }));
            let report = |name: &String| {
                let reason = Some(nothing_runs(std::iter::once(name.as_str())).report());
                (name.clone(), SourceReport { state: "unassigned".to_owned(), reason })
            };
            return unassigned.map(report).collect();
        };
        let report = |(name, job): (String, SourceJob)| {
            (name, SourceReport { state: job.state, reason: None })
        };
        connectors.sources().into_iter().map(report).collect()
    }

    /// Has a document's pipeline or connector not run, or run again. One that has failed is started anew.
    ///
    /// # Errors
    ///
    /// `NotFound`; `Conflict` for what a configuration file brings; `Unsupported` for what does not run.
    pub async fn pause_document(&self, id: &Id, paused: bool) -> Result<(), Refused> {
        if id.kind == Kind::Pipeline {
            return self.pause(&id.name, paused).await;
        }
        let _writing = self.writing.lock().await;
        let epoch = self.epoch()?;
        let state = self.state();
        let declared = state.document(id).ok_or_else(|| missing(id))?;
        if settings(&declared.document).is_none() {
            return Err(Error::new(ErrorKind::Unsupported, "pause a document")
                .because("only pipelines and connectors run")
                .with("document", id)
                .into());
        }
        self.own(id)?;
        let mut draft = Draft::of(&state);
        draft.decide(&id.name, SourceState { paused });
        self.write(epoch, draft.changes).await?;
        self.seen().state = Arc::new(draft.state);
        if let Some(connectors) = self.connectors.as_ref().filter(|_| !paused) {
            // That of before goes, whatever became of it.
            connectors.stop(&id.name).await;
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Starts the connectors that shall run and do not, or by other settings, and ends the others.
    ///
    /// # Errors
    ///
    /// The first that could not be started; the others are. `Config` if this process starts none and no
    /// other one runs them.
    pub(crate) async fn run_connectors(&self) -> Result<()> {
        let Some(connectors) = &self.connectors else { return self.look_for_connectors().await };
        let (state, there) = (self.state(), connectors.sources());
        let shall = wanted(&state);
        for name in there.keys().filter(|name| !shall.contains_key(name.as_str())) {
            connectors.stop(name).await;
            failpoint("connector.stopped");
        }
        let mut done = Ok(());
        for (name, wanted) in shall {
            if there.get(name).is_none_or(|job| !wanted.is(&job.start)) {
                failpoint("connector.to-start");
                let started = connectors.start(wanted.start()).await;
                failpoint("connector.started");
                done = done.and(started.map_err(|error| error.with("source", name)));
            }
        }
        done
    }

    /// Looks whether other processes run what documents declare, since this one does not.
    async fn look_for_connectors(&self) -> Result<()> {
        let state = self.state();
        let shall = wanted(&state).into_iter().filter(|(_, wanted)| !wanted.paused);
        let mut unassigned: BTreeSet<&str> = shall.map(|(name, _)| name).collect();
        for name in &self.config.connectors {
            unassigned.remove(name.as_str());
        }
        if let Some(log) = self.log.as_ref().filter(|_| !unassigned.is_empty()) {
            let since = now_ms().saturating_sub(milliseconds(ANNOUNCED_WITHIN));
            let announced = tokio::time::timeout(ANNOUNCED_WAIT_MAX, log.announced()).await;
            let announced = announced.map_err(|_| log_is_silent())??;
            for table in announced.iter().filter(|table| table.at_ms >= since) {
                unassigned.remove(table.source.as_str());
            }
        }
        self.seen().unassigned = unassigned.iter().map(|name| (*name).to_owned()).collect();
        if unassigned.is_empty() { Ok(()) } else { Err(nothing_runs(unassigned.into_iter())) }
    }

    /// Another controller may have them run by now.
    pub(crate) async fn stop_connectors(&self) {
        let Some(connectors) = &self.connectors else { return };
        let there = connectors.sources();
        join_all(there.keys().map(|name| connectors.stop(name))).await;
    }

    /// Refuses connectors that could not be started.
    pub(crate) fn check_connectors(&self, handed: &Handed) -> Result<(), Refused> {
        let mut problems = Vec::new();
        for (document, _) in &handed.documents {
            let Some(settings) = settings(document) else { continue };
            let Some(connectors) = &self.connectors else { return Err(nobody(document).into()) };
            problems.extend(connectors.check(settings).err().map(|error| placed(document, &error)));
        }
        match problems.as_slice() {
            [] => Ok(()),
            _ => Err(Refused::Wrong(handed.refusals(Problems(problems)))),
        }
    }
}

/// Where the key stands with which a connector's error begins.
fn placed(document: &Document, error: &Error) -> Problem {
    let message = error.message().unwrap_or_default();
    let (key, says) = match message.split_once(": ") {
        Some((key, says)) if !key.contains(' ') => (format!("spec.{key}"), says),
        _ => ("spec".to_owned(), message),
    };
    let facts = error.context().iter().map(|(name, value)| format!(" ({name}: {value})"));
    let problem = document.problem(&key, says.to_owned() + &facts.collect::<String>());
    match error.help_text() {
        Some(help) => problem.help(help),
        None => problem,
    }
}

fn nobody(document: &Document) -> Error {
    Error::new(ErrorKind::Unsupported, "declare a source")
        .because("this controller starts no connectors")
        .with("source", document.name())
        .help("write it as a [[source]] table of the configuration of `tidemesh up`")
}

fn nothing_runs<'n>(sources: impl Iterator<Item = &'n str>) -> Error {
    Error::new(ErrorKind::Config, "run connectors that documents declare")
        .because("this controller starts none, and no other process has announced tables of theirs lately")
        .with("sources", sources.collect::<Vec<_>>().join(", "))
        .help(
            "run `tidemesh up` over this controller's store; or run them by `tidemesh connector` and name \
             them in controller.sources; or pause or delete what shall not run",
        )
}

fn log_is_silent() -> Error {
    Error::new(ErrorKind::Timeout, "look which sources run elsewhere")
        .because("the log does not answer")
        .with("timeout_s", ANNOUNCED_WAIT_MAX.as_secs())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A connector that a document declares.
struct Wanted<'s> {
    settings: &'s SourceSettings,
    paused: bool,
}

impl Wanted<'_> {
    /// Whether that is what was started.
    fn is(&self, started: &StartSource) -> bool {
        self.paused == started.paused && *self.settings == *started.settings
    }

    fn start(&self) -> StartSource {
        StartSource { settings: Arc::new(self.settings.clone()), paused: self.paused }
    }
}

/// The connectors that documents declare.
fn wanted(state: &State) -> BTreeMap<&str, Wanted<'_>> {
    let users = state.documents().filter(|(_, one)| one.managed_by == ManagedBy::User);
    let start = users.filter_map(|(id, declared)| {
        let settings = settings(&declared.document)?;
        let paused = state.source(&id.name).paused;
        Some((id.name.as_str(), Wanted { settings, paused }))
    });
    start.collect()
}

/// What another document means for a source's connector, in words.
pub(crate) fn effects(before: Option<&Document>, after: Option<&Document>) -> Vec<String> {
    match (before.and_then(settings), after.and_then(settings)) {
        (None, Some(_)) => vec!["starts a connector".to_owned()],
        (Some(before), Some(after)) if before != after => {
            let left = left_in_database(before);
            let other = if left == left_in_database(after) { Vec::new() } else { left };
            other.into_iter().chain(["goes on by the new settings".to_owned()]).collect()
        }
        (Some(before), None) => {
            let topics = format!(
                "its topics, which begin with {name}., stay, and its checkpoint: `tidemesh source remove \
                 {name} --drop-slot --delete-topics` drops all of it, while the document is still there",
                name = before.name
            );
            let ends = ["stops".to_owned()].into_iter();
            ends.chain(left_in_database(before)).chain([topics]).collect()
        }
        _ => Vec::new(),
    }
}

/// What a connector leaves in its database, and what drops it.
fn left_in_database(settings: &SourceSettings) -> Vec<String> {
    if let Some(postgres) = &settings.postgres {
        let (slot, publication) =
            (postgres.slot_of(&settings.name), postgres.publication_of(&settings.name));
        return vec![
            format!(
                "its slot {slot} stays and keeps the database's log: SELECT \
                 pg_drop_replication_slot('{slot}')"
            ),
            format!("its publication {publication} stays: DROP PUBLICATION {publication}"),
        ];
    }
    let marks = settings.mysql.as_ref().filter(|_| !settings.snapshot.read_only);
    let left = marks.map(|mysql| {
        let table = &mysql.watermark_table;
        format!(
            "its table of watermarks {table} stays: DROP TABLE {table}, unless another source has it too"
        )
    });
    left.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Document {
        document(&format!("postgres: {{database: d, user: u, tables: [s.t]{text}}}"))
    }

    fn document(spec: &str) -> Document {
        let text = format!(
            "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {{name: My-shop}}\nspec:\n  {spec}\n"
        );
        tidemesh_plan::document::parse(&text).unwrap().remove(0)
    }

    #[test]
    fn what_stays_of_a_connector_is_told_with_what_drops_it() {
        let told = effects(Some(&source("")), None).join("\n");
        for part in ["pg_drop_replication_slot('tidemesh_my_shop')", "source remove My-shop"] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(effects(None, Some(&source(""))), ["starts a connector"]);
        let other = effects(Some(&source("")), Some(&source(", port: 6000")));
        assert_eq!(other, ["goes on by the new settings"]);
        let slot = effects(Some(&source("")), Some(&source(", slot: other"))).join("\n");
        assert!(slot.contains("its slot tidemesh_my_shop stays"), "{slot}");
        assert!(effects(Some(&source("")), Some(&source(""))).is_empty());
    }

    #[test]
    fn a_table_of_watermarks_stays_where_there_is_one() {
        let mysql = |text: &str| document(&format!("mysql: {{user: u, tables: [s.t]}}{text}"));
        let told = effects(Some(&mysql("")), None).join("\n");
        assert!(told.contains("DROP TABLE tidemesh.watermarks"), "{told}");
        assert!(!told.contains("slot tidemesh"), "{told}");
        let read_only = mysql("\n  snapshot: {read_only: true}");
        let told = effects(Some(&read_only), None).join("\n");
        assert!(told.contains("stops") && !told.contains("DROP TABLE"), "{told}");
        let told = effects(Some(&mysql("")), Some(&read_only)).join("\n");
        assert!(told.contains("DROP TABLE tidemesh.watermarks"), "{told}");
    }

    #[test]
    fn an_error_stands_where_its_key_does() {
        let document = source(", password_file: x");
        let wrong = |text: &str| Error::new(ErrorKind::Config, "use it").because(text.to_owned());
        let problem = placed(&document, &wrong("postgres.password_file: it cannot be read"));
        assert_eq!(problem.about, "Source My-shop: spec.postgres.password_file");
        assert_eq!(problem.place, Some(document.place("spec.postgres.password_file")));
        let problem = placed(&document, &wrong("two tables share a topic: t"));
        assert_eq!(problem.about, "Source My-shop: spec");
    }
}
