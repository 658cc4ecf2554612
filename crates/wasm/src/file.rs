//! `file` of the core.

use rocketchat_e2ee::file::{self, FileError};
use rocketchat_e2ee::{FileDecryptor as Decryptor, FileEncryption, FileEncryptor as Encryptor};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::Failure;
use crate::random::HostRandom;

const ENDED: FileError = FileError::MalformedEnvelope("the file has ended");

/// Encrypts one file.
#[wasm_bindgen]
pub struct FileEncryptor {
    running: Option<Encryptor>,
    encryption: String,
}

#[wasm_bindgen]
impl FileEncryptor {
    /// Draws key and iv.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::new_without_default, reason = "only JavaScript makes one")]
    pub fn new() -> Self {
        let cipher = Encryptor::new(&mut HostRandom);
        let encryption = cipher.encryption().to_json().to_string();
        Self { running: Some(cipher), encryption }
    }

    /// JSON text of key and iv.
    #[wasm_bindgen(getter)]
    pub fn encryption(&self) -> String {
        self.encryption.clone()
    }

    /// Encrypts the next piece in place.
    pub fn update(&mut self, piece: &mut [u8]) -> Result<(), Failure> {
        self.running.as_mut().ok_or(ENDED)?.update(piece);
        Ok(())
    }

    /// The same: there is no other thread.
    #[wasm_bindgen(js_name = updateLater)]
    pub fn update_later(&mut self, piece: &mut [u8]) -> Result<(), Failure> {
        self.update(piece)
    }

    /// Ends the file; returns the hash of its plain bytes in hexadecimal.
    pub fn finish(&mut self) -> Result<String, Failure> {
        Ok(self.running.take().ok_or(ENDED)?.finish())
    }
}

/// Decrypts one file.
#[wasm_bindgen]
pub struct FileDecryptor {
    running: Option<Decryptor>,
}

#[wasm_bindgen]
impl FileDecryptor {
    /// Takes JSON text of key and iv, and the hash that the plain bytes must have.
    #[wasm_bindgen(constructor)]
    pub fn new(encryption: &str, sha256: &str) -> Result<Self, Failure> {
        let encryption = FileEncryption::parse(encryption)?;
        Ok(Self { running: Some(Decryptor::new(&encryption, sha256)?) })
    }

    /// Decrypts the next piece in place.
    pub fn update(&mut self, piece: &mut [u8]) -> Result<(), Failure> {
        self.running.as_mut().ok_or(ENDED)?.update(piece);
        Ok(())
    }

    /// The same: there is no other thread.
    #[wasm_bindgen(js_name = updateLater)]
    pub fn update_later(&mut self, piece: &mut [u8]) -> Result<(), Failure> {
        self.update(piece)
    }

    /// Ends the file and checks its hash.
    pub fn finish(&mut self) -> Result<(), Failure> {
        Ok(self.running.take().ok_or(ENDED)?.finish()?)
    }
}

/// The name under which an encrypted file is uploaded.
#[wasm_bindgen(js_name = encryptedFileName)]
pub fn encrypted_file_name(name: &str) -> String {
    file::encrypted_file_name(name)
}
