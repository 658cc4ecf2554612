import { Transform, type TransformCallback } from 'stream';
import { types } from 'util';
import type { FileDecryptor, FileEncryptor } from '../binding';
import { toJson } from './ejson';
import { E2eeError, expectText, guard, guardAsync, kindOf } from './errors';
import { native } from './native';

/** A file's key, as WebCrypto exports it. */
export interface FileKey {
  kty: 'oct';
  alg: 'A256CTR';
  /** Base64url of the 32 bytes. */
  k: string;
  ext: boolean;
  key_ops: string[];
}

/**
 * What a reader needs to open an encrypted file: two members of the attachment that announces it.
 *
 * Protocol: §5.5.
 */
export interface FileEncryption {
  encryption: {
    key: FileKey;
    /** Base64 of the 16-byte initial counter block. */
    iv: string;
  };
  hashes: {
    /** SHA-256 of the plain bytes, 64 hexadecimal digits. */
    sha256: string;
  };
}

/** An encrypted file, and what a reader needs to open it. */
export interface EncryptedFile extends FileEncryption {
  /** The ciphertext: as long as the plain bytes. */
  data: Buffer;
  /** SHA-256 of the real name in hexadecimal, to upload the file under; where a name was given. */
  name?: string;
}

/** Encrypts what is written to it. */
export interface FileEncryptStream extends Transform, FileEncryption {
  /** As in {@link EncryptedFile}. */
  readonly name?: string;
  /** Known from the start. */
  readonly encryption: FileEncryption['encryption'];
  /** Known once the stream has ended; reading it before throws `ERR_E2EE_INVALID_ARGUMENT`. */
  readonly hashes: FileEncryption['hashes'];
}

/** Decrypts what is written to it. */
export type FileDecryptStream = Transform;

/** Up to here, the work takes less time than a hop to another thread. */
const SMALL = 64 * 1024;
/** How much goes to another thread at once. */
const PIECE = 1024 * 1024;

/**
 * Encrypts a file as Rocket.Chat's clients do, off the event loop: AES-256-CTR, a fresh key.
 *
 * @param data - the plain bytes; do not change them before the promise settles
 * @param name - the file's real name, of which only a hash is returned
 * @throws E2eeError (rejects) with code `ERR_E2EE_INVALID_ARGUMENT`.
 *
 * Protocol: §5.5.
 */
export async function encryptFile(data: Uint8Array, name?: string): Promise<EncryptedFile> {
  const encryptedName = uploadName(name);
  const cipher = guard(() => new native.FileEncryptor());
  const encrypted = await transform(cipher, data);
  return {
    data: encrypted,
    ...encryptedName,
    encryption: JSON.parse(cipher.encryption) as FileEncryption['encryption'],
    hashes: { sha256: guard(() => cipher.finish()) },
  };
}

/**
 * Decrypts a file, off the event loop, and checks its hash before anything is returned.
 *
 * @param data - the ciphertext; do not change it before the promise settles
 * @param file - the attachment that announced the file, or any object with its `encryption` and
 * `hashes`
 * @throws E2eeError (rejects) with code `ERR_E2EE_DECRYPTION_FAILED` when the plain bytes do not
 * have the hash that the sender took, `ERR_E2EE_MALFORMED_ENVELOPE`, `ERR_E2EE_MALFORMED_KEY`,
 * `ERR_E2EE_UNSUPPORTED_ALGORITHM` or `ERR_E2EE_INVALID_ARGUMENT`.
 *
 * Protocol: §5.5.
 */
export async function decryptFile(data: Uint8Array, file: FileEncryption): Promise<Buffer> {
  const cipher = decryptorFor(file);
  const plain = await transform(cipher, data);
  guard(() => cipher.finish());
  return plain;
}

/**
 * Encrypts a file of any size in constant memory: write the plain bytes, read the ciphertext.
 *
 * @param name - the file's real name, of which only a hash is kept
 * @throws E2eeError with code `ERR_E2EE_INVALID_ARGUMENT`.
 */
export function encryptFileStream(name?: string): FileEncryptStream {
  return new EncryptStream(uploadName(name).name);
}

/**
 * Decrypts a file of any size in constant memory: write the ciphertext, read the plain bytes.
 *
 * The hash can be checked only at the end. Where it does not fit, the stream fails with
 * `ERR_E2EE_DECRYPTION_FAILED`, and what was read until then is not to be trusted.
 *
 * @param file - as for {@link decryptFile}
 * @throws E2eeError with code `ERR_E2EE_MALFORMED_ENVELOPE`, `ERR_E2EE_MALFORMED_KEY` or
 * `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
 */
export function decryptFileStream(file: FileEncryption): FileDecryptStream {
  const cipher = decryptorFor(file);
  return new CipherStream(cipher, () => cipher.finish());
}

class CipherStream extends Transform {
  readonly #cipher: FileEncryptor | FileDecryptor;
  readonly #finish: () => void;

  constructor(cipher: FileEncryptor | FileDecryptor, finish: () => void) {
    super();
    this.#cipher = cipher;
    this.#finish = finish;
  }

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    if (chunk.length > SMALL) {
      transform(this.#cipher, chunk).then((bytes) => done(null, bytes), done);
      return;
    }
    let bytes: Buffer;
    try {
      bytes = transformSmall(this.#cipher, chunk);
    } catch (error) {
      done(error as Error);
      return;
    }
    done(null, bytes);
  }

  override _flush(done: TransformCallback): void {
    try {
      guard(this.#finish);
      done();
    } catch (error) {
      done(error as Error);
    }
  }
}

class EncryptStream extends CipherStream implements FileEncryptStream {
  readonly name?: string;
  readonly encryption: FileEncryption['encryption'];
  #hashes: FileEncryption['hashes'] | undefined;

  constructor(name: string | undefined) {
    const cipher = guard(() => new native.FileEncryptor());
    super(cipher, () => {
      this.#hashes = { sha256: cipher.finish() };
    });
    if (name !== undefined) this.name = name;
    this.encryption = JSON.parse(cipher.encryption) as FileEncryption['encryption'];
  }

  get hashes(): FileEncryption['hashes'] {
    if (this.#hashes === undefined) {
      throw new E2eeError(
        'ERR_E2EE_INVALID_ARGUMENT',
        'the hash of a file is known once its stream has ended',
      );
    }
    return this.#hashes;
  }
}

/** Encrypts or decrypts a copy of `data`: small ones at once, large ones off the event loop. */
async function transform(cipher: FileEncryptor | FileDecryptor, data: Uint8Array): Promise<Buffer> {
  if (!types.isUint8Array(data)) {
    throw new E2eeError(
      'ERR_E2EE_INVALID_ARGUMENT',
      `data must be a Buffer or a Uint8Array, not ${kindOf(data)}`,
    );
  }
  if (data.length <= SMALL) return transformSmall(cipher, data);
  const result = Buffer.allocUnsafeSlow(data.length);
  let work = Promise.resolve();
  for (let start = 0; start < result.length; start += PIECE) {
    if (data.length !== result.length) {
      throw new E2eeError('ERR_E2EE_INVALID_ARGUMENT', 'data was taken away during the work');
    }
    // Copied, and its memory given by the system, while the piece before is at work.
    const piece = result.subarray(start, start + PIECE);
    piece.set(data.subarray(start, start + PIECE));
    await work;
    work = guardAsync(() => cipher.updateLater(piece));
    // Whoever waits for it is told; until then nobody needs to be.
    work.catch(() => undefined);
  }
  await work;
  return result;
}

function transformSmall(cipher: FileEncryptor | FileDecryptor, data: Uint8Array): Buffer {
  const result = Buffer.from(data);
  guard(() => cipher.update(result));
  return result;
}

function decryptorFor(file: FileEncryption): FileDecryptor {
  if (typeof file !== 'object' || file === null) {
    throw new E2eeError(
      'ERR_E2EE_MALFORMED_ENVELOPE',
      `file must be an object with encryption and hashes, not ${kindOf(file)}`,
    );
  }
  const encryption = toJson(file.encryption, 'encryption');
  const sha256 = expectText(file.hashes?.sha256, 'hashes.sha256', 'ERR_E2EE_MALFORMED_ENVELOPE');
  return guard(() => new native.FileDecryptor(encryption, sha256));
}

function uploadName(name: string | undefined): { name?: string } {
  if (name === undefined) return {};
  const text = expectText(name, 'name', 'ERR_E2EE_INVALID_ARGUMENT');
  return { name: guard(() => native.encryptedFileName(text)) };
}
