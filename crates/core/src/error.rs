//! One error over all modules, and the stable codes that callers switch on.

use crate::file::FileError;
use crate::identity::IdentityError;
use crate::key_ring::KeyRingError;
use crate::message::MessageError;
use crate::otr::OtrError;
use crate::participant::ParticipantError;
use crate::room_key::RoomKeyError;
use crate::store::StoreError;
use crate::vault::VaultError;

/// What went wrong, in a form that stays the same from release to release.
///
/// TypeScript sees [`Code::as_str`] as `E2eeError.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The passphrase does not open the private key, or the stored key was changed.
    WrongPassphrase,
    /// The official clients would read the passphrase differently from each other.
    AmbiguousPassphrase,
    /// An envelope (message, private key, file) is not of any known form.
    MalformedEnvelope,
    /// A key (JWK, wrapped key, key id) is not of any known form.
    MalformedKey,
    /// A well-formed envelope or key asks for an algorithm that is not implemented here.
    UnsupportedAlgorithm,
    /// The key does not fit, or the ciphertext was changed.
    DecryptionFailed,
    /// No key with this id is held.
    NoRoomKey,
    /// The PBKDF2 iterations of a private-key envelope are too few or too many.
    IterationsOutOfRange,
    /// The secret does not open the store, or is of another kind than the one that does.
    WrongStoreSecret,
    /// The store's file, its key record or a sealed record is damaged.
    StoreCorrupt,
    /// A record is not what this store sealed under its name and version: it was changed, put in
    /// another's place, or sealed under another data key.
    StoreMismatch,
    /// A newer version of this library wrote the store.
    StoreTooNew,
    /// The file is not a store of this library.
    StoreForeign,
    /// A record has another version than the one expected; nothing of the batch was written.
    StoreConflict,
    /// Another process kept the store locked for too long.
    StoreLocked,
    /// The store got a new data key from elsewhere; it must be opened again.
    StoreRekeyed,
    /// The operating system refused to read or write.
    StoreIo,
    /// The object was closed before.
    Closed,
    /// The caller passed something that cannot be used.
    InvalidArgument,
    /// The room is not authorised: it is neither read nor sent to nor given keys.
    RoomNotAuthorized,
    /// The account is not in the room any more.
    NotAMember,
    /// The identity was revoked; the participant does nothing any more.
    IdentityRevoked,
    /// The workspace refused, or answered something unknown.
    Workspace,
    /// Too many messages wait to be sent in this room.
    OutboxFull,
    /// A message waited longer than it may, and was not sent.
    Expired,
    /// The workspace has end-to-end encryption, or this part of it, switched off.
    Disabled,
    /// The room's key has encrypted as many messages as it may.
    KeyBudget,
    /// The room is not encrypted: nothing is sent to it.
    RoomNotEncrypted,
    /// Rooms of this type are never encrypted.
    RoomNotEncryptable,
    /// Off-the-record sessions are not to be had: the server has none (8.0 and later, or switched
    /// off), or the room is not a direct message of two people.
    OtrUnavailable,
    /// The peer refused the off-the-record session.
    OtrDeclined,
    /// The peer did not answer in time.
    OtrTimeout,
    /// No off-the-record session is established, or it ended meanwhile.
    OtrNotEstablished,
    /// A bug in this library. Nothing was lost; please report it.
    Internal,
}

impl Code {
    /// The code as TypeScript sees it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongPassphrase => "ERR_E2EE_WRONG_PASSPHRASE",
            Self::AmbiguousPassphrase => "ERR_E2EE_AMBIGUOUS_PASSPHRASE",
            Self::MalformedEnvelope => "ERR_E2EE_MALFORMED_ENVELOPE",
            Self::MalformedKey => "ERR_E2EE_MALFORMED_KEY",
            Self::UnsupportedAlgorithm => "ERR_E2EE_UNSUPPORTED_ALGORITHM",
            Self::DecryptionFailed => "ERR_E2EE_DECRYPTION_FAILED",
            Self::NoRoomKey => "ERR_E2EE_NO_ROOM_KEY",
            Self::IterationsOutOfRange => "ERR_E2EE_ITERATIONS_OUT_OF_RANGE",
            Self::WrongStoreSecret => "ERR_E2EE_WRONG_STORE_SECRET",
            Self::StoreCorrupt => "ERR_E2EE_STORE_CORRUPT",
            Self::StoreMismatch => "ERR_E2EE_STORE_MISMATCH",
            Self::StoreTooNew => "ERR_E2EE_STORE_TOO_NEW",
            Self::StoreForeign => "ERR_E2EE_STORE_FOREIGN",
            Self::StoreConflict => "ERR_E2EE_STORE_CONFLICT",
            Self::StoreLocked => "ERR_E2EE_STORE_LOCKED",
            Self::StoreRekeyed => "ERR_E2EE_STORE_REKEYED",
            Self::StoreIo => "ERR_E2EE_STORE_IO",
            Self::Closed => "ERR_E2EE_CLOSED",
            Self::InvalidArgument => "ERR_E2EE_INVALID_ARGUMENT",
            Self::RoomNotAuthorized => "ERR_E2EE_ROOM_NOT_AUTHORIZED",
            Self::NotAMember => "ERR_E2EE_NOT_A_MEMBER",
            Self::IdentityRevoked => "ERR_E2EE_IDENTITY_REVOKED",
            Self::Workspace => "ERR_E2EE_WORKSPACE",
            Self::OutboxFull => "ERR_E2EE_OUTBOX_FULL",
            Self::Expired => "ERR_E2EE_EXPIRED",
            Self::Disabled => "ERR_E2EE_DISABLED",
            Self::KeyBudget => "ERR_E2EE_KEY_BUDGET",
            Self::RoomNotEncrypted => "ERR_E2EE_ROOM_NOT_ENCRYPTED",
            Self::RoomNotEncryptable => "ERR_E2EE_ROOM_NOT_ENCRYPTABLE",
            Self::OtrUnavailable => "ERR_E2EE_OTR_UNAVAILABLE",
            Self::OtrDeclined => "ERR_E2EE_OTR_DECLINED",
            Self::OtrTimeout => "ERR_E2EE_OTR_TIMEOUT",
            Self::OtrNotEstablished => "ERR_E2EE_OTR_NOT_ESTABLISHED",
            Self::Internal => "ERR_E2EE_INTERNAL",
        }
    }
}

/// Any error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// From [`crate::identity`].
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// From [`crate::room_key`].
    #[error(transparent)]
    RoomKey(#[from] RoomKeyError),
    /// From [`crate::key_ring`].
    #[error(transparent)]
    KeyRing(#[from] KeyRingError),
    /// From [`crate::message`].
    #[error(transparent)]
    Message(#[from] MessageError),
    /// From [`crate::file`].
    #[error(transparent)]
    File(#[from] FileError),
    /// From [`crate::otr`].
    #[error(transparent)]
    Otr(#[from] OtrError),
    /// From [`crate::participant`].
    #[error(transparent)]
    Participant(#[from] ParticipantError),
    /// From [`crate::vault`].
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// From [`crate::store`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// The stable code of this error: the one place where modules' errors are mapped.
    pub fn code(&self) -> Code {
        match self {
            Self::Identity(error) => match error {
                IdentityError::WrongPassphrase => Code::WrongPassphrase,
                IdentityError::AmbiguousPassphrase => Code::AmbiguousPassphrase,
                IdentityError::MalformedEnvelope(_) => Code::MalformedEnvelope,
                IdentityError::IterationsOutOfRange => Code::IterationsOutOfRange,
                IdentityError::MalformedKey(_) => Code::MalformedKey,
                IdentityError::UnsupportedAlgorithm => Code::UnsupportedAlgorithm,
                IdentityError::EmptyPassphrase | IdentityError::InvalidUserId => {
                    Code::InvalidArgument
                }
                IdentityError::Generation => Code::Internal,
            },
            Self::Participant(ParticipantError::Options | ParticipantError::Inputs) => {
                Code::InvalidArgument
            }
            Self::Participant(ParticipantError::Bundle) => Code::MalformedEnvelope,
            Self::Participant(ParticipantError::BundlePassphrase) => Code::WrongPassphrase,
            Self::RoomKey(error) => room_key_code(error),
            Self::KeyRing(KeyRingError::NoRoomKey) => Code::NoRoomKey,
            Self::KeyRing(KeyRingError::Message(error)) | Self::Message(error) => {
                message_code(error)
            }
            Self::File(error) => match error {
                FileError::MalformedEnvelope(_) => Code::MalformedEnvelope,
                FileError::MalformedKey(_) => Code::MalformedKey,
                FileError::UnsupportedAlgorithm => Code::UnsupportedAlgorithm,
                FileError::DecryptionFailed => Code::DecryptionFailed,
            },
            Self::Otr(error) => otr_code(error),
            Self::Vault(error) | Self::Store(StoreError::Vault(error)) => vault_code(error),
            Self::Store(error) => store_code(error),
        }
    }
}

fn room_key_code(error: &RoomKeyError) -> Code {
    match error {
        RoomKeyError::MalformedKey(_) => Code::MalformedKey,
        RoomKeyError::UnsupportedAlgorithm => Code::UnsupportedAlgorithm,
        RoomKeyError::DecryptionFailed => Code::DecryptionFailed,
        RoomKeyError::Encryption => Code::Internal,
    }
}

fn message_code(error: &MessageError) -> Code {
    match error {
        MessageError::MalformedEnvelope(_) => Code::MalformedEnvelope,
        MessageError::UnsupportedAlgorithm => Code::UnsupportedAlgorithm,
        MessageError::DecryptionFailed => Code::DecryptionFailed,
        MessageError::InvalidContent(_) => Code::InvalidArgument,
        MessageError::Encryption => Code::Internal,
    }
}

fn otr_code(error: &OtrError) -> Code {
    match error {
        OtrError::MalformedKey(_) => Code::MalformedKey,
        OtrError::UnsupportedAlgorithm => Code::UnsupportedAlgorithm,
        OtrError::MalformedEnvelope(_) => Code::MalformedEnvelope,
        OtrError::DecryptionFailed | OtrError::ForeignSender => Code::DecryptionFailed,
        OtrError::NotEstablished | OtrError::RequestOver | OtrError::Exhausted => {
            Code::OtrNotEstablished
        }
        OtrError::Encryption => Code::Internal,
    }
}

fn vault_code(error: &VaultError) -> Code {
    match error {
        VaultError::WrongSecret => Code::WrongStoreSecret,
        VaultError::Corrupt(_) => Code::StoreCorrupt,
        VaultError::Mismatch => Code::StoreMismatch,
        VaultError::TooNew => Code::StoreTooNew,
        VaultError::InvalidSecret(_) => Code::InvalidArgument,
        VaultError::Encryption => Code::Internal,
    }
}

fn store_code(error: &StoreError) -> Code {
    match error {
        StoreError::Corrupt(_) => Code::StoreCorrupt,
        StoreError::Foreign(_) => Code::StoreForeign,
        StoreError::TooNew => Code::StoreTooNew,
        StoreError::Conflict => Code::StoreConflict,
        StoreError::Locked => Code::StoreLocked,
        StoreError::Rekeyed => Code::StoreRekeyed,
        StoreError::Closed => Code::Closed,
        StoreError::Io(_) => Code::StoreIo,
        StoreError::Vault(error) => vault_code(error),
    }
}
