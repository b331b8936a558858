//! Sessions, and requests that create things once.

use futures::future::join_all;
use opsroom::{
    model::{Digest, SessionId, TenantId},
    ports::{
        Creation, Idempotency, IdempotentAnswer, NewRun, RunFilter, SessionChange, SessionFilter, SessionRow,
        StoreError,
    },
};
use serde_json::json;
use uuid::Uuid;

use super::world::{TENANT, World, at, new_run, object, run_id};

pub fn session(number: u128) -> SessionRow {
    SessionRow {
        id: SessionId(Uuid::from_u128((0x0199_0000_0000_7000_9000 << 48) + number)),
        tenant: TENANT,
        name: format!("incident {number}"),
        labels: object(json!({"severity": 2, "team": "it's \"core\""})),
        created_at: at(number),
        created_by: "ada".to_owned(),
        archived_at: None,
    }
}

fn key(key: &str, request: &[u8], body: &str) -> Idempotency {
    let (body, created_at) = (body.as_bytes().to_vec(), at(1));
    let answer = IdempotentAnswer { request: Digest::of(request), status: 201, body, created_at };
    Idempotency { tenant: TENANT, key: key.to_owned(), answer }
}

async fn count(world: &World) -> usize {
    world.b.runs(TENANT, &RunFilter { limit: 1_000, ..RunFilter::default() }).await.unwrap().items.len()
}

pub async fn a_session_reads_back(world: &World) {
    let other = TenantId(Uuid::from_u128(2));
    assert_eq!(world.a.create_session(&session(1), None).await.unwrap(), Creation::Created);
    assert_eq!(world.b.session(TENANT, session(1).id).await.unwrap(), Some(session(1)));
    assert_eq!(world.b.session(other, session(1).id).await.unwrap(), None);
    assert_eq!(world.b.session(TENANT, session(2).id).await.unwrap(), None);
    assert!(matches!(world.a.create_session(&session(1), None).await, Err(StoreError::Refused(_))));
}

pub async fn sessions_newest_first_in_pages(world: &World) {
    for number in [2, 1, 4, 3, 5] {
        world.a.create_session(&session(number), None).await.unwrap();
    }
    world.a.create_session(&SessionRow { tenant: TenantId(Uuid::from_u128(2)), ..session(6) }, None).await.unwrap();
    let archive = SessionChange { archived: Some(true), ..SessionChange::default() };
    world.a.update_session(TENANT, session(4).id, &archive, at(9)).await.unwrap();
    for (archived, expected) in [(true, &[5, 4, 3, 2, 1][..]), (false, &[5, 3, 2, 1])] {
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = world.b.sessions(TENANT, &SessionFilter { archived, before, limit: 2 }).await.unwrap();
            seen.extend(page.items.iter().map(|row| row.id));
            before = seen.last().copied();
            assert_eq!(page.more, seen.len() < expected.len());
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, expected.iter().map(|number| session(*number).id).collect::<Vec<_>>());
    }
}

pub async fn a_session_is_renamed_archived_and_reopened(world: &World) {
    world.a.create_session(&session(1), None).await.unwrap();
    let id = session(1).id;
    let change = async |name: Option<&str>, archived, now| {
        let change = SessionChange { name: name.map(str::to_owned), archived };
        world.a.update_session(TENANT, id, &change, at(now)).await.unwrap().unwrap()
    };
    assert_eq!(change(None, None, 5).await, session(1));
    let renamed = SessionRow { name: "outage".to_owned(), ..session(1) };
    assert_eq!(change(Some("outage"), None, 6).await, renamed);
    let archived = SessionRow { archived_at: Some(at(7)), ..renamed.clone() };
    assert_eq!(change(None, Some(true), 7).await, archived);
    assert_eq!(change(None, Some(true), 8).await, archived);
    assert_eq!(world.b.session(TENANT, id).await.unwrap(), Some(archived));
    assert_eq!(change(None, Some(false), 9).await, renamed);
    let nobody = TenantId(Uuid::from_u128(2));
    assert_eq!(world.a.update_session(nobody, id, &SessionChange::default(), at(1)).await.unwrap(), None);
}

pub async fn runs_need_an_open_session(world: &World) {
    world.a.create_session(&session(1), None).await.unwrap();
    world.a.create_session(&session(2), None).await.unwrap();
    let archive = SessionChange { archived: Some(true), ..SessionChange::default() };
    world.a.update_session(TENANT, session(2).id, &archive, at(1)).await.unwrap();
    let foreign = SessionRow { tenant: TenantId(Uuid::from_u128(2)), ..session(3) };
    world.a.create_session(&foreign, None).await.unwrap();
    let run = |number, session| NewRun { session: Some(session), ..new_run(number) };
    let cases = [
        (session(2).id, Creation::SessionArchived(session(2).id)),
        (session(3).id, Creation::NoSession(session(3).id)),
        (session(4).id, Creation::NoSession(session(4).id)),
    ];
    for (id, expected) in cases {
        let request = key("k", b"r", "");
        let batch = [new_run(1), run(2, session(1).id), run(3, id)];
        assert_eq!(world.a.create_runs(&batch, Some(&request)).await.unwrap(), expected);
    }
    assert_eq!(count(world).await, 0);
    let inside = run(1, session(1).id);
    assert_eq!(world.a.create_runs(&[inside], Some(&key("k", b"r", ""))).await.unwrap(), Creation::Created);
    assert_eq!(world.row(run_id(1)).await.session, Some(session(1).id));
}

pub async fn a_key_creates_once(world: &World) {
    let request = key("a key", b"one", "first");
    assert_eq!(world.a.create_runs(&[new_run(1)], Some(&request)).await.unwrap(), Creation::Created);
    let again = key("a key", b"one", "second");
    let replayed = world.b.create_runs(&[new_run(2)], Some(&again)).await.unwrap();
    assert_eq!(replayed, Creation::Replayed(request.answer.clone()));
    let other = key("a key", b"two", "third");
    assert_eq!(world.a.create_runs(&[new_run(3)], Some(&other)).await.unwrap(), Creation::Mismatched);
    assert_eq!(count(world).await, 1);
    // Keys belong to a tenant, and what was refused keeps none.
    let elsewhere = Idempotency { tenant: TenantId(Uuid::from_u128(2)), ..key("a key", b"two", "") };
    assert_eq!(world.a.create_runs(&[], Some(&elsewhere)).await.unwrap(), Creation::Created);
    let refused = key("refused", b"", "");
    assert!(world.a.create_runs(&[new_run(1)], Some(&refused)).await.is_err());
    assert_eq!(world.a.create_runs(&[new_run(4)], Some(&refused)).await.unwrap(), Creation::Created);
}

pub async fn one_of_many_requests_creates(world: &World) {
    let answers = join_all((1..=20).map(|number| {
        let store = if number % 2 == 0 { world.a.clone() } else { world.b.clone() };
        async move {
            let request = key("same", b"request", &number.to_string());
            (number.to_string(), store.create_runs(&[new_run(number)], Some(&request)).await.unwrap())
        }
    }))
    .await;
    let created: Vec<_> = answers.iter().filter(|(_, answer)| *answer == Creation::Created).collect();
    assert_eq!(created.len(), 1);
    for (_, answer) in answers.iter().filter(|(_, answer)| *answer != Creation::Created) {
        let Creation::Replayed(stored) = answer else { unreachable!("{answer:?}") };
        assert_eq!(stored.body, created[0].0.as_bytes());
    }
    assert_eq!(count(world).await, 1);
}

pub async fn a_session_is_created_once(world: &World) {
    let request = key("s", b"one", "first");
    assert_eq!(world.a.create_session(&session(1), Some(&request)).await.unwrap(), Creation::Created);
    let replayed = world.b.create_session(&session(2), Some(&request)).await.unwrap();
    assert_eq!(replayed, Creation::Replayed(request.answer));
    let other = key("s", b"two", "");
    assert_eq!(world.b.create_session(&session(2), Some(&other)).await.unwrap(), Creation::Mismatched);
    assert_eq!(world.b.session(TENANT, session(2).id).await.unwrap(), None);
}
