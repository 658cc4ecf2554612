//! A participant: an account with an identity, kept in step with a workspace.
//!
//! Sans-I/O. The driver brings commands, answers and events ([`Input`]) and the time; it carries
//! out what [`Participant::step`] returns ([`Effect`]). Flows are written as `async fn`s that
//! await answers; see `host.rs`.
//!
//! | file | holds |
//! | --- | --- |
//! | `account` | the user's key pair: found, made, published (protocol §2.3, §10) |
//! | `rooms` | room keys: suggested, accepted, created, reset, waited for (§3) |
//! | `serving` | keys for members who wait (§3.2), and whom to trust with them |
//! | `incoming` | messages that come in: claimed, told, acknowledged |
//! | `messages` | messages out, the outbox |
//! | `quotes` | messages that others refer to |
//! | `budget` | how many messages each key has encrypted |
//! | `settings` | what the workspace has switched on |
//! | `audit` | the audit trail |
//! | `status` | what an operator wants to see |
//! | `archive` | messages of the past, without an account or a server |
//! | `encryption` | encrypted rooms: made, switched on and off, asked about (§2.4) |
//! | `otr` | off-the-record sessions of two |
//! | `store` | sealed records |
//! | `host` | effects, answers, and what runs the flows |

mod account;
mod archive;
mod audit;
mod budget;
mod encryption;
mod host;
mod incoming;
mod messages;
mod otr;
mod quotes;
mod rooms;
mod serving;
mod settings;
mod status;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_core::CryptoRng;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::error::Code;
use crate::identity::Identity;
use crate::vault::Vault;

pub use archive::KeyArchive;
pub use audit::AuditFilter;
pub use encryption::NewRoom;
pub use host::{Change, Claim, Effect, Failure, Input, Outcome, Request, TwoFactor};
pub use messages::{OutgoingMessage, UploadMetadata, UploadedFile, WorkspaceEvent};

use host::{Executor, Host, Result};

/// What can go wrong before a flow begins; flows themselves end with a [`Failure`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParticipantError {
    /// The options have no known form.
    #[error("the options of a participant are missing or of a wrong type")]
    Options,
    /// The inputs have no known form.
    #[error("what was handed to the participant has no known form")]
    Inputs,
    /// Exported keys have no known form.
    #[error("this is not a bundle of keys")]
    Bundle,
    /// Exported keys are sealed with another passphrase.
    #[error("the passphrase does not open this bundle")]
    BundlePassphrase,
}

/// How a participant is set up.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// What the app or bot calls itself, for the audit trail.
    pub app_id: String,
    /// The account's `_id`.
    pub user_id: String,
    /// The account's E2EE password; made and told once where it is absent and needed.
    #[serde(default)]
    pub passphrase: Option<Zeroizing<String>>,
    /// Rooms that are authorised from the start.
    pub rooms: Rooms,
    /// Whether members who wait for a key are served.
    #[serde(default = "yes")]
    pub distribute_keys: bool,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

/// Which rooms are authorised from the start.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Rooms {
    /// These.
    Listed(Vec<String>),
    /// Every encrypted room that the account is in.
    All(All),
}

/// The text `all`, and no other: the id of one room must not be taken for it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum All {
    /// `all`.
    All,
}

fn yes() -> bool {
    true
}

/// What the application can ask for.
#[derive(Deserialize)]
#[serde(tag = "command", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is the method of the same name of the public surface")]
pub enum Command {
    Open,
    Sync,
    Send { room_id: String, message: OutgoingMessage },
    Edit { room_id: String, message_id: String, message: OutgoingMessage },
    Decrypt { messages: Vec<Value> },
    Receive { message: Value, key_id: Option<String> },
    Encrypt { room_id: String, message: OutgoingMessage },
    CreateRoomKey { room_id: String },
    ResetRoomKey { room_id: String },
    RequestRoomKey { room_id: String },
    DistributeRoomKeys { room_id: Option<String> },
    AuthorizeRoom { room_id: String },
    DeauthorizeRoom { room_id: String },
    AuthorizedRooms,
    GetRoomKeyHistory { room_id: String },
    GetEncryptedRoomKey { room_id: String, key_id: Option<String> },
    ChangePassphrase { next: Zeroizing<String> },
    PassphraseTold,
    RotateIdentity,
    ResetIdentity { two_factor: TwoFactor, passphrase: Option<Zeroizing<String>> },
    RevokeIdentity,
    ExportKeys { passphrase: Zeroizing<String> },
    ImportKeys { bundle: String, passphrase: Zeroizing<String> },
    PrepareUpload { room_id: String, file: UploadMetadata },
    ResolveQuotes { document: Value },
    Announce { room_id: String, file: UploadedFile },
    Fingerprint { user_id: Option<String> },
    Pin { user_id: String, fingerprint: String },
    Pins,
    AuditTrail { filter: AuditFilter },
    Status,
    CreateEncryptedRoom { room: NewRoom },
    SetRoomEncryption { room_id: String, encrypted: bool },
    RoomEncryption { room_id: String },
    OtrStart { room_id: String },
    OtrAccept { room_id: String, request: u64 },
    OtrDecline { room_id: String, request: u64 },
    OtrRefresh { room_id: String },
    OtrEnd { room_id: String },
    OtrSend { room_id: String, text: Zeroizing<String> },
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").finish_non_exhaustive()
    }
}

/// What all flows share.
pub(crate) struct Shared {
    host: Host,
    vault: Arc<Vault>,
    options: Options,
    rng: Mutex<Box<dyn CryptoRng + Send>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    account: account::Account,
    rooms: BTreeMap<String, rooms::Room>,
    pins: BTreeMap<String, serving::Pin>,
    versions: store::Versions,
    cursors: rooms::Cursors,
    known: incoming::Known,
    settings: settings::Settings,
    /// By room and key id.
    budgets: BTreeMap<String, budget::Budget>,
    /// Lines of the audit trail that were made, to keep their order.
    audited: u32,
    /// Off-the-record sessions, by room. They are nowhere else.
    otr: BTreeMap<String, crate::otr::Session>,
    /// Rooms that can have none, once that was asked.
    without_otr: BTreeSet<String>,
    /// The server's version, once it was asked for.
    version: Option<(u32, u32)>,
    /// What only one flow may do at a time.
    busy: BTreeSet<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rng(&self) -> MutexGuard<'_, Box<dyn CryptoRng + Send>> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn identity(&self) -> Result<Arc<Identity>> {
        let state = self.state();
        state.account.expect_not_revoked()?;
        state.account.identity().ok_or_else(|| match state.settings.enabled {
            true => Failure::new(
                Code::InvalidArgument,
                "the participant has no identity yet: open it first",
            ),
            false => settings::disabled(),
        })
    }

    /// Runs `work` while no other flow does what has the same name.
    async fn alone<T>(&self, what: String, work: impl Future<Output = T>) -> T {
        self.host.until(|| self.state().busy.insert(what.clone()).then_some(())).await;
        let result = work.await;
        self.state().busy.remove(&what);
        result
    }

    /// As [`Shared::alone`], unless the same is waiting for its turn already: that will do.
    async fn alone_once(&self, what: String, work: impl Future<Output = Result<()>>) -> Result<()> {
        let turn = format!("{what}/turn");
        if !self.state().busy.insert(turn.clone()) {
            return Ok(());
        }
        self.alone(what, async {
            self.state().busy.remove(&turn);
            work.await
        })
        .await
    }
}

/// What an input is, where the rest of it cannot be read. Not an enum with members: those are
/// read whole before their tag is looked at, however deep they nest.
#[derive(Deserialize)]
struct InputHead {
    input: InputKind,
    id: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum InputKind {
    Command,
    Answer,
    Event,
}

fn unknown_form() -> Failure {
    Failure::new(Code::Workspace, "what the server sent is not of the known form")
}

/// A participant of one account. See the module's documentation.
pub struct Participant {
    shared: Arc<Shared>,
    executor: Executor,
}

impl Participant {
    /// A participant that has done nothing yet; [`Command::Open`] comes first.
    pub fn new(vault: Arc<Vault>, options: Options, rng: Box<dyn CryptoRng + Send>) -> Self {
        let executor = Executor::default();
        let shared = Arc::new(Shared {
            host: executor.host.clone(),
            vault,
            options,
            rng: Mutex::new(rng),
            state: Mutex::default(),
        });
        Self { shared, executor }
    }

    /// A participant whose options are JSON text.
    ///
    /// # Errors
    /// A failure with code [`Code::InvalidArgument`].
    pub fn from_options(
        vault: Arc<Vault>,
        options: &str,
        rng: Box<dyn CryptoRng + Send>,
    ) -> std::result::Result<Self, ParticipantError> {
        let options = serde_json::from_str(options).map_err(|_| ParticipantError::Options)?;
        Ok(Self::new(vault, options, rng))
    }

    /// [`Participant::step`] with inputs and effects as JSON text of lists. An input of no known
    /// form fails alone: a command ends with [`Code::InvalidArgument`], the effect whose answer it
    /// was with [`Code::Workspace`], an event is told as an error.
    ///
    /// # Errors
    /// [`ParticipantError::Inputs`]: this is no list of inputs, and none was taken.
    pub fn step_text(
        &mut self,
        now: u64,
        inputs: &str,
    ) -> std::result::Result<String, ParticipantError> {
        let inputs = match crate::ejson::from_str(inputs) {
            Ok(inputs) => inputs,
            Err(_) => self.readable(inputs)?,
        };
        serde_json::to_string(&self.step(now, inputs)).map_err(|_| ParticipantError::Inputs)
    }

    /// The inputs that can be read; the others have failed.
    fn readable(&self, inputs: &str) -> std::result::Result<Vec<Input>, ParticipantError> {
        let texts: Vec<&RawValue> =
            serde_json::from_str(inputs).map_err(|_| ParticipantError::Inputs)?;
        let mut readable = Vec::with_capacity(texts.len());
        for text in texts {
            if let Ok(input) = crate::ejson::from_str(text.get()) {
                readable.push(input);
                continue;
            }
            let InputHead { input, id } =
                serde_json::from_str(text.get()).map_err(|_| ParticipantError::Inputs)?;
            let host = &self.executor.host;
            match (input, id) {
                (InputKind::Command, Some(id)) => host.done(
                    id,
                    Outcome::Error(Failure::new(
                        Code::InvalidArgument,
                        "an argument is missing or of a wrong type",
                    )),
                ),
                (InputKind::Answer, Some(id)) => {
                    readable.push(Input::Answer { id, outcome: Outcome::Error(unknown_form()) });
                }
                (InputKind::Event, _) => {
                    host.emit("error", json!({ "roomId": "", "error": unknown_form() }));
                }
                (_, None) => return Err(ParticipantError::Inputs),
            }
        }
        Ok(readable)
    }

    /// Takes the key pair that [`Effect::GenerateKeyPair`] asks for; its answer comes after it, as
    /// an input like any other. A key pair is no input: those are text on their way here.
    pub fn take_key_pair(&mut self, id: u64, pair: Identity) {
        self.executor.take_key_pair(id, pair);
    }

    /// Takes what came, at `now` milliseconds since 1970, and returns what is to be done.
    pub fn step(&mut self, now: u64, inputs: Vec<Input>) -> Vec<Effect> {
        for input in inputs {
            match input {
                Input::Answer { id, outcome } => self.executor.answer(id, outcome),
                Input::Command { id, command } => {
                    let shared = Arc::clone(&self.shared);
                    self.executor.host.spawn(async move {
                        let outcome = match shared.run(command).await {
                            Ok(value) => Outcome::Ok(value),
                            Err(failure) => Outcome::Error(failure),
                        };
                        shared.host.done(id, outcome);
                    });
                }
                Input::Event { event } => {
                    let shared = Arc::clone(&self.shared);
                    self.executor.host.spawn(async move { shared.handle(event).await });
                }
            }
        }
        self.executor.step(now)
    }
}

impl fmt::Debug for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Participant").finish_non_exhaustive()
    }
}

impl Shared {
    async fn run(self: &Arc<Self>, command: Command) -> Result<Value> {
        match &command {
            // These read the store themselves, or need nothing of it.
            Command::Open
            | Command::Sync
            | Command::Send { .. }
            | Command::Decrypt { .. }
            | Command::PassphraseTold => {}
            Command::Edit { room_id, .. }
            | Command::ResetRoomKey { room_id }
            | Command::Announce { room_id, .. } => self.catch_up(Some(room_id)).await?,
            _ => self.catch_up(None).await?,
        }
        match command {
            Command::Open => self.open().await,
            Command::Sync => self.sync().await,
            Command::Send { room_id, message } => self.send(&room_id, message).await,
            Command::Edit { room_id, message_id, message } => {
                self.edit(&room_id, &message_id, message).await
            }
            Command::Decrypt { messages } => self.decrypt_all(messages).await,
            Command::Receive { message, key_id } => {
                self.receive_brought(message, key_id.as_deref()).await
            }
            Command::Encrypt { room_id, message } => self.encrypt(&room_id, message).await,
            Command::CreateRoomKey { room_id } => self.create_room_key(&room_id).await,
            Command::ResetRoomKey { room_id } => self.reset_room_key(&room_id).await,
            Command::RequestRoomKey { room_id } => self.request_room_key(&room_id).await,
            Command::DistributeRoomKeys { room_id } => self.distribute(room_id.as_deref()).await,
            Command::AuthorizeRoom { room_id } => self.authorize(&room_id).await,
            Command::DeauthorizeRoom { room_id } => {
                self.otr_forget(&room_id).await;
                self.deauthorize(&room_id).await
            }
            Command::AuthorizedRooms => Ok(json!(self.authorized_rooms())),
            Command::GetRoomKeyHistory { room_id } => self.room_key_history(&room_id),
            Command::GetEncryptedRoomKey { room_id, key_id } => {
                self.encrypted_room_key(&room_id, key_id.as_deref())
            }
            Command::ChangePassphrase { next } => self.change_passphrase(&next).await,
            Command::PassphraseTold => self.passphrase_told().await,
            Command::RotateIdentity => self.rotate().await,
            Command::ExportKeys { passphrase } => self.export_keys(&passphrase),
            Command::ImportKeys { bundle, passphrase } => {
                self.import_keys(&bundle, &passphrase).await
            }
            Command::PrepareUpload { room_id, file } => self.prepare_upload(&room_id, &file).await,
            Command::ResolveQuotes { document } => self.resolve_quotes(&document).await,
            Command::Announce { room_id, file } => self.announce(&room_id, file).await,
            Command::ResetIdentity { two_factor, passphrase } => {
                self.reset_identity(two_factor, passphrase).await
            }
            Command::RevokeIdentity => {
                self.otr_forget_all().await;
                self.revoke().await
            }
            Command::Fingerprint { user_id } => self.fingerprint(user_id.as_deref()).await,
            Command::Pin { user_id, fingerprint } => self.pin(&user_id, &fingerprint).await,
            Command::AuditTrail { filter } => self.audit_trail(&filter).await,
            Command::Status => self.status().await,
            Command::CreateEncryptedRoom { room } => self.create_encrypted_room(room).await,
            Command::SetRoomEncryption { room_id, encrypted } => {
                self.set_room_encryption(&room_id, encrypted).await
            }
            Command::RoomEncryption { room_id } => self.room_encryption(&room_id).await,
            Command::OtrStart { room_id } => self.otr_start(&room_id).await,
            Command::OtrAccept { room_id, request } => self.otr_accept(&room_id, request).await,
            Command::OtrDecline { room_id, request } => self.otr_decline(&room_id, request).await,
            Command::OtrRefresh { room_id } => self.otr_refresh(&room_id).await,
            Command::OtrEnd { room_id } => self.otr_end(&room_id).await,
            Command::OtrSend { room_id, text } => self.otr_send(&room_id, &text).await,
            Command::Pins => Ok(self.pins()),
        }
    }
}

/// Server time in a document, in milliseconds since 1970: ISO text over REST, EJSON over DDP.
fn millis_of(value: Option<&Value>) -> Option<u64> {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let value = value?;
    match value.as_str() {
        Some(text) => {
            let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
            u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
        }
        None => value.get("$date")?.as_u64(),
    }
}

/// Server time in a document, as text that compares: ISO over REST, EJSON over DDP.
fn time_of(value: Option<&Value>) -> Option<String> {
    // Anything else would be asked for ever after, and never be a time to the server.
    let millis = millis_of(value)?;
    match value?.as_str() {
        Some(text) => text.ends_with('Z').then(|| text.to_owned()),
        None => Some(serving::iso(millis)),
    }
}
