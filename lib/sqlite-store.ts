import { resolve } from 'path';
import type { SealedRecord as NativeRecord, SqliteFile } from '../binding';
import { E2eeError, expectText, guard, guardAsync, kindOf } from './errors';
import { addon } from './native';
import {
  type Claim,
  expectBatch,
  expectClaim,
  expectClaims,
  expectPrefix,
  type KeyKeeper,
  keeperOf,
  type RecordChange,
  type RecordStore,
  type SealedRecord,
  type StoreSecret,
} from './store';
import { coreOf, type Vault, vaultOf } from './vault';

/** How {@link SqliteStore.open} opens a store. */
export interface SqliteStoreOptions {
  /** What wraps the data key. */
  secret: StoreSecret;
  /** How long every call waits while other processes write, in milliseconds; 5,000 at first. */
  timeout?: number;
}

/**
 * Keeps records in one SQLite file, for any number of processes of one machine: not on a network
 * file system. Beside the file stand its log and index (`-wal`, `-shm`) while it is open; a copy of
 * an open store needs all three.
 *
 * What is committed survives the end of the process and loss of power. Nothing runs on the event
 * loop.
 */
export class SqliteStore implements RecordStore {
  readonly #file: SqliteFile;
  #keeper: KeyKeeper;
  #vault: Vault;
  /** Version of the key record that {@link SqliteStore.#vault} came from. */
  #key: number;
  #claims: {
    claim: Claim;
    resolve: (had: boolean) => void;
    reject: (error: unknown) => void;
  }[] = [];
  #claiming: Promise<void> | undefined;

  private constructor(file: SqliteFile, keeper: KeyKeeper, vault: Vault, key: number) {
    this.#file = file;
    this.#keeper = keeper;
    this.#vault = vault;
    this.#key = key;
  }

  /**
   * Opens the store in a file, or makes one, readable by this user alone (mode 0600), where there
   * is none. Processes that do so at once end with one store.
   *
   * @param path - the file; its folder must exist, and its file system must have hard links
   * @throws E2eeError (rejects) with code `ERR_E2EE_WRONG_STORE_SECRET`, `ERR_E2EE_STORE_CORRUPT`,
   * `ERR_E2EE_STORE_FOREIGN`, `ERR_E2EE_STORE_TOO_NEW`, `ERR_E2EE_STORE_LOCKED`,
   * `ERR_E2EE_STORE_IO` or `ERR_E2EE_INVALID_ARGUMENT`; the file is then as it was.
   */
  static async open(path: string, options: SqliteStoreOptions): Promise<SqliteStore> {
    expectText(path, 'path', 'ERR_E2EE_INVALID_ARGUMENT');
    if (path === '' || path.includes('\0')) {
      throw new E2eeError('ERR_E2EE_INVALID_ARGUMENT', 'path must name a file');
    }
    if (typeof options !== 'object' || options === null) {
      throw new E2eeError(
        'ERR_E2EE_INVALID_ARGUMENT',
        `options must be an object with secret, not ${kindOf(options)}`,
      );
    }
    const timeout = expectTimeout(options.timeout);
    const keeper = keeperOf(options.secret);
    const file = await openOrCreate(resolve(path), timeout, keeper);
    try {
      const record = await guardAsync(() => file.keyRecord());
      const vault = vaultOf(await keeper.unwrap(record.data));
      return new SqliteStore(file, keeper, vault, record.version);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** @internal */
  get vault(): Vault {
    return this.#vault;
  }

  async load(prefix: string): Promise<SealedRecord[]> {
    expectPrefix(prefix);
    return guardAsync(() => this.#file.load(this.#key, prefix));
  }

  async commit(batch: readonly RecordChange[], claims: readonly Claim[] = []): Promise<void> {
    const held = expectClaims(claims);
    const changes = expectBatch(batch).map(({ name, expected, data }) =>
      data === null ? { name, expected } : { name, expected, data: asBuffer(data) },
    );
    await guardAsync(() => this.#file.commit(coreOf(this.#vault), this.#key, changes, held));
  }

  async claim(id: string, ttl: number): Promise<boolean> {
    const claim = expectClaim({ id, ttl });
    return new Promise((resolve, reject) => {
      this.#claims.push({ claim, resolve, reject });
      this.#claiming ??= this.#claimAll();
    });
  }

  /** Claims that come at once, or while others are under way, share one transaction. */
  async #claimAll(): Promise<void> {
    await undefined;
    while (this.#claims.length > 0) {
      const waiting = this.#claims.splice(0);
      try {
        const had = await guardAsync(() => this.#file.claim(waiting.map(({ claim }) => claim)));
        for (const [i, { resolve }] of waiting.entries()) resolve(had[i] === true);
      } catch (error) {
        for (const { reject } of waiting) reject(error);
      }
    }
    this.#claiming = undefined;
  }

  /**
   * Wraps the data key with another secret, of any kind. Records stay as they are, and processes
   * that have the store open go on.
   *
   * Whoever had the file and the secret before has had the data key: {@link SqliteStore.rekey}
   * changes that for what is written from then on.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_STORE_CONFLICT` when another process changed
   * the secret meanwhile, `ERR_E2EE_STORE_REKEYED`, `ERR_E2EE_INVALID_ARGUMENT`, or another of
   * the codes for stores; the secret is then as it was.
   */
  async changeSecret(next: StoreSecret): Promise<void> {
    const keeper = keeperOf(next);
    const current = await this.#keyRecord();
    const data = await keeper.wrap(coreOf(this.#vault));
    await guardAsync(() => this.#file.replaceKeyRecord(current, data));
    this.#keeper = keeper;
  }

  /**
   * Draws a new data key, wraps it with the present secret and reseals every record, at once.
   * Whatever else uses the store must open it again: other processes' calls reject with
   * `ERR_E2EE_STORE_REKEYED`. Close participants of this process before.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_STORE_MISMATCH` when a record does not open,
   * `ERR_E2EE_WRONG_STORE_SECRET` when another process changed the secret, or as
   * {@link SqliteStore.changeSecret}; the store is then as it was.
   */
  async rekey(): Promise<void> {
    const current = await this.#keyRecord();
    await this.#keeper.unwrap(current.data);
    const next = guard(() => addon.Vault.generate());
    const data = await this.#keeper.wrap(next);
    await guardAsync(() => this.#file.rekey(current, data, coreOf(this.#vault), next));
    this.#vault = vaultOf(next);
    this.#key = current.version + 1;
  }

  /** Closes the file; it may be moved or removed then. */
  async close(): Promise<void> {
    await guardAsync(() => this.#file.close());
  }

  async #keyRecord(): Promise<NativeRecord> {
    const record = await guardAsync(() => this.#file.keyRecord());
    if (record.version !== this.#key) {
      throw new E2eeError(
        'ERR_E2EE_STORE_REKEYED',
        'the store got a new data key from elsewhere; open it again',
      );
    }
    return record;
  }
}

async function openOrCreate(path: string, timeout: number, keeper: KeyKeeper): Promise<SqliteFile> {
  const open = () => guardAsync(() => addon.SqliteFile.open(path, timeout));
  const found = await open();
  if (found) return found;
  const record = await keeper.wrap(guard(() => addon.Vault.generate()));
  // Whoever comes second opens what the first one made.
  await guardAsync(() => addon.SqliteFile.create(path, record));
  const file = await open();
  if (file) return file;
  throw new E2eeError('ERR_E2EE_STORE_IO', 'the store was removed while it was being made');
}

function expectTimeout(timeout = 5000): number {
  if (!Number.isInteger(timeout) || timeout < 0 || timeout > 2 ** 31 - 1) {
    throw new E2eeError(
      'ERR_E2EE_INVALID_ARGUMENT',
      'timeout must be a whole number of milliseconds',
    );
  }
  return timeout;
}

function asBuffer(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}
