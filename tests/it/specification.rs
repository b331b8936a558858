//! The project ships its own specification (requirement B10), and it says of every requirement where it stands.

use std::{fs, path::Path};

/// The ids of every requirement, from K1 to D21.
fn requirement_ids() -> impl Iterator<Item = String> {
    [('K', 11), ('A', 11), ('B', 20), ('C', 16), ('D', 21)]
        .into_iter()
        .flat_map(|(letter, last)| (1..=last).map(move |number| format!("{letter}{number}")))
}

fn spec(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("spec/ops-control-room").join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| format!("{}: {error}", file.display()))
}

/// Requirement B10: the project ships its own specification.
#[test]
fn the_specification_has_its_four_files() {
    let wanted: [(&str, &[&str]); 4] = [
        ("constitution.md", &["Purpose", "Principles", "Scope", "Changing this document"]),
        ("prd.md", &["Users", "What it does", "Requirements", "Not in scope"]),
        ("plan.md", &["Architecture", "Decisions", "Milestones"]),
        ("tasks.md", &["Milestone 1", "Next"]),
    ];
    for (name, headings) in wanted {
        let text = spec(name);
        let lines: Vec<_> = text.lines().collect();
        assert!(text.starts_with("# "), "{name} does not begin with a title: {}", lines.first().unwrap_or(&""));
        for heading in headings {
            let at =
                lines.iter().position(|line| line.strip_prefix("## ").is_some_and(|title| title.starts_with(heading)));
            let body = at.map(|at| lines[at + 1..].iter().take_while(|line| !line.starts_with("## ")));
            let filled = body.is_some_and(|mut body| body.any(|line| !line.trim().is_empty()));
            assert!(filled, "{name} has no section `{heading}`, or it is empty");
        }
    }
}

/// Every requirement has one row in the table of the prd: id, feature, milestone, state.
#[test]
fn the_prd_maps_every_requirement() {
    let text = spec("prd.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for id in requirement_ids() {
        let found: Vec<_> = rows.iter().filter(|row| row[0] == id).collect();
        assert_eq!(found.len(), 1, "{id} has {} rows in prd.md", found.len());
        assert_eq!(found[0].len(), 4, "the row of {id} has not four cells");
        let (feature, milestone, state) = (found[0][1], found[0][2], found[0][3]);
        assert!(!feature.is_empty() && milestone.starts_with('M'), "the row of {id} is not filled in");
        assert!(["done", "partly", "planned"].contains(&state), "{id} is `{state}`");
    }
}
