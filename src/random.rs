//! Randomness from the operating system, drawn 4 KiB at a time: a call for each nonce would cost
//! as much as encrypting a short message.

use std::cell::RefCell;
use std::convert::Infallible;

use getrandom::SysRng;
use rand_core::{Rng, TryCryptoRng, TryRng, UnwrapErr};
use zeroize::{Zeroize, Zeroizing};

const CAPACITY: usize = 4096;

struct Pool {
    bytes: Zeroizing<Box<[u8]>>,
    used: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool {
        bytes: Zeroizing::new(vec![0; CAPACITY].into_boxed_slice()),
        used: CAPACITY,
    });
}

/// This thread's pool of operating-system randomness. What was given out is wiped.
pub(crate) struct OsRandom;

impl Pool {
    fn take(&mut self, destination: &mut [u8]) {
        if self.bytes.len() - self.used < destination.len() {
            UnwrapErr(SysRng).fill_bytes(&mut self.bytes);
            self.used = 0;
        }
        let end = self.used + destination.len();
        if let Some(source) = self.bytes.get_mut(self.used..end) {
            destination.copy_from_slice(source);
            source.zeroize();
        }
        self.used = end;
    }
}

impl TryRng for OsRandom {
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
        for piece in destination.chunks_mut(CAPACITY) {
            POOL.with_borrow_mut(|pool| pool.take(piece));
        }
        Ok(())
    }
}

impl TryCryptoRng for OsRandom {}
