//! One session: its states, and what leads from one to the next.

use std::collections::{BTreeSet, VecDeque};

use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::key::{KeyPair, PeerKey, SessionKey};
use super::{OtrError, State};
use crate::ejson;

/// Handshakes that are heard within [`WINDOW`]; the rest is ignored.
const MAX_HANDSHAKES: usize = 5;
/// In milliseconds.
const WINDOW: u64 = 10_000;
/// Public keys of former sessions that are remembered, at most.
const MAX_USED: usize = 64;
/// What is remembered of messages, so that each is reported once; each takes two or three.
const MAX_SEEN: usize = 1 << 17;
/// Messages that wait for their receipt, at most; the oldest gives way.
const MAX_UNRECEIPTED: usize = 1024;
/// Messages that could not be opened and were told, at most; the oldest gives way.
const MAX_TOLD: usize = 256;
/// Longest id or receipt text, in bytes.
const MAX_ID_BYTES: usize = 256;

/// What an event of the peer's led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing.
    Ignored,
    /// The application is to be asked.
    Requested,
    /// Accepted without asking: this public key (JWK) is the answer.
    Accepted { public_key: String },
    /// The session is established; `first`: it is not a refresh.
    Established { first: bool },
    /// The peer has accepted too late: it has to be told that there is no session.
    TooLate,
    /// The session, or its beginning, is over.
    Over,
}

/// What a message says.
pub(crate) struct Opened {
    pub(crate) text: Zeroizing<String>,
    /// To be sent back in the receipt.
    pub(crate) ack: String,
    /// Milliseconds since 1970, by the sender's clock.
    pub(crate) ts: Option<i64>,
}

/// A session with one peer. See [`crate::otr`].
pub(crate) struct Session {
    own_id: String,
    peer_id: String,
    state: State,
    /// Counts what was asked and ended, so that a timer or an answer is known to be about this.
    round: u64,
    /// Drawn for a handshake of ours that waits for its `acknowledge`.
    pair: Option<KeyPair>,
    refreshing: bool,
    key: Option<SessionKey>,
    /// The key of who asks.
    requested: Option<PeerKey>,
    /// An `acknowledge` may still come for what has timed out.
    overdue: bool,
    /// Keys that sessions were established with.
    used: VecDeque<PeerKey>,
    /// When handshakes were heard.
    heard: VecDeque<u64>,
    told_bad_key: bool,
    seen: BTreeSet<[u8; 16]>,
    told: VecDeque<String>,
    /// Ids, and the texts that their receipts must have.
    unreceipted: VecDeque<(String, String)>,
}

impl Session {
    pub(crate) fn new(own_id: &str, peer_id: &str) -> Self {
        Self {
            own_id: own_id.to_owned(),
            peer_id: peer_id.to_owned(),
            state: State::NotStarted,
            round: 0,
            pair: None,
            refreshing: false,
            key: None,
            requested: None,
            overdue: false,
            used: VecDeque::new(),
            heard: VecDeque::new(),
            told_bad_key: false,
            seen: BTreeSet::new(),
            told: VecDeque::new(),
            unreceipted: VecDeque::new(),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    pub(crate) fn peer_id(&self) -> &str {
        &self.peer_id
    }

    /// Draws a pair for a handshake; returns its public half. A refresh needs a session; anything
    /// else begins anew.
    pub(crate) fn ask<R: CryptoRng + ?Sized>(
        &mut self,
        rng: &mut R,
        refresh: bool,
    ) -> Result<String, OtrError> {
        if refresh && self.state != State::Established {
            return Err(OtrError::NotEstablished);
        }
        if refresh {
            self.round += 1;
        } else {
            self.wipe();
        }
        let pair = KeyPair::generate(rng);
        let public_key = pair.public_jwk();
        self.pair = Some(pair);
        self.refreshing = refresh;
        self.state = State::Establishing;
        Ok(public_key)
    }

    /// A `handshake` of the peer's.
    pub(crate) fn handshake<R: CryptoRng + ?Sized>(
        &mut self,
        now: u64,
        rng: &mut R,
        public_key: &str,
        refresh: bool,
    ) -> Result<Heard, OtrError> {
        if self.state == State::Requested || !self.admit(now) {
            return Ok(Heard::Ignored);
        }
        let peer = PeerKey::from_jwk(public_key)?;
        if self.used.contains(&peer) {
            return Ok(Heard::Ignored);
        }
        match self.state {
            State::Established if refresh => self.accept_key(rng, peer),
            State::Establishing => self.accept_key(rng, peer),
            _ => {
                self.wipe();
                self.requested = Some(peer);
                self.state = State::Requested;
                Ok(Heard::Requested)
            }
        }
    }

    /// The application accepts what was asked in this round; returns our public key.
    pub(crate) fn accept<R: CryptoRng + ?Sized>(
        &mut self,
        rng: &mut R,
        round: u64,
    ) -> Result<String, OtrError> {
        self.expect_requested(round)?;
        let peer = self.requested.take().ok_or(OtrError::RequestOver)?;
        match self.accept_key(rng, peer)? {
            Heard::Accepted { public_key } => Ok(public_key),
            _ => Err(OtrError::RequestOver),
        }
    }

    /// The application declines what was asked in this round.
    pub(crate) fn decline(&mut self, round: u64) -> Result<(), OtrError> {
        self.expect_requested(round)?;
        self.finish(State::NotStarted);
        Ok(())
    }

    fn expect_requested(&self, round: u64) -> Result<(), OtrError> {
        match self.state {
            State::Requested if self.round == round => Ok(()),
            _ => Err(OtrError::RequestOver),
        }
    }

    /// An `acknowledge` of the peer's.
    pub(crate) fn acknowledged(&mut self, public_key: &str) -> Result<Heard, OtrError> {
        let Some(pair) = &self.pair else {
            return Ok(match std::mem::take(&mut self.overdue) {
                true if self.state == State::Timeout => Heard::TooLate,
                _ => Heard::Ignored,
            });
        };
        let peer = PeerKey::from_jwk(public_key)?;
        if self.used.contains(&peer) {
            return Ok(Heard::Ignored);
        }
        let key = pair.agree(&peer)?;
        self.pair = None;
        let first = !self.refreshing;
        self.establish(key, peer);
        Ok(Heard::Established { first })
    }

    /// A `deny` of the peer's.
    pub(crate) fn denied(&mut self) -> Heard {
        if self.state != State::Establishing {
            return Heard::Ignored;
        }
        self.finish(State::Declined);
        Heard::Over
    }

    /// An `end` of the peer's. One that comes while we ask is about what was before.
    pub(crate) fn ended(&mut self) -> Heard {
        if self.key.is_none() && self.requested.is_none() {
            return Heard::Ignored;
        }
        self.finish(State::NotStarted);
        Heard::Over
    }

    /// Our own end. Whether there was something to end.
    pub(crate) fn end(&mut self) -> bool {
        let open =
            matches!(self.state, State::Requested | State::Establishing | State::Established);
        self.finish(State::NotStarted);
        open
    }

    /// The time for an answer is over. Whether that changed the state.
    pub(crate) fn expire(&mut self, round: u64) -> bool {
        if self.round != round {
            return false;
        }
        match self.state {
            State::Requested | State::Establishing => {
                let asked = self.state == State::Establishing;
                self.finish(State::Timeout);
                self.overdue = asked;
                true
            }
            _ => {
                self.pair = None;
                false
            }
        }
    }

    /// The server did not take what belongs to this round. Whether that changed the state.
    pub(crate) fn fail(&mut self, round: u64) -> bool {
        let current = self.round == round;
        if current {
            self.finish(State::Error);
        }
        current
    }

    /// Encrypts a message; its receipt will have to say `ack`.
    pub(crate) fn seal<R: CryptoRng + ?Sized>(
        &mut self,
        rng: &mut R,
        now: u64,
        (id, ack): (&str, &str),
        text: &str,
    ) -> Result<String, OtrError> {
        let key = match (self.state, &self.key) {
            (State::Established, Some(key)) => key,
            _ => return Err(OtrError::NotEstablished),
        };
        let payload = object([
            ("_id", ejson::Value::String(id.to_owned())),
            ("text", ejson::Value::String(text.to_owned())),
            ("userId", ejson::Value::String(self.own_id.clone())),
            ("ack", ejson::Value::String(ack.to_owned())),
            ("ts", ejson::Value::Date(now.try_into().unwrap_or_default())),
        ]);
        let sealed = key.seal(rng, &payload)?;
        if self.unreceipted.len() == MAX_UNRECEIPTED {
            self.unreceipted.pop_front();
        }
        self.unreceipted.push_back((id.to_owned(), ack.to_owned()));
        Ok(sealed)
    }

    /// Opens a message; `None` where it was seen before, or there is no session.
    pub(crate) fn open(&mut self, id: &str, sealed: &str) -> Result<Option<Opened>, OtrError> {
        let Some(key) = &self.key else { return Ok(None) };
        if self.seen.contains(&mark("id", id)) {
            return Ok(None);
        }
        let payload = parse(&key.open(sealed)?)?;
        if member(&payload, "userId") != Some(&self.peer_id) {
            return Err(OtrError::ForeignSender);
        }
        let (Some(text), Some(ack)) = (member(&payload, "text"), member(&payload, "ack")) else {
            return Err(OtrError::MalformedEnvelope("text or ack is missing"));
        };
        let inner = member(&payload, "_id").unwrap_or(id);
        if [id, inner, ack].iter().any(|text| text.len() > MAX_ID_BYTES) {
            return Err(OtrError::MalformedEnvelope("an id is too long"));
        }
        let marks = [mark("id", id), mark("id", inner), mark("ack", ack)];
        if marks.iter().any(|mark| self.seen.contains(mark)) {
            return Ok(None);
        }
        if self.seen.len() + marks.len() > MAX_SEEN {
            return Err(OtrError::Exhausted);
        }
        self.seen.extend(marks);
        Ok(Some(Opened {
            text: Zeroizing::new(text.to_owned()),
            ack: ack.to_owned(),
            ts: match payload.get("ts") {
                Some(ejson::Value::Date(ts)) => Some(*ts),
                _ => None,
            },
        }))
    }

    /// Whether it is to be told that this message could not be opened: once for each.
    pub(crate) fn tell_unopened(&mut self, id: &str) -> bool {
        let new = id.len() <= MAX_ID_BYTES && !self.told.iter().any(|told| told == id);
        if new {
            if self.told.len() == MAX_TOLD {
                self.told.pop_front();
            }
            self.told.push_back(id.to_owned());
        }
        new
    }

    /// Whether it is to be told that a public key was bad: once until a good one comes.
    pub(crate) fn tell_bad_key(&mut self) -> bool {
        !std::mem::replace(&mut self.told_bad_key, true)
    }

    /// The receipt of a message that carried `ack`; `own` is random.
    pub(crate) fn receipt<R: CryptoRng + ?Sized>(
        &self,
        rng: &mut R,
        ack: &str,
        own: &str,
    ) -> Result<String, OtrError> {
        let key = self.key.as_ref().ok_or(OtrError::NotEstablished)?;
        let payload = object([
            ("text", ejson::Value::String(ack.to_owned())),
            ("ack", ejson::Value::String(own.to_owned())),
        ]);
        key.seal(rng, &payload)
    }

    /// Takes the receipt of a message of ours. Whether it is genuine, and the first.
    pub(crate) fn delivered(&mut self, id: &str, receipt: &str) -> bool {
        let Some(place) = self.unreceipted.iter().position(|(sent, _)| sent == id) else {
            return false;
        };
        let told = self.key.as_ref().and_then(|key| parse(&key.open(receipt).ok()?).ok());
        let genuine = match (&told, self.unreceipted.get(place)) {
            (Some(told), Some((_, ack))) => member(told, "text") == Some(ack),
            _ => false,
        };
        if genuine {
            self.unreceipted.remove(place);
        }
        genuine
    }

    /// Agrees with the peer's key: with the pair of our own handshake, where one is under way, so
    /// that two handshakes that cross make one key.
    fn accept_key<R: CryptoRng + ?Sized>(
        &mut self,
        rng: &mut R,
        peer: PeerKey,
    ) -> Result<Heard, OtrError> {
        let drawn;
        let pair = match &self.pair {
            Some(pair) => pair,
            None => {
                drawn = KeyPair::generate(rng);
                &drawn
            }
        };
        let key = pair.agree(&peer)?;
        let public_key = pair.public_jwk();
        self.establish(key, peer);
        Ok(Heard::Accepted { public_key })
    }

    fn establish(&mut self, key: SessionKey, peer: PeerKey) {
        self.key = Some(key);
        self.requested = None;
        self.told_bad_key = false;
        self.state = State::Established;
        if self.used.len() == MAX_USED {
            self.used.pop_front();
        }
        self.used.push_back(peer);
    }

    fn finish(&mut self, state: State) {
        self.wipe();
        self.state = state;
    }

    /// Forgets everything of a session but the public keys that were used.
    fn wipe(&mut self) {
        self.round += 1;
        self.pair = None;
        self.key = None;
        self.requested = None;
        self.overdue = false;
        self.refreshing = false;
        self.seen.clear();
        self.told.clear();
        self.unreceipted.clear();
    }

    /// Whether one more handshake is heard.
    fn admit(&mut self, now: u64) -> bool {
        self.heard.retain(|heard| now.saturating_sub(*heard) < WINDOW);
        let admitted = self.heard.len() < MAX_HANDSHAKES;
        if admitted {
            self.heard.push_back(now);
        }
        admitted
    }
}

fn object<const N: usize>(members: [(&str, ejson::Value); N]) -> Zeroizing<String> {
    let members = members.map(|(name, value)| (name.to_owned(), value));
    Zeroizing::new(ejson::Value::Object(members.into_iter().collect()).to_text())
}

fn parse(plaintext: &str) -> Result<ejson::Object, OtrError> {
    match ejson::Value::parse(plaintext) {
        Ok(ejson::Value::Object(payload)) => Ok(payload),
        _ => Err(OtrError::DecryptionFailed),
    }
}

fn member<'a>(payload: &'a ejson::Object, name: &str) -> Option<&'a str> {
    payload.get(name)?.as_str()
}

/// Short, so that many messages take little room.
fn mark(kind: &str, text: &str) -> [u8; 16] {
    let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(text).finalize();
    digest.first_chunk().copied().unwrap_or_default()
}
