//! Reading the events of a run: those that are there, or as they happen.

use super::{Context, fault::Fault, out::Out};
use crate::{
    api::ListEventsQuery,
    client::{Client, News},
    model::{Event, RunId},
};

/// Events asked for at once: chunks of output may have 64 KiB each.
const PAGE: u32 = 200;

/// Which events.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub run: RunId,
    /// Only those with a sequence above this one.
    pub after: u64,
    /// Also those to come, until the run has ended.
    pub follow: bool,
}

/// Gives every event in order, until there are no more or nobody reads what is printed.
pub async fn each(context: &Context, client: &Client, range: Range, mut take: impl FnMut(&Event)) -> Result<(), Fault> {
    if range.follow {
        follow(&context.out, client, range, take).await
    } else {
        pages(context, client, range, &mut take).await
    }
}

async fn pages(context: &Context, client: &Client, range: Range, take: &mut impl FnMut(&Event)) -> Result<(), Fault> {
    let mut query = ListEventsQuery { start_id: None, end_id: None, limit: Some(PAGE) };
    loop {
        let page = client.list_events(range.run, &query).await?;
        for event in page.events.iter().filter(|event| event.sequence > range.after) {
            take(event);
            if context.out.is_closed() {
                return Ok(());
            }
        }
        match page.next_id {
            Some(next) => query.start_id = Some(next),
            None => return Ok(()),
        }
    }
}

async fn follow(out: &Out, client: &Client, range: Range, mut take: impl FnMut(&Event)) -> Result<(), Fault> {
    let mut events = client.follow(range.run, range.after).await?;
    while let Some(news) = events.next().await? {
        match &news {
            News::Event(event) => {
                take(event);
                out.flush();
            }
            other => tell(out, client, other),
        }
        if out.is_closed() {
            break;
        }
    }
    Ok(())
}

/// Says what became of the connection, on standard error.
pub fn tell(out: &Out, client: &Client, news: &News) {
    match news {
        News::Event(_) => {}
        News::Lost { why } => {
            out.message(format!("{}: the connection is lost ({why}); connecting again", client.url()));
        }
        News::Back => out.message(format!("{}: connected again; nothing was missed", client.url())),
    }
}
