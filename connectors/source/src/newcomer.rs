//! A table that the settings mean and that is not captured: one that was made while the log is read. Pure.

use tidemesh_model::{Error, ErrorKind, TableName};

/// The table that was there when that was looked for last.
#[derive(Debug, Default)]
pub struct Newcomer {
    seen: Option<TableName>,
}

impl Newcomer {
    /// Takes what a look has found; answers the error that ends the session, so that the next one captures
    /// the table. It has to be seen twice: the statements that give it its key may follow one by one.
    pub fn look(&mut self, found: Option<TableName>) -> Option<Error> {
        let before = std::mem::replace(&mut self.seen, found);
        let table = self.seen.as_ref().filter(|_| self.seen == before)?;
        tracing::info!(%table, "a table is there that the settings mean");
        let error = Error::new(ErrorKind::Unavailable, "read the log")
            .because("a table is there that the settings mean and that is not captured yet")
            .with("table", table)
            .help("it is taken in and read by itself");
        Some(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_seen_twice_ends_the_session() {
        let mut newcomer = Newcomer::default();
        let table = |name: &str| Some(TableName::new("shop", name));
        for found in [None, None, table("a"), None, table("a"), table("b")] {
            assert!(newcomer.look(found).is_none());
        }
        let error = newcomer.look(table("b")).unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("table=shop.b"), "{error}");
    }
}
