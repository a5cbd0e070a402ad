//! Names of subjects, and the contexts that they stand in.
//!
//! A subject of the context `.ctx` is written `:.ctx:name`; one of the default context, whose name is
//! `.`, without it (Confluent's `QualifiedSubject.java`). Each context has ids of its own. A context
//! without a subject, `:.ctx:`, is the scope of a configuration or a mode, and the empty name is that
//! of the default context, which is the global one.

use std::borrow::Cow;

use crate::config::Limits;
use crate::refusal::Refusal;

/// The name of the default context.
pub(crate) const CONTEXT_DEFAULT: &str = ".";

/// The scope of the whole registry: its configuration holds where neither subject nor context has one.
pub(crate) const SCOPE_GLOBAL: &str = "";

/// The scope above all contexts, the default one included.
pub(crate) const SCOPE_ALL: &str = ":.__GLOBAL:";

/// Every context, written before a prefix.
const CONTEXT_ANY: &str = ":*:";

/// A name, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// The context, `.` or `.ctx`.
    pub(crate) context: &'a str,
    /// The rest; empty for a context.
    pub(crate) subject: &'a str,
}

impl<'a> Name<'a> {
    /// Takes a name apart. Every text is one.
    pub(crate) fn of(text: &'a str) -> Self {
        let Some(rest) = text.strip_prefix(':').filter(|rest| rest.starts_with('.')) else {
            return Self { context: CONTEXT_DEFAULT, subject: text };
        };
        let (context, subject) = rest.split_once(':').unwrap_or((rest, ""));
        Self { context, subject }
    }

    /// Whether it is in the default context.
    pub(crate) fn is_default(self) -> bool {
        self.context == CONTEXT_DEFAULT
    }

    /// The scope of its context.
    pub(crate) fn scope(self) -> String {
        scope_of(self.context)
    }
}

/// The scope of a context: `:.ctx:`, and nothing for the default one.
pub(crate) fn scope_of(context: &str) -> String {
    if context == CONTEXT_DEFAULT { String::new() } else { format!(":{context}:") }
}

/// A subject's name in its one spelling: without the default context, and a context with its end.
pub(crate) fn normalized(text: &str) -> Cow<'_, str> {
    let name = Name::of(text);
    if !text.starts_with(":.") {
        return Cow::Borrowed(text);
    }
    if name.is_default() {
        return Cow::Borrowed(name.subject);
    }
    if name.subject.is_empty() && !text.ends_with(':') {
        return Cow::Owned(name.scope());
    }
    Cow::Borrowed(text)
}

/// A name that stands in a schema of `parent`: it is in the parent's context unless it says another.
pub(crate) fn beside<'a>(parent: &str, text: &'a str) -> Cow<'a, str> {
    let (own, parent) = (Name::of(text), Name::of(parent));
    if own.is_default() && !parent.is_default() {
        return Cow::Owned(format!("{}{}", parent.scope(), own.subject));
    }
    normalized(text)
}

/// A context as a request names it, `ctx`, `.ctx`, `:.ctx` or `:.ctx:`, by its name.
///
/// # Errors
///
/// 400 in Confluent's words, if there is a colon within.
pub(crate) fn context_name(text: &str) -> Result<String, &'static str> {
    let text = text.strip_prefix(':').unwrap_or(text);
    let text = text.strip_suffix(':').unwrap_or(text);
    if text.contains(':') {
        return Err("Context name cannot contain a colon");
    }
    Ok(if text.starts_with('.') { text.to_owned() } else { format!(".{text}") })
}

/// Which subjects a prefix means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Prefix<'a> {
    /// Those of every context whose name within it begins so.
    EveryContext(&'a str),
    /// Those of one context.
    OneContext(Name<'a>),
}

impl<'a> Prefix<'a> {
    /// Reads a prefix; none means every subject.
    pub(crate) fn of(text: Option<&'a str>) -> Self {
        match text {
            None => Self::EveryContext(""),
            Some(text) => match text.strip_prefix(CONTEXT_ANY) {
                Some(rest) => Self::EveryContext(rest),
                None => Self::OneContext(Name::of(text)),
            },
        }
    }

    /// Whether a subject is meant.
    pub(crate) fn takes(&self, subject: &str) -> bool {
        let name = Name::of(subject);
        match self {
            Self::EveryContext(rest) => name.subject.starts_with(rest),
            Self::OneContext(prefix) => {
                name.context == prefix.context && name.subject.starts_with(prefix.subject)
            }
        }
    }

    /// What every name that is meant begins with.
    pub(crate) fn common(&self) -> Cow<'a, str> {
        match self {
            Self::EveryContext(_) => Cow::Borrowed(""),
            Self::OneContext(name) if name.is_default() => Cow::Borrowed(name.subject),
            Self::OneContext(name) => Cow::Owned(format!("{}{}", name.scope(), name.subject)),
        }
    }
}

/// Whether a subject may be called so.
pub(crate) fn check_subject(limits: &Limits, text: &str) -> Result<(), Refusal> {
    let name = Name::of(text);
    let reserved = ["", "__GLOBAL", "__EMPTY"].contains(&name.subject)
        || text.starts_with(CONTEXT_ANY)
        || name.scope() == SCOPE_ALL;
    check_scope(limits, text)?;
    if reserved {
        return Err(Refusal::InvalidSubject(text.to_owned()));
    }
    Ok(())
}

/// Whether something may be set for what is called so: a subject, or a context.
pub(crate) fn check_scope(limits: &Limits, text: &str) -> Result<(), Refusal> {
    if text.chars().any(char::is_control) || text.len() > limits.subject_bytes_max {
        return Err(Refusal::InvalidSubject(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for (text, spelling) in [
            ("a", "a"),
            (":.:a", "a"),
            (":.:", ""),
            (":.c:a", ":.c:a"),
            (":.c", ":.c:"),
            (":.c:", ":.c:"),
            (":x", ":x"),
            (":.", ""),
        ] {
            assert_eq!(normalized(text), spelling, "{text}");
        }
        assert_eq!(Name::of(":.c:a:b"), Name { context: ".c", subject: "a:b" });
    }

    #[test]
    fn what_a_schema_refers_to_is_beside_it() {
        assert_eq!(beside("a", "b"), "b");
        assert_eq!(beside(":.c:a", "b"), ":.c:b");
        assert_eq!(beside(":.c:a", ":.d:b"), ":.d:b");
        assert_eq!(beside("a", ":.d:b"), ":.d:b");
    }

    #[test]
    fn a_prefix_means_one_context_or_all() {
        let takes = |prefix: Option<&str>, subject: &str| Prefix::of(prefix).takes(subject);
        assert!(takes(None, "a") && takes(None, ":.c:a"));
        assert!(takes(Some(":*:a"), ":.c:ab") && !takes(Some(":*:a"), ":.c:b"));
        assert!(takes(Some(""), "a") && !takes(Some(""), ":.c:a"));
        assert!(takes(Some(":.c:"), ":.c:a") && !takes(Some(":.c:"), ":.cd:a"));
        assert!(takes(Some(":.c:a"), ":.c:ab") && !takes(Some(":.c:a"), "ab"));
    }

    #[test]
    fn a_context_is_known_by_each_of_its_spellings() {
        for text in ["c", ".c", ":.c", ":.c:", "c:"] {
            assert_eq!(context_name(text).unwrap(), ".c", "{text}");
        }
        assert_eq!(context_name(":.:").unwrap(), ".");
        assert!(context_name("a:b").is_err());
    }

    #[test]
    fn a_name_has_no_control_characters_and_a_bounded_length() {
        let limits = Limits::default();
        for name in ["a", "a-value", "a/b", "größe", ":x", ":.c:a", &"a".repeat(1024)] {
            assert!(check_subject(&limits, name).is_ok(), "{name}");
        }
        for name in
            ["", "a\n", "__GLOBAL", "__EMPTY", ":.c:", ":.__GLOBAL:a", ":*:a", &"a".repeat(1025)]
        {
            assert!(check_subject(&limits, name).is_err(), "{name}");
        }
    }
}
