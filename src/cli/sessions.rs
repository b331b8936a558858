//! `opsroom sessions`: groups of runs, with a count of what waits and runs in their lanes.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    Context, block_on,
    document::{List, PAGE, date_time, printable},
    fault::{Fault, exit},
    out::Out,
    place::Place,
    runs::{plain_table, trimmed},
};
use crate::{
    api::{CreateSession, LaneCount, ListSessionsQuery, Session, UpdateSession},
    client::Client,
};

/// List sessions, open one, show one, archive one
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  opsroom sessions
  opsroom sessions create 'release 7' --label team=db
  opsroom run deploy --session ID
  opsroom sessions archive ID"
)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: ListOptions,
}

#[derive(Debug, clap::Args)]
struct ListOptions {
    /// Archived ones too
    #[arg(long)]
    archived: bool,
    /// At most this many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List sessions, newest first
    List(ListOptions),
    /// Open a session
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        /// A label; may be repeated
        #[arg(long, value_name = "NAME=VALUE")]
        label: Vec<String>,
    },
    /// Show one session
    Show {
        #[arg(value_name = "ID")]
        session: Uuid,
    },
    /// Archive a session: no more runs start in it
    Archive {
        #[arg(value_name = "ID")]
        session: Uuid,
    },
    /// Take a session out of the archive
    Reopen {
        #[arg(value_name = "ID")]
        session: Uuid,
    },
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let place = Place::open(context).await?;
        let (client, out) = (&place.client, &context.out);
        match &options.command {
            None => list(out, client, &options.list).await?,
            Some(Command::List(options)) => list(out, client, options).await?,
            Some(Command::Create { name, label }) => {
                let body = CreateSession { name: name.clone(), labels: Some(labels(label)?) };
                one(out, &client.create_session(&body).await?);
            }
            Some(Command::Show { session }) => one(out, &client.get_session(*session).await?),
            Some(Command::Archive { session }) => one(out, &archive(client, *session, true).await?),
            Some(Command::Reopen { session }) => one(out, &archive(client, *session, false).await?),
        }
        place.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

async fn archive(client: &Client, session: Uuid, archived: bool) -> Result<Session, Fault> {
    Ok(client.update_session(session, &UpdateSession { name: None, archived: Some(archived) }).await?)
}

/// `name=value` as labels.
pub fn labels(given: &[String]) -> Result<Map<String, Value>, Fault> {
    let read = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), Value::from(value))),
        _ => Err(Fault::refused("BAD_LABEL", format!("`{text}` is not a label")).help("write `--label NAME=VALUE`")),
    };
    given.iter().map(read).collect()
}

async fn list(out: &Out, client: &Client, options: &ListOptions) -> Result<(), Fault> {
    let wanted = usize::from(options.limit);
    let mut query = ListSessionsQuery { archived: options.archived, limit: None, cursor: None };
    let mut sessions: Vec<Session> = Vec::new();
    let next = loop {
        let left = u32::try_from(wanted - sessions.len()).unwrap_or(PAGE);
        query.limit = Some(left.min(PAGE));
        let page = client.list_sessions(&query).await?;
        sessions.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() || sessions.len() >= wanted {
            break query.cursor;
        }
    };
    if out.is_json() {
        out.json(&List { items: &sessions, next_cursor: next.as_deref() });
        return Ok(());
    }
    if sessions.is_empty() {
        out.message("no sessions; `opsroom sessions create NAME` opens one");
        return Ok(());
    }
    let mut table = plain_table();
    table.set_header(["SESSION", "NAME", "CREATED", "BY", "LANES"]);
    for session in &sessions {
        let archived = if session.archived_at.is_some() { " (archived)" } else { "" };
        table.add_row([
            session.id.to_string(),
            format!("{}{archived}", printable(&session.name)),
            date_time(session.created_at),
            printable(&session.created_by),
            lanes(&session.lanes),
        ]);
    }
    out.line(trimmed(&table));
    if next.is_some() {
        out.message("there are more: --limit");
    }
    Ok(())
}

/// `A 2 queued 1 running, C 1 running`; nothing of idle lanes.
fn lanes(lanes: &[LaneCount]) -> String {
    let part = |count: u64, word: &str| if count > 0 { format!(" {count} {word}") } else { String::new() };
    let busy = lanes.iter().filter(|lane| lane.queued + lane.running > 0);
    let text =
        |lane: &LaneCount| format!("{}{}{}", lane.lane, part(lane.queued, "queued"), part(lane.running, "running"));
    let texts: Vec<String> = busy.map(text).collect();
    if texts.is_empty() { "idle".to_owned() } else { texts.join(", ") }
}

fn one(out: &Out, session: &Session) {
    if out.is_json() {
        out.json(session);
        return;
    }
    let mut lines = vec![
        ("session", session.id.to_string()),
        ("name", printable(&session.name)),
        ("created", format!("{} by {}", date_time(session.created_at), printable(&session.created_by))),
    ];
    if let Some(at) = session.archived_at {
        lines.push(("archived", date_time(at)));
    }
    if !session.labels.is_empty() {
        let pair = |(name, value): (&String, &Value)| printable(&format!("{name}={value}"));
        lines.push(("labels", session.labels.iter().map(pair).collect::<Vec<_>>().join(" ")));
    }
    lines.push(("lanes", lanes(&session.lanes)));
    for (name, value) in lines {
        out.line(format!("{:<10} {value}", format!("{name}:")));
    }
}
