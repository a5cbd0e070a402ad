//! The macros of `tidemesh-emitter`, which re-exports them with examples: types of events from `.avsc`
//! files (`avro_event!`), and `Event` for types that have a schema (`#[derive(Event)]`).
//!
//! What they write names `::tidemesh_emitter`, so that crate must be a dependency under its own name.
//! Absent here: what becomes of events, and how values are written.

mod check;
mod default;
mod derive;
mod docs;
mod generate;
mod input;
mod names;
mod serde_names;
mod types;

use std::path::{Path, PathBuf};
use syn::{DeriveInput, Error, Result, parse_macro_input};

/// Makes the type of an event, and all types within it, of an Avro schema in a file.
///
/// # Arguments
///
/// ```text
/// #[derive(Eq, Hash)]                   // optional: attributes, for each type that is made
/// file = "schemas/order_placed.avsc",   // relative to the folder of the crate's Cargo.toml
/// topic = "shop.orders",
/// key = ["order_id"],                   // optional: without it, records have no key
/// visibility = pub(crate),              // optional: of types and fields; `pub` without it
/// ```
///
/// Key fields are fields of the record itself, by Avro's names: a boolean, int, long, string or bytes, or
/// one of these or null. Not floating point, whose equal numbers have different bytes; not what the
/// schema names (an enum's symbols change, a key's schema does not); not arrays, maps and records.
///
/// # What is made
///
/// Each type derives `Debug`, `Clone`, `PartialEq`, serde's `Serialize` and `Deserialize`; a record of
/// which each field has a default in the schema has `Default`. The event itself implements `Event`;
/// its schema is the file's text. The documentation is the schema's `doc`.
///
/// | Avro | Rust |
/// |---|---|
/// | null, boolean, int, long, float, double | `()`, `bool`, `i32`, `i64`, `f32`, `f64` |
/// | string; `decimal`, `uuid` | `String`: text, of digits or of hexadecimal digits |
/// | bytes, fixed | `Vec<u8>`, `[u8; N]`, which serde writes as bytes |
/// | other logical types | their base types, with the unit in the documentation |
/// | array, map | `Vec<T>`, `BTreeMap<String, T>` |
/// | record, enum | a struct, an enum, by the Avro name as Rust writes it |
/// | union of null and one type | `Option<T>` |
/// | other unions | an enum `<Record><Field>` that serde tags by the branch's Avro name, in an `Option` if null is one |
///
/// Fields are in `snake_case`, keywords raw (`r#type`); serde's names are always Avro's. Where two names
/// would meet, they stay as the schema writes them; two types of one name are told apart by their
/// namespaces. A record that holds itself is in a `Box`.
///
/// # Errors
///
/// The build fails, at the argument, if the file cannot be read, is no schema, or no record; if the
/// topic is one that Kafka forbids; if a key field is not there, or of no type that a key can have; and
/// if Rust has no names or values for what is in the schema. When the file changes, the crate is built
/// anew.
#[proc_macro]
pub fn avro_event(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as input::Input);
    let made = manifest_folder(&input).and_then(|folder| {
        let path = folder.join(input.file.value());
        let text = read(&input, &path)?;
        generate::generate(&input, &text, &path.to_string_lossy())
    });
    made.unwrap_or_else(Error::into_compile_error).into()
}

/// Implements `Event` for a struct that derives serde's `Serialize` and apache-avro's `AvroSchema`.
///
/// ```text
/// #[event(topic = "shop.orders", key = ["order_id"])]   // `key` is optional: without it, no key
/// ```
///
/// Its schema is what `AvroSchema` says, made once. Key fields are named as serde writes them (`rename`
/// and `rename_all` are honoured); with `flatten`, `transparent`, `into`, `remote` or `tag` that cannot be
/// told here, and a wrong one is found when the emitter connects, as is one whose type cannot be a key's.
///
/// # Errors
///
/// The build fails for a topic that is missing or that Kafka forbids, for a key that is none of the fields,
/// for types with parameters, and for what is no struct with named fields.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    derive::derive(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// The folder of the manifest of the crate that is compiled.
fn manifest_folder(input: &input::Input) -> Result<PathBuf> {
    std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).ok_or_else(|| {
        Error::new(
            input.file.span(),
            "CARGO_MANIFEST_DIR is not set, to which the file is relative: build with Cargo, or set it",
        )
    })
}

fn read(input: &input::Input, path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::new(
            input.file.span(),
            format!(
                "cannot read {:?}: {error}. The path is relative to the folder of the crate's Cargo.toml",
                input.file.value()
            ),
        )
    })
}
