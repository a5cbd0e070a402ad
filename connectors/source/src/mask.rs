//! Masks: what is made of a text before it leaves the process. Nothing is allocated for a value.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidemesh_model::{
    CellVisitor, Error, ErrorKind, MaskForm, MaskSettings, Result, Secret, Value, Values,
};

const REDACTED: &str = "***";

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A column's mask. What is stored of it is its form: the salt is the settings' alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// The SHA-256 of the salt and the text, in hexadecimal.
    Hash {
        /// What stands before the text.
        #[serde(skip, default = "no_salt")]
        salt: Secret,
    },
    /// The text's beginning.
    Truncate {
        /// How many characters there are of it.
        characters: u32,
    },
    /// Three stars, whatever the text is.
    Redact,
}

fn no_salt() -> Secret {
    Secret::new("")
}

impl Mask {
    /// As the settings say, which were checked.
    #[must_use]
    pub fn of(settings: &MaskSettings) -> Self {
        match settings.with {
            MaskForm::Hash => Self::Hash { salt: settings.salt.clone().unwrap_or_else(no_salt) },
            MaskForm::Truncate => Self::Truncate { characters: settings.length.unwrap_or(1) },
            MaskForm::Redact => Self::Redact,
        }
    }

    /// Whether both are of one form, whatever their salts.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Hash { .. }, Self::Hash { .. }) => true,
            (one, other) => one == other,
        }
    }

    /// Hands the masked form of a text to the visitor.
    ///
    /// # Errors
    ///
    /// `Internal` for a hash whose salt the settings have not given; what the visitor says.
    pub fn visit<V: CellVisitor>(&self, text: &str, visitor: &mut V) -> Result<()> {
        match self {
            Self::Hash { salt } if salt.expose().is_empty() => Err(no_salt_is_there()),
            Self::Hash { salt } => {
                visitor.text(digits(&hash(salt.expose().as_bytes(), text.as_bytes())))
            }
            Self::Truncate { characters } => visitor.text(first(text, *characters)),
            Self::Redact => visitor.text(REDACTED),
        }
    }

    /// The masked form of a text.
    ///
    /// # Errors
    ///
    /// As [`Mask::visit`].
    pub fn apply(&self, text: &str) -> Result<String> {
        let mut values = Values::default();
        self.visit(text, &mut values)?;
        match values.into_cells().pop() {
            Some(Value::Text(masked)) => Ok(masked),
            _ => Err(Error::new(ErrorKind::Internal, "mask a text").because("it is no text")),
        }
    }
}

/// SHA-256 of both, in hexadecimal.
fn hash(salt: &[u8], value: &[u8]) -> [u8; 64] {
    let digest = Sha256::new_with_prefix(salt).chain_update(value).finalize();
    let mut digits = [0; 64];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(digest) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 0xf)];
    }
    digits
}

fn digits(hex: &[u8; 64]) -> &str {
    std::str::from_utf8(hex).unwrap_or_default()
}

fn first(text: &str, characters: u32) -> &str {
    let end = text.char_indices().nth(characters as usize);
    end.map_or(text, |(end, _)| &text[..end])
}

#[cold]
fn no_salt_is_there() -> Error {
    Error::new(ErrorKind::Internal, "mask a text").because("the hash has no salt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: &Mask, text: &str) -> String {
        mask.apply(text).unwrap()
    }

    #[test]
    fn a_hash_is_of_salt_and_value() {
        let mask = Mask::Hash { salt: Secret::new("pepper") };
        // printf 'peppersecret' | sha256sum
        let expected = "744a9101f7182a6ae0d978121ff74e33cac8d2832579c0637c1c37e9bbb6c065";
        assert_eq!(masked(&mask, "secret"), expected);
        let other = Mask::Hash { salt: Secret::new("salt") };
        assert_ne!(masked(&other, "secret"), expected);
        assert!(mask.is_like(&other) && !mask.is_like(&Mask::Redact));
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        let mask = |characters| Mask::Truncate { characters };
        assert_eq!(masked(&mask(2), "ünïcode"), "ün");
        assert_eq!(masked(&mask(7), "ünïcode"), "ünïcode");
        assert_eq!(masked(&mask(9), "ünïcode"), "ünïcode");
        assert_eq!(masked(&mask(1), ""), "");
        assert!(!mask(1).is_like(&mask(2)));
    }

    #[test]
    fn what_is_redacted_tells_nothing() {
        assert_eq!(masked(&Mask::Redact, "secret"), "***");
        assert_eq!(masked(&Mask::Redact, ""), "***");
    }

    #[test]
    fn the_salt_is_neither_stored_nor_shown() {
        let mask = Mask::Hash { salt: Secret::new("pepper") };
        let stored = serde_json::to_string(&mask).unwrap();
        assert!(!stored.contains("pepper") && !format!("{mask:?}").contains("pepper"), "{stored}");
        let again: Mask = serde_json::from_str(&stored).unwrap();
        assert!(again.is_like(&mask));
        assert_eq!(again.apply("secret").unwrap_err().kind(), ErrorKind::Internal);
    }
}
