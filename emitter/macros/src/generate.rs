//! From a schema to Rust: pure, so that it is tested without a compiler around it.

use crate::default;
use crate::docs::{docs, notes};
use crate::input::Input;
use crate::names::{beside, pascal, same, snake};
use crate::types::{Rust, Types, Union, branch_name};
use crate::{check, derive};
use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::Error;
use tidemesh_avro::schema::{Field, Kind, NodeId, Schema};

/// What `avro_event!` becomes, of a file with that text, which the compiler finds at `path`.
///
/// # Errors
///
/// What is wrong with the schema, at the literal that names its file, or with the key, at the
/// field's.
pub(crate) fn generate(input: &Input, text: &str, path: &str) -> syn::Result<TokenStream> {
    let file = input.file.value();
    let wrong =
        |why: &dyn std::fmt::Display| Error::new(input.file.span(), format!("{file}: {why}"));
    let schema = Schema::parse(text).map_err(|error| wrong(&malformed(&error)))?;
    let Kind::Record(fields) = &schema.node(schema.root()).kind else {
        return Err(wrong(&format!(
            "an event is a record, and this schema is of the type {}: put it into a field of a record",
            branch_name(&schema, schema.root())
        )));
    };
    check::key(&input.key, &branch_name(&schema, schema.root()), &schema, fields)?;
    let types = Types::new(&schema).map_err(|why| wrong(&why))?;
    let generator = Generator { input, types: &types, file: &file };
    let made = generator.all().map_err(|why| wrong(&why))?;
    let event = generator.event(text);
    Ok(quote! {
        // Has the compiler look at the file again when it changes.
        const _: &[u8] = ::core::include_bytes!(#path);
        #made
        #event
    })
}

/// The parser's error, with a remedy: its place is a JSON pointer into the file.
fn malformed(error: &tidemesh_model::Error) -> String {
    format!("{error}. Correct the file at that place (a JSON pointer, or line and column)")
}

/// The identifiers of a record's fields.
pub(crate) fn fields(fields: &[Field]) -> Result<Vec<Ident>, String> {
    let pairs: Vec<_> =
        fields.iter().map(|field| (field.name.clone(), snake(&field.name))).collect();
    beside(&pairs)
}

/// The identifiers of an enum's symbols.
pub(crate) fn symbols(symbols: &[String]) -> Result<Vec<Ident>, String> {
    let pairs: Vec<_> = symbols.iter().map(|symbol| (symbol.clone(), pascal(symbol))).collect();
    beside(&pairs)
}

struct Generator<'a> {
    input: &'a Input,
    types: &'a Types<'a>,
    file: &'a str,
}

type Made = Result<TokenStream, String>;

impl Generator<'_> {
    fn all(&self) -> Made {
        let mut out = TokenStream::new();
        for id in &self.types.order {
            let node = self.types.schema.node(*id);
            let name = self.types.full_name(*id);
            match &node.kind {
                Kind::Record(fields) => {
                    out.extend(self.record(*id, fields).map_err(within(&name))?)
                }
                Kind::Enum { symbols, .. } => {
                    out.extend(self.enumeration(*id, symbols).map_err(within(&name))?);
                }
                _ => {}
            }
        }
        Ok(out)
    }

    /// What stands before each type. What is there, and is named as Rust would not, is the schema's.
    fn head(&self) -> TokenStream {
        let attributes = &self.input.attributes;
        quote! {
            #[derive(
                ::core::fmt::Debug,
                ::core::clone::Clone,
                ::core::cmp::PartialEq,
                ::tidemesh_emitter::__private::serde::Serialize,
                ::tidemesh_emitter::__private::serde::Deserialize,
            )]
            #[serde(crate = "::tidemesh_emitter::__private::serde")]
            #[allow(dead_code, non_camel_case_types, non_snake_case)]
            #[allow(rustdoc::bare_urls, rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]
            #(#attributes)*
        }
    }

    fn type_docs(&self, id: NodeId) -> TokenStream {
        let origin = format!("Avro's `{}`, of `{}`.", self.types.full_name(id), self.file);
        match &self.types.schema.node(id).doc {
            Some(doc) => docs(doc, &[origin]),
            None => docs(&origin, &[]),
        }
    }

    /// Avro's name, where the identifier is not it. A record is written by its name without the namespace.
    fn type_rename(&self, id: NodeId) -> Option<TokenStream> {
        let name = self.types.schema.node(id).name.as_ref()?;
        rename(self.types.ident(id), &name.name)
    }

    fn record(&self, id: NodeId, all: &[Field]) -> Made {
        let idents = fields(all)?;
        let pairs = all.iter().zip(&idents);
        let members: Vec<_> = pairs.map(|(field, ident)| self.field(id, field, ident)).collect();
        let (head, docs, rename) = (self.head(), self.type_docs(id), self.type_rename(id));
        let (visibility, ident) = (&self.input.visibility, self.types.ident(id));
        let default = default::record(self.types, id, all).map(|value| {
            quote! {
                impl ::core::default::Default for #ident {
                    fn default() -> Self { #value }
                }
            }
        });
        let unions: Result<Vec<_>, _> = all.iter().map(|field| self.unions(field.node)).collect();
        let unions = unions?;
        Ok(quote! {
            #docs
            #head
            #rename
            #visibility struct #ident { #(#members,)* }
            #default
            #(#unions)*
        })
    }

    fn field(&self, record: NodeId, field: &Field, ident: &Ident) -> TokenStream {
        let rust = self.types.rust(field.node, Some(record));
        let notes = notes(self.types.schema, field.node);
        let docs = match &field.doc {
            Some(doc) => docs(doc, &notes),
            None => docs(&format!("The field `{}`.", field.name), &notes),
        };
        let (rename, with) = (rename(ident, &field.name), bytes(&rust));
        // Without `with`, serde takes what is missing for none by itself.
        let absent =
            (with.is_some() && matches!(rust, Rust::Option(_))).then(|| quote!(#[serde(default)]));
        let (visibility, rust) = (&self.input.visibility, rust.tokens());
        quote!(#docs #rename #with #absent #visibility #ident: #rust)
    }

    fn enumeration(&self, id: NodeId, all: &[String]) -> Made {
        if all.is_empty() {
            return Err("an enum without symbols has no values: give it one".to_owned());
        }
        let idents = symbols(all)?;
        let variants = all.iter().zip(&idents).map(|(symbol, ident)| {
            let (docs, rename) = (docs(&format!("`{symbol}`."), &[]), rename(ident, symbol));
            quote!(#docs #rename #ident)
        });
        let (head, docs, rename) = (self.head(), self.type_docs(id), self.type_rename(id));
        let (visibility, ident) = (&self.input.visibility, self.types.ident(id));
        Ok(quote!(#docs #head #rename #visibility enum #ident { #(#variants,)* }))
    }

    /// The enums of the unions that stand in a field.
    fn unions(&self, id: NodeId) -> Made {
        match &self.types.schema.node(id).kind {
            Kind::Array(inner) | Kind::Map(inner) => self.unions(*inner),
            Kind::Union(branches) if branches.is_empty() => {
                Err("a union of no types has no values: give it one".to_owned())
            }
            Kind::Union(branches) => {
                let mut out = TokenStream::new();
                out.extend(self.types.union(id).map(|union| self.union(union)));
                for branch in branches {
                    out.extend(self.unions(*branch)?);
                }
                Ok(out)
            }
            _ => Ok(TokenStream::new()),
        }
    }

    /// A union as an enum that serde tags by the branch's name, which is never ambiguous.
    fn union(&self, union: &Union) -> TokenStream {
        let variants = union.variants.iter().map(|(ident, branch)| {
            let name = branch_name(self.types.schema, *branch);
            let rust = self.types.rust(*branch, union.owner);
            let docs = docs(&format!("`{name}`."), &notes(self.types.schema, *branch));
            let (rename, with, rust) = (rename(ident, &name), bytes(&rust), rust.tokens());
            quote!(#docs #rename #ident(#with #rust))
        });
        let docs = docs(&format!("The union of `{}`: one of its branches.", union.place), &[]);
        let (head, visibility, ident) = (self.head(), &self.input.visibility, &union.ident);
        quote! {
            #docs
            #head
            #[allow(clippy::large_enum_variant)]
            #visibility enum #ident { #(#variants,)* }
        }
    }

    fn event(&self, text: &str) -> TokenStream {
        let ident = self.types.ident(self.types.schema.root());
        let schema = quote!(::std::borrow::Cow::Borrowed(#text));
        derive::event(ident, &self.input.topic, &self.input.key, &schema)
    }
}

fn within(name: &str) -> impl Fn(String) -> String {
    move |why| format!("{name}: {why}")
}

fn rename(ident: &Ident, name: &str) -> Option<TokenStream> {
    (!same(ident, name)).then(|| quote!(#[serde(rename = #name)]))
}

/// Has serde write bytes as bytes.
fn bytes(rust: &Rust) -> Option<TokenStream> {
    rust.holds_bytes().then(|| quote!(#[serde(with = "::tidemesh_emitter::bytes")]))
}

#[cfg(test)]
mod tests;
