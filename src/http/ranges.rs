//! One range of bytes of something (RFC 9110, section 14), and its answer.

use std::ops::Range;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};

use super::{
    problem::{Code, Problem},
    respond,
};

/// The longest `Range` that is read.
const MAX_RANGE: usize = 100;

/// Which bytes of a content are wanted.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The caller has it already.
    Nothing,
    All,
    Part(Range<u64>),
}

/// Reads `If-None-Match`, `Range` and `If-Range`. Several ranges, and other units, are answered with everything.
pub fn wanted(headers: &HeaderMap, size: u64, tag: &str) -> Result<Wanted, Problem> {
    if respond::has_it(headers, tag)? {
        return Ok(Wanted::Nothing);
    }
    let Some(range) = headers.get(header::RANGE) else { return Ok(Wanted::All) };
    if range.len() > MAX_RANGE {
        return Err(Problem::bad_request("range", format!("longer than {MAX_RANGE} characters")));
    }
    // For another content than the caller has the rest of, everything is sent.
    if headers.get(header::IF_RANGE).is_some_and(|known| known.as_bytes() != tag.as_bytes()) {
        return Ok(Wanted::All);
    }
    match parse(range.to_str().unwrap_or_default(), size) {
        Parsed::Other => Ok(Wanted::All),
        Parsed::Range(range) => Ok(Wanted::Part(range)),
        Parsed::Beyond => {
            let problem = Problem::new(Code::RangeNotSatisfiable, format!("there are {size} bytes"));
            let length = HeaderValue::from_str(&format!("bytes */{size}")).map_err(Problem::internal)?;
            Err(problem.header(header::CONTENT_RANGE, length))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Range(Range<u64>),
    /// No such bytes.
    Beyond,
    /// Nothing that is answered in parts.
    Other,
}

fn parse(text: &str, size: u64) -> Parsed {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-')) else {
        return Parsed::Other;
    };
    let number = |text: &str| -> Option<Option<u64>> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let read = || text.parse().unwrap_or(u64::MAX);
        digits.then(|| (!text.is_empty()).then(read))
    };
    match (number(first), number(last)) {
        (Some(None), Some(Some(0))) => Parsed::Beyond,
        (Some(None), Some(Some(_))) if size == 0 => Parsed::Beyond,
        (Some(None), Some(Some(suffix))) => Parsed::Range(size.saturating_sub(suffix)..size),
        (Some(Some(first)), Some(last)) if last.is_none_or(|last| first <= last) => {
            let end = last.map_or(size, |last| last.saturating_add(1).min(size));
            if first < size { Parsed::Range(first..end) } else { Parsed::Beyond }
        }
        _ => Parsed::Other,
    }
}

/// The answer with a content of `size` bytes, or the part of it that `body` gives.
pub fn answer(
    wanted: &Wanted,
    size: u64,
    tag: &str,
    media_type: &'static str,
    body: Body,
) -> Result<Response, Problem> {
    let (status, length) = match wanted {
        Wanted::Nothing => return Ok(respond::not_modified(tag)),
        Wanted::All => (StatusCode::OK, size),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part.end - part.start),
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, media_type)
        .header(header::CONTENT_LENGTH, length)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::ETAG, tag)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if let Wanted::Part(part) = wanted {
        let last = part.end.saturating_sub(1);
        response = response.header(header::CONTENT_RANGE, format!("bytes {}-{last}/{size}", part.start));
    }
    response.body(body).map_err(Problem::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let cases = [
            ("bytes=0-0", Parsed::Range(0..1)),
            ("bytes=2-", Parsed::Range(2..10)),
            ("bytes=2-99", Parsed::Range(2..10)),
            ("bytes=-3", Parsed::Range(7..10)),
            ("bytes=-99", Parsed::Range(0..10)),
            ("bytes=9-99999999999999999999999", Parsed::Range(9..10)),
            ("bytes=10-", Parsed::Beyond),
            ("bytes=-0", Parsed::Beyond),
            ("bytes=3-2", Parsed::Other),
            ("bytes=-", Parsed::Other),
            ("bytes=0-1,3-4", Parsed::Other),
            ("lines=0-1", Parsed::Other),
            ("bytes=a-b", Parsed::Other),
            ("", Parsed::Other),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, 10), expected, "{text}");
        }
        assert_eq!(parse("bytes=0-", 0), Parsed::Beyond);
        assert_eq!(parse("bytes=-1", 0), Parsed::Beyond);
    }
}
