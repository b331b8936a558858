//! The document of the interface, for programs and for people.

use std::fmt::Write as _;

use axum::{Router, response::Response, routing::get};

use super::{contract, problem::Code, respond};

pub fn routes() -> Router {
    Router::new().route("/openapi.yaml", get(openapi)).route("/docs", get(docs))
}

async fn openapi() -> Response {
    respond::text("application/yaml", contract::DOCUMENT)
}

async fn docs() -> Response {
    respond::text("text/html; charset=utf-8", page())
}

/// Static, without scripts: every operation, and every code of a problem.
fn page() -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>opsroom: the interface</title>\n\
         <h1>The interface of opsroom</h1>\n\
         <p>The document is <a href=\"/openapi.yaml\">openapi.yaml</a>; this page lists what is in it.</p>\n\
         <h2>Operations</h2>\n<table>\n",
    );
    for (method, path, summary) in contract::summaries() {
        // A `String` takes any write.
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td><code>{}</code></td><td>{}</td></tr>",
            method.to_uppercase(),
            escaped(path),
            escaped(summary)
        );
    }
    page.push_str("</table>\n<h2>Problems</h2>\n<dl>\n");
    for code in Code::ALL {
        let (word, status) = (code.as_str(), code.status());
        let (title, explanation) = (escaped(code.title()), escaped(code.explanation()));
        let _ = writeln!(page, "<dt id=\"{word}\"><code>{word}</code> ({status}) {title}</dt>\n<dd>{explanation}</dd>");
    }
    page.push_str("</dl>\n</html>\n");
    page
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_operation_and_every_code() {
        let page = page();
        assert!(page.contains("<td>POST</td><td><code>/v1/runs/{id}/cancel</code></td>"), "{page}");
        for code in Code::ALL {
            assert!(page.contains(&format!("id=\"{}\"", code.as_str())));
        }
    }
}
