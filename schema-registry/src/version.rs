//! How a version is named in a request, and what a subject may be called.

use std::str::FromStr;

use crate::config::Limits;
use crate::decide::NUMBER_MAX;
use crate::refusal::Refusal;

/// A version as a request names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionSpec {
    /// A number from 1 to 2^31 - 1.
    Number(u32),
    /// The newest version that is not deleted: `latest`, or -1.
    Latest,
}

impl VersionSpec {
    /// As a number; -1 is the latest.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Number(number) => i64::from(number),
            Self::Latest => -1,
        }
    }
}

impl FromStr for VersionSpec {
    type Err = Refusal;

    /// As Confluent's `VersionId.java` reads it: `latest` in any case, blanks around allowed.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let trimmed = text.trim();
        if trimmed.eq_ignore_ascii_case("latest") {
            return Ok(Self::Latest);
        }
        match trimmed.parse::<i32>() {
            Ok(-1) => Ok(Self::Latest),
            Ok(number) if number > 0 => Ok(Self::Number(number.unsigned_abs())),
            // The number is repeated as Java prints it: without sign and leading zeros.
            Ok(number) => Err(Refusal::InvalidVersion(number.to_string())),
            Err(_) => Err(Refusal::InvalidVersion(text.to_owned())),
        }
    }
}

/// A number of Avro's references and of explicit versions: 0 and less means "none given".
pub(crate) fn explicit(number: Option<i64>) -> Result<Option<u32>, Refusal> {
    match number {
        None | Some(i64::MIN..=0) => Ok(None),
        Some(number) => u32::try_from(number)
            .ok()
            .filter(|number| *number <= NUMBER_MAX)
            .map(Some)
            .ok_or_else(|| Refusal::InvalidVersion(number.to_string())),
    }
}

/// The default context, written out before a subject's name.
const CONTEXT_DEFAULT: &str = ":.:";

/// Every context, written before a prefix.
const CONTEXT_ANY: &str = ":*:";

/// A subject's name without the default context before it.
pub(crate) fn subject_name(subject: &str) -> &str {
    subject.strip_prefix(CONTEXT_DEFAULT).unwrap_or(subject)
}

/// A prefix of subjects' names without a context before it; there is only the default one.
pub(crate) fn subject_prefix(prefix: &str) -> &str {
    prefix.strip_prefix(CONTEXT_ANY).unwrap_or_else(|| subject_name(prefix))
}

/// Whether a subject may be called so. Names of other contexts are refused: there are none yet.
pub(crate) fn check_subject(limits: &Limits, subject: &str) -> Result<(), Refusal> {
    let reserved = ["", "__GLOBAL", "__EMPTY"].contains(&subject);
    let other_context = subject.starts_with(":.") || subject.starts_with(CONTEXT_ANY);
    let control = subject.chars().any(char::is_control);
    if reserved || other_context || control || subject.len() > limits.subject_bytes_max {
        return Err(Refusal::InvalidSubject(subject.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_positive_java_int_or_latest() {
        for (text, spec) in [
            ("1", VersionSpec::Number(1)),
            (" 7 ", VersionSpec::Number(7)),
            ("+7", VersionSpec::Number(7)),
            ("2147483647", VersionSpec::Number(NUMBER_MAX)),
            ("latest", VersionSpec::Latest),
            ("LATEST", VersionSpec::Latest),
            ("-1", VersionSpec::Latest),
        ] {
            assert_eq!(text.parse::<VersionSpec>().unwrap(), spec, "{text}");
        }
        for text in ["0", "-2", "2147483648", "", "one", "1.0"] {
            let refusal = text.parse::<VersionSpec>().unwrap_err();
            assert!(matches!(refusal, Refusal::InvalidVersion(_)), "{text}");
        }
    }

    #[test]
    fn the_default_context_is_not_part_of_a_name() {
        assert_eq!(subject_name(":.:a"), "a");
        assert_eq!(subject_name("a"), "a");
        assert_eq!(subject_prefix(":*:"), "");
        assert_eq!(subject_prefix(":*:a"), "a");
        assert_eq!(subject_prefix(":.:a"), "a");
        assert_eq!(subject_prefix(""), "");
    }

    #[test]
    fn a_name_has_no_control_characters_no_other_context_and_a_bounded_length() {
        let limits = Limits::default();
        for name in ["a", "a-value", "a/b", "größe", ":x", &"a".repeat(1024)] {
            assert!(check_subject(&limits, name).is_ok(), "{name}");
        }
        for name in ["", "a\n", "__GLOBAL", "__EMPTY", ":.other:a", ":*:a", &"a".repeat(1025)] {
            assert!(check_subject(&limits, name).is_err(), "{name}");
        }
    }
}
