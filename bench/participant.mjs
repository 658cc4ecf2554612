// The participant: many messages, large stores, a live stream.

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { child } from './child.mjs';
import { seedStore, settings } from './store.mjs';

async function inFolder(work) {
  const folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-bench-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Time and memory for stores of so many rooms, with so many old keys each. */
async function growthOf(rooms, oldKeys) {
  return inFolder(async (folder) => {
    const path = join(folder, 'bot.store');
    const account = await settings();
    const { envelopes, roomId } = await seedStore(path, account, rooms, oldKeys);
    const { running, answer } = await child('growth-child.mjs', path, JSON.stringify(account));
    const measured = once(running, 'message');
    running.send({ ...answer, envelopes, roomId });
    const [point] = await measured;
    await once(running, 'exit');
    return { rooms, oldKeys, ...point };
  });
}

async function growth() {
  const points = [];
  for (const [rooms, oldKeys] of [
    [10, 1],
    [100, 1],
    [1_000, 1],
    [10_000, 1],
    [100, 10],
    [100, 100],
  ]) {
    points.push(await growthOf(rooms, oldKeys));
    console.log(points.at(-1));
  }
  return points;
}

/** `decryptMessages`, as the database has them, of 20 rooms. */
async function decryptMessages() {
  return inFolder(async (folder) => {
    const path = join(folder, 'bot.store');
    const account = await settings();
    const { documents } = await seedStore(path, account, 20, 1, 100_000);
    const { running } = await child('growth-child.mjs', path, JSON.stringify(account));
    const measured = once(running, 'message');
    running.send({ documents });
    const [result] = await measured;
    await once(running, 'exit');
    return { rooms: 20, ...result };
  });
}

/** A bot of one room beside a stand-in server in another process. */
async function live(rate, seconds) {
  const { running: server, answer: place } = await child('live-server.mjs', rate, seconds);
  const { running: bot, answer: ready } = await child(
    'live-bot.mjs',
    JSON.stringify(place),
    seconds,
  );
  const [idle] = await once(bot, 'message');
  server.send('go');
  const [sent] = await once(server, 'message');
  const measured = once(bot, 'message');
  bot.send('end');
  const [result] = await measured;
  server.kill();
  return { idle: idle.rss, live: { rate, seconds, bare: ready.bare, ...sent, ...result } };
}

export async function participantFigures() {
  const figures = { decryptMessages: await decryptMessages() };
  console.log(figures.decryptMessages);
  figures.growth = await growth();
  return { ...figures, ...(await live(1_000, 20)) };
}
