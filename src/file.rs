//! `file` of the core.

use std::sync::{Arc, Mutex, PoisonError};

use napi::bindgen_prelude::{AsyncTask, Buffer, BufferSlice};
use napi_derive::napi;
use rocketchat_e2ee::file::{self, FileError};
use rocketchat_e2ee::{
    Error, FileDecryptor as Decryptor, FileEncryption, FileEncryptor as Encryptor,
};

use crate::error::{Failure, guard};
use crate::job::{Job, spawn};
use crate::random::OsRandom;

/// A cipher that works on one file and is gone when the file ends.
struct Running<C>(Arc<Mutex<Option<C>>>);

impl<C: Send + 'static> Running<C> {
    fn new(cipher: C) -> Self {
        Self(Arc::new(Mutex::new(Some(cipher))))
    }

    /// In place and at once: for pieces that take less time than a hop to another thread.
    fn update(&self, piece: &mut [u8], work: fn(&mut C, &mut [u8])) -> Result<(), Failure> {
        guard(|| with(&self.0, |cipher| work(cipher, piece)))
    }

    /// In place and off the event loop. JavaScript must not have shown the piece to anybody.
    fn update_later(&self, mut piece: Buffer, work: fn(&mut C, &mut [u8])) -> AsyncTask<Job<()>> {
        let cipher = Arc::clone(&self.0);
        spawn(move || with(&cipher, |cipher| work(cipher, &mut piece)))
    }

    fn finish<T>(&self, work: impl FnOnce(C) -> Result<T, FileError>) -> Result<T, Failure> {
        guard(|| {
            let cipher = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            Ok(work(cipher.ok_or(ENDED)?)?)
        })
    }
}

const ENDED: FileError = FileError::MalformedEnvelope("the file has ended");

fn with<C, T>(cipher: &Mutex<Option<C>>, work: impl FnOnce(&mut C) -> T) -> Result<T, Error> {
    let mut cipher = cipher.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(work(cipher.as_mut().ok_or(ENDED)?))
}

/// Encrypts one file.
#[napi]
pub struct FileEncryptor {
    running: Running<Encryptor>,
    encryption: String,
}

#[napi]
impl FileEncryptor {
    /// Draws key and iv.
    #[napi(constructor)]
    pub fn new() -> Result<Self, Failure> {
        guard(|| {
            let cipher = Encryptor::new(&mut OsRandom);
            let encryption = cipher.encryption().to_json().to_string();
            Ok(Self { running: Running::new(cipher), encryption })
        })
    }

    /// JSON text of key and iv.
    #[napi(getter)]
    pub fn encryption(&self) -> String {
        self.encryption.clone()
    }

    /// Encrypts the next piece in place.
    #[napi]
    pub fn update(&self, mut piece: BufferSlice<'_>) -> Result<(), Failure> {
        self.running.update(&mut piece, Encryptor::update)
    }

    /// Encrypts the next piece in place off the event loop; nobody else may know it until then.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn update_later(&self, piece: Buffer) -> AsyncTask<Job<()>> {
        self.running.update_later(piece, Encryptor::update)
    }

    /// Ends the file; returns the hash of its plain bytes in hexadecimal.
    #[napi]
    pub fn finish(&self) -> Result<String, Failure> {
        self.running.finish(|cipher| Ok(cipher.finish()))
    }
}

/// Decrypts one file.
#[napi]
pub struct FileDecryptor {
    running: Running<Decryptor>,
}

#[napi]
impl FileDecryptor {
    /// Takes JSON text of key and iv, and the hash that the plain bytes must have.
    #[napi(constructor)]
    pub fn new(encryption: String, sha256: String) -> Result<Self, Failure> {
        guard(|| {
            let encryption = FileEncryption::parse(&encryption)?;
            Ok(Self { running: Running::new(Decryptor::new(&encryption, &sha256)?) })
        })
    }

    /// Decrypts the next piece in place.
    #[napi]
    pub fn update(&self, mut piece: BufferSlice<'_>) -> Result<(), Failure> {
        self.running.update(&mut piece, Decryptor::update)
    }

    /// Decrypts the next piece in place off the event loop; nobody else may know it until then.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn update_later(&self, piece: Buffer) -> AsyncTask<Job<()>> {
        self.running.update_later(piece, Decryptor::update)
    }

    /// Ends the file and checks its hash.
    #[napi]
    pub fn finish(&self) -> Result<(), Failure> {
        self.running.finish(Decryptor::finish)
    }
}

/// The name under which an encrypted file is uploaded.
#[napi]
pub fn encrypted_file_name(name: String) -> String {
    file::encrypted_file_name(&name)
}
