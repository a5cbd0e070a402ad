//! The audit log: a JSON line for every change, and for every attempt that was refused.
//!
//! Lines go to a file, which is opened for each of them, so that it may be moved away at any time; or
//! to the log, as target `audit`. A line tells who, from where, what and how it ended, and nothing of
//! what a schema, a password or a token says.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use serde::Serialize;
use tidemesh_model::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How many lines may wait for the disk; who makes one more waits for a place.
const LINES_WAITING_MAX: usize = 1_024;

/// The outcome of what was not allowed.
pub(crate) const REFUSED: &str = "refused";

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditConfig {
    /// A file, appended to; none: the log.
    pub file: Option<PathBuf>,
    /// Whether a change that cannot be noted is refused before it is made. It is then noted twice,
    /// with `outcome` `begun` and with how it ended, and each is on the disk before it goes on. What
    /// was refused is not waited for: it changes nothing, and anybody can have it written.
    pub required: bool,
}

/// One line.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Entry {
    /// Milliseconds since 1970-01-01 00:00:00 UTC.
    pub(crate) time_ms: i64,
    pub(crate) request_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) principal: Option<String>,
    pub(crate) client: String,
    pub(crate) method: &'static str,
    /// The route, with what stands for names in braces.
    pub(crate) route: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) consumer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) setting: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) permanent: bool,
    /// `begun`, `done`, `failed`, `refused`, or `unknown` where it may be made all the same.
    pub(crate) outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_code: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// Serde asks for a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

/// A line on its way to the disk.
#[derive(Debug)]
struct Line {
    text: String,
    /// Whether it has to be on the disk before that is said.
    durable: bool,
    done: oneshot::Sender<std::io::Result<()>>,
    /// Held until the line is written, also where the one who asked has gone away.
    _place: OwnedSemaphorePermit,
}

/// Where lines go to.
#[derive(Debug)]
pub(crate) struct Audit {
    required: bool,
    file: Option<Sink>,
}

#[derive(Debug)]
struct Sink {
    path: PathBuf,
    lines: mpsc::SyncSender<Line>,
    places: Arc<Semaphore>,
}

impl Audit {
    /// Starts the thread that writes, if there is a file.
    ///
    /// # Errors
    ///
    /// `Config` if the file cannot be appended to.
    pub(crate) fn open(config: &AuditConfig) -> Result<Self> {
        let required = config.required;
        let Some(path) = &config.file else { return Ok(Self { required, file: None }) };
        let wrong = |error| {
            Error::new(ErrorKind::Config, "use the configuration")
                .because("registry.audit.file: it cannot be appended to")
                .with("file", path.display())
                .caused_by(error)
        };
        File::new(path).append(b"", false).map_err(wrong)?;
        let (sink, queue) = Sink::new(path);
        let file = File::new(path);
        std::thread::Builder::new()
            .name("registry-audit".to_owned())
            .spawn(move || write(file, &queue))
            .map_err(wrong)?;
        Ok(Self { required, file: Some(sink) })
    }

    /// Whether a change may be made only once it is noted.
    pub(crate) fn is_required(&self) -> bool {
        self.required
    }

    /// Notes something; says whether that was done. A failure is told in the log.
    pub(crate) async fn note(&self, entry: &Entry) -> bool {
        let Ok(mut line) = serde_json::to_string(entry) else { return false };
        let Some(sink) = &self.file else {
            tracing::info!(target: "audit", "{line}");
            return true;
        };
        line.push('\n');
        let durable = self.required && entry.outcome != REFUSED;
        match sink.append(line, durable).await {
            Ok(()) => true,
            Err(error) => {
                let file = sink.path.display();
                tracing::error!(%file, %error, "the audit log cannot be written");
                false
            }
        }
    }
}

impl Sink {
    /// A way to a file, and where its lines come out.
    fn new(path: &Path) -> (Self, mpsc::Receiver<Line>) {
        let (lines, queue) = mpsc::sync_channel(LINES_WAITING_MAX);
        let places = Arc::new(Semaphore::new(LINES_WAITING_MAX));
        (Self { path: path.to_owned(), lines, places }, queue)
    }

    async fn append(&self, text: String, durable: bool) -> std::io::Result<()> {
        let gone = || std::io::Error::other("the thread that writes is gone");
        // As many as the channel holds: so sending never waits.
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| gone())?;
        let (done, result) = oneshot::channel();
        self.lines.try_send(Line { text, durable, done, _place: place }).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

fn write(mut file: File, queue: &mpsc::Receiver<Line>) {
    while let Ok(Line { text, durable, done, _place }) = queue.recv() {
        // Who asked may be gone; the line is written all the same.
        let _ = done.send(file.append(text.as_bytes(), durable));
    }
}

/// What lines are appended to.
#[derive(Debug)]
struct File {
    path: PathBuf,
    /// Whether the last line may have been written by half.
    torn: bool,
}

impl File {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), torn: false }
    }

    fn append(&mut self, bytes: &[u8], durable: bool) -> std::io::Result<()> {
        // Names of subjects are nobody else's business.
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(&self.path)?;
        if self.torn {
            // Else this line would be the other half of that one. After a line of which nothing was
            // written it leaves an empty one.
            file.write_all(b"\n")?;
        }
        self.torn = true;
        file.write_all(bytes)?;
        self.torn = false;
        if durable { file.sync_data() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(outcome: &'static str) -> Entry {
        Entry { outcome, subject: Some("a".into()), ..Entry::default() }
    }

    #[tokio::test]
    async fn lines_are_appended_and_a_file_that_is_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let audit = Audit::open(&AuditConfig { file: Some(file.clone()), required: true }).unwrap();
        assert!(audit.note(&entry("begun")).await && audit.note(&entry("done")).await);
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["outcome"], &lines[1]["subject"]), (&"begun".into(), &"a".into()));
        std::fs::rename(&file, folder.path().join("old")).unwrap();
        assert!(audit.note(&entry("done")).await);
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1);
    }

    #[test]
    fn after_a_line_that_was_cut_off_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let [path, log] = ["audit.jsonl", "log"].map(|name| folder.path().join(name));
        // A disk that is full.
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut file = File::new(&path);
        file.append(b"{\"a\":1}\n", false).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&log, "{\"a\"").unwrap();
        std::os::unix::fs::symlink(&log, &path).unwrap();
        file.append(b"{\"b\":1}\n", false).unwrap();
        file.append(b"{\"c\":1}\n", false).unwrap();
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "{\"a\"\n{\"b\":1}\n{\"c\":1}\n");
    }

    /// One poll, and then the one who asked goes away.
    async fn asked_and_left(sink: &Sink) -> bool {
        let asked = sink.append("{}\n".to_owned(), false);
        tokio::time::timeout(std::time::Duration::ZERO, asked).await.is_err()
    }

    #[tokio::test]
    async fn a_line_keeps_its_place_until_it_is_written_whoever_has_gone_away() {
        let (sink, queue) = Sink::new(Path::new("audit.jsonl"));
        for line in 0..LINES_WAITING_MAX {
            assert!(asked_and_left(&sink).await, "line {line}");
        }
        assert_eq!(sink.places.available_permits(), 0);
        assert!(asked_and_left(&sink).await, "one more waits for a place, and is not refused");
        drop(queue.recv().unwrap());
        assert!(asked_and_left(&sink).await);
        assert_eq!(queue.try_iter().count(), LINES_WAITING_MAX);
        assert_eq!(sink.places.available_permits(), LINES_WAITING_MAX);
    }

    #[tokio::test]
    async fn only_changes_wait_for_the_disk() {
        let (sink, queue) = Sink::new(Path::new("audit.jsonl"));
        let audit = Audit { required: true, file: Some(sink) };
        for (outcome, durable) in [("begun", true), ("failed", true), (REFUSED, false)] {
            let noted = entry(outcome);
            let waiting = tokio::time::timeout(std::time::Duration::ZERO, audit.note(&noted));
            assert!(waiting.await.is_err(), "nobody writes");
            assert_eq!(queue.try_recv().unwrap().durable, durable, "{outcome}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let audit =
            Audit::open(&AuditConfig { file: Some(file.clone()), required: false }).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(!audit.note(&entry("done")).await);
        Audit::open(&AuditConfig { file: Some(file), required: false }).unwrap_err();
    }
}
