import { types } from 'util';
import type { StoreSecret as NativeSecret, Vault as NativeVault } from '../binding';
import { E2eeError, expectText, guard, guardAsync, kindOf } from './errors';
import { native } from './native';
import type { Vault } from './vault';

/** A record as a store keeps it. */
export interface SealedRecord {
  /** What the record is called; not secret. */
  name: string;
  /** How often it was written; 1 for a new one. */
  version: number;
  /** The record, sealed under its name and version. */
  data: Uint8Array;
}

/** One change of a batch. */
export interface RecordChange {
  /** 1 to 1,000 characters; not `vault`, which is the store's own. */
  name: string;
  /** The version that the record must have; 0 where it must not exist. */
  expected: number;
  /**
   * The record, sealed under its name and the version `expected + 1`, which it gets; `null` removes
   * it.
   */
  data: Uint8Array | null;
}

/** A claim to make or to lengthen together with a commit. */
export interface Claim {
  /** 1 to 1,000 characters; not secret. */
  id: string;
  /** Milliseconds, at least 1. */
  ttl: number;
}

/**
 * Keeps sealed records. The store's backend sees their names, versions and lengths, and no more.
 *
 * Every call of a closed store but `close` rejects with `ERR_E2EE_CLOSED`.
 */
export interface RecordStore {
  /**
   * Seals and opens the records.
   *
   * @internal
   */
  readonly vault: Vault;

  /**
   * The records whose names begin with `prefix`, all of one moment, in the order of their names'
   * UTF-8 bytes.
   *
   * @throws E2eeError (rejects) with one of the codes for stores.
   */
  load(prefix: string): Promise<SealedRecord[]>;

  /**
   * Writes all changes or none. When the promise resolves, they outlive the process and, in stores
   * that outlive it at all, loss of power.
   *
   * @param claims - made together with the changes, or lengthened where somebody holds them already,
   * whoever it is; they outlive what the changes outlive
   * @throws E2eeError (rejects) with code `ERR_E2EE_STORE_CONFLICT` when a record has another
   * version than expected, `ERR_E2EE_STORE_MISMATCH` when `data` was not sealed by this store's
   * vault for its place, `ERR_E2EE_INVALID_ARGUMENT`, or another of the codes for stores.
   */
  commit(batch: readonly RecordChange[], claims?: readonly Claim[]): Promise<void>;

  /**
   * Claims `id` for `ttl` milliseconds, among all processes that share the store. The claim outlives
   * this process; with a loss of power it may go, for all of them.
   *
   * @param id - 1 to 1,000 characters; not secret
   * @param ttl - at least 1
   * @returns whether nobody held it
   * @throws E2eeError (rejects) as {@link RecordStore.load}, or `ERR_E2EE_INVALID_ARGUMENT`.
   */
  claim(id: string, ttl: number): Promise<boolean>;

  /** Lets go of files and connections. May be called again. */
  close(): Promise<void>;
}

/** A key management service, which keeps the key that wraps a store's data key. */
export interface KeyManagement {
  /**
   * Wraps the store's data key.
   *
   * @param key - 32 bytes, which are wiped when the promise settles
   * @returns 1 to 65,536 bytes, to be stored
   */
  wrap(key: Uint8Array): Promise<Uint8Array>;
  /** Unwraps what {@link KeyManagement.wrap} returned. */
  unwrap(wrapped: Uint8Array): Promise<Uint8Array>;
}

/**
 * What opens a store: a secret string, which is stretched by PBKDF2-HMAC-SHA256 with 600,000
 * iterations; 32 random bytes; or a key management service, whose own errors pass unchanged.
 */
export type StoreSecret = string | Uint8Array | KeyManagement;

/** Wraps and unwraps a store's data key with whatever the operator supplied. */
export interface KeyKeeper {
  /** Makes the key record. */
  wrap(vault: NativeVault): Promise<Uint8Array>;
  /** Opens a key record. */
  unwrap(record: Uint8Array): Promise<NativeVault>;
}

/** Reads a secret of any kind. What is kept of it is out of JavaScript's reach. */
export function keeperOf(secret: StoreSecret): KeyKeeper {
  if (typeof secret === 'string') {
    return new SecretKeeper(guard(() => native.StoreSecret.text(secret)));
  }
  if (types.isUint8Array(secret)) {
    return new SecretKeeper(guard(() => native.StoreSecret.key(secret)));
  }
  if (typeof secret?.wrap !== 'function' || typeof secret.unwrap !== 'function') {
    throw new E2eeError(
      'ERR_E2EE_INVALID_ARGUMENT',
      `secret must be a string, 32 bytes or {wrap, unwrap}, not ${kindOf(secret)}`,
    );
  }
  return new ServiceKeeper(secret);
}

class SecretKeeper implements KeyKeeper {
  readonly #secret: NativeSecret;

  constructor(secret: NativeSecret) {
    this.#secret = secret;
  }

  wrap(vault: NativeVault): Promise<Uint8Array> {
    return guardAsync(() => vault.wrap(this.#secret));
  }

  unwrap(record: Uint8Array): Promise<NativeVault> {
    return guardAsync(() => native.Vault.unwrap(record, this.#secret));
  }
}

class ServiceKeeper implements KeyKeeper {
  readonly #service: KeyManagement;

  constructor(service: KeyManagement) {
    this.#service = service;
  }

  async wrap(vault: NativeVault): Promise<Uint8Array> {
    const key = guard(() => vault.revealDataKey());
    let wrapped: Uint8Array;
    try {
      wrapped = expectBytes(await this.#service.wrap(key), 'what wrap returns');
    } finally {
      key.fill(0);
    }
    const record = guard(() => vault.recordKmsWrapped(wrapped));
    // Before anything depends on it: a service that cannot unwrap would lock the store for good.
    await this.unwrap(record);
    return record;
  }

  async unwrap(record: Uint8Array): Promise<NativeVault> {
    const wrapped = guard(() => native.Vault.kmsWrapped(record));
    const key = expectBytes(await this.#service.unwrap(wrapped), 'what unwrap returns');
    return guard(() => native.Vault.fromKms(record, key));
  }
}

/** Name of the record that holds the wrapped data key. */
export const KEY_RECORD = 'vault';
const MAX_NAME = 1000;

/** Lets a batch pass that every store can write; answers anything else with an error. */
export function expectBatch(batch: readonly RecordChange[]): RecordChange[] {
  if (!Array.isArray(batch)) {
    throw invalid(`batch must be an array, not ${kindOf(batch)}`);
  }
  const names = new Set<string>();
  return batch.map((change: RecordChange) => {
    const { name, expected, data } = Object(change) as RecordChange;
    expectName(name, 'name');
    if (name === KEY_RECORD) throw invalid("the record 'vault' is the store's own");
    if (names.has(name)) throw invalid('a batch changes each record once');
    names.add(name);
    if (!Number.isSafeInteger(expected) || expected < 0 || expected === Number.MAX_SAFE_INTEGER) {
      throw invalid('expected must be a whole number from 0 to 2^53 - 2');
    }
    return { name, expected, data: data === null ? null : expectBytes(data, 'data') };
  });
}

/** As {@link expectBatch}, for one claim; in whole milliseconds. */
export function expectClaim(claim: Claim): Claim {
  const { id, ttl } = Object(claim) as Claim;
  expectName(id, 'id');
  if (typeof ttl !== 'number' || !(ttl >= 1)) throw invalid('ttl must be at least 1 millisecond');
  return { id, ttl: Math.min(Math.ceil(ttl), Number.MAX_SAFE_INTEGER) };
}

/** As {@link expectBatch}, for the claims beside a batch. */
export function expectClaims(claims: readonly Claim[]): Claim[] {
  if (!Array.isArray(claims)) throw invalid(`claims must be an array, not ${kindOf(claims)}`);
  return claims.map(expectClaim);
}

/** As {@link expectBatch}, for prefixes. */
export function expectPrefix(prefix: string): string {
  return expectText(prefix, 'prefix', 'ERR_E2EE_INVALID_ARGUMENT');
}

function expectName(name: string, what: string): void {
  expectText(name, what, 'ERR_E2EE_INVALID_ARGUMENT');
  // Half of a surrogate pair has no UTF-8, and two names would become one.
  if (name.length < 1 || name.length > MAX_NAME || /\p{Surrogate}/u.test(name)) {
    throw invalid(`${what} must be well-formed text of 1 to ${MAX_NAME} characters`);
  }
}

function expectBytes(value: unknown, what: string): Uint8Array {
  if (!types.isUint8Array(value)) {
    throw invalid(`${what} must be a Uint8Array, not ${kindOf(value)}`);
  }
  return value;
}

function invalid(message: string): E2eeError {
  return new E2eeError('ERR_E2EE_INVALID_ARGUMENT', message);
}
