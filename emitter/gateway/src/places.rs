//! Places among what is done at the same time, and shares of them: no client and no topic has all.

use crate::answer::Refusal;
use axum::http::StatusCode;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tidemesh_model::ErrorKind;

/// So many places, with how many of them each client and each topic has.
#[derive(Debug)]
pub(crate) struct Places {
    what: &'static str,
    max: usize,
    share_max: usize,
    taken: Mutex<Taken>,
}

/// Who has places. Those who have none are not there.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    shares: HashMap<Holder, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Client(String),
    Topic(String),
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Client(_) => "the client",
            Self::Topic(_) => "the topic",
        })
    }
}

/// A place, which is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    holders: Vec<Holder>,
}

impl Places {
    /// `what` stands in refusals: what is done at a place.
    pub(crate) fn new(what: &'static str, max: usize, share_max: usize) -> Arc<Self> {
        Arc::new(Self { what, max, share_max, taken: Mutex::default() })
    }

    /// A place for a topic, and for a client where clients are known.
    pub(crate) fn enter(
        self: &Arc<Self>,
        client: Option<&str>,
        topic: &str,
    ) -> Result<Place, Refusal> {
        let client = client.map(|name| Holder::Client(name.to_owned()));
        let holders: Vec<_> = client.into_iter().chain([Holder::Topic(topic.to_owned())]).collect();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.max {
            return Err(self.refusal(&"all together", self.max));
        }
        let has = |holder: &Holder| taken.shares.get(holder).copied().unwrap_or_default();
        if let Some(holder) = holders.iter().find(|holder| has(holder) >= self.share_max) {
            return Err(self.refusal(holder, self.share_max));
        }
        taken.all += 1;
        for holder in &holders {
            *taken.shares.entry(holder.clone()).or_default() += 1;
        }
        drop(taken);
        Ok(Place { places: Arc::clone(self), holders })
    }

    fn refusal(&self, whose: &dyn fmt::Display, max: usize) -> Refusal {
        let what = self.what;
        let message = format!(
            "as many requests as there may be are {what} ({whose}, {max}): send it again; \
             gateway.requests_max bounds them, and a client or a topic has a quarter of it"
        );
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::Exhausted, message)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        for holder in self.holders.drain(..) {
            let Some(count) = taken.shares.get_mut(&holder) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.shares.remove(&holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    #[test]
    fn no_client_and_no_topic_has_more_than_its_share() {
        let places = Places::new("worked on", 8, 2);
        let enter = |client, topic| places.enter(client, topic);
        let held = [enter(Some("a"), "x").unwrap(), enter(Some("a"), "y").unwrap()];
        let refused = enter(Some("a"), "z").unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        let other = enter(Some("b"), "x").unwrap();
        assert!(enter(Some("c"), "x").is_err(), "the topic has its share");
        // Where nobody logs in, topics have shares all the same.
        let _nobody = (enter(None, "u").unwrap(), enter(None, "u").unwrap());
        assert!(enter(None, "u").is_err());
        drop(held);
        enter(Some("a"), "x").unwrap();
        drop(other);
        assert_eq!(places.taken.lock().unwrap().shares.len(), 1, "who has none is forgotten");
    }

    #[test]
    fn there_are_no_more_places_than_there_may_be() {
        let places = Places::new("worked on", 2, 1);
        let held = [places.enter(None, "a").unwrap(), places.enter(None, "b").unwrap()];
        assert!(places.enter(None, "c").is_err());
        drop(held);
        places.enter(None, "c").unwrap();
    }
}
