// Peers side by side: in each round every peer works for a moment, one after the other, so that a
// busy machine slows all of them alike. A ratio is the median of the rounds' ratios.

import { isDeepStrictEqual } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');

export const median = (values) => quantile(values, 0.5);

export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

/**
 * Nanoseconds for each item, by the clock: `run` is repeated until `moment` milliseconds are over.
 * With `collect`, the garbage of who came before is taken away first.
 */
async function time(peer, { moment, collect = false }) {
  let items = 0;
  if (collect) collectGarbage();
  const start = process.hrtime.bigint();
  let now = start;
  do {
    // What is synchronous must not pay for an `await`.
    const pending = peer.run();
    if (pending instanceof Promise) await pending;
    items += peer.items;
    now = process.hrtime.bigint();
  } while (now - start < moment * 1e6);
  return Number(now - start) / items;
}

/**
 * Measures the peers of a job. A peer is `{ name, items, run, result }`: `run` does the job for
 * `items` things, and `result` does it once for a value that must be alike for all peers.
 */
export async function compare(job) {
  const { rounds, mean = false, peers } = job;
  let expected;
  for (const { name, result } of peers) {
    if (!result) continue;
    const value = await result();
    expected ??= value;
    if (!isDeepStrictEqual(value, expected)) throw new Error(`${name} gives something else`);
  }
  // Once for the optimiser.
  for (const peer of peers) await time(peer, job);
  const times = peers.map(() => []);
  for (let round = 0; round < rounds; round++) {
    // From another one each time: what follows a slow peer would always find the caches cold.
    for (let turn = 0; turn < peers.length; turn++) {
      const place = (round + turn) % peers.length;
      times[place].push(await time(peers[place], job));
    }
  }
  const middle = mean
    ? (values) => values.reduce((sum, value) => sum + value, 0) / values.length
    : median;
  return peers.map(({ name }, place) => ({
    name,
    /** Nanoseconds for each item. */
    time: middle(times[place]),
    low: quantile(times[place], 0.1),
    high: quantile(times[place], 0.9),
    /** How many times as long as each other peer it took. */
    ratios: Object.fromEntries(
      peers.map((other, at) => [
        other.name,
        mean
          ? middle(times[place]) / middle(times[at])
          : median(times[place].map((ns, round) => ns / times[at][round])),
      ]),
    ),
  }));
}

/** Bytes for people. */
export const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Nanoseconds for people. */
export function duration(ns) {
  for (const [unit, size] of [
    ['s', 1e9],
    ['ms', 1e6],
    ['µs', 1e3],
  ]) {
    if (ns >= size) return `${(ns / size).toPrecision(3)} ${unit}`;
  }
  return `${ns.toFixed(0)} ns`;
}
