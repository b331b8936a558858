//! Bodies with limits: one that must keep coming, and one that ends when the server stops.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{BoxError, body::Body, http::header, response::Response};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Bytes a second that a body must reach over its whole time, once it takes longer than a stall may.
const SLOWEST: u64 = 1_024;

/// The body of a request. Fails with `TimedOut` if nothing comes for a while, or too little in the long run.
pub struct StallingBody {
    body: Incoming,
    stall: Duration,
    /// Begins with the first wait: a body that nobody reads yet is not late.
    deadline: Option<Pin<Box<Sleep>>>,
    begin: Option<Instant>,
    bytes: u64,
}

impl StallingBody {
    pub fn new(body: Incoming, stall: Duration) -> StallingBody {
        StallingBody { body, stall, deadline: None, begin: None, bytes: 0 }
    }

    /// When the next byte must have come.
    fn next_deadline(&mut self) -> Instant {
        let now = Instant::now();
        let begin = *self.begin.get_or_insert(now);
        let at_the_slowest = begin + self.stall + Duration::from_secs(self.bytes / SLOWEST);
        at_the_slowest.min(now + self.stall)
    }
}

impl HttpBody for StallingBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.deadline = None;
            if let Some(Ok(frame)) = &frame {
                self.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.deadline.is_none() {
            let at = self.next_deadline();
            self.deadline = Some(Box::pin(tokio::time::sleep_until(at)));
        }
        if let Some(deadline) = &mut self.deadline {
            ready!(deadline.as_mut().poll(cx));
        }
        Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an event stream, which would never end by itself. Counted while it is open.
pub struct EndingBody {
    body: Body,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl EndingBody {
    pub fn new(body: Body, stop: CancellationToken) -> EndingBody {
        metrics::gauge!("opsroom_sse_subscribers").increment(1.0);
        EndingBody { body, stop: Box::pin(stop.cancelled_owned()) }
    }

    /// Whether an answer is an event stream.
    pub fn applies(response: &Response) -> bool {
        let media_type = response.headers().get(header::CONTENT_TYPE);
        media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(b"text/event-stream"))
    }
}

impl Drop for EndingBody {
    fn drop(&mut self) {
        metrics::gauge!("opsroom_sse_subscribers").decrement(1.0);
    }
}

impl HttpBody for EndingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // What is ready comes first, so that a stream that ends by itself is whole.
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        self.stop.as_mut().poll(cx).map(|()| None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
