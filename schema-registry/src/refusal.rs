//! What the registry refuses, in Confluent's words and numbers.
//!
//! Codes and messages: `Errors.java` and `Rest*Exception.java` of Confluent Schema Registry
//! (master, 2026). Clients match on both, so a message here is part of the contract, odd spacing
//! included. Nothing here knows HTTP beyond the number of the status.

use tidemesh_model::{Error, ErrorKind};

use crate::config::IncompatibleCode;

/// An operation that the registry did not carry out, and why.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// 40401: there is no such subject.
    SubjectNotFound(String),
    /// 40402: the subject has no such version; -1 stands for the latest.
    VersionNotFound(i64),
    /// 40403: no schema with this id, or (without an id) this text, is registered.
    SchemaNotFound(Option<u32>),
    /// 40404: the subject is soft-deleted already.
    SubjectSoftDeleted(String),
    /// 40405: only a soft-deleted subject can be deleted permanently.
    SubjectNotSoftDeleted(String),
    /// 40406: the version is soft-deleted already.
    VersionSoftDeleted {
        /// The subject.
        subject: String,
        /// The version as it was asked for: a number or `latest`.
        version: String,
    },
    /// 40407: only a soft-deleted version can be deleted permanently.
    VersionNotSoftDeleted {
        /// The subject.
        subject: String,
        /// The version.
        version: u32,
    },
    /// 40408: the subject has no compatibility level of its own.
    LevelNotConfigured(String),
    /// 40409: the subject has no mode of its own.
    ModeNotConfigured(String),
    /// 409 or 40901: readers of an earlier version could not live with the schema.
    Incompatible {
        /// The subject.
        subject: String,
        /// What is wrong, one text for each finding, in Confluent's form.
        details: Vec<String>,
    },
    /// 42201: the schema, its type or its references do not hold.
    InvalidSchema(String),
    /// 42202: what was given is no version.
    InvalidVersion(String),
    /// 42203: what was given is no compatibility level.
    InvalidLevel,
    /// 42204: what was given is no mode.
    InvalidMode,
    /// 422: what was given is no configuration.
    InvalidSetting(String),
    /// 422: what was given is no consumer.
    InvalidConsumer(String),
    /// 40411: the subject has no consumer of this name.
    ConsumerNotFound {
        /// The consumer.
        consumer: String,
        /// The subject.
        subject: String,
    },
    /// 50001: the log does not tell who reads the subject's data.
    GroupsUnknown(Error),
    /// 40401: there is no such context.
    ContextNotFound(String),
    /// 42211: only a context without subjects can be deleted.
    ContextNotEmpty(String),
    /// 42205: not allowed in this mode, or beyond a limit.
    NotPermitted(String),
    /// 42206: a schema refers to this version.
    ReferenceExists {
        /// The subject that is referred to.
        subject: String,
        /// The version that is referred to.
        version: u32,
    },
    /// 42208: what was given is no subject name.
    InvalidSubject(String),
    /// 42209: the text is longer than [`crate::Limits::schema_bytes_max`].
    SchemaTooLarge,
    /// 42210: the rules do not hold.
    InvalidRuleSet(String),
    /// 500: a bug of ours.
    Internal,
    /// 50002: it took too long; whether it is carried out is not known.
    Timeout(&'static str),
    /// 50001: the store failed. What its last step was about may be carried out all the same.
    Store {
        /// What was being done, as a sentence.
        message: &'static str,
        /// What the store said.
        cause: Error,
    },
}

impl Refusal {
    /// The HTTP status of the answer: Confluent's, which clients match on, and not that of the kind
    /// ([`ErrorKind::http_status`]), by which a store that is away would be 503, and a schema that is too
    /// large 413.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::SubjectNotFound(_)
            | Self::VersionNotFound(_)
            | Self::SchemaNotFound(_)
            | Self::SubjectSoftDeleted(_)
            | Self::SubjectNotSoftDeleted(_)
            | Self::VersionSoftDeleted { .. }
            | Self::VersionNotSoftDeleted { .. }
            | Self::LevelNotConfigured(_)
            | Self::ModeNotConfigured(_)
            | Self::ContextNotFound(_)
            | Self::ConsumerNotFound { .. } => 404,
            Self::Incompatible { .. } => 409,
            Self::InvalidSchema(_)
            | Self::InvalidVersion(_)
            | Self::InvalidLevel
            | Self::InvalidMode
            | Self::InvalidSetting(_)
            | Self::InvalidConsumer(_)
            | Self::ContextNotEmpty(_)
            | Self::NotPermitted(_)
            | Self::ReferenceExists { .. }
            | Self::InvalidSubject(_)
            | Self::SchemaTooLarge
            | Self::InvalidRuleSet(_) => 422,
            Self::Internal | Self::Timeout(_) | Self::Store { .. } | Self::GroupsUnknown(_) => 500,
        }
    }

    /// The `error_code` of the answer; `incompatible` chooses between Confluent's two.
    #[must_use]
    pub fn code(&self, incompatible: IncompatibleCode) -> u32 {
        match self {
            Self::SubjectNotFound(_) => 40401,
            Self::VersionNotFound(_) => 40402,
            Self::SchemaNotFound(_) => 40403,
            Self::SubjectSoftDeleted(_) => 40404,
            Self::SubjectNotSoftDeleted(_) => 40405,
            Self::VersionSoftDeleted { .. } => 40406,
            Self::VersionNotSoftDeleted { .. } => 40407,
            Self::LevelNotConfigured(_) => 40408,
            Self::ModeNotConfigured(_) => 40409,
            Self::Incompatible { .. } => incompatible.number(),
            Self::InvalidSchema(_) => 42201,
            Self::InvalidVersion(_) => 42202,
            Self::InvalidLevel => 42203,
            Self::InvalidMode => 42204,
            Self::InvalidSetting(_) | Self::InvalidConsumer(_) => 422,
            Self::ConsumerNotFound { .. } => 40411,
            Self::ContextNotFound(_) => 40401,
            Self::ContextNotEmpty(_) => 42211,
            Self::NotPermitted(_) => 42205,
            Self::ReferenceExists { .. } => 42206,
            Self::InvalidSubject(_) => 42208,
            Self::SchemaTooLarge => 42209,
            Self::InvalidRuleSet(_) => 42210,
            Self::Internal => 500,
            Self::Store { .. } | Self::GroupsUnknown(_) => 50001,
            Self::Timeout(_) => 50002,
        }
    }

    /// The `message` of the answer.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::SubjectNotFound(subject) => format!("Subject '{subject}' not found."),
            Self::VersionNotFound(version) => format!("Version {version} not found."),
            Self::SchemaNotFound(Some(id)) => format!("Schema {id} not found"),
            Self::SchemaNotFound(None) => "Schema not found".to_owned(),
            Self::SubjectSoftDeleted(subject) => format!(
                "Subject '{subject}' was soft deleted.Set permanent=true to delete permanently"
            ),
            Self::SubjectNotSoftDeleted(subject) => format!(
                "Subject '{subject}' was not deleted first before being permanently deleted"
            ),
            Self::VersionSoftDeleted { subject, version } => format!(
                "Subject '{subject}' Version {version} was soft deleted.\
                 Set permanent=true to delete permanently"
            ),
            Self::VersionNotSoftDeleted { subject, version } => format!(
                "Subject '{subject}' Version {version} was not deleted first \
                 before being permanently deleted"
            ),
            Self::LevelNotConfigured(subject) => {
                format!("Subject '{subject}' does not have subject-level compatibility configured")
            }
            Self::ModeNotConfigured(subject) => {
                format!("Subject '{subject}' does not have subject-level mode configured")
            }
            Self::Incompatible { subject, details } => format!(
                "Schema being registered is incompatible with an earlier schema \
                 for subject \"{subject}\", details: [{}]",
                details.join(", ")
            ),
            Self::InvalidSchema(text)
            | Self::NotPermitted(text)
            | Self::InvalidRuleSet(text)
            | Self::InvalidSetting(text)
            | Self::InvalidConsumer(text) => text.clone(),
            Self::ConsumerNotFound { consumer, subject } => {
                format!("Consumer '{consumer}' of subject '{subject}' not found.")
            }
            Self::GroupsUnknown(error) => {
                let error = error.report();
                format!(
                    "Who reads this subject's data cannot be asked, so nothing is judged: {error}"
                )
            }
            Self::InvalidMode => {
                "Invalid mode. Valid values are READWRITE, READONLY, IMPORT and FORWARD.".to_owned()
            }
            Self::ContextNotFound(context) => format!("Context '{context}' not found."),
            Self::ContextNotEmpty(context) => {
                format!("The specified context '{context}' is not empty.")
            }
            Self::InvalidVersion(version) => format!(
                "The specified version '{version}' is not a valid version id. \
                 Allowed values are between [1, 2^31-1] and the string \"latest\""
            ),
            Self::InvalidLevel => "Invalid compatibility level. Valid values are none, backward, \
                 forward, full, backward_transitive, forward_transitive, and full_transitive"
                .to_owned(),
            Self::ReferenceExists { subject, version } => format!(
                "One or more references exist to the schema \
                 {{magic=1,keytype=SCHEMA,subject={subject},version={version}}}."
            ),
            Self::InvalidSubject(subject) => {
                format!("The specified subject '{subject}' is not a valid.")
            }
            Self::SchemaTooLarge => {
                "Register operation failed because schema is too large".to_owned()
            }
            Self::Internal => "Internal Server Error".to_owned(),
            Self::Timeout(message) | Self::Store { message, .. } => (*message).to_owned(),
        }
    }

    /// Where a schema is needed and none was sent.
    pub(crate) fn empty_schema() -> Self {
        Self::InvalidSchema("Empty schema".to_owned())
    }

    /// Whether something was not there, which another process may have made since.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::SubjectNotFound(_)
                | Self::VersionNotFound(_)
                | Self::SchemaNotFound(_)
                | Self::ConsumerNotFound { .. }
        )
    }

    /// The same once more, for another who asked.
    pub(crate) fn repeated(&self) -> Self {
        match self {
            Self::SchemaTooLarge => Self::SchemaTooLarge,
            other => Self::InvalidSchema(other.message()),
        }
    }

    /// The kind in the project's one error type.
    fn kind(&self) -> ErrorKind {
        match self {
            Self::SubjectNotFound(_)
            | Self::VersionNotFound(_)
            | Self::SchemaNotFound(_)
            | Self::LevelNotConfigured(_)
            | Self::ModeNotConfigured(_)
            | Self::ContextNotFound(_)
            | Self::ConsumerNotFound { .. } => ErrorKind::NotFound,
            Self::SubjectSoftDeleted(_)
            | Self::SubjectNotSoftDeleted(_)
            | Self::VersionSoftDeleted { .. }
            | Self::VersionNotSoftDeleted { .. }
            | Self::ReferenceExists { .. }
            | Self::ContextNotEmpty(_)
            | Self::NotPermitted(_) => ErrorKind::Conflict,
            Self::Incompatible { .. } => ErrorKind::Incompatible,
            Self::InvalidSchema(_)
            | Self::InvalidVersion(_)
            | Self::InvalidLevel
            | Self::InvalidMode
            | Self::InvalidSetting(_)
            | Self::InvalidSubject(_)
            | Self::InvalidConsumer(_)
            | Self::InvalidRuleSet(_) => ErrorKind::Malformed,
            Self::SchemaTooLarge => ErrorKind::TooLarge,
            Self::Timeout(_) => ErrorKind::Timeout,
            Self::Internal => ErrorKind::Internal,
            Self::Store { cause, .. } | Self::GroupsUnknown(cause) => cause.kind(),
        }
    }
}

/// For callers in the same process, who know no error codes.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = Self::new(refusal.kind(), "use the schema registry")
            .because(refusal.message())
            .with("error_code", refusal.code(IncompatibleCode::default()));
        match refusal {
            Refusal::Store { cause, .. } => error.caused_by(cause),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_confluents_to_the_letter() {
        let subject = || "a".to_owned();
        let texts = [
            (Refusal::SubjectNotFound(subject()), "Subject 'a' not found."),
            (
                Refusal::SubjectSoftDeleted(subject()),
                "Subject 'a' was soft deleted.Set permanent=true to delete permanently",
            ),
            (
                Refusal::VersionSoftDeleted { subject: subject(), version: "latest".into() },
                "Subject 'a' Version latest was soft deleted.\
                 Set permanent=true to delete permanently",
            ),
            (
                Refusal::VersionNotSoftDeleted { subject: subject(), version: 2 },
                "Subject 'a' Version 2 was not deleted first before being permanently deleted",
            ),
            (
                Refusal::InvalidVersion("0".into()),
                "The specified version '0' is not a valid version id. Allowed values are between \
                 [1, 2^31-1] and the string \"latest\"",
            ),
            (
                Refusal::ReferenceExists { subject: subject(), version: 1 },
                "One or more references exist to the schema \
                 {magic=1,keytype=SCHEMA,subject=a,version=1}.",
            ),
        ];
        for (refusal, text) in texts {
            assert_eq!(refusal.message(), text);
        }
    }

    #[test]
    fn only_the_code_of_an_incompatible_schema_is_a_choice() {
        let refusal = Refusal::Incompatible { subject: "a".into(), details: vec![] };
        assert_eq!(refusal.status(), 409);
        assert_eq!(refusal.code(IncompatibleCode::Code409), 409);
        assert_eq!(refusal.code(IncompatibleCode::Code40901), 40901);
        assert_eq!(Refusal::InvalidLevel.code(IncompatibleCode::Code409), 42203);
    }
}
