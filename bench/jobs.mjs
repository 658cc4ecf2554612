// The jobs that are compared, their peers, and what is to be reached.

import crypto from 'node:crypto';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { median } from './measure.mjs';
import { nobleRoomKey, nobleUnlock, node, nodeRoomKey, web, webRoomKey } from './peers.mjs';
import { ascii, draws, mixed } from './texts.mjs';

const require = createRequire(import.meta.url);
const ours = require('../dist/index.js');
const WASM = fileURLToPath(new URL('../apps-engine/index.js', import.meta.url));
/** The build for the Apps-Engine; nothing where `npm run build:wasm` was not run. */
export const wasm = existsSync(WASM) ? require(WASM) : undefined;

const PASSPHRASE = 'correct horse battery staple';
const USER = 'u1';

const octJwk = (key) =>
  JSON.stringify({
    alg: 'A256GCM',
    ext: true,
    k: key.toString('base64url'),
    key_ops: ['encrypt', 'decrypt'],
    kty: 'oct',
  });

async function roomKeys() {
  const key = crypto.randomBytes(32);
  const id = crypto.randomUUID();
  const jwk = octJwk(key);
  return {
    id,
    jwk,
    ours: ours.RoomKey.fromJwk(jwk, id),
    node: nodeRoomKey(key, id),
    web: await webRoomKey(key, id),
    noble: nobleRoomKey(key, id),
    wasm: wasm?.RoomKey.fromJwk(jwk, id),
  };
}

/** What a server's answer would hold: strings of their own. */
const received = (envelopes) => JSON.parse(JSON.stringify(envelopes));

/** Goes round in a list, some items at a time. */
function turns(items, count) {
  let next = 0;
  return () => {
    if (next + count > items.length) next = 0;
    next += count;
    return items.slice(next - count, next);
  };
}

/** One call for each item, synchronous. */
function each(name, items, call, count = 100) {
  const some = turns(items, count);
  return {
    name,
    items: count,
    run() {
      for (const item of some()) call(item);
    },
    result: () => items.map(call),
  };
}

/** One call for each item, awaited. */
function eachAwaited(name, items, call, result = call) {
  const some = turns(items, 5);
  return {
    name,
    items: 5,
    async run() {
      for (const item of some()) await call(item);
    },
    result: () => Promise.all(items.map(result)),
  };
}

/** All calls at once. */
const together = (name, items, call, result = call) => ({
  name,
  items: items.length,
  run: () => Promise.all(items.map(call)),
  result: () => Promise.all(items.map(result)),
});

const present = (...peers) => peers.filter(Boolean);

async function messages(size) {
  const keys = await roomKeys();
  const contents = Array.from({ length: 100 }, (_, i) => ({ msg: ascii(size, i) }));
  const envelopes = received(contents.map((content) => keys.node.encrypt(content)));
  const again = (key) => async (content) => keys.node.decrypt(await key.encrypt(content));
  const encrypt = (key) => (content) => key.encrypt(content);
  const decrypt = (key) => (envelope) => key.decrypt(envelope);
  return {
    decrypt: present(
      each('ours', envelopes, decrypt(keys.ours)),
      each('node:crypto', envelopes, decrypt(keys.node)),
      eachAwaited('WebCrypto, await each', envelopes, decrypt(keys.web)),
      together('WebCrypto, Promise.all', envelopes, decrypt(keys.web)),
      each('@noble/ciphers', envelopes, decrypt(keys.noble)),
      keys.wasm && each('ours, WASM', envelopes, decrypt(keys.wasm)),
    ),
    encrypt: present(
      { ...each('ours', contents, encrypt(keys.ours)), result: all(contents, again(keys.ours)) },
      {
        ...each('node:crypto', contents, encrypt(keys.node)),
        result: all(contents, again(keys.node)),
      },
      eachAwaited('WebCrypto, await each', contents, encrypt(keys.web), again(keys.web)),
      together('WebCrypto, Promise.all', contents, encrypt(keys.web), again(keys.web)),
      {
        ...each('@noble/ciphers', contents, encrypt(keys.noble)),
        result: all(contents, again(keys.noble)),
      },
      keys.wasm && {
        ...each('ours, WASM', contents, encrypt(keys.wasm)),
        result: all(contents, again(keys.wasm)),
      },
    ),
  };
}

const all = (items, call) => () => Promise.all(items.map(call));

const goal = (against, ratio, of = 'ours') => ({ of, against, ratio });

async function oneMessage(size, goals) {
  const { decrypt, encrypt } = await messages(size);
  const label = size >= 1024 ? `${size / 1024} KB` : `${size} B`;
  return [
    {
      name: `decrypt ${label}, one call`,
      rounds: 15,
      moment: 60,
      ...goals.decrypt,
      peers: decrypt,
    },
    {
      name: `encrypt ${label}, one call`,
      rounds: 15,
      moment: 60,
      ...goals.encrypt,
      peers: encrypt,
    },
  ];
}

async function many() {
  const keys = await roomKeys();
  const contents = Array.from({ length: 1000 }, (_, i) => ({ msg: ascii(200, i) }));
  const envelopes = received(contents.map((content) => keys.node.encrypt(content)));
  return {
    name: 'decryptMany, 1,000 × 200 B',
    rounds: 21,
    moment: 40,
    goals: [goal('node:crypto', 4)],
    peers: [
      {
        name: 'ours',
        items: 1000,
        run: () => keys.ours.decryptMany(envelopes),
        result: () => keys.ours.decryptMany(envelopes),
      },
      each('node:crypto', envelopes, (envelope) => keys.node.decrypt(envelope), 1000),
      together('WebCrypto, Promise.all', envelopes, (envelope) => keys.web.decrypt(envelope)),
    ],
  };
}

async function mixture() {
  const draw = draws(7);
  const rooms = await Promise.all(Array.from({ length: 20 }, roomKeys));
  const lists = rooms.map(({ node }) =>
    received(Array.from({ length: 5_000 }, () => node.encrypt({ msg: mixed(draw) }))),
  );
  const everything = (call) => async () => {
    const results = [];
    for (const [index, room] of rooms.entries()) results.push(await call(room, lists[index]));
    return results;
  };
  const oursMany = everything((room, list) => room.ours.decryptMany(list));
  const nodeLoop = everything((room, list) => list.map((envelope) => room.node.decrypt(envelope)));
  return {
    name: 'decryptMany, 100,000 mixed messages of 20 rooms',
    rounds: 5,
    moment: 0,
    goals: [],
    peers: [
      { name: 'ours', items: 100_000, run: oursMany, result: oursMany },
      { name: 'node:crypto', items: 100_000, run: nodeLoop, result: nodeLoop },
    ],
  };
}

async function identities() {
  const pair = await node.generate();
  const privateJwk = pair.privateKey.export({ format: 'jwk' });
  const publicJwk = JSON.stringify({
    ...pair.publicKey.export({ format: 'jwk' }),
    alg: 'RSA-OAEP-256',
  });
  const text = JSON.stringify(privateJwk);
  return {
    privateKey: pair.privateKey,
    privateJwk,
    publicJwk,
    ours: ours.Identity.fromPrivateJwk(text),
    wasm: wasm?.Identity.fromPrivateJwk(text),
    web: await web.importPrivate({ ...privateJwk, alg: 'RSA-OAEP-256', ext: true }),
  };
}

async function unwrapping() {
  const identity = await identities();
  const keys = Array.from({ length: 1000 }, () => octJwk(crypto.randomBytes(32)));
  const wrapped = keys.map((jwk) => node.wrap(identity.publicJwk, crypto.randomUUID(), jwk));
  const few = wrapped.slice(0, 20);
  // What is unwrapped opens what its JWK encrypts.
  const works =
    (unwrap, list = wrapped) =>
    async () =>
      Promise.all(
        list.map(async (text, index) => {
          const jwk = JSON.parse(keys[index]);
          const kid = text.slice(0, 36);
          const envelope = nodeRoomKey(Buffer.from(jwk.k, 'base64url'), kid).encrypt({ msg: kid });
          return (await unwrap(text)).decrypt(envelope).msg === kid;
        }),
      ).then((results) => results.every(Boolean));
  const byNode = (text) => {
    const jwk = node.unwrap(identity.privateKey, text);
    return nodeRoomKey(Buffer.from(jwk.k, 'base64url'), text.slice(0, 36));
  };
  const byWeb = async (text) => {
    const jwk = await web.unwrap(identity.web, text);
    return nodeRoomKey(Buffer.from(jwk.k, 'base64url'), text.slice(0, 36));
  };
  const byOurs = (text) => identity.ours.unwrapRoomKey(text);
  const byWasm = (text) => identity.wasm.unwrapRoomKey(text);
  return [
    {
      name: 'unwrap 1,000 room keys',
      rounds: 9,
      moment: 0,
      goals: [goal('node:crypto', 1.7)],
      delayed: () => Promise.all(wrapped.map(byOurs)),
      peers: [
        together('ours', wrapped, byOurs, async () => true),
        { ...each('node:crypto', wrapped, byNode, 1000), result: undefined },
        { ...together('WebCrypto, Promise.all', wrapped, byWeb), result: undefined },
      ].map((peer, index) => ({ ...peer, result: works([byOurs, byNode, byWeb][index]) })),
    },
    wasm && {
      name: 'unwrap one room key, WASM beside the addon',
      rounds: 9,
      moment: 100,
      goals: [{ ...goal('ours', 1 / 3, 'ours, WASM') }],
      peers: [
        { ...eachAwaited('ours', few, byOurs), result: works(byOurs, few) },
        { ...eachAwaited('ours, WASM', few, byWasm), result: works(byWasm, few) },
        { ...each('node:crypto', few, byNode, few.length), result: works(byNode, few) },
      ],
    },
  ];
}

async function wrapping() {
  const keys = await roomKeys();
  const pairs = await Promise.all(Array.from({ length: 10 }, () => ours.Identity.generate()));
  const members = Array.from({ length: 1000 }, (_, index) => index % pairs.length);
  const opened = (wrapped) =>
    Promise.all(
      wrapped.slice(0, 10).map(async (text, index) => {
        const key = await pairs[index].unwrapRoomKey(text);
        return key.decrypt(keys.node.encrypt({ msg: key.keyId })).msg;
      }),
    );
  const byOurs = (member) => keys.ours.wrapFor(pairs[member].publicKey);
  const byNode = (member) => node.wrap(pairs[member].publicKey, keys.id, keys.jwk);
  const byWeb = (member) => web.wrap(pairs[member].publicKey, keys.id, keys.jwk);
  return {
    name: 'wrap one key for 1,000 members',
    rounds: 15,
    moment: 0,
    goals: [goal('node:crypto', 2)],
    peers: [
      {
        ...together('ours', members, byOurs),
        result: async () => opened(await Promise.all(members.map(byOurs))),
      },
      { ...each('node:crypto', members, byNode, 1000), result: () => opened(members.map(byNode)) },
      {
        ...together('WebCrypto, Promise.all', members, byWeb),
        result: async () => opened(await Promise.all(members.map(byWeb))),
      },
    ],
  };
}

async function unlocking() {
  const identity = await ours.Identity.generate();
  const stored = await identity.lock(PASSPHRASE, USER);
  const modulus = async (unlocked) => JSON.parse((await unlocked).publicKey).n;
  const peer = (name, run, result) => ({ name, items: 1, run, result });
  const byOurs = () => ours.Identity.unlock(stored, PASSPHRASE, USER);
  const byWasm = () => wasm.Identity.unlock(stored, PASSPHRASE, USER);
  return {
    name: 'unlock an identity (PBKDF2, 100,000)',
    rounds: 15,
    moment: 40,
    goals: present(goal('node:crypto', 1.4), wasm && goal('ours', 1 / 3, 'ours, WASM')),
    peers: present(
      peer('ours', byOurs, () => modulus(byOurs())),
      ...[
        ['node:crypto', () => node.unlock(stored, PASSPHRASE)],
        ['WebCrypto, await each', () => web.unlock(stored, PASSPHRASE)],
        ['@noble/hashes', () => nobleUnlock(stored, PASSPHRASE)],
      ].map(([name, run]) => peer(name, run, run)),
      wasm && peer('ours, WASM', byWasm, () => modulus(byWasm())),
    ),
  };
}

function generating() {
  return {
    name: 'generate identities, mean of 100',
    rounds: 100,
    moment: 0,
    mean: true,
    goals: [goal('node:crypto', 2.5)],
    peers: [
      { name: 'ours', items: 1, run: () => ours.Identity.generate() },
      { name: 'node:crypto', items: 1, run: () => node.generate() },
    ],
  };
}

const PIECE = 64 * 1024;

function* piecesOf(data) {
  for (let start = 0; start < data.length; start += PIECE)
    yield data.subarray(start, start + PIECE);
}

/** Reads to the end, and hashes what it reads where that is wanted. */
function sink(hash) {
  return new Writable({
    write(chunk, _encoding, done) {
      hash?.update(chunk);
      done();
    },
  });
}

/** A file through `node:crypto`'s streams: hashed and encrypted in pieces of 64 KB. */
async function nodeFile(data, key, iv, out) {
  const hash = crypto.createHash('sha256');
  const hashed = async function* (source) {
    for await (const chunk of source) {
      hash.update(chunk);
      yield chunk;
    }
  };
  const cipher = crypto.createCipheriv('aes-256-ctr', key, iv);
  await pipeline(Readable.from(piecesOf(data)), hashed, cipher, sink(out));
  return hash.digest('hex');
}

async function webFile(data, key, counter) {
  const imported = await crypto.webcrypto.subtle.importKey('raw', key, 'AES-CTR', false, [
    'encrypt',
  ]);
  const hash = await crypto.webcrypto.subtle.digest('SHA-256', data);
  const algorithm = { name: 'AES-CTR', counter, length: 64 };
  await crypto.webcrypto.subtle.encrypt(algorithm, imported, data);
  return Buffer.from(hash).toString('hex');
}

function files() {
  const size = 100_000_000;
  const data = crypto.randomBytes(size);
  const key = crypto.randomBytes(32);
  const iv = Buffer.concat([crypto.randomBytes(8), Buffer.alloc(8)]);
  const expected = crypto.createHash('sha256').update(data).digest('hex');
  const right = (hash) => hash === expected;
  const oneShot = async () => (await ours.encryptFile(data)).hashes.sha256;
  const stream = async () => {
    const encrypt = ours.encryptFileStream();
    await pipeline(Readable.from(piecesOf(data)), encrypt, sink());
    return encrypt.hashes.sha256;
  };
  const byNode = () => nodeFile(data, key, iv);
  const byNodeInOne = async () => {
    const hash = crypto.createHash('sha256').update(data).digest('hex');
    crypto.createCipheriv('aes-256-ctr', key, iv).update(data);
    return hash;
  };
  const byWeb = () => webFile(data, key, iv);
  const peer = (name, run) => ({ name, items: 1, run, result: async () => right(await run()) });
  return {
    name: 'file of 100 MB, encrypt and hash',
    rounds: 7,
    moment: 0,
    collect: true,
    goals: [
      goal('node:crypto, streams of 64 KB', 1.4),
      goal('node:crypto, streams of 64 KB', 1.4, 'ours, in one'),
    ],
    peers: [
      peer('ours', stream),
      peer('ours, in one', oneShot),
      peer('node:crypto, streams of 64 KB', byNode),
      peer('node:crypto, in one', byNodeInOne),
      peer('WebCrypto, in one', byWeb),
    ],
  };
}

async function filesBack() {
  const data = crypto.randomBytes(100_000_000);
  const encrypted = await ours.encryptFile(data);
  const key = Buffer.from(encrypted.encryption.key.k, 'base64url');
  const iv = Buffer.from(encrypted.encryption.iv, 'base64');
  const expected = encrypted.hashes.sha256;
  const hashOf = (bytes) => crypto.createHash('sha256').update(bytes).digest('hex');
  const stream = (out) =>
    pipeline(Readable.from(piecesOf(encrypted.data)), ours.decryptFileStream(encrypted), sink(out));
  const byNode = async () => {
    const out = crypto.createHash('sha256');
    const decipher = crypto.createDecipheriv('aes-256-ctr', key, iv);
    await pipeline(Readable.from(piecesOf(encrypted.data)), decipher, sink(out));
    const hash = out.digest('hex');
    if (hash !== expected) throw new Error('the file has another hash');
    return hash;
  };
  return {
    name: 'file of 100 MB, decrypt and check',
    rounds: 7,
    moment: 0,
    collect: true,
    goals: [],
    peers: [
      {
        name: 'ours',
        items: 1,
        run: () => stream(),
        async result() {
          const out = crypto.createHash('sha256');
          await stream(out);
          return out.digest('hex');
        },
      },
      {
        name: 'ours, in one',
        items: 1,
        run: () => ours.decryptFile(encrypted.data, encrypted),
        result: async () => hashOf(await ours.decryptFile(encrypted.data, encrypted)),
      },
      { name: 'node:crypto, streams of 64 KB', items: 1, run: byNode, result: byNode },
    ],
  };
}

/** Each makes one or more jobs, which are measured before the next are made. */
export const jobs = [
  () =>
    oneMessage(200, {
      decrypt: {
        goals: present(
          goal('node:crypto', 5),
          goal('WebCrypto, await each', 30),
          wasm && goal('@noble/ciphers', 5, 'ours, WASM'),
        ),
      },
      encrypt: { goals: [goal('node:crypto', 4)] },
    }),
  () =>
    oneMessage(4096, {
      decrypt: {
        goals: present(goal('node:crypto', 2.5), wasm && goal('@noble/ciphers', 3, 'ours, WASM')),
      },
      encrypt: { goals: [goal('node:crypto', 2.5)] },
    }),
  many,
  mixture,
  unwrapping,
  wrapping,
  unlocking,
  generating,
  files,
  filesBack,
];

/** How long the event loop was held up while `work` ran: milliseconds. */
export async function loopDelay(work) {
  const { monitorEventLoopDelay } = await import('node:perf_hooks');
  const resolution = 1;
  const monitor = monitorEventLoopDelay({ resolution });
  const p99 = [];
  for (let round = 0; round < 5; round++) {
    monitor.reset();
    monitor.enable();
    await work();
    monitor.disable();
    p99.push(monitor.percentile(99) / 1e6 - resolution);
  }
  return median(p99);
}
