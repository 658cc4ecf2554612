//! `participant` of the core.

use std::sync::Arc;

use rocketchat_e2ee::participant::Participant as Core;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::Failure;
use crate::identity::Identity;
use crate::random::HostRandom;
use crate::vault::Vault;

/// A participant's decisions; the driver in `lib/participant.ts` carries them out.
#[wasm_bindgen]
pub struct Participant {
    core: Core,
}

#[wasm_bindgen]
impl Participant {
    /// Takes JSON text of the options.
    #[wasm_bindgen(constructor)]
    pub fn new(vault: &Vault, options: &str) -> Result<Self, Failure> {
        let core = Core::from_options(Arc::clone(&vault.core), options, Box::new(HostRandom))?;
        Ok(Self { core })
    }

    /// Takes a key pair that was asked for.
    #[wasm_bindgen(js_name = takeKeyPair)]
    pub fn take_key_pair(&mut self, id: f64, pair: Identity) {
        self.core.take_key_pair(id as u64, pair.core);
    }

    /// JSON text of a list of inputs, at `now` milliseconds since 1970, in; JSON text of a list of
    /// effects out.
    pub fn step(&mut self, now: f64, inputs: &str) -> Result<String, Failure> {
        Ok(self.core.step_text(now as u64, inputs)?)
    }
}
