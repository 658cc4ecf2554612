use std::sync::Arc;

use serde_json::{Value, json};

use super::Participant;
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
