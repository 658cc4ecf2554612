//! Work for other threads than the event loop's.

use napi::bindgen_prelude::{
    AsyncTask, Either, Env, PromiseRaw, ToNapiValue, TypeName, spawn_blocking,
};
use napi::{JsString, Result, ScopedTask, Task};
use rocketchat_e2ee::{Code, Error};

use crate::error::{Failure, guard, rejection};
use crate::text;

type Work<T> = Box<dyn FnOnce() -> std::result::Result<T, Error> + Send>;

/// For each of many things: what came of it, or code and message.
pub(crate) type Outcomes<T> = Vec<Either<T, Vec<String>>>;

/// One piece of work, run once off the event loop.
pub struct Job<T> {
    work: Option<Work<T>>,
}

/// Sends `work` to libuv's threads; JavaScript gets a promise.
pub(crate) fn spawn<T>(
    work: impl FnOnce() -> std::result::Result<T, Error> + Send + 'static,
) -> AsyncTask<Job<T>>
where
    T: Send + ToNapiValue + TypeName + 'static,
{
    AsyncTask::new(Job { work: Some(Box::new(work)) })
}

/// A [`Job`] whose outcome is text, which Node-API makes of a `String` slower than V8 can.
pub struct TextJob(Job<String>);

/// As [`spawn`], for text.
pub(crate) fn spawn_text(
    work: impl FnOnce() -> std::result::Result<String, Error> + Send + 'static,
) -> AsyncTask<TextJob> {
    AsyncTask::new(TextJob(Job { work: Some(Box::new(work)) }))
}

/// Sends the same `work` for many things to one of libuv's threads.
pub(crate) fn spawn_each<T>(
    items: Vec<String>,
    work: impl Fn(&str) -> std::result::Result<T, Error> + Send + 'static,
) -> AsyncTask<Job<Outcomes<T>>>
where
    T: Send + ToNapiValue + TypeName + 'static,
{
    spawn(move || {
        let outcome = |item: &String| match work(item) {
            Ok(value) => Either::A(value),
            Err(error) => Either::B(vec![error.code().as_str().to_owned(), error.to_string()]),
        };
        Ok(items.iter().map(outcome).collect())
    })
}

/// Sends `work` that waits (for a disk, for a lock) to tokio's blocking threads, of which there is
/// always one more; JavaScript gets a promise.
pub(crate) fn wait<T>(
    env: &Env,
    work: impl FnOnce() -> std::result::Result<T, Error> + Send + 'static,
) -> Result<PromiseRaw<'_, T>>
where
    T: Send + ToNapiValue + 'static,
{
    let outcome = async move {
        // Panics do not get here: `guard` caught them.
        Ok(spawn_blocking(move || guard(work)).await.unwrap_or_else(|_cancelled| {
            Err(Failure::new(Code::Closed.as_str(), "the process is about to exit"))
        }))
    };
    env.spawn_future_with_callback(outcome, |env, outcome| {
        outcome.map_err(|failure| rejection(*env, failure))
    })
}

/// What came of a job. Node-API runs a task once, so there is always something.
type Outcome<T> = Option<std::result::Result<T, Failure>>;

impl<T> Job<T> {
    fn run(&mut self) -> Outcome<T> {
        self.work.take().map(guard)
    }
}

fn settle<T>(env: Env, outcome: Outcome<T>) -> Result<T> {
    let outcome = outcome.ok_or_else(|| napi::Error::from_status(napi::Status::Cancelled))?;
    outcome.map_err(|failure| rejection(env, failure))
}

impl<T: Send + ToNapiValue + TypeName + 'static> Task for Job<T> {
    type Output = Outcome<T>;
    type JsValue = T;

    fn compute(&mut self) -> Result<Self::Output> {
        Ok(self.run())
    }

    fn resolve(&mut self, env: Env, output: Self::Output) -> Result<T> {
        settle(env, output)
    }
}

impl<'task> ScopedTask<'task> for TextJob {
    type Output = Outcome<String>;
    type JsValue = JsString<'task>;

    fn compute(&mut self) -> Result<Self::Output> {
        Ok(self.0.run())
    }

    fn resolve(&mut self, env: &'task Env, output: Self::Output) -> Result<JsString<'task>> {
        text::write(env, &settle(*env, output)?)
    }
}
