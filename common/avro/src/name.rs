//! Names that Avro or a topic forbids: escaped as `_uXXXX`, so that nothing is lost.
//!
//! Avro's rule: specification 1.12, "Names": `[A-Za-z_][A-Za-z0-9_]*`.

use std::borrow::Cow;
use std::fmt::Write;

/// `name` as an Avro name; characters that Avro forbids become `_u` and four hexadecimal digits for
/// each UTF-16 unit. Two names can collide: who makes a record checks that.
#[must_use]
pub fn avro_name(name: &str) -> Cow<'_, str> {
    escape(name, |index, c| c == '_' || c.is_ascii_alphabetic() || index > 0 && c.is_ascii_digit())
}

/// `name` as a part of a topic's name; what Kafka forbids is escaped the same way.
#[must_use]
pub fn topic_part(name: &str) -> Cow<'_, str> {
    escape(name, |_, c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// The Avro namespace of a topic's records: each part of its name as an Avro name.
#[must_use]
pub fn namespace(topic: &str) -> String {
    topic.split('.').map(avro_name).collect::<Vec<_>>().join(".")
}

fn escape(name: &str, allowed: impl Fn(usize, char) -> bool) -> Cow<'_, str> {
    if !name.is_empty() && name.chars().enumerate().all(|(index, c)| allowed(index, c)) {
        return Cow::Borrowed(name);
    }
    let mut escaped = String::with_capacity(name.len() + 8);
    for (index, c) in name.chars().enumerate() {
        if allowed(index, c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(escaped, "_u{unit:04x}").expect("writing to a String does not fail");
        }
    }
    if escaped.is_empty() {
        escaped.push('_');
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forbidden_characters_are_escaped_and_others_kept() {
        assert_eq!(avro_name("order_id"), "order_id");
        assert_eq!(avro_name("order-id"), "order_u002did");
        assert_eq!(avro_name("1st"), "_u0031st");
        assert_eq!(avro_name("größe"), "gr_u00f6_u00dfe");
        assert_eq!(topic_part("my table"), "my_u0020table");
        assert_eq!(namespace("shop-1.public.orders"), "shop_u002d1.public.orders");
    }

    proptest! {
        #[test]
        fn every_name_becomes_one_that_avro_takes(name in ".*") {
            let escaped = avro_name(&name);
            let mut chars = escaped.chars();
            let first = chars.next().unwrap();
            prop_assert!(first == '_' || first.is_ascii_alphabetic());
            prop_assert!(chars.all(|c| c == '_' || c.is_ascii_alphanumeric()));
        }
    }
}
