//! Lists told in parts.

use std::pin::Pin;

use tokio_stream::Stream;
use tonic::{Response, Status};

/// Items in one message: far below the four megabytes that a client takes.
const PART: usize = 64;

/// What a server-streaming request is answered with.
pub(crate) type Parts<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A list, so many items at a time; an empty one is an empty stream.
pub(crate) fn in_parts<T: Send + 'static, M: Send + 'static>(
    items: Vec<T>,
    message: impl Fn(Vec<T>) -> M + Send + 'static,
) -> Response<Parts<M>> {
    let mut items = items.into_iter();
    let parts = std::iter::from_fn(move || {
        let part: Vec<T> = items.by_ref().take(PART).collect();
        (!part.is_empty()).then(|| Ok(message(part)))
    });
    Response::new(Box::pin(tokio_stream::iter(parts)))
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn nothing_is_lost_or_told_twice() {
        for length in [0, 1, PART, PART + 1, 3 * PART] {
            let parts = in_parts((0..length).collect(), |part| part).into_inner();
            let parts: Vec<Vec<usize>> = parts.map(Result::unwrap).collect().await;
            assert!(parts.iter().all(|part| (1..=PART).contains(&part.len())));
            assert_eq!(parts.concat(), (0..length).collect::<Vec<_>>());
        }
    }
}
