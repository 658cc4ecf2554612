import { createHash, createPublicKey, type JsonWebKey } from 'crypto';
import { encryptedContentOf, generatePassphrase, Identity, RoomKey } from '..';
import { captured } from './helpers';

const keychain = captured('keychain-v2-web.json');
if (keychain) {
  test('the captured private key opens, byte for byte', async () => {
    const { persisted, passphrase, userId, private_key } = keychain;
    const identity = await Identity.unlock(persisted, passphrase, userId);
    const { alg, e, ext, kty, n } = JSON.parse(private_key);
    const publicKey = JSON.stringify({ alg, e, ext, key_ops: ['encrypt'], kty, n });
    expect(identity.publicKey).toBe(publicKey);
    expect(identity.fingerprint).toBe(Identity.fromPrivateJwk(private_key).fingerprint);
  });
}

for (const name of ['message-v1-web.json', 'message-v2-web.json']) {
  const capture = captured(name);
  if (capture) {
    test(`the captured ${name} opens, byte for byte`, () => {
      const key = RoomKey.fromJwk(JSON.stringify(capture.roomKeyJwk), capture.kid);
      const content = encryptedContentOf(capture.message);
      expect(content).toEqual(capture.message.content);
      if (content === undefined) throw new Error('unreachable');
      expect(JSON.stringify(key.decrypt(content))).toBe(capture.plaintext);
    });
  }
}

test('a fingerprint is the SHA-256 of the SubjectPublicKeyInfo, in groups of four', async () => {
  const { publicKey, fingerprint } = await Identity.generate();
  const key = createPublicKey({ key: JSON.parse(publicKey) as JsonWebKey, format: 'jwk' });
  const spki = key.export({ type: 'spki', format: 'der' });
  const hash = createHash('sha256').update(spki).digest('hex');
  expect(fingerprint).toBe(hash.match(/.{4}/g)?.join(' '));
});

test('passphrases are twelve words, and never the same', () => {
  const passphrases = new Set(Array.from({ length: 50 }, generatePassphrase));
  expect(passphrases.size).toBe(50);
  for (const passphrase of passphrases) expect(passphrase).toMatch(/^([a-z]{3,8} ){11}[a-z]{3,8}$/);
});

test('no key shows in what people print', async () => {
  const identity = await Identity.generate();
  const key = RoomKey.generate();
  expect(Object.keys(identity).sort()).toEqual(['fingerprint', 'publicKey']);
  expect(Object.keys(key).sort()).toEqual(['algorithm', 'keyId']);
  expect(JSON.stringify({ key })).toBe(`{"key":{"keyId":"${key.keyId}","algorithm":"A256GCM"}}`);
});

test('a class cannot be made by hand', () => {
  for (const Class of [Identity, RoomKey] as unknown as (new () => object)[]) {
    expect(() => new Class()).toThrow();
  }
});

describe('what content may hold', () => {
  const key = RoomKey.generate();
  const roundTrip = (attachment: Record<string, unknown>) =>
    key.decrypt(key.encrypt({ msg: '', attachments: [attachment] })).attachments?.[0];

  test.each([
    ['a date', { ts: new Date(1_790_000_000_000) }],
    ['bytes', { bytes: Uint8Array.of(0, 1, 254, 255) }],
    ['NaN and the infinities', { a: Number.NaN, b: Infinity, c: -Infinity }],
    ['numbers, exactly', { a: 0.1 + 0.2, b: 5e-324, c: 2 ** 53, d: -1e21, e: 1 / 3 }],
    ['what looks like a date', { $date: 5 }],
    ['what looks like bytes', { a: { $binary: 'AQID' } }],
    ['what looks like an escape', { a: [{ $escape: { $date: 5 } }] }],
    ['what looks like a custom type', { a: { $type: 'oid', $value: '1' } }],
    ['a dollar', { a: '"$', $: '$', b: { $date: 1, c: 2 } }],
    ['nested lists', { a: [[], [[null, true, 'x']], {}] }],
    ['text beyond the basic plane', { '😀': '👩‍👩‍👧 שלום \u0000 \u2028' }],
  ])('%s', (_name, attachment) => {
    expect(roundTrip(attachment)).toEqual(attachment);
  });

  test('other forms of bytes become a Uint8Array', () => {
    const bytes = Uint8Array.of(9, 1, 2, 3, 9);
    const view = new DataView(bytes.buffer, 1, 3);
    expect(roundTrip({ view, buffer: bytes.buffer, node: Buffer.from([7]) })).toEqual({
      view: Uint8Array.of(1, 2, 3),
      buffer: bytes,
      node: Uint8Array.of(7),
    });
  });

  test('members that are undefined are left out', () => {
    expect(roundTrip({ a: undefined, b: [undefined] })).toEqual({ b: [null] });
    const content = { msg: 'x', attachments: undefined, files: undefined, file: undefined };
    expect(key.decrypt(key.encrypt(content as never))).toEqual({ msg: 'x' });
  });

  test('only four members are taken', () => {
    const content = { msg: 'x', _id: 'forged', u: { _id: 'forged' }, t: 'uj' };
    expect(key.decrypt(key.encrypt(content))).toEqual({ msg: 'x' });
  });

  test('a member named __proto__ does no harm', () => {
    const hostile = JSON.parse('{"__proto__":{"polluted":true},"a":{"__proto__":{"b":1},"c":2}}');
    const attachment = roundTrip(hostile);
    expect(attachment).toEqual({ a: { c: 2 } });
    expect(Object.assign({}, attachment)).not.toHaveProperty('polluted');
  });

  test('lone surrogates become U+FFFD', () => {
    expect(key.decrypt(key.encrypt({ msg: '\ud800x\udfff😀' })).msg).toBe('\ufffdx\ufffd😀');
    expect(roundTrip({ '\ud800': '\udc00' })).toEqual({ '\ufffd': '\ufffd' });
  });

  test('a message of 1 MB', () => {
    const msg = 'ü'.repeat(512 * 1024);
    expect(key.decrypt(key.encrypt({ msg })).msg).toBe(msg);
  });
});

describe('encryptedContentOf', () => {
  const key = RoomKey.generate();
  const content = key.encrypt({ msg: 'hello' });
  const app = { id: '1', room: { id: 'r' }, sender: { id: 'u' }, text: '' };

  test.each([
    ['REST', { _id: '1', t: 'e2e', msg: '', ts: '2026-11-20T00:00:00.000Z', content }],
    ['DDP', { _id: '1', t: 'e2e', e2e: 'pending', msg: '', ts: { $date: 1 }, content }],
    ['the database', { _id: '1', t: 'e2e', msg: '', ts: new Date(), content }],
    ['Apps-Engine', { ...app, type: 'e2e', _unmappedProperties_: { content, e2e: 'pending' } }],
    ['a pinned message', { t: 'message_pinned_e2e', msg: '', attachments: [{ content }] }],
    [
      'a pinned message in Apps-Engine',
      {
        ...app,
        type: 'message_pinned_e2e',
        attachments: [{ _unmappedProperties_: { content } }],
      },
    ],
  ])('%s', (_name, message) => {
    expect(encryptedContentOf(message)).toEqual(content);
  });

  test.each([
    ['a plain message', { _id: '1', msg: 'hello' }],
    ['a system message', { _id: '1', t: 'uj', msg: 'ann' }],
    ['content without its type', { _id: '1', msg: '', e2e: 'pending', content }],
    ['a plain message in Apps-Engine', { ...app, text: 'hello', _unmappedProperties_: {} }],
  ])('%s is not encrypted', (_name, message) => {
    expect(encryptedContentOf(message)).toBeUndefined();
  });

  test('an old message has its content in msg, or in text', () => {
    const old = { algorithm: 'rc.v1.aes-sha2', ciphertext: 'fdda0f066173AAAA' };
    expect(encryptedContentOf({ t: 'e2e', msg: old.ciphertext })).toEqual(old);
    expect(encryptedContentOf({ ...app, type: 'e2e', text: old.ciphertext })).toEqual(old);
  });
});

describe('many messages', () => {
  test('more than one batch, in order, some of them bad', async () => {
    const key = RoomKey.generate();
    const contents = Array.from({ length: 2_500 }, (_, index) =>
      index % 100 === 99 ? 'bad' : key.encrypt({ msg: `message ${index}` }),
    );
    const results = await key.decryptMany(contents);
    expect(results).toHaveLength(contents.length);
    for (const [index, result] of results.entries()) {
      expect(result).toEqual(
        index % 100 === 99
          ? expect.objectContaining({ code: 'ERR_E2EE_MALFORMED_ENVELOPE' })
          : { msg: `message ${index}` },
      );
    }
  });
});
