import type { Identity, RoomKey } from '../binding';
import type { Outcome } from './batch';
import { hasCode } from './errors';
import type { Bytes, WebCrypto } from './wasm-webcrypto';

/** An identity of the module's. */
interface OneIdentity extends Identity {
  toPkcs8(): Bytes;
  unwrapHere(wrapped: string): RoomKey;
}
interface KeyDerivation {
  readonly passphrase: Bytes;
  readonly salt: Bytes;
  readonly iterations: number;
  runHere(): Bytes;
  free(): void;
}
interface Unlocking {
  derivation(): KeyDerivation;
  open(key: Bytes): OneIdentity | undefined;
  free(): void;
}
interface Locking {
  derivation(): KeyDerivation;
  seal(identity: OneIdentity, key: Bytes): string;
}
interface WrappedRoomKey {
  readonly ciphertext: Bytes;
  open(decrypted: Bytes | undefined): RoomKey;
}

interface OneParticipant {
  takeKeyPair(id: number, pair: OneIdentity): void;
}

/** The steps of an identity's work: between them, the host does what is slow. */
export interface Steps {
  Identity: { fromPkcs8(der: Bytes): OneIdentity; generateHere(): OneIdentity };
  Unlocking: new (stored: string, passphrase: string, userId: string) => Unlocking;
  Locking: new (passphrase: string, userId: string) => Locking;
  WrappedRoomKey: new (wrapped: string) => WrappedRoomKey;
}

/** What the addon's identities have: the core's steps, put together. */
export function identityOver(
  { Identity, Unlocking, Locking, WrappedRoomKey }: Steps,
  host: WebCrypto,
) {
  const privateKeys = new WeakMap<OneIdentity, Promise<CryptoKey | undefined>>();

  function privateKeyOf(identity: OneIdentity): Promise<CryptoKey | undefined> {
    let key = privateKeys.get(identity);
    if (key === undefined) {
      key = host.importPrivateKey(identity.toPkcs8());
      privateKeys.set(identity, key);
    }
    return key;
  }

  async function derive(derivation: KeyDerivation): Promise<Bytes> {
    try {
      const { passphrase, salt, iterations } = derivation;
      const key = await host.deriveKey(passphrase, salt, iterations);
      return key ?? derivation.runHere();
    } finally {
      free(derivation);
    }
  }

  async function unwrap(identity: OneIdentity, text: string): Promise<RoomKey> {
    const wrapped = new WrappedRoomKey(text);
    const privateKey = await privateKeyOf(identity);
    const decrypted = privateKey && (await host.decrypt(privateKey, wrapped.ciphertext));
    if (decrypted === undefined) return identity.unwrapHere(text);
    return using(decrypted, () => wrapped.open(decrypted ?? undefined));
  }

  async function generate(): Promise<OneIdentity> {
    const pkcs8 = await host.generateKeyPair();
    return pkcs8 ? using(pkcs8, () => Identity.fromPkcs8(pkcs8)) : Identity.generateHere();
  }

  return {
    statics: {
      generate,
      async unlock(stored: string, passphrase: string, userId: string) {
        const unlocking = new Unlocking(stored, passphrase, userId);
        try {
          for (;;) {
            const key = await derive(unlocking.derivation());
            const identity = using(key, () => unlocking.open(key));
            if (identity) return identity;
          }
        } finally {
          free(unlocking);
        }
      },
    },
    members: {
      async lock(this: OneIdentity, passphrase: string, userId: string) {
        const locking = new Locking(passphrase, userId);
        const key = await derive(locking.derivation());
        return using(key, () => locking.seal(this, key));
      },
      unwrapRoomKeys(this: OneIdentity, wrapped: string[]) {
        return Promise.all(wrapped.map((text) => outcomeOf(() => unwrap(this, text))));
      },
    },
    participantMembers: {
      async generateKeyPair(this: OneParticipant, id: number) {
        this.takeKeyPair(id, await generate());
      },
    },
  };
}

/** Wipes what the module holds for an object, unless the instance is broken. */
function free(held: { free(): void }): void {
  try {
    held.free();
  } catch {
    // Why it broke is told already.
  }
}

/** Wipes a secret after its use. */
function using<R>(secret: Bytes | null, use: () => R): R {
  try {
    return use();
  } finally {
    secret?.fill(0);
  }
}

/** For many in one call: what came of one, or code and message. */
export async function outcomeOf<R>(work: () => R | Promise<R>): Promise<Outcome<R>> {
  try {
    return await work();
  } catch (error) {
    if (!hasCode(error)) throw error;
    return [error.code, String((error as { message?: unknown }).message)];
  }
}
