//! The one error type of the project: what went wrong, where, and what to do about it.

use std::error::Error as StdError;
use std::fmt;

/// A `Result` with the project's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong. Callers decide by kind, never by message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, document or command-line argument is wrong.
    Config,
    /// The other side could not be reached or went away: a server, a socket.
    Unavailable,
    /// An operation did not finish in its time.
    Timeout,
    /// A queue, budget or limit of ours is exhausted for now.
    Exhausted,
    /// The other side refused our credentials.
    Authentication,
    /// The other side refused because a privilege is missing.
    Privilege,
    /// A prerequisite on the other side is not met (a server setting, a replica identity).
    Prerequisite,
    /// The thing named does not exist.
    NotFound,
    /// The thing exists already, or is held by somebody else.
    Conflict,
    /// A newer instance of the same writer has taken over; this one writes nothing more.
    Fenced,
    /// The source's log no longer reaches back to the position we need, or is another log.
    PositionLost,
    /// A value or type that this version does not carry.
    Unsupported,
    /// A schema that its readers cannot read was refused.
    Incompatible,
    /// Text or bytes from outside that do not follow their format: a schema, a protocol message.
    Malformed,
    /// Bytes of our own, read back from disk, are not what was written.
    Corrupt,
    /// A file, folder or protocol was written by a newer version of this program.
    NewerVersion,
    /// The disk or another local resource failed or is full.
    Storage,
    /// A value is larger than a named limit.
    TooLarge,
    /// An invariant of ours does not hold: a bug.
    Internal,
}

/// What a supervisor does about an error: the exhaustive choice that each kind must make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// It will pass: try again with back-off, for ever, visibly.
    Retry,
    /// It will not pass by itself: stop this source or request and say what is needed.
    Stop,
}

impl ErrorKind {
    /// Whether trying again can help.
    #[must_use]
    pub fn remedy(self) -> Remedy {
        match self {
            // A full disk gets room again.
            Self::Unavailable | Self::Timeout | Self::Exhausted | Self::Storage => Remedy::Retry,
            // As the standby of the instance that has taken over.
            Self::Fenced => Remedy::Retry,
            Self::Config
            | Self::Authentication
            | Self::Privilege
            | Self::Prerequisite
            | Self::NotFound
            | Self::Conflict
            | Self::PositionLost
            | Self::Unsupported
            | Self::Incompatible
            | Self::Malformed
            | Self::Corrupt
            | Self::NewerVersion
            | Self::TooLarge
            | Self::Internal => Remedy::Stop,
        }
    }

    /// The HTTP status of an answer that an error of this kind is (RFC 9110, 15.5 and 15.6): 4xx is what
    /// the request can mend, 5xx what it cannot. The ports of a daemon ask nobody who they are, so that
    /// who was not let in, or lacks a privilege, is the daemon, at a server behind it.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Conflict | Self::Fenced => 409,
            Self::TooLarge => 413,
            Self::Config | Self::Unsupported | Self::Incompatible | Self::Malformed => 422,
            Self::Corrupt | Self::NewerVersion | Self::Storage | Self::Internal => 500,
            Self::Authentication | Self::Privilege | Self::Prerequisite | Self::PositionLost => 502,
            Self::Unavailable | Self::Timeout | Self::Exhausted => 503,
        }
    }

    /// The name used in logs, metrics' labels and API answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Exhausted => "exhausted",
            Self::Authentication => "authentication",
            Self::Privilege => "privilege",
            Self::Prerequisite => "prerequisite",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Fenced => "fenced",
            Self::PositionLost => "position_lost",
            Self::Unsupported => "unsupported",
            Self::Incompatible => "incompatible",
            Self::Malformed => "malformed",
            Self::Corrupt => "corrupt",
            Self::NewerVersion => "newer_version",
            Self::Storage => "storage",
            Self::TooLarge => "too_large",
            Self::Internal => "internal",
        }
    }

    /// Every kind, for tables over kinds (the remote protocol, tests).
    pub const ALL: [Self; 19] = [
        Self::Config,
        Self::Unavailable,
        Self::Timeout,
        Self::Exhausted,
        Self::Authentication,
        Self::Privilege,
        Self::Prerequisite,
        Self::NotFound,
        Self::Conflict,
        Self::Fenced,
        Self::PositionLost,
        Self::Unsupported,
        Self::Incompatible,
        Self::Malformed,
        Self::Corrupt,
        Self::NewerVersion,
        Self::Storage,
        Self::TooLarge,
        Self::Internal,
    ];
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One error: its kind, the operation that failed, context by name, what to do, and the cause.
///
/// `Display` gives one line without the cause; [`Error::report`] adds the chain of causes.
/// Context holds ids, types, limits and counts: never row values, never secrets.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    message: Option<String>,
    context: Vec<(&'static str, String)>,
    help: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` in `operation`: what was being done, as "start replication".
    #[must_use]
    pub fn new(kind: ErrorKind, operation: &'static str) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                operation,
                message: None,
                context: Vec::new(),
                help: None,
                source: None,
            }),
        }
    }

    /// Says in words what was wrong.
    #[must_use]
    pub fn because(mut self, message: impl Into<String>) -> Self {
        self.inner.message = Some(message.into());
        self
    }

    /// Adds one named fact: an id, a type, a limit, a count.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.inner.context.push((name, value.to_string()));
        self
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.inner.help = Some(help.into());
        self
    }

    /// Keeps the error that led to this one.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// The kind, by which callers decide.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        self.inner.kind.remedy()
    }

    /// What was being done.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.inner.operation
    }

    /// What was wrong, in words, where that was said.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.inner.message.as_deref()
    }

    /// The named facts, in the order they were added.
    #[must_use]
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.inner.context
    }

    /// What the user can do, where that was said.
    #[must_use]
    pub fn help_text(&self) -> Option<&str> {
        self.inner.help.as_deref()
    }

    /// The same failure for another one who waits for it; its causes as text.
    #[must_use]
    pub fn again(&self) -> Self {
        let mut copy = Self::new(self.kind(), self.operation());
        copy.inner.message.clone_from(&self.inner.message);
        copy.inner.context.clone_from(&self.inner.context);
        copy.inner.help.clone_from(&self.inner.help);
        let mut causes = Vec::new();
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        if causes.is_empty() { copy } else { copy.caused_by(causes.join(": ")) }
    }

    /// The whole error in one line: this error, its causes, and the help.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        if let Some(help) = &self.inner.help {
            text.push_str("; ");
            text.push_str(help);
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.inner.operation)?;
        match &self.inner.message {
            Some(message) => write!(f, ": {message}")?,
            None => write!(f, ": {}", self.inner.kind)?,
        }
        for (index, (name, value)) in self.inner.context.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { " (" } else { ", " })?;
        }
        if !self.inner.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.inner.kind, self.report())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_has_operation_message_and_context_but_no_cause() {
        let error = Error::new(ErrorKind::PositionLost, "start replication")
            .because("the slot is gone")
            .with("slot", "tidemesh_shop")
            .caused_by(std::io::Error::other("inner"))
            .help("set on_position_lost");
        assert_eq!(
            error.to_string(),
            "cannot start replication: the slot is gone (slot=tidemesh_shop)"
        );
        assert!(error.report().ends_with(": inner; set on_position_lost"));
    }

    #[test]
    fn a_failure_is_told_again_word_for_word() {
        let cause =
            Error::new(ErrorKind::Timeout, "read").caused_by(std::io::Error::other("inner"));
        let error = Error::new(ErrorKind::Storage, "append")
            .because("the disk is full")
            .with("folder", "x")
            .caused_by(cause)
            .help("make room");
        assert_eq!(error.again().report(), error.report());
        assert_eq!(error.again().kind(), ErrorKind::Storage);
    }

    #[test]
    fn what_the_client_can_mend_is_its_fault_and_nothing_else() {
        let of = |status: u16| -> Vec<&str> {
            let kinds = ErrorKind::ALL.iter().filter(|kind| kind.http_status() == status);
            kinds.map(|kind| kind.name()).collect()
        };
        assert_eq!(of(404), ["not_found"]);
        assert_eq!(of(409), ["conflict", "fenced"]);
        assert_eq!(of(413), ["too_large"]);
        assert_eq!(of(422), ["config", "unsupported", "incompatible", "malformed"]);
        assert_eq!(of(500), ["corrupt", "newer_version", "storage", "internal"]);
        assert_eq!(of(502), ["authentication", "privilege", "prerequisite", "position_lost"]);
        assert_eq!(of(503), ["unavailable", "timeout", "exhausted"]);
        let told = [404, 409, 413, 422, 500, 502, 503].map(|status| of(status).len());
        assert_eq!(told.iter().sum::<usize>(), ErrorKind::ALL.len());
    }

    #[test]
    fn every_kind_has_its_own_name() {
        let names: std::collections::BTreeSet<_> =
            ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }
}
