//! Keys for members who wait (protocol §3.2), and whom to trust with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Shared;
use super::host::{Failure, Result};
use super::store::parse;
use crate::error::Code;
use crate::identity::PublicKey;
use crate::room_key::RoomKey;

/// Rooms that are served in one go, as Rocket.Chat's own clients do.
const ROOMS_AT_ONCE: usize = 10;

/// A public key as it was first seen, or as somebody has trusted it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pin {
    /// The fingerprint that is trusted.
    fingerprint: String,
    /// Whether somebody compared it, rather than that it was just the first.
    verified: bool,
    /// A fingerprint that was seen since and is not trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<String>,
    /// The key itself, once it was seen: the server names it only while its owner has no room key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
}

/// A member who waits for keys.
struct Waiting {
    id: String,
    public_key: String,
}

#[derive(Deserialize)]
struct WaitingLists {
    #[serde(default, rename = "usersWaitingForE2EKeys")]
    users: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct WithoutKey {
    #[serde(default)]
    users: Vec<Value>,
}

impl Shared {
    /// Takes the pins that are in the store and not yet known here.
    pub(super) async fn load_pins(&self) -> Result<()> {
        let pins = self.load_newer::<Pin>("pin/").await?;
        let mut state = self.state();
        for (name, pin) in pins {
            if let Some(user) = name.strip_prefix("pin/") {
                state.pins.insert(user.to_owned(), pin);
            }
        }
        Ok(())
    }

    /// One turn of the holders' loop: rooms where somebody waits and we hold the key.
    pub(super) async fn distribute(&self, room_id: Option<&str>) -> Result<Value> {
        self.identity()?;
        if let Some(id) = room_id {
            self.expect_authorized(id)?;
            self.expect_usable(id)?;
        }
        let rooms = self.rooms_to_serve(room_id);
        let mut served = 0;
        for batch in rooms.chunks(ROOMS_AT_ONCE) {
            let asked: Vec<(String, String)> = batch
                .iter()
                .filter_map(|id| Some((id.clone(), self.expect_usable(id).ok()?.id().to_string())))
                .collect();
            let lists: WaitingLists = parse(
                self.host
                    .get("e2e.fetchUsersWaitingForGroupKey", json!({ "roomIds": batch }))
                    .await?,
            )?;
            let (mut keys, mut found) = (Map::new(), BTreeMap::new());
            for (id, users) in lists.users.unwrap_or_default() {
                let waiting = users.as_array().into_iter().flatten().filter_map(|user| {
                    Some(Waiting {
                        id: user.get("_id")?.as_str()?.to_owned(),
                        public_key: user.get("public_key")?.as_str()?.to_owned(),
                    })
                });
                // A server may name rooms that were not asked for: those are not given away.
                if batch.contains(&id) {
                    found.insert(id, waiting.collect());
                }
            }
            for id in batch {
                let mut waiting: Vec<Waiting> = found.remove(id).unwrap_or_default();
                waiting.extend(self.queued_besides(id, &waiting));
                let wrapped = self.wrap_for_all(id, waiting).await?;
                if !wrapped.is_empty() {
                    keys.insert(id.clone(), Value::Array(wrapped));
                }
            }
            served += self.provide(keys).await?;
            for (id, key_id) in asked {
                if let Some(room) = self.state().rooms.get_mut(&id) {
                    room.served = Some(key_id);
                }
            }
        }
        Ok(json!({ "served": served }))
    }

    /// Members in a room's queue whom the server does not list as waiting, as far as their public
    /// keys were seen: it lists nobody who has any key, also where that is not the room's any more.
    fn queued_besides(&self, id: &str, listed: &[Waiting]) -> Vec<Waiting> {
        let state = self.state();
        let document = state.rooms.get(id).and_then(|room| room.document.as_ref());
        let queue = document.and_then(|document| document.waiting.as_deref()).unwrap_or_default();
        let others = queue.iter().filter(|user| !listed.iter().any(|l| l.id == user.user_id));
        let known = others.filter_map(|user| {
            let public_key = state.pins.get(&user.user_id)?.public_key.clone()?;
            Some(Waiting { id: user.user_id.clone(), public_key })
        });
        known.collect()
    }

    fn rooms_to_serve(&self, room_id: Option<&str>) -> Vec<String> {
        let state = self.state();
        let rooms = state.rooms.iter().filter(|(id, room)| {
            let Some(document) = &room.document else { return false };
            let waiting = document.waiting.as_deref().unwrap_or_default();
            let ourselves = waiting.iter().any(|user| user.user_id == self.options.user_id);
            let wanted = match room_id {
                Some(wanted) => id.as_str() == wanted,
                // A reset replaces the queue, and drops from it who had no key yet: for each new
                // key, the server is asked once whatever the queue says (protocol §3.1).
                None => (!waiting.is_empty() || !room.asked_for_all()) && !ourselves,
            };
            wanted
                && room.record.authorized
                && document.is_encrypted()
                && room.usable_key().is_some()
        });
        rooms.map(|(id, _)| id.clone()).collect()
    }

    /// Serves everybody who lacks the key, as the creator of a key does (protocol §3.4).
    pub(super) async fn serve_newcomers(&self, id: &str) -> Result<()> {
        if !self.options.distribute_keys {
            return Ok(());
        }
        let list: WithoutKey =
            parse(self.host.get("e2e.getUsersOfRoomWithoutKey", json!({ "rid": id })).await?)?;
        let waiting = list.users.iter().filter_map(|user| {
            Some(Waiting {
                id: user.get("_id")?.as_str()?.to_owned(),
                public_key: user.pointer("/e2e/public_key")?.as_str()?.to_owned(),
            })
        });
        let wrapped = self.wrap_for_all(id, waiting.collect()).await?;
        if !wrapped.is_empty() {
            let mut keys = Map::new();
            keys.insert(id.to_owned(), Value::Array(wrapped));
            self.provide(keys).await?;
        }
        Ok(())
    }

    async fn provide(&self, keys: Map<String, Value>) -> Result<usize> {
        if keys.is_empty() {
            return Ok(0);
        }
        let given: Vec<(String, Value)> = keys
            .iter()
            .flat_map(|(room, users)| {
                let users = users.as_array().into_iter().flatten();
                users.filter_map(|user| Some((room.clone(), user.get("_id")?.clone())))
            })
            .collect();
        let body = json!({ "usersSuggestedGroupKeys": keys });
        self.host.post("e2e.provideUsersSuggestedGroupKeys", body).await?;
        for (room, user) in &given {
            let details = json!({ "roomId": room, "userId": user });
            self.host.emit("keyDistributed", details.clone());
            self.audit("keyGiven", details).await?;
        }
        Ok(given.len())
    }

    /// The room's current key and all old ones, wrapped for each member whose public key is
    /// trusted.
    async fn wrap_for_all(&self, id: &str, waiting: Vec<Waiting>) -> Result<Vec<Value>> {
        let Ok(current) = self.expect_usable(id) else { return Ok(Vec::new()) };
        let old = self.old_keys(id, &current)?;
        let mut wrapped = Vec::new();
        for member in waiting {
            if member.id == self.options.user_id {
                continue;
            }
            // Somebody's broken key must not keep the others waiting.
            let Ok(key) = PublicKey::from_jwk(&member.public_key) else { continue };
            if !self.trusted(&member.id, &key).await? {
                continue;
            }
            let mut rng = self.rng();
            let old_keys = old
                .iter()
                .map(|(recorded, since, old)| {
                    Ok(json!({
                        "e2eKeyId": recorded,
                        "ts": iso(*since),
                        "E2EKey": old.wrap_for(&mut **rng, &key)?,
                    }))
                })
                .collect::<Result<Vec<_>>>()?;
            let mut given = json!({ "_id": member.id, "key": current.wrap_for(&mut **rng, &key)? });
            if !old_keys.is_empty()
                && let Some(given) = given.as_object_mut()
            {
                given.insert("oldKeys".to_owned(), Value::Array(old_keys));
            }
            wrapped.push(given);
        }
        Ok(wrapped)
    }

    fn old_keys(&self, id: &str, current: &RoomKey) -> Result<Vec<(String, u64, Arc<RoomKey>)>> {
        let state = self.state();
        let Some(room) = state.rooms.get(id) else { return Ok(Vec::new()) };
        room.old_keys(current)
    }

    /// Trusts a key at first sight; one that changed since is not trusted until somebody says so.
    async fn trusted(&self, user: &str, key: &PublicKey) -> Result<bool> {
        let fingerprint = key.fingerprint()?.to_string();
        let pin = self.state().pins.get(user).cloned();
        match pin {
            Some(pin) if pin.fingerprint == fingerprint => {
                if pin.public_key.is_none() {
                    self.save_pin(user, Pin { public_key: Some(key.to_jwk()), ..pin }).await?;
                }
                Ok(true)
            }
            Some(pin) if pin.changed.as_ref() == Some(&fingerprint) => Ok(false),
            Some(pin) => {
                self.host.emit(
                    "publicKeyChanged",
                    json!({ "userId": user, "pinned": pin.fingerprint, "seen": fingerprint }),
                );
                self.save_pin(user, Pin { changed: Some(fingerprint), ..pin }).await?;
                Ok(false)
            }
            None => {
                let public_key = Some(key.to_jwk());
                let pin = Pin { fingerprint, verified: false, changed: None, public_key };
                self.save_pin(user, pin).await?;
                Ok(true)
            }
        }
    }

    /// Trusts a fingerprint that somebody has compared.
    pub(super) async fn pin(&self, user: &str, fingerprint: &str) -> Result<Value> {
        self.identity()?;
        let digits: String = fingerprint.chars().filter(|c| !c.is_whitespace()).collect();
        let groups = hex::decode(&digits)
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(|bytes| crate::identity::Fingerprint::from_bytes(bytes).to_string())
            .ok_or_else(|| {
                Failure::new(Code::InvalidArgument, "a fingerprint has 64 hexadecimal digits")
            })?;
        let pin = self.state().pins.get(user).cloned().filter(|pin| pin.fingerprint == groups);
        let public_key = pin.and_then(|pin| pin.public_key);
        let pin = Pin { fingerprint: groups, verified: true, changed: None, public_key };
        self.save_pin(user, pin).await?;
        self.audit("keyPinned", json!({ "userId": user })).await?;
        Ok(Value::Null)
    }

    /// Whose keys are pinned, by user.
    pub(super) fn pins(&self) -> Value {
        let state = self.state();
        let pins = state.pins.iter().map(|(user, pin)| {
            let mut told = json!({ "fingerprint": pin.fingerprint, "verified": pin.verified });
            if let (Some(changed), Some(told)) = (&pin.changed, told.as_object_mut()) {
                told.insert("changed".to_owned(), json!(changed));
            }
            (user.clone(), told)
        });
        pins.collect::<Map<_, _>>().into()
    }

    pub(super) fn pinned_fingerprint(&self, user: &str) -> Value {
        json!(self.state().pins.get(user).map(|pin| pin.fingerprint.clone()))
    }

    async fn save_pin(&self, user: &str, pin: Pin) -> Result<()> {
        // What somebody has compared, here or in another process, outweighs a first sight.
        let pin = self
            .write(&format!("pin/{user}"), pin, |theirs: Pin, ours| {
                match (theirs.verified, ours.verified) {
                    (true, false) => theirs,
                    _ => ours,
                }
            })
            .await?;
        self.state().pins.insert(user.to_owned(), pin);
        Ok(())
    }
}

/// RFC 3339 in UTC with three decimals, as the server writes times: so they compare as text.
pub(super) fn iso(milliseconds: u64) -> String {
    use time::format_description::well_known::Rfc3339;
    let (seconds, rest) = (milliseconds / 1000, milliseconds % 1000);
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .map(|time| format!("{}.{rest:03}Z", time.trim_end_matches('Z')))
        .unwrap_or_default()
}
