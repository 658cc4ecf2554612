import {
  decryptFile,
  decryptFileStream,
  E2eeError,
  encryptedContentOf,
  encryptFile,
  encryptFileStream,
  Identity,
  RoomKey,
} from '..';
import { codeOf } from './helpers';

/** Lets a test pass what the types forbid. */
// biome-ignore lint/suspicious/noExplicitAny: that is its purpose
const wrong = (value: unknown): any => value;

const NOT_TEXT = [undefined, null, 42, true, {}, [], Symbol('x'), 10n, () => ''];
const UUID = 'a0617a42-4732-4765-b04e-54d8475c10b2';
const HUGE = 'A'.repeat(20 * 1024 * 1024);

let identity: Identity;
let locked: string;
let key: RoomKey;
let circle: Record<string, unknown>;

beforeAll(async () => {
  identity = await Identity.generate();
  locked = await identity.lock('correct horse', 'annUserId00000001');
  key = RoomKey.generate();
  circle = {};
  circle.circle = circle;
});

/** Whatever happened before, the next call works. */
afterEach(async () => {
  expect(key.decrypt(key.encrypt({ msg: 'still here' }))).toEqual({ msg: 'still here' });
  const wrapped = await key.wrapFor(identity.publicKey);
  expect((await identity.unwrapRoomKey(wrapped)).keyId).toBe(key.keyId);
});

describe('Identity.unlock', () => {
  test('a stored key that is not text', async () => {
    for (const value of NOT_TEXT) {
      expect(await codeOf(() => Identity.unlock(wrong(value), 'p', 'u'))).toBe(
        'ERR_E2EE_MALFORMED_ENVELOPE',
      );
    }
  });

  test('a passphrase or user id that is not text', async () => {
    for (const value of NOT_TEXT) {
      expect(await codeOf(() => Identity.unlock(locked, wrong(value), 'u'))).toBe(
        'ERR_E2EE_INVALID_ARGUMENT',
      );
      expect(await codeOf(() => Identity.unlock(locked, 'p', wrong(value)))).toBe(
        'ERR_E2EE_INVALID_ARGUMENT',
      );
    }
  });

  test.each([
    ['nothing', ''],
    ['no JSON', '{'],
    ['another object', '{}'],
    ['a public key', '{"kty":"RSA"}'],
    ['bad base64', '{"$binary":"****"}'],
    ['a truncated v1', '{"$binary":"AAAAAAAAAAAAAAAAAAAAAA=="}'],
    ['something huge', `{"$binary":"${HUGE}"}`],
  ])('%s', async (_name, stored) => {
    expect(await codeOf(() => Identity.unlock(stored, 'p', 'u'))).toBe(
      'ERR_E2EE_MALFORMED_ENVELOPE',
    );
  });

  test('each member of a v2 envelope missing, of a wrong type, truncated', async () => {
    for (const member of ['iv', 'ciphertext', 'salt', 'iterations']) {
      for (const value of [undefined, null, [], member === 'salt' ? 5 : 'AAAA']) {
        const stored = JSON.stringify({ ...JSON.parse(locked), [member]: value });
        expect(await codeOf(() => Identity.unlock(stored, 'correct horse', 'u'))).toBe(
          'ERR_E2EE_MALFORMED_ENVELOPE',
        );
      }
    }
  });

  test('iterations outside the range, before any work', async () => {
    const started = Date.now();
    for (const iterations of [0, 1, 999, 2_000_001, 2 ** 31, 2 ** 53, -100_000]) {
      const stored = JSON.stringify({ ...JSON.parse(locked), iterations });
      expect(await codeOf(() => Identity.unlock(stored, 'correct horse', 'u'))).toBe(
        'ERR_E2EE_ITERATIONS_OUT_OF_RANGE',
      );
    }
    expect(Date.now() - started).toBeLessThan(1000);
  });

  test('a wrong passphrase, for every form', async () => {
    const v1 = JSON.stringify({ $binary: Buffer.alloc(64, 1).toString('base64') });
    for (const stored of [locked, v1]) {
      for (const passphrase of [
        '',
        'wrong',
        'Correct horse',
        'é',
        '🐎',
        '\ud800',
        'x'.repeat(1e6),
      ]) {
        expect(await codeOf(() => Identity.unlock(stored, passphrase, 'u'))).toBe(
          'ERR_E2EE_WRONG_PASSPHRASE',
        );
      }
    }
  });

  test('an error names neither passphrase nor key', async () => {
    const error = await Identity.unlock(locked, 'my secret passphrase', 'u').catch((e) => e);
    expect(error).toBeInstanceOf(E2eeError);
    expect(`${error.message}${error.stack}${JSON.stringify(error)}`).not.toContain('my secret');
  });
});

describe('Identity.lock', () => {
  test('a passphrase that clients read differently', async () => {
    for (const passphrase of ['café', 'пароль', '🐎', '\ud800']) {
      expect(await codeOf(() => identity.lock(passphrase, 'u'))).toBe(
        'ERR_E2EE_AMBIGUOUS_PASSPHRASE',
      );
    }
  });

  test('an empty passphrase, an unusable user id, wrong types', async () => {
    expect(await codeOf(() => identity.lock('', 'u'))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    for (const userId of ['', 'a b', 'ü', '\n', 'u'.repeat(1000)]) {
      expect(await codeOf(() => identity.lock('p', userId))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    }
    for (const value of NOT_TEXT) {
      expect(await codeOf(() => identity.lock(wrong(value), 'u'))).toBe(
        'ERR_E2EE_INVALID_ARGUMENT',
      );
      expect(await codeOf(() => identity.lock('p', wrong(value)))).toBe(
        'ERR_E2EE_INVALID_ARGUMENT',
      );
    }
  });
});

describe('keys', () => {
  test('Identity.fromPrivateJwk', async () => {
    for (const jwk of [...NOT_TEXT, '', '{}', '[]', '{"kty":"RSA"}', identity.publicKey, HUGE]) {
      expect(await codeOf(() => Identity.fromPrivateJwk(wrong(jwk)))).toBe(
        'ERR_E2EE_MALFORMED_KEY',
      );
    }
    const ec = '{"kty":"RSA","alg":"RSA-OAEP-512"}';
    expect(await codeOf(() => Identity.fromPrivateJwk(ec))).toBe('ERR_E2EE_UNSUPPORTED_ALGORITHM');
  });

  test('RoomKey.fromJwk', async () => {
    const jwk = `{"kty":"oct","alg":"A256GCM","k":"${'A'.repeat(43)}"}`;
    expect(RoomKey.fromJwk(jwk, UUID).algorithm).toBe('A256GCM');
    for (const value of [...NOT_TEXT, '', '{}', '[]', 'null', jwk.slice(0, -1), HUGE]) {
      expect(await codeOf(() => RoomKey.fromJwk(wrong(value), UUID))).toBe(
        'ERR_E2EE_MALFORMED_KEY',
      );
    }
    for (const value of [...NOT_TEXT, '', 'short', `${UUID}x`, 'ü'.repeat(12), HUGE]) {
      expect(await codeOf(() => RoomKey.fromJwk(jwk, wrong(value)))).toBe('ERR_E2EE_MALFORMED_KEY');
    }
    const unknown = jwk.replace('A256GCM', 'A192GCM');
    expect(await codeOf(() => RoomKey.fromJwk(unknown, UUID))).toBe(
      'ERR_E2EE_UNSUPPORTED_ALGORITHM',
    );
    const short = jwk.replace('A256GCM', 'A128CBC');
    expect(await codeOf(() => RoomKey.fromJwk(short, 'fdda0f066173'))).toBe(
      'ERR_E2EE_MALFORMED_KEY',
    );
  });

  test('RoomKey.wrapFor', async () => {
    const { n } = JSON.parse(identity.publicKey);
    const jwk = (members: object) => JSON.stringify({ kty: 'RSA', e: 'AQAB', n, ...members });
    expect(await key.wrapFor(jwk({}))).toHaveLength(36 + 344);
    for (const value of [
      ...NOT_TEXT,
      '',
      '{}',
      HUGE,
      jwk({ e: 'Aw' }),
      jwk({ e: 'AQ' }),
      jwk({ n: n.slice(0, 171) }),
      jwk({ n: n + n }),
      jwk({ n: '' }),
      jwk({ n: 5 }),
      jwk({ kty: 'EC' }),
    ]) {
      expect(await codeOf(() => key.wrapFor(wrong(value)))).toBe('ERR_E2EE_MALFORMED_KEY');
    }
    expect(await codeOf(() => key.wrapFor(jwk({ alg: 'RSA-OAEP' })))).toBe(
      'ERR_E2EE_UNSUPPORTED_ALGORITHM',
    );
  });

  test('Identity.unwrapRoomKey', async () => {
    const wrapped = await key.wrapFor(identity.publicKey);
    for (const value of [
      ...NOT_TEXT,
      '',
      wrapped.slice(0, 343),
      wrapped.slice(1),
      wrapped.slice(36),
      `${wrapped}AAAA`,
      `${wrapped.slice(0, -4)}****`,
      HUGE,
    ]) {
      expect(await codeOf(() => identity.unwrapRoomKey(wrong(value)))).toBe(
        'ERR_E2EE_MALFORMED_KEY',
      );
    }
    const other = await Identity.generate();
    expect(await codeOf(() => other.unwrapRoomKey(wrapped))).toBe('ERR_E2EE_DECRYPTION_FAILED');
    const random = UUID + Buffer.alloc(256, 7).toString('base64');
    expect(await codeOf(() => identity.unwrapRoomKey(random))).toBe('ERR_E2EE_DECRYPTION_FAILED');
  });
});

describe('messages', () => {
  const good = () => key.encrypt({ msg: 'hello' }) as unknown as Record<string, string>;

  test('wrong types', async () => {
    for (const value of [
      undefined,
      null,
      42,
      true,
      Symbol('x'),
      10n,
      {},
      [],
      new Date(),
      () => '',
    ]) {
      expect(await codeOf(() => key.decrypt(wrong(value)))).toBe('ERR_E2EE_MALFORMED_ENVELOPE');
    }
    for (const member of ['kid', 'iv', 'ciphertext']) {
      for (const value of [undefined, null, 42, {}, [], circle, 10n]) {
        const content = wrong({ ...good(), [member]: value });
        expect(await codeOf(() => key.decrypt(content))).toBe('ERR_E2EE_MALFORMED_ENVELOPE');
      }
    }
  });

  test('truncated, wrong lengths, wrong base64, huge', async () => {
    const { ciphertext = '' } = good();
    for (const change of [
      { ciphertext: '' },
      { ciphertext: ciphertext.slice(0, 7) },
      { ciphertext: ciphertext.slice(0, 8) },
      { ciphertext: `${ciphertext}*` },
      { ciphertext: HUGE },
      { iv: '' },
      { iv: 'AAAA' },
      { iv: HUGE },
      { iv: 'ü' },
    ]) {
      const content = wrong({ ...good(), ...change });
      expect(await codeOf(() => key.decrypt(content))).toBe('ERR_E2EE_MALFORMED_ENVELOPE');
    }
    for (const text of ['', 'x', 'elevenchars', 'ü'.repeat(100), '{', '{}', HUGE]) {
      expect(await codeOf(() => key.decrypt(text))).toBe('ERR_E2EE_MALFORMED_ENVELOPE');
    }
  });

  test('unknown algorithms', async () => {
    for (const algorithm of ['m.megolm.v1.aes-sha2', 'rc.v9', '']) {
      const content = wrong({ ...good(), algorithm });
      expect(await codeOf(() => key.decrypt(content))).toBe('ERR_E2EE_UNSUPPORTED_ALGORITHM');
    }
  });

  test('another key, and any changed byte', async () => {
    expect(await codeOf(() => RoomKey.generate().decrypt(wrong(good())))).toBe(
      'ERR_E2EE_DECRYPTION_FAILED',
    );
    const content = good();
    const bytes = Buffer.from(content.ciphertext ?? '', 'base64');
    for (let index = 0; index < bytes.length; index++) {
      const changed = Buffer.from(bytes);
      changed[index] = (changed[index] ?? 0) ^ 0x80;
      const tampered = wrong({ ...content, ciphertext: changed.toString('base64') });
      expect(await codeOf(() => key.decrypt(tampered))).toBe('ERR_E2EE_DECRYPTION_FAILED');
    }
  });

  test('one bad message among many does not stop the others', async () => {
    const contents = [wrong(good()), 'short', wrong(null), wrong(circle), wrong(42), wrong(good())];
    const results = await key.decryptMany(contents);
    expect(results.map((result) => (result instanceof E2eeError ? result.code : result))).toEqual([
      { msg: 'hello' },
      'ERR_E2EE_MALFORMED_ENVELOPE',
      'ERR_E2EE_MALFORMED_ENVELOPE',
      'ERR_E2EE_MALFORMED_ENVELOPE',
      'ERR_E2EE_MALFORMED_ENVELOPE',
      { msg: 'hello' },
    ]);
    expect(await key.decryptMany([])).toEqual([]);
    for (const value of [undefined, null, 42, 'text', {}]) {
      expect(await codeOf(() => key.decryptMany(wrong(value)))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    }
  });

  test('characters outside ASCII are not base64, and shift nothing in a batch', async () => {
    const iv = Buffer.alloc(12, 7).toString('base64');
    const [high, low] = ['\ud83d', '\ude00'];
    const envelope = key.encrypt({ msg: 'hello' }) as { iv: string; ciphertext: string };
    // U+0100 above each character: cut to its low byte, it would be the good envelope.
    const wide = (text: string) =>
      String.fromCharCode(...[...text].map((c) => c.charCodeAt(0) + 0x100));
    const bad = [
      { ...envelope, iv: wide(envelope.iv) },
      { ...envelope, ciphertext: wide(envelope.ciphertext) },
      { ...envelope, ciphertext: `${envelope.ciphertext}ÿ` },
      { ...envelope, iv, ciphertext: high },
      { ...envelope, iv: low, ciphertext: envelope.ciphertext },
      low,
      'a\u0000b',
      { ...envelope, iv: '', ciphertext: '' },
    ].map(wrong);
    for (const content of bad) {
      expect(await codeOf(() => key.decrypt(content))).toBe('ERR_E2EE_MALFORMED_ENVELOPE');
    }
    const contents = bad.flatMap((content) => [content, wrong(good())]);
    const results = await key.decryptMany(contents);
    expect(results).toEqual(
      bad.flatMap(() => [
        expect.objectContaining({ code: 'ERR_E2EE_MALFORMED_ENVELOPE' }),
        { msg: 'hello' },
      ]),
    );
  });

  test('an object of very many members takes no longer than many of few', () => {
    const member = (number: number) => [`${'member'.repeat(8)}${number}`, 1];
    const objects = (count: number, members: number) =>
      Array.from({ length: count }, (_, object) =>
        Object.fromEntries(
          Array.from({ length: members }, (_, index) => member(object * members + index)),
        ),
      );
    const [many, one] = [objects(100, 1000), objects(1, 100_000)].map((attachments) => {
      const content = key.encrypt({ msg: 'hello', attachments });
      const times = Array.from({ length: 3 }, () => {
        const start = performance.now();
        expect(key.decrypt(content).attachments).toHaveLength(attachments.length);
        return performance.now() - start;
      });
      return Math.min(...times);
    });
    expect(one).toBeLessThan(5 * (many ?? 0));
  });

  test('content that cannot be encrypted', async () => {
    let deep: unknown = 'x';
    for (let level = 0; level < 10_000; level++) deep = [deep];
    for (const content of [
      undefined,
      null,
      42,
      'text',
      {},
      { msg: 42 },
      { msg: null },
      { text: 'hello' },
      { msg: 'x', attachments: 'x' },
      { msg: 'x', attachments: {} },
      { msg: 'x', attachments: [circle] },
      { msg: 'x', attachments: [deep] },
      { msg: 'x', attachments: [{ size: 10n }] },
      { msg: 'x', attachments: [{ call: () => '' }] },
      { msg: 'x', attachments: [{ ts: new Date(Number.NaN) }] },
    ]) {
      expect(await codeOf(() => key.encrypt(wrong(content)))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    }
  });

  test('encryptedContentOf', async () => {
    for (const value of [undefined, null, 42, 'text']) {
      expect(await codeOf(() => encryptedContentOf(wrong(value)))).toBe(
        'ERR_E2EE_INVALID_ARGUMENT',
      );
    }
    expect(await codeOf(() => encryptedContentOf({ t: 'e2e', content: circle }))).toBe(
      'ERR_E2EE_MALFORMED_ENVELOPE',
    );
    for (const message of [
      {},
      [],
      { t: 'e2e' },
      { t: 'e2e', attachments: [null] },
      { t: circle.x },
    ]) {
      expect(encryptedContentOf(message)).toBeUndefined();
    }
  });
});

describe('files', () => {
  test('wrong types', async () => {
    for (const value of [undefined, null, 42, 'text', {}, [], new ArrayBuffer(8)]) {
      expect(await codeOf(() => encryptFile(wrong(value)))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    }
    for (const value of [null, 42, {}, []]) {
      expect(await codeOf(() => encryptFile(Buffer.alloc(1), wrong(value)))).toBe(
        'ERR_E2EE_INVALID_ARGUMENT',
      );
      expect(await codeOf(() => encryptFileStream(wrong(value)))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    }
  });

  test('malformed descriptions, at once and as a stream', async () => {
    const { data, encryption, hashes } = await encryptFile(Buffer.from('plain'));
    const codes: [unknown, string][] = [
      ...[undefined, null, 42, {}, { encryption }, { hashes }].map((file): [unknown, string] => [
        file,
        'ERR_E2EE_MALFORMED_ENVELOPE',
      ]),
      [{ encryption, hashes: { sha256: 'xyz' } }, 'ERR_E2EE_MALFORMED_ENVELOPE'],
      [{ encryption, hashes: { sha256: null } }, 'ERR_E2EE_MALFORMED_ENVELOPE'],
      [{ encryption: circle, hashes }, 'ERR_E2EE_MALFORMED_ENVELOPE'],
      [{ encryption: { ...encryption, iv: 'AAAA' }, hashes }, 'ERR_E2EE_MALFORMED_ENVELOPE'],
      [{ encryption: { ...encryption, key: 'k' }, hashes }, 'ERR_E2EE_MALFORMED_KEY'],
      [
        { encryption: { ...encryption, key: { ...encryption.key, k: 'AAAA' } }, hashes },
        'ERR_E2EE_MALFORMED_KEY',
      ],
      [
        { encryption: { ...encryption, key: { ...encryption.key, alg: 'A256GCM' } }, hashes },
        'ERR_E2EE_UNSUPPORTED_ALGORITHM',
      ],
    ];
    for (const [file, code] of codes) {
      expect(await codeOf(() => decryptFile(data, wrong(file)))).toBe(code);
      expect(await codeOf(() => decryptFileStream(wrong(file)))).toBe(code);
    }
  });

  test('bytes that are taken away during the work', async () => {
    const data = new Uint8Array(8 * 1024 * 1024);
    const work = encryptFile(data);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    expect(await codeOf(() => work)).toBe('ERR_E2EE_INVALID_ARGUMENT');
  });

  test('the hash of a stream that has not ended', async () => {
    const stream = encryptFileStream();
    expect(await codeOf(() => stream.hashes)).toBe('ERR_E2EE_INVALID_ARGUMENT');
    stream.destroy();
  });
});
