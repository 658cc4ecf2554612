import { E2eeError, guard } from './errors';
import { native } from './native';
import {
  type Claim,
  expectBatch,
  expectClaim,
  expectClaims,
  expectPrefix,
  type RecordChange,
  type RecordStore,
  type SealedRecord,
} from './store';
import { coreOf, type Vault, vaultOf } from './vault';

/** How often claims that have run out are looked for, in milliseconds. */
const SWEEP = 1000;

/**
 * Keeps records in this process, and forgets them with it: for tests, and for replicas that
 * rebuild everything from the server when they start.
 */
export class MemoryStore implements RecordStore {
  /** @internal */
  readonly vault: Vault;
  readonly #records = new Map<string, { version: number; data: Buffer }>();
  /** When each claim runs out, by `Date.now()`. */
  readonly #claims = new Map<string, number>();
  #nextSweep = 0;
  #closed = false;

  private constructor(vault: Vault) {
    this.vault = vault;
  }

  /** Makes an empty store, with a data key of its own. */
  static async open(): Promise<MemoryStore> {
    return new MemoryStore(vaultOf(guard(() => native.Vault.generate())));
  }

  async load(prefix: string): Promise<SealedRecord[]> {
    this.#expectOpen();
    expectPrefix(prefix);
    return [...this.#records]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, { version, data }]) => ({ name, version, data: Buffer.from(data) }))
      .sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
  }

  async commit(batch: readonly RecordChange[], claims: readonly Claim[] = []): Promise<void> {
    this.#expectOpen();
    const changes = expectBatch(batch);
    const held = expectClaims(claims);
    for (const { name, expected, data } of changes) {
      if (data !== null) guard(() => coreOf(this.vault).check(name, expected + 1, data));
    }
    for (const { name, expected } of changes) {
      if ((this.#records.get(name)?.version ?? 0) !== expected) {
        throw new E2eeError(
          'ERR_E2EE_STORE_CONFLICT',
          'a record has another version than expected; nothing was written',
        );
      }
    }
    for (const { name, expected, data } of changes) {
      if (data === null) this.#records.delete(name);
      else this.#records.set(name, { version: expected + 1, data: Buffer.from(data) });
    }
    for (const { id, ttl } of held) {
      this.#claims.set(id, Math.max(Date.now() + ttl, this.#claims.get(id) ?? 0));
    }
  }

  async claim(id: string, ttl: number): Promise<boolean> {
    this.#expectOpen();
    const claim = expectClaim({ id, ttl });
    const now = Date.now();
    this.#sweep(now);
    if ((this.#claims.get(id) ?? 0) > now) return false;
    this.#claims.set(id, now + claim.ttl);
    return true;
  }

  /** Forgets claims that have run out: not at each call, of which there are many. */
  #sweep(now: number): void {
    if (now < this.#nextSweep) return;
    this.#nextSweep = now + SWEEP;
    for (const [id, expires] of this.#claims) {
      if (expires <= now) this.#claims.delete(id);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#records.clear();
    this.#claims.clear();
  }

  #expectOpen(): void {
    if (this.#closed) throw new E2eeError('ERR_E2EE_CLOSED', 'the store is closed');
  }
}
