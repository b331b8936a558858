//! Answers of writes, by the keys of their requests.

use opsroom::{
    model::{Digest, TenantId},
    ports::{IdempotencyStore, IdempotentAnswer},
};
use uuid::Uuid;

use super::world::{TENANT, World, at};

fn answer(request: &str, minute: u128) -> IdempotentAnswer {
    let body = format!("{{\"of\":\"{request}\"}}").into_bytes();
    IdempotentAnswer { request: Digest::of(request.as_bytes()), status: 202, body, created_at: at(minute * 60) }
}

async fn kept(store: &dyn IdempotencyStore, key: &str) -> Option<IdempotentAnswer> {
    store.idempotent_answer(TENANT, key).await.unwrap()
}

pub async fn the_first_answer_is_kept(world: &World) {
    let [a, b] = &world.answers;
    assert_eq!(kept(&**b, "k1").await, None);
    a.put_idempotent_answer(TENANT, "k1", &answer("first", 1)).await.unwrap();
    b.put_idempotent_answer(TENANT, "k1", &answer("second", 2)).await.unwrap();
    assert_eq!(kept(&**b, "k1").await, Some(answer("first", 1)));
    // Keys are compared as they are.
    assert_eq!(kept(&**a, "K1").await, None);
    let empty = IdempotentAnswer { body: Vec::new(), status: 204, ..answer("third", 3) };
    b.put_idempotent_answer(TENANT, "'; DROP TABLE runs --", &empty).await.unwrap();
    assert_eq!(kept(&**a, "'; DROP TABLE runs --").await, Some(empty));
}

pub async fn keys_belong_to_tenants(world: &World) {
    let [a, b] = &world.answers;
    let other = TenantId(Uuid::from_u128(7));
    a.put_idempotent_answer(TENANT, "k1", &answer("ours", 1)).await.unwrap();
    assert_eq!(b.idempotent_answer(other, "k1").await.unwrap(), None);
    b.put_idempotent_answer(other, "k1", &answer("theirs", 2)).await.unwrap();
    assert_eq!(kept(&**b, "k1").await, Some(answer("ours", 1)));
    assert_eq!(a.idempotent_answer(other, "k1").await.unwrap(), Some(answer("theirs", 2)));
}

pub async fn old_answers_are_pruned(world: &World) {
    let [a, b] = &world.answers;
    for minute in 1..=5 {
        a.put_idempotent_answer(TENANT, &format!("k{minute}"), &answer("x", minute)).await.unwrap();
    }
    // The oldest first, no more than asked for, and none that is as young as the limit.
    assert_eq!(b.prune_idempotent_answers(at(4 * 60), 2).await.unwrap(), 2);
    assert_eq!(kept(&**a, "k2").await, None);
    assert!(kept(&**a, "k3").await.is_some());
    assert_eq!(b.prune_idempotent_answers(at(4 * 60), 100).await.unwrap(), 1);
    assert!(kept(&**a, "k4").await.is_some());
    assert_eq!(a.prune_idempotent_answers(at(4 * 60), 100).await.unwrap(), 0);
    // A pruned key is free again.
    a.put_idempotent_answer(TENANT, "k1", &answer("again", 9)).await.unwrap();
    assert_eq!(kept(&**b, "k1").await, Some(answer("again", 9)));
}
