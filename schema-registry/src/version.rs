//! How a version is named in a request.

use std::str::FromStr;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::NUMBER_MAX;

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
}
