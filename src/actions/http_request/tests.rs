use std::{collections::HashMap, io, net::SocketAddr, time::Duration};

use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, body_string, header, method, path, query_param},
};

use super::{client::Lookup, *};
use crate::{
    actions::testing::{World, deps},
    ports::SecretValue,
};

/// Names of this test and the addresses that they have, one after another.
#[derive(Default)]
struct Names(HashMap<&'static str, Vec<SocketAddr>>);

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        self.0.get(name).cloned().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))
    }
}

fn with_config(change: impl FnOnce(HttpConfig) -> HttpConfig) -> HttpRequest {
    let mut deps = deps();
    deps.http = Arc::new(change((*deps.http).clone()));
    HttpRequest::new(&deps)
}

fn executor(names: &[(&'static str, &[&str])]) -> HttpRequest {
    let addresses = |list: &[&str]| list.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
    let names = Names(names.iter().map(|(name, list)| (*name, addresses(list))).collect());
    with_config(|config| HttpConfig { lookup: Arc::new(names), ..config })
}

async fn send(executor: &HttpRequest, with: Value) -> Result<Value, Failure> {
    let mut context = World::new().context(with);
    context.secrets.insert("token".into(), SecretValue::new("hunter2\n"));
    Ok(executor.execute(context).await?.result.unwrap())
}

async fn request(with: Value) -> Result<Value, Failure> {
    send(&executor(&[]), with).await
}

/// A server that answers every request with the same.
async fn server(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

fn redirect(status: u16, to: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).insert_header("location", to)
}

#[tokio::test]
async fn a_request_is_sent_as_it_is_written() {
    let server = MockServer::start().await;
    Mock::given(method("PUT"))
        .and(path("/a"))
        .and(query_param("q", "x y&z"))
        .and(query_param("n", "1"))
        .and(header("content-type", "application/json"))
        .and(header("x-one", "1"))
        .and(header("x-key", "hunter2"))
        .and(header("authorization", "Bearer hunter2"))
        .and(body_string(r#"{"b":[1,null]}"#))
        .respond_with(
            ResponseTemplate::new(201)
                .set_body_json(json!({"id": 7, "echo": "hunter2"}))
                .insert_header("x-h", "hunter2"),
        )
        .mount(&server)
        .await;
    let result = request(json!({
        "method": "PUT",
        "url": format!("{}/a?n=1", server.uri()),
        "query": {"q": "x y&z", "l": [1, true]},
        "headers": {"X-One": 1},
        "secret_headers": {"X-Key": "token"},
        "bearer": "token",
        "json": {"b": [1, null]},
    }))
    .await
    .unwrap();
    assert_eq!(result["status"], 201);
    assert_eq!(result["body"], json!({"id": 7, "echo": "***"}));
    assert_eq!(result["headers"]["x-h"], "***");
    let sent = &server.received_requests().await.unwrap()[0];
    assert!(sent.url.query().unwrap().ends_with("l=1&l=true"));
}

#[tokio::test]
async fn bodies_are_json_only_where_the_answer_says_so() {
    for (kind, body, expected) in [
        ("application/json; charset=utf-8", "[1]", json!([1])),
        ("application/problem+json", "{}", json!({})),
        ("application/json", "{broken", json!("{broken")),
        ("text/plain", "[1]", json!("[1]")),
    ] {
        let server = server(ResponseTemplate::new(200).set_body_raw(body, kind)).await;
        assert_eq!(request(json!({"url": server.uri()})).await.unwrap()["body"], expected, "{kind}");
    }
}

#[tokio::test]
async fn other_statuses_than_expected_are_failures() {
    let server = server(ResponseTemplate::new(503).set_body_string("try later,\n hunter2")).await;
    let url = format!("{}/x?token=abc", server.uri());
    let failure = request(json!({"url": url})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.reason), ("HTTP_STATUS", FailureReason::Status(503)));
    let shown = format!("GET {}/x answered 503 Service Unavailable: try later, ***", server.uri());
    assert_eq!(failure.message, shown);
    for status in [json!(503), json!("5xx"), json!([200, "5xx"]), json!([503])] {
        assert!(request(json!({"url": url, "expect": {"status": status}})).await.is_ok(), "{status}");
    }
    for status in [json!(200), json!(["4xx", 500])] {
        assert!(request(json!({"url": url, "expect": {"status": status}})).await.is_err(), "{status}");
    }
}

#[tokio::test]
async fn large_answers_are_refused() {
    let server = server(ResponseTemplate::new(200).set_body_bytes(vec![b'x'; (1 << 20) + 1])).await;
    let failure = request(json!({"url": server.uri()})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("RESPONSE_TOO_LARGE", false));
}

#[tokio::test]
async fn a_slow_answer_is_a_timeout_and_a_cancel_is_quick() {
    let server = server(ResponseTemplate::new(200).set_delay(Duration::from_secs(30))).await;
    let failure = request(json!({"url": server.uri(), "timeout": "50ms"})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.reason), ("HTTP_TIMEOUT", FailureReason::Timeout));
    assert!(failure.message.ends_with("within 50ms"));
    let context = World::new().context(json!({"url": server.uri()}));
    context.cancel.cancel();
    assert_eq!(executor(&[]).execute(context).await.unwrap_err().code, "CANCELLED");
}

#[tokio::test]
async fn nobody_there_and_no_such_name() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let failure = request(json!({"url": format!("http://{unused}/")})).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("HTTP_CONNECT", true));
    let failure = request(json!({"url": "http://nowhere.test/"})).await.unwrap_err();
    assert_eq!(failure.code, "HTTP_CONNECT");
    assert!(failure.message.ends_with("GET http://nowhere.test/: no such host"), "{failure}");
}

#[tokio::test]
async fn tls_failures_are_told_as_such() {
    let server = server(ResponseTemplate::new(200)).await;
    let failure = request(json!({"url": server.uri().replace("http:", "https:")})).await.unwrap_err();
    assert_eq!(failure.code, "HTTP_TLS", "{failure}");
}

#[tokio::test]
async fn redirects_are_followed_as_browsers_do() {
    for (status, sent, arrives) in [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "PUT", "GET"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
        (301, "PUT", "PUT"),
    ] {
        let server = MockServer::start().await;
        Mock::given(path("/from")).respond_with(redirect(status, "to?x=1")).mount(&server).await;
        Mock::given(path("/to")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        let with = json!({"method": sent, "url": format!("{}/from", server.uri()), "json": 1, "bearer": "token"});
        assert_eq!(request(with).await.unwrap()["status"], 200);
        let requests = server.received_requests().await.unwrap();
        let last = requests.last().unwrap();
        assert_eq!((last.method.as_str(), last.url.query()), (arrives, Some("x=1")), "{status}");
        assert_eq!(last.body.is_empty(), arrives == "GET", "{status}");
        assert_eq!(last.headers.contains_key("content-type"), arrives != "GET", "{status}");
        assert!(last.headers.contains_key("authorization"), "the same origin keeps the secret");
    }
}

#[tokio::test]
async fn a_redirect_that_is_expected_is_the_answer() {
    let server = server(redirect(302, "http://169.254.169.254/")).await;
    let result = request(json!({"url": server.uri(), "expect": {"status": 302}})).await.unwrap();
    assert_eq!(result["headers"]["location"], "http://169.254.169.254/");
}

#[tokio::test]
async fn redirects_end() {
    let server = server(redirect(302, "/again")).await;
    assert_eq!(request(json!({"url": server.uri()})).await.unwrap_err().code, "HTTP_REDIRECTS");
    assert_eq!(server.received_requests().await.unwrap().len(), MAX_REDIRECTS + 1);
}

#[tokio::test]
async fn secrets_stay_with_their_origin() {
    let (home, other) = (MockServer::start().await, MockServer::start().await);
    Mock::given(path("/away")).respond_with(redirect(307, &format!("{}/x", other.uri()))).mount(&home).await;
    Mock::given(path("/back")).respond_with(ResponseTemplate::new(200)).mount(&home).await;
    Mock::given(any()).respond_with(redirect(307, &format!("{}/back", home.uri()))).mount(&other).await;
    request(json!({
        "url": format!("{}/away", home.uri()),
        "bearer": "token",
        "secret_headers": {"X-Key": "token"},
        "headers": {"Cookie": "c=1", "X-Plain": "p"},
    }))
    .await
    .unwrap();
    let first = &home.received_requests().await.unwrap()[0];
    assert!(first.headers.contains_key("x-key") && first.headers.contains_key("cookie"));
    let later = [other.received_requests().await.unwrap().remove(0), home.received_requests().await.unwrap().remove(1)];
    for request in later {
        for name in ["authorization", "x-key", "cookie"] {
            assert!(!request.headers.contains_key(name), "{name} at {}", request.url);
        }
        assert!(request.headers.contains_key("x-plain"));
    }
}

#[tokio::test]
async fn forbidden_addresses_are_not_reached() {
    let redirecting = server(redirect(302, "http://169.254.169.254/latest/meta-data")).await;
    let by_name = server(redirect(302, "http://metadata.test/")).await;
    let executor =
        executor(&[("metadata.test", &["169.254.169.254"]), ("mapped.test", &["::ffff:169.254.169.254", "fe80::1"])]);
    for url in [
        "http://169.254.169.254/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://metadata.test/",
        "https://metadata.test/",
        "http://mapped.test/",
        &redirecting.uri(),
        &by_name.uri(),
    ] {
        let failure = send(&executor, json!({"url": url})).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("HTTP_FORBIDDEN_ADDRESS", false), "{url}: {failure}");
    }
}

#[tokio::test]
async fn a_name_with_one_good_address_is_reached_there() {
    let server = server(ResponseTemplate::new(200)).await;
    let port = server.address().port();
    let executor = executor(&[("mixed.test", &["169.254.169.254", "127.0.0.1"])]);
    assert_eq!(send(&executor, json!({"url": format!("http://mixed.test:{port}/")})).await.unwrap()["status"], 200);
}

#[tokio::test]
async fn a_proxy_is_used_when_it_is_configured() {
    let proxy = server(ResponseTemplate::new(200).set_body_string("from the proxy")).await;
    let executor = with_config(|config| config.proxy(Some(proxy.uri())));
    let result = send(&executor, json!({"url": "http://nowhere.test/x"})).await.unwrap();
    assert_eq!(result["body"], "from the proxy");
    let failure = send(&executor, json!({"url": "http://169.254.169.254/"})).await.unwrap_err();
    assert_eq!(failure.code, "HTTP_FORBIDDEN_ADDRESS");
}

#[tokio::test]
async fn more_networks_can_be_refused() {
    let server = server(ResponseTemplate::new(200)).await;
    let executor = with_config(|config| config.networks(&["127.0.0.0/8".parse().unwrap()], &[]));
    let failure = send(&executor, json!({"url": server.uri()})).await.unwrap_err();
    assert_eq!(failure.code, "HTTP_FORBIDDEN_ADDRESS");
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused() {
    for (with, code) in [
        (json!({"url": "ftp://x/"}), "WITH_INVALID"),
        (json!({"url": "file:///etc/passwd"}), "WITH_INVALID"),
        (json!({"url": "not a url"}), "WITH_INVALID"),
        (json!({"url": "http://user:pw@127.0.0.1/"}), "WITH_INVALID"),
        (json!({"url": "http://127.0.0.1/", "headers": {"a b": "1"}}), "WITH_INVALID"),
        (json!({"url": "http://127.0.0.1/", "headers": {"a": "1\r\nb: 2"}}), "WITH_INVALID"),
        (json!({"url": "http://127.0.0.1/", "headers": {"Content-Length": 1}}), "WITH_INVALID"),
        (json!({"url": "http://127.0.0.1/", "bearer": "unlisted"}), "SECRET_MISSING"),
    ] {
        let failure = request(with.clone()).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), (code, false), "{with}");
    }
}

#[test]
fn only_reads_are_idempotent() {
    for (with, expected) in [
        (json!({}), EffectModel::Idempotent),
        (json!({"method": "HEAD"}), EffectModel::Idempotent),
        (json!({"method": "POST"}), EffectModel::AtMostOnce),
        (json!({"method": "DELETE"}), EffectModel::AtMostOnce),
        (json!({"method": null}), EffectModel::AtMostOnce),
    ] {
        assert_eq!(effect(&with), expected, "{with}");
    }
}
