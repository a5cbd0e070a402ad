//! What changes something is done whole: a request's future is dropped when its client goes away, and
//! a task is not.

use tidemesh_model::{Error, ErrorKind};

/// Does a request's work to its end, also when nobody waits for the answer any more: dropped where it
/// waits, it would leave what is durable and what is shown or runs apart. The process's end still ends
/// it, as any step may be the last one then.
///
/// # Errors
///
/// What the work says; `Internal` if it panics, and then whoever asks again goes on from what is durable.
pub async fn whole<T, E>(work: impl Future<Output = Result<T, E>> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    tokio::spawn(work).await.unwrap_or_else(|broke| {
        let error = Error::new(ErrorKind::Internal, "do what was asked for")
            .because("a bug ended it half-way")
            .caused_by(broke)
            .help("the daemon's log has more; ask again, and report it");
        tracing::error!(error = error.report(), "a request broke");
        Err(error.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_ours() {
        let broken = async { if true { panic!("it broke") } else { Ok::<(), Error>(()) } };
        let error = whole(broken).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal);
        assert_eq!(crate::http::error(&error).status(), 500);
    }
}
