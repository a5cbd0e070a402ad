//! A struct's fields by the names that serde writes.

use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, Fields, LitStr, Meta, Result, Token};

/// The names of the fields that serde writes; none where that cannot be told here (`flatten` and
/// others), and the emitter finds a wrong key when it connects.
pub(crate) fn of(attributes: &[Attribute], fields: &Fields) -> Result<Option<Vec<String>>> {
    let container = Said::of(attributes)?;
    if container.unknown {
        return Ok(None);
    }
    let mut all = Vec::with_capacity(fields.len());
    for field in fields {
        let said = Said::of(&field.attrs)?;
        if said.unknown {
            return Ok(None);
        }
        let Some(ident) = field.ident.as_ref().filter(|_| !said.skipped) else { continue };
        let written = ident.unraw().to_string();
        let by_rule = match &container.rename_all {
            None => Some(written),
            Some(rule) => renamed(&written, &rule.value()),
        };
        let Some(name) = said.rename.map(|name| name.value()).or(by_rule) else { return Ok(None) };
        all.push(name);
    }
    Ok(Some(all))
}

/// What serde's attributes say of names.
#[derive(Default)]
struct Said {
    rename: Option<LitStr>,
    rename_all: Option<LitStr>,
    skipped: bool,
    unknown: bool,
}

impl Said {
    fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut said = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| said.read(&meta))?;
        }
        Ok(said)
    }

    fn read(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("rename") {
            self.rename = written_name(meta)?.or(self.rename.take());
        } else if meta.path.is_ident("rename_all") {
            self.rename_all = written_name(meta)?.or(self.rename_all.take());
        } else {
            self.skipped |= meta.path.is_ident("skip") || meta.path.is_ident("skip_serializing");
            let unknown = ["flatten", "transparent", "into", "remote", "tag"];
            self.unknown |= unknown.iter().any(|word| meta.path.is_ident(word));
            pass_over(meta)?;
        }
        Ok(())
    }
}

/// The name that is written: `rename = "…"` or `rename(serialize = "…", deserialize = "…")`.
fn written_name(meta: &ParseNestedMeta<'_>) -> Result<Option<LitStr>> {
    if meta.input.peek(Token![=]) {
        return meta.value()?.parse().map(Some);
    }
    let mut name = None;
    meta.parse_nested_meta(|inner| {
        let value: LitStr = inner.value()?.parse()?;
        if inner.path.is_ident("serialize") {
            name = Some(value);
        }
        Ok(())
    })?;
    Ok(name)
}

/// Reads what an attribute says that is of no matter here; serde's own derive judges it.
fn pass_over(meta: &ParseNestedMeta<'_>) -> Result<()> {
    if meta.input.peek(Token![=]) {
        meta.value()?.parse::<Expr>()?;
    } else if meta.input.peek(syn::token::Paren) {
        let inner;
        syn::parenthesized!(inner in meta.input);
        Punctuated::<Meta, Token![,]>::parse_terminated(&inner)?;
    }
    Ok(())
}

/// A field's name by a rule of serde's, as serde does it (`serde_derive` 1.0, `internals/case.rs`); none
/// for a rule that it does not have.
fn renamed(name: &str, rule: &str) -> Option<String> {
    let pascal = || name.split('_').map(capitalised).collect::<String>();
    Some(match rule {
        "lowercase" | "snake_case" => name.to_owned(),
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => name.to_ascii_uppercase(),
        "PascalCase" => pascal(),
        "camelCase" => {
            let pascal = pascal();
            let mut chars = pascal.chars();
            let first = chars.next().map(|first| first.to_ascii_lowercase());
            first.into_iter().chain(chars).collect()
        }
        "kebab-case" => name.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => name.to_ascii_uppercase().replace('_', "-"),
        _ => return None,
    })
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::DeriveInput;

    fn names(text: &str) -> Option<Vec<String>> {
        let input: DeriveInput = syn::parse_str(text).unwrap();
        let syn::Data::Struct(data) = input.data else { panic!("a struct") };
        of(&input.attrs, &data.fields).unwrap()
    }

    #[test]
    fn fields_have_the_names_that_serde_writes() {
        let text = r#"
            #[serde(rename_all = "camelCase", deny_unknown_fields)]
            struct T {
                order_id: i64,
                #[serde(rename = "N")] note: String,
                #[serde(rename(serialize = "w", deserialize = "r"), default = "f")] both: i32,
                #[serde(skip)] left_out: i32,
                r#type: i32,
            }"#;
        assert_eq!(names(text).unwrap(), ["orderId", "N", "w", "type"]);
    }

    #[test]
    fn what_cannot_be_told_is_left_to_the_emitter() {
        assert_eq!(names("struct T { #[serde(flatten)] inner: Inner }"), None);
        assert_eq!(names(r#"#[serde(into = "U")] struct T { a: i32 }"#), None);
        assert_eq!(names(r#"#[serde(rename_all = "tAnGlEd")] struct T { a: i32 }"#), None);
    }

    #[test]
    fn each_rule_of_serdes_is_known() {
        let rules = [
            ("lowercase", "order_id"),
            ("UPPERCASE", "ORDER_ID"),
            ("PascalCase", "OrderId"),
            ("camelCase", "orderId"),
            ("snake_case", "order_id"),
            ("SCREAMING_SNAKE_CASE", "ORDER_ID"),
            ("kebab-case", "order-id"),
            ("SCREAMING-KEBAB-CASE", "ORDER-ID"),
        ];
        for (rule, name) in rules {
            assert_eq!(renamed("order_id", rule).unwrap(), name, "{rule}");
        }
    }
}
