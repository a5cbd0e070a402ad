//! Secrets of sources, which stand in files.

use super::tables;
use std::path::{Component, Path};
use tidemesh_model::{Error, ErrorKind, Result, Secret, SourceSettings};
use tidemesh_transport::check_topics;

/// The settings of a source that a document declares, with the secrets that its files hold. Who writes
/// documents is not who may read this machine's files: those that they name are within `folder`.
///
/// # Errors
///
/// `Config`, beginning with the key.
pub(crate) fn declared(mut source: SourceSettings, folder: &Path) -> Result<SourceSettings> {
    for (key, file) in source.postgres.iter_mut().flat_map(|postgres| postgres.files_mut()) {
        if file.components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(Error::new(ErrorKind::Config, "use the settings")
                .because(format!("{key}: this is no file within the daemon's folder of secrets"))
                .help(format!("put it into {}, and write its name", folder.display())));
        }
        *file = folder.join(&*file);
    }
    check_topics(&source.name, &tables(&source)?)?;
    read_secrets(&mut source)?;
    Ok(source)
}

/// Puts the first line of `password_file`, and of each `salt_file`, where the connector looks for the
/// secret itself.
pub(super) fn read_secrets(source: &mut SourceSettings) -> Result<()> {
    let Some(postgres) = &mut source.postgres else {
        return Ok(());
    };
    let wrong = |problem: &str| {
        Error::new(ErrorKind::Config, "use the configuration")
            .because(problem)
            .with("source", &source.name)
    };
    if let Some(file) = postgres.password_file.take() {
        let wrong = || wrong("postgres.password_file: the file cannot be read");
        postgres.password = Some(first_line(&file, wrong)?);
    }
    for mask in &mut postgres.mask {
        if let Some(file) = mask.salt_file.take() {
            let wrong = || wrong("postgres.mask.salt_file: the file cannot be read");
            mask.salt = Some(first_line(&file, wrong)?);
            mask.validate()?;
        }
    }
    Ok(())
}

/// The secret that a file's first line is; `wrong` is the error if it cannot be read.
pub(super) fn first_line(file: &Path, wrong: impl FnOnce() -> Error) -> Result<Secret> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| wrong().with("file", file.display()).caused_by(error))?;
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(file: &str) -> SourceSettings {
        let postgres = serde_json::json!({
            "database": "d", "user": "u", "tables": ["s.t"], "password_file": file,
        });
        serde_json::from_value(serde_json::json!({"name": "shop", "postgres": postgres})).unwrap()
    }

    #[test]
    fn a_document_names_files_of_the_folder_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop"), "hush\n").unwrap();
        let read = declared(source("shop"), folder.path()).unwrap().postgres.unwrap();
        assert_eq!(read.password.unwrap().expose(), "hush");
        for outside in ["/etc/passwd", "../shop", "a/../../shop", "."] {
            let error = declared(source(outside), folder.path()).unwrap_err();
            assert!(error.to_string().contains("postgres.password_file"), "{error}");
        }
        let error = declared(source("other"), folder.path()).unwrap_err().report();
        assert!(error.contains("cannot be read"), "{error}");
    }
}
