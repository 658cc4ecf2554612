import { randomBytes } from 'crypto';
import { PersistenceStore, type RecordStore } from '../..';
import type { Vault } from '../../binding';
import { codeOf } from '../helpers';
import { AppPersistence } from './persistence';

const { coreOf } = require('../../dist/vault') as { coreOf(vault: unknown): Vault };

const KEY = randomBytes(32);
let app: AppPersistence;

beforeEach(() => {
  app = new AppPersistence();
});

const open = (secret: string | Uint8Array = KEY) =>
  PersistenceStore.open({ ...app.accessors, appId: 'app', secret });

function put(store: RecordStore, name: string, expected: number, text: string) {
  const data = coreOf(store.vault).seal(name, expected + 1, Buffer.from(text));
  return { name, expected, data };
}

async function textOf(store: RecordStore, wanted: string): Promise<string | undefined> {
  const found = (await store.load(wanted)).find(({ name }) => name === wanted);
  if (!found) return undefined;
  return coreOf(store.vault).open(wanted, found.version, found.data).toString();
}

/** Every document of the store, as somebody with the database can change it. */
const documents = () =>
  app.documents.map(({ data }) => data as Record<string, never> & { entries: Entry[] });
type Entry = { turn: number; version: number; data: string };
const about = (name: string) =>
  documents().find(
    ({ names }) => names && (names as string[]).includes(`record:${name}`),
  ) as unknown as {
    format: number;
    names: string[];
    entries: Entry[];
    written: boolean;
  };

describe('several instances', () => {
  test('that start at once make one store', async () => {
    app.latency = 5;
    const stores = await Promise.all(Array.from({ length: 6 }, () => open()));
    const keys = stores.map((store) => coreOf(store.vault).revealDataKey().toString('hex'));
    expect(new Set(keys).size).toBe(1);
  }, 30_000);

  test.each([-1, 0, 3, 15])(
    'lose no update, with steps of up to %d ms',
    async (latency) => {
      app.latency = latency;
      const stores = await Promise.all(Array.from({ length: 4 }, () => open()));
      const rounds = 6;
      const count = async (store: RecordStore) => {
        for (let done = 0; done < rounds; ) {
          const [found] = await store.load('n/counter');
          const value = Number((await textOf(store, 'n/counter')) ?? 0);
          try {
            await store.commit([put(store, 'n/counter', found?.version ?? 0, String(value + 1))]);
            done += 1;
          } catch (error) {
            // Read in two steps above, so another's text may not fit the version.
            expect((error as { code: string }).code).toBe('ERR_E2EE_STORE_CONFLICT');
          }
        }
      };
      await Promise.all(stores.map(count));
      const [record] = await (stores[0] as RecordStore).load('n/');
      expect(record?.version).toBe(stores.length * rounds);
      expect(await textOf(stores[1] as RecordStore, 'n/counter')).toBe(
        String(stores.length * rounds),
      );
    },
    60_000,
  );

  test('write batches that overlap whole or not at all', async () => {
    app.latency = 2;
    const [one, two] = (await Promise.all([open(), open()])) as [RecordStore, RecordStore];
    for (let round = 0; round < 10; round += 1) {
      const batch = (store: RecordStore, text: string) =>
        store.commit(['b/1', 'b/2', 'b/3'].map((name) => put(store, `${name}/${round}`, 0, text)));
      const outcomes = await Promise.allSettled([batch(one, 'one'), batch(two, 'two')]);
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      const texts = await Promise.all(
        ['b/1', 'b/2', 'b/3'].map((name) => textOf(one, `${name}/${round}`)),
      );
      expect(new Set(texts).size).toBe(1);
    }
  }, 60_000);

  test('give a claim once', async () => {
    app.latency = 5;
    const stores = await Promise.all(Array.from({ length: 5 }, () => open()));
    for (const id of ['a', 'b', 'c']) {
      const claims = await Promise.all(stores.map((store) => store.claim(id, 60_000)));
      expect(claims.filter(Boolean)).toHaveLength(1);
    }
  }, 30_000);

  test('one that died in the middle of a write holds the others up, but not for good', async () => {
    const store = await open();
    await store.commit([put(store, 'd/a', 0, 'one')]);
    const dying = await open();
    app.failure = (method) =>
      method === 'updateByAssociations' || method === 'removeByAssociation'
        ? new Error('killed')
        : undefined;
    expect(await codeOf(() => dying.commit([put(dying, 'd/a', 1, 'two')]))).toBe(
      'ERR_E2EE_STORE_IO',
    );
    app.failure = () => undefined;
    // What it announced is still there, does not count, and does not keep anybody from reading.
    expect(await textOf(store, 'd/a')).toBe('one');
    await store.commit([put(store, 'd/a', 1, 'three')]);
    expect(await textOf(store, 'd/a')).toBe('three');
    expect(documents().filter(({ written }) => written === (false as never))).toEqual([]);
  }, 30_000);

  test('one that was taken for dead cannot write any more', async () => {
    const [slow, fast] = [await open(), await open()];
    await fast.commit([put(fast, 's/a', 0, 'one')]);
    let resume: () => void = () => undefined;
    const update = app.persistence.updateByAssociations;
    let late: Promise<unknown> = Promise.resolve();
    await new Promise<void>((reached) => {
      app.persistence.updateByAssociations = async (...parameters) => {
        app.persistence.updateByAssociations = update;
        reached();
        await new Promise<void>((resolve) => {
          resume = resolve;
        });
        return update(...parameters);
      };
      late = slow.commit([put(slow, 's/a', 1, 'late')]).catch(({ code }) => code);
    });
    await fast.commit([put(fast, 's/a', 1, 'two')]);
    resume();
    expect(await late).toBe('ERR_E2EE_STORE_CONFLICT');
    expect(await textOf(fast, 's/a')).toBe('two');
  }, 40_000);
});

test('it keeps little that is no longer in force', async () => {
  const store = await open();
  const before = app.documents.length;
  for (let version = 0; version < 20; version += 1) {
    await store.commit([put(store, 'k/a', version, String(version))]);
  }
  for (let i = 0; i < 5; i += 1) {
    await store.commit([put(store, `k/out-${i}`, 0, 'x')]);
    await store.commit([{ name: `k/out-${i}`, expected: 1, data: null }]);
  }
  // The record, and the entry of its folder.
  expect(app.documents.length - before).toBe(2);
});

test('claims of days that are over are removed', async () => {
  const now = jest.spyOn(Date, 'now');
  try {
    const start = Date.UTC(2026, 0, 1);
    now.mockReturnValue(start);
    const store = await open();
    for (let i = 0; i < 5; i += 1) expect(await store.claim(`old-${i}`, 1000)).toBe(true);
    expect(await store.claim('kept', 30 * 86_400_000)).toBe(true);
    now.mockReturnValue(start + 4 * 86_400_000);
    expect(await store.claim('kept', 1000)).toBe(false);
    expect(JSON.stringify(app.documents)).not.toContain('old-');
    expect(await store.claim('old-1', 1000)).toBe(true);
  } finally {
    now.mockRestore();
  }
});

test('accessors of the sandbox, which have every method that one asks for, are told apart', async () => {
  const everything = (target: object) =>
    new Proxy(target, {
      get: (_, name) =>
        Reflect.get(target, name) ?? (() => Promise.reject(new Error('no such method'))),
    }) as never;
  const read = everything(app.read);
  const persistence = everything(app.persistence);
  const store = await PersistenceStore.open({ read, persistence, appId: 'app', secret: KEY });
  await store.commit([put(store, 'a', 0, 'one')]);
  const reader = { getPersistenceReader: () => read };
  const again = await PersistenceStore.open({
    read: reader,
    persistence,
    appId: 'app',
    secret: KEY,
  });
  expect(await textOf(again, 'a')).toBe('one');
});

test('stores of other names in the same app are others, and one can be erased', async () => {
  const store = await open();
  await store.commit([put(store, 'a', 0, 'one')]);
  const other = await PersistenceStore.open({ ...app.accessors, appId: 'app/2', secret: KEY });
  expect(await other.load('')).toEqual([]);
  await PersistenceStore.erase({ ...app.accessors, appId: 'app/2' });
  expect(await textOf(store, 'a')).toBe('one');
  await PersistenceStore.erase({ ...app.accessors, appId: 'app' });
  expect(app.documents).toEqual([]);
});

describe('hostile persistence', () => {
  let store: PersistenceStore;
  /** Nothing is overwritten: what is there afterwards is what was there before. */
  let before: string;
  const unchanged = () => JSON.stringify(app.documents) === before;
  const damage = (change: () => void) => {
    change();
    before = JSON.stringify(app.documents);
  };

  beforeEach(async () => {
    store = await open();
    await store.commit([put(store, 'r/a', 0, 'one')]);
    await store.commit([put(store, 'r/b', 0, 'one')]);
  });

  const opened = async (name: string) => {
    const [found] = (await store.load(name)).filter((record) => record.name === name);
    if (!found) return undefined;
    const { guard } = require('../../dist/errors') as { guard<T>(call: () => T): T };
    return guard(() => coreOf(store.vault).open(name, found.version, found.data)).toString();
  };

  test('the wrong secret', async () => {
    before = JSON.stringify(app.documents);
    expect(await codeOf(() => open(randomBytes(32)))).toBe('ERR_E2EE_WRONG_STORE_SECRET');
    expect(await codeOf(() => open('text'))).toBe('ERR_E2EE_WRONG_STORE_SECRET');
    expect(unchanged()).toBe(true);
  });

  test('the key record is missing: no other is made', async () => {
    damage(() => {
      app.documents = app.documents.filter(
        ({ data }) => !JSON.stringify(data).includes('"record:vault"'),
      );
    });
    expect(await codeOf(() => open())).toBe('ERR_E2EE_STORE_CORRUPT');
    expect(unchanged()).toBe(true);
  });

  test.each([
    ['truncated', (text: string) => text.slice(0, 24)],
    ['cut short by a byte', (text: string) => text.slice(0, -4)],
    ['empty', () => ''],
    ['changed', (text: string) => `${text[0] === 'A' ? 'B' : 'A'}${text.slice(1)}`],
  ])('the key record is %s', async (_, change) => {
    damage(() => {
      const [entry] = about('vault').entries as [Entry];
      entry.data = change(entry.data);
    });
    const code = await codeOf(() => open());
    expect(['ERR_E2EE_STORE_CORRUPT', 'ERR_E2EE_STORE_TOO_NEW']).toContain(code);
    expect(unchanged()).toBe(true);
  });

  test('a record is truncated', async () => {
    damage(() => {
      const [entry] = about('r/a').entries as [Entry];
      entry.data = entry.data.slice(0, 24);
    });
    expect(await codeOf(() => opened('r/a'))).toBe('ERR_E2EE_STORE_CORRUPT');
    expect(await opened('r/b')).toBe('one');
  });

  test('two records are swapped', async () => {
    damage(() => {
      const [one, two] = [about('r/a').entries as [Entry], about('r/b').entries as [Entry]];
      [one[0].data, two[0].data] = [two[0].data, one[0].data];
    });
    expect(await codeOf(() => opened('r/a'))).toBe('ERR_E2EE_STORE_MISMATCH');
    expect(await codeOf(() => opened('r/b'))).toBe('ERR_E2EE_STORE_MISMATCH');
  });

  test('an earlier version is put in the place of a later one', async () => {
    const old = (about('r/a').entries as [Entry])[0].data;
    await store.commit([put(store, 'r/a', 1, 'two')]);
    damage(() => {
      (about('r/a').entries as [Entry])[0].data = old;
    });
    expect(await codeOf(() => opened('r/a'))).toBe('ERR_E2EE_STORE_MISMATCH');
  });

  test('an old document comes back beside the new one: the new one counts', async () => {
    const old = structuredClone(app.documents.find(({ data }) => data === (about('r/a') as never)));
    await store.commit([put(store, 'r/a', 1, 'two')]);
    damage(() => {
      if (old) app.documents.unshift(old);
    });
    expect(await opened('r/a')).toBe('two');
  });

  test('a record is missing: it is as if it had been removed, and can be written anew', async () => {
    damage(() => {
      app.documents = app.documents.filter(({ data }) => data !== (about('r/a') as never));
    });
    expect(await opened('r/a')).toBeUndefined();
    expect(await codeOf(() => store.commit([put(store, 'r/a', 1, 'two')]))).toBe(
      'ERR_E2EE_STORE_CONFLICT',
    );
    expect(unchanged()).toBe(true);
  });

  test.each<[string, object, string]>([
    ['is of a newer format', { format: 2 }, 'ERR_E2EE_STORE_TOO_NEW'],
    ['is of no format', { format: null }, 'ERR_E2EE_STORE_CORRUPT'],
    ['lacks its entries', { entries: null }, 'ERR_E2EE_STORE_CORRUPT'],
    ['has too few entries', { entries: [] }, 'ERR_E2EE_STORE_CORRUPT'],
    ['has an entry of no version', { entries: [{ turn: 1, data: '' }] }, 'ERR_E2EE_STORE_CORRUPT'],
    [
      'holds an object for text',
      { entries: [{ turn: 1, version: 1, data: { $gt: '' } }] },
      'ERR_E2EE_STORE_CORRUPT',
    ],
    ['has no id', { id: 7 }, 'ERR_E2EE_STORE_CORRUPT'],
  ])('a document %s: it is told, and not overwritten', async (_, change, code) => {
    damage(() => Object.assign(about('r/a'), change));
    expect(await codeOf(() => store.load('r/'))).toBe(code);
    expect(await codeOf(() => store.commit([put(store, 'r/a', 1, 'two')]))).toBe(code);
    expect(unchanged()).toBe(true);
  });

  test('answers that are no lists, and failures that quote', async () => {
    const find = app.read.readByAssociation;
    for (const answer of [null, undefined, {}, 'text', [null], ['text'], [[]]]) {
      app.read.readByAssociation = async () => answer as never;
      expect(await codeOf(() => store.load('r/'))).toBe('ERR_E2EE_STORE_CORRUPT');
      expect(await codeOf(() => open())).toBe('ERR_E2EE_STORE_CORRUPT');
    }
    app.read.readByAssociation = find;
    app.failure = () => new Error('duplicate key: { data: "quoted" }');
    const error = await store.load('r/').catch((thrown) => thrown);
    expect(error).toMatchObject({ code: 'ERR_E2EE_STORE_IO', message: 'the persistence failed' });
  });
});
