//! One error over all modules, and the stable codes that callers switch on.

use crate::file::FileError;
use crate::identity::IdentityError;
use crate::key_ring::KeyRingError;
use crate::message::MessageError;
use crate::room_key::RoomKeyError;

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
    /// The caller passed something that cannot be used.
    InvalidArgument,
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
            Self::InvalidArgument => "ERR_E2EE_INVALID_ARGUMENT",
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
