//! What a caller is still sending when the answer is ready.
//!
//! An error can be known before the body is read: no credentials, a wrong type, too large. Closing the
//! connection then resets it, and the caller may lose the answer. So a bounded rest is read and
//! thrown away first.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use futures::StreamExt as _;
use hyper::body::Frame;

/// How much of a rest is read.
const BYTES_MAX: usize = 1024 * 1024;
/// How long it may take.
const TIME_MAX: Duration = Duration::from_secs(2);

/// A body that is still there after whoever read it is gone.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&mut Body) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.with(|body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|body| body.is_end_stream())
    }
}

/// Lets `answer` answer a request, and takes what its caller is still sending then.
pub async fn discard_rest<F>(request: Request, answer: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    // Who asks first whether to send (`100-continue`) has not sent anything.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return answer(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = Shared(Arc::new(Mutex::new(body)));
    let response = answer(Request::from_parts(parts, Body::new(body.clone()))).await;
    if !body.is_end_stream() {
        // Late or endless: then the connection is closed after all.
        let _late = tokio::time::timeout(TIME_MAX, discard(body)).await;
    }
    response
}

async fn discard(body: Shared) {
    let mut rest = Body::new(body).into_data_stream();
    let mut bytes = 0;
    while let Some(Ok(chunk)) = rest.next().await {
        bytes += chunk.len();
        if bytes > BYTES_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;

    use super::*;

    /// Sends `chunks` of 64 KiB to a handler that reads nothing. Returns how many were taken.
    async fn taken(chunks: usize, headers: &[(&'static str, &'static str)]) -> usize {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let chunks = futures::stream::iter(0..chunks).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 64 * 1024]))
        });
        let mut request = Request::post("/").body(Body::from_stream(chunks)).unwrap();
        for (name, value) in headers {
            let value = axum::http::HeaderValue::from_static(value);
            request.headers_mut().insert(*name, value);
        }
        let answer = discard_rest(request, async |_| StatusCode::UNAUTHORIZED.into_response());
        assert_eq!(answer.await.status(), StatusCode::UNAUTHORIZED);
        count.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_rest_is_taken_up_to_a_bound() {
        assert_eq!(taken(4, &[]).await, 4);
        assert_eq!(taken(100, &[]).await, BYTES_MAX / (64 * 1024) + 1);
        assert_eq!(taken(4, &[("expect", "100-continue")]).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_that_does_not_come_is_not_waited_for() {
        let silent = futures::stream::pending::<Result<Bytes, std::io::Error>>();
        let request = Request::post("/").body(Body::from_stream(silent)).unwrap();
        let answer = discard_rest(request, async |_| StatusCode::UNAUTHORIZED.into_response());
        assert_eq!(answer.await.status(), StatusCode::UNAUTHORIZED);
    }
}
