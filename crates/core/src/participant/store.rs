//! Records: what the participant keeps, sealed before it leaves the core.

use std::collections::BTreeMap;

use base64_simd::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Shared;
use super::host::{Change, Claim, Failure, Result};
use crate::error::Code;
use crate::vault::{Vault, VaultError};

/// A sealed record, as stores hand it over.
#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    version: u64,
    /// Base64.
    data: String,
}

/// The versions of the records that were read or written, by name.
#[derive(Default)]
pub(super) struct Versions(BTreeMap<String, u64>);

impl Versions {
    fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

impl Shared {
    /// Reads and opens all records of a prefix that are never written again.
    pub(super) async fn read<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>> {
        let records: Vec<Record> = parse(self.host.load(prefix).await?)?;
        let open = |record: Record| Ok((record.name.clone(), record.open(&self.vault)?));
        records.into_iter().map(open).collect()
    }

    /// Reads and opens all records of a prefix; remembers their versions.
    pub(super) async fn load<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>> {
        let records: Vec<Record> = parse(self.host.load(prefix).await?)?;
        let mut state = self.state();
        records
            .into_iter()
            .map(|record| {
                let value = record.open(&self.vault)?;
                state.versions.0.insert(record.name.clone(), record.version);
                Ok((record.name, value))
            })
            .collect()
    }

    /// As [`Shared::load`], but only what another process wrote since it was last read or written
    /// here. What is returned has to be taken into the state before anything else is awaited.
    pub(super) async fn load_newer<T: DeserializeOwned>(
        &self,
        prefix: &str,
    ) -> Result<Vec<(String, T)>> {
        let records: Vec<Record> = parse(self.host.load(prefix).await?)?;
        let mut state = self.state();
        let mut newer = Vec::new();
        for record in records {
            if record.version > state.versions.of(&record.name) {
                newer.push((record.name.clone(), record.open(&self.vault)?));
                state.versions.0.insert(record.name, record.version);
            }
        }
        Ok(newer)
    }

    /// Writes a record over the version that was last seen; on a conflict, reads what another
    /// process wrote, lets `merge` make one of both, and tries again.
    pub(super) async fn write<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        mut value: T,
        merge: impl Fn(T, T) -> T,
    ) -> Result<T> {
        for _ in 0..16 {
            match self.commit(&[(name, Some(serde_json::to_vec(&value).map_err(not_json)?))]).await
            {
                Ok(()) => return Ok(value),
                Err(failure) if failure.is(Code::StoreConflict) => {
                    let theirs = self.load::<T>(name).await?.into_iter().find(|(n, _)| n == name);
                    match theirs {
                        Some((_, theirs)) => value = merge(theirs, value),
                        None => drop(self.state().versions.0.remove(name)),
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::new(Code::StoreConflict, "another process keeps writing the same record"))
    }

    /// Removes a record, whatever its version.
    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        match self.commit(&[(name, None)]).await {
            Err(failure) if failure.is(Code::StoreConflict) => {
                let found = self.load::<Value>(name).await?.iter().any(|(found, _)| found == name);
                if found { self.commit(&[(name, None)]).await } else { Ok(()) }
            }
            outcome => outcome,
        }
    }

    /// Writes new records that are never written again, under names that nobody else chooses, and
    /// makes claims with them; all or nothing. Their versions are not remembered: there are many.
    pub(super) async fn append(
        &self,
        records: &[(String, Vec<u8>)],
        claims: Vec<Claim>,
    ) -> Result<()> {
        let changes = records
            .iter()
            .map(|(name, plaintext)| self.change(name, 0, Some(plaintext)))
            .collect::<Result<_>>()?;
        self.host.commit(changes, claims).await
    }

    fn change(&self, name: &str, expected: u64, plaintext: Option<&Vec<u8>>) -> Result<Change> {
        let seal = |plaintext| self.vault.seal(&mut **self.rng(), name, expected + 1, plaintext);
        let sealed = plaintext.map(|plaintext| seal(plaintext)).transpose()?;
        let data = sealed.map(|sealed| STANDARD.encode_to_string(sealed));
        Ok(Change { name: name.to_owned(), expected, data })
    }

    /// Writes records, all or none.
    async fn commit(&self, records: &[(&str, Option<Vec<u8>>)]) -> Result<()> {
        let changes: Vec<Change> = {
            let state = self.state();
            records
                .iter()
                .map(|(name, plaintext)| {
                    self.change(name, state.versions.of(name), plaintext.as_ref())
                })
                .collect::<Result<_>>()?
        };
        let written: Vec<u64> = changes.iter().map(|change| change.expected + 1).collect();
        self.host.commit(changes, Vec::new()).await?;
        let mut state = self.state();
        for ((name, plaintext), version) in records.iter().zip(written) {
            match plaintext {
                // Another flow may have read a later one meanwhile.
                Some(_) => {
                    let known = state.versions.0.entry((*name).to_owned()).or_default();
                    *known = version.max(*known);
                }
                None => drop(state.versions.0.remove(*name)),
            }
        }
        Ok(())
    }
}

impl Record {
    /// What was sealed.
    pub(super) fn open<T: DeserializeOwned>(
        &self,
        vault: &Vault,
    ) -> std::result::Result<T, VaultError> {
        const CORRUPT: VaultError = VaultError::Corrupt("a record is not readable");
        let sealed = STANDARD.decode_to_vec(&self.data).map_err(|_| CORRUPT)?;
        let plaintext: Zeroizing<Vec<u8>> = vault.open(&self.name, self.version, &sealed)?;
        serde_json::from_slice(&plaintext).map_err(|_| CORRUPT)
    }
}

/// Reads an answer; a server that answers something else is told.
pub(super) fn parse<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|_| Failure::new(Code::Workspace, "the answer is not of the known form"))
}

fn not_json(_: serde_json::Error) -> Failure {
    Failure::new(Code::Internal, "a record could not be written as JSON")
}
