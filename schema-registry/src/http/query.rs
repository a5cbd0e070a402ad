//! Query and path parameters, read as Jersey reads them for Confluent's registry: an unknown one
//! is ignored, `true` in any case is true and anything else false, and a number that is none
//! makes the path one that does not exist (404).

use std::collections::HashMap;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::reply::Reply;
use crate::registry::Page;
use crate::state::Filter;

/// The parameters after the question mark; the first of each name counts.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Reply;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Reply> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let not_found = |_: QueryRejection| Reply::status(StatusCode::NOT_FOUND);
        pairs.map(|Query(pairs)| Self(pairs)).map_err(not_found)
    }
}

impl Parameters {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may come more than once.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn number(&self, name: &str) -> Result<Option<i32>, Reply> {
        match self.text(name) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Reply::status(StatusCode::NOT_FOUND)),
        }
    }

    /// `offset` and `limit`; a negative one counts as absent.
    pub(super) fn page(&self) -> Result<Page, Reply> {
        let count = |number: Option<i32>| number.and_then(|number| usize::try_from(number).ok());
        Ok(Page {
            offset: count(self.number("offset")?).unwrap_or(0),
            limit: count(self.number("limit")?),
        })
    }

    /// `deleted` and `deletedOnly`; the second wins.
    pub(super) fn filter(&self) -> Filter {
        if self.flag("deletedOnly") {
            return Filter::DeletedOnly;
        }
        self.filter_deleted()
    }

    /// `deleted` alone.
    pub(super) fn filter_deleted(&self) -> Filter {
        if self.flag("deleted") { Filter::WithDeleted } else { Filter::Live }
    }
}

/// The subject or context in the path; none on a route that is for all.
#[derive(Debug)]
pub(super) struct Scope(pub(super) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Scope {
    type Rejection = Reply;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Reply> {
        let Place(mut names) =
            Place::<HashMap<String, String>>::from_request_parts(parts, state).await?;
        Ok(Self(names.remove("subject")))
    }
}

/// The parts of the path in braces, percent-decoded: one, or the two as a pair.
#[derive(Debug)]
pub(super) struct Place<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Place<T> {
    type Rejection = Reply;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Reply> {
        let place = Path::<T>::from_request_parts(parts, state).await;
        let not_found = |_: PathRejection| Reply::status(StatusCode::NOT_FOUND);
        place.map(|Path(value)| Self(value)).map_err(not_found)
    }
}
