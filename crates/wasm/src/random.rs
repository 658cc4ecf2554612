//! Randomness from the host's Web Crypto: `lib/wasm.ts` puts its `crypto` into the scope of the
//! glue, since the Apps-Engine hides `globalThis`, where others look for it.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    // What it throws passes through Rust to the caller, like a trap: nothing goes on without
    // randomness.
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(destination: &mut [u8]);
}

/// As much as `getRandomValues` gives at once.
const LIMIT: usize = 65_536;

/// The host's randomness.
pub(crate) struct HostRandom;

impl TryRng for HostRandom {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Infallible> {
        for piece in destination.chunks_mut(LIMIT) {
            get_random_values(piece);
        }
        Ok(())
    }
}

impl TryCryptoRng for HostRandom {}
