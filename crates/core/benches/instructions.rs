//! One job, so often, for `scripts/bench-compare.mjs`: it counts the instructions of
//! [`measured`] with callgrind, which a busy machine does not change.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::unreachable,
    reason = "a benchmark ends where something fails"
)]

mod jobs;

use std::env::args;
use std::hint::black_box;

use jobs::Jobs;

/// What callgrind counts.
#[inline(never)]
fn measured(work: &mut dyn FnMut(), times: usize) {
    for _ in 0..times {
        work();
    }
}

fn main() {
    let mut args = args().skip(1);
    let job = args.next().unwrap_or_default();
    let times = args.next().and_then(|times| times.parse().ok()).unwrap_or(1);
    let mut jobs = Jobs::new();
    let run = |work: &mut dyn FnMut()| {
        // Once before, for what is done at the first call alone.
        work();
        measured(work, times);
    };
    let size = if job.ends_with("4096") { 4096 } else { 200 };
    match job.as_str() {
        "decrypt-200" | "decrypt-4096" => {
            let envelope = jobs.envelope(size);
            run(&mut || drop(black_box(jobs.decrypt(&envelope))));
        }
        "encrypt-200" | "encrypt-4096" => {
            let content = Jobs::content(size);
            run(&mut || drop(black_box(jobs.encrypt(&content))));
        }
        "decrypt_many-200" => {
            let (parts, lengths) = jobs.batch(200, 100);
            run(&mut || drop(black_box(jobs.decrypt_many(&parts, &lengths))));
        }
        "wrap" => {
            let member = jobs.member();
            run(&mut || drop(black_box(jobs.wrap(&member))));
        }
        "unwrap" => {
            let wrapped = jobs.wrapped();
            run(&mut || drop(black_box(jobs.unwrap(&wrapped))));
        }
        "file-1mb" => {
            let mut data = vec![1; 1_000_000];
            run(&mut || drop(black_box(jobs.file(&mut data))));
        }
        "unlock" => {
            let stored = jobs.locked();
            run(&mut || drop(black_box(Jobs::unlock(&stored))));
        }
        // `cargo test --benches` and `cargo bench` run this without a job.
        _ => {}
    }
}
