//! Off-the-record sessions of two people (protocol §12, servers up to 7.x): keys that live in
//! memory alone.
//!
//! Each side draws an ephemeral pair on P-256 for each handshake. What the two agree on is hashed
//! with SHA-256, and the first 16 bytes are an AES-128-GCM key. Nothing authenticates the public
//! keys: who carries the handshake can put in keys of their own.
//!
//! | state | meaning | left by |
//! | --- | --- | --- |
//! | `NOT_STARTED` | nothing is under way | asking, or being asked |
//! | `REQUESTED` | the peer asks, the application has ten seconds | its answer, `TIMEOUT`, the peer's `end` |
//! | `ESTABLISHING` | we have asked, or asked to refresh | the peer's `acknowledge` or `deny`, `TIMEOUT` |
//! | `ESTABLISHED` | messages can be sent and read | `end` of either side, a refresh, a new handshake |
//! | `DECLINED` | the peer refused | as `NOT_STARTED` |
//! | `TIMEOUT` | nobody answered in time | as `NOT_STARTED` |
//! | `ERROR` | the server did not take the handshake or its answer | as `NOT_STARTED` |
//!
//! Every way out of `ESTABLISHED` and `ESTABLISHING` wipes the keys. While a refresh is under way
//! the former key still opens messages that crossed it, and sends wait.
//!
//! Beyond what Rocket.Chat's client does: a message is reported once, whatever is repeated of it;
//! its inner sender must be the peer; a public key that a session has had is never taken again; a
//! handshake that crosses ours is accepted with the pair that we sent, so that both sides end with
//! one key; handshakes beyond a few in ten seconds are ignored.

mod key;
mod session;

use serde::Serialize;

use crate::jwk::JwkError;

pub(crate) use session::{Heard, Session};

/// Where a session stands. See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum State {
    /// Nothing is under way.
    NotStarted,
    /// The peer asks, and the application has not answered yet.
    Requested,
    /// We have asked.
    Establishing,
    /// Messages can be sent and read.
    Established,
    /// The peer refused.
    Declined,
    /// Nobody answered in time.
    Timeout,
    /// The server did not take the handshake or its answer.
    Error,
}

/// What can go wrong in a session.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtrError {
    /// A public key has no known form, or is no point of the curve.
    #[error("malformed public key: {0}")]
    MalformedKey(&'static str),
    /// A public key is for another curve than P-256.
    #[error("the public key is not on P-256")]
    UnsupportedAlgorithm,
    /// A message has no known form.
    #[error("malformed off-the-record message: {0}")]
    MalformedEnvelope(&'static str),
    /// Wrong key, or a changed message.
    #[error("the message does not decrypt with this session's key")]
    DecryptionFailed,
    /// The message names another sender than the peer.
    #[error("the message is not the peer's")]
    ForeignSender,
    /// There is no session, or none yet.
    #[error("no off-the-record session is established")]
    NotEstablished,
    /// The request was answered, withdrawn or timed out before.
    #[error("the request is over")]
    RequestOver,
    /// One key has carried as many messages as it may.
    #[error("the session has carried too many messages: start a new one")]
    Exhausted,
    /// The cipher refused to work.
    #[error("the message could not be encrypted")]
    Encryption,
}

impl From<JwkError> for OtrError {
    fn from(error: JwkError) -> Self {
        match error {
            JwkError::Malformed(reason) => Self::MalformedKey(reason),
            JwkError::UnsupportedAlgorithm => Self::UnsupportedAlgorithm,
        }
    }
}

#[cfg(test)]
mod tests;
