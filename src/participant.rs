//! `participant` of the core.

use std::sync::{Arc, Mutex, PoisonError};

use napi::JsString;
use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;
use rocketchat_e2ee::Identity;
use rocketchat_e2ee::participant::Participant as Core;

use crate::error::{Failure, guard};
use crate::job::{Job, TextJob, spawn, spawn_text};
use crate::random::OsRandom;
use crate::text;
use crate::vault::Vault;

/// A participant's decisions; the driver in `lib/participant.ts` carries them out.
#[napi]
pub struct Participant {
    core: Arc<Mutex<Core>>,
}

#[napi]
impl Participant {
    /// Takes JSON text of the options.
    #[napi(constructor)]
    pub fn new(vault: &Vault, options: String) -> Result<Self, Failure> {
        guard(|| {
            let core = Core::from_options(Arc::clone(&vault.core), &options, Box::new(OsRandom))?;
            Ok(Self { core: Arc::new(Mutex::new(core)) })
        })
    }

    /// Makes the key pair that was asked for, and takes it.
    #[napi(ts_return_type = "Promise<undefined>")]
    pub fn generate_key_pair(&self, id: f64) -> AsyncTask<Job<()>> {
        let core = Arc::clone(&self.core);
        spawn(move || {
            let pair = Identity::generate(&mut OsRandom)?;
            core.lock().unwrap_or_else(PoisonError::into_inner).take_key_pair(id as u64, pair);
            Ok(())
        })
    }

    /// JSON text of a list of inputs, at `now` milliseconds since 1970, in; JSON text of a list of
    /// effects out.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn step(&self, now: f64, inputs: JsString<'_>) -> napi::Result<AsyncTask<TextJob>> {
        let core = Arc::clone(&self.core);
        let inputs = text::read(inputs)?;
        Ok(spawn_text(move || {
            let mut core = core.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(core.step_text(now as u64, &inputs)?)
        }))
    }
}
