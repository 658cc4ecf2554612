import type { RoomKey as NativeRoomKey } from '../binding';
import { fromEjson, toEjson, toJson } from './ejson';
import { E2eeError, type E2eeErrorCode, expectText, guard, guardAsync, kindOf } from './errors';
import type { EncryptedContent, MessageContent } from './message';
import { native } from './native';

/** The `alg` of a room key's JWK. */
export type RoomKeyAlgorithm = 'A256GCM' | 'A128CBC';

/** How many messages go to another thread at once: enough to pay for the way there. */
const BATCH = 1000;

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
  wrapFor(publicKey: string): Promise<string> {
    return guardAsync(async () => {
      expectText(publicKey, 'publicKey', 'ERR_E2EE_MALFORMED_KEY');
      return this.#core.wrapFor(publicKey);
    });
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
    const text = toEjson({
      msg: expectText(msg, 'content.msg', 'ERR_E2EE_INVALID_ARGUMENT'),
      attachments,
      files,
      file,
    });
    return JSON.parse(guard(() => this.#core.encrypt(text))) as EncryptedContent;
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
    for (let start = 0; start < contents.length; start += BATCH) {
      const batch = contents.slice(start, start + BATCH).map(listable);
      const text = await guardAsync(() => this.#core.decryptMany(`[${batch.join()}]`));
      for (const [content, message] of fromEjson(text) as Outcome[]) {
        results.push(
          typeof content === 'string' ? new E2eeError(content, message as string) : content,
        );
      }
    }
    return results;
  }
}

/** What the binding says of one message of many. */
type Outcome = [content: MessageContent, none?: never] | [code: E2eeErrorCode, message: string];

/** The members of an envelope, or the text that may stand for it. */
function envelopeOf(content: EncryptedContent | string): object | string {
  if (typeof content === 'string') {
    return content;
  }
  if (typeof content !== 'object' || content === null) {
    throw new E2eeError(
      'ERR_E2EE_MALFORMED_ENVELOPE',
      `encrypted content must be an object or a string, not ${kindOf(content)}`,
    );
  }
  const { algorithm, kid, iv, ciphertext } = content as Partial<
    Record<'algorithm' | 'kid' | 'iv' | 'ciphertext', unknown>
  >;
  return { algorithm, kid, iv, ciphertext };
}

/** JSON text for a list; what has none fails by itself, as `null`. */
function listable(content: EncryptedContent | string): string {
  try {
    return toJson(envelopeOf(content), 'content');
  } catch {
    return 'null';
  }
}
