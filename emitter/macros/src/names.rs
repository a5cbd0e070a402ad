//! Avro's names as Rust's: by Rust's habits where that is without doubt, else as they are written.

use proc_macro2::{Ident, Span};
use std::collections::HashSet;
use syn::ext::IdentExt;
use syn::parse::Parser;

/// A name as Rust writes types and variants: `order_placed` and `ORDER_PLACED` as `OrderPlaced`.
pub(crate) fn pascal(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for word in name.split(['_', '.']).filter(|word| !word.is_empty()) {
        let shouted = word.chars().all(|c| !c.is_lowercase());
        let mut chars = word.chars();
        out.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        if shouted {
            out.extend(chars.flat_map(char::to_lowercase));
        } else {
            out.extend(chars);
        }
    }
    begun(out, name)
}

/// A name as Rust writes fields: `orderId` as `order_id`, `HTTPPort` as `http_port`.
pub(crate) fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::with_capacity(name.len() + 4);
    for (index, c) in chars.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| chars[before]);
        let after = chars.get(index + 1);
        let begins = c.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_numeric()
                    || before.is_uppercase() && after.is_some_and(|after| after.is_lowercase())
            });
        if begins {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    begun(out, name)
}

/// A name that is not empty and begins as names do.
fn begun(out: String, name: &str) -> String {
    match out.chars().next() {
        None => name.to_owned(),
        Some(first) if first.is_numeric() => format!("_{out}"),
        Some(_) => out,
    }
}

/// A name as an identifier, keywords raw or, where Rust has no raw form of them, with `_` behind them.
///
/// # Errors
///
/// What is wrong, if Rust takes no such name: Avro's letters are more than Rust's.
pub(crate) fn ident(name: &str) -> Result<Ident, String> {
    match name {
        "_" | "self" | "Self" | "super" | "crate" => {
            return Ok(Ident::new(&format!("{name}_"), Span::call_site()));
        }
        // A keyword since the edition of 2024, of which syn does not know.
        "gen" => return Ok(Ident::new_raw(name, Span::call_site())),
        _ => {}
    }
    if !Ident::parse_any.parse_str(name).is_ok_and(|any| any == name) {
        return Err(format!("Rust has no name {name:?}: rename it in the schema"));
    }
    Ok(match syn::parse_str::<Ident>(name) {
        Ok(_) => Ident::new(name, Span::call_site()),
        Err(_) => Ident::new_raw(name, Span::call_site()),
    })
}

/// Identifiers for names that stand beside each other, each with its form by Rust's habits. Where
/// two have one form, all are taken as they are written.
///
/// # Errors
///
/// Which two names cannot be told apart.
pub(crate) fn beside(names: &[(String, String)]) -> Result<Vec<Ident>, String> {
    let nice: HashSet<&str> = names.iter().map(|(_, nice)| nice.as_str()).collect();
    let distinct = nice.len() == names.len();
    let mut idents: Vec<Ident> = Vec::with_capacity(names.len());
    for (written, nice) in names {
        let next = ident(if distinct { nice } else { written })?;
        if let Some(other) = idents.iter().position(|other| *other == next) {
            return Err(format!(
                "{:?} and {written:?} would both be `{next}` in Rust: rename one of them",
                names[other].0
            ));
        }
        idents.push(next);
    }
    Ok(idents)
}

/// Whether serde takes the identifier for that name by itself. Letters beyond ASCII are normalised by
/// the compiler, and then may not be the schema's any more.
pub(crate) fn same(ident: &Ident, name: &str) -> bool {
    name.is_ascii() && ident.unraw() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_rusts_habits() {
        let names = [
            ("order_placed", "OrderPlaced", "order_placed"),
            ("OrderPlaced", "OrderPlaced", "order_placed"),
            ("IN_TRANSIT", "InTransit", "in_transit"),
            ("orderID", "OrderID", "order_id"),
            ("HTTPPort", "HTTPPort", "http_port"),
            ("line2", "Line2", "line2"),
            ("_1st", "_1st", "_1st"),
            ("__", "__", "__"),
            ("straße", "Straße", "straße"),
        ];
        for (name, type_name, field) in names {
            assert_eq!((pascal(name).as_str(), snake(name).as_str()), (type_name, field), "{name}");
        }
    }

    #[test]
    fn keywords_are_raw_or_have_a_line_behind_them() {
        let named = |name: &str| ident(name).unwrap().to_string();
        assert_eq!(named("type"), "r#type");
        assert_eq!(named("gen"), "r#gen");
        assert_eq!(named("self"), "self_");
        assert_eq!(named("_"), "__");
        assert_eq!(named("plain"), "plain");
        assert!(same(&ident("type").unwrap(), "type"));
        assert!(!same(&ident("self").unwrap(), "self"));
    }

    #[test]
    fn a_letter_that_rust_does_not_take_is_told() {
        let error = ident("a\u{b2}").unwrap_err();
        assert!(error.contains("rename it in the schema"), "{error}");
    }

    #[test]
    fn names_that_would_meet_stay_as_they_are_written() {
        let pairs = |names: &[&str]| {
            names.iter().map(|name| ((*name).to_owned(), snake(name))).collect::<Vec<_>>()
        };
        let idents = beside(&pairs(&["orderId", "order_id", "Other"])).unwrap();
        assert_eq!(idents, ["orderId", "order_id", "Other"]);
        let error = beside(&pairs(&["self", "Self", "SELF", "self_"])).unwrap_err();
        assert!(error.contains("\"self\" and \"self_\""), "{error}");
    }
}
