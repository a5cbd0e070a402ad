//! The log's folder: who holds it, which format it has, what else may lie in it.
//!
//! ```text
//! lock         held while the log is open
//! format       "tidemesh-log 1"
//! store/       the storage's own files
//! store.new/   a storage whose making was interrupted; removed
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind as IoKind, Write as _};
use std::path::{Path, PathBuf};
use tidemesh_model::{Error, ErrorKind, Result};

/// The newest format that this program knows.
pub(super) const FORMAT_VERSION: u32 = 1;

const FORMAT_NAME: &str = "tidemesh-log";
const LOCK_FILE: &str = "lock";
const FORMAT_FILE: &str = "format";
const FORMAT_FILE_NEW: &str = "format.new";
const STORE_FOLDER: &str = "store";
const STORE_FOLDER_NEW: &str = "store.new";

/// A folder that is ours while this lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is missing, locks it and checks its format.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |error| failed(path, error);
        std::fs::create_dir_all(path).map_err(failed)?;
        check_content(path)?;
        let lock = lock(path)?;
        match std::fs::read_to_string(path.join(FORMAT_FILE)) {
            Ok(text) => check_format(path, &text)?,
            Err(error) if error.kind() == IoKind::NotFound => {
                write_format(path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        match std::fs::remove_dir_all(path.join(STORE_FOLDER_NEW)) {
            Err(error) if error.kind() != IoKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the storage is.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE_FOLDER)
    }

    /// Where a storage is made, before [`Folder::finish_store`] puts it in its place.
    pub(super) fn store_new(&self) -> PathBuf {
        self.path.join(STORE_FOLDER_NEW)
    }

    /// Puts a storage that was made whole in its place.
    pub(super) fn finish_store(&self) -> Result<()> {
        std::fs::rename(self.store_new(), self.store())
            .and_then(|()| sync_folder(&self.path))
            .map_err(|error| failed(&self.path, error))
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Storage, "open the log")
        .because("its folder cannot be used")
        .with("folder", path.display())
        .caused_by(error)
}

/// A folder without a format must hold nothing but what an interrupted start leaves.
fn check_content(path: &Path) -> Result<()> {
    if path.join(FORMAT_FILE).exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(|error| failed(path, error))? {
        let name = entry.map_err(|error| failed(path, error))?.file_name();
        if name != LOCK_FILE && name != FORMAT_FILE_NEW && name != "lost+found" {
            return Err(Error::new(ErrorKind::Config, "open the log")
                .because("the folder holds something that is not a log")
                .with("folder", path.display())
                .with("found", name.display())
                .help("use an empty folder"));
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK_FILE))
        .map_err(|error| failed(path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(ErrorKind::Conflict, "open the log")
            .because("another `tidemesh up` has this folder open")
            .with("folder", path.display())
            .help("stop the other process, or use another folder")),
        Err(TryLockError::Error(error)) => Err(failed(path, error)),
    }
}

fn check_format(path: &Path, text: &str) -> Result<()> {
    let version = text
        .trim_end()
        .strip_prefix(FORMAT_NAME)
        .and_then(|rest| rest.trim_start().parse::<u32>().ok());
    match version {
        Some(FORMAT_VERSION) => Ok(()),
        Some(version) if version > FORMAT_VERSION => {
            Err(Error::new(ErrorKind::NewerVersion, "open the log")
                .because("a newer version of tidemesh wrote this folder")
                .with("folder", path.display())
                .with("format", version)
                .with("format_known", FORMAT_VERSION)
                .help("run the version that wrote it, or a newer one"))
        }
        _ => Err(Error::new(ErrorKind::Config, "open the log")
            .because("the folder's format is not one of ours")
            .with("folder", path.display())
            .with("file", path.join(FORMAT_FILE).display())
            .help("use another folder")),
    }
}

fn write_format(path: &Path) -> std::io::Result<()> {
    let new = path.join(FORMAT_FILE_NEW);
    let mut file = File::create(&new)?;
    writeln!(file, "{FORMAT_NAME} {FORMAT_VERSION}")?;
    file.sync_all()?;
    std::fs::rename(&new, path.join(FORMAT_FILE))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_and_found_again() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        drop(Folder::open(&path).unwrap());
        drop(Folder::open(&path).unwrap());
        let text = std::fs::read_to_string(path.join(FORMAT_FILE)).unwrap();
        assert_eq!(text, "tidemesh-log 1\n");
    }

    #[test]
    fn a_second_opener_is_refused_and_told_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        let _first = Folder::open(temp.path()).unwrap();
        let error = Folder::open(temp.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains(temp.path().to_str().unwrap()));
        assert!(error.to_string().contains("tidemesh up"));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join(FORMAT_FILE), "tidemesh-log 2\n").unwrap();
        let error = Folder::open(temp.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerVersion);
    }

    #[test]
    fn a_folder_with_something_else_is_refused_and_left_alone() {
        for (file, text) in [("photo.jpg", "x"), (FORMAT_FILE, "other 1")] {
            let temp = tempfile::tempdir().unwrap();
            std::fs::write(temp.path().join(file), text).unwrap();
            let error = Folder::open(temp.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{file}");
            assert_eq!(std::fs::read_to_string(temp.path().join(file)).unwrap(), text);
        }
    }

    #[test]
    fn what_an_interrupted_start_left_is_removed() {
        let temp = tempfile::tempdir().unwrap();
        drop(Folder::open(temp.path()).unwrap());
        std::fs::create_dir_all(temp.path().join(STORE_FOLDER_NEW).join("x")).unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        assert!(!folder.store_new().exists());
    }
}
