//! Answers: documents with an ETag, new things with their place, cursors of pages.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};

use super::problem::{Code, Problem};
use crate::model::Digest;

/// The longest `If-None-Match` that is read.
const MAX_IF_NONE_MATCH: usize = 1000;

/// A JSON document.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Response, Problem> {
    Ok(json_bytes(status, to_vec(value)?))
}

/// A document with an ETag of its content; `304` if the caller has it already.
pub fn cached(headers: &HeaderMap, value: &impl Serialize) -> Result<Response, Problem> {
    let body = to_vec(value)?;
    let tag = tag_of(&body);
    if has_it(headers, &tag)? {
        return Ok(not_modified(&tag));
    }
    let mut response = json_bytes(StatusCode::OK, body);
    set(&mut response, header::ETAG, &tag);
    Ok(response)
}

/// The same for something whose version is known without making its document.
pub fn cached_by(
    headers: &HeaderMap,
    version: &impl std::fmt::Display,
    document: impl FnOnce() -> Result<Response, Problem>,
) -> Result<Response, Problem> {
    let tag = format!("\"{version}\"");
    if has_it(headers, &tag)? {
        return Ok(not_modified(&tag));
    }
    let mut response = document()?;
    set(&mut response, header::ETAG, &tag);
    Ok(response)
}

/// `201` with the place of what was made.
pub fn created(location: &str, value: &impl Serialize) -> Result<Response, Problem> {
    Ok(at(location, json(StatusCode::CREATED, value)?))
}

/// An answer with the place of what it is about.
pub fn at(location: &str, mut response: Response) -> Response {
    set(&mut response, header::LOCATION, location);
    response
}

/// A text of some media type.
pub fn text(media_type: &'static str, text: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, media_type)], text.into()).into_response()
}

/// The `next_cursor` of a page: opaque to callers.
pub fn cursor(position: &impl Serialize) -> Result<String, Problem> {
    to_vec(position).map(|json| URL_SAFE_NO_PAD.encode(json))
}

/// What [`cursor`] has written.
pub fn position<T: DeserializeOwned>(cursor: &str) -> Result<T, Problem> {
    let json = URL_SAFE_NO_PAD.decode(cursor).ok();
    json.and_then(|json| serde_json::from_slice(&json).ok()).ok_or_else(|| {
        Problem::new(Code::BadCursor, "`cursor` is not the `next_cursor` of a page of this list")
            .field("cursor", "not a cursor of this list")
    })
}

/// The strong ETag of a content.
pub fn tag_of(content: &[u8]) -> String {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Digest::of(content).0[..18]))
}

/// Whether `If-None-Match` names the tag.
pub fn has_it(headers: &HeaderMap, tag: &str) -> Result<bool, Problem> {
    let given: Vec<&HeaderValue> = headers.get_all(header::IF_NONE_MATCH).iter().collect();
    if given.iter().map(|value| value.len()).sum::<usize>() > MAX_IF_NONE_MATCH {
        return Err(Problem::bad_request("if-none-match", format!("longer than {MAX_IF_NONE_MATCH} characters")));
    }
    Ok(given.into_iter().any(|value| {
        let tags = value.to_str().unwrap_or_default().split(',').map(str::trim);
        tags.into_iter().any(|candidate| candidate == "*" || candidate.trim_start_matches("W/") == tag)
    }))
}

pub fn not_modified(tag: &str) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    set(&mut response, header::ETAG, tag);
    response
}

/// JSON that was made before.
pub fn json_bytes(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value).map_err(Problem::internal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn if_none_match(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())])
    }

    #[test]
    fn a_known_document_is_not_sent_again() {
        let value = json!({"a": 1});
        let first = cached(&HeaderMap::new(), &value).unwrap();
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        for known in [tag.clone(), format!("\"x\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
            let again = cached(&if_none_match(&known), &value).unwrap();
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(again.headers()["etag"], tag);
        }
        assert_eq!(cached(&if_none_match(&tag), &json!({"a": 2})).unwrap().status(), StatusCode::OK);
        assert_eq!(cached(&if_none_match(&"x".repeat(1001)), &value).unwrap_err().code, Code::BadRequest);
    }

    #[test]
    fn cursors_come_back_and_others_are_refused() {
        let text = cursor(&("deploy", 7)).unwrap();
        assert_eq!(position::<(String, i32)>(&text).unwrap(), ("deploy".to_owned(), 7));
        for bad in ["", "x", "!!", "bnVsbA", &cursor(&[1, 2, 3]).unwrap()] {
            assert_eq!(position::<(String, i32)>(bad).unwrap_err().code, Code::BadCursor, "{bad}");
        }
    }
}
