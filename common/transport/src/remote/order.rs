//! The order of what a connection's requests change: what a client asked for first is done first.
//!
//! A connection's requests are carried out side by side, by tasks of which a later one may run first.
//! Whoever waits for each answer does not notice. But a client whose call was dropped, or has timed out,
//! asks for the next change without the answer to the one before: if that were done last, it would fence
//! the writer that was just opened, or remove the topic that was just made. Changes of different things
//! wait for nothing here, nor do appends, which a writer's epoch keeps in their place, and commits, of which
//! the client has one under way at a time.

use super::protocol::Request;
use std::collections::HashMap;
use tokio::sync::oneshot::{self, error::TryRecvError};

/// What requests change one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Topic(String),
    Writer(String),
}

impl Subject {
    fn of(request: &Request) -> Option<Self> {
        match request {
            Request::CreateTopic { topic, .. }
            | Request::SetRetention { topic, .. }
            | Request::DeleteTopic { topic } => Some(Self::Topic(topic.clone())),
            Request::OpenWriter { id } => Some(Self::Writer(id.clone())),
            Request::Topics
            | Request::Topic { .. }
            | Request::State { .. }
            | Request::Writers
            | Request::Append(_)
            | Request::Subscribe { .. }
            | Request::Committed { .. }
            | Request::Consumption { .. }
            | Request::Poll { .. }
            | Request::Commit { .. }
            | Request::Close { .. } => None,
        }
    }
}

/// The last request about each thing. Not more than the connection's requests that are under way: those
/// that are done with are forgotten when the next comes.
#[derive(Default)]
pub(super) struct Order {
    last: HashMap<Subject, oneshot::Receiver<()>>,
}

/// A request's place behind the one before it.
#[derive(Default)]
pub(super) struct Place {
    before: Option<oneshot::Receiver<()>>,
    done: Option<Done>,
}

/// Lets the next request about the same thing begin when it is dropped.
pub(super) struct Done(
    #[expect(dead_code, reason = "it tells by being dropped")] oneshot::Sender<()>,
);

impl Order {
    /// The place of the request that was read last.
    pub(super) fn place(&mut self, request: &Request) -> Place {
        self.last.retain(|_, last| last.try_recv() == Err(TryRecvError::Empty));
        let Some(subject) = Subject::of(request) else { return Place::default() };
        let (done, after) = oneshot::channel();
        Place { before: self.last.insert(subject, after), done: Some(Done(done)) }
    }
}

impl Place {
    /// Waits until the request before this one is done with, whatever came of it. Keep what this gives
    /// until this one is.
    pub(super) async fn reached(self) -> Option<Done> {
        if let Some(before) = self.before {
            // Nothing is ever sent: the other end is dropped.
            let _ = before.await;
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    fn open(id: &str) -> Request {
        Request::OpenWriter { id: id.to_owned() }
    }

    /// What a place gives if it is reached.
    fn now(place: &mut Pin<Box<impl Future<Output = Option<Done>>>>) -> Option<Option<Done>> {
        match place.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_request_waits_for_the_one_before_it_about_the_same_thing() {
        let mut order = Order::default();
        let places = [(); 3].map(|()| order.place(&open("w")));
        let [mut first, mut second, mut third] = places.map(|place| Box::pin(place.reached()));
        let done = now(&mut first).expect("nothing is before it");
        assert!(now(&mut second).is_none());
        drop(done);
        assert!(now(&mut third).is_none());
        drop(now(&mut second).expect("the one before it is done with"));
        assert!(now(&mut third).is_some());
    }

    #[test]
    fn requests_about_different_things_wait_for_nothing() {
        let mut order = Order::default();
        let delete = Request::DeleteTopic { topic: "w".to_owned() };
        let reads = Request::State { id: "w".to_owned() };
        let places = [open("w"), open("x"), delete, reads].map(|request| order.place(&request));
        assert!(places.into_iter().all(|place| place.before.is_none()));
    }

    #[test]
    fn what_is_done_with_is_forgotten() {
        let mut order = Order::default();
        for id in 0..100 {
            drop(order.place(&open(&id.to_string())));
        }
        assert_eq!(order.last.len(), 1);
    }
}
