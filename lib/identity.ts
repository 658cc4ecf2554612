import type { Identity as NativeIdentity } from '../binding';
import { Batcher } from './batch';
import { expectText, guard, guardAsync } from './errors';
import { native } from './native';
import { type RoomKey, roomKeyOf } from './room-key';

/**
 * A user's RSA key pair: RSA-OAEP, 2048 bits, SHA-256. The private half leaves this object only
 * in the envelope that {@link Identity.lock} makes.
 *
 * Protocol: §7.1, §7.3.
 */
export class Identity {
  /** JSON text of the public JWK, as Rocket.Chat stores it in `e2e.public_key`. */
  readonly publicKey: string;
  /**
   * SHA-256 over the public key's SubjectPublicKeyInfo, in hexadecimal, in 16 groups of four, for
   * people to compare.
   */
  readonly fingerprint: string;
  readonly #core: NativeIdentity;
  readonly #unwrapping = new Batcher(4, (wrapped: string[]) => this.#core.unwrapRoomKeys(wrapped));

  private constructor(core: NativeIdentity) {
    this.#core = core;
    this.publicKey = guard(() => core.publicKey);
    this.fingerprint = guard(() => core.fingerprint);
  }

  /** Makes a key pair, off the event loop; about 50 ms, more when the primes are slow to come. */
  static async generate(): Promise<Identity> {
    return new Identity(await guardAsync(() => native.Identity.generate()));
  }

  /**
   * Opens a stored private key, off the event loop. Both forms are read, v1 and v2, of web and of
   * mobile clients, which turn a passphrase outside ASCII into different bytes.
   *
   * @param storedPrivateKey - `e2e.private_key` of the user, a JSON text
   * @param passphrase - the user's E2EE password
   * @param userId - the user's `_id`, the salt of form v1
   * @throws E2eeError (rejects) with code `ERR_E2EE_WRONG_PASSPHRASE`,
   * `ERR_E2EE_MALFORMED_ENVELOPE`, `ERR_E2EE_ITERATIONS_OUT_OF_RANGE`, or
   * `ERR_E2EE_MALFORMED_KEY` when what was sealed is not a private key.
   *
   * Protocol: §7.3.
   */
  static async unlock(
    storedPrivateKey: string,
    passphrase: string,
    userId: string,
  ): Promise<Identity> {
    expectText(storedPrivateKey, 'storedPrivateKey', 'ERR_E2EE_MALFORMED_ENVELOPE');
    expectText(passphrase, 'passphrase', 'ERR_E2EE_INVALID_ARGUMENT');
    expectText(userId, 'userId', 'ERR_E2EE_INVALID_ARGUMENT');
    return new Identity(
      await guardAsync(() => native.Identity.unlock(storedPrivateKey, passphrase, userId)),
    );
  }

  /**
   * Reads a private JWK.
   *
   * @param jwk - JSON text with `n`, `e`, `d`, `p` and `q`, which must fit each other
   * @throws E2eeError with code `ERR_E2EE_MALFORMED_KEY` or `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
   */
  static fromPrivateJwk(jwk: string): Identity {
    expectText(jwk, 'jwk', 'ERR_E2EE_MALFORMED_KEY');
    return new Identity(guard(() => native.Identity.fromPrivateJwk(jwk)));
  }

  /**
   * Seals the private key as the web client does, off the event loop: AES-256-GCM with a key
   * stretched by PBKDF2-HMAC-SHA256, 100,000 iterations, salt `v2:<userId>:<uuid>`.
   *
   * @param passphrase - ASCII, since the official clients read nothing else alike; not empty
   * @param userId - the user's `_id`: printable ASCII, at most 128 characters
   * @returns the JSON text for `e2e.private_key`
   * @throws E2eeError (rejects) with code `ERR_E2EE_AMBIGUOUS_PASSPHRASE` or
   * `ERR_E2EE_INVALID_ARGUMENT`.
   *
   * Protocol: §7.3.
   */
  lock(passphrase: string, userId: string): Promise<string> {
    return guardAsync(async () => {
      expectText(passphrase, 'passphrase', 'ERR_E2EE_INVALID_ARGUMENT');
      expectText(userId, 'userId', 'ERR_E2EE_INVALID_ARGUMENT');
      return this.#core.lock(passphrase, userId);
    });
  }

  /**
   * Opens a wrapped room key, off the event loop.
   *
   * @param wrapped - an `E2EKey`, `E2ESuggestedKey` or `oldRoomKeys[].E2EKey`: the key id, then
   * 344 characters of base64
   * @throws E2eeError (rejects) with code `ERR_E2EE_DECRYPTION_FAILED` when it was wrapped for
   * somebody else or changed, `ERR_E2EE_MALFORMED_KEY` or `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
   *
   * Protocol: §7.2.
   */
  async unwrapRoomKey(wrapped: string): Promise<RoomKey> {
    expectText(wrapped, 'wrapped', 'ERR_E2EE_MALFORMED_KEY');
    return roomKeyOf(await this.#unwrapping.add(wrapped));
  }
}

/**
 * Makes a passphrase for an identity as Rocket.Chat's clients do: 12 of 2,048 English words,
 * joined by spaces; 132 bits of randomness.
 */
export function generatePassphrase(): string {
  return guard(() => native.generatePassphrase());
}
