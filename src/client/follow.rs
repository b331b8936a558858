//! The events of a run as they happen, each once, over any number of broken connections.

use std::{pin::Pin, time::Duration};

use eventsource_stream::{Event as Message, EventStreamError, Eventsource};
use futures::{Stream, StreamExt};
use reqwest::{Method, Response};

use super::{
    Client, ClientError,
    transport::{pause, segment},
};
use crate::model::{Event, RunId, StreamId};

/// The longest pause between two tries to reach a server that is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type Messages = Pin<Box<dyn Stream<Item = Result<Message, EventStreamError<reqwest::Error>>> + Send>>;

/// What a reader is told.
#[derive(Debug)]
pub enum News {
    Event(Box<Event>),
    /// The connection is gone; another one is being made.
    Lost {
        why: String,
    },
    /// There is a connection again; nothing was missed.
    Back,
}

/// Follows one run. Dropping a call of [`Follow::next`] loses nothing.
pub struct Follow {
    client: Client,
    run: RunId,
    /// The last event given; the server continues after it.
    last: Option<StreamId>,
    /// Events up to this one are left out.
    after: u64,
    state: State,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Response, ClientError>> + Send>>;

enum State {
    /// A try is under way, after this many that have failed. It lives here, so that it outlives a dropped call.
    Away {
        failed: u32,
        trying: Connecting,
    },
    /// So many connections in a row were lost before they gave an event.
    Open {
        messages: Messages,
        idle: u32,
    },
    Ended,
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow").field("run", &self.run).field("last", &self.last).finish_non_exhaustive()
    }
}

impl Client {
    /// The events of a run with a sequence above `after`: those that are there, then those to come. The first
    /// connection is made now, so that a run or a server that is not there is an error at once.
    pub async fn follow(&self, run: RunId, after: u64) -> Result<Follow, ClientError> {
        let mut follow = Follow {
            client: self.clone(),
            run,
            last: (after > 0).then_some(StreamId { millis: 0, sequence: after }),
            after,
            state: State::Ended,
        };
        let response = follow.client.answered(|| follow.request()).await?;
        follow.state = open(response, 0);
        Ok(follow)
    }
}

fn open(response: Response, idle: u32) -> State {
    State::Open { messages: Box::pin(response.bytes_stream().eventsource()), idle }
}

impl Follow {
    /// The next thing; `None` when the run has ended and everything was given.
    pub async fn next(&mut self) -> Result<Option<News>, ClientError> {
        loop {
            let news = match &mut self.state {
                State::Ended => return Ok(None),
                State::Away { failed, trying } => {
                    let (failed, tried) = (*failed, trying.await);
                    self.tried(failed, tried)?
                }
                State::Open { messages, idle } => {
                    let (lost, message) = (*idle, messages.next().await);
                    if let Some(Ok(_)) = message {
                        *idle = 0;
                    }
                    match message {
                        Some(Ok(message)) => self.take(&message)?,
                        Some(Err(error)) => Some(self.lost(lost, &error.to_string())),
                        None => Some(self.lost(lost, "the server closed the connection")),
                    }
                }
            };
            if let Some(news) = news {
                return Ok(Some(news));
            }
        }
    }

    fn take(&mut self, message: &Message) -> Result<Option<News>, ClientError> {
        match message.event.as_str() {
            "close" => {
                self.state = State::Ended;
                return Ok(None);
            }
            // Words of the stream that came after this version.
            word if !word.contains('.') => return Ok(None),
            _ => {}
        }
        let event: Event = serde_json::from_str(&message.data)
            .map_err(|error| self.client.foreign(reqwest::StatusCode::OK, &format!("in its events: {error}")))?;
        self.last = Some(event.id());
        if event.sequence <= self.after {
            return Ok(None);
        }
        self.after = event.sequence;
        Ok(Some(News::Event(Box::new(event))))
    }

    /// The pause before the next try grows with the connections that gave nothing.
    fn lost(&mut self, idle: u32, why: &str) -> News {
        self.state = self.away(idle);
        News::Lost { why: why.to_owned() }
    }

    /// Another try, after a pause that grows with the failures.
    fn away(&self, failed: u32) -> State {
        let (client, request) = (self.client.clone(), self.request());
        let trying = Box::pin(async move {
            tokio::time::sleep(pause(failed.saturating_add(1)).min(LONGEST_PAUSE)).await;
            client.once(request).await
        });
        State::Away { failed, trying }
    }

    /// A failure that will pass is waited for, any other is the end.
    fn tried(&mut self, failed: u32, tried: Result<Response, ClientError>) -> Result<Option<News>, ClientError> {
        match tried {
            Ok(response) => {
                self.state = open(response, failed.saturating_add(1));
                Ok(Some(News::Back))
            }
            Err(error) if error.is_passing() => {
                tracing::debug!(%error, run = %self.run, "the events cannot be reached yet");
                self.state = self.away(failed.saturating_add(1));
                Ok(None)
            }
            Err(error) => {
                self.state = State::Ended;
                Err(error)
            }
        }
    }

    fn request(&self) -> reqwest::RequestBuilder {
        let target = format!("/v1/runs/{}/events/stream", segment(self.run));
        let request = self.client.request(Method::GET, &target).header("accept", "text/event-stream");
        match self.last {
            Some(last) => request.header("last-event-id", last.to_string()),
            None => request,
        }
    }
}
