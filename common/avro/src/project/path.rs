//! The name of a field from the root of a schema.

use std::fmt;
use std::str::FromStr;
use tidemesh_model::{Error, ErrorKind};

/// The most steps of one path.
pub const FIELD_PATH_STEPS_MAX: usize = 64;

/// A field within a schema: names joined by points, `customer.zip`. Lists' elements, maps' values
/// and unions' branches are transparent: `lines.sku` is the field `sku` of each element of `lines`.
/// Who reads a field reads all that is within it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// Its names, from the root; at least one.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for FieldPath {
    type Err = Error;

    /// # Errors
    ///
    /// `Malformed` for an empty name, `TooLarge` past [`FIELD_PATH_STEPS_MAX`].
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |kind| Error::new(kind, "read a field's path").with("path", text);
        let steps: Vec<String> = text.split('.').map(str::to_owned).collect();
        if steps.iter().any(String::is_empty) {
            return Err(wrong(ErrorKind::Malformed)
                .because("a name in it is empty")
                .help("write names joined by points, as in customer.zip"));
        }
        if steps.len() > FIELD_PATH_STEPS_MAX {
            return Err(
                wrong(ErrorKind::TooLarge).with("field_path_steps_max", FIELD_PATH_STEPS_MAX)
            );
        }
        Ok(Self(steps))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}
