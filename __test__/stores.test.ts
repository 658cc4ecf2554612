import { type ChildProcess, execFile, spawn } from 'child_process';
import { randomBytes } from 'crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { promisify } from 'util';
import {
  type KeyManagement,
  MemoryStore,
  PersistenceStore,
  type RecordChange,
  type RecordStore,
  SqliteStore,
  type StoreSecret,
} from '..';
import type { Vault } from '../binding';
import { AppPersistence } from './apps-engine/persistence';
import { codeOf, ROOT } from './helpers';

// The vault is not for users, who get no sealed record into a store by hand.
const { coreOf } = require('../dist/vault') as { coreOf(vault: unknown): Vault };
const { guard } = require('../dist/errors') as { guard<T>(call: () => T): T };

let folder: string;
let files = 0;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
});

// Fails on Windows while a file is open, and so proves that none is.
afterAll(() => rmSync(folder, { recursive: true }));

const newPath = () => join(folder, `${++files}.db`);
const KEY = randomBytes(32);
const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function put(store: RecordStore, name: string, expected: number, text: string): RecordChange {
  const data = coreOf(store.vault).seal(name, expected + 1, Buffer.from(text));
  return { name, expected, data };
}

const remove = (name: string, expected: number): RecordChange => ({ name, expected, data: null });

/** What a store holds, opened: `[name, version, text]`. */
async function contents(store: RecordStore, prefix = ''): Promise<[string, number, string][]> {
  const records = await store.load(prefix);
  return records.map(({ name, version, data }) => [
    name,
    version,
    guard(() => coreOf(store.vault).open(name, version, data)).toString(),
  ]);
}

describe.each<[string, () => Promise<RecordStore>]>([
  ['MemoryStore', () => MemoryStore.open()],
  ['SqliteStore', () => SqliteStore.open(newPath(), { secret: KEY })],
  [
    'PersistenceStore',
    () => PersistenceStore.open({ ...new AppPersistence().accessors, appId: 'app', secret: KEY }),
  ],
])('%s', (_name, open) => {
  let store: RecordStore;
  beforeEach(async () => {
    store = await open();
  });
  afterEach(() => store.close());

  test('counts the versions of a record', async () => {
    await store.commit([put(store, 'a', 0, 'one')]);
    await store.commit([put(store, 'a', 1, 'two')]);
    expect(await contents(store)).toEqual([['a', 2, 'two']]);
    await store.commit([remove('a', 2)]);
    expect(await contents(store)).toEqual([]);
    await store.commit([put(store, 'a', 0, 'three')]);
    expect(await contents(store)).toEqual([['a', 1, 'three']]);
  });

  test('refuses a batch with a conflict, all of it', async () => {
    await store.commit([put(store, 'a', 0, 'one'), put(store, 'b', 0, 'one')]);
    const before = await contents(store);
    for (const conflict of [
      put(store, 'a', 0, 'two'),
      put(store, 'a', 2, 'two'),
      put(store, 'c', 1, 'two'),
      remove('a', 0),
      remove('a', 2),
      remove('c', 1),
    ]) {
      const batch = [put(store, 'new', 0, 'one'), put(store, 'b', 1, 'two'), conflict];
      expect(await codeOf(() => store.commit(batch))).toBe('ERR_E2EE_STORE_CONFLICT');
      expect(await contents(store)).toEqual(before);
    }
  });

  test('writes a batch at once', async () => {
    await store.commit([put(store, 'a', 0, 'one'), put(store, 'b', 0, 'one')]);
    await store.commit([remove('a', 1), put(store, 'b', 1, 'two'), put(store, 'c', 0, 'one')]);
    await store.commit([remove('a', 0)]);
    await store.commit([]);
    expect(await contents(store)).toEqual([
      ['b', 2, 'two'],
      ['c', 1, 'one'],
    ]);
  });

  test('lets one of many that write the same record win', async () => {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => store.commit([put(store, 'a', 0, String(i))])),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await contents(store)).toHaveLength(1);
  });

  test('finds records by the beginning of their names, which are no patterns', async () => {
    const names = ['a', 'a%', 'a/1', 'a/2', 'a_', 'b', 'vault/1', 'ä', '\uffff', '😀'];
    await store.commit(names.map((name) => put(store, name, 0, '')));
    const found = async (prefix: string) => (await store.load(prefix)).map(({ name }) => name);
    expect(await found('')).toEqual(names);
    expect(await found('a/')).toEqual(['a/1', 'a/2']);
    expect(await found('a%')).toEqual(['a%']);
    expect(await found('vault')).toEqual(['vault/1']);
    expect(await found('😀')).toEqual(['😀']);
    expect(await found('c')).toEqual([]);
  });

  test('gives a claim once, until it runs out', async () => {
    const claims = await Promise.all(Array.from({ length: 10 }, () => store.claim('a', 60_000)));
    expect(claims.filter(Boolean)).toHaveLength(1);
    expect(await store.claim('b', 60_000)).toBe(true);
    expect(await store.claim('c', 30)).toBe(true);
    await delay(60);
    expect(await store.claim('c', 30)).toBe(true);
    expect(await store.claim('a', 30)).toBe(false);
  });

  test('keeps copies: neither side sees what the other changes later', async () => {
    const change = put(store, 'a', 0, 'one');
    const committed = store.commit([change]);
    change.data?.fill(0);
    await committed;
    for (const { data } of await store.load('')) data.fill(0);
    expect(await contents(store)).toEqual([['a', 1, 'one']]);
  });

  test('writes nothing that its vault did not seal for that place', async () => {
    const { data } = put(store, 'a', 0, 'one');
    const other = await MemoryStore.open();
    for (const change of [
      { name: 'b', expected: 0, data },
      { name: 'a', expected: 1, data },
      put(other, 'a', 0, 'one'),
    ]) {
      expect(await codeOf(() => store.commit([change]))).toBe('ERR_E2EE_STORE_MISMATCH');
    }
    const plain = { name: 'a', expected: 0, data: Buffer.from('\u0001plaintext') };
    expect(await codeOf(() => store.commit([plain]))).toBe('ERR_E2EE_STORE_CORRUPT');
    expect(await contents(store)).toEqual([]);
  });

  test('answers what cannot be used with an error', async () => {
    const good = put(store, 'a', 0, 'one');
    for (const batch of [
      null,
      'a',
      [null],
      [good, good],
      [{ ...good, name: '' }],
      [{ ...good, name: 'vault' }],
      [{ ...good, name: '\ud83d' }],
      [{ ...good, name: 'a'.repeat(1001) }],
      [{ ...good, expected: -1 }],
      [{ ...good, expected: 0.5 }],
      [{ ...good, expected: 2 ** 53 }],
      [{ ...good, expected: '0' }],
      [{ ...good, data: undefined }],
      [{ ...good, data: 'text' }],
    ] as unknown as RecordChange[][]) {
      expect(await codeOf(() => store.commit(batch))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    }
    for (const [id, ttl] of [
      ['', 1],
      ['a', 0],
      ['a', NaN],
      ['a', '1'],
      [1, 1],
    ] as [string, number][]) {
      expect(await codeOf(() => store.claim(id, ttl))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    }
    const prefix = undefined as unknown as string;
    expect(await codeOf(() => store.load(prefix))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    expect(await store.claim('a', Infinity)).toBe(true);
    expect(await store.claim('a'.repeat(1000), 0.5 + 1)).toBe(true);
  });

  test('is closed for good', async () => {
    await store.commit([put(store, 'a', 0, 'one')]);
    await store.close();
    await store.close();
    expect(await codeOf(() => store.load(''))).toBe('ERR_E2EE_CLOSED');
    expect(await codeOf(() => store.commit([]))).toBe('ERR_E2EE_CLOSED');
    expect(await codeOf(() => store.claim('a', 1))).toBe('ERR_E2EE_CLOSED');
  });
});

/** A stand-in for a key management service: what it wraps is the key in another order. */
const service = (calls: string[] = []): KeyManagement => ({
  async wrap(key) {
    calls.push('wrap');
    return Uint8Array.from([9, ...key].reverse());
  },
  async unwrap(wrapped) {
    calls.push('unwrap');
    return Uint8Array.from([...wrapped].reverse()).subarray(1);
  },
});

/** A closed store in a file, with a few records. */
async function written(secret: StoreSecret = KEY): Promise<string> {
  const path = newPath();
  const store = await SqliteStore.open(path, { secret });
  await store.commit([put(store, 'a', 0, 'one'), put(store, 'b', 0, 'one')]);
  await store.commit([put(store, 'b', 1, 'two')]);
  await store.close();
  return path;
}

const WRITTEN = [
  ['a', 1, 'one'],
  ['b', 2, 'two'],
];

async function read(path: string, secret: StoreSecret = KEY): Promise<[string, number, string][]> {
  const store = await SqliteStore.open(path, { secret });
  try {
    return await contents(store);
  } finally {
    await store.close();
  }
}

/** The code that opening and reading fails with, and that the file is then as it was. */
async function refusal(path: string, secret: StoreSecret = KEY): Promise<string> {
  const before = readFileSync(path);
  const code = await codeOf(() => read(path, secret));
  expect(readFileSync(path).equals(before)).toBe(true);
  return code;
}

describe('secrets', () => {
  test.each<[string, StoreSecret, StoreSecret]>([
    ['a string', 'correct horse', 'Correct horse'],
    ['32 bytes', KEY, Buffer.alloc(32)],
    ['a service', service(), { ...service(), unwrap: async (wrapped) => wrapped.subarray(1) }],
  ])('%s opens the store, and another one does not', async (_kind, secret, wrong) => {
    const path = await written(secret);
    expect(await read(path, secret)).toEqual(WRITTEN);
    const others = [wrong, 'something else', randomBytes(32)];
    if (typeof secret === 'string' || secret instanceof Uint8Array) others.push(service());
    for (const other of others) {
      expect(await refusal(path, other)).toBe('ERR_E2EE_WRONG_STORE_SECRET');
    }
  });

  test('a service is asked, its errors pass, and what it cannot unwrap is not used', async () => {
    const calls: string[] = [];
    const path = await written(service(calls));
    expect(calls).toEqual(['wrap', 'unwrap', 'unwrap']);
    const outage = new Error('the service is down');
    const down = { ...service(), unwrap: () => Promise.reject(outage) };
    await expect(SqliteStore.open(path, { secret: down })).rejects.toBe(outage);

    const forgetful = { ...service(), unwrap: async () => new Uint8Array(32) };
    const text = { ...service(), wrap: async () => 'wrapped' as unknown as Uint8Array };
    const nothing = { ...service(), wrap: async () => new Uint8Array() };
    const fresh = newPath();
    for (const [secret, code] of [
      [forgetful, 'ERR_E2EE_WRONG_STORE_SECRET'],
      [text, 'ERR_E2EE_INVALID_ARGUMENT'],
      [nothing, 'ERR_E2EE_INVALID_ARGUMENT'],
    ] as const) {
      expect(await codeOf(() => SqliteStore.open(fresh, { secret }))).toBe(code);
      expect(existsSync(fresh)).toBe(false);
      const store = await SqliteStore.open(path, { secret: service() });
      expect(await codeOf(() => store.changeSecret(secret))).toBe(code);
      await store.close();
    }
    expect(await read(path, service())).toEqual(WRITTEN);
  });

  test('the key that a service wraps is wiped afterwards', async () => {
    let seen: Uint8Array = new Uint8Array();
    const secret: KeyManagement = {
      ...service(),
      wrap(key) {
        seen = key;
        return service().wrap(key);
      },
    };
    await written(secret);
    expect([...seen]).toEqual(Array(32).fill(0));
  });

  test('unusable secrets, paths and timeouts are refused before anything is made', async () => {
    for (const secret of ['', Buffer.alloc(31), 5, null, undefined, {}, { wrap() {} }]) {
      const path = newPath();
      const open = () => SqliteStore.open(path, { secret: secret as StoreSecret });
      expect(await codeOf(open)).toBe('ERR_E2EE_INVALID_ARGUMENT');
      expect(existsSync(path)).toBe(false);
    }
    for (const timeout of [-1, 0.5, NaN, Infinity, '5']) {
      const options = { secret: KEY, timeout: timeout as number };
      expect(await codeOf(() => SqliteStore.open(newPath(), options))).toBe(
        'ERR_E2EE_INVALID_ARGUMENT',
      );
    }
    for (const path of ['', 'a\0b', undefined] as string[]) {
      expect(await codeOf(() => SqliteStore.open(path, { secret: KEY }))).toBe(
        'ERR_E2EE_INVALID_ARGUMENT',
      );
    }
    const nowhere = join(folder, 'nowhere', 'store.db');
    expect(await codeOf(() => SqliteStore.open(nowhere, { secret: KEY }))).toBe(
      'ERR_E2EE_STORE_IO',
    );
  });

  test('a changed secret opens the store, the one before does not, and who has it open goes on', async () => {
    const path = await written('first');
    const store = await SqliteStore.open(path, { secret: 'first' });
    const other = await SqliteStore.open(path, { secret: 'first' });
    let last: StoreSecret = 'first';
    for (const next of [KEY, service(), 'second'] as StoreSecret[]) {
      await store.changeSecret(next);
      expect(await codeOf(() => SqliteStore.open(path, { secret: last }))).toBe(
        'ERR_E2EE_WRONG_STORE_SECRET',
      );
      expect(await read(path, next)).toEqual(WRITTEN);
      last = next;
    }
    await other.commit([put(other, 'a', 1, 'three')]);
    expect(await contents(store, 'a')).toEqual([['a', 2, 'three']]);
    // It still believes in the first secret, and must not bring it back.
    expect(await codeOf(() => other.rekey())).toBe('ERR_E2EE_WRONG_STORE_SECRET');
    await store.close();
    await other.close();
  });

  test('a new data key opens all there was, and shuts out whoever has the one before', async () => {
    const path = await written();
    const store = await SqliteStore.open(path, { secret: KEY });
    const other = await SqliteStore.open(path, { secret: KEY });
    const before = await store.load('');
    const stale = put(store, 'c', 0, 'one');
    await store.rekey();
    expect(await contents(store)).toEqual(WRITTEN);
    for (const { name, version, data } of before) {
      const open = () => coreOf(store.vault).open(name, version, Buffer.from(data));
      expect(open).toThrow(expect.objectContaining({ code: 'ERR_E2EE_STORE_MISMATCH' }));
    }
    expect(await codeOf(() => store.commit([stale]))).toBe('ERR_E2EE_STORE_MISMATCH');
    for (const call of [
      () => other.load(''),
      () => other.commit([put(other, 'c', 0, 'one')]),
      () => other.rekey(),
      () => other.changeSecret('another'),
    ]) {
      expect(await codeOf(call)).toBe('ERR_E2EE_STORE_REKEYED');
    }
    // What was replaced is not left over in the file or its log.
    for (const file of readdirSync(folder).filter((name) => join(folder, name).startsWith(path))) {
      const bytes = readFileSync(join(folder, file));
      for (const { data } of before) expect(bytes.includes(Buffer.from(data))).toBe(false);
    }
    await store.commit([put(store, 'c', 0, 'one')]);
    await store.close();
    await other.close();
    expect(await read(path)).toEqual([...WRITTEN, ['c', 1, 'one']]);
  });

  test('stretching a secret does not hold up the event loop', async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 2);
    await written('correct horse');
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(10);
  });
});

describe('what is found in the file', () => {
  test('nothing that was sealed, and no key', async () => {
    const path = newPath();
    const secret = 'a secret to look for';
    const plaintext = 'a plaintext to look for '.repeat(400);
    const store = await SqliteStore.open(path, { secret });
    const key = coreOf(store.vault).revealDataKey();
    const search = () => {
      const found = readdirSync(folder).filter((name) => join(folder, name).startsWith(path));
      for (const name of found) {
        const bytes = readFileSync(join(folder, name));
        for (const needle of [secret, plaintext.slice(0, 24), key]) {
          expect(bytes.includes(needle)).toBe(false);
        }
      }
      return found.length;
    };
    await store.commit([put(store, 'a', 0, plaintext)]);
    await store.commit([put(store, 'a', 1, plaintext), put(store, 'b', 0, plaintext)]);
    expect(search()).toBe(3);
    await store.rekey();
    expect(search()).toBe(3);
    await store.close();
    expect(search()).toBe(1);
    if (process.platform !== 'win32') expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  /** The file with `from` and `to` (of one length) in each other's place. */
  function exchange(path: string, from: Uint8Array, to: Uint8Array): void {
    const bytes = readFileSync(path);
    const [a, b] = [bytes.indexOf(from), bytes.indexOf(to)];
    expect(a).toBeGreaterThan(0);
    bytes.set(to, a);
    if (b > 0) bytes.set(from, b);
    writeFileSync(path, bytes);
  }

  test('a record put in place of another, or of its later self, is refused', async () => {
    const path = await written();
    const store = await SqliteStore.open(path, { secret: KEY });
    const [a, b] = await store.load('');
    await store.commit([put(store, 'b', 2, 'six')]);
    const [, later] = await store.load('');
    await store.close();
    if (!a || !b || !later) throw new Error('unreachable');
    exchange(path, a.data, later.data);
    expect(await refusal(path)).toBe('ERR_E2EE_STORE_MISMATCH');
    exchange(path, a.data, later.data);
    expect(await read(path)).toEqual([
      ['a', 1, 'one'],
      ['b', 3, 'six'],
    ]);
    exchange(path, later.data, b.data);
    expect(await refusal(path)).toBe('ERR_E2EE_STORE_MISMATCH');
  });

  test('newer files and newer records are told', async () => {
    const path = await written();
    const bytes = readFileSync(path);
    const newer = (change: (bytes: Buffer) => void) => {
      const changed = Buffer.from(bytes);
      change(changed);
      writeFileSync(path, changed);
      return refusal(path);
    };
    // SQLite keeps user_version at byte 60.
    expect(await newer((file) => file.writeUInt32BE(2, 60))).toBe('ERR_E2EE_STORE_TOO_NEW');
    writeFileSync(path, bytes);
    const store = await SqliteStore.open(path, { secret: KEY });
    const [record] = await store.load('');
    await store.close();
    const position = bytes.indexOf(record?.data ?? 'unreachable');
    expect(await newer((file) => file.writeUInt8(2, position))).toBe('ERR_E2EE_STORE_TOO_NEW');
    // The key record: format 1, wrapped by 32 bytes.
    const key = bytes.indexOf('vault\u0001\u0002') + 5;
    expect(key).toBeGreaterThan(100);
    expect(await newer((file) => file.writeUInt8(2, key))).toBe('ERR_E2EE_STORE_TOO_NEW');
  });

  test('files that are no stores are told, and kept', async () => {
    const path = newPath();
    for (const [content, code] of [
      ['', 'ERR_E2EE_STORE_CORRUPT'],
      ['my notes', 'ERR_E2EE_STORE_FOREIGN'],
      [randomBytes(10_000), 'ERR_E2EE_STORE_FOREIGN'],
    ] as const) {
      writeFileSync(path, content);
      expect(await refusal(path)).toBe(code);
    }
    expect(await codeOf(() => SqliteStore.open(folder, { secret: KEY }))).toBe('ERR_E2EE_STORE_IO');
  });

  test('damage anywhere has a code, changes nothing, and never reads as something else', async () => {
    const path = newPath();
    const store = await SqliteStore.open(path, { secret: KEY });
    for (let i = 0; i < 10; i++) {
      await store.commit([put(store, `record ${i}`, 0, `${i} `.repeat(i * 300))]);
    }
    const all = await contents(store);
    await store.close();
    const bytes = readFileSync(path);
    const outcomes = new Map<string, number>();
    const damage = async (damaged: Buffer, what: string) => {
      writeFileSync(path, damaged);
      let outcome = 'reads as before';
      try {
        expect({ what, read: await read(path) }).toEqual({ what, read: all });
      } catch (error) {
        outcome = (error as { code?: string }).code ?? '';
        // Anything but a code is the failure of the line above.
        if (!/^ERR_E2EE_STORE_(CORRUPT|FOREIGN|MISMATCH|TOO_NEW)$/.test(outcome)) throw error;
        expect(readFileSync(path).equals(damaged)).toBe(true);
      }
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    };
    for (let i = 0; i < 600; i++) {
      // Each byte of the header, where SQLite keeps what it relies on; then here and there.
      const position = i < 100 ? i : Math.floor(Math.random() * bytes.length);
      const damaged = Buffer.from(bytes);
      damaged[position] = (damaged[position] ?? 0) ^ (1 << (i % 8));
      await damage(damaged, `bit ${i % 8} of byte ${position}`);
    }
    for (let length = 0; length < bytes.length; length += 512) {
      await damage(bytes.subarray(0, length), `cut to ${length} bytes`);
      await damage(bytes.subarray(0, length + 100), `cut to ${length + 100} bytes`);
    }
    console.info(`600 flips and ${bytes.length / 256} cuts:`, Object.fromEntries(outcomes));
    expect(outcomes.get('ERR_E2EE_STORE_CORRUPT')).toBeGreaterThan(0);
    expect(outcomes.get('ERR_E2EE_STORE_MISMATCH')).toBeGreaterThan(0);
    writeFileSync(path, bytes);
    expect(await read(path)).toEqual(all);
  }, 60_000);
});

describe('processes that share a store', () => {
  const CHILD = join(__dirname, 'store-child.js');
  const args = (job: string, path: string, id = '') => [
    CHILD,
    ROOT,
    job,
    path,
    KEY.toString('hex'),
    id,
  ];
  const run = async (job: string, path: string) =>
    (await promisify(execFile)(process.execPath, args(job, path))).stdout;

  test('make one store when they start at once', async () => {
    for (let round = 0; round < 3; round++) {
      const path = newPath();
      const keys = await Promise.all(Array.from({ length: 4 }, () => run('open', path)));
      expect(new Set(keys).size).toBe(1);
      expect(keys[0]).toMatch(/^[0-9a-f]{64}$/);
    }
    expect(readdirSync(folder).filter((name) => name.endsWith('.new'))).toEqual([]);
  }, 30_000);

  test('need not close it to end', async () => {
    const path = await written();
    const source = `require(${JSON.stringify(ROOT)}).SqliteStore.open(${JSON.stringify(path)},
      { secret: Buffer.from('${KEY.toString('hex')}', 'hex') }).then((store) => store.load(''))
      .then(({ length }) => console.log(length))`;
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', source]);
    expect(stdout).toBe('2\n');
    expect(await read(path)).toEqual(WRITTEN);
  });

  test('make one store in one process, too', async () => {
    const path = newPath();
    const stores = await Promise.all(
      Array.from({ length: 8 }, () => SqliteStore.open(path, { secret: KEY })),
    );
    const keys = stores.map(({ vault }) => coreOf(vault).revealDataKey().toString('hex'));
    expect(new Set(keys).size).toBe(1);
    await Promise.all(stores.map((store) => store.close()));
  });

  test('lose no update', async () => {
    const path = newPath();
    await Promise.all(Array.from({ length: 3 }, () => run('count', path)));
    expect(await read(path)).toEqual([['counter', 150, '150']]);
  }, 30_000);

  class Writer {
    acknowledged = 0;
    readonly #process: ChildProcess;
    readonly #ended: Promise<unknown>;
    #errors = '';

    constructor(
      path: string,
      readonly id: string,
    ) {
      this.#process = spawn(process.execPath, args('write', path, id));
      let rest = '';
      this.#process.stdout?.on('data', (text) => {
        const lines = (rest + text).split('\n');
        rest = lines.pop() ?? '';
        this.acknowledged = Number(lines.pop() ?? this.acknowledged);
      });
      this.#process.stderr?.on('data', (text) => {
        this.#errors += text;
      });
      this.#ended = new Promise((resolve) => this.#process.on('close', resolve));
    }

    async started(): Promise<void> {
      while (this.acknowledged === 0) {
        expect(this.#errors).toBe('');
        await delay(1);
      }
    }

    async kill(): Promise<void> {
      this.#process.kill('SIGKILL');
      await this.#ended;
      expect(this.#errors).toBe('');
      expect(this.#process.signalCode).toBe('SIGKILL');
    }
  }

  test('leave everything that they acknowledged, and no half a batch, when they are killed', async () => {
    const path = newPath();
    const begun = Date.now();
    let kills = 0;
    let commits = 0;
    const check = async (writers: Writer[]) => {
      const acknowledged = writers.map((writer) => writer.acknowledged);
      const found = new Map(
        (await read(path)).map(([name, _, text]) => [name, parseInt(text, 10)]),
      );
      let total = 0;
      writers.forEach(({ id }, i) => {
        const [first = -1, ...others] = [0, 1, 2, 3].map((record) => found.get(`${id}/${record}`));
        expect(others).toEqual([first, first, first]);
        expect(first).toBeGreaterThanOrEqual(acknowledged[i] ?? NaN);
        total += first;
      });
      expect(found.get('total')).toBe(total);
      commits = total;
    };
    while (kills < 240) {
      const writers = ['a', 'b', 'c'].map((id) => new Writer(path, id));
      await Promise.all(writers.map((writer) => writer.started()));
      await delay(Math.random() * 20);
      // One while the others go on, and then the others at once: nobody is left to clean up.
      const [first, ...others] = writers;
      await first?.kill();
      await check(writers);
      await Promise.all(others.map((writer) => writer.kill()));
      await check(writers);
      kills += writers.length;
    }
    const seconds = (Date.now() - begun) / 1000;
    console.info(`${kills} kills in ${seconds.toFixed(1)} s, ${commits} batches`);
    expect(readdirSync(folder).filter((name) => name.endsWith('.new'))).toEqual([]);
  }, 120_000);

  test.each(['open', 'rekey', 'secret'])(
    'leave a sound store when they are killed at: %s',
    async (job) => {
      const fresh = job === 'open';
      let path = fresh ? newPath() : await written();
      for (let i = 0; i < 20; i++) {
        if (fresh) path = newPath();
        const child = spawn(process.execPath, args(job, path));
        const ended = new Promise((resolve) => child.on('close', resolve));
        // A new store takes a few milliseconds after about 60 of starting up.
        if (fresh) await delay(40 + 2 * i);
        else await new Promise((resolve) => child.stdout.once('data', resolve));
        await delay(Math.random() * 5);
        child.kill('SIGKILL');
        await ended;
        try {
          expect(await read(path)).toEqual(fresh ? [] : WRITTEN);
        } catch (error) {
          if (job !== 'secret') throw error;
          expect((error as { code?: string }).code).toBe('ERR_E2EE_WRONG_STORE_SECRET');
          const store = await SqliteStore.open(path, { secret: Buffer.from(KEY).reverse() });
          expect(await contents(store)).toEqual(WRITTEN);
          await store.changeSecret(KEY);
          await store.close();
        }
      }
    },
    30_000,
  );

  test('tell one that waited too long for the others', async () => {
    const path = await written();
    const writers = ['a', 'b'].map((id) => new Writer(path, id));
    await Promise.all(writers.map((writer) => writer.started()));
    const codes = new Set<string>();
    for (let i = 0; i < 5000 && codes.size === 0; i++) {
      try {
        const store = await SqliteStore.open(path, { secret: KEY, timeout: 0 });
        await store.claim(String(i), 1).finally(() => store.close());
      } catch (error) {
        codes.add((error as { code: string }).code);
      }
    }
    await Promise.all(writers.map((writer) => writer.kill()));
    expect([...codes]).toEqual(['ERR_E2EE_STORE_LOCKED']);
  }, 30_000);
});
