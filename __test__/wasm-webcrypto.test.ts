import { constants, createPrivateKey, publicEncrypt } from 'crypto';
import { Identity as AddonIdentity, RoomKey as AddonRoomKey } from '..';
import { sandboxed, source } from './apps-engine/sandboxed';
import identities from './fixtures/recorded/identities.json';
import { roomKeys } from './fixtures/recorded/room-keys.json';
import { codeOf, turnsDuring } from './helpers';

const UUID = 'a0617a42-4732-4765-b04e-54d8475c10b2';
const USER = 'annUserId00000001';

type Subtle = Record<string, (...parameters: unknown[]) => unknown>;

/** The library on a host with this `subtle`. */
function on(subtle: unknown, host: Record<string, unknown> = {}) {
  const getRandomValues = (bytes: Uint8Array) => crypto.getRandomValues(bytes);
  return sandboxed(source, { crypto: { getRandomValues, subtle }, ...host });
}

/** This host's `subtle`, and the names of its functions in the order in which they are called. */
function watched(change: Subtle = {}) {
  const calls: string[] = [];
  const secrets: Uint8Array[] = [];
  const parameters: unknown[][] = [];
  const subtle = new Proxy({} as Subtle, {
    get:
      (_, name: string) =>
      (...given: unknown[]) => {
        calls.push(name);
        parameters.push(given);
        if (name === 'importKey') secrets.push(given[1] as Uint8Array);
        const member = change[name] ?? (crypto.subtle as unknown as Subtle)[name];
        return member?.apply(crypto.subtle, given);
      },
  });
  return { subtle, calls, secrets, parameters };
}

const refuse = () => Promise.reject(new DOMException('no', 'NotSupportedError'));

/** Hosts on which everything has to come to the same. */
const HOSTS: [string, () => unknown][] = [
  ['WebCrypto', () => crypto.subtle],
  ['no WebCrypto', () => undefined],
  ['WebCrypto that has no function', () => ({})],
  ['WebCrypto that refuses', () => new Proxy({}, { get: () => refuse })],
  [
    'WebCrypto that imports keys and does no more',
    () => ({
      importKey: crypto.subtle.importKey.bind(crypto.subtle),
      deriveBits: refuse,
      decrypt: refuse,
    }),
  ],
  [
    'WebCrypto that makes keys and gives none away',
    () => ({
      generateKey: crypto.subtle.generateKey.bind(crypto.subtle),
      exportKey: refuse,
    }),
  ],
];

/** What RSA-OAEP of others makes for a public JWK. */
function encrypted(
  publicKey: string,
  plaintext: Uint8Array,
  oaepHash = 'sha256',
  label = '',
): string {
  const key = { key: JSON.parse(publicKey), format: 'jwk' as const };
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const oaepLabel = Buffer.from(label);
  const block = publicEncrypt({ ...key, padding, oaepHash, oaepLabel } as never, plaintext);
  return UUID + block.toString('base64');
}

describe.each(HOSTS)('on a host with %s', (_name, subtle) => {
  const { Identity } = on(subtle());
  let identity: Awaited<ReturnType<typeof Identity.generate>>;
  beforeAll(async () => {
    identity = await Identity.generate();
  });

  test('a new identity is one that the addon takes', async () => {
    const stored = await identity.lock('correct horse', USER);
    const { iterations, salt } = JSON.parse(stored);
    expect(iterations).toBe(100_000);
    expect(salt).toMatch(/^v2:annUserId00000001:[0-9a-f-]{36}$/);
    const theirs = await AddonIdentity.unlock(stored, 'correct horse', USER);
    expect(theirs.publicKey).toBe(identity.publicKey);
    expect(theirs.fingerprint).toBe(identity.fingerprint);
    const { n, e } = JSON.parse(identity.publicKey);
    expect([Buffer.from(n, 'base64url').length, e]).toEqual([256, 'AQAB']);
    const key = AddonRoomKey.generate();
    const opened = await identity.unwrapRoomKey(await key.wrapFor(theirs.publicKey));
    expect(opened.decrypt(key.encrypt({ msg: 'hello' }))).toEqual({ msg: 'hello' });
  });

  test.each(identities.envelopes)(
    'the $client private key unlocks, passphrase "$passphrase"',
    async ({ stored, passphrase }) => {
      const unlocked = await Identity.unlock(stored, passphrase, identities.userId);
      expect(unlocked.publicKey).toBe(identities.publicKey);
      const wrong = () => Identity.unlock(stored, `${passphrase}!`, identities.userId);
      expect(await codeOf(wrong)).toBe('ERR_E2EE_WRONG_PASSPHRASE');
    },
  );

  test('what is no envelope, and iterations out of range', async () => {
    const stored = JSON.parse(await identity.lock('correct horse', USER));
    const unlock = (members: object) =>
      codeOf(() => Identity.unlock(JSON.stringify({ ...stored, ...members }), 'p', USER));
    expect(await unlock({ iv: 'AAAA' })).toBe('ERR_E2EE_MALFORMED_ENVELOPE');
    expect(await unlock({ iterations: 999 })).toBe('ERR_E2EE_ITERATIONS_OUT_OF_RANGE');
    expect(await unlock({ iterations: 2_000_001 })).toBe('ERR_E2EE_ITERATIONS_OUT_OF_RANGE');
    expect(await unlock({})).toBe('ERR_E2EE_WRONG_PASSPHRASE');
    expect(await codeOf(() => identity.lock('', USER))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    expect(await codeOf(() => identity.lock('é', USER))).toBe('ERR_E2EE_AMBIGUOUS_PASSPHRASE');
  });

  test.each(roomKeys)('the $client room key opens', async ({ wrapped, keyId, algorithm, jwk }) => {
    const theirs = Identity.fromPrivateJwk(identities.privateKey);
    const key = await theirs.unwrapRoomKey(wrapped);
    expect([key.keyId, key.algorithm]).toEqual([keyId, algorithm]);
    const content = key.encrypt({ msg: 'hello' });
    expect(AddonRoomKey.fromJwk(jwk, keyId).decrypt(content)).toEqual({ msg: 'hello' });
    expect(await codeOf(() => identity.unwrapRoomKey(wrapped))).toBe('ERR_E2EE_DECRYPTION_FAILED');
  });

  test('bad ciphertexts fail as with the addon, and spoil nothing', async () => {
    const addon = AddonIdentity.fromPrivateJwk(identities.privateKey);
    const theirs = Identity.fromPrivateJwk(identities.privateKey);
    const { publicKey } = addon;
    const n = Buffer.from(JSON.parse(publicKey).n, 'base64url');
    const jwk = Buffer.from(`{"alg":"A256GCM","k":"${'A'.repeat(43)}","kty":"oct"}`);
    const good = encrypted(publicKey, jwk);
    const flip = (at: number) => {
      const block = Buffer.from(good.slice(36), 'base64');
      block[at] = Number(block[at]) ^ 1;
      return UUID + block.toString('base64');
    };
    const failed = [
      flip(0),
      flip(100),
      flip(255),
      UUID + Buffer.alloc(256).toString('base64'),
      UUID + Buffer.alloc(256, 255).toString('base64'),
      UUID + n.toString('base64'),
      encrypted(publicKey, jwk, 'sha1'),
      encrypted(publicKey, jwk, 'sha512'),
      encrypted(publicKey, jwk, 'sha256', 'a label'),
      encrypted(identity.publicKey, jwk),
    ];
    const malformed = [
      encrypted(publicKey, Buffer.alloc(0)),
      encrypted(publicKey, Buffer.from('hello')),
      encrypted(publicKey, Buffer.of(0xff, 0xfe)),
      encrypted(publicKey, Buffer.from('{"alg":"A256GCM","k":"AAAA","kty":"oct"}')),
      good.slice(1),
      `${good}A`,
      '',
    ];
    const unsupported = encrypted(publicKey, Buffer.from(jwk.toString().replace('256', '192')));
    const all = [...failed, ...malformed, unsupported];
    const outcomes = await Promise.all(
      [...all, good].map(async (wrapped) => {
        const outcome = async (unwrapped: Promise<{ keyId: string }>) =>
          unwrapped.then(
            ({ keyId }) => keyId,
            ({ code, message }) => `${code} ${message}`,
          );
        const [ours, addons] = await Promise.all([
          outcome(theirs.unwrapRoomKey(wrapped)),
          outcome(addon.unwrapRoomKey(wrapped)),
        ]);
        expect(ours).toBe(addons);
        return ours.split(' ')[0];
      }),
    );
    expect(outcomes).toEqual([
      ...failed.map(() => 'ERR_E2EE_DECRYPTION_FAILED'),
      ...malformed.map(() => 'ERR_E2EE_MALFORMED_KEY'),
      'ERR_E2EE_UNSUPPORTED_ALGORITHM',
      UUID,
    ]);
    // All that fail to decrypt say the same.
    const messages = failed.map((wrapped) => theirs.unwrapRoomKey(wrapped).catch((e) => e.message));
    expect(new Set(await Promise.all(messages)).size).toBe(1);
  });
});

describe('what the host is given', () => {
  test('PBKDF2 runs once for each form of a passphrase, and is left out where it is not to run', async () => {
    const { subtle, calls } = watched();
    const { Identity } = on(subtle);
    const derivations = () => calls.filter((name) => name === 'deriveBits').length;
    const identity = Identity.fromPrivateJwk(identities.privateKey);
    const stored = await identity.lock('correct horse', USER);
    expect(derivations()).toBe(1);
    await Identity.unlock(stored, 'correct horse', USER);
    expect(derivations()).toBe(2);
    await codeOf(() => Identity.unlock(stored, 'café', USER));
    expect(derivations()).toBe(4);
    const costly = JSON.stringify({ ...JSON.parse(stored), iterations: 2_000_001 });
    await codeOf(() => Identity.unlock(costly, 'correct horse', USER));
    await codeOf(() => identity.lock('', USER));
    expect(derivations()).toBe(4);
  });

  test('the private key once, for good, and only to decrypt', async () => {
    const { subtle, calls, parameters } = watched();
    const { Identity, RoomKey } = on(subtle);
    const identity = await Identity.generate();
    expect(calls).toEqual(['generateKey', 'exportKey']);
    const key = RoomKey.generate();
    const wrapped = await key.wrapFor(identity.publicKey);
    await Promise.all(Array.from({ length: 20 }, () => identity.unwrapRoomKey(wrapped)));
    await codeOf(() => identity.unwrapRoomKey(`${UUID}${'A'.repeat(342)}==`));
    expect(calls.filter((name) => name === 'importKey')).toHaveLength(1);
    expect(calls.filter((name) => name === 'decrypt')).toHaveLength(21);
    const [format, , , extractable, usages] = parameters[calls.indexOf('importKey')] ?? [];
    expect([format, extractable, usages]).toEqual(['pkcs8', false, ['decrypt']]);
  });

  test('no private key where the host is Deno, whose RSA is not blinded', async () => {
    const { subtle, calls, parameters } = watched();
    const { Identity, RoomKey } = on(subtle, { navigator: { userAgent: 'Deno/2.3.1' } });
    const identity = await Identity.generate();
    const key = RoomKey.generate();
    const opened = await identity.unwrapRoomKey(await key.wrapFor(identity.publicKey));
    expect(opened.keyId).toBe(key.keyId);
    await Identity.unlock(await identity.lock('correct horse', USER), 'correct horse', USER);
    expect(calls).not.toContain('decrypt');
    const imported = parameters.filter((_, index) => calls[index] === 'importKey');
    expect(imported.map(([format]) => format)).toEqual(['raw', 'raw']);
    expect(calls.filter((name) => name === 'deriveBits')).toHaveLength(2);
  });

  test.each([
    ['WebCrypto', {}],
    ['WebCrypto that refuses', { importKey: refuse }],
  ])('no bytes of secrets stay behind, on a host with %s', async (_name, change) => {
    const { subtle, secrets } = watched(change);
    const { Identity, RoomKey } = on(subtle);
    const identity = Identity.fromPrivateJwk(identities.privateKey);
    const stored = await identity.lock('correct horse', USER);
    await Identity.unlock(stored, 'correct horse', USER);
    await identity.unwrapRoomKey(await RoomKey.generate().wrapFor(identity.publicKey));
    expect(secrets.map(({ length }) => length)).toEqual([13, 13, expect.any(Number)]);
    for (const secret of secrets) expect(secret.every((byte) => byte === 0)).toBe(true);
  });

  test('what the host decrypted and derived is wiped', async () => {
    const given: Uint8Array[] = [];
    const keep = async (result: unknown) => {
      given.push(new Uint8Array((await result) as ArrayBuffer));
      return result;
    };
    const host = crypto.subtle as unknown as Subtle;
    const { subtle } = watched({
      deriveBits: (...parameters) => keep(host.deriveBits?.apply(host, parameters)),
      decrypt: (...parameters) => keep(host.decrypt?.apply(host, parameters)),
      exportKey: (...parameters) => keep(host.exportKey?.apply(host, parameters)),
    });
    const { Identity, RoomKey } = on(subtle);
    const identity = await Identity.generate();
    await Identity.unlock(await identity.lock('correct horse', USER), 'correct horse', USER);
    await identity.unwrapRoomKey(await RoomKey.generate().wrapFor(identity.publicKey));
    expect(given).toHaveLength(4);
    for (const secret of given) expect(secret.every((byte) => byte === 0)).toBe(true);
  });
});

test('the event loop goes on meanwhile', async () => {
  const { Identity, RoomKey } = on(crypto.subtle);
  const identity = Identity.fromPrivateJwk(identities.privateKey);
  const stored = await identity.lock('correct horse', USER);
  const wrapped = await RoomKey.generate().wrapFor(identity.publicKey);
  // In WebAssembly, it would come round once or twice.
  for (const work of [
    () => Identity.generate(),
    () => identity.lock('correct horse', USER),
    () => Identity.unlock(stored, 'correct horse', USER),
    () => Promise.all(Array.from({ length: 100 }, () => identity.unwrapRoomKey(wrapped))),
  ]) {
    expect(await turnsDuring(work)).toBeGreaterThan(20);
  }
});

test('a key pair that is none of ours is not taken', async () => {
  const { privateKey } = await crypto.subtle.generateKey(
    {
      name: 'RSA-OAEP',
      hash: 'SHA-256',
      modulusLength: 1024,
      publicExponent: Uint8Array.of(1, 0, 1),
    },
    true,
    ['encrypt', 'decrypt'],
  );
  const der = await crypto.subtle.exportKey('pkcs8', privateKey);
  expect(createPrivateKey({ key: Buffer.from(der), format: 'der', type: 'pkcs8' })).toBeDefined();
  const { subtle } = watched({ exportKey: async () => der });
  expect(await codeOf(() => on(subtle).Identity.generate())).toBe('ERR_E2EE_MALFORMED_KEY');
});

describe('after a bug', () => {
  /** A library whose randomness fails as soon as the host was asked to do `name`. */
  function failingDuring(name: string) {
    let failing = false;
    let mended = false;
    const host = crypto.subtle as unknown as Subtle;
    const { subtle } = watched({
      [name]: (...parameters) => {
        failing = !mended;
        return host[name]?.apply(host, parameters);
      },
    });
    const getRandomValues = (bytes: Uint8Array) => {
      if (failing) throw new RangeError('no randomness');
      return crypto.getRandomValues(bytes);
    };
    const library = sandboxed(source, { crypto: { getRandomValues, subtle } });
    const mend = () => {
      mended = true;
      failing = false;
    };
    return { ...library, mend };
  }

  test('a step that breaks the instance fails the call, and the next is made anew', async () => {
    const { Identity, mend } = failingDuring('deriveBits');
    const identity = Identity.fromPrivateJwk(identities.privateKey);
    const error = await identity.lock('correct horse', USER).catch((e) => e);
    expect(error).toMatchObject({ code: 'ERR_E2EE_INTERNAL', cause: 'RangeError: no randomness' });
    mend();
    expect(await codeOf(() => identity.lock('correct horse', USER))).toBe('ERR_E2EE_INTERNAL');
    const next = Identity.fromPrivateJwk(identities.privateKey);
    expect(JSON.parse(await next.lock('correct horse', USER)).iterations).toBe(100_000);
  });

  test('what waits for the host while the instance breaks, fails', async () => {
    const { Identity, RoomKey, mend } = failingDuring('decrypt');
    const identity = Identity.fromPrivateJwk(identities.privateKey);
    const wrapped = await RoomKey.generate().wrapFor(identity.publicKey);
    const waiting = codeOf(() => identity.unwrapRoomKey(wrapped));
    const unlocking = codeOf(() =>
      Identity.unlock(identities.envelopes[0]?.stored ?? '', 'x', USER),
    );
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(await codeOf(() => RoomKey.generate())).toBe('ERR_E2EE_INTERNAL');
    expect(await waiting).toBe('ERR_E2EE_INTERNAL');
    expect(await unlocking).toBe('ERR_E2EE_INTERNAL');
    mend();
    expect(RoomKey.generate().keyId).toHaveLength(36);
  });
});
