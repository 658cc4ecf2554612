//! `cargo bench -p rocketchat-e2ee --features aws-lc --bench core`: the core without a boundary.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::unreachable,
    reason = "a benchmark ends where something fails"
)]

mod jobs;

use chacha20::ChaCha20Rng;
use divan::Bencher;
use jobs::Jobs;
use rand_core::SeedableRng;
use rocketchat_e2ee::Identity;

/// Sizes, in bytes.
const MESSAGES: [usize; 2] = [200, 4096];

fn main() {
    divan::main();
}

#[divan::bench(args = MESSAGES)]
fn decrypt(bencher: Bencher<'_, '_>, size: usize) {
    let jobs = Jobs::new();
    let envelope = jobs.envelope(size);
    bencher.bench_local(|| jobs.decrypt(&envelope));
}

#[divan::bench(args = MESSAGES)]
fn encrypt(bencher: Bencher<'_, '_>, size: usize) {
    let mut jobs = Jobs::new();
    let content = Jobs::content(size);
    bencher.bench_local(|| jobs.encrypt(&content));
}

#[divan::bench(args = MESSAGES)]
fn decrypt_many(bencher: Bencher<'_, '_>, size: usize) {
    let jobs = Jobs::new();
    let (parts, lengths) = jobs.batch(size, 1000);
    bencher.bench_local(|| jobs.decrypt_many(&parts, &lengths));
}

#[divan::bench]
fn unwrap_room_key(bencher: Bencher<'_, '_>) {
    let mut jobs = Jobs::new();
    let wrapped = jobs.wrapped();
    bencher.bench_local(|| jobs.unwrap(&wrapped));
}

#[divan::bench]
fn wrap_room_key(bencher: Bencher<'_, '_>) {
    let mut jobs = Jobs::new();
    let member = jobs.member();
    bencher.bench_local(|| jobs.wrap(&member));
}

#[divan::bench]
fn read_public_key(bencher: Bencher<'_, '_>) {
    let jobs = Jobs::new();
    let member = jobs.member();
    bencher.bench_local(|| Jobs::public_key(&member));
}

#[divan::bench(sample_count = 20)]
fn unlock(bencher: Bencher<'_, '_>) {
    let mut jobs = Jobs::new();
    let stored = jobs.locked();
    bencher.bench_local(|| Jobs::unlock(&stored));
}

#[divan::bench(sample_count = 20)]
fn generate_identity(bencher: Bencher<'_, '_>) {
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    bencher.bench_local(|| Identity::generate(&mut rng).unwrap());
}

#[divan::bench(sample_count = 20)]
fn file_of_1_mb(bencher: Bencher<'_, '_>) {
    let mut jobs = Jobs::new();
    let mut data = vec![1; 1_000_000];
    bencher.bench_local(|| jobs.file(&mut data));
}
