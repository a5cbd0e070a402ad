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
    for (key, file) in source.files_mut() {
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
    let name = source.name.clone();
    let Some(secrets) = source.secrets_mut() else { return Ok(()) };
    let wrong = |key: &str| {
        Error::new(ErrorKind::Config, "use the configuration")
            .because(format!("{}.{key}: the file cannot be read", secrets.connector))
            .with("source", &name)
    };
    if let Some(file) = secrets.password_file.take() {
        *secrets.password = Some(first_line(&file, || wrong("password_file"))?);
    }
    for mask in secrets.mask.iter_mut() {
        if let Some(file) = mask.salt_file.take() {
            mask.salt = Some(first_line(&file, || wrong("mask.salt_file"))?);
        }
    }
    // A salt has bounds of its own.
    source.validate()
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
    use tidemesh_model::CONNECTORS;

    fn source(connector: &str, file: &str) -> SourceSettings {
        let mut table = serde_json::json!({"user": "u", "tables": ["s.t"], "password_file": file});
        if connector == "postgres" {
            table["database"] = "d".into();
        }
        serde_json::from_value(serde_json::json!({"name": "shop", connector: table})).unwrap()
    }

    #[test]
    fn a_document_names_files_of_the_folder_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("shop"), "hush\n").unwrap();
        for connector in CONNECTORS {
            let mut read = declared(source(connector, "shop"), folder.path()).unwrap();
            assert_eq!(read.secrets_mut().unwrap().password.as_ref().unwrap().expose(), "hush");
            for outside in ["/etc/passwd", "../shop", "a/../../shop", "."] {
                let error = declared(source(connector, outside), folder.path()).unwrap_err();
                let told = error.to_string();
                assert!(told.contains(&format!("{connector}.password_file: this")), "{told}");
            }
            let error = declared(source(connector, "other"), folder.path()).unwrap_err().report();
            let told = format!("{connector}.password_file: the file cannot be read");
            assert!(error.contains(&told), "{error}");
        }
    }
}
