//! `doctor` looks at the Redis of a fleet; the options that name it.

use serde_json::Value;

use super::servers::{self, Options, Product};
use crate::fleet::Fleet;

/// The findings about Redis: their codes and levels; and all that was said.
fn examined(fleet: &Fleet, arguments: &[&str]) -> (Vec<(String, String)>, String) {
    let output = fleet.command(&[&["doctor", "--output", "json"], arguments].concat()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let document: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let found = document["findings"].as_array().unwrap().iter();
    let found = found.map(|finding| (text(finding, "code"), text(finding, "level")));
    let all = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    (found.filter(|(code, _)| code.starts_with("REDIS_")).collect(), all)
}

fn bad(found: &[(String, String)]) -> Vec<(&str, &str)> {
    found.iter().filter(|(_, level)| level != "ok").map(|(code, level)| (&**code, &**level)).collect()
}

#[test]
fn a_doctor_looks_at_redis() {
    examine(Product::Redis);
}

pub fn examine(product: Product) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let arguments = ["--requirepass", "s3cret", "--maxmemory", "100mb"].map(str::to_owned).to_vec();
    let options = Options { product, is_durable: true, login: ":s3cret", arguments, ..Options::default() };
    let redis = runtime.block_on(servers::start_with(options));
    let ask = |command: &str| runtime.block_on(redis.ask::<()>(command));
    let mut fleet = Fleet::new();
    let set = |fleet: &mut Fleet, url: String| fleet.variables = vec![("REDIS_URL", url)];
    set(&mut fleet, redis.url());

    let (found, said) = examined(&fleet, &[]);
    let codes: Vec<&str> = found.iter().map(|(code, _)| &**code).collect();
    assert_eq!(
        codes,
        ["REDIS_REACHABLE", "REDIS_VERSION", "REDIS_EVICTION", "REDIS_PERSISTENCE", "REDIS_MEMORY"],
        "{said}"
    );
    assert_eq!(bad(&found), [], "{said}");
    assert!(!said.contains("s3cret"), "{said}");
    assert_eq!(runtime.block_on(redis.ask::<u64>("DBSIZE")), 0, "it leaves nothing");

    ask("CONFIG SET maxmemory-policy allkeys-lru");
    ask("CONFIG SET appendfsync always");
    ask("CONFIG SET maxmemory 0");
    let (found, said) = examined(&fleet, &[]);
    let warned = [("REDIS_EVICTION", "warn"), ("REDIS_PERSISTENCE", "warn"), ("REDIS_MEMORY", "warn")];
    assert_eq!(bad(&found), warned, "{said}");

    set(&mut fleet, redis.url().replace("s3cret", "wr0ng"));
    let (found, said) = examined(&fleet, &[]);
    assert_eq!(bad(&found), [("REDIS_REACHABLE", "fail")], "{said}");
    assert!(!said.contains("wr0ng"), "{said}");

    redis.kill();
    set(&mut fleet, redis.url());
    let (found, said) = examined(&fleet, &[]);
    assert_eq!(bad(&found), [("REDIS_REACHABLE", "fail")], "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}

#[test]
fn a_redis_is_named_by_options_that_show_no_password() {
    let mut fleet = Fleet::new();
    let nowhere = format!("127.0.0.1:{}", servers::free_port());
    let place = |found: (Vec<(String, String)>, String), at: &str| {
        assert_eq!(bad(&found.0), [("REDIS_REACHABLE", "fail")], "{}", found.1);
        assert!(found.1.contains(at) && !found.1.contains("s3cret"), "{}", found.1);
    };
    place(examined(&fleet, &["--redis-url", &format!("redis://{nowhere}")]), &nowhere);
    let file = fleet.path("redis-url");
    std::fs::write(&file, format!("redis://:s3cret@{nowhere}\n")).unwrap();
    place(examined(&fleet, &["--redis-url-file", file.to_str().unwrap()]), &nowhere);
    let shown = fleet.command(&["doctor", "--redis-url", &format!("redis://:s3cret@{nowhere}")]).output().unwrap();
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert_eq!(shown.status.code(), Some(2), "{said}");
    assert!(said.contains("PASSWORD_SHOWN") && !said.contains("s3cret"), "{said}");
    fleet.variables = vec![("REDIS_URL", "http://:s3cret@redis".to_owned())];
    let refused = fleet.command(&["worker"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("BAD_REDIS_URL") && !said.contains("s3cret"), "{said}");
    let folder = fleet.command(&["runs"]).env_remove("DATABASE_URL").output().unwrap();
    assert_eq!(folder.status.code(), Some(0), "a data folder uses no Redis, whatever is set: {folder:?}");
}
