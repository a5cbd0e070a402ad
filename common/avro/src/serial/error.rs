//! What a value does not fit, on its way out of serde's recursion: the path grows as it unwinds, so
//! that nothing keeps one while all is well.

use std::borrow::Cow;
use std::fmt;
use tidemesh_model::{Error, ErrorKind};

/// How serde's own errors begin. They hold names of types and fields, never a value; what other
/// types say of themselves may hold one and is not repeated.
const SERDE_MESSAGES: &[&str] = &[
    "can only flatten structs and maps",
    "cannot serialize tagged newtype variant",
    "path contains invalid UTF-8 characters",
    "lock poison error",
    "already mutably borrowed",
    "SystemTime must be later than UNIX_EPOCH",
    "the enum variant",
    "i128 is not supported",
    "u128 is not supported",
];

/// The most characters of a name, which in a map is part of the data, that an error repeats.
const NAME_CHARS_MAX: usize = 64;

/// A value that cannot be written. One pointer, so that the good path's results stay small.
#[derive(Debug)]
pub(super) struct Fault(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    found: Option<Cow<'static, str>>,
    expected: Option<String>,
    help: Option<&'static str>,
    /// The innermost first.
    path: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Field(String),
    Index(usize),
    Entry(usize),
}

impl Fault {
    #[cold]
    pub(super) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind: ErrorKind::Malformed,
            message: message.into(),
            found: None,
            expected: None,
            help: None,
            path: Vec::new(),
        }))
    }

    /// One of a value that is nested too deep.
    #[cold]
    pub(super) fn too_deep() -> Self {
        let mut fault = Self::new("the value is nested too deep");
        fault.0.kind = ErrorKind::TooLarge;
        fault
    }

    /// What serde gave: its type, never its value.
    #[cold]
    pub(super) fn found(mut self, found: impl Into<Cow<'static, str>>) -> Self {
        self.0.found = Some(found.into());
        self
    }

    /// What the schema says.
    #[cold]
    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.0.expected = Some(expected.into());
        self
    }

    #[cold]
    pub(super) fn help(mut self, help: &'static str) -> Self {
        self.0.help = Some(help);
        self
    }

    #[cold]
    pub(super) fn under_field(mut self, name: &str) -> Self {
        self.0.path.push(Step::Field(shown(name)));
        self
    }

    #[cold]
    pub(super) fn under_index(mut self, index: usize) -> Self {
        self.0.path.push(Step::Index(index));
        self
    }

    /// Within a map's entry, told by its place: its key is part of the data.
    #[cold]
    pub(super) fn under_entry(mut self, entry: usize) -> Self {
        self.0.path.push(Step::Entry(entry));
        self
    }

    #[cold]
    pub(super) fn into_error(self) -> Error {
        let path = self.path();
        let inner = *self.0;
        let mut error = Error::new(inner.kind, "encode an event").because(inner.message);
        if !path.is_empty() {
            error = error.with("path", path);
        }
        if let Some(expected) = inner.expected {
            error = error.with("expected", expected);
        }
        if let Some(found) = inner.found {
            error = error.with("found", found);
        }
        match inner.help {
            Some(help) => error.help(help),
            None => error,
        }
    }

    /// As `order.lines[3].price`; a map's entries as `{3}`.
    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.0.path.iter().rev() {
            match step {
                Step::Field(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Entry(entry) => path.push_str(&format!("{{{entry}}}")),
            }
        }
        path
    }
}

/// A name as an error shows it: not without end.
#[cold]
pub(super) fn shown(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        if SERDE_MESSAGES.iter().any(|known| message.starts_with(known)) {
            return Self::new(message);
        }
        Self::new("the type's own Serialize refused the value")
            .help("what it said is not repeated here, as it may hold the value")
    }
}
