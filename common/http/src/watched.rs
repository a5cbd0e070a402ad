//! Files that are read again when they change: certificates, users, clients, keys.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tidemesh_model::{Error, ErrorKind, Result};

/// How often files are looked at for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The largest file that most are: a list of users, a chain of certificates, a set of keys.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

type Load<T> = Box<dyn Fn() -> Result<T> + Send + Sync>;

/// What was read from files last, without an error.
pub struct Watched<T> {
    what: String,
    files: Vec<PathBuf>,
    load: Load<T>,
    seen: Mutex<Seen>,
    value: RwLock<Arc<T>>,
}

impl<T> std::fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("what", &self.what).finish_non_exhaustive()
    }
}

/// What tells one content of a file from another without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds. A copy may keep the time of its original.
    modified: (i64, i64),
    /// The same, of the last change of anything, which nobody can set.
    changed: (i64, i64),
}

/// What the files were like when they were read.
struct Seen {
    files: Vec<Stamp>,
    /// What was last told of files that cannot be used.
    told: Option<String>,
}

impl Stamp {
    fn of(file: &Path) -> Option<Self> {
        let found: Metadata = std::fs::metadata(file).ok()?;
        Some(Self {
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().filter_map(|file| Stamp::of(file)).collect()
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the files for the first time. `what` names them in the log.
    ///
    /// # Errors
    ///
    /// As `load`.
    pub fn open(
        what: impl Into<String>,
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T> + Send + Sync + 'static,
    ) -> Result<Arc<Self>> {
        // Before reading: what changes meanwhile is then seen as a change.
        let seen = Mutex::new(Seen { files: stamps(&files), told: None });
        let value = RwLock::new(Arc::new(load()?));
        let what = what.into();
        Ok(Arc::new(Self { what, files, load: Box::new(load), seen, value }))
    }

    /// What holds now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the files from time to time, until nobody has this any more. To be called within a
    /// runtime.
    pub fn follow(self: &Arc<Self>) {
        let watched = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(CHECK_INTERVAL).await;
                let Some(watched) = watched.upgrade() else { return };
                // A failure to run it leaves what holds as it is; the next round tries again.
                let _ = tokio::task::spawn_blocking(move || watched.check()).await;
            }
        });
    }

    /// Reads the files again if they have changed. What cannot be used is told, once for each way in
    /// which it cannot, and what held before goes on; it is tried again until it can, since what was
    /// wrong need not be in the files.
    pub fn check(&self) {
        let files = stamps(&self.files);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.files == files {
            return;
        }
        match (self.load)() {
            Ok(value) => {
                *self.value.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
                *seen = Seen { files, told: None };
                tracing::info!(what = self.what, "files were read again");
            }
            Err(error) => {
                let (what, error) = (&self.what, error.report());
                if seen.told.as_ref() != Some(&error) {
                    tracing::error!(what, error, "changed files cannot be used; the old ones hold");
                    seen.told = Some(error);
                }
            }
        }
    }
}

/// The bytes of a file that the setting `key` names, at most `bytes_max`.
///
/// # Errors
///
/// `Config`, naming the key and the file, if it cannot be read or is larger.
pub fn read_file(file: &Path, key: &str, bytes_max: u64) -> Result<Vec<u8>> {
    let wrong = |because: String| {
        Error::new(ErrorKind::Config, "use the configuration")
            .because(format!("{key}: {because}"))
            .with("file", file.display())
    };
    let unread = |error| wrong("the file cannot be read".to_owned()).caused_by(error);
    if std::fs::metadata(file).map_err(unread)?.len() > bytes_max {
        return Err(wrong(format!("the file is larger than {bytes_max} bytes")));
    }
    std::fs::read(file).map_err(unread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        std::fs::write(&file, "1").unwrap();
        let path = file.clone();
        let load = move || {
            let text = String::from_utf8(read_file(&path, "number", 10)?).unwrap();
            text.parse::<u32>().map_err(|e| Error::new(ErrorKind::Config, "read").caused_by(e))
        };
        let watched = Watched::open("a number", vec![file.clone()], load).unwrap();
        assert_eq!(*watched.get(), 1);
        for (text, holds) in [("22", 22), ("none", 22), ("333", 333)] {
            std::fs::write(&file, text).unwrap();
            watched.check();
            assert_eq!(*watched.get(), holds, "{text}");
        }
        std::fs::remove_file(&file).unwrap();
        watched.check();
        assert_eq!(*watched.get(), 333);
    }

    #[test]
    fn what_could_not_be_read_for_a_while_is_read_once_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        std::fs::write(&file, "1").unwrap();
        let is_up = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let (path, up) = (file.clone(), Arc::clone(&is_up));
        let load = move || match up.load(std::sync::atomic::Ordering::Relaxed) {
            true => Ok(std::fs::read_to_string(&path).unwrap()),
            false => Err(Error::new(ErrorKind::Unavailable, "read")),
        };
        let watched = Watched::open("a number", vec![file.clone()], load).unwrap();
        is_up.store(false, std::sync::atomic::Ordering::Relaxed);
        std::fs::write(&file, "22").unwrap();
        watched.check();
        assert_eq!(*watched.get(), "1");
        is_up.store(true, std::sync::atomic::Ordering::Relaxed);
        watched.check();
        assert_eq!(*watched.get(), "22");
    }

    #[test]
    fn a_file_of_the_same_length_and_time_is_seen_to_be_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        std::fs::write(&file, "1").unwrap();
        let before = Stamp::of(&file).unwrap();
        let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
        let ctime = || {
            let found = std::fs::metadata(&file).unwrap();
            (found.ctime(), found.ctime_nsec())
        };
        let first = ctime();
        // The clock of a file system goes in steps.
        while ctime() == first {
            std::fs::write(&file, "2").unwrap();
            let open = std::fs::File::options().write(true).open(&file).unwrap();
            open.set_modified(modified).unwrap();
        }
        let after = Stamp::of(&file).unwrap();
        assert_eq!((before.modified, before.bytes), (after.modified, after.bytes));
        assert_ne!(before, after);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_its_key() {
        let error = read_file(Path::new("/nowhere"), "registry.users.file", 1).unwrap_err();
        assert!(error.to_string().contains("registry.users.file"), "{error}");
    }

    #[test]
    fn a_file_beyond_its_bound_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("users");
        std::fs::write(&file, "ann").unwrap();
        assert_eq!(read_file(&file, "users", 3).unwrap(), b"ann");
        let error = read_file(&file, "users", 2).unwrap_err();
        assert!(error.to_string().contains("users: the file is larger than 2 bytes"), "{error}");
    }
}
