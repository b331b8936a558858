//! Which run a command is about: a full id, the beginning of one, `@latest` or `@latest~2`.

use super::{document::PAGE, fault::Fault};
use crate::{
    api::{ListRunsQuery, Run},
    client::Client,
    model::{Micros, RunId},
};

/// How many candidates an ambiguous prefix names.
const NAMED: usize = 5;

/// Digits of an id that tell when it was made.
const TIME_DIGITS: usize = 12;

/// An id is drawn a little before or after its run is created.
const SLACK: i64 = 60_000_000;

/// Finds the run that `text` means.
pub async fn find(client: &Client, text: &str) -> Result<RunId, Fault> {
    if let Some(back) = latest(text) {
        return nth_latest(client, text, back?).await;
    }
    let text = text.to_ascii_lowercase();
    if let Ok(run) = text.parse::<RunId>() {
        return Ok(client.get_run(run).await?.id);
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return Err(Fault::refused("BAD_RUN_ID", format!("`{text}` is not a run"))
            .help("give an id, the beginning of one, @latest or @latest~1"));
    }
    by_prefix(client, &text).await
}

/// `@latest` is 0, `@latest~2` is 2; `None` for other forms.
fn latest(text: &str) -> Option<Result<usize, Fault>> {
    let rest = text.strip_prefix("@latest")?;
    if rest.is_empty() {
        return Some(Ok(0));
    }
    let number = rest.strip_prefix('~').and_then(|number| number.parse().ok());
    Some(number.ok_or_else(|| {
        Fault::refused("BAD_RUN_ID", format!("`{text}` is not a run")).help("write @latest or @latest~2")
    }))
}

async fn nth_latest(client: &Client, text: &str, back: usize) -> Result<RunId, Fault> {
    let page = u32::try_from(back + 1).unwrap_or(PAGE).min(PAGE);
    let mut query = ListRunsQuery { limit: Some(page), ..ListRunsQuery::default() };
    let mut left = back;
    loop {
        let page = client.list_runs(&query).await?;
        if let Some(run) = page.items.get(left) {
            return Ok(run.id);
        }
        left -= page.items.len();
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => return Err(not_found(text)),
        }
    }
}

async fn by_prefix(client: &Client, prefix: &str) -> Result<RunId, Fault> {
    let (since, until) = made(prefix);
    let mut query = ListRunsQuery { since, until, limit: Some(PAGE), ..ListRunsQuery::default() };
    let mut found: Vec<Run> = Vec::new();
    loop {
        let page = client.list_runs(&query).await?;
        found.extend(page.items.into_iter().filter(|run| run.id.to_string().starts_with(prefix)));
        match page.next_cursor {
            Some(cursor) if found.len() <= NAMED => query.cursor = Some(cursor),
            _ => break,
        }
    }
    match found.as_slice() {
        [] => Err(not_found(prefix)),
        [only] => Ok(only.id),
        several => {
            let mut names: Vec<String> = several.iter().take(NAMED).map(|run| run.id.to_string()).collect();
            if several.len() > NAMED {
                names.push("…".to_owned());
            }
            Err(Fault::refused("RUN_AMBIGUOUS", format!("`{prefix}` begins the ids of several runs"))
                .help(format!("give more of it: {}", names.join(", "))))
        }
    }
}

/// When a run whose id begins like this can have been created: an id begins with the time it was made.
fn made(prefix: &str) -> (Option<Micros>, Option<Micros>) {
    let digits: String = prefix.chars().filter(char::is_ascii_hexdigit).take(TIME_DIGITS).collect();
    let at = |fill: &str| {
        let padded = format!("{digits}{}", fill.repeat(TIME_DIGITS - digits.len()));
        i64::from_str_radix(&padded, 16).ok().map(|millis| millis.saturating_mul(1_000))
    };
    // Times beyond the year 9999 cannot be written; a list without the limit has those runs too.
    let writable = |at: i64| (0..253_402_300_000_000_000).contains(&at).then_some(Micros(at));
    (at("0").and_then(|at| writable((at - SLACK).max(0))), at("f").and_then(|at| writable(at + SLACK)))
}

fn not_found(text: &str) -> Fault {
    Fault::refused("RUN_NOT_FOUND", format!("no run `{text}`")).help("`opsroom runs` lists the runs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_tells_when_it_was_made() {
        let at = |micros: Option<Micros>| micros.map(|at| at.to_string());
        let (since, until) = made("01937c3a-5b00-7");
        assert_eq!(at(since).unwrap(), "2024-11-30T08:39:19.456Z");
        assert_eq!(at(until).unwrap(), "2024-11-30T08:41:19.456Z");
        let (since, until) = made("0");
        assert_eq!(at(since).unwrap(), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(until).unwrap(), "2527-06-23T06:21:44.415Z");
        assert_eq!(made("ffff"), (None, None));
    }
}
