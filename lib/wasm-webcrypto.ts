/**
 * The slow parts of an identity's work, by the host's WebCrypto: off the event loop, and many times
 * faster than in WebAssembly. Where a function gives `undefined`, the host refuses, and WebAssembly
 * has to do it.
 */
export class WebCrypto {
  readonly #crypto: Crypto;

  constructor(crypto: Crypto) {
    this.#crypto = crypto;
  }

  /** PBKDF2-HMAC-SHA256 (RFC 8018 §5.2): 32 bytes. Wipes the passphrase. */
  async deriveKey(passphrase: Bytes, salt: Bytes, iterations: number): Promise<Bytes | undefined> {
    try {
      const { subtle } = this.#crypto;
      const key = await subtle.importKey('raw', passphrase, 'PBKDF2', false, ['deriveBits']);
      const parameters = { name: 'PBKDF2', hash: 'SHA-256', salt, iterations };
      return new Uint8Array(await subtle.deriveBits(parameters, key, 256));
    } catch {
      return undefined;
    } finally {
      passphrase.fill(0);
    }
  }

  /** A new key pair, as PKCS#8; the caller wipes it. */
  async generateKeyPair(): Promise<Bytes | undefined> {
    try {
      const { subtle } = this.#crypto;
      const parameters = {
        ...OAEP,
        modulusLength: 2048,
        publicExponent: Uint8Array.of(1, 0, 1),
      };
      const { privateKey } = await subtle.generateKey(parameters, true, ['encrypt', 'decrypt']);
      return new Uint8Array(await subtle.exportKey('pkcs8', privateKey));
    } catch {
      return undefined;
    }
  }

  /** The private key of a PKCS#8, which is wiped. Nobody gets the key out of it again. */
  async importPrivateKey(pkcs8: Bytes): Promise<CryptoKey | undefined> {
    try {
      if (isDeno()) return undefined;
      return await this.#crypto.subtle.importKey('pkcs8', pkcs8, OAEP, false, ['decrypt']);
    } catch {
      return undefined;
    } finally {
      pkcs8.fill(0);
    }
  }

  /** RSA-OAEP (RFC 8017 §7.1.2); `null` where the ciphertext is not for this key, or changed. */
  async decrypt(key: CryptoKey, ciphertext: Bytes): Promise<Bytes | null | undefined> {
    try {
      return new Uint8Array(await this.#crypto.subtle.decrypt(OAEP, key, ciphertext));
    } catch (error) {
      return (error as { name?: unknown } | null)?.name === 'OperationError' ? null : undefined;
    }
  }
}

/**
 * Deno's RSA is an older release of what WebAssembly has, called without blinding: whoever times
 * many decryptions might learn about the key (RUSTSEC-2023-0071; docs/cryptography.md).
 */
function isDeno(): boolean {
  return typeof navigator === 'object' && navigator.userAgent.startsWith('Deno/');
}

export type Bytes = Uint8Array<ArrayBuffer>;

const OAEP = { name: 'RSA-OAEP', hash: 'SHA-256' };
