// The same jobs as they are done without this library. An envelope is an object as the server's
// JSON gives it; content is an object as an application uses it.

import crypto from 'node:crypto';
import { promisify } from 'node:util';
import { gcm } from '@noble/ciphers/aes.js';
import { pbkdf2 as noblePbkdf2 } from '@noble/hashes/pbkdf2.js';
import { sha256 } from '@noble/hashes/sha2.js';

const { subtle } = crypto.webcrypto;
const TAG = 16;
const OAEP = { oaepHash: 'sha256', padding: crypto.constants.RSA_PKCS1_OAEP_PADDING };

const envelope = (kid, iv, ciphertext) => ({
  algorithm: 'rc.v2.aes-sha2',
  kid,
  iv: Buffer.from(iv.buffer, iv.byteOffset, iv.length).toString('base64'),
  ciphertext: Buffer.from(ciphertext.buffer, ciphertext.byteOffset, ciphertext.length).toString(
    'base64',
  ),
});

/** `node:crypto`, synchronous: no needless copies, nonces drawn in bulk. */
export function nodeRoomKey(key, kid) {
  let nonces = Buffer.alloc(0);
  const nonce = () => {
    if (nonces.length === 0) nonces = crypto.randomBytes(12 * 1024);
    const drawn = nonces.subarray(0, 12);
    nonces = nonces.subarray(12);
    return drawn;
  };
  return {
    encrypt({ msg }) {
      const iv = nonce();
      const cipher = crypto.createCipheriv('aes-256-gcm', key, iv);
      const first = cipher.update(JSON.stringify({ msg }), 'utf8');
      const ciphertext = Buffer.concat([first, cipher.final(), cipher.getAuthTag()]);
      return {
        algorithm: 'rc.v2.aes-sha2',
        kid,
        iv: iv.toString('base64'),
        ciphertext: ciphertext.toString('base64'),
      };
    },
    decrypt({ iv, ciphertext }) {
      const bytes = Buffer.from(ciphertext, 'base64');
      const decipher = crypto.createDecipheriv('aes-256-gcm', key, Buffer.from(iv, 'base64'));
      decipher.setAuthTag(bytes.subarray(-TAG));
      const text = decipher.update(bytes.subarray(0, -TAG), undefined, 'utf8');
      return JSON.parse(text + decipher.final('utf8'));
    },
  };
}

/** WebCrypto, as Rocket.Chat's client uses it. */
export async function webRoomKey(key, kid) {
  const imported = await subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']);
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  return {
    async encrypt({ msg }) {
      const iv = crypto.webcrypto.getRandomValues(new Uint8Array(12));
      const plain = encoder.encode(JSON.stringify({ msg }));
      const sealed = await subtle.encrypt({ name: 'AES-GCM', iv }, imported, plain);
      return envelope(kid, iv, new Uint8Array(sealed));
    },
    async decrypt({ iv, ciphertext }) {
      const algorithm = { name: 'AES-GCM', iv: Buffer.from(iv, 'base64') };
      const plain = await subtle.decrypt(algorithm, imported, Buffer.from(ciphertext, 'base64'));
      return JSON.parse(decoder.decode(plain));
    },
  };
}

/** `@noble/ciphers`: JavaScript alone. */
export function nobleRoomKey(key, kid) {
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();
  return {
    encrypt({ msg }) {
      const iv = crypto.randomBytes(12);
      return envelope(kid, iv, gcm(key, iv).encrypt(encoder.encode(JSON.stringify({ msg }))));
    },
    decrypt({ iv, ciphertext }) {
      const cipher = gcm(key, Buffer.from(iv, 'base64'));
      return JSON.parse(decoder.decode(cipher.decrypt(Buffer.from(ciphertext, 'base64'))));
    },
  };
}

const split = (wrapped) => Buffer.from(wrapped.slice(-344), 'base64');

/** Wrapped room keys and private keys by `node:crypto`. */
export const node = {
  /** @returns the room key's JWK */
  unwrap: (privateKey, wrapped) =>
    JSON.parse(crypto.privateDecrypt({ key: privateKey, ...OAEP }, split(wrapped)).toString()),
  wrap(publicJwk, kid, jwk) {
    const key = crypto.createPublicKey({ key: JSON.parse(publicJwk), format: 'jwk' });
    return kid + crypto.publicEncrypt({ key, ...OAEP }, Buffer.from(jwk)).toString('base64');
  },
  /** @returns the public modulus */
  async unlock(stored, passphrase) {
    const { iv, ciphertext, salt, iterations } = JSON.parse(stored);
    const key = await promisify(crypto.pbkdf2)(passphrase, salt, iterations, 32, 'sha256');
    const bytes = Buffer.from(ciphertext, 'base64');
    const decipher = crypto.createDecipheriv('aes-256-gcm', key, Buffer.from(iv, 'base64'));
    decipher.setAuthTag(bytes.subarray(-TAG));
    const jwk = JSON.parse(
      decipher.update(bytes.subarray(0, -TAG), undefined, 'utf8') + decipher.final('utf8'),
    );
    crypto.createPrivateKey({ key: jwk, format: 'jwk' });
    return jwk.n;
  },
  generate: () => promisify(crypto.generateKeyPair)('rsa', { modulusLength: 2048 }),
};

/** The same by WebCrypto. */
export const web = {
  importPrivate: (jwk) =>
    subtle.importKey('jwk', jwk, { name: 'RSA-OAEP', hash: 'SHA-256' }, false, ['decrypt']),
  unwrap: async (privateKey, wrapped) =>
    JSON.parse(
      Buffer.from(
        await subtle.decrypt({ name: 'RSA-OAEP' }, privateKey, split(wrapped)),
      ).toString(),
    ),
  async wrap(publicJwk, kid, jwk) {
    const algorithm = { name: 'RSA-OAEP', hash: 'SHA-256' };
    const key = await subtle.importKey('jwk', JSON.parse(publicJwk), algorithm, false, ['encrypt']);
    const block = await subtle.encrypt(algorithm, key, Buffer.from(jwk));
    return kid + Buffer.from(block).toString('base64');
  },
  async unlock(stored, passphrase) {
    const { iv, ciphertext, salt, iterations } = JSON.parse(stored);
    const password = Buffer.from(passphrase);
    const base = await subtle.importKey('raw', password, 'PBKDF2', false, ['deriveKey']);
    const parameters = { name: 'PBKDF2', hash: 'SHA-256', salt: Buffer.from(salt), iterations };
    const key = await subtle.deriveKey(parameters, base, { name: 'AES-GCM', length: 256 }, false, [
      'decrypt',
    ]);
    const algorithm = { name: 'AES-GCM', iv: Buffer.from(iv, 'base64') };
    const plain = await subtle.decrypt(algorithm, key, Buffer.from(ciphertext, 'base64'));
    const jwk = JSON.parse(Buffer.from(plain).toString());
    await web.importPrivate(jwk);
    return jwk.n;
  },
  generate: () =>
    subtle.generateKey(
      {
        name: 'RSA-OAEP',
        modulusLength: 2048,
        publicExponent: new Uint8Array([1, 0, 1]),
        hash: 'SHA-256',
      },
      true,
      ['encrypt', 'decrypt'],
    ),
};

/** The same by `@noble`, which has no RSA. */
export function nobleUnlock(stored, passphrase) {
  const { iv, ciphertext, salt, iterations } = JSON.parse(stored);
  const key = noblePbkdf2(sha256, passphrase, salt, { c: iterations, dkLen: 32 });
  const plain = gcm(key, Buffer.from(iv, 'base64')).decrypt(Buffer.from(ciphertext, 'base64'));
  const jwk = JSON.parse(Buffer.from(plain).toString());
  crypto.createPrivateKey({ key: jwk, format: 'jwk' });
  return jwk.n;
}
