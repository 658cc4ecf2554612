//! Work for libuv's threads.

use napi::bindgen_prelude::{AsyncTask, Env, ToNapiValue, TypeName};
use napi::{Result, Task};
use rocketchat_e2ee::Error;

use crate::error::{Failure, guard, rejection};

type Work<T> = Box<dyn FnOnce() -> std::result::Result<T, Error> + Send>;

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

impl<T: Send + ToNapiValue + TypeName + 'static> Task for Job<T> {
    type Output = Option<std::result::Result<T, Failure>>;
    type JsValue = T;

    fn compute(&mut self) -> Result<Self::Output> {
        Ok(self.work.take().map(guard))
    }

    fn resolve(&mut self, env: Env, output: Self::Output) -> Result<T> {
        // Node-API runs a task once, so there is always an outcome.
        let outcome = output.ok_or_else(|| napi::Error::from_status(napi::Status::Cancelled))?;
        outcome.map_err(|failure| rejection(env, failure))
    }
}
