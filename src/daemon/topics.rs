//! The log's topics, as the controller has them keep their records.

use futures_util::future::{BoxFuture, FutureExt};
use std::sync::Arc;
use tidemesh_controller::TopicKeeper;
use tidemesh_model::Result;
use tidemesh_transport::{Retention, TopicInfo, Transport};

/// Over a transport.
pub(super) struct Topics<T>(pub(super) Arc<T>);

impl<T: Transport> TopicKeeper for Topics<T> {
    fn topic<'k>(&'k self, topic: &'k str) -> BoxFuture<'k, Result<TopicInfo>> {
        self.0.topic(topic).boxed()
    }

    fn keep<'k>(&'k self, topic: &'k str, retention: Retention) -> BoxFuture<'k, Result<()>> {
        async move { self.0.set_retention(topic, &retention).await.map(drop) }.boxed()
    }
}
