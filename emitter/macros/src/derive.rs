//! `#[derive(Event)]`, and the implementation that both macros write.

use crate::check;
use crate::input::{once, texts};
use crate::serde_names;
use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::{Attribute, Data, DeriveInput, Error, Fields, LitStr, Result, Token};

/// `impl Event`, of a type, its topic, its key and the expression of its schema.
pub(crate) fn event(
    ident: &Ident,
    topic: &LitStr,
    key: &[LitStr],
    schema: &TokenStream,
) -> TokenStream {
    quote! {
        impl ::tidemesh_emitter::Event for #ident {
            const TOPIC: &'static str = #topic;
            const KEY: &'static [&'static str] = &[#(#key),*];

            fn schema() -> ::std::borrow::Cow<'static, str> {
                #schema
            }
        }
    }
}

/// What the derive writes: its schema is made once, of what apache-avro's derive says of the type.
///
/// # Errors
///
/// At the place of it: what is no struct with named fields, has parameters, names no topic or one that
/// Kafka forbids, or a key that is none of its fields.
pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let fields = named_fields(input)?;
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "an event has one schema and one topic, so it has no parameters: derive `Event` for a type \
             without them that holds this one",
        ));
    }
    let EventArguments { topic, key } = EventArguments::of(input)?;
    if let Some(names) = serde_names::of(&input.attrs, fields)? {
        check::key_names(&key, &format!("`{}`", input.ident), &names)?;
    }
    let ident = &input.ident;
    let schema = quote! {
        static SCHEMA: ::std::sync::LazyLock<::std::string::String> =
            ::std::sync::LazyLock::new(::tidemesh_emitter::__private::schema_of::<#ident>);
        ::std::borrow::Cow::Borrowed(SCHEMA.as_str())
    };
    Ok(event(ident, &topic, &key, &schema))
}

fn named_fields(input: &DeriveInput) -> Result<&Fields> {
    let what = match &input.data {
        Data::Struct(data) if matches!(data.fields, Fields::Named(_)) => return Ok(&data.fields),
        Data::Struct(_) => "this struct's fields have no names",
        Data::Enum(_) => "this is an enum",
        Data::Union(_) => "this is a union",
    };
    Err(Error::new_spanned(
        &input.ident,
        format!(
            "an event is a record, which has named fields, and {what}: use a struct with a field for it"
        ),
    ))
}

/// What is written within `#[event(…)]`.
struct EventArguments {
    topic: LitStr,
    key: Vec<LitStr>,
}

/// The arguments as far as they are read.
#[derive(Default)]
struct Partial {
    topic: Option<LitStr>,
    key: Option<Vec<LitStr>>,
}

impl EventArguments {
    fn of(input: &DeriveInput) -> Result<Self> {
        let mut partial = Partial::default();
        let ours = |attribute: &&Attribute| attribute.path().is_ident("event");
        for attribute in input.attrs.iter().filter(ours) {
            attribute.parse_args_with(|input: ParseStream<'_>| partial.read(input))?;
        }
        let topic = partial.topic.ok_or_else(|| {
            Error::new_spanned(
                &input.ident,
                "an event has a topic: say `#[event(topic = \"shop.orders\", key = [\"order_id\"])]`",
            )
        })?;
        check::topic(&topic)?;
        Ok(Self { topic, key: partial.key.unwrap_or_default() })
    }
}

impl Partial {
    fn read(&mut self, input: ParseStream<'_>) -> Result<()> {
        while !input.is_empty() {
            let word = input.call(Ident::parse_any)?;
            input.parse::<Token![=]>()?;
            match word.to_string().as_str() {
                "topic" => once(&mut self.topic, &word, input.parse()?)?,
                "key" => once(&mut self.key, &word, texts(input)?)?,
                other => {
                    return Err(Error::new(
                        word.span(),
                        format!("`#[event]` does not know `{other}`: it takes `topic` and `key`"),
                    ));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }
}
