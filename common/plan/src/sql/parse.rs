//! SQL text as a syntax tree, with the places of its tokens.

use super::dialect::Postgres;
use crate::{Place, Problem};
use sqlparser::ast::{Query, Spanned, Statement};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

/// The most tokens of one processor's SQL.
pub const SQL_TOKENS_MAX: usize = 5_000;

/// The deepest nesting of brackets and the like; the parser refuses more.
const NESTING_MAX: usize = 64;

/// A processor's SQL as it was written.
#[derive(Debug)]
pub(super) struct Parsed {
    /// The one query that it is.
    pub(super) query: Query,
    /// All of its tokens.
    pub(super) tokens: Vec<TokenWithSpan>,
}

impl Parsed {
    /// Where the keyword `word` first stands behind `from`.
    pub(super) fn keyword(&self, word: &str, from: Location) -> Option<Place> {
        let is_word = |token: &&TokenWithSpan| match &token.token {
            Token::Word(found) => {
                found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word)
            }
            _ => false,
        };
        let behind = self.tokens.iter().filter(|token| token.span.start >= from);
        behind.clone().find(is_word).and_then(|token| place(token.span))
    }
}

/// A span's begin, if it has one.
pub(super) fn place(span: Span) -> Option<Place> {
    at(span.start)
}

/// A location, if it is one.
pub(super) fn at(Location { line, column }: Location) -> Option<Place> {
    let place = Place { line: u32::try_from(line).ok()?, column: u32::try_from(column).ok()? };
    (place.line > 0 && place.column > 0).then_some(place)
}

/// Parses one query.
///
/// # Errors
///
/// The first mistake, or that it is no query or more than one.
pub(super) fn parse(sql: &str) -> Result<Parsed, Problem> {
    let tokens = Tokenizer::new(&Postgres, sql)
        .tokenize_with_location()
        .map_err(|error| Problem::new("", error.message).at_sql(at(error.location)))?;
    if tokens.len() > SQL_TOKENS_MAX {
        let place = tokens.get(SQL_TOKENS_MAX).and_then(|token| place(token.span));
        return Err(Problem::new("", format!("the SQL has more than {SQL_TOKENS_MAX} tokens"))
            .help("split it into several processors")
            .at_sql(place));
    }
    let mut parser = Parser::new(&Postgres)
        .with_recursion_limit(NESTING_MAX)
        .with_tokens_with_locations(tokens.clone());
    let statements =
        parser.parse_statements().map_err(|error| syntax_error(&parser, &error, &tokens))?;
    let query = only_query(statements)?;
    Ok(Parsed { query, tokens })
}

fn syntax_error(
    parser: &Parser<'_>,
    error: &sqlparser::parser::ParserError,
    tokens: &[TokenWithSpan],
) -> Problem {
    use sqlparser::parser::ParserError;
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.clone(),
        ParserError::RecursionLimitExceeded => {
            format!("it is nested more than {NESTING_MAX} deep")
        }
    };
    // The place stands at the message's end, and where the parser is: behind the wrong token.
    let (message, written) = match message.rsplit_once(" at Line: ") {
        Some((message, place)) => (message.to_owned(), written_place(place)),
        None => (message, None),
    };
    let end = || tokens.last().and_then(|token| at(token.span.end));
    let here = || place(parser.get_current_token().span).or_else(end);
    let help = matches!(error, ParserError::RecursionLimitExceeded)
        .then_some("give parts of it names in a WITH");
    let problem = Problem::new("", message).at_sql(written.or_else(here));
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// `1, Column: 8` as a place.
fn written_place(text: &str) -> Option<Place> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Place { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
}

fn only_query(mut statements: Vec<Statement>) -> Result<Query, Problem> {
    let wrong = |message: &str, place: Option<Place>| {
        Problem::new("", message)
            .help("write one SELECT; WITH names its parts, and another processor takes a next step")
            .at_sql(place)
    };
    if statements.len() > 1 {
        return Err(wrong("a processor is one SELECT", place(statements[1].span())));
    }
    match statements.pop() {
        None => Err(wrong("there is no SQL", None)),
        Some(Statement::Query(query)) => Ok(*query),
        Some(other) => {
            let start = place(other.span()).or(Some(Place { line: 1, column: 1 }));
            Err(wrong("this is no SELECT: a processor reads and changes nothing", start))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(sql: &str) -> (String, Option<(u32, u32)>) {
        let problem = parse(sql).unwrap_err();
        (problem.message, problem.sql_place.map(|place| (place.line, place.column)))
    }

    #[test]
    fn a_mistake_has_its_place() {
        let (message, place) = refused("SELECT a\nFROM t WHERE");
        assert!(message.contains("Expected: an expression"), "{message}");
        assert_eq!(place.map(|place| place.0), Some(2));
        assert_eq!(refused("SELECT 'a FROM t").1, Some((1, 8)));
        assert_eq!(refused("SELECT a FRM t u v").1, Some((1, 14)));
    }

    #[test]
    fn only_one_query_is_taken() {
        assert_eq!(refused("SELECT 1; SELECT 2").1, Some((1, 11)));
        assert_eq!(refused("").0, "there is no SQL");
        assert_eq!(refused("DELETE FROM t").1, Some((1, 1)));
    }

    #[test]
    fn what_is_too_large_or_too_deep_is_refused() {
        let deep = format!("SELECT {}1{}", "(".repeat(500), ")".repeat(500));
        let message = stacker::grow(crate::sql::STACK_BYTES, || refused(&deep).0);
        assert!(message.contains("nested"), "{message}");
        let long = format!("SELECT {}1", "1+".repeat(SQL_TOKENS_MAX));
        assert!(refused(&long).0.contains("tokens"));
    }
}
