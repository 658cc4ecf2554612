import { bytes, makeGlue } from 'rocketchat-e2ee:wasm';
import { inflateRawSync } from 'zlib';
import { E2eeError, hasCode } from './errors';
import type { Binding } from './native';
import { identityOver, outcomeOf, type Steps } from './wasm-identity';
import { WebCrypto } from './wasm-webcrypto';

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
