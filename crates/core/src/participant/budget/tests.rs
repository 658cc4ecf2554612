use std::sync::Mutex;

use serde_json::Value;

use super::*;
use crate::participant::{Effect, Input, Options, Outcome, Participant, Rooms};
use crate::testing::rng;
use crate::vault::Vault;

/// What a process did: its events, and how often it wrote.
#[derive(Default)]
struct Done {
    events: Vec<(&'static str, Value)>,
    commits: usize,
}

fn participant() -> Participant {
    let options = Options {
        app_id: "test".to_owned(),
        user_id: "bot".to_owned(),
        passphrase: None,
        rooms: Rooms::Listed(Vec::new()),
        distribute_keys: true,
    };
    Participant::new(Arc::new(Vault::generate(&mut rng())), options, Box::new(rng()))
}

/// Spends so many messages; the store takes everything.
fn spend(participant: &mut Participant, key: &Arc<RoomKey>, times: usize) -> (Done, Result<()>) {
    let outcome = Arc::new(Mutex::new(None));
    let (shared, key, told) = (Arc::clone(&participant.shared), Arc::clone(key), outcome.clone());
    participant.executor.host.spawn(async move {
        let mut last = Ok(());
        for _ in 0..times {
            last = shared.spend("room", &key).await;
        }
        *told.lock().unwrap() = Some(last);
    });
    let mut done = Done::default();
    let mut inputs = Vec::new();
    loop {
        for effect in participant.step(1, std::mem::take(&mut inputs)) {
            match effect {
                Effect::Commit { id, .. } => {
                    done.commits += 1;
                    inputs.push(Input::Answer { id, outcome: Outcome::Ok(Value::Null) });
                }
                Effect::Emit { event, data } => done.events.push((event, data)),
                other => panic!("{other:?}"),
            }
        }
        if inputs.is_empty() {
            return (done, outcome.lock().unwrap().take().expect("an end"));
        }
    }
}

fn at(participant: &Participant, key: &RoomKey, counted: u64) {
    let budget = Budget { counted, ..Budget::default() };
    participant.shared.state().budgets.insert(name("room", key.id().as_str()), budget);
}

fn count(participant: &Participant, key: &RoomKey) -> u64 {
    spent(&participant.shared.state(), "room", key.id().as_str())
}

#[test]
fn messages_are_counted_in_blocks() {
    let mut participant = participant();
    let key = Arc::new(RoomKey::generate(&mut rng()).unwrap());
    assert_eq!(count(&participant, &key), 0);
    let (done, outcome) = spend(&mut participant, &key, 1);
    outcome.unwrap();
    assert_eq!((done.commits, count(&participant, &key)), (1, 1));
    let (done, _) = spend(&mut participant, &key, 1023);
    assert_eq!((done.commits, count(&participant, &key)), (0, 1024));
    let (done, _) = spend(&mut participant, &key, 1);
    assert_eq!((done.commits, count(&participant, &key)), (1, 1025));
    assert!(done.events.is_empty());
}

#[test]
fn a_warning_comes_once_and_long_before_the_limit() {
    let mut participant = participant();
    let key = Arc::new(RoomKey::generate(&mut rng()).unwrap());
    at(&participant, &key, WARNING - 2 * BLOCK);
    let (done, _) = spend(&mut participant, &key, 1024);
    assert!(done.events.is_empty());
    let (done, _) = spend(&mut participant, &key, 3000);
    let [(event, data)] = &done.events[..] else { panic!("{:?}", done.events) };
    assert_eq!(*event, "keyBudget");
    assert_eq!((&data["roomId"], &data["limit"]), (&json!("room"), &json!(LIMIT)));
    assert_eq!(data["messages"], json!(WARNING));
}

#[test]
fn at_the_limit_nothing_is_encrypted_any_more() {
    let mut participant = participant();
    let key = Arc::new(RoomKey::generate(&mut rng()).unwrap());
    at(&participant, &key, LIMIT - BLOCK);
    let (_, outcome) = spend(&mut participant, &key, 1024);
    outcome.unwrap();
    let (done, outcome) = spend(&mut participant, &key, 1);
    assert!(outcome.unwrap_err().is(Code::KeyBudget));
    assert_eq!((done.commits, count(&participant, &key)), (0, LIMIT));
    // Another key of the room has a budget of its own.
    let next = Arc::new(RoomKey::generate(&mut rng()).unwrap());
    spend(&mut participant, &next, 1).1.unwrap();
}
