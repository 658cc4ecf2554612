import { bytes, makeGlue } from 'rocketchat-e2ee:wasm';
import { inflateRawSync } from 'zlib';
import type { Identity, RoomKey } from '../binding';
import type { Outcome } from './batch';
import { E2eeError, hasCode } from './errors';
import type { Binding } from './native';
import { type Bytes, WebCrypto } from './wasm-webcrypto';

/**
 * The core as WebAssembly, compiled at the first use. It stands in for `native.ts` in the bundle
 * for the Apps-Engine, whose sandbox has no `globalThis`.
 */
export const native: Binding = new Proxy({} as Binding, {
  get: (_, name: keyof Binding) => {
    running ??= new Instance();
    return running.exports[name];
  },
});

/** What the module's own classes have for one message or key. */
interface OneRoomKey {
  encryptText(msg: string): string;
  decryptV2(iv: string, ciphertext: string): string;
  wrapFor(publicKey: string): string;
}

/** What the addon has beside that: functions for each key, and many keys in one call. */
const roomKeyMembers = {
  textEncryptor(this: OneRoomKey) {
    return (msg: string) => this.encryptText(msg);
  },
  v2Decryptor(this: OneRoomKey) {
    return (iv: string, ciphertext: string): string | [string] => {
      const text = this.decryptV2(iv, ciphertext);
      return text.startsWith('"') ? text.slice(1) : [text];
    };
  },
  wrapForMany(this: OneRoomKey, publicKeys: string[]) {
    return Promise.all(publicKeys.map((publicKey) => outcomeOf(() => this.wrapFor(publicKey))));
  },
};

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
interface Steps {
  Identity: { fromPkcs8(der: Bytes): OneIdentity; generateHere(): OneIdentity };
  Unlocking: new (stored: string, passphrase: string, userId: string) => Unlocking;
  Locking: new (passphrase: string, userId: string) => Locking;
  WrappedRoomKey: new (wrapped: string) => WrappedRoomKey;
}

/** What the addon's identities have: the core's steps, put together. */
function identityOver({ Identity, Unlocking, Locking, WrappedRoomKey }: Steps, host: WebCrypto) {
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

async function outcomeOf<R>(work: () => R | Promise<R>): Promise<Outcome<R>> {
  try {
    return await work();
  } catch (error) {
    if (!hasCode(error)) throw error;
    return [error.code, String((error as { message?: unknown }).message)];
  }
}

let compiled: WebAssembly.Module | undefined;
let running: Instance | undefined;

/** By the prototype of what an instance made: the instance. */
const homes = new WeakMap<object, Instance>();

// biome-ignore lint/suspicious/noExplicitAny: these wrap functions of every type
type Callable = (...parameters: any[]) => any;
type Class = { new (...parameters: never[]): object; prototype: object };

/**
 * One instance of the module, for as long as nothing goes wrong in it.
 *
 * Whatever leaves a call but an error of the core's (a panic's trap, an exhausted stack, a host
 * without randomness) leaves the memory as it happened to be. Such an instance is never entered
 * again: the next thing that is made is made in another.
 */
class Instance {
  readonly exports: Binding;
  #broken = false;

  constructor() {
    compiled ??= new WebAssembly.Module(inflateRawSync(Buffer.from(bytes, 'base64')));
    const crypto = webCrypto();
    const glue = makeGlue(crypto);
    const { exports } = new WebAssembly.Instance(compiled, { './binding_bg.js': { ...glue } });
    glue.__wbg_set_wasm(exports);
    (exports.__wbindgen_start as () => void)();
    this.exports = Object.fromEntries(
      Object.entries(glue).map(([name, value]) => [
        name,
        /^[A-Z]/.test(name)
          ? this.#guardClass(value as unknown as Class)
          : this.#guard(value as Callable),
      ]),
    ) as unknown as Binding;
    Object.assign(this.exports.RoomKey.prototype, roomKeyMembers);
    const steps = this.exports as unknown as Steps;
    const { statics, members, participantMembers } = identityOver(steps, new WebCrypto(crypto));
    Object.assign(this.exports.Identity, statics);
    Object.assign(this.exports.Identity.prototype, members);
    Object.assign(this.exports.Participant.prototype, participantMembers);
  }

  #guardClass(original: Class): Class {
    homes.set(original.prototype, this);
    this.#guardMembers(original.prototype);
    this.#guardMembers(original);
    const make = this.#guard((...parameters: never[]) => new original(...parameters));
    return new Proxy(original, { construct: (_, parameters) => make(...(parameters as never[])) });
  }

  #guardMembers(holder: object): void {
    for (const [name, member] of Object.entries(Object.getOwnPropertyDescriptors(holder))) {
      // Names with underscores are the glue's own.
      if (name === 'constructor' || name === 'prototype' || name.startsWith('__')) continue;
      if (member.get) member.get = this.#guard(member.get);
      else if (typeof member.value === 'function') member.value = this.#guard(member.value);
      else continue;
      Object.defineProperty(holder, name, member);
    }
  }

  #guard<F extends Callable>(call: F): F {
    const instance = this;
    return function (this: unknown, ...parameters: unknown[]): unknown {
      if (instance.#broken || parameters.some(isOfBroken)) {
        throw internal('a bug in rocketchat-e2ee ended what this was made in; make it anew');
      }
      try {
        return call.apply(this, parameters);
      } catch (error) {
        if (hasCode(error)) throw error;
        instance.#broken = true;
        if (running === instance) running = undefined;
        throw internal('a bug in rocketchat-e2ee stopped this call; please report it', error);
      }
    } as F;
  }

  get broken(): boolean {
    return this.#broken;
  }
}

function isOfBroken(parameter: unknown): boolean {
  if (typeof parameter !== 'object' || parameter === null) return false;
  return homes.get(Object.getPrototypeOf(parameter))?.broken === true;
}

function internal(message: string, cause?: unknown): E2eeError {
  // As text: of an error whose cause is an object, the Apps-Engine's runtime tells nothing at all.
  return new E2eeError(
    'ERR_E2EE_INTERNAL',
    message,
    cause === undefined ? {} : { cause: String(cause) },
  );
}

/** The host's; not by `globalThis`, which the sandbox hides. */
function webCrypto(): Crypto {
  return typeof crypto === 'object' ? crypto : require('crypto').webcrypto;
}
