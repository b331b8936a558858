//! Which run a command is about: a full id, the beginning of one, `@latest` or `@latest~2`.

use super::fault::Fault;
use crate::{
    model::{RunId, TenantId},
    ports::{RunFilter, Store},
};

/// How many candidates an ambiguous prefix names.
const NAMED: usize = 5;

/// Finds the run that `text` means.
pub async fn find(store: &dyn Store, text: &str) -> Result<RunId, Fault> {
    if let Some(back) = latest(text) {
        return nth_latest(store, text, back?).await;
    }
    let text = text.to_ascii_lowercase();
    if let Ok(run) = text.parse::<RunId>() {
        return store.run(run).await?.map(|row| row.id).ok_or_else(|| not_found(&text));
    }
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return Err(Fault::refused("BAD_RUN_ID", format!("`{text}` is not a run"))
            .help("give an id, the beginning of one, @latest or @latest~1"));
    }
    by_prefix(store, text).await
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

async fn nth_latest(store: &dyn Store, text: &str, back: usize) -> Result<RunId, Fault> {
    let mut filter = RunFilter { limit: 500, ..RunFilter::default() };
    let mut left = back;
    loop {
        let page = store.runs(TenantId::DEFAULT, &filter).await?;
        if let Some(row) = page.items.get(left) {
            return Ok(row.id);
        }
        left -= page.items.len();
        match page.items.last() {
            Some(last) if page.more => filter.before = Some(last.id),
            _ => return Err(not_found(text)),
        }
    }
}

async fn by_prefix(store: &dyn Store, prefix: String) -> Result<RunId, Fault> {
    let filter = RunFilter { id_prefix: Some(prefix.clone()), limit: NAMED, ..RunFilter::default() };
    let page = store.runs(TenantId::DEFAULT, &filter).await?;
    match page.items.as_slice() {
        [] => Err(not_found(&prefix)),
        [only] => Ok(only.id),
        several => {
            let mut names: Vec<String> = several.iter().map(|row| row.id.to_string()).collect();
            if page.more {
                names.push("…".to_owned());
            }
            Err(Fault::refused("RUN_AMBIGUOUS", format!("`{prefix}` begins the ids of several runs"))
                .help(format!("give more of it: {}", names.join(", "))))
        }
    }
}

fn not_found(text: &str) -> Fault {
    Fault::refused("RUN_NOT_FOUND", format!("no run `{text}`"))
        .help("`opsroom runs` lists the runs of this data folder")
}
