//! Why two packages of the plan were replaced: the originals fail here where the substitutes pass.
//!
//! `docs/decisions/0002` (serde_yaml → serde-saphyr) and `docs/decisions/0003` (cron → croner).

mod yaml {
    use serde::Deserialize;
    use serde_json::Value;
    use serde_saphyr::Spanned;

    /// A well-formed runbook with a value that a later check refuses: `timeout` is not a duration.
    const RUNBOOK: &str = "version: 1\r\nname: größe\r\nsteps:\r\n  - id: a\r\n    timeout: soon\r\n";

    #[derive(Deserialize)]
    struct Runbook {
        steps: Vec<Step>,
    }

    #[derive(Deserialize)]
    struct Step {
        timeout: Spanned<String>,
    }

    #[test]
    fn the_substitute_knows_where_a_value_stands() {
        let runbook: Runbook = serde_saphyr::from_str(RUNBOOK).unwrap();
        let place = runbook.steps[0].timeout.referenced;
        assert_eq!((place.line(), place.column()), (5, 14));
    }

    #[test]
    fn the_original_does_not() {
        // Its deserializer has no way to ask for a position: the same types stay without one …
        let runbook: Runbook = serde_yaml::from_str(RUNBOOK).unwrap();
        assert_eq!(runbook.steps[0].timeout.value, "soon");
        assert_eq!(runbook.steps[0].timeout.referenced.line(), 0);
        // … and a document that was read as a tree has lost them for every later check.
        let tree: serde_yaml::Value = serde_yaml::from_str(RUNBOOK).unwrap();
        let error = serde_yaml::from_value::<u64>(tree["steps"][0]["timeout"].clone()).unwrap_err();
        assert!(error.location().is_none(), "{error}");
    }

    #[test]
    fn a_duplicate_key_is_refused_only_by_the_substitute() {
        let text = "timeout: 5m\nretry: 1\ntimeout: 5h\n";
        let read: Value = serde_yaml::from_str(text).unwrap();
        assert_eq!(read, serde_json::json!({"timeout": "5h", "retry": 1}), "the last one wins without a word");
        let error = serde_saphyr::from_str::<Value>(text).unwrap_err();
        let place = error.location().unwrap();
        assert_eq!((place.line(), place.column()), (3, 1), "{error}");
    }

    #[test]
    fn a_number_that_is_none_is_lost_only_by_the_original() {
        let read: Value = serde_yaml::from_str("delay: .inf\n").unwrap();
        assert_eq!(read, serde_json::json!({"delay": null}));
        assert!(serde_saphyr::from_str::<Value>("delay: .inf\n").is_err());
    }

    /// 5 KB of text that name a million nodes.
    fn bomb() -> String {
        format!("a: &a [{}]\nb: [{}]\n", "x,".repeat(1_000), "*a,".repeat(1_000))
    }

    #[test]
    fn the_original_expands_a_bomb() {
        let read: Value = serde_yaml::from_str(&bomb()).unwrap();
        let nodes: usize = read["b"].as_array().unwrap().iter().map(|list| list.as_array().unwrap().len()).sum();
        assert_eq!(nodes, 1_000_000);
    }

    #[test]
    fn the_substitute_keeps_a_budget() {
        let options = serde_saphyr::options! { budget: serde_saphyr::budget! { max_nodes: 200_000 } };
        let error = serde_saphyr::from_str_with_options::<Value>(&bomb(), options).unwrap_err();
        assert!(error.to_string().contains("200001"), "{error}");
    }

    /// The other side of the record: without this option the substitute would be the worse one.
    #[test]
    fn the_substitute_needs_strict_booleans() {
        let words = "[no, off, true]";
        let expected = serde_json::json!(["no", "off", true]);
        let options = serde_saphyr::options! { strict_booleans: true };
        assert_eq!(serde_saphyr::from_str_with_options::<Value>(words, options).unwrap(), expected);
        assert_ne!(serde_saphyr::from_str::<Value>(words).unwrap(), expected);
        assert_eq!(serde_yaml::from_str::<Value>(words).unwrap(), expected);
    }
}

mod cron_table {
    use std::{collections::BTreeMap, fs, path::Path, str::FromStr};

    use chrono::{DateTime, SecondsFormat, Utc};
    use serde::Deserialize;

    /// One row of the golden table: the first fire times of an expression in a zone after an instant.
    #[derive(Deserialize)]
    struct Row {
        zone: String,
        expression: String,
        after: String,
        fires: Vec<String>,
    }

    fn table() -> Vec<Row> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cron_golden.json");
        let rows: Vec<Row> = serde_json::from_slice(&fs::read(file).unwrap_or_default()).unwrap_or_default();
        assert_eq!(rows.len(), 336, "tests/data/cron_golden.json is not whole");
        rows
    }

    /// What `croner` says for a row.
    fn substitute(row: &Row) -> Vec<String> {
        let after = row.after.parse::<jiff::Timestamp>().and_then(|after| after.in_tz(&row.zone));
        let pattern = croner::Cron::from_str(&row.expression);
        let (Ok(after), Ok(pattern)) = (after, pattern) else { return Vec::new() };
        pattern.iter_after(after).take(row.fires.len()).map(|at| at.timestamp().to_string()).collect()
    }

    /// What `cron` says for a row, once the expression has the seconds that `cron` asks for.
    fn original(row: &Row) -> Vec<String> {
        let after = DateTime::parse_from_rfc3339(&row.after);
        let zone = row.zone.parse::<chrono_tz::Tz>();
        let schedule = cron::Schedule::from_str(&format!("0 {}", row.expression));
        let (Ok(after), Ok(zone), Ok(schedule)) = (after, zone, schedule) else { return Vec::new() };
        let fires = schedule.after_owned(after.with_timezone(&zone)).take(row.fires.len());
        fires.map(|at| at.with_timezone(&Utc).to_rfc3339_opts(SecondsFormat::Secs, true)).collect()
    }

    fn row(zone: &str, expression: &str, after: &str) -> Row {
        let matches = |row: &Row| row.zone == zone && row.expression == expression && row.after == after;
        table().into_iter().find(matches).unwrap_or_else(|| Row {
            zone: zone.to_owned(),
            expression: expression.to_owned(),
            after: after.to_owned(),
            fires: Vec::new(),
        })
    }

    #[test]
    fn the_substitute_gives_every_row() {
        for row in table() {
            assert_eq!(substitute(&row), row.fires, "{} in {} after {}", row.expression, row.zone, row.after);
        }
    }

    #[test]
    fn the_original_refuses_the_form_of_every_row() {
        let refused = table().iter().filter(|row| cron::Schedule::from_str(&row.expression).is_err()).count();
        assert_eq!(refused, 336, "five fields");
    }

    #[test]
    fn with_seconds_added_the_original_gives_a_third_of_the_rows_wrong() {
        let mut wrong: BTreeMap<String, usize> = BTreeMap::new();
        for row in table().into_iter().filter(|row| original(row) != row.fires) {
            *wrong.entry(row.expression).or_default() += 1;
        }
        let expected = [
            // Sunday is 1 there, so 7 is Saturday and 1-5 is Sunday to Thursday: wrong in every zone.
            ("0 12 * * 7", 24),
            ("0 9 * * 1-5", 24),
            // Day of month and day of week must both match; crontab says either.
            ("0 3 1,15 * MON", 24),
            // Changes of the clock.
            ("*/20 * * * *", 8),
            ("0 2 * * *", 7),
            ("0,30 1-3 * * *", 6),
            ("30 2 * * *", 6),
            ("45 1 * * SUN", 5),
            ("15 1 * * *", 4),
            ("0 0 * * *", 2),
            ("30 23 * * *", 2),
        ];
        let expected: BTreeMap<_, _> = expected.map(|(text, count)| (text.to_owned(), count)).into();
        assert_eq!(wrong, expected);
        assert_eq!(wrong.values().sum::<usize>(), 112);
    }

    #[test]
    fn the_original_counts_days_of_the_week_from_one() {
        let row = row("UTC", "0 12 * * 7", "2026-02-27T12:00:00Z");
        assert_eq!(row.fires[0], "2026-03-01T12:00:00Z", "a Sunday");
        assert_eq!(original(&row)[0], "2026-02-28T12:00:00Z", "a Saturday");
    }

    #[test]
    fn the_original_skips_a_day_in_spring() {
        // 02:30 does not exist on 29 March 2026 in Berlin: due once, right after the gap.
        let row = row("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00:00Z");
        assert_eq!(row.fires[..2], ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        assert_eq!(original(&row)[0], "2026-03-30T00:30:00Z");
    }

    #[test]
    fn the_original_fires_twice_in_autumn() {
        // 02:30 exists twice on 25 October 2026 in Berlin: due once, the first time.
        let row = row("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00:00Z");
        assert_eq!(row.fires[..2], ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        assert_eq!(original(&row)[..2], ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    }

    #[test]
    fn the_original_goes_back_in_time_in_autumn() {
        let row = row("Europe/Berlin", "*/20 * * * *", "2026-10-24T22:50:00Z");
        assert!(row.fires.is_sorted());
        assert!(!original(&row).is_sorted());
    }
}
