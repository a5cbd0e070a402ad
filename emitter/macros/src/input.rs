//! What is written within `avro_event!`.

use crate::check;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Ident, LitStr, Result, Token, Visibility, bracketed};

/// The words that `avro_event!` knows, as errors list them.
const WORDS: &str = "`file`, `topic`, `key` and `visibility`";

/// The macro's arguments. Not checked yet against the schema.
pub(crate) struct Input {
    /// Attributes for every type that is made.
    pub(crate) attributes: Vec<Attribute>,
    /// Of every type and field that is made; `pub` if nothing is said.
    pub(crate) visibility: Visibility,
    /// The schema's file, relative to the manifest's folder.
    pub(crate) file: LitStr,
    /// The events' topic: a name that Kafka takes.
    pub(crate) topic: LitStr,
    /// The key's fields; none if nothing is said.
    pub(crate) key: Vec<LitStr>,
}

/// The arguments as far as they are read.
#[derive(Default)]
struct Partial {
    file: Option<LitStr>,
    topic: Option<LitStr>,
    key: Option<Vec<LitStr>>,
    visibility: Option<Visibility>,
}

impl Parse for Input {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let mut partial = Partial::default();
        while !input.is_empty() {
            partial.argument(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        let missing = |word: &str, example: &str| {
            Error::new(input.span(), format!("`{word}` is missing: say `{word} = \"{example}\"`"))
        };
        let file = partial.file.ok_or_else(|| missing("file", "schemas/order_placed.avsc"))?;
        let topic = partial.topic.ok_or_else(|| missing("topic", "shop.orders"))?;
        check::topic(&topic)?;
        let key = partial.key.unwrap_or_default();
        let visibility =
            partial.visibility.unwrap_or(Visibility::Public(Token![pub](input.span())));
        Ok(Self { attributes, visibility, file, topic, key })
    }
}

impl Partial {
    fn argument(&mut self, input: ParseStream<'_>) -> Result<()> {
        let word = input.call(Ident::parse_any)?;
        input.parse::<Token![=]>()?;
        match word.to_string().as_str() {
            "file" => once(&mut self.file, &word, input.parse()?),
            "topic" => once(&mut self.topic, &word, input.parse()?),
            "key" => once(&mut self.key, &word, texts(input)?),
            "visibility" => once(&mut self.visibility, &word, input.parse()?),
            other => Err(Error::new(
                word.span(),
                format!("`avro_event!` does not know `{other}`: it takes {WORDS}"),
            )),
        }
    }
}

/// Sets what must not be said twice.
pub(crate) fn once<T>(slot: &mut Option<T>, word: &Ident, value: T) -> Result<()> {
    if slot.replace(value).is_some() {
        return Err(Error::new(word.span(), format!("`{word}` is said twice: say it once")));
    }
    Ok(())
}

/// A list of texts: `["a", "b"]`.
pub(crate) fn texts(input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    let list;
    bracketed!(list in input);
    let texts = list.parse_terminated(<LitStr as Parse>::parse, Token![,])?;
    Ok(texts.into_iter().collect())
}
