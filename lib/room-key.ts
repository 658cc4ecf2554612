import type { RoomKey as NativeRoomKey } from '../binding';
import { Batcher } from './batch';
import { fromEjson, toEjson, toJson } from './ejson';
import { E2eeError, type E2eeErrorCode, expectText, guard, guardAsync, kindOf } from './errors';
import type { EncryptedContent, EncryptedContentV2, MessageContent } from './message';
import { native } from './native';

/** The `alg` of a room key's JWK. */
export type RoomKeyAlgorithm = 'A256GCM' | 'A128CBC';

/** How many messages go to another thread at once: enough to pay for the way there. */
const BATCH = 250;
/** How many batches are under way at once: some at work, one being read or prepared. */
const UNDER_WAY = 3;
/** In place of a second length: the message is one part, not iv and ciphertext. */
const WHOLE = 0xffffffff;

/** Makes a {@link RoomKey} of the binding's; not exported from the package. */
export let roomKeyOf: (core: NativeRoomKey) => RoomKey;

/**
 * The key of one room. Whoever holds it reads and writes everything encrypted under it.
 *
 * Encrypting and decrypting one message is synchronous, since going to another thread would take
 * longer than the work.
 */
export class RoomKey {
  static {
    roomKeyOf = (core) => new RoomKey(core);
  }

  /** Names the key: a UUID since server 7.13, 12 characters before. */
  readonly keyId: string;
  /** The cipher: AES-256-GCM since server 7.13, AES-128-CBC before. */
  readonly algorithm: RoomKeyAlgorithm;
  readonly #core: NativeRoomKey;
  /** The binding's functions for this key, once they are needed. */
  #encrypt: ReturnType<NativeRoomKey['textEncryptor']> | undefined;
  #decrypt: ReturnType<NativeRoomKey['v2Decryptor']> | undefined;
  #wrapping: Batcher<string, string> | undefined;

  private constructor(core: NativeRoomKey) {
    this.#core = core;
    this.keyId = core.keyId;
    this.algorithm = core.algorithm as RoomKeyAlgorithm;
  }

  /** Makes a key as Rocket.Chat's clients do since 7.13: AES-256-GCM, a random UUID for its id. */
  static generate(): RoomKey {
    return new RoomKey(guard(() => native.RoomKey.generate()));
  }

  /**
   * Reads a key.
   *
   * @param jwk - JSON text of the JWK: `kty` is `oct`, `alg` is `A256GCM` or `A128CBC`; the order
   * of members does not matter
   * @param keyId - 12 or 36 printable ASCII characters; 12 for `A128CBC`
   * @throws E2eeError with code `ERR_E2EE_MALFORMED_KEY` or `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
   *
   * Protocol: §7.2, §7.5.
   */
  static fromJwk(jwk: string, keyId: string): RoomKey {
    expectText(jwk, 'jwk', 'ERR_E2EE_MALFORMED_KEY');
    expectText(keyId, 'keyId', 'ERR_E2EE_MALFORMED_KEY');
    return new RoomKey(guard(() => native.RoomKey.fromJwk(jwk, keyId)));
  }

  /**
   * Wraps the key for a member, with RSA-OAEP and SHA-256.
   *
   * @param publicKey - JSON text of the member's public JWK: RSA, 2048 bits, exponent 65537
   * @returns the key id, then 344 characters of base64: an `E2EKey` or `E2ESuggestedKey`
   * @throws E2eeError (rejects) with code `ERR_E2EE_MALFORMED_KEY` or
   * `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
   *
   * Protocol: §7.2.
   */
  async wrapFor(publicKey: string): Promise<string> {
    expectText(publicKey, 'publicKey', 'ERR_E2EE_MALFORMED_KEY');
    this.#wrapping ??= new Batcher(32, (publicKeys) => this.#core.wrapForMany(publicKeys));
    return this.#wrapping.add(publicKey);
  }

  /**
   * Encrypts a message: `rc.v2.aes-sha2` under an AES-256-GCM key, `rc.v1.aes-sha2` under an
   * AES-128-CBC one, as every client of that key's time reads.
   *
   * @param content - only `msg`, `attachments`, `files` and `file` are taken. Dates, bytes
   * (`Uint8Array`, `ArrayBuffer`), NaN and the infinities may stand anywhere in the latter three.
   * A lone surrogate becomes U+FFFD.
   * @throws E2eeError with code `ERR_E2EE_INVALID_ARGUMENT`.
   *
   * Protocol: §6, §7.4.
   */
  encrypt(content: MessageContent): EncryptedContent {
    if (typeof content !== 'object' || content === null) {
      throw new E2eeError(
        'ERR_E2EE_INVALID_ARGUMENT',
        `content must be an object with msg, not ${kindOf(content)}`,
      );
    }
    const { msg, attachments, files, file } = content;
    expectText(msg, 'content.msg', 'ERR_E2EE_INVALID_ARGUMENT');
    if (attachments === undefined && files === undefined && file === undefined) {
      this.#encrypt ??= this.#core.textEncryptor();
      const encrypt = this.#encrypt;
      return this.#envelope(guard(() => encrypt(msg)));
    }
    const text = toEjson({ msg, attachments, files, file });
    return this.#envelope(guard(() => this.#core.encrypt(text)));
  }

  /**
   * Decrypts a message of any form that room keys open.
   *
   * @param content - what {@link encryptedContentOf} found, or the v1 text that old messages have
   * in `msg`, or the JSON text of content. Its key id is not compared with this key's.
   * @throws E2eeError with code `ERR_E2EE_DECRYPTION_FAILED` (this key does not fit, or somebody
   * changed the message), `ERR_E2EE_MALFORMED_ENVELOPE` or `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
   *
   * Protocol: §6, §7.4.
   */
  decrypt(content: EncryptedContent | string): MessageContent {
    const envelope = envelopeOf(content);
    if (isV2(envelope)) {
      this.#decrypt ??= this.#core.v2Decryptor();
      const decrypt = this.#decrypt;
      const message = guard(() => decrypt(envelope.iv, envelope.ciphertext));
      return typeof message === 'string'
        ? { msg: message }
        : (fromEjson(message[0]) as MessageContent);
    }
    const text = typeof envelope === 'string' ? envelope : toJson(envelope, 'content');
    return fromEjson(guard(() => this.#core.decrypt(text))) as MessageContent;
  }

  /**
   * Decrypts many messages off the event loop.
   *
   * @returns for each of `contents`, in order, what it says or why it could not be read. One bad
   * message does not keep the others from being read.
   */
  async decryptMany(
    contents: readonly (EncryptedContent | string)[],
  ): Promise<(MessageContent | E2eeError)[]> {
    if (!Array.isArray(contents)) {
      throw new E2eeError(
        'ERR_E2EE_INVALID_ARGUMENT',
        `contents must be an array, not ${kindOf(contents)}`,
      );
    }
    const results: (MessageContent | E2eeError)[] = [];
    const underWay: Promise<string>[] = [];
    for (let start = 0; start < contents.length || underWay.length > 0; ) {
      while (start < contents.length && underWay.length < UNDER_WAY) {
        underWay.push(this.#decryptBatch(contents, start));
        start += BATCH;
      }
      const text = (await underWay.shift()) ?? '[]';
      for (const outcome of fromEjson(text) as Outcome[]) {
        if (typeof outcome === 'string') results.push({ msg: outcome });
        else if (Array.isArray(outcome)) results.push(new E2eeError(...outcome));
        else results.push(outcome);
      }
    }
    return results;
  }

  #decryptBatch(contents: readonly (EncryptedContent | string)[], start: number): Promise<string> {
    const batch = contents.slice(start, start + BATCH);
    const parts: string[] = [];
    const lengths = new Uint32Array(2 * batch.length);
    for (const [index, content] of batch.entries()) {
      const part = partOf(content);
      if (typeof part === 'string') {
        parts.push(part);
        lengths[2 * index] = part.length;
        lengths[2 * index + 1] = WHOLE;
      } else {
        parts.push(part.iv, part.ciphertext);
        lengths[2 * index] = part.iv.length;
        lengths[2 * index + 1] = part.ciphertext.length;
      }
    }
    const text = guardAsync(() => this.#core.decryptMany(parts.join(''), lengths));
    // Whoever waits for it is told; until then nobody needs to be.
    text.catch(() => undefined);
    return text;
  }

  /** The envelope around what the binding encrypted: iv and ciphertext, or all in one. */
  #envelope(sealed: string): EncryptedContent {
    const end = sealed.indexOf(' ');
    if (end < 0) return { algorithm: 'rc.v1.aes-sha2', ciphertext: sealed };
    return {
      algorithm: 'rc.v2.aes-sha2',
      kid: this.keyId,
      iv: sealed.slice(0, end),
      ciphertext: sealed.slice(end + 1),
    };
  }
}

/** What the binding says of one message of many. */
type Outcome = string | MessageContent | [code: E2eeErrorCode, message: string];

/** The members of an envelope, whatever they are, or the text that may stand for it. */
function envelopeOf(content: EncryptedContent | string): Members | string {
  if (typeof content === 'string') {
    return content;
  }
  if (typeof content !== 'object' || content === null) {
    throw new E2eeError(
      'ERR_E2EE_MALFORMED_ENVELOPE',
      `encrypted content must be an object or a string, not ${kindOf(content)}`,
    );
  }
  const { algorithm, kid, iv, ciphertext } = content as Members;
  return { algorithm, kid, iv, ciphertext };
}

type Members = Partial<Record<keyof EncryptedContentV2, unknown>>;

/** Whether this is the common form, whose iv and ciphertext go to the core as they are. */
function isV2(envelope: Members | string): envelope is EncryptedContentV2 {
  return (
    typeof envelope === 'object' &&
    envelope.algorithm === 'rc.v2.aes-sha2' &&
    typeof envelope.kid === 'string' &&
    typeof envelope.iv === 'string' &&
    typeof envelope.ciphertext === 'string'
  );
}

/** One of many for the binding; what has no JSON text fails by itself, as `{}`. */
function partOf(content: EncryptedContent | string): EncryptedContentV2 | string {
  try {
    const envelope = envelopeOf(content);
    if (typeof envelope === 'string' || isV2(envelope)) return envelope;
    return toJson(envelope, 'content');
  } catch {
    return '{}';
  }
}
