//! The account's key pair: found, made, published (protocol §2.3, §10).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Shared;
use super::host::{Failure, Result, TwoFactor};
use super::store::parse;
use crate::error::Code;
use crate::identity::{Identity, IdentityError, PublicKey, generate_passphrase};
use crate::room_key::RoomKey;

pub(super) const RECORD: &str = "identity";
/// What only one flow may do at a time: find out, or change, which pair the server has.
const SETTLING: &str = "identity";

/// How long the server's answer about the account's key pair is relied on, in milliseconds.
const SETTLED_FOR: u64 = 60_000;

/// The account's keys, as far as they are known.
#[derive(Default)]
pub(super) struct Account {
    identity: Option<Arc<Identity>>,
    /// The other pairs that are kept: what was wrapped for them still opens.
    others: Vec<Arc<Identity>>,
    record: Option<Record>,
    /// The passphrase, where it is known: given with the options, made here, or changed since.
    passphrase: Option<Zeroizing<String>>,
    /// When the server was last asked which pair it has, in milliseconds since 1970.
    settled: Option<u64>,
}

/// What is kept of them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Record {
    Held(Keys),
    Revoked { user_id: String },
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Keys {
    user_id: String,
    /// The pair that the server has, as far as is known.
    present: Pair,
    /// Pairs of before, and those that were offered to the server without an answer. None is
    /// thrown away: the server may have wrapped keys for any of them, or publish it late.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Pair>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pair {
    private_jwk: Zeroizing<String>,
    /// The envelope for the server.
    envelope: String,
    /// A passphrase that was made here and not yet told to the application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    untold: Option<Zeroizing<String>>,
}

impl Record {
    /// Whose it is, without its secrets.
    pub(super) fn describe(&self) -> std::result::Result<Value, IdentityError> {
        Ok(match self {
            Self::Held(Keys { user_id, present, .. }) => {
                let identity = Identity::from_private_jwk(&present.private_jwk)?;
                let fingerprint = identity.public_key().fingerprint()?.to_string();
                json!({ "userId": user_id, "fingerprint": fingerprint })
            }
            Self::Revoked { user_id } => json!({ "userId": user_id, "fingerprint": null }),
        })
    }
}

/// What the server has.
#[derive(Deserialize)]
struct Stored {
    public_key: Option<String>,
    private_key: Option<String>,
}

/// A room key that was unwrapped.
pub(super) struct Unwrapped {
    pub(super) key: RoomKey,
    /// Whether it was wrapped for the present pair rather than for another one that is kept.
    pub(super) by_present: bool,
}

impl Pair {
    fn new(
        identity: &Identity,
        envelope: String,
        untold: Option<Zeroizing<String>>,
    ) -> Result<Self> {
        Ok(Self { private_jwk: identity.to_private_jwk()?, envelope, untold })
    }

    fn identity(&self) -> Result<Arc<Identity>> {
        Ok(Arc::new(Identity::from_private_jwk(&self.private_jwk)?))
    }
}

impl Keys {
    /// Keeps a pair beside the present one.
    fn keep(&mut self, pair: Pair) {
        let known = |known: &Pair| known.private_jwk == pair.private_jwk;
        if !known(&self.present) && !self.others.iter().any(known) {
            self.others.push(pair);
        }
    }

    /// Makes a pair the present one, and keeps the one before.
    fn turn_to(&mut self, pair: Pair) {
        self.others.retain(|other| other.private_jwk != pair.private_jwk);
        let before = std::mem::replace(&mut self.present, pair);
        self.keep(before);
    }

    /// What two processes kept: ours is the present pair, since it has just been seen.
    fn merge(mut self, theirs: Self) -> Self {
        for pair in theirs.others.into_iter().chain([theirs.present]) {
            self.keep(pair);
        }
        self
    }
}

impl Account {
    pub(super) fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.clone()
    }

    pub(super) fn expect_not_revoked(&self) -> Result<()> {
        match self.record {
            Some(Record::Revoked { .. }) => {
                Err(Failure::new(Code::IdentityRevoked, "the identity was revoked"))
            }
            _ => Ok(()),
        }
    }

    /// When the server last told its pair, in milliseconds since 1970.
    pub(super) fn settled(&self) -> Option<u64> {
        self.settled
    }

    fn keys(&self) -> Option<&Keys> {
        match &self.record {
            Some(Record::Held(keys)) => Some(keys),
            _ => None,
        }
    }

    fn take(&mut self, record: Record) -> Result<()> {
        (self.identity, self.others) = match &record {
            Record::Held(keys) => (
                Some(keys.present.identity()?),
                keys.others.iter().map(Pair::identity).collect::<Result<_>>()?,
            ),
            Record::Revoked { .. } => (None, Vec::new()),
        };
        if let Record::Held(Keys { present: Pair { untold: Some(untold), .. }, .. }) = &record {
            self.passphrase = Some(untold.clone());
        }
        self.record = Some(record);
        Ok(())
    }

    /// The kept pair of a public key.
    fn pair_of(&self, public_key: &str) -> Option<Pair> {
        let keys = self.keys()?;
        let pairs = keys.others.iter().zip(&self.others);
        pairs.into_iter().find(|(_, id)| same_key(public_key, id)).map(|(pair, _)| pair.clone())
    }
}

impl Shared {
    async fn read_store(self: &Arc<Self>) -> Result<()> {
        self.load_account().await?;
        self.load_rooms().await?;
        self.load_pins().await?;
        self.load_budgets().await?;
        self.load_outbox().await?;
        self.check_settings().await;
        Ok(())
    }

    /// Reads the store, then settles the account's keys with the server.
    pub(super) async fn open(self: &Arc<Self>) -> Result<Value> {
        self.read_store().await?;
        self.alone(SETTLING.to_owned(), self.settle_identity()).await?;
        self.authorize_listed().await?;
        match self.identity() {
            Ok(identity) => {
                let fingerprint = identity.public_key().fingerprint()?.to_string();
                Ok(json!({ "fingerprint": fingerprint }))
            }
            // Keys are made when the workspace wants them.
            Err(failure) if failure.is(Code::Disabled) => Ok(Value::Null),
            Err(failure) => Err(failure),
        }
    }

    async fn load_account(&self) -> Result<()> {
        let records = self.load::<Record>(RECORD).await?;
        let Some((_, record)) = records.into_iter().find(|(name, _)| name == RECORD) else {
            return Ok(());
        };
        let (Record::Held(Keys { user_id, .. }) | Record::Revoked { user_id }) = &record;
        if *user_id != self.options.user_id {
            return Err(Failure::new(
                Code::InvalidArgument,
                "the store belongs to another account: use one store for each",
            ));
        }
        let mut state = self.state();
        state.account.take(record)?;
        state.account.expect_not_revoked()
    }

    /// Takes what another process on the same store has made of the account.
    pub(super) async fn catch_up_account(self: &Arc<Self>) -> Result<()> {
        let records = self.load_newer::<Record>(RECORD).await?;
        if let Some((_, record)) = records.into_iter().find(|(name, _)| name == RECORD) {
            self.take_account(record)?;
        }
        self.state().account.expect_not_revoked()
    }

    fn take_account(&self, record: Record) -> Result<()> {
        let revoked = matches!(record, Record::Revoked { .. });
        {
            let account = &mut self.state().account;
            if revoked && account.expect_not_revoked().is_ok() {
                self.host.emit("identityRevoked", json!({}));
            }
            account.take(record)?;
        }
        // The wrapped keys that were tried may open now.
        self.forget_opened();
        Ok(())
    }

    /// The four cases of protocol §10, and what two replicas that start at once make of them.
    async fn settle_identity(self: &Arc<Self>) -> Result<()> {
        // A failed fetch ends here: making keys then would orphan the real ones.
        let stored = self.stored_keys().await?;
        let held = self.state().account.identity();
        match (stored, held) {
            // Nothing is made nor published before it is on again.
            (None, _) if !self.enabled() => return Ok(()),
            (Some((public, _)), Some(held)) if same_key(&public, &held) => self.tell_passphrase(),
            (Some((public, private)), held) => {
                let known = self.state().account.pair_of(&public);
                match known {
                    Some(pair) => self.turn_to(pair).await?,
                    None => self.adopt(&private).await?,
                }
                if held.is_some() {
                    self.tell_rotated().await?;
                }
            }
            (None, Some(_)) => self.publish(false).await?,
            (None, None) => {
                let pair = self.new_pair().await?;
                // Another process on the same store may have made one meanwhile.
                let created = self.state().account.identity().is_none();
                if created {
                    // Kept before it is published: one that only the server has would be lost.
                    self.turn_to(pair).await?;
                }
                self.publish(created).await?;
            }
        }
        let now = self.host.now();
        self.state().account.settled = Some(now);
        Ok(())
    }

    /// Asks the server which pair it has, where that was not done for a while: another replica may
    /// have made a new one. Returns whether the present pair is known to be the server's.
    pub(super) async fn check_identity(self: &Arc<Self>) -> Result<bool> {
        let now = self.host.now();
        {
            let mut state = self.state();
            if state.account.settled.is_some_and(|at| now.saturating_sub(at) < SETTLED_FOR) {
                return Ok(true);
            }
            // Not in turn: who is at it may wait for this room.
            if !state.busy.insert(SETTLING.to_owned()) {
                return Ok(false);
            }
        }
        let settled = self.settle_identity().await;
        self.state().busy.remove(SETTLING);
        settled.map(|()| true)
    }

    /// Asks where an attempt to change the pair was left without an answer.
    pub(super) async fn check_unsettled(self: &Arc<Self>) -> Result<()> {
        let settled = self.state().account.settled;
        match settled {
            Some(_) => Ok(()),
            None => self.check_identity().await.map(drop),
        }
    }

    async fn stored_keys(&self) -> Result<Option<(String, String)>> {
        let stored: Stored = parse(self.host.get("e2e.fetchMyKeys", json!({})).await?)?;
        Ok(stored.public_key.zip(stored.private_key))
    }

    /// Takes the server's key pair, which the passphrase must open.
    async fn adopt(&self, private_key: &str) -> Result<()> {
        let passphrase = self.known_passphrase().ok_or_else(|| {
            Failure::new(
                Code::WrongPassphrase,
                "the account has an identity already, and its passphrase was not given",
            )
        })?;
        let identity = Identity::unlock(private_key, &passphrase, &self.options.user_id)?;
        self.turn_to(Pair::new(&identity, private_key.to_owned(), None)?).await
    }

    fn known_passphrase(&self) -> Option<Zeroizing<String>> {
        self.state().account.passphrase.clone().or_else(|| self.options.passphrase.clone())
    }

    /// A key pair, sealed with the known passphrase, or with a new one that is then told.
    async fn new_pair(&self) -> Result<Pair> {
        self.new_pair_under(self.known_passphrase()).await
    }

    async fn new_pair_under(&self, known: Option<Zeroizing<String>>) -> Result<Pair> {
        let identity = self.host.generate_key_pair().await?;
        self.state().account.expect_not_revoked()?;
        let mut rng = self.rng();
        let untold = known.is_none().then(|| generate_passphrase(&mut **rng));
        let passphrase = untold.as_ref().or(known.as_ref()).map(|passphrase| passphrase.as_str());
        let user = &self.options.user_id;
        let envelope = identity.lock(&mut **rng, passphrase.unwrap_or_default(), user)?;
        Pair::new(&identity, envelope, untold)
    }

    /// Publishes the key pair that is held, then takes what the server has: another replica may
    /// have been first.
    async fn publish(&self, created: bool) -> Result<()> {
        let held = self.identity()?;
        let pair = self.state().account.keys().map(|keys| keys.present.clone());
        let pair =
            pair.ok_or_else(|| Failure::new(Code::Internal, "there is nothing to publish"))?;
        match self.offer(&pair, false).await {
            Err(failure) if !failure.is_workspace("error-keys-already-set") => return Err(failure),
            _ => {}
        }
        let Some((public, private)) = self.stored_keys().await? else {
            return Err(Failure::new(Code::Workspace, "the server did not keep the key pair"));
        };
        if !same_key(&public, &held) {
            return self.adopt(&private).await;
        }
        if created {
            let fingerprint = held.public_key().fingerprint()?.to_string();
            self.host.emit("identityCreated", json!({ "fingerprint": fingerprint }));
            self.audit("identityCreated", json!({ "fingerprint": fingerprint })).await?;
        }
        self.tell_passphrase();
        Ok(())
    }

    async fn offer(&self, pair: &Pair, force: bool) -> Result<()> {
        let public_key = pair.identity()?.public_key().to_jwk();
        let mut body = json!({ "public_key": public_key, "private_key": pair.envelope });
        if let (true, Some(members)) = (force, body.as_object_mut()) {
            members.insert("force".to_owned(), json!(true));
        }
        self.host.post("e2e.setUserPublicAndPrivateKeys", body).await.map(drop)
    }

    /// Makes a new key pair in place of the present one. What only the server has, wrapped for the
    /// present pair, is read before, in every authorised room; room keys that are held are wrapped
    /// anew. The pair before stays in the store, for what other rooms still have for it.
    pub(super) async fn rotate(self: &Arc<Self>) -> Result<Value> {
        self.identity()?;
        self.alone(SETTLING.to_owned(), self.rotate_alone()).await?;
        self.settle_rooms().await;
        Ok(Value::Null)
    }

    async fn rotate_alone(self: &Arc<Self>) -> Result<()> {
        // Another replica may have changed the pair, or the passphrase: sealed with an old one,
        // the new pair would be closed to whoever knows the right one.
        self.settle_identity().await?;
        if let (Some(passphrase), Some((_, private))) =
            (self.known_passphrase(), self.stored_keys().await?)
        {
            Identity::unlock(&private, &passphrase, &self.options.user_id)?;
        }
        self.read_rooms().await?;
        let next = self.new_pair().await?;
        let public_key = next.identity()?.public_key().to_jwk();
        // Kept before it is offered: whichever pair the server has then, this store has it too.
        self.change_keys(|keys| keys.keep(next.clone())).await?;
        self.state().account.settled = None;
        let answered = self.offer(&next, true).await;
        // The answer may be lost, and the server have the new pair all the same.
        self.settle_identity().await?;
        if self.identity()?.public_key().to_jwk() == public_key {
            return Ok(());
        }
        answered.and(Err(Failure::new(Code::Workspace, "another replica changed the key pair")))
    }

    /// Gives up the account's key pair with the server, and makes another: for an account whose
    /// passphrase is lost. Comes in place of [`Shared::open`] where that fails.
    ///
    /// The server logs the account out everywhere, and forgets the room keys that it had for it.
    /// Those that are held here stay; for the others the account waits in the rooms' queues.
    pub(super) async fn reset_identity(
        self: &Arc<Self>,
        two_factor: TwoFactor,
        passphrase: Option<Zeroizing<String>>,
    ) -> Result<Value> {
        let open = self.state().account.identity().is_some();
        if !open {
            self.read_store().await?;
        }
        self.state().account.expect_not_revoked()?;
        self.alone(SETTLING.to_owned(), self.reset_identity_alone(two_factor, passphrase)).await?;
        self.forget_opened();
        if !open {
            self.authorize_listed().await?;
        }
        self.settle_rooms().await;
        Ok(Value::Null)
    }

    async fn reset_identity_alone(
        self: &Arc<Self>,
        two_factor: TwoFactor,
        passphrase: Option<Zeroizing<String>>,
    ) -> Result<()> {
        // Made first, so that a passphrase that cannot be used is told before anything is lost.
        let next = self.new_pair_under(passphrase.clone()).await?;
        if let Err(failure) = self.host.post_with("users.resetE2EKey", json!({}), two_factor).await
            // The answer may be lost, and the keys be gone all the same.
            && self.stored_keys().await?.is_some()
        {
            return Err(failure);
        }
        self.state().account.passphrase = passphrase;
        self.turn_to(next.clone()).await?;
        self.state().account.settled = None;
        // Forced: another replica may have put the pair of before back.
        let answered = self.offer(&next, true).await;
        let held = next.identity()?;
        if !self.stored_keys().await?.is_some_and(|(public, _)| same_key(&public, &held)) {
            return answered
                .and(Err(Failure::new(Code::Workspace, "the server did not keep the key pair")));
        }
        let now = self.host.now();
        self.state().account.settled = Some(now);
        let fingerprint = held.public_key().fingerprint()?.to_string();
        self.host.emit("identityCreated", json!({ "fingerprint": fingerprint }));
        self.audit("identityReset", json!({ "fingerprint": fingerprint })).await?;
        self.tell_passphrase();
        Ok(())
    }

    /// The account has another pair from now on. What the server has is wrapped for the one before.
    async fn tell_rotated(self: &Arc<Self>) -> Result<()> {
        let fingerprint = self.identity()?.public_key().fingerprint()?.to_string();
        self.host.emit("identityRotated", json!({ "fingerprint": fingerprint }));
        self.audit("identityRotated", json!({ "fingerprint": fingerprint })).await?;
        self.tell_passphrase();
        self.forget_opened();
        self.host.spawn(Arc::clone(self).settle_rooms_later());
        Ok(())
    }

    /// Opens a wrapped room key with the present pair, or with another one that is kept.
    pub(super) fn unwrap(&self, wrapped: &str) -> Result<Unwrapped> {
        let present = self.identity()?;
        let others = self.state().account.others.clone();
        let mut rng = self.rng();
        let failure = match present.unwrap_room_key(&mut **rng, wrapped) {
            Ok(key) => return Ok(Unwrapped { key, by_present: true }),
            Err(error) => error.into(),
        };
        let mut keys = others.iter().rev().map(|other| other.unwrap_room_key(&mut **rng, wrapped));
        match keys.find_map(std::result::Result::ok) {
            Some(key) => Ok(Unwrapped { key, by_present: false }),
            None => Err(failure),
        }
    }

    /// Tells a passphrase that was made here, at each start until it was heard.
    fn tell_passphrase(&self) {
        let untold = self.state().account.keys().and_then(|keys| keys.present.untold.clone());
        if let Some(passphrase) = untold {
            self.host.emit("passphrase", json!({ "passphrase": passphrase.as_str() }));
        }
    }

    /// The application has heard the passphrase: it is not kept any longer.
    pub(super) async fn passphrase_told(&self) -> Result<Value> {
        self.change_keys(|keys| keys.present.untold = None).await?;
        Ok(Value::Null)
    }

    async fn turn_to(&self, pair: Pair) -> Result<()> {
        let keys = {
            let state = self.state();
            state.account.expect_not_revoked()?;
            state.account.keys().cloned()
        };
        let keys = match keys {
            Some(mut keys) => {
                keys.turn_to(pair);
                keys
            }
            None => {
                let user_id = self.options.user_id.clone();
                Keys { user_id, present: pair, others: Vec::new() }
            }
        };
        self.save_account(Record::Held(keys)).await
    }

    async fn change_keys(&self, change: impl FnOnce(&mut Keys)) -> Result<()> {
        let Some(mut keys) = self.state().account.keys().cloned() else { return Ok(()) };
        change(&mut keys);
        self.save_account(Record::Held(keys)).await
    }

    /// Writes what is kept of the account, and goes on with what another process wrote as well.
    async fn save_account(&self, record: Record) -> Result<()> {
        // A revocation by another process stays; otherwise the last to settle is right, since it
        // has just seen what the server has.
        let merged = self
            .write(RECORD, record, |theirs, ours| match (theirs, ours) {
                (Record::Held(theirs), Record::Held(ours)) => Record::Held(ours.merge(theirs)),
                (theirs @ Record::Revoked { .. }, _) => theirs,
                (_, ours) => ours,
            })
            .await?;
        let mut state = self.state();
        if let Record::Held(_) = merged {
            // Revoked by another flow meanwhile: what it writes comes after this.
            state.account.expect_not_revoked()?;
        }
        state.account.take(merged)
    }

    /// Seals the same key pair with another passphrase, here and with the server.
    pub(super) async fn change_passphrase(self: &Arc<Self>, next: &str) -> Result<Value> {
        self.identity()?;
        self.alone(SETTLING.to_owned(), self.change_passphrase_alone(next)).await?;
        self.audit("passphraseChanged", json!({})).await?;
        Ok(Value::Null)
    }

    async fn change_passphrase_alone(self: &Arc<Self>, next: &str) -> Result<()> {
        // Forced, a pair of before would be put in place of one that another replica has made.
        self.settle_identity().await?;
        let identity = self.identity()?;
        let envelope = identity.lock(&mut **self.rng(), next, &self.options.user_id)?;
        let pair = Pair::new(&identity, envelope, None)?;
        if let Err(failure) = self.offer(&pair, true).await {
            // The answer may be lost, and the passphrase be changed all the same.
            let stored = self.stored_keys().await?;
            if stored.is_none_or(|(_, private)| private != pair.envelope) {
                return Err(failure);
            }
        }
        self.state().account.passphrase = Some(Zeroizing::new(next.to_owned()));
        self.change_keys(|keys| keys.present = pair).await
    }

    /// Forgets the private key for good. Nothing is published any more.
    pub(super) async fn revoke(&self) -> Result<Value> {
        self.identity()?;
        let record = Record::Revoked { user_id: self.options.user_id.clone() };
        self.state().account = Account { record: Some(record.clone()), ..Account::default() };
        self.save_account(record).await?;
        self.audit("identityRevoked", json!({})).await?;
        self.host.emit("identityRevoked", json!({}));
        Ok(Value::Null)
    }

    /// The fingerprint of a user's public key, or of this account's own.
    pub(super) async fn fingerprint(&self, user_id: Option<&str>) -> Result<Value> {
        let identity = self.identity()?;
        match user_id {
            Some(user) if user != self.options.user_id => Ok(self.pinned_fingerprint(user)),
            _ => Ok(json!(identity.public_key().fingerprint()?.to_string())),
        }
    }
}

fn same_key(jwk: &str, identity: &Identity) -> bool {
    PublicKey::from_jwk(jwk).is_ok_and(|key| key.to_jwk() == identity.public_key().to_jwk())
}
