//! Variables that were meant for us and are not read: a slip of the pen, or the name that another tool has for it.

use super::Variables;
use crate::runbook::closest;

const PREFIX: &str = "OPSROOM_";

/// What is read, without the prefix.
const SETTINGS: &[&str] = &[
    "ARTIFACTS_URL",
    "DATABASE_POOL",
    "DATA_DIR",
    "HTTP_ALLOW",
    "HTTP_PROXY",
    "HTTP_REFUSE",
    "KEY",
    "KEY_FILE",
    "LEASE",
    "LOG",
    "LOG_FORMAT",
    "PROCESSES",
    "REDIS_PREFIX",
    "RETENTION_DAYS",
    "URL",
    "WORKSPACE_LIMIT_MIB",
];

/// What others call it.
const SYNONYMS: &[(&str, &str)] = &[
    ("ADDR", "OPSROOM_URL"),
    ("API_KEY", "OPSROOM_KEY"),
    ("API_URL", "OPSROOM_URL"),
    ("DATABASE_URL", "DATABASE_URL"),
    ("DATA_FOLDER", "OPSROOM_DATA_DIR"),
    ("HOME", "OPSROOM_DATA_DIR"),
    ("HOST", "OPSROOM_URL"),
    ("LOG_LEVEL", "OPSROOM_LOG"),
    ("REDIS_URL", "REDIS_URL"),
    ("SERVER", "OPSROOM_URL"),
    ("SERVER_URL", "OPSROOM_URL"),
    ("TOKEN", "OPSROOM_KEY"),
];

pub(super) fn is_setting(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_none_or(|rest| SETTINGS.contains(&rest))
}

/// Pairs of a variable that is set and not read, and of the one that was probably meant, if that is not set.
pub(super) fn mistaken(variables: &Variables) -> Vec<(String, String)> {
    let ours = variables.0.keys().filter_map(|name| Some((name, name.strip_prefix(PREFIX)?)));
    let unread = ours.filter(|(name, _)| !is_setting(name));
    let meant = unread.filter_map(|(name, rest)| Some((name.clone(), meant(rest)?)));
    meant.filter(|(_, meant)| !variables.0.contains_key(meant)).collect()
}

fn meant(rest: &str) -> Option<String> {
    let synonym = SYNONYMS.iter().find(|(theirs, _)| *theirs == rest).map(|(_, ours)| (*ours).to_owned());
    synonym.or_else(|| closest(rest, SETTINGS.iter().copied()).map(|close| format!("{PREFIX}{close}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant_by<const N: usize>(names: [&str; N]) -> Vec<(String, String)> {
        mistaken(&Variables(names.map(|name| (name.to_owned(), "x".into())).into()))
    }

    #[test]
    fn what_was_meant_is_told() {
        let told = meant_by(["OPSROOM_SERVER", "OPSROOM_API_KEY", "OPSROOM_LAESE", "OPSROOM_DATABASE_URL"]);
        let told: Vec<_> = told.iter().map(|(name, meant)| (&**name, &**meant)).collect();
        let expected = [
            ("OPSROOM_API_KEY", "OPSROOM_KEY"),
            ("OPSROOM_DATABASE_URL", "DATABASE_URL"),
            ("OPSROOM_LAESE", "OPSROOM_LEASE"),
            ("OPSROOM_SERVER", "OPSROOM_URL"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn nobody_is_bothered_about_other_variables() {
        assert_eq!(meant_by(["OPSROOM_SERVER", "OPSROOM_URL", "OPSROOM_SECRET_KEY", "OPSROOM", "OPSROOMS", "KEI"]), []);
        // Those that steps are given: a step may call us.
        let given = ["RUN_ID", "STEP", "ATTEMPT", "WORKER", "OUTPUT", "SUMMARY", "ARTIFACTS", "FILES"];
        assert_eq!(meant_by(given.map(|name| format!("{PREFIX}{name}")).each_ref().map(String::as_str)), []);
    }
}
