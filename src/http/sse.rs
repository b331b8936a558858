//! Server-sent events: how streams are framed and answered.
//!
//! A stream begins with `retry: 1000`; a comment every 15 seconds keeps connections open that nothing goes over.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use serde::Serialize;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::model::Event;

const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where the frames of a stream come from.
pub trait Frames: Send + 'static {
    /// The next frame; `None` when the stream ends. Dropping the call loses nothing.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// The answer that sends the frames until they end or the client goes away.
pub fn answer(frames: impl Frames) -> Response {
    let mut heartbeat = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let first = Some(Bytes::from_static(b"retry: 1000\n\n"));
    let body = stream::unfold((frames, heartbeat, first), async |(mut frames, mut heartbeat, first)| {
        let frame = match first {
            Some(first) => first,
            None => next(&mut frames, &mut heartbeat).await?,
        };
        Some((Ok::<_, Infallible>(frame), (frames, heartbeat, None)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        // nginx and those who follow it hold answers back otherwise.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

async fn next(frames: &mut impl Frames, heartbeat: &mut Interval) -> Option<Bytes> {
    tokio::select! {
        biased;
        frame = frames.next() => frame,
        _ = heartbeat.tick() => Some(Bytes::from_static(b": heartbeat\n\n")),
    }
}

/// An event of a run: `id`, `event` and `data`, the V2 event on one line.
pub fn event(event: &Event) -> Bytes {
    let mut frame = format!("id: {}\nevent: {}\n", event.id(), event.event);
    push_data(&mut frame, event);
    frame.into()
}

/// A word of the stream itself; it has no id, so a client that resumes does so after the last event.
pub fn word(name: &str, data: &impl Serialize) -> Bytes {
    let mut frame = format!("event: {name}\n");
    push_data(&mut frame, data);
    frame.into()
}

fn push_data(frame: &mut String, data: &impl Serialize) {
    frame.push_str("data: ");
    // JSON is written without line breaks, and plain data always serialises.
    frame.push_str(&serde_json::to_string(data).unwrap_or_default());
    frame.push_str("\n\n");
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Category, EventKind, Micros, RunId};

    struct Given(Vec<Bytes>);

    impl Frames for Given {
        async fn next(&mut self) -> Option<Bytes> {
            if self.0.is_empty() { std::future::pending().await } else { Some(self.0.remove(0)) }
        }
    }

    #[test]
    fn an_event_is_three_lines() {
        let event_of = Event {
            run_id: RunId(Uuid::from_u128(7)),
            timestamp: Micros(1_500_000),
            sequence: 3,
            prev: 2,
            source: None,
            event: EventKind { category: Category::System, action: "log".to_owned() },
            data: json!({"text": "a\nb\r\n\u{2028}"}),
        };
        let frame = String::from_utf8(event(&event_of).to_vec()).unwrap();
        let lines: Vec<&str> = frame.split('\n').collect();
        assert_eq!((lines[0], lines[1], &lines[3..]), ("id: 1500-3", "event: system.log", &["", ""][..]));
        let data = lines[2].strip_prefix("data: ").unwrap();
        assert_eq!(serde_json::from_str::<Event>(data).unwrap(), event_of);
        assert!(!frame.contains('\r'));
        assert_eq!(word("close", &json!({"status": "failed"})), "event: close\ndata: {\"status\":\"failed\"}\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_is_kept_open() {
        let response = answer(Given(vec![Bytes::from_static(b"data: 1\n\n")]));
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        let mut body = response.into_body();
        let mut seen = Vec::new();
        let begin = Instant::now();
        for _ in 0..4 {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            seen.push((begin.elapsed().as_secs(), String::from_utf8(frame.to_vec()).unwrap()));
        }
        let expected = [(0, "retry: 1000\n\n"), (0, "data: 1\n\n"), (15, ": heartbeat\n\n"), (30, ": heartbeat\n\n")];
        assert_eq!(seen, expected.map(|(at, text)| (at, text.to_owned())));
    }
}
