use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Command, Effect, Input, Outcome, Participant};
use crate::identity::Identity;
use crate::testing::rng;
use crate::vault::Vault;

fn participant() -> Participant {
    let vault = Arc::new(Vault::generate(&mut rng()));
    let options = json!({ "appId": "test", "userId": "bot", "rooms": [] }).to_string();
    Participant::from_options(vault, &options, Box::new(rng())).unwrap()
}

fn step(participant: &mut Participant, inputs: &str) -> Vec<Value> {
    serde_json::from_str(&participant.step_text(1, inputs).unwrap()).unwrap()
}

fn command(id: u64, command: Value) -> String {
    json!({ "input": "command", "id": id, "command": command }).to_string()
}

#[test]
fn an_argument_of_a_wrong_type_fails_its_own_command_alone() {
    let bad = command(1, json!({ "command": "send", "roomId": 7, "message": {} }));
    let good = command(2, json!({ "command": "open" }));
    let effects = step(&mut participant(), &format!("[{bad},{good}]"));
    assert_eq!(effects[0]["effect"], "done");
    assert_eq!(effects[0]["command"], 1);
    assert_eq!(effects[0]["error"]["code"], "ERR_E2EE_INVALID_ARGUMENT");
    assert_eq!(effects[1]["effect"], "load", "the other command has begun");
}

#[test]
fn an_answer_nested_too_deep_fails_its_own_effect() {
    let mut participant = participant();
    let effects =
        step(&mut participant, &format!("[{}]", command(1, json!({ "command": "open" }))));
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let answer = format!(r#"{{"input":"answer","id":{},"ok":{deep}}}"#, effects[0]["id"]);
    let effects = step(&mut participant, &format!("[{answer}]"));
    assert_eq!(effects[0]["effect"], "done");
    assert_eq!(effects[0]["error"]["code"], "ERR_E2EE_WORKSPACE");
}

#[test]
fn an_event_of_no_known_form_is_told_and_ends_nothing() {
    let event = r#"{"input":"event","event":{"type":"earthquake"}}"#;
    let open = command(1, json!({ "command": "open" }));
    let effects = step(&mut participant(), &format!("[{event},{open}]"));
    assert_eq!(effects[0]["event"], "error");
    assert_eq!(effects[1]["effect"], "load");
}

#[test]
fn what_is_no_list_of_inputs_is_refused() {
    for text in ["", "{}", "[", "[1]", r#"[{"input":"command"}]"#] {
        assert!(participant().step_text(1, text).is_err(), "{text}");
    }
}

/// A participant with a store and a server that do all that is asked; key pairs are made when the
/// test says so.
struct Setting {
    participant: Participant,
    store: BTreeMap<String, (u64, Value)>,
    published: Vec<Value>,
    asked: Vec<u64>,
    done: BTreeMap<u64, Outcome>,
    events: Vec<&'static str>,
}

impl Setting {
    fn new(vault: &Arc<Vault>) -> Self {
        let options = json!({ "appId": "test", "userId": "bot", "rooms": [] }).to_string();
        let participant =
            Participant::from_options(Arc::clone(vault), &options, Box::new(rng())).unwrap();
        Self {
            participant,
            store: BTreeMap::new(),
            published: Vec::new(),
            asked: Vec::new(),
            done: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    fn command(&mut self, id: u64, command: Command) {
        self.go_on(Input::Command { id, command });
    }

    fn hand_over(&mut self) -> String {
        let id = self.asked.pop().unwrap();
        let pair = Identity::generate(&mut rng()).unwrap();
        let public_key = pair.public_key().to_jwk();
        self.participant.take_key_pair(id, pair);
        self.go_on(Input::Answer { id, outcome: Outcome::Ok(Value::Null) });
        public_key
    }

    fn go_on(&mut self, input: Input) {
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            let effects = self.participant.step(1, std::mem::take(&mut inputs));
            inputs = effects.into_iter().filter_map(|effect| self.answer(effect)).collect();
        }
    }

    fn answer(&mut self, effect: Effect) -> Option<Input> {
        let (id, value) = match effect {
            Effect::Request { id, request } => (id, self.serve(&request.path, request.body)),
            Effect::Load { id, prefix } => {
                let records = self.store.iter().filter(|(name, _)| name.starts_with(&prefix));
                let record = |(name, (version, data)): (&String, &(u64, Value))| json!({ "name": name, "version": version, "data": data });
                (id, records.map(record).collect())
            }
            Effect::Commit { id, changes, .. } => {
                let version = |name| self.store.get(name).map_or(0, |(version, _)| *version);
                if changes.iter().any(|change| version(&change.name) != change.expected) {
                    let conflict =
                        json!({ "code": "ERR_E2EE_STORE_CONFLICT", "message": "conflict" });
                    let outcome = Outcome::Error(serde_json::from_value(conflict).unwrap());
                    return Some(Input::Answer { id, outcome });
                }
                for change in changes {
                    self.store.insert(change.name, (change.expected + 1, json!(change.data)));
                }
                (id, Value::Null)
            }
            Effect::GenerateKeyPair { id } => {
                self.asked.push(id);
                return None;
            }
            Effect::Emit { event, .. } => {
                self.events.push(event);
                return None;
            }
            Effect::Done { command, outcome } => {
                self.done.insert(command, outcome);
                return None;
            }
            other => panic!("{other:?}"),
        };
        Some(Input::Answer { id, outcome: Outcome::Ok(value) })
    }

    fn serve(&mut self, path: &str, body: Option<Value>) -> Value {
        match path {
            "e2e.fetchMyKeys" => self.published.last().cloned().unwrap_or(json!({})),
            "e2e.setUserPublicAndPrivateKeys" => {
                self.published.push(body.unwrap());
                json!({})
            }
            "settings.public" => json!({ "settings": [] }),
            _ => json!({ "update": [], "remove": [] }),
        }
    }

    fn failed(&self, command: u64) -> String {
        match &self.done[&command] {
            Outcome::Error(failure) => failure.code.clone(),
            Outcome::Ok(value) => panic!("{value}"),
        }
    }
}

#[test]
fn a_key_pair_is_made_elsewhere_and_then_published() {
    let mut setting = Setting::new(&Arc::new(Vault::generate(&mut rng())));
    setting.command(1, Command::Open);
    assert!(setting.done.is_empty() && setting.store.is_empty());
    let public_key = setting.hand_over();
    assert!(matches!(setting.done[&1], Outcome::Ok(_)));
    assert_eq!(setting.published.len(), 1);
    assert_eq!(setting.published[0]["public_key"], public_key);
    assert_eq!(setting.events, ["identityCreated", "passphrase"]);
}

#[test]
fn a_host_that_makes_no_key_pair_fails_the_command() {
    let mut setting = Setting::new(&Arc::new(Vault::generate(&mut rng())));
    for command in [1, 2] {
        setting.command(command, Command::Open);
        let id = setting.asked.pop().unwrap();
        let failure = json!({ "code": "ERR_E2EE_INTERNAL", "message": "no" });
        let failure = Outcome::Error(serde_json::from_value(failure).unwrap());
        let nothing = Outcome::Ok(Value::Null);
        let outcome = if command == 1 { failure } else { nothing };
        setting.go_on(Input::Answer { id, outcome });
        assert_eq!(setting.failed(command), "ERR_E2EE_INTERNAL");
    }
    assert!(setting.published.is_empty() && setting.store.is_empty());
}

#[test]
fn what_another_process_kept_meanwhile_is_published_instead() {
    let vault = Arc::new(Vault::generate(&mut rng()));
    let [mut first, mut second] = [(); 2].map(|()| Setting::new(&vault));
    first.command(1, Command::Open);
    second.command(1, Command::Open);
    let kept = first.hand_over();
    // It is killed before it publishes, and the second notices what it wrote.
    second.store = first.store;
    second.command(2, Command::Pins);
    second.hand_over();
    assert!(matches!(second.done[&1], Outcome::Ok(_)));
    assert_eq!(second.published.len(), 1);
    assert_eq!(second.published[0]["public_key"], kept);
    // Made by another: only its passphrase is told.
    assert_eq!(second.events, ["passphrase"]);
}

#[test]
fn a_key_pair_that_comes_after_a_revocation_is_not_published() {
    let mut setting = Setting::new(&Arc::new(Vault::generate(&mut rng())));
    setting.command(1, Command::Open);
    setting.hand_over();
    setting.command(2, Command::RotateIdentity);
    setting.command(3, Command::RevokeIdentity);
    assert!(matches!(setting.done[&3], Outcome::Ok(_)));
    setting.hand_over();
    assert_eq!(setting.failed(2), "ERR_E2EE_IDENTITY_REVOKED");
    assert_eq!(setting.published.len(), 1);
}
