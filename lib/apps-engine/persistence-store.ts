import { randomBytes } from 'crypto';
import { E2eeError, expectText, guard, hasCode, kindOf } from '../errors';
import { native } from '../native';
import {
  type Claim,
  expectBatch,
  expectClaim,
  expectClaims,
  expectPrefix,
  KEY_RECORD,
  keeperOf,
  type RecordChange,
  type RecordStore,
  type SealedRecord,
  type StoreSecret,
} from '../store';
import { coreOf, type Vault, vaultOf } from '../vault';
import type { Persistence, PersistenceRead, Read } from './accessors';

/** How {@link PersistenceStore.open} opens a store. */
export interface PersistenceStoreOptions {
  /** `IRead` or `IPersistenceRead`. */
  read: PersistenceRead | Pick<Read, 'getPersistenceReader'>;
  /** `IPersistence`. */
  persistence: Persistence;
  /** Names the store within the app's persistence: the app's id, and more where it has several. */
  appId: string;
  /** What wraps the data key. */
  secret: StoreSecret;
}

/** A document as the persistence has it. */
interface Document {
  format: 1;
  /** 24 hexadecimal digits: no two documents have the same. */
  id: string;
  /** Whether it counts: until then it announces that somebody is about to write these names. */
  written: boolean;
  /** What it is about: `record:<name>`, `claim:<id>`. */
  names: string[];
  entries: Entry[];
}

/** What a document says of one name. */
interface Entry {
  /** Counts what was written under this name; the highest is in force. */
  turn: number;
  /** The record's version; of a claim, when it runs out, in milliseconds since 1970. */
  version: number;
  /** Base64 of a record; `null` where there is none any more. */
  data: string | null;
}

interface Current extends Entry {
  name: string;
  document: Document;
}

const FORMAT = 1;
/** Folders of records; those of claims begin otherwise. */
const RECORDS = 'records/';
/** How long somebody who announced a write is waited for, and then taken for dead. */
const PATIENCE_MS = 10_000;
/** A write that took longer than this from its announcement is given up by its own writer. */
const OWN_PATIENCE_MS = PATIENCE_MS / 2;
/** How long a call tries to get its turn. */
const TURN_MS = 15_000;
const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * Keeps records in an Apps-Engine app's own persistence, for any number of server instances.
 *
 * The persistence has neither transactions nor a conditional write. So each write announces itself
 * in a document of its own, looks who else does, waits for its turn, and then turns that document
 * into the record by one update: `docs/store-format.md` says what that guarantees, and what not.
 */
export class PersistenceStore implements RecordStore {
  /** @internal */
  readonly vault: Vault;
  readonly #documents: Documents;
  #closed = false;
  /** Folders that are known to be listed. */
  readonly #listed = new Set<string>();
  #swept = 0;

  private constructor(documents: Documents, vault: Vault) {
    this.#documents = documents;
    this.vault = vault;
  }

  /**
   * Opens the app's store, or makes one where there is none. Instances that do so at once end with
   * one store.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_WRONG_STORE_SECRET`, `ERR_E2EE_STORE_CORRUPT`,
   * `ERR_E2EE_STORE_TOO_NEW`, `ERR_E2EE_STORE_LOCKED`, `ERR_E2EE_STORE_IO` or
   * `ERR_E2EE_INVALID_ARGUMENT`; the store is then as it was.
   */
  static async open(options: PersistenceStoreOptions): Promise<PersistenceStore> {
    const documents = new Documents(options);
    const keeper = keeperOf(options.secret);
    const found = await documents.current(recordOf(KEY_RECORD));
    const record = found ?? (await makeKeyRecord(documents, keeper));
    const vault = vaultOf(await keeper.unwrap(bytesOf(record)));
    return new PersistenceStore(documents, vault);
  }

  /**
   * Removes everything that stores of this name have kept. Their keys are lost, except for what the
   * Rocket.Chat server has itself.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_STORE_IO` or `ERR_E2EE_INVALID_ARGUMENT`.
   */
  static async erase(options: Omit<PersistenceStoreOptions, 'secret'>): Promise<void> {
    await new Documents(options).erase();
  }

  /**
   * Goes on with other accessors: those of the call under way. What the Apps-Engine gives to one
   * call need not work in the next.
   *
   * @internal
   */
  use(options: Pick<PersistenceStoreOptions, 'read' | 'persistence'>): void {
    this.#documents.use(options);
  }

  async load(prefix: string): Promise<SealedRecord[]> {
    this.#expectOpen();
    const documents = await this.#documents.withPrefix(expectPrefix(prefix));
    return [...currentOf(documents)]
      .filter(([name, { data }]) => name.startsWith(recordOf(prefix)) && data !== null)
      .map(([name, entry]) => ({
        name: name.slice(recordOf('').length),
        version: entry.version,
        data: bytesOf(entry),
      }))
      .sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  }

  async commit(batch: readonly RecordChange[], claims: readonly Claim[] = []): Promise<void> {
    this.#expectOpen();
    const held = expectClaims(claims);
    const changes = expectBatch(batch).map((change) => ({
      ...change,
      data: change.data === null ? null : Buffer.from(change.data),
    }));
    for (const { name, expected, data } of changes) {
      if (data !== null) guard(() => coreOf(this.vault).check(name, expected + 1, data));
    }
    const ids = new Map(held.map(({ id, ttl }) => [claimOf(id), ttl]));
    const names = [...changes.map(({ name }) => recordOf(name)), ...ids.keys()];
    if (names.length === 0) return;
    // Claims beside records stay as long as those, so they are in no folder of their day.
    const folders = new Set(changes.map(({ name }) => folderOf(name)));
    if (changes.length === 0) folders.add(dayOf(Date.now() + Math.max(...ids.values())));
    for (const folder of folders) await this.#list(folder);
    await this.#documents.write(names, [...folders], (current) => {
      const entries = changes.map(({ name, expected, data }) => {
        const now = current.get(recordOf(name));
        if ((now === undefined || now.data === null ? 0 : now.version) !== expected) {
          throw new E2eeError(
            'ERR_E2EE_STORE_CONFLICT',
            'a record has another version than expected; nothing was written',
          );
        }
        const version = expected + 1;
        return { turn: turnAfter(now), version, data: data?.toString('base64') ?? null };
      });
      for (const [id, ttl] of ids) {
        const now = current.get(id);
        const expires = Math.max(expiryAfter(ttl), now?.version ?? 0);
        entries.push({ turn: turnAfter(now), version: expires, data: '' });
      }
      return entries;
    });
  }

  async claim(id: string, ttl: number): Promise<boolean> {
    this.#expectOpen();
    const expires = expiryAfter(expectClaim({ id, ttl }).ttl);
    await this.#sweep();
    const day = dayOf(expires);
    await this.#list(day);
    try {
      await this.#documents.write([claimOf(id)], [day], (current) => {
        const now = current.get(claimOf(id));
        if (now !== undefined && now.version > Date.now()) throw new Held();
        return [{ turn: turnAfter(now), version: expires, data: '' }];
      });
      return true;
    } catch (error) {
      if (error instanceof Held) return false;
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  /** Makes sure that the folder is found by who lists them all. */
  async #list(folder: string): Promise<void> {
    if (this.#listed.has(folder)) return;
    await this.#documents.list(folder);
    this.#listed.add(folder);
  }

  /** Once an hour: claims of days that are over are removed, a day's at a time. */
  async #sweep(): Promise<void> {
    if (Date.now() - this.#swept < DAY_MS / 24) return;
    this.#swept = Date.now();
    // A day more, for instances whose clocks are behind.
    const yesterday = Math.floor(Date.now() / DAY_MS) - 1;
    for (const folder of await this.#documents.listed()) {
      const [, day] = /^claims\/(\d+)$/.exec(folder) ?? [];
      if (day !== undefined && Number(day) < yesterday) {
        await this.#documents.removeFolder(folder);
      }
    }
  }

  #expectOpen(): void {
    if (this.#closed) throw new E2eeError('ERR_E2EE_CLOSED', 'the store is closed');
  }
}

/** Somebody has the claim. */
class Held extends Error {}

async function makeKeyRecord(
  documents: Documents,
  keeper: ReturnType<typeof keeperOf>,
): Promise<Entry> {
  if ((await documents.listed()).some((folder) => folder.startsWith(RECORDS))) {
    throw corrupt('the key record is gone');
  }
  const made = await keeper.wrap(guard(() => native.Vault.generate()));
  const data = Buffer.from(made).toString('base64');
  try {
    const [written] = await documents.write([recordOf(KEY_RECORD)], [], (current) => {
      if (current.size > 0) throw new Held();
      return [{ turn: 1, version: 1, data }];
    });
    if (written !== undefined) return written;
  } catch (error) {
    if (!(error instanceof Held)) throw error;
  }
  // Whoever comes second opens what the first one made.
  const record = await documents.current(recordOf(KEY_RECORD));
  if (record === undefined) throw corrupt('the key record is gone');
  return record;
}

/** The documents of one store, and the way in which several instances write them. */
class Documents {
  #read: PersistenceRead;
  #persistence: Persistence;
  readonly #prefix: string;

  constructor(options: Omit<PersistenceStoreOptions, 'secret'>) {
    if (typeof options !== 'object' || options === null) {
      throw invalid(`options must be an object, not ${kindOf(options)}`);
    }
    const appId = expectText(options.appId, 'appId', 'ERR_E2EE_INVALID_ARGUMENT');
    if (appId === '') throw invalid('appId must not be empty');
    this.#prefix = `rocketchat-e2ee/${encodeURIComponent(appId)}`;
    this.#read = readerOf(options.read);
    this.#persistence = expectPersistence(options.persistence);
  }

  use({ read, persistence }: Pick<PersistenceStoreOptions, 'read' | 'persistence'>): void {
    this.#read = readerOf(read);
    this.#persistence = expectPersistence(persistence);
  }

  /**
   * Writes these names at once, when it is their turn. `decide` gets what is in force, and answers
   * with an entry for each name, or throws: nothing is written then.
   */
  async write(
    names: readonly string[],
    folders: readonly string[],
    decide: (current: Map<string, Current>) => Entry[],
  ): Promise<Entry[]> {
    const end = performance.now() + TURN_MS;
    /** Since when announcements of others have been seen. */
    const seen = new Map<string, number>();
    for (let attempt = 0; ; attempt += 1) {
      const id = randomBytes(12).toString('hex');
      const associations = this.#associations(id, names, folders);
      const announced = performance.now();
      const document: Document = {
        format: FORMAT,
        id,
        written: false,
        names: [...names],
        entries: [],
      };
      await this.#io(() => this.#persistence.createWithAssociations(document, associations));
      let entries: Entry[] | undefined;
      try {
        const found = await this.#turn(names, id, seen, end);
        if (found !== undefined) entries = decide(currentOf(found));
        if (entries !== undefined && performance.now() - announced < OWN_PATIENCE_MS) {
          const written = { ...document, written: true, entries };
          // Some servers store this and then fail to say so: what is stored tells.
          const update = this.#persistence.updateByAssociations(associations, written, false);
          await update.then(undefined, () => undefined);
          const stored = (await this.#find(`document/${id}`)).find((stored) => stored.id === id);
          if (stored?.written) {
            await this.#tidy(names, found ?? [], written).catch(() => undefined);
            return entries;
          }
        }
      } catch (error) {
        await this.#remove(id).catch(() => undefined);
        throw error;
      }
      // Somebody goes first, or took us for dead.
      await this.#remove(id);
      if (performance.now() > end) throw locked();
      await pause(Math.random() * Math.min(400, 10 * 2 ** attempt));
    }
  }

  /**
   * Waits until nobody else has announced these names. The smallest id goes first, everybody else
   * withdraws (`undefined`); so does whoever comes later, since it sees that announcement.
   */
  async #turn(
    names: readonly string[],
    id: string,
    seen: Map<string, number>,
    end: number,
  ): Promise<Document[] | undefined> {
    for (;;) {
      const found: Document[] = [];
      for (const name of names) found.push(...(await this.#find(name)));
      if (!found.some((document) => document.id === id)) return undefined;
      const others = found.filter((document) => !document.written && document.id !== id);
      if (others.length === 0) return found;
      const now = performance.now();
      const [dead] = others.filter((other) => now - (seen.get(other.id) ?? now) > PATIENCE_MS);
      for (const other of others) if (!seen.has(other.id)) seen.set(other.id, now);
      if (dead !== undefined) await this.#remove(dead.id);
      else if (others.some((other) => other.id < id)) return undefined;
      else if (now > end) throw locked();
      else await pause(5 + Math.random() * 20);
    }
  }

  /** Removes what has been replaced: older entries first, so that nothing seems to come back. */
  async #tidy(
    names: readonly string[],
    found: readonly Document[],
    written: Document,
  ): Promise<void> {
    for (const old of found) {
      if (!old.written) continue;
      // A document of several names stays until each has been replaced.
      const others = old.names.filter((name) => !names.includes(name));
      let replaced = true;
      for (const name of others) {
        const current = currentOf(await this.#find(name)).get(name);
        replaced &&= current !== undefined && current.document.id !== old.id;
      }
      if (replaced) await this.#remove(old.id);
    }
    // Where nothing is in force any more, nothing has to say so.
    if (!written.entries.every(({ data }) => data === null)) return;
    for (const name of written.names) {
      const left = await this.#find(name);
      if (left.some(({ id }) => id !== written.id)) return;
    }
    await this.#remove(written.id);
  }

  /** What is in force under one name. */
  async current(name: string): Promise<Current | undefined> {
    return currentOf(await this.#stable(name)).get(name);
  }

  /** Every document with a record whose name begins so. */
  async withPrefix(prefix: string): Promise<Document[]> {
    const slash = prefix.indexOf('/');
    // Most names are in folders, and most are looked for in full.
    if (slash >= 0) return this.#stable(folderAssociation(RECORDS + prefix.slice(0, slash)));
    const found = new Map<string, Document>();
    for (const folder of await this.listed()) {
      if (!folder.startsWith(RECORDS + prefix)) continue;
      for (const document of await this.#stable(folderAssociation(folder))) {
        found.set(document.id, document);
      }
    }
    return [...found.values()];
  }

  /** The folders that there are. */
  async listed(): Promise<string[]> {
    const found = await this.#io(() => this.#read.readByAssociation(this.#association('folders')));
    if (!Array.isArray(found)) throw corrupt('the list of folders is not one');
    return [
      ...new Set(
        found.map((entry: { folder?: unknown }) => {
          if (typeof entry?.folder !== 'string') throw corrupt('the list of folders is damaged');
          return entry.folder;
        }),
      ),
    ];
  }

  /** Lists a folder; twice does no harm. */
  async list(folder: string): Promise<void> {
    if ((await this.listed()).includes(folder)) return;
    const associations = [this.#association('folders'), this.#association(`listed:${folder}`)];
    await this.#io(() =>
      this.#persistence.createWithAssociations({ format: FORMAT, folder }, associations),
    );
  }

  /** Removes everything in a folder, then the folder from the list. */
  async removeFolder(folder: string): Promise<void> {
    await this.#removeAll(folderAssociation(folder));
    await this.#removeAll(`listed:${folder}`);
  }

  async erase(): Promise<void> {
    await this.#removeAll('all');
    await this.#removeAll('folders');
  }

  /**
   * Reads until what was read can be all of one moment: while somebody writes, a scan may pass the
   * new document before it counts, and the old one after it is gone.
   */
  async #stable(association: string): Promise<Document[]> {
    for (let attempt = 0; ; attempt += 1) {
      const found = await this.#find(association);
      const inForce = currentOf(found);
      const announced = found.filter(({ written }) => !written).flatMap(({ names }) => names);
      if (attempt === 2 || announced.every((name) => inForce.has(name))) return found;
      await pause(5);
    }
  }

  async #find(association: string): Promise<Document[]> {
    const found = await this.#io(() =>
      this.#read.readByAssociation(this.#association(association)),
    );
    if (!Array.isArray(found)) throw corrupt('the persistence answers with something else');
    return found.map(documentOf);
  }

  async #remove(id: string): Promise<void> {
    await this.#io(() =>
      this.#persistence.removeByAssociation(this.#association(`document/${id}`)),
    );
  }

  /** Some servers remove one document at a time. */
  async #removeAll(association: string): Promise<void> {
    const record = this.#association(association);
    for (let before = Number.POSITIVE_INFINITY; ; ) {
      await this.#io(() => this.#persistence.removeByAssociation(record));
      const left = (await this.#io(() => this.#read.readByAssociation(record))).length;
      if (left === 0) return;
      if (left >= before) throw io('the persistence does not remove');
      before = left;
    }
  }

  #associations(id: string, names: readonly string[], folders: readonly string[]): object[] {
    const all = ['all', `document/${id}`, ...names, ...folders.map(folderAssociation)];
    return all.map((association) => this.#association(association));
  }

  /** As a `RocketChatAssociationRecord` is stored. */
  #association(of: string): object {
    return { model: 'misc', id: `${this.#prefix}/${of}` };
  }

  /** The persistence's own errors can quote what was to be stored. */
  async #io<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (hasCode(error)) throw error;
      throw io('the persistence failed');
    }
  }
}

/** What is in force under each name. */
function currentOf(documents: readonly Document[]): Map<string, Current> {
  const current = new Map<string, Current>();
  for (const document of documents) {
    for (const [index, entry] of document.entries.entries()) {
      const name = document.names[index] ?? '';
      const other = current.get(name);
      // Two of one turn are not written unless the persistence is hostile: all instances choose the same.
      if (
        other === undefined ||
        entry.turn > other.turn ||
        (entry.turn === other.turn && document.id < other.document.id)
      ) {
        current.set(name, { ...entry, name, document });
      }
    }
  }
  return current;
}

/** Reads a document; what somebody else has put there is told, and not touched. */
function documentOf(value: unknown): Document {
  const { format, id, written, names, entries } = Object(value) as Partial<Document>;
  if (typeof format === 'number' && format > FORMAT) {
    throw new E2eeError(
      'ERR_E2EE_STORE_TOO_NEW',
      'a newer version of this library wrote the store',
    );
  }
  const sound =
    format === FORMAT &&
    typeof id === 'string' &&
    /^[0-9a-f]{24}$/.test(id) &&
    typeof written === 'boolean' &&
    isListOf(names, (name) => typeof name === 'string') &&
    isListOf(entries, isEntry) &&
    entries.length === (written ? names.length : 0);
  if (!sound) throw corrupt('a document of the store is damaged');
  return { format, id, written, names, entries };
}

function isListOf<T>(value: T[] | undefined, is: (item: T) => boolean): value is T[] {
  return Array.isArray(value) && value.every(is);
}

function isEntry(value: unknown): boolean {
  const { turn, version, data } = Object(value) as Partial<Entry>;
  return (
    Number.isSafeInteger(turn) &&
    Number.isSafeInteger(version) &&
    (version ?? 0) > 0 &&
    (data === null || (typeof data === 'string' && /^[A-Za-z0-9+/]*={0,2}$/.test(data)))
  );
}

function bytesOf({ data }: Entry): Buffer {
  if (data === null) throw corrupt('the key record is gone');
  return Buffer.from(data, 'base64');
}

function recordOf(name: string): string {
  return `record:${name}`;
}

function claimOf(id: string): string {
  return `claim:${id}`;
}

/** Records are found by what stands before the first slash of their names. */
function folderOf(name: string): string {
  return RECORDS + (name.split('/', 1)[0] ?? '');
}

/** Claims are removed by the day that they run out on. */
function dayOf(time: number): string {
  return `claims/${Math.floor(time / DAY_MS)}`;
}

function folderAssociation(folder: string): string {
  return `folder:${folder}`;
}

function turnAfter(current: Entry | undefined): number {
  return (current?.turn ?? 0) + 1;
}

function expiryAfter(ttl: number): number {
  return Math.min(Date.now() + ttl, Number.MAX_SAFE_INTEGER);
}

function readerOf(read: PersistenceStoreOptions['read']): PersistenceRead {
  // Accessors in the sandbox have every method that one asks for, so what is wanted is asked first.
  const reader =
    typeof Object(read).readByAssociation === 'function'
      ? (read as PersistenceRead)
      : (read as Pick<Read, 'getPersistenceReader'> | undefined)?.getPersistenceReader?.();
  if (typeof reader?.readByAssociation !== 'function') {
    throw invalid('read must be an IRead or an IPersistenceRead');
  }
  return reader;
}

function expectPersistence(persistence: Persistence): Persistence {
  if (typeof persistence?.createWithAssociations !== 'function') {
    throw invalid('persistence must be an IPersistence');
  }
  return persistence;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function corrupt(why: string): E2eeError {
  return new E2eeError('ERR_E2EE_STORE_CORRUPT', `${why}; nothing was overwritten`);
}

function locked(): E2eeError {
  return new E2eeError('ERR_E2EE_STORE_LOCKED', 'other instances kept writing the same records');
}

function io(why: string): E2eeError {
  return new E2eeError('ERR_E2EE_STORE_IO', why);
}

function invalid(message: string): E2eeError {
  return new E2eeError('ERR_E2EE_INVALID_ARGUMENT', message);
}
