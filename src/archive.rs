//! The key archive of the core's `participant`.

use std::sync::Arc;

use napi::JsString;
use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use rocketchat_e2ee::participant::KeyArchive as Core;
use zeroize::Zeroizing;

use crate::error::{Failure, guard};
use crate::job::{Job, TextJob, spawn, spawn_text};
use crate::text;
use crate::vault::Vault;

/// Room keys for messages of the past.
#[napi]
pub struct KeyArchive {
    core: Arc<Core>,
}

impl From<Core> for KeyArchive {
    fn from(core: Core) -> Self {
        Self { core: Arc::new(core) }
    }
}

#[napi]
impl KeyArchive {
    /// The keys of an exported bundle.
    #[napi(ts_return_type = "Promise<KeyArchive>")]
    pub fn from_bundle(bundle: String, passphrase: String) -> AsyncTask<Job<KeyArchive>> {
        let passphrase = Zeroizing::new(passphrase);
        spawn(move || Ok(Core::from_bundle(&bundle, &passphrase)?.into()))
    }

    /// The keys in a store's records, JSON text.
    #[napi(ts_return_type = "Promise<KeyArchive>")]
    pub fn from_records(vault: &Vault, records: String) -> AsyncTask<Job<KeyArchive>> {
        let vault = Arc::clone(&vault.core);
        spawn(move || Ok(Core::from_records(&vault, &records)?.into()))
    }

    /// JSON text of `{account, rooms}`.
    #[napi(getter)]
    pub fn description(&self) -> Result<String, Failure> {
        guard(|| Ok(self.core.describe()))
    }

    /// JSON text of a list of messages in, of a list of outcomes out.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn decrypt(
        &self,
        messages: JsString<'_>,
        room_id: Option<String>,
    ) -> napi::Result<AsyncTask<TextJob>> {
        let core = Arc::clone(&self.core);
        let messages = text::read(messages)?;
        Ok(spawn_text(move || core.decrypt_text(&messages, room_id.as_deref())))
    }
}
