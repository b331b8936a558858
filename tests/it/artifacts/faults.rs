//! The network between us and an object store fails: errors are clear, nothing is half there, and it passes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use opsroom::{
    ports::{ArtifactError, Artifacts, Probe},
    system::{ObjectArtifacts, ObjectConfig},
};

use super::{conformance::noise, proxy::Proxy, server};

const MIB: usize = 1 << 20;

struct Broken {
    proxy: Proxy,
    store: Arc<ObjectArtifacts>,
    /// The same place, without the proxy.
    direct: ObjectArtifacts,
}

impl Broken {
    /// One that gives up soon.
    async fn new() -> Broken {
        Broken::with(Duration::from_secs(1), Duration::from_secs(2)).await
    }

    async fn with(timeout: Duration, patience: Duration) -> Broken {
        let port = std::thread::spawn(server::port).join().unwrap();
        let proxy = Proxy::before(port).await;
        let direct = server::config(port);
        let limits = ObjectConfig { timeout, patience, variables: server::variables(proxy.port), ..direct.clone() };
        let store = Arc::new(ObjectArtifacts::new(&limits).unwrap());
        Broken { proxy, store, direct: ObjectArtifacts::new(&direct).unwrap() }
    }

    async fn write(&self, key: &str, length: usize) -> Result<(), ArtifactError> {
        let mut writer = self.store.begin(key).await?;
        for piece in noise(length).chunks(MIB / 4) {
            writer.write(Bytes::copy_from_slice(piece)).await?;
        }
        writer.finish().await.map(drop)
    }
}

fn is_told(error: &ArtifactError) {
    assert_eq!(error.code(), "ARTIFACTS_UNAVAILABLE", "{error}");
    assert!(error.is_passing());
    let text = format!("{error} {error:?}");
    assert!(!text.contains("CANARY") && !text.contains("canary-secret"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_told_and_comes_back() {
    let broken = Broken::new().await;
    broken.write("run/before", 10).await.unwrap();
    broken.proxy.set_away(true);
    let begin = Instant::now();
    is_told(&broken.write("run/a", 10).await.unwrap_err());
    is_told(&broken.store.get("run/before").await.unwrap_err());
    is_told(&broken.store.list("run").await.unwrap_err());
    is_told(&broken.store.delete("run/before").await.unwrap_err());
    assert_eq!(broken.store.probe().await.unwrap_err().code, "ARTIFACTS_UNAVAILABLE");
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    broken.proxy.set_away(false);
    broken.store.probe().await.unwrap();
    broken.write("run/a", 10).await.unwrap();
    assert_eq!(broken.store.list("run").await.unwrap(), ["run/a", "run/before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_absence_is_not_noticed() {
    // The store may be slow besides, where much is tested at once.
    let broken = Broken::with(Duration::from_secs(10), Duration::from_secs(30)).await;
    broken.proxy.set_away(true);
    let (written, ()) = tokio::join!(broken.write("run/a", 10), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        broken.proxy.set_away(false);
    });
    written.unwrap();
    assert!(broken.direct.get("run/a").await.unwrap() == noise(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_says_nothing_is_not_waited_for_forever() {
    let broken = Broken::new().await;
    broken.write("run/before", 10).await.unwrap();
    broken.proxy.set_stalled(true);
    let begin = Instant::now();
    is_told(&broken.write("run/a", 10).await.unwrap_err());
    is_told(&broken.store.get("run/before").await.unwrap_err());
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_eq!(broken.direct.list("run").await.unwrap(), ["run/before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let broken = Broken::new().await;
    // In the first part, in the second, in the one request of a small one; and what was there stays.
    for (round, (length, cut)) in
        [(20 * MIB, 3 * MIB), (20 * MIB, 12 * MIB), (4 * MIB, 2 * MIB)].into_iter().enumerate()
    {
        let key = format!("run/{round}");
        broken.proxy.cut_after(0);
        broken.write(&key, 7).await.unwrap();
        let before = broken.proxy.cuts();
        broken.proxy.cut_after(cut as u64);
        is_told(&broken.write(&key, length).await.unwrap_err());
        assert!(broken.proxy.cuts() > before, "it was in the middle");
        assert!(broken.direct.get(&key).await.unwrap() == noise(7), "the old content is whole");
    }
    assert_eq!(broken.direct.list("").await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parts_of_a_dropped_upload_are_taken_back() {
    let broken = Broken::new().await;
    let mut writer = broken.store.begin("run/large").await.unwrap();
    for piece in noise(20 * MIB).chunks(MIB) {
        writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    drop(writer);
    broken.store.close(Duration::from_secs(10)).await;
    assert!(broken.direct.list("").await.unwrap().is_empty());
    let port = std::thread::spawn(server::port).join().unwrap();
    let uploads = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://127.0.0.1:{port}/opsroom-tests?uploads");
    let scope = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";
    let left = uploads.get(url).header("authorization", scope).send().await.unwrap().text().await.unwrap();
    assert!(left.contains("ListMultipartUploadsResult"), "{left}");
    assert!(!left.contains("run/large"), "{left}");
}

#[tokio::test]
async fn what_cannot_be_a_configuration_is_refused_without_its_secrets() {
    let bad = [
        ObjectConfig { variables: vec![("AWS_ENDPOINT_URL".into(), "not a url".into())], ..ObjectConfig::new("b", "") },
        ObjectConfig::new("bucket", "a//b"),
        ObjectConfig {
            variables: vec![("AWS_SECRET_ACCESS_KEY".into(), "canary-secret".into())],
            ..ObjectConfig::new("bucket", "../x")
        },
    ];
    for config in bad {
        let config_text = format!("{config:?}");
        let error = match ObjectArtifacts::new(&config) {
            Err(error) => error.to_string(),
            Ok(store) => store.get("x").await.unwrap_err().to_string(),
        };
        assert!(!error.is_empty() && !error.contains("canary") && !config_text.contains("canary"), "{error}");
    }
}
