//! Encrypted rooms: made, switched on and off, asked about (protocol §2.4).
//!
//! Switching never touches keys: a room that is switched on again names the key that it had.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::host::{Failure, Result};
use super::store::parse;
use crate::error::Code;

/// Members that are read at a time.
const PAGE: usize = 100;
/// Pages that are read, at most.
const MAX_PAGES: usize = 1000;

/// A room to make. Members are usernames.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum NewRoom {
    /// A private channel, of a team where one is named.
    Channel {
        /// Its name.
        name: String,
        /// Who is in it besides this account.
        #[serde(default)]
        members: Vec<String>,
        /// The team's id.
        #[serde(default)]
        team_id: Option<String>,
    },
    /// A direct message; where these people have one, it is switched on.
    Direct {
        /// Who is in it besides this account.
        members: Vec<String>,
    },
    /// A discussion.
    Discussion {
        /// The room that it belongs to.
        parent_room_id: String,
        /// Its name.
        name: String,
        /// Who is in it besides this account.
        #[serde(default)]
        members: Vec<String>,
    },
}

#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    members: Vec<Value>,
    #[serde(default)]
    total: Option<usize>,
}

/// Other types are never encrypted, whatever their flag says (protocol §1).
fn expect_encryptable(kind: &str) -> Result<()> {
    match kind {
        "p" | "d" => Ok(()),
        _ => Err(Failure::new(
            Code::RoomNotEncryptable,
            "only private channels, direct messages and discussions in them can be encrypted",
        )),
    }
}

impl Shared {
    /// Makes an encrypted room, authorises it and sees to its key.
    pub(super) async fn create_encrypted_room(self: &Arc<Self>, room: NewRoom) -> Result<Value> {
        self.identity()?;
        let (body, place) = match room {
            NewRoom::Channel { name, members, team_id } => {
                // `encrypted` stands in here, and not beside it.
                let extra = match team_id {
                    Some(team) => json!({ "broadcast": false, "encrypted": true, "teamId": team }),
                    None => json!({ "broadcast": false, "encrypted": true }),
                };
                let body = json!({ "name": name, "members": members, "extraData": extra });
                (self.host.post_once("groups.create", body).await?, "/group/_id")
            }
            NewRoom::Direct { members } => {
                let body = json!({ "usernames": members.join(",") });
                (self.host.post("im.create", body).await?, "/room/_id")
            }
            NewRoom::Discussion { parent_room_id, name, members } => {
                let parent =
                    self.host.get("rooms.info", json!({ "roomId": parent_room_id })).await?;
                // The server would make a public one, which it calls encrypted and is not.
                expect_encryptable(
                    parent.pointer("/room/t").and_then(Value::as_str).unwrap_or(""),
                )?;
                let body = json!({
                    "prid": parent_room_id, "t_name": name, "users": members, "encrypted": true,
                });
                (self.host.post_once("rooms.createDiscussion", body).await?, "/discussion/_id")
            }
        };
        let id = body.pointer(place).and_then(Value::as_str).ok_or_else(|| {
            Failure::new(Code::Workspace, "the server made a room and did not say which")
        })?;
        self.set_authorized(id, true).await?;
        self.switch(id, true).await?;
        self.audit("roomCreated", json!({ "roomId": id })).await?;
        let key_id = self.expect_usable(id).ok().map(|key| key.id().to_string());
        Ok(json!({ "roomId": id, "keyId": key_id }))
    }

    /// Switches a room's encryption on or off.
    pub(super) async fn set_room_encryption(
        self: &Arc<Self>,
        id: &str,
        encrypted: bool,
    ) -> Result<Value> {
        self.expect_authorized(id)?;
        self.expect_member(id)?;
        self.switch(id, encrypted).await?;
        Ok(Value::Null)
    }

    async fn switch(self: &Arc<Self>, id: &str, encrypted: bool) -> Result<()> {
        self.refresh_room(id).await?;
        expect_encryptable(&self.kind_of(id))?;
        if self.switched_on(id) != Some(encrypted) {
            let body = json!({ "rid": id, "encrypted": encrypted });
            let answered = self.host.post("rooms.saveRoomSettings", body).await;
            // Whatever the answer was: it may have been lost.
            self.refresh_room(id).await?;
            if self.switched_on(id) != Some(encrypted) {
                return Err(answered.err().unwrap_or_else(|| {
                    Failure::new(Code::Workspace, "the server did not switch the encryption")
                }));
            }
            let action = if encrypted { "encryptionEnabled" } else { "encryptionDisabled" };
            self.audit(action, json!({ "roomId": id })).await?;
        }
        self.settle_room(id).await
    }

    /// A system message says that somebody has switched a room's encryption.
    pub(super) async fn encryption_switched(self: &Arc<Self>, id: &str) -> Result<()> {
        self.look_again(id, |_| true).await
    }

    /// Tells when an authorised room turns out to be switched on or off since it was last seen.
    pub(super) fn tell_encryption(&self, id: &str, before: Option<bool>) {
        if let (Some(before), Some(after)) = (before, self.switched_on(id))
            && before != after
            && self.expect_authorized(id).is_ok()
        {
            self.host.emit("roomEncryption", json!({ "roomId": id, "encrypted": after }));
        }
    }

    /// What is known of a room's encryption, asked anew.
    pub(super) async fn room_encryption(&self, id: &str) -> Result<Value> {
        self.expect_authorized(id)?;
        self.expect_member(id)?;
        self.refresh_room(id).await?;
        let encrypted = self.switched_on(id) == Some(true);
        let (key_id, holds_key) = {
            let state = self.state();
            let room = state.rooms.get(id);
            let document = room.and_then(|room| room.document.as_ref());
            let holds = room.is_some_and(|room| room.usable_key().is_some());
            (document.and_then(|document| document.e2e_key_id.clone()), holds)
        };
        let (waiting, unknown) =
            if encrypted { self.who_cannot_read(id).await? } else { Default::default() };
        Ok(json!({
            "roomId": id,
            "encrypted": encrypted,
            "keyId": key_id,
            "holdsKey": holds_key,
            "waiting": waiting,
            "withoutKnownKeyPair": unknown,
        }))
    }

    /// Members who have a key pair and lack the key; and members of whom no key pair is known. The
    /// server does not tell who has a pair among those who have the key, so that those who were
    /// never seen here, and got it from others, are among the latter.
    async fn who_cannot_read(&self, id: &str) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
        let own = &self.options.user_id;
        let list = self.host.get("e2e.getUsersOfRoomWithoutKey", json!({ "rid": id })).await?;
        let mut waiting = BTreeSet::new();
        collect_ids(list.get("users"), own, &mut waiting);
        let mut unknown = self.members_of(id).await?;
        let state = self.state();
        unknown.retain(|user| !waiting.contains(user) && !state.pins.contains_key(user));
        Ok((waiting, unknown))
    }

    /// Everybody in a room but this account.
    async fn members_of(&self, id: &str) -> Result<BTreeSet<String>> {
        let route = if self.kind_of(id) == "d" { "im.members" } else { "groups.members" };
        let mut members = BTreeSet::new();
        let mut read = 0;
        for _ in 0..MAX_PAGES {
            let query = json!({
                "roomId": id, "offset": read.to_string(), "count": PAGE.to_string(),
            });
            let page: Members = parse(self.host.get(route, query).await?)?;
            read += page.members.len();
            let last = page.members.is_empty() || page.total.is_none_or(|total| read >= total);
            collect_ids(Some(&Value::Array(page.members)), &self.options.user_id, &mut members);
            if last {
                break;
            }
        }
        Ok(members)
    }

    /// Whether the room's encryption is switched on, where the room is known.
    pub(super) fn switched_on(&self, id: &str) -> Option<bool> {
        let state = self.state();
        state.rooms.get(id)?.document.as_ref().map(super::rooms::Document::is_encrypted)
    }

    /// Refuses to send into a room that is switched off: what is encrypted is not read there.
    pub(super) fn expect_switched_on(&self, id: &str) -> Result<()> {
        match self.switched_on(id) {
            Some(false) => Err(Failure::new(Code::RoomNotEncrypted, "the room is not encrypted")),
            _ => Ok(()),
        }
    }

    fn kind_of(&self, id: &str) -> String {
        let state = self.state();
        let document = state.rooms.get(id).and_then(|room| room.document.as_ref());
        document.map(|document| document.t.clone()).unwrap_or_default()
    }
}

fn collect_ids(users: Option<&Value>, own: &str, ids: &mut BTreeSet<String>) {
    let users = users.and_then(Value::as_array).into_iter().flatten();
    let others = users.filter_map(|user| user.get("_id")?.as_str()).filter(|user| *user != own);
    ids.extend(others.map(str::to_owned));
}
