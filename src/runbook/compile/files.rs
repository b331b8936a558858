//! `files:`: globs of files beside the runbook.

use serde_json::Value;

use super::report::{Report, item};
use crate::{
    model::Digest,
    runbook::{Beside, Glob, diagnostic::Code},
};

/// Reports what is wrong with the globs and what they match; the digest of the files, if there are any.
pub(super) fn check(json: &Value, beside: &Beside, report: &mut Report<'_>) -> Option<Digest> {
    let list = json.get("files").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (index, text) in list.iter().enumerate().filter_map(|(index, item)| Some((index, item.as_str()?))) {
        let pointer = item("/files", index);
        let glob = match Glob::read(index, text) {
            Ok(glob) => glob,
            Err((code, message)) => {
                let help = (code == Code::FilesOutside).then(|| "put the file beside the runbook".to_owned());
                report.value(code, &pointer, message, help);
                continue;
            }
        };
        let mut known = false;
        for problem in beside.problems.iter().filter(|problem| problem.glob == index) {
            let code = if problem.too_large { Code::FilesTooLarge } else { Code::FilesUnreadable };
            report.value(code, &pointer, problem.message.clone(), None);
            known = true;
        }
        if !known && !beside.bundle.files.keys().any(|path| glob.matches(path)) {
            let help = "globs are relative to the folder of the runbook; `*` does not cross `/`, `**` does".to_owned();
            report.value(Code::FilesUnmatched, &pointer, format!("`{text}` matches no file"), Some(help));
        }
    }
    if let Some(excess) = beside.excess() {
        report.key(Code::FilesTooLarge, "/files", excess, None);
    }
    (!beside.bundle.is_empty()).then(|| beside.bundle.digest())
}
