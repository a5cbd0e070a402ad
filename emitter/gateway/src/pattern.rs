//! Names of topics, and beginnings of them.

/// A topic's name, or with `*` at its end all names that begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The one topic that it names, if it is no beginning.
    pub(crate) fn exact(&self) -> Option<&str> {
        (!self.0.ends_with('*')).then_some(&*self.0)
    }

    pub(crate) fn matches(&self, topic: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(begin) => topic.starts_with(begin),
            None => self.0 == topic,
        }
    }

    /// Whether a `*` stands elsewhere than at its end, or nothing is named.
    pub(crate) fn is_wrong(&self) -> bool {
        self.0.is_empty() || self.0.strip_suffix('*').unwrap_or(&self.0).contains('*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_end_and_only_there() {
        assert!(Pattern::new("shop.*").matches("shop.orders"));
        assert!(!Pattern::new("shop.*").matches("shops"));
        assert!(Pattern::new("*").matches("anything"));
        assert!(!Pattern::new("shop").matches("shop.orders"));
        assert_eq!(Pattern::new("shop.*").exact(), None);
        assert!(Pattern::new("a*b").is_wrong() && Pattern::new("").is_wrong());
        assert!(!Pattern::new("*").is_wrong());
    }
}
