//! A model of a store: records with versions, claims, and a second process that writes too.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rand_core::CryptoRng;
use rocketchat_e2ee::participant::{Change, Claim, Failure, Outcome};
use rocketchat_e2ee::vault::Vault;
use serde_json::{Value, json};

pub(crate) struct Store {
    pub(crate) vault: Arc<Vault>,
    records: BTreeMap<String, (u64, String)>,
    claims: BTreeMap<String, u64>,
    /// The outgoing messages that were ever kept here: their ids by their texts.
    pub(crate) kept: BTreeMap<String, String>,
    /// From when on messages are told, by room: the first mark that was kept.
    pub(crate) since: BTreeMap<String, String>,
}

/// What a store that does not work answers.
pub(crate) fn failure(code: &str) -> Outcome {
    Outcome::Error(Failure {
        code: code.to_owned(),
        message: "the store did not do it".to_owned(),
        status: None,
        error_type: None,
    })
}

impl Store {
    pub(crate) fn new(rng: &mut impl CryptoRng) -> Self {
        Self {
            vault: Arc::new(Vault::generate(rng)),
            records: BTreeMap::new(),
            claims: BTreeMap::new(),
            kept: BTreeMap::new(),
            since: BTreeMap::new(),
        }
    }

    pub(crate) fn load(&self, prefix: &str) -> Outcome {
        let records = self.records.iter().filter(|(name, _)| name.starts_with(prefix));
        Outcome::Ok(
            records
                .map(|(name, (version, data))| {
                    json!({ "name": name, "version": version, "data": data })
                })
                .collect(),
        )
    }

    pub(crate) fn commit(&mut self, changes: &[Change], claims: &[Claim], now: u64) -> Outcome {
        let version =
            |name: &str| self.records.get(name).map(|(version, _)| *version).unwrap_or_default();
        if changes.iter().any(|change| version(&change.name) != change.expected) {
            return failure("ERR_E2EE_STORE_CONFLICT");
        }
        for Change { name, expected, data, .. } in changes {
            match data {
                Some(data) => {
                    let plain = self.open(name, expected + 1, data);
                    if let Some(msg) = plain.pointer("/message/msg").and_then(Value::as_str) {
                        let id = plain["id"].as_str().expect("an id");
                        self.kept.insert(msg.to_owned(), id.to_owned());
                    }
                    if let Some(room) = name.strip_prefix("seen/") {
                        let mark = plain["lastUpdate"].as_str().expect("a mark").to_owned();
                        self.since.entry(room.to_owned()).or_insert(mark);
                    }
                    self.records.insert(name.clone(), (expected + 1, data.clone()));
                }
                None => drop(self.records.remove(name)),
            }
        }
        for Claim { id, ttl, .. } in claims {
            let end = self.claims.entry(id.clone()).or_default();
            *end = (*end).max(now + ttl);
        }
        Outcome::Ok(Value::Null)
    }

    fn open(&self, name: &str, version: u64, data: &str) -> Value {
        let sealed = BASE64_STANDARD.decode(data).expect("base64");
        let plain = self.vault.open(name, version, &sealed).expect("a record of this store");
        serde_json::from_slice(&plain).expect("JSON")
    }

    pub(crate) fn claim(&mut self, name: &str, ttl: u64, now: u64) -> Outcome {
        let free = self.claims.get(name).is_none_or(|end| *end <= now);
        if free {
            self.claims.insert(name.to_owned(), now + ttl);
        }
        Outcome::Ok(json!(free))
    }

    /// Another process writes a record anew, with what is in it already.
    pub(crate) fn interfere(&mut self, rng: &mut impl CryptoRng, draw: usize) {
        let names: Vec<&String> =
            self.records.keys().filter(|name| !name.starts_with("audit/")).collect();
        if names.is_empty() {
            return;
        }
        let name = names[draw % names.len()].clone();
        let (version, data) = self.records[&name].clone();
        let plain = self.open(&name, version, &data).to_string();
        let sealed = self.vault.seal(rng, &name, version + 1, plain.as_bytes()).expect("sealed");
        self.records.insert(name, (version + 1, BASE64_STANDARD.encode(sealed)));
    }

    pub(crate) fn names(&self, prefix: &str) -> usize {
        self.records.keys().filter(|name| name.starts_with(prefix)).count()
    }
}
