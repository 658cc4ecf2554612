//! The account's key pair: found, made, published (protocol §2.3, §10).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Shared;
use super::host::{Failure, Result};
use super::store::parse;
use crate::error::Code;
use crate::identity::{Identity, PublicKey, generate_passphrase};

const RECORD: &str = "identity";

/// The account's keys, as far as they are known.
#[derive(Default)]
pub(super) struct Account {
    identity: Option<Arc<Identity>>,
    record: Option<Record>,
    /// The passphrase, where it is known: given with the options, made here, or changed since.
    passphrase: Option<Zeroizing<String>>,
}

/// What is kept of them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Record {
    Held {
        user_id: String,
        private_jwk: Zeroizing<String>,
        /// The envelope for the server.
        envelope: String,
        /// A passphrase that was made here and not yet told to the application.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        untold: Option<Zeroizing<String>>,
    },
    Revoked {
        user_id: String,
    },
}

/// What the server has.
#[derive(Deserialize)]
struct Stored {
    public_key: Option<String>,
    private_key: Option<String>,
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
}

impl Shared {
    /// Reads the store, then settles the account's keys with the server.
    pub(super) async fn open(self: &Arc<Self>) -> Result<Value> {
        self.load_account().await?;
        self.load_rooms().await?;
        self.load_pins().await?;
        self.load_outbox().await?;
        self.settle_identity().await?;
        self.authorize_listed().await?;
        let identity = self.identity()?;
        Ok(json!({ "fingerprint": identity.public_key().fingerprint()?.to_string() }))
    }

    async fn load_account(&self) -> Result<()> {
        let records = self.load::<Record>(RECORD).await?;
        let Some((_, record)) = records.into_iter().find(|(name, _)| name == RECORD) else {
            return Ok(());
        };
        let (Record::Held { user_id, .. } | Record::Revoked { user_id }) = &record;
        if *user_id != self.options.user_id {
            return Err(Failure::new(
                Code::InvalidArgument,
                "the store belongs to another account: use one store for each",
            ));
        }
        let identity = match &record {
            Record::Held { private_jwk, .. } => Some(Identity::from_private_jwk(private_jwk)?),
            Record::Revoked { .. } => None,
        };
        {
            let mut state = self.state();
            state.account.identity = identity.map(Arc::new);
            state.account.record = Some(record);
        }
        self.state().account.expect_not_revoked()
    }

    /// The four cases of protocol §10, and what two replicas that start at once make of them.
    async fn settle_identity(&self) -> Result<()> {
        // A failed fetch ends here: making keys then would orphan the real ones.
        let stored = self.stored_keys().await?;
        let held = self.state().account.identity();
        match (stored, held) {
            (Some((public, _)), Some(held)) if same_key(&public, &held) => {
                self.tell_passphrase();
                Ok(())
            }
            (Some((_, private)), _) => self.adopt(&private).await,
            (None, Some(_)) => self.publish(false).await,
            (None, None) => {
                self.make_identity().await?;
                self.publish(true).await
            }
        }
    }

    async fn stored_keys(&self) -> Result<Option<(String, String)>> {
        let stored: Stored = parse(self.host.get("e2e.fetchMyKeys", json!({})).await?)?;
        Ok(stored.public_key.zip(stored.private_key))
    }

    /// Takes the server's key pair, which the passphrase must open.
    async fn adopt(&self, private_key: &str) -> Result<()> {
        let passphrase = self.passphrase()?;
        let identity = Identity::unlock(private_key, &passphrase, &self.options.user_id)?;
        self.keep(identity, private_key.to_owned(), None).await
    }

    fn passphrase(&self) -> Result<Zeroizing<String>> {
        self.known_passphrase().ok_or_else(|| {
            Failure::new(
                Code::WrongPassphrase,
                "the account has an identity already, and its passphrase was not given",
            )
        })
    }

    fn known_passphrase(&self) -> Option<Zeroizing<String>> {
        self.state().account.passphrase.clone().or_else(|| self.options.passphrase.clone())
    }

    /// Makes a key pair, sealed with the known passphrase, or with a new one that is then told.
    async fn make_identity(&self) -> Result<()> {
        let known = self.known_passphrase();
        let (identity, envelope, untold) = {
            let mut rng = self.rng();
            let identity = Identity::generate(&mut **rng)?;
            let untold = known.is_none().then(|| generate_passphrase(&mut **rng));
            let passphrase =
                untold.as_ref().or(known.as_ref()).map(|passphrase| passphrase.as_str());
            let user = &self.options.user_id;
            let envelope = identity.lock(&mut **rng, passphrase.unwrap_or_default(), user)?;
            (identity, envelope, untold)
        };
        // Kept before it is published: a key pair that only the server has would be lost.
        self.keep(identity, envelope, untold).await
    }

    /// Publishes the key pair that is held, then takes what the server has: another replica may
    /// have been first.
    async fn publish(&self, created: bool) -> Result<()> {
        let held = self.offer(false).await?;
        let Some(held) = held else { return Ok(()) };
        if created {
            let fingerprint = held.public_key().fingerprint()?.to_string();
            self.host.emit("identityCreated", json!({ "fingerprint": fingerprint }));
            self.audit("identityCreated", json!({ "fingerprint": fingerprint })).await?;
        }
        self.tell_passphrase();
        Ok(())
    }

    /// Offers the held key pair to the server; `None` where the server has another one now, which
    /// was adopted.
    async fn offer(&self, force: bool) -> Result<Option<Arc<Identity>>> {
        let held = self.identity()?;
        let envelope = match &self.state().account.record {
            Some(Record::Held { envelope, .. }) => envelope.clone(),
            _ => return Err(Failure::new(Code::Internal, "there is nothing to publish")),
        };
        let mut body = json!({ "public_key": held.public_key().to_jwk(), "private_key": envelope });
        if let (true, Some(members)) = (force, body.as_object_mut()) {
            members.insert("force".to_owned(), json!(true));
        }
        match self.host.post("e2e.setUserPublicAndPrivateKeys", body).await {
            Err(failure) if !failure.is_workspace("error-keys-already-set") => return Err(failure),
            _ => {}
        }
        let Some((public, private)) = self.stored_keys().await? else {
            return Err(Failure::new(Code::Workspace, "the server did not keep the key pair"));
        };
        if same_key(&public, &held) {
            return Ok(Some(held));
        }
        self.adopt(&private).await?;
        Ok(None)
    }

    /// Makes a new key pair in place of the present one. Room keys that are held stay readable,
    /// and are wrapped anew for it; the others are asked for again. Old keys that only the server
    /// has, wrapped for the present pair, cannot be opened any more.
    pub(super) async fn rotate(self: &Arc<Self>) -> Result<Value> {
        self.identity()?;
        self.make_identity().await?;
        let Some(held) = self.offer(true).await? else {
            return Err(Failure::new(Code::Workspace, "another replica changed the key pair"));
        };
        let fingerprint = held.public_key().fingerprint()?.to_string();
        self.host.emit("identityRotated", json!({ "fingerprint": fingerprint }));
        self.audit("identityRotated", json!({ "fingerprint": fingerprint })).await?;
        self.tell_passphrase();
        self.rewrap_rooms().await;
        Ok(Value::Null)
    }

    /// Tells a passphrase that was made here, at each start until it was heard.
    fn tell_passphrase(&self) {
        if let Some(Record::Held { untold: Some(passphrase), .. }) = &self.state().account.record {
            self.host.emit("passphrase", json!({ "passphrase": passphrase.as_str() }));
        }
    }

    /// The application has heard the passphrase: it is not kept any longer.
    pub(super) async fn passphrase_told(&self) -> Result<Value> {
        if let Some(Record::Held { untold, .. }) = &mut self.state().account.record {
            *untold = None;
        }
        self.save_account().await?;
        Ok(Value::Null)
    }

    async fn keep(
        &self,
        identity: Identity,
        envelope: String,
        untold: Option<Zeroizing<String>>,
    ) -> Result<()> {
        let record = Record::Held {
            user_id: self.options.user_id.clone(),
            private_jwk: identity.to_private_jwk()?,
            envelope,
            untold: untold.clone(),
        };
        {
            let mut state = self.state();
            let known = state.account.passphrase.take();
            state.account.passphrase = untold.or(known);
            state.account.identity = Some(Arc::new(identity));
            state.account.record = Some(record);
        }
        self.save_account().await
    }

    async fn save_account(&self) -> Result<()> {
        let Some(record) = self.state().account.record.clone() else { return Ok(()) };
        // A revocation by another process stays; otherwise the last to settle is right, since it
        // has just seen what the server has.
        self.write(RECORD, record, |theirs, ours| match theirs {
            Record::Revoked { .. } => theirs,
            Record::Held { .. } => ours,
        })
        .await
        .map(drop)
    }

    /// Seals the same key pair with another passphrase, here and with the server.
    pub(super) async fn change_passphrase(&self, next: &str) -> Result<Value> {
        let identity = self.identity()?;
        let envelope = identity.lock(&mut **self.rng(), next, &self.options.user_id)?;
        let body = json!({
            "public_key": identity.public_key().to_jwk(), "private_key": envelope, "force": true,
        });
        self.host.post("e2e.setUserPublicAndPrivateKeys", body).await?;
        let record = Record::Held {
            user_id: self.options.user_id.clone(),
            private_jwk: identity.to_private_jwk()?,
            envelope,
            untold: None,
        };
        {
            let mut state = self.state();
            state.account.record = Some(record);
            state.account.passphrase = Some(Zeroizing::new(next.to_owned()));
        }
        self.save_account().await?;
        self.audit("passphraseChanged", json!({})).await?;
        Ok(Value::Null)
    }

    /// Forgets the private key for good. Nothing is published any more.
    pub(super) async fn revoke(&self) -> Result<Value> {
        self.identity()?;
        self.state().account = Account {
            identity: None,
            record: Some(Record::Revoked { user_id: self.options.user_id.clone() }),
            passphrase: None,
        };
        self.save_account().await?;
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
