//! The board: a page for people, part of the program. It knows nothing but the public API.
//!
//! Plain files, as they are in `ui/`: no build step, no framework, no script or style inside the HTML, so that the
//! content security policy can forbid those. Whatever comes from a run is put into the page as text.

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{
    extract::Path,
    problem::{Code, Problem},
    respond,
};

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

const INDEX: &str = include_str!("ui/index.html");

/// Name, media type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("api.js", JAVASCRIPT, include_str!("ui/api.js")),
    ("app.js", JAVASCRIPT, include_str!("ui/app.js")),
    ("board.js", JAVASCRIPT, include_str!("ui/board.js")),
    ("docs.css", CSS, include_str!("ui/docs.css")),
    ("dom.js", JAVASCRIPT, include_str!("ui/dom.js")),
    ("icon.svg", SVG, include_str!("ui/icon.svg")),
    ("log.js", JAVASCRIPT, include_str!("ui/log.js")),
    ("run.js", JAVASCRIPT, include_str!("ui/run.js")),
    ("runbooks.js", JAVASCRIPT, include_str!("ui/runbooks.js")),
    ("start.js", JAVASCRIPT, include_str!("ui/start.js")),
    ("style.css", CSS, include_str!("ui/style.css")),
];

/// What a browser may do with a page of ours: nothing but what we serve, and no text ever becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // Asked for each time, sent only when another version of the program runs.
    (header::CACHE_CONTROL, "no-cache"),
];

/// The page and its parts. Anyone may have them; what they show is asked for with the caller's session.
pub fn routes() -> Router {
    Router::new().route("/", get(board)).route("/ui/{file}", get(board_file))
}

async fn board(headers: HeaderMap) -> Result<Response, Problem> {
    page(&headers, HTML, INDEX)
}

async fn board_file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let (_, media_type, content) = FILES
        .iter()
        .find(|(known, ..)| *known == name)
        .ok_or_else(|| Problem::new(Code::NotFound, "the board has no such file"))?;
    page(&headers, media_type, content)
}

/// A static text for a browser, with its ETag and the policy.
pub fn page(headers: &HeaderMap, media_type: &'static str, content: &'static str) -> Result<Response, Problem> {
    let tag = respond::tag_of(content.as_bytes());
    let mut response = if respond::has_it(headers, &tag)? {
        respond::not_modified(&tag)
    } else {
        let value = HeaderValue::from_str(&tag).map_err(Problem::internal)?;
        ([(header::ETAG, value)], respond::text(media_type, content)).into_response()
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use regex::Regex;

    use super::*;

    /// The page must stay a page that is read in a minute and loaded in a moment.
    const MOST_BYTES: usize = 64 << 10;

    #[test]
    fn everything_that_is_named_is_served() {
        let name = Regex::new(r#"(?:"/ui/|from '\./)([a-z.]+)"#).unwrap();
        let mut named: Vec<&str> = std::iter::once(INDEX)
            .chain(FILES.iter().map(|(_, _, content)| *content))
            .flat_map(|content| name.captures_iter(content).map(|found| found.extract::<1>().1[0]))
            .collect();
        named.sort_unstable();
        named.dedup();
        // Only the reference has this one.
        assert!(!named.contains(&"docs.css"));
        let served: Vec<&str> = FILES.iter().map(|(name, ..)| *name).filter(|name| *name != "docs.css").collect();
        assert_eq!(named, served);
        let bytes = INDEX.len() + FILES.iter().map(|(_, _, content)| content.len()).sum::<usize>();
        assert!(bytes <= MOST_BYTES, "{bytes} bytes");
    }

    #[test]
    fn no_text_becomes_markup_or_program() {
        let forbidden =
            Regex::new(r"(?i)innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|srcdoc|DOMParser|setHTML|javascript:")
                .unwrap();
        for (name, _, content) in FILES {
            assert_eq!(forbidden.find(content).map(|found| found.as_str()), None, "{name}");
        }
        assert_eq!(INDEX.matches("<script").count(), 1);
        assert!(INDEX.contains(r#"<script type="module" src="/ui/app.js"></script>"#));
        assert!(!INDEX.contains("<style") && !INDEX.contains("style=") && !INDEX.contains(" on"));
    }

    #[tokio::test]
    async fn a_known_file_is_not_sent_again() {
        let first = board_file(Path("app.js".to_owned()), HeaderMap::new()).await.unwrap();
        assert_eq!(first.headers()["content-type"], JAVASCRIPT);
        assert_eq!(first.headers()["content-security-policy"], POLICY);
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, first.headers()["etag"].clone())]);
        let again = board_file(Path("app.js".to_owned()), known).await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(again.headers()["etag"], first.headers()["etag"]);
        let missing = board_file(Path("../ui.rs".to_owned()), HeaderMap::new()).await.unwrap_err();
        assert_eq!(missing.code, Code::NotFound);
    }
}
