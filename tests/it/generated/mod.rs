//! What is generated from `schemas/openapi.yaml`: the documents in `src/api` and the operations in `src/client`.
//!
//! The files are committed, and this test fails when they are stale. To write them anew:
//! `OPSROOM_BLESS=1 cargo test --test it generated`.

mod checks;
mod document;
mod operations;

mod queries;
mod types;

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use document::Document;

const HEADER: &str = "// Generated from schemas/openapi.yaml; do not edit. A change of the document is taken over with\n\
                      // `OPSROOM_BLESS=1 cargo test --test it generated`.\n\n";

/// The text as rustfmt writes it.
fn formatted(text: &str) -> String {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--emit", "stdout"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("rustfmt is a component of the toolchain (rust-toolchain.toml)");
    rustfmt.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = rustfmt.wait_with_output().unwrap();
    assert!(output.status.success(), "rustfmt refuses:\n{text}");
    String::from_utf8(output.stdout).unwrap()
}

/// Compares with the committed file, or writes it.
#[expect(clippy::disallowed_methods, reason = "how the generated files are written anew")]
fn check(path: &str, text: &str) {
    let text = formatted(&format!("{HEADER}{text}"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("OPSROOM_BLESS").is_some() {
        fs::write(&file, text).unwrap();
        return;
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let differs = committed.lines().zip(text.lines()).position(|(old, new)| old != new);
    assert!(
        committed == text,
        "{path} is stale from line {}: run `OPSROOM_BLESS=1 cargo test --test it generated`",
        differs.unwrap_or(committed.lines().count().min(text.lines().count())) + 1
    );
}

#[test]
fn the_documents_are_those_of_the_contract() {
    check("src/api/types.rs", &types::generate(&Document::read()));
}

#[test]
fn the_queries_are_those_of_the_contract() {
    check("src/api/queries.rs", &queries::generate(&Document::read()));
}

#[test]
fn the_limits_are_those_of_the_contract() {
    check("src/api/limits.rs", &checks::generate(&Document::read()));
}

#[test]
fn the_operations_of_the_client_are_those_of_the_contract() {
    check("src/client/operations.rs", &operations::generate(&Document::read()));
}
