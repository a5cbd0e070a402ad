//! The schema's defaults as Rust expressions.

use crate::types::{Rust, Types, not_null};
use proc_macro2::TokenStream;
use quote::quote;
use serde_json::Value as Json;
use tidemesh_avro::schema::{Field, Kind, Logical, NodeId};

/// The expression of a record of which each field has a default; none if one has none, or has one
/// that its Rust type cannot say.
pub(crate) fn record(types: &Types<'_>, id: NodeId, fields: &[Field]) -> Option<TokenStream> {
    let idents = crate::generate::fields(fields).ok()?;
    let values: Option<Vec<TokenStream>> = fields
        .iter()
        .map(|field| value(types, field.node, Some(id), field.default.as_ref()?))
        .collect();
    let values = values?;
    Some(quote!(Self { #(#idents: #values),* }))
}

/// A default of the type at `id`, which stands in `owner`.
fn value(types: &Types<'_>, id: NodeId, owner: Option<NodeId>, json: &Json) -> Option<TokenStream> {
    let node = types.schema.node(id);
    if let Some(text) = text_of_logical(node.logical, &node.kind, json) {
        return text.map(|text| quote!(::std::string::String::from(#text)));
    }
    Some(match (&node.kind, json) {
        (Kind::Null, Json::Null) => quote!(()),
        (Kind::Boolean, Json::Bool(value)) => quote!(#value),
        (Kind::Int, _) => literal(&format!("{}i32", i32::try_from(json.as_i64()?).ok()?))?,
        (Kind::Long, _) => literal(&format!("{}i64", json.as_i64()?))?,
        (Kind::Float, Json::Number(number)) => {
            let value: f32 = number.to_string().parse().ok()?;
            literal(&format!("{value:?}f32")).filter(|_| value.is_finite())?
        }
        (Kind::Double, Json::Number(number)) => literal(&format!("{:?}f64", number.as_f64()?))?,
        (Kind::String, Json::String(text)) => quote!(::std::string::String::from(#text)),
        (Kind::Bytes, Json::String(text)) => {
            let bytes = bytes(text)?;
            quote!(::std::vec::Vec::<u8>::from([#(#bytes),*]))
        }
        (Kind::Fixed(size), Json::String(text)) => {
            let bytes = bytes(text).filter(|bytes| bytes.len() == *size)?;
            quote!([#(#bytes),*])
        }
        (Kind::Enum { symbols, .. }, Json::String(symbol)) => {
            let place = symbols.iter().position(|other| other == symbol)?;
            let variant = crate::generate::symbols(symbols).ok()?.into_iter().nth(place)?;
            let owner = types.ident(id);
            quote!(#owner::#variant)
        }
        (Kind::Array(items), Json::Array(list)) => {
            let list: Option<Vec<_>> =
                list.iter().map(|item| value(types, *items, None, item)).collect();
            let list = list?;
            quote!(::std::vec::Vec::from([#(#list),*]))
        }
        (Kind::Map(values), Json::Object(object)) => {
            let list: Option<Vec<_>> =
                object.values().map(|item| value(types, *values, None, item)).collect();
            let (keys, list) = (object.keys(), list?);
            quote!(::std::collections::BTreeMap::from([#((::std::string::String::from(#keys), #list)),*]))
        }
        (Kind::Record(fields), Json::Object(_)) => struct_value(types, id, owner, fields, json)?,
        (Kind::Union(branches), _) => union_value(types, id, branches, owner, json)?,
        _ => return None,
    })
}

/// A record's default: the fields that it leaves out have their own.
fn struct_value(
    types: &Types<'_>,
    id: NodeId,
    owner: Option<NodeId>,
    fields: &[Field],
    json: &Json,
) -> Option<TokenStream> {
    let idents = crate::generate::fields(fields).ok()?;
    let values: Option<Vec<TokenStream>> = fields
        .iter()
        .map(|field| {
            let json = json.get(&field.name).or(field.default.as_ref())?;
            value(types, field.node, Some(id), json)
        })
        .collect();
    let (values, name) = (values?, types.ident(id));
    let value = quote!(#name { #(#idents: #values),* });
    Some(match types.rust(id, owner) {
        Rust::Boxed(_) => quote!(::std::boxed::Box::new(#value)),
        _ => value,
    })
}

/// A union's default, of the first branch whose type it has.
fn union_value(
    types: &Types<'_>,
    id: NodeId,
    branches: &[NodeId],
    owner: Option<NodeId>,
    json: &Json,
) -> Option<TokenStream> {
    let others = not_null(types.schema, branches);
    let optional = others.len() < branches.len();
    if optional && json.is_null() {
        let none = quote!(::core::option::Option::None);
        return Some(if others.is_empty() { quote!(()) } else { none });
    }
    let value = match types.union(id) {
        None => value(types, *others.first()?, owner, json)?,
        Some(union) => union.variants.iter().find_map(|(variant, branch)| {
            let value = value(types, *branch, union.owner, json)?;
            let union = &union.ident;
            Some(quote!(#union::#variant(#value)))
        })?,
    };
    Some(if optional { quote!(::core::option::Option::Some(#value)) } else { value })
}

fn literal(text: &str) -> Option<TokenStream> {
    text.parse().ok()
}

/// The bytes of a default: a code point each (specification 1.12, "Complex Types", "Records").
fn bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

/// The text that a decimal's or a UUID's default is; some none if it has no such text.
fn text_of_logical(logical: Option<Logical>, kind: &Kind, json: &Json) -> Option<Option<String>> {
    let bytes = || json.as_str().and_then(bytes);
    match (logical?, kind) {
        (Logical::Decimal { scale, .. }, _) => {
            Some(bytes().and_then(|bytes| decimal(&bytes, scale)))
        }
        (Logical::Uuid, Kind::Fixed(_)) => Some(bytes().and_then(|bytes| uuid(&bytes))),
        _ => None,
    }
}

/// Two's complement, the highest byte first, as text; none beyond 128 bits.
fn decimal(bytes: &[u8], scale: usize) -> Option<String> {
    let negative = bytes.first()? & 0x80 != 0;
    let mut whole = [if negative { 0xff } else { 0 }; 16];
    whole.get_mut(16_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    let number = i128::from_be_bytes(whole);
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
    let (before, behind) = digits.split_at(digits.len() - scale);
    let sign = if negative { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    Some(format!("{sign}{before}{point}{behind}"))
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let bytes: [u8; 16] = bytes.try_into().ok()?;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    Some([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_and_uuids_are_text() {
        assert_eq!(decimal(&[0x04, 0xe2], 2).unwrap(), "12.50");
        assert_eq!(decimal(&[0xfb], 2).unwrap(), "-0.05");
        assert_eq!(decimal(&[0x07], 0).unwrap(), "7");
        assert_eq!(decimal(&[], 0), None);
        assert_eq!(decimal(&[0; 17], 0), None);
        assert_eq!(uuid(&[0x11; 16]).unwrap(), "11111111-1111-1111-1111-111111111111");
        assert_eq!(uuid(&[0; 15]), None);
    }
}
