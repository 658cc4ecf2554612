//! How the participant's flows meet the outside world: effects go out, answers come in.
//!
//! A flow is an `async fn` that awaits answers. Nothing here runs by itself: [`Executor::step`]
//! polls the flows whenever the driver brings something, and hands over what they want done. No
//! waker and no runtime is needed, so the same code runs natively, in WebAssembly and in a
//! simulation.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::error::{Code, Error};
use crate::identity::Identity;

/// Something that the driver is to do. Those with an `id` are answered with [`Input::Answer`].
#[derive(Debug, Serialize)]
#[serde(tag = "effect", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Effect {
    /// A REST call below `/api/v1/`. Answer: the body.
    Request {
        /// Names the answer.
        id: u64,
        /// What to ask.
        #[serde(flatten)]
        request: Request,
    },
    /// A DDP method, on servers that have no REST route for it. Answer: its result.
    Call {
        /// Names the answer.
        id: u64,
        /// The method's name.
        name: &'static str,
        /// Its parameters.
        params: Value,
    },
    /// Read the records whose names begin with a prefix. Answer: a list of records.
    Load {
        /// Names the answer.
        id: u64,
        /// The prefix.
        prefix: String,
    },
    /// Write records and make claims, all or none. Answer: nothing.
    Commit {
        /// Names the answer.
        id: u64,
        /// The records.
        changes: Vec<Change>,
        /// Claims that are made, or lengthened where somebody holds them.
        claims: Vec<Claim>,
    },
    /// Take the right to handle something, once among all that share the store. Answer: whether
    /// it was had.
    Claim {
        /// Names the answer.
        id: u64,
        /// What is claimed.
        name: String,
        /// For how long, in milliseconds.
        ttl: u64,
    },
    /// Make a key pair, which takes up to seconds in WebAssembly, and hand it over with
    /// [`Participant::take_key_pair`](super::Participant::take_key_pair). Answer: nothing.
    GenerateKeyPair {
        /// Names the answer.
        id: u64,
    },
    /// Wait. Answer: nothing.
    Sleep {
        /// Names the answer.
        id: u64,
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// Tell the application.
    Emit {
        /// The event's name.
        event: &'static str,
        /// What it carries.
        data: Value,
    },
    /// A command has ended.
    Done {
        /// Which one.
        command: u64,
        /// Its result.
        #[serde(flatten)]
        outcome: Outcome,
    },
}

/// A REST call.
#[derive(Clone, Debug, Serialize)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The route, such as `e2e.fetchMyKeys`.
    pub path: String,
    /// The query, for `GET`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<Value>,
    /// The JSON body, for `POST`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Whether the server must not act on it twice: it is not repeated once it may have acted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// The second factor, for the few routes that demand one.
    #[serde(rename = "twoFactor", skip_serializing_if = "Option::is_none")]
    pub two_factor: Option<TwoFactor>,
}

/// A second factor.
#[derive(Clone, Serialize, Deserialize)]
pub struct TwoFactor {
    /// `totp`, `email` or `password`.
    pub method: String,
    /// The code; with `password`, SHA-256 of the password, in hexadecimal.
    pub code: Zeroizing<String>,
}

impl fmt::Debug for TwoFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TwoFactor").field("method", &self.method).finish_non_exhaustive()
    }
}

/// A record to write: sealed already.
#[derive(Debug, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// The version that it replaces; 0 where it must not exist yet.
    pub expected: u64,
    /// Base64 of the sealed bytes; `None` removes the record.
    pub data: Option<String>,
}

/// A claim to make together with a commit.
#[derive(Debug, Serialize)]
pub struct Claim {
    /// What is claimed.
    pub id: String,
    /// For how long, in milliseconds.
    pub ttl: u64,
}

/// What the driver brings.
#[derive(Debug, Deserialize)]
#[serde(tag = "input", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Input {
    /// The application wants something; ends with [`Effect::Done`].
    Command {
        /// Names it.
        id: u64,
        /// What is wanted.
        command: super::Command,
    },
    /// The answer to an effect.
    Answer {
        /// The effect's id.
        id: u64,
        /// What came of it.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// The workspace tells something by itself.
    Event {
        /// What it tells.
        event: super::WorkspaceEvent,
    },
}

/// A result as it crosses the boundary.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Outcome {
    /// It worked.
    Ok(Value),
    /// It did not.
    Error(Failure),
}

/// Why something did not work: a code of this library's, and what the workspace said.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// A stable code.
    pub code: String,
    /// For people; holds neither secrets nor plaintext.
    pub message: String,
    /// The HTTP status, where the workspace answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Rocket.Chat's own code, where it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code: code.as_str().to_owned(),
            message: message.into(),
            status: None,
            error_type: None,
        }
    }

    pub(super) fn is(&self, code: Code) -> bool {
        self.code == code.as_str()
    }

    /// No answer, or none for now.
    pub(super) fn is_passing(&self) -> bool {
        match self.status {
            Some(status) => status == 429 || status >= 500,
            None => self.is(Code::Workspace),
        }
    }

    /// Whether the server has said no. What nobody understands is none.
    pub(super) fn is_refusal(&self) -> bool {
        self.status.is_some_and(|status| (400..500).contains(&status) && status != 429)
    }

    /// Whether the workspace refused with this code of its own.
    pub(super) fn is_workspace(&self, error_type: &str) -> bool {
        self.error_type.as_deref() == Some(error_type)
    }
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        Self::new(error.code(), error.to_string())
    }
}

pub(super) type Result<T> = std::result::Result<T, Failure>;

#[derive(Default)]
struct Desk {
    next: u64,
    now: u64,
    effects: Vec<Effect>,
    answers: BTreeMap<u64, Outcome>,
    /// Handed over, by the id of the effect; their answers are still to come.
    key_pairs: BTreeMap<u64, Identity>,
    spawned: Vec<Flow>,
}

pub(super) type Flow = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What flows hold to reach the outside.
#[derive(Clone, Default)]
pub(super) struct Host(Arc<Mutex<Desk>>);

impl Host {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since 1970, as the driver last told.
    pub(super) fn now(&self) -> u64 {
        self.desk().now
    }

    pub(super) fn emit(&self, event: &'static str, data: Value) {
        self.desk().effects.push(Effect::Emit { event, data });
    }

    /// Starts another flow beside this one.
    pub(super) fn spawn(&self, flow: impl Future<Output = ()> + Send + 'static) {
        self.desk().spawned.push(Box::pin(flow));
    }

    pub(super) fn done(&self, command: u64, outcome: Outcome) {
        self.desk().effects.push(Effect::Done { command, outcome });
    }

    async fn ask(&self, effect: impl FnOnce(u64) -> Effect) -> Result<Value> {
        let id = self.put(effect);
        self.answer(id).await
    }

    /// Has something done, and returns the name of the answer.
    fn put(&self, effect: impl FnOnce(u64) -> Effect) -> u64 {
        let mut desk = self.desk();
        desk.next += 1;
        let id = desk.next;
        desk.effects.push(effect(id));
        id
    }

    async fn answer(&self, id: u64) -> Result<Value> {
        let outcome = self.until(|| self.desk().answers.remove(&id)).await;
        match outcome {
            Outcome::Ok(value) => Ok(value),
            Outcome::Error(failure) => Err(failure),
        }
    }

    pub(super) async fn get(&self, path: &str, query: Value) -> Result<Value> {
        let query = Some(query).filter(|query| query.as_object().is_some_and(|q| !q.is_empty()));
        let request = Request {
            method: "GET",
            path: path.to_owned(),
            query,
            body: None,
            once: false,
            two_factor: None,
        };
        self.ask(|id| Effect::Request { id, request }).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.send(path, body, false, None).await
    }

    /// A `POST` that the server must not act on twice: without an answer, the caller finds out.
    pub(super) async fn post_once(&self, path: &str, body: Value) -> Result<Value> {
        self.send(path, body, true, None).await
    }

    /// A `POST` with a second factor, whose code serves once.
    pub(super) async fn post_with(
        &self,
        path: &str,
        body: Value,
        two_factor: TwoFactor,
    ) -> Result<Value> {
        self.send(path, body, true, Some(two_factor)).await
    }

    async fn send(
        &self,
        path: &str,
        body: Value,
        once: bool,
        two_factor: Option<TwoFactor>,
    ) -> Result<Value> {
        let body = Some(body);
        let path = path.to_owned();
        let request = Request { method: "POST", path, query: None, body, once, two_factor };
        self.ask(|id| Effect::Request { id, request }).await
    }

    pub(super) async fn call(&self, name: &'static str, params: Value) -> Result<Value> {
        self.ask(|id| Effect::Call { id, name, params }).await
    }

    pub(super) async fn load(&self, prefix: &str) -> Result<Value> {
        self.ask(|id| Effect::Load { id, prefix: prefix.to_owned() }).await
    }

    pub(super) async fn commit(&self, changes: Vec<Change>, claims: Vec<Claim>) -> Result<()> {
        self.ask(|id| Effect::Commit { id, changes, claims }).await.map(drop)
    }

    /// Claims at once; returns of each whether it was had.
    pub(super) async fn claim(&self, names: Vec<String>, ttl: u64) -> Result<Vec<bool>> {
        let ask = |name| self.put(|id| Effect::Claim { id, name, ttl });
        let asked: Vec<u64> = names.into_iter().map(ask).collect();
        let mut had = Vec::with_capacity(asked.len());
        for id in asked {
            had.push(self.answer(id).await);
        }
        had.into_iter().map(|had| Ok(had? == json!(true))).collect()
    }

    pub(super) async fn generate_key_pair(&self) -> Result<Identity> {
        let id = self.put(|id| Effect::GenerateKeyPair { id });
        let answer = self.answer(id).await;
        let pair = self.desk().key_pairs.remove(&id);
        answer?;
        pair.ok_or_else(|| Failure::new(Code::Internal, "no key pair was handed over"))
    }

    pub(super) async fn sleep(&self, ms: u64) -> Result<()> {
        self.ask(|id| Effect::Sleep { id, ms }).await.map(drop)
    }

    /// Does two things at once; what they want done goes out in this order.
    pub(super) async fn both<A, B>(
        &self,
        first: impl Future<Output = A>,
        second: impl Future<Output = B>,
    ) -> (A, B) {
        let (mut first, mut second) = (pin!(first), pin!(second));
        let (mut one, mut other) = (None, None);
        std::future::poll_fn(move |context| {
            if one.is_none()
                && let Poll::Ready(value) = first.as_mut().poll(context)
            {
                one = Some(value);
            }
            if other.is_none()
                && let Poll::Ready(value) = second.as_mut().poll(context)
            {
                other = Some(value);
            }
            match (one.take(), other.take()) {
                (Some(one), Some(other)) => Poll::Ready((one, other)),
                unfinished => {
                    (one, other) = unfinished;
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Waits until `ready` gives something; asked again at each step.
    pub(super) async fn until<T>(&self, mut ready: impl FnMut() -> Option<T> + Send) -> T {
        std::future::poll_fn(move |_| match ready() {
            Some(value) => Poll::Ready(value),
            None => Poll::Pending,
        })
        .await
    }
}

/// The flows that are under way.
#[derive(Default)]
pub(super) struct Executor {
    pub(super) host: Host,
    flows: VecDeque<Flow>,
}

impl Executor {
    pub(super) fn answer(&self, id: u64, outcome: Outcome) {
        self.host.desk().answers.insert(id, outcome);
    }

    pub(super) fn take_key_pair(&self, id: u64, pair: Identity) {
        self.host.desk().key_pairs.insert(id, pair);
    }

    /// Lets every flow go on as far as it can, and returns what they want done.
    pub(super) fn step(&mut self, now: u64) -> Vec<Effect> {
        self.host.desk().now = now;
        let mut context = Context::from_waker(Waker::noop());
        loop {
            self.flows.extend(std::mem::take(&mut self.host.desk().spawned));
            let before = (self.flows.len(), self.host.desk().effects.len());
            // What a flow does may be what another waits for: go round until nothing moves.
            self.flows.retain_mut(|flow| flow.as_mut().poll(&mut context).is_pending());
            let desk = &mut *self.host.desk();
            if (self.flows.len(), desk.effects.len()) == before && desk.spawned.is_empty() {
                return std::mem::take(&mut desk.effects);
            }
        }
    }
}
