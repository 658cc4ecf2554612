//! Off-the-record sessions: what a session decides (see [`crate::otr`]), carried over the wire.
//!
//! Nothing of this is written to the store, the audit trail included.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Shared;
use super::host::{Failure, Result};
use crate::ejson;
use crate::error::Code;
use crate::otr::{Heard, OtrError, Session, State};

/// How long the one who is asked has for an answer, in milliseconds.
const ANSWER: u64 = 10_000;
/// How much longer the one who asks waits, for the way there and back, in milliseconds.
const GRACE: u64 = 2_000;
/// The first major version without off-the-record sessions.
const REMOVED: u32 = 8;

impl Shared {
    /// Asks the peer for a session, and waits for the answer. Where the peer is asking, this
    /// accepts.
    pub(super) async fn otr_start(self: &Arc<Self>, id: &str) -> Result<Value> {
        self.expect_authorized(id)?;
        self.otr_settle(id).await?;
        self.expect_otr_enabled().await?;
        match self.otr_at(id) {
            Some((State::Requested, round)) => self.otr_accept(id, round).await,
            Some((State::Establishing, round)) => self.otr_outcome(id, round).await,
            _ => self.otr_ask(id, false).await,
        }
    }

    /// Makes new keys for an established session.
    pub(super) async fn otr_refresh(self: &Arc<Self>, id: &str) -> Result<Value> {
        self.expect_authorized(id)?;
        self.otr_ask(id, true).await
    }

    async fn otr_ask(self: &Arc<Self>, id: &str, refresh: bool) -> Result<Value> {
        let asked = self.otr(id, |session| {
            let public_key = session.ask(&mut **self.rng(), refresh)?;
            Ok::<_, OtrError>((public_key, session.round(), session.peer_id().to_owned()))
        });
        let (public_key, round, peer) = asked.ok_or(OtrError::NotEstablished)??;
        self.tell_otr_state(id);
        self.otr_expire(id, round, ANSWER + GRACE);
        let user = &self.options.user_id;
        let data = match refresh {
            false => json!({ "roomId": id, "userId": user, "publicKey": public_key }),
            true => json!({
                "roomId": id, "userId": user, "publicKey": public_key, "refresh": true,
            }),
        };
        let published = self.otr_publish(&peer, "handshake", data);
        if let (_, Err(failure)) = self.host.both(self.otr_delete_old(id), published).await {
            self.otr_fail(id, round);
            return Err(failure);
        }
        if refresh {
            self.otr_notice(id, "user_requested_otr_key_refresh").await;
        }
        self.otr_outcome(id, round).await
    }

    /// Waits until the handshake of a round has been answered.
    async fn otr_outcome(&self, id: &str, round: u64) -> Result<Value> {
        let state = self
            .host
            .until(|| match self.otr_at(id) {
                Some((State::Establishing, now)) if now == round => None,
                Some((state, _)) => Some(state),
                None => Some(State::NotStarted),
            })
            .await;
        match state {
            State::Established => Ok(Value::Null),
            State::Declined => {
                Err(Failure::new(Code::OtrDeclined, "the peer refused the off-the-record session"))
            }
            State::Timeout => {
                Err(Failure::new(Code::OtrTimeout, "the peer did not answer in time"))
            }
            _ => Err(OtrError::NotEstablished.into()),
        }
    }

    /// Accepts what the peer asks in this round.
    pub(super) async fn otr_accept(self: &Arc<Self>, id: &str, round: u64) -> Result<Value> {
        self.expect_authorized(id)?;
        let accepted = self.otr(id, |session| session.accept(&mut **self.rng(), round));
        let public_key = accepted.ok_or(OtrError::RequestOver)??;
        self.otr_acknowledge(id, public_key).await?;
        Ok(Value::Null)
    }

    /// Tells the peer that its handshake is accepted.
    async fn otr_acknowledge(&self, id: &str, public_key: String) -> Result<()> {
        let Some((round, peer)) = self.otr(id, |s| (s.round(), s.peer_id().to_owned())) else {
            return Ok(());
        };
        self.tell_otr_state(id);
        let user = &self.options.user_id;
        let data = json!({ "roomId": id, "userId": user, "publicKey": public_key });
        let published = self.otr_publish(&peer, "acknowledge", data);
        let (_, published) = self.host.both(self.otr_delete_old(id), published).await;
        if published.is_err() {
            self.otr_fail(id, round);
        }
        published
    }

    /// Declines what the peer asks in this round.
    pub(super) async fn otr_decline(&self, id: &str, round: u64) -> Result<Value> {
        self.expect_authorized(id)?;
        let declined =
            self.otr(id, |session| session.decline(round).map(|()| session.peer_id().to_owned()));
        let peer = declined.ok_or(OtrError::RequestOver)??;
        self.tell_otr_state(id);
        self.otr_publish(&peer, "deny", self.otr_data(id)).await.map(|()| Value::Null)
    }

    /// Ends a session, or what would become one.
    pub(super) async fn otr_end(&self, id: &str) -> Result<Value> {
        self.expect_authorized(id)?;
        let Some((state, _)) = self.otr_at(id) else { return Ok(Value::Null) };
        let Some((true, peer)) = self.otr(id, |s| (s.end(), s.peer_id().to_owned())) else {
            return Ok(Value::Null);
        };
        self.tell_otr_state(id);
        let event = if state == State::Requested { "deny" } else { "end" };
        let published = self.otr_publish(&peer, event, self.otr_data(id));
        let (_, published) = self.host.both(self.otr_delete_old(id), published).await;
        published.map(|()| Value::Null)
    }

    /// Ends a room's session because the participant will not act in the room any more.
    pub(super) async fn otr_forget(&self, id: &str) {
        if self.otr_at(id).is_some() {
            if let Err(failure) = self.otr_end(id).await {
                self.trouble(id, &failure);
            }
            self.state().otr.remove(id);
        }
    }

    pub(super) async fn otr_forget_all(&self) {
        let rooms: Vec<String> = self.state().otr.keys().cloned().collect();
        for id in rooms {
            self.otr_forget(&id).await;
        }
    }

    /// Sends a text; waits while a session is being established or refreshed.
    pub(super) async fn otr_send(&self, id: &str, text: &str) -> Result<Value> {
        self.expect_authorized(id)?;
        if let Some((State::Establishing, round)) = self.otr_at(id) {
            self.otr_outcome(id, round).await?;
        }
        let message_id = self.new_message_id();
        let ack = self.new_message_id() + &self.new_message_id();
        let now = self.host.now();
        let sealed =
            self.otr(id, |session| session.seal(&mut **self.rng(), now, (&message_id, &ack), text));
        let sealed = sealed.ok_or(OtrError::NotEstablished)??;
        let message = json!({ "_id": message_id, "rid": id, "msg": sealed, "t": "otr" });
        let sent = self.host.call("sendMessage", json!([message])).await?;
        // After most refusals the method answers nothing at all.
        if sent.get("_id").is_none() {
            return Err(Failure::new(Code::Workspace, "the server did not take the message"));
        }
        Ok(json!({ "roomId": id, "messageId": message_id }))
    }

    /// A control event. Anybody can send one to anybody, so what does not fit is ignored.
    pub(super) async fn otr_hear(
        self: &Arc<Self>,
        id: &str,
        event: &str,
        data: &Value,
    ) -> Result<()> {
        let member = |name: &str| data.get(name).and_then(Value::as_str);
        let Some(user) = member("userId") else { return Ok(()) };
        if user == self.options.user_id || self.expect_authorized(id).is_err() {
            return Ok(());
        }
        if self.otr_at(id).is_none() && (event != "handshake" || !self.otr_fits(id).await?) {
            return Ok(());
        }
        let public_key = member("publicKey");
        let refresh = data.get("refresh") == Some(&Value::Bool(true));
        let now = self.host.now();
        let heard = self.otr(id, |session| {
            if session.peer_id() != user {
                return Ok(Heard::Ignored);
            }
            match (event, public_key) {
                ("handshake", Some(key)) => session.handshake(now, &mut **self.rng(), key, refresh),
                ("acknowledge", Some(key)) => session.acknowledged(key),
                ("deny", _) => Ok(session.denied()),
                ("end", _) => Ok(session.ended()),
                _ => Ok(Heard::Ignored),
            }
        });
        match heard {
            None => Ok(()),
            Some(Ok(heard)) => self.otr_react(id, user, heard, refresh).await,
            Some(Err(error)) => match self.otr(id, Session::tell_bad_key) {
                Some(true) => Err(error.into()),
                _ => Ok(()),
            },
        }
    }

    async fn otr_react(
        self: &Arc<Self>,
        id: &str,
        user: &str,
        heard: Heard,
        refresh: bool,
    ) -> Result<()> {
        match heard {
            Heard::Ignored => Ok(()),
            Heard::Over => {
                self.tell_otr_state(id);
                Ok(())
            }
            Heard::Requested => {
                let round = self.otr_at(id).map(|(_, round)| round).unwrap_or_default();
                self.tell_otr_state(id);
                let data =
                    json!({ "roomId": id, "type": "request", "userId": user, "request": round });
                self.host.emit("otr", data);
                self.otr_expire(id, round, ANSWER);
                Ok(())
            }
            Heard::Accepted { public_key } => {
                self.otr_acknowledge(id, public_key).await?;
                if refresh {
                    self.otr_notice(id, "user_key_refreshed_successfully").await;
                }
                Ok(())
            }
            Heard::Established { first } => {
                self.tell_otr_state(id);
                if first {
                    self.otr_notice(id, "user_joined_otr").await;
                }
                Ok(())
            }
            Heard::TooLate => self.otr_publish(user, "end", self.otr_data(id)).await,
        }
    }

    /// An off-the-record message, or the receipt of one. Outside a session it means nothing.
    pub(super) fn otr_receive(self: &Arc<Self>, id: &str, message: &Value) -> Result<()> {
        let member = |pointer: &str| message.pointer(pointer).and_then(Value::as_str);
        let (Some(message_id), Some(sender)) = (member("/_id"), member("/u/_id")) else {
            return Ok(());
        };
        if self.expect_authorized(id).is_err() {
            return Ok(());
        }
        if sender == self.options.user_id {
            let receipt = member("/otrAck").or_else(|| member("/otr/ack"));
            let delivered =
                receipt.and_then(|receipt| self.otr(id, |s| s.delivered(message_id, receipt)));
            if delivered == Some(true) {
                let data = json!({ "roomId": id, "type": "receipt", "messageId": message_id });
                self.host.emit("otr", data);
            }
            return Ok(());
        }
        let opened = self.otr(id, |session| {
            if session.peer_id() != sender {
                return Err(OtrError::ForeignSender);
            }
            let sealed = member("/msg").unwrap_or_default();
            let opened = session.open(message_id, sealed)?;
            opened
                .map(|opened| {
                    let own = self.new_message_id();
                    let receipt = session.receipt(&mut **self.rng(), &opened.ack, &own)?;
                    Ok((opened, receipt))
                })
                .transpose()
        });
        match opened {
            None | Some(Ok(None)) => {}
            Some(Ok(Some((opened, receipt)))) => {
                let ts = opened.ts.map(|ts| json!({ "$date": ts }));
                self.host.emit(
                    "otr",
                    json!({
                        "roomId": id, "type": "message", "messageId": message_id,
                        "userId": sender, "username": member("/u/username"),
                        "text": opened.text.as_str(), "ts": ts,
                    }),
                );
                self.otr_confirm(id, message, receipt);
            }
            Some(Err(error)) => {
                if self.otr(id, |session| session.tell_unopened(message_id)) == Some(true) {
                    let data = json!({
                        "roomId": id, "type": "undecryptable", "messageId": message_id,
                        "error": Failure::from(error),
                    });
                    self.host.emit("otr", data);
                }
            }
        }
        Ok(())
    }

    /// Sends the receipt of a message, which goes along as it was received.
    fn otr_confirm(self: &Arc<Self>, id: &str, message: &Value, receipt: String) {
        let (shared, id) = (Arc::clone(self), id.to_owned());
        // The driver reads effects as EJSON, and dates are to reach the server as they came.
        let literal = serde_json::to_value(ejson::Value::literal(message)).unwrap_or_default();
        self.host.spawn(async move {
            let params = json!([{ "message": literal, "ack": receipt }]);
            if let Err(failure) = shared.host.call("updateOTRAck", params).await {
                shared.trouble(&id, &failure);
            }
        });
    }

    /// Whether this room can have a session; where it can, there is one from now on.
    async fn otr_fits(&self, id: &str) -> Result<bool> {
        match self.otr_settle(id).await {
            Ok(()) => Ok(true),
            Err(failure) if failure.is(Code::OtrUnavailable) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Finds out who the peer is, once: nobody joins or leaves a direct message.
    async fn otr_settle(&self, id: &str) -> Result<()> {
        self.alone(format!("otr/{id}"), async {
            if self.server_version().await?.0 >= REMOVED {
                return Err(Failure::new(
                    Code::OtrUnavailable,
                    "servers from 8.0 on have no off-the-record sessions",
                ));
            }
            if self.otr_at(id).is_none() && !self.state().without_otr.contains(id) {
                self.otr_find_peer(id).await?;
            }
            match self.otr_at(id) {
                Some(_) => Ok(()),
                None => Err(Failure::new(
                    Code::OtrUnavailable,
                    "only direct messages of two have off-the-record sessions",
                )),
            }
        })
        .await
    }

    async fn otr_find_peer(&self, id: &str) -> Result<()> {
        let body = self.host.get("rooms.info", json!({ "roomId": id })).await?;
        let own = self.options.user_id.as_str();
        let direct = body.pointer("/room/t").and_then(Value::as_str) == Some("d");
        let uids = body.pointer("/room/uids").and_then(Value::as_array);
        let uids: Vec<&str> = uids.into_iter().flatten().filter_map(Value::as_str).collect();
        let peer = match uids.as_slice() {
            [one, other] if direct && *one == own && *other != own => Some(*other),
            [one, other] if direct && *other == own && *one != own => Some(*one),
            _ => None,
        };
        let mut state = self.state();
        match peer {
            Some(peer) => drop(state.otr.insert(id.to_owned(), Session::new(own, peer))),
            None => drop(state.without_otr.insert(id.to_owned())),
        }
        Ok(())
    }

    async fn expect_otr_enabled(&self) -> Result<()> {
        let body = self.host.get("settings.public", json!({ "_id": "OTR_Enable" })).await?;
        let settings = body.get("settings").and_then(Value::as_array);
        let on = settings.into_iter().flatten().any(|setting| {
            setting.get("_id") == Some(&json!("OTR_Enable"))
                && setting.get("value") == Some(&json!(true))
        });
        match on {
            true => Ok(()),
            false => Err(Failure::new(
                Code::OtrUnavailable,
                "off-the-record sessions are switched off on this server (OTR_Enable)",
            )),
        }
    }

    /// Does something with the room's session, where there is one.
    fn otr<T>(&self, id: &str, act: impl FnOnce(&mut Session) -> T) -> Option<T> {
        self.state().otr.get_mut(id).map(act)
    }

    fn otr_at(&self, id: &str) -> Option<(State, u64)> {
        self.state().otr.get(id).map(|session| (session.state(), session.round()))
    }

    fn tell_otr_state(&self, id: &str) {
        if let Some((state, _)) = self.otr_at(id) {
            self.host.emit("otr", json!({ "roomId": id, "type": "state", "state": state }));
        }
    }

    fn otr_fail(&self, id: &str, round: u64) {
        if self.otr(id, |session| session.fail(round)) == Some(true) {
            self.tell_otr_state(id);
        }
    }

    fn otr_expire(self: &Arc<Self>, id: &str, round: u64, ms: u64) {
        let (shared, id) = (Arc::clone(self), id.to_owned());
        self.host.spawn(async move {
            let slept = shared.host.sleep(ms).await;
            if slept.is_ok() && shared.otr(&id, |session| session.expire(round)) == Some(true) {
                shared.tell_otr_state(&id);
            }
        });
    }

    fn otr_data(&self, id: &str) -> Value {
        json!({ "roomId": id, "userId": self.options.user_id })
    }

    async fn otr_publish(&self, peer: &str, event: &str, data: Value) -> Result<()> {
        let params = json!([format!("{peer}/otr"), event, data]);
        self.host.call("stream-notify-user", params).await.map(drop)
    }

    /// Old notices in the room are a matter of tidiness: that they stay is told, and hinders
    /// nothing.
    async fn otr_delete_old(&self, id: &str) {
        if let Err(failure) = self.host.call("deleteOldOTRMessages", json!([id])).await {
            self.trouble(id, &failure);
        }
    }

    /// Says something in the room about the session, as Rocket.Chat's client does.
    async fn otr_notice(&self, id: &str, notice: &str) {
        let body = json!({ "roomId": id, "type": notice });
        if let Err(failure) = self.host.post_once("chat.otr", body).await {
            self.trouble(id, &failure);
        }
    }
}
