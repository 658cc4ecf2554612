// Stores as large as wanted, and a server that knows an account's keys and nothing else.

import crypto from 'node:crypto';
import { createRequire } from 'node:module';
import { nodeRoomKey } from './peers.mjs';
import { ascii, draws, mixed } from './texts.mjs';

const require = createRequire(import.meta.url);
const { Identity, Participant, SqliteStore } = require('../dist/index.js');
const { coreOf } = require('../dist/vault.js');

const PASSPHRASE = 'correct horse battery staple';
const SECRET = 'the secret of the store of this benchmark';

/** What the server knows of the account. */
export async function settings() {
  const identity = await Identity.generate();
  const userId = 'botbotbotbotbot00';
  const private_key = await identity.lock(PASSPHRASE, userId);
  return { userId, public_key: identity.publicKey, private_key };
}

function server({ userId, public_key, private_key }) {
  return {
    userId,
    async request({ path }) {
      if (path !== 'e2e.fetchMyKeys') throw new Error(`${path} was not to be asked`);
      return { status: 200, body: { public_key, private_key } };
    },
    async close() {},
  };
}

export async function open(path, account) {
  const store = await SqliteStore.open(path, { secret: SECRET });
  return Participant.open({
    appId: 'bench',
    workspace: server(account),
    store,
    passphrase: PASSPHRASE,
    rooms: 'all',
  });
}

function heldKey() {
  const secret = crypto.randomBytes(32);
  const id = crypto.randomUUID();
  const k = secret.toString('base64url');
  const jwk = { alg: 'A256GCM', ext: true, k, key_ops: ['encrypt', 'decrypt'], kty: 'oct' };
  const record = { id, recordedId: id, jwk: JSON.stringify(jwk), since: 1, source: 'old' };
  return { record, node: nodeRoomKey(secret, id) };
}

const document = (rid, number, content) => ({
  _id: `m${number}`,
  rid,
  t: 'e2e',
  e2e: 'pending',
  msg: '',
  ts: '2026-11-21T12:00:00.000Z',
  u: { _id: 'annannannannann00', username: 'ann', name: 'Ann' },
  _updatedAt: '2026-11-21T12:00:00.000Z',
  urls: [],
  mentions: [],
  channels: [],
  md: [],
  content,
});

/** Fills a new store; returns messages of one room, or a mixture of all rooms' messages. */
export async function seedStore(path, account, rooms, oldKeys, mixture = 0) {
  await (await open(path, account)).close();
  const store = await SqliteStore.open(path, { secret: SECRET });
  const vault = coreOf(store.vault);
  const held = [];
  for (let start = 0; start < rooms; start += 500) {
    const batch = [];
    for (let number = start; number < Math.min(rooms, start + 500); number++) {
      const id = `room${String(number).padStart(13, '0')}`;
      const keys = Array.from({ length: 1 + oldKeys }, heldKey);
      held.push({ id, keys });
      const current = keys.at(-1).record.id;
      const record = { authorized: true, current, keys: keys.map(({ record }) => record) };
      const name = `room/${id}`;
      const data = vault.seal(name, 1, Buffer.from(JSON.stringify(record)));
      batch.push({ name, expected: 0, data });
    }
    await store.commit(batch);
  }
  await store.close();
  const { id, keys } = held[Math.floor(rooms / 2)];
  const envelopes = Array.from({ length: 1_000 }, (_, i) =>
    document(id, i, keys[i % keys.length].node.encrypt({ msg: ascii(200, i) })),
  );
  const draw = draws(11);
  const documents = Array.from({ length: mixture }, (_, i) => {
    const room = held[Math.floor(draw() * held.length)];
    const key = room.keys[Math.floor(draw() * room.keys.length)];
    return document(room.id, i, key.node.encrypt({ msg: mixed(draw) }));
  });
  return { envelopes, roomId: id, documents };
}
