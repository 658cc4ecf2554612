import { createHash } from 'node:crypto';
import { Readable, type Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  decryptFile,
  decryptFileStream,
  E2eeError,
  type EncryptedContent,
  encryptedContentOf,
  encryptFile,
  encryptFileStream,
  type FileEncryption,
  generatePassphrase,
  Identity,
  type MessageContent,
  RoomKey,
} from '..';
import { files } from './fixtures/recorded/files.json';
import identities from './fixtures/recorded/identities.json';
import { messages } from './fixtures/recorded/messages.json';
import roomKeyFixtures from './fixtures/recorded/room-keys.json';
import { type BrowserClient, openBrowser } from './webcrypto-client/browser';
import type {
  FileSecrets,
  Flavour,
  Form,
  IdentityJwks,
  MessageDocument,
  RoomKeyJwk,
} from './webcrypto-client/client.js';

/** To run a failure again: INTEROP_SEED=<the seed in the name of the test> npx jest interop */
const SEED = Number(process.env.INTEROP_SEED ?? Math.floor(Math.random() * 2 ** 32));
const RANDOM_MESSAGES = 300;
const MEGABYTE = 2 ** 20;
const USER_ID = 'annUserId00000001';
const FLAVOURS: Flavour[] = ['web-8', 'web-7', 'web-6', 'mobile-8', 'mobile-7', 'mobile-6'];

jest.setTimeout(60_000);

let browser: BrowserClient;
let ours: Identity;
let theirs: IdentityJwks;
/** One room key as each flavour makes it. */
let roomKeys: Record<Flavour, RoomKeyJwk>;

beforeAll(async () => {
  browser = await openBrowser();
  ours = await Identity.generate();
  theirs = await browser.call('createIdentity');
  const keys = await browser.callMany(
    'createRoomKey',
    FLAVOURS.map((flavour) => [flavour]),
  );
  roomKeys = Object.fromEntries(
    FLAVOURS.map((flavour, index) => [flavour, keys[index]]),
  ) as typeof roomKeys;
});

afterAll(() => browser?.close());

// --- Helpers ----------------------------------------------------------------------------------

/** mulberry32: small, and the same everywhere. */
function seededRandom(seed: number) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number) => Math.floor(next() * limit);
  const list = <T>(limit: number, make: () => T) => Array.from({ length: below(limit) }, make);
  return {
    next,
    below,
    list,
    pick: <T>(items: readonly T[]) => items[below(items.length)] as T,
    bytes: (length: number) => Uint8Array.from({ length }, () => below(256)),
  };
}
type Random = ReturnType<typeof seededRandom>;

const sha256 = (data: Uint8Array | string) => createHash('sha256').update(data).digest('hex');

/** Stands for bytes in a comparison, so that a failure does not print a megabyte. */
const digest = (data: Uint8Array) => `${data.length} bytes, ${sha256(data)}`;

/** What UTF-8 makes of a value: each lone surrogate becomes U+FFFD. */
function wellFormed<T>(value: T): T {
  if (typeof value === 'string') return Buffer.from(value).toString() as T;
  if (Array.isArray(value)) return value.map(wellFormed) as T;
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [wellFormed(name), wellFormed(item)]),
  ) as T;
}

const oursOf = ({ jwk, keyId }: RoomKeyJwk) => RoomKey.fromJwk(jwk, keyId);

function contentOf(message: object): EncryptedContent {
  const content = encryptedContentOf(message);
  if (!content) throw new Error(`Not seen as encrypted: ${JSON.stringify(message)}`);
  return content;
}

const asMessage = (content: EncryptedContent) => ({ t: 'e2e', msg: '', content });

const browserWrites = (form: Form, roomKey: RoomKeyJwk, payloads: readonly object[]) =>
  browser.callMany(
    'writeMessage',
    payloads.map((payload) => [form, roomKey, payload]),
  );

const browserReads = (flavour: Flavour, roomKey: RoomKeyJwk, contents: EncryptedContent[]) =>
  browser.callMany(
    'decryptMessage',
    contents.map((content) => [flavour, { current: roomKey }, asMessage(content)]),
  );

const failsWith = (code: string) =>
  expect.objectContaining({ constructor: E2eeError, code, message: expect.any(String) });

/** The same base64 with one bit of its bytes flipped, counted from the end. */
function damage(base64: string, fromEnd: number): string {
  const bytes = Buffer.from(base64, 'base64');
  const index = bytes.length - 1 - fromEnd;
  bytes.writeUInt8(bytes.readUInt8(index) ^ 1, index);
  return bytes.toString('base64');
}

// --- Private keys -----------------------------------------------------------------------------

describe('private keys', () => {
  const PASSPHRASES = [
    'prize fluid crystal small jaguar lunar',
    'café crème ÿ',
    ' ',
    'a'.repeat(300),
  ];

  test.each(FLAVOURS)('%s locks, we unlock', async (flavour) => {
    const stored = await browser.callMany(
      'lockPrivateKey',
      PASSPHRASES.map((passphrase) => [flavour, theirs.privateKey, passphrase, USER_ID]),
    );
    const { fingerprint } = Identity.fromPrivateJwk(theirs.privateKey);
    for (const [index, passphrase] of PASSPHRASES.entries()) {
      const identity = await Identity.unlock(String(stored[index]), passphrase, USER_ID);
      expect(identity.publicKey).toBe(theirs.publicKey);
      expect(identity.fingerprint).toBe(fingerprint);
    }
  });

  test.each(FLAVOURS)('%s locks, a wrong passphrase opens nothing', async (flavour) => {
    const stored = await browser.call(
      'lockPrivateKey',
      flavour,
      theirs.privateKey,
      'right',
      USER_ID,
    );
    await expect(Identity.unlock(stored, 'wrong', USER_ID)).rejects.toEqual(
      failsWith('ERR_E2EE_WRONG_PASSPHRASE'),
    );
  });

  test('v1 binds the user, by its salt', async () => {
    const stored = await browser.call(
      'lockPrivateKey',
      'web-7',
      theirs.privateKey,
      'right',
      USER_ID,
    );
    await expect(Identity.unlock(stored, 'right', 'bobUserId00000001')).rejects.toEqual(
      failsWith('ERR_E2EE_WRONG_PASSPHRASE'),
    );
  });

  test.each(['web-8', 'mobile-8'] as const)('we lock, %s unlocks', async (flavour) => {
    const passphrase = generatePassphrase();
    const stored = await Identity.fromPrivateJwk(theirs.privateKey).lock(passphrase, USER_ID);
    const opened = await browser.call('unlockPrivateKey', flavour, stored, passphrase, USER_ID);
    expect(JSON.parse(opened)).toEqual(JSON.parse(theirs.privateKey));
    await expect(
      browser.call('unlockPrivateKey', flavour, stored, `${passphrase}!`, USER_ID),
    ).rejects.toThrow('OperationError');
  });

  test('we lock as v2', async () => {
    const envelope = JSON.parse(await ours.lock('prize fluid', USER_ID));
    expect(Object.keys(envelope).sort()).toEqual(['ciphertext', 'iterations', 'iv', 'salt']);
    expect(envelope.iterations).toBe(100_000);
    expect(Buffer.from(envelope.iv, 'base64')).toHaveLength(12);
    expect(envelope.salt).toMatch(new RegExp(`^v2:${USER_ID}:[0-9a-f-]{36}$`));
  });

  test.each(['web-8', 'mobile-8'] as const)('our new identity serves %s', async (flavour) => {
    const stored = await ours.lock('prize fluid', USER_ID);
    const privateKey = await browser.call(
      'unlockPrivateKey',
      flavour,
      stored,
      'prize fluid',
      USER_ID,
    );
    const wrapped = await browser.call('wrapRoomKey', roomKeys[flavour], ours.publicKey);
    expect(await browser.call('unwrapRoomKey', flavour, wrapped, privateKey)).toEqual(
      roomKeys[flavour],
    );
    expect(Identity.fromPrivateJwk(privateKey).publicKey).toBe(ours.publicKey);
  });
});

// --- Room keys --------------------------------------------------------------------------------

describe('room keys', () => {
  test.each(FLAVOURS)('%s wraps, we unwrap and hand on', async (flavour) => {
    const roomKey = roomKeys[flavour];
    const wrapped = await browser.call('wrapRoomKey', roomKey, ours.publicKey);
    const key = await ours.unwrapRoomKey(wrapped);
    expect(key.keyId).toBe(roomKey.keyId);
    expect(key.algorithm).toBe(JSON.parse(roomKey.jwk).alg);

    // To the letter: clients before 7.13 hash the JWK text to get the key id.
    const handedOn = await key.wrapFor(theirs.publicKey);
    expect(handedOn).toHaveLength(roomKey.keyId.length + 344);
    expect(await browser.call('unwrapRoomKey', flavour, handedOn, theirs.privateKey)).toEqual(
      roomKey,
    );
  });

  test.each(FLAVOURS)('we wrap what %s made, from its JWK', async (flavour) => {
    const wrapped = await oursOf(roomKeys[flavour]).wrapFor(theirs.publicKey);
    expect(await browser.call('unwrapRoomKey', flavour, wrapped, theirs.privateKey)).toEqual(
      roomKeys[flavour],
    );
  });

  test.each(['web-8', 'mobile-8'] as const)('%s takes the key we make', async (flavour) => {
    const key = RoomKey.generate();
    const wrapped = await key.wrapFor(theirs.publicKey);
    const taken = await browser.call('unwrapRoomKey', flavour, wrapped, theirs.privateKey);
    expect(taken.keyId).toBe(key.keyId);
    expect(key.keyId).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
    expect(taken.jwk).toMatch(
      /^\{"alg":"A256GCM","ext":true,"k":"[\w-]{43}","key_ops":\["encrypt","decrypt"\],"kty":"oct"\}$/,
    );
    const [read] = await browserReads(flavour, taken, [key.encrypt({ msg: 'hello' })]);
    expect(read).toEqual({ msg: 'hello' });
    const [written] = await browserWrites('c', taken, [{ msg: 'hello too' }]);
    expect(key.decrypt(contentOf(written as MessageDocument))).toEqual({ msg: 'hello too' });
  });

  test('a key wrapped for somebody else stays closed', async () => {
    const wrapped = await browser.call('wrapRoomKey', roomKeys['web-8'], theirs.publicKey);
    await expect(ours.unwrapRoomKey(wrapped)).rejects.toEqual(
      failsWith('ERR_E2EE_DECRYPTION_FAILED'),
    );
  });
});

// --- Messages ---------------------------------------------------------------------------------

const TEXTS = [
  '',
  'hello',
  '/not a command',
  'emoji 😀 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪',
  'right to left: שלום עולם, مرحبا',
  'combining: e\u0301 a\u030a\u0323, précomposé: é',
  '你好，世界。 こんにちは',
  'controls: \0 \u0001 \b \t \n \r \u001f \u007f \u0085',
  'separators: \u2028 \u2029 \ufeff \u200b',
  'quotes: " \\ / \' ` \\u0041 </script>',
  'lone surrogates: \ud800 \udc00 \udfff\ud800',
  'beyond: \u{10ffff} \uffff \ufffe',
  '[ ](https://chat.example/group/room?msg=abc) quoted',
];

/** Attachments as the servers and clients write them: any JSON at all. */
const ATTACHMENT = {
  title: 'plan.png',
  title_link_download: true,
  image_size: 48_211,
  image_dimensions: { width: 800, height: 600.5 },
  numbers: [0, -1, 0.1, 1e21, 5e-324, 2 ** 53, -123_456.789e-7, 1.7976931348623157e308],
  nothing: null,
  nested: [[], {}, [{ deep: [true, false] }]],
  'key with "quotes", ü and 😀': '',
};

const CONTENTS: MessageContent[] = [
  ...TEXTS.map((msg) => ({ msg })),
  { msg: 'look', attachments: [ATTACHMENT], files: [{ _id: 'F', name: 'é.png', size: 3 }] },
  { msg: '', attachments: [], file: { _id: 'F', name: 'é.png', type: 'image/png', size: 3 } },
];

function randomText(random: Random): string {
  const plane = random.pick([0x80, 0x800, 0x10000, 0x110000]);
  return random
    .list(40, () => (random.below(4) ? random.below(plane) : random.below(0x80)))
    .map((codePoint) => String.fromCodePoint(codePoint))
    .join('');
}

function randomJson(random: Random, depth: number): unknown {
  const kind = random.below(depth > 0 ? 8 : 6);
  if (kind === 0) return random.pick([null, true, false, 0, '']);
  if (kind === 1) return random.below(2 ** 32) - 2 ** 31;
  if (kind === 2) return (random.next() - 0.5) * 10 ** (random.below(40) - 20);
  if (kind < 6) return randomText(random);
  if (kind === 6) return random.list(5, () => randomJson(random, depth - 1));
  return randomObject(random, depth - 1);
}

const randomObject = (random: Random, depth: number): Record<string, unknown> =>
  Object.fromEntries(
    random.list(5, () => [`k${wellFormed(randomText(random))}`, randomJson(random, depth)]),
  );

function randomContent(random: Random): MessageContent {
  const msg = randomText(random);
  if (random.below(3)) return { msg };
  const attachments = random.list(4, () => randomObject(random, 3));
  const files = random.list(3, () => randomObject(random, 1));
  return { msg, attachments, ...(files[0] && { files, file: files[0] }) } as MessageContent;
}

/** Which clients read what we write under whose keys, and which forms they write there. */
const ROOMS: { key: Flavour; readers: Flavour[]; forms: Form[] }[] = [
  { key: 'web-8', readers: ['web-8', 'mobile-8'], forms: ['c'] },
  { key: 'mobile-8', readers: ['web-8', 'mobile-8'], forms: ['c'] },
  {
    key: 'web-7',
    readers: ['web-8', 'web-7', 'mobile-8', 'mobile-7'],
    forms: ['a', 'b', 'd', 'e'],
  },
  {
    key: 'mobile-7',
    readers: ['web-8', 'web-7', 'mobile-8', 'mobile-7'],
    forms: ['a', 'b', 'd', 'e'],
  },
  { key: 'web-6', readers: ['web-8', 'mobile-8'], forms: ['a', 'b', 'd', 'e'] },
  { key: 'mobile-6', readers: ['web-8', 'mobile-8'], forms: ['a', 'b', 'd', 'e'] },
];
const READINGS = ROOMS.flatMap(({ key, readers }) =>
  readers.map((reader) => [key, reader] as const),
);
const WRITINGS = ROOMS.flatMap(({ key, forms }) => forms.map((form) => [key, form] as const));

describe('messages', () => {
  test.each(WRITINGS)('under a %s key, the browser writes form %s, we read', async (key, form) => {
    const documents = await browserWrites(form, roomKeys[key], CONTENTS);
    const roomKey = oursOf(roomKeys[key]);
    const read = documents.map((document) => roomKey.decrypt(contentOf(document)));
    expect(read).toEqual(CONTENTS.map(wellFormed));
  });

  test.each(READINGS)('under a %s key, we write, %s reads', async (key, reader) => {
    const roomKey = oursOf(roomKeys[key]);
    const contents = CONTENTS.map((content) => roomKey.encrypt(content));
    const read = await browserReads(reader, roomKeys[key], contents);
    expect(read).toEqual(CONTENTS.map(wellFormed));
  });

  test('we write rc.v2 under AES-GCM', () => {
    const { keyId } = roomKeys['web-8'];
    const { ciphertext, ...content } = oursOf(roomKeys['web-8']).encrypt({ msg: 'hello' });
    expect(content).toEqual({ algorithm: 'rc.v2.aes-sha2', kid: keyId, iv: expect.any(String) });
    expect(Buffer.from((content as { iv: string }).iv, 'base64')).toHaveLength(12);
    expect(Buffer.from(ciphertext, 'base64')).toHaveLength('{"msg":"hello"}'.length + 16);
  });

  test('we write rc.v1 under AES-CBC', () => {
    const { keyId } = roomKeys['web-7'];
    const { ciphertext, ...content } = oursOf(roomKeys['web-7']).encrypt({ msg: 'hello' });
    expect(content).toEqual({ algorithm: 'rc.v1.aes-sha2' });
    expect(ciphertext.slice(0, 12)).toBe(keyId);
    expect(Buffer.from(ciphertext.slice(12), 'base64')).toHaveLength(32);
  });

  test('no two ivs are alike', () => {
    const roomKey = oursOf(roomKeys['web-8']);
    const ivs = Array.from({ length: 1000 }, () => JSON.stringify(roomKey.encrypt({ msg: '' })));
    expect(new Set(ivs).size).toBe(1000);
  });

  test('form a is read from the message, and from its string', async () => {
    const [document] = await browserWrites('a', roomKeys['web-6'], [{ msg: 'hello' }]);
    const { msg } = document as MessageDocument;
    expect(contentOf(document as MessageDocument)).toEqual({
      algorithm: 'rc.v1.aes-sha2',
      ciphertext: msg,
    });
    expect(oursOf(roomKeys['web-6']).decrypt(msg)).toEqual({ msg: 'hello' });
  });

  test('content wins over msg, where mobile wrote both', async () => {
    const roomKey = roomKeys['mobile-7'];
    const document = await browser.call('encryptMessage', 'mobile-7', roomKey, { msg: 'hello' });
    expect(document.msg).not.toBe(document.content?.ciphertext);
    expect(contentOf(document)).toEqual(document.content);
    expect(oursOf(roomKey).decrypt(contentOf(document))).toEqual({ msg: 'hello' });
  });

  test.each(['web-6', 'mobile-6', 'mobile-7'] as const)(
    'the oldest payload of %s gives its text',
    async (flavour) => {
      const meta = { _id: 'm1', userId: 'u1', ts: new Date(1_790_000_000_000) };
      const payload = { msg: TEXTS.join('|') };
      const { msg } = await browser.call(
        'encryptMessage',
        flavour,
        roomKeys[flavour],
        payload,
        meta,
      );
      expect(oursOf(roomKeys[flavour]).decrypt(msg)).toMatchObject(wellFormed(payload));
    },
  );

  test('EJSON dates and bytes cross both ways', async () => {
    const content = {
      msg: 'look',
      attachments: [{ ts: new Date(1_790_000_000_123), raw: Uint8Array.of(0, 1, 254, 255) }],
    } as unknown as MessageContent;
    const roomKey = oursOf(roomKeys['web-8']);
    const [document] = await browserWrites('c', roomKeys['web-8'], [content]);
    const decrypted = roomKey.decrypt(contentOf(document as MessageDocument));
    expect(decrypted).toEqual(content);
    const [attachment] = decrypted.attachments as unknown as { ts: Date; raw: Uint8Array }[];
    expect(attachment?.ts).toBeInstanceOf(Date);
    expect(attachment?.raw).toBeInstanceOf(Uint8Array);

    const [read] = await browserReads('web-8', roomKeys['web-8'], [roomKey.encrypt(content)]);
    expect(read).toEqual(content);
  });

  test.each(['web-8', 'web-7'] as const)('a megabyte, under a %s key', async (flavour) => {
    const msg = `${'x'.repeat(MEGABYTE - 4)}😀`;
    const roomKey = oursOf(roomKeys[flavour]);
    const [read] = await browserReads(flavour, roomKeys[flavour], [roomKey.encrypt({ msg })]);
    expect(digest(Buffer.from(String(read?.msg)))).toBe(digest(Buffer.from(msg)));
    const written = await browser.call('encryptMessage', flavour, roomKeys[flavour], { msg });
    const decrypted = roomKey.decrypt(contentOf(written));
    expect(digest(Buffer.from(String(decrypted.msg)))).toBe(digest(Buffer.from(msg)));
  });

  describe.each(['web-8', 'web-7'] as const)('damaged, under a %s key', (flavour) => {
    test('we refuse it, and read the others', async () => {
      const texts = [{ msg: 'first' }, { msg: 'second' }, { msg: 'third' }];
      const form = flavour === 'web-8' ? 'c' : 'd';
      const contents = (await browserWrites(form, roomKeys[flavour], texts)).map(contentOf);
      // Under AES-CBC one bit of the iv is one bit of the first character, `{`.
      const second = contents[1] as EncryptedContent & { iv: string };
      contents[1] =
        form === 'c'
          ? { ...second, ciphertext: damage(second.ciphertext, 0) }
          : { ...second, iv: damage(second.iv, 15) };
      const roomKey = oursOf(roomKeys[flavour]);
      const failure = failsWith('ERR_E2EE_DECRYPTION_FAILED');
      expect(() => roomKey.decrypt(contents[1] as EncryptedContent)).toThrow(E2eeError);
      expect(await roomKey.decryptMany(contents)).toEqual([texts[0], failure, texts[2]]);
    });

    test('the browser refuses ours', async () => {
      const content = oursOf(roomKeys[flavour]).encrypt({ msg: 'hello' });
      const prefix = flavour === 'web-8' ? 0 : 12;
      const { ciphertext } = content;
      const damaged =
        ciphertext.slice(0, prefix) + damage(ciphertext.slice(prefix), prefix ? 31 : 0);
      await expect(
        browserReads(flavour, roomKeys[flavour], [{ ...content, ciphertext: damaged }]),
      ).rejects.toThrow(prefix ? 'JSON' : 'OperationError');
    });
  });

  test('the wrong key reads nothing', async () => {
    const [document] = await browserWrites('c', roomKeys['web-8'], [{ msg: 'hello' }]);
    const content = contentOf(document as MessageDocument);
    expect(await oursOf(roomKeys['mobile-8']).decryptMany([content])).toEqual([
      failsWith('ERR_E2EE_DECRYPTION_FAILED'),
    ]);
  });

  test('Matrix content is refused by name', async () => {
    const content = { algorithm: 'm.megolm.v1.aes-sha2', ciphertext: 'AwgAEnACgAkLmt6qF84IK++J' };
    const roomKey = oursOf(roomKeys['web-8']);
    expect(await roomKey.decryptMany([content as EncryptedContent])).toEqual([
      failsWith('ERR_E2EE_UNSUPPORTED_ALGORITHM'),
    ]);
  });

  describe(`random, seed ${SEED}`, () => {
    const random = seededRandom(SEED);
    const contents = Array.from({ length: RANDOM_MESSAGES }, () => randomContent(random));
    const expected = contents.map(wellFormed);

    test.each([
      ['web-8', 'c'],
      ['web-7', 'b'],
      ['web-7', 'd'],
    ] as const)('under a %s key, the browser writes form %s, we read', async (flavour, form) => {
      const documents = await browserWrites(form, roomKeys[flavour], contents);
      const roomKey = oursOf(roomKeys[flavour]);
      expect(await roomKey.decryptMany(documents.map(contentOf))).toEqual(expected);
      expect(documents.map((document) => roomKey.decrypt(contentOf(document)))).toEqual(expected);
    });

    test.each(['web-8', 'web-7'] as const)(
      'under a %s key, we write, it reads',
      async (flavour) => {
        const roomKey = oursOf(roomKeys[flavour]);
        const written = contents.map((content) => roomKey.encrypt(content));
        expect(await browserReads(flavour, roomKeys[flavour], written)).toEqual(expected);
      },
    );
  });
});

// --- Files ------------------------------------------------------------------------------------

const SIZES = [0, 1, 15, 16, 17, 2 ** 16 - 1, 2 ** 16, 2 ** 16 + 1, MEGABYTE];

/** Pushes bytes through a stream in pieces of any size, empty ones too. */
async function pour(data: Uint8Array, transform: Transform, random: Random): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for (let start = 0; start < data.length; ) {
    const length = random.pick([0, 1, 7, 16, 33, 4096, 70_000, MEGABYTE]);
    pieces.push(data.subarray(start, start + length));
    start += length;
  }
  const received: Buffer[] = [];
  await pipeline(Readable.from(pieces), transform, async (source: AsyncIterable<Buffer>) => {
    for await (const piece of source) received.push(piece);
  });
  return Buffer.concat(received);
}

const secretsOf = ({ encryption, hashes }: FileSecrets): FileSecrets & FileEncryption =>
  ({ encryption, hashes }) as FileSecrets & FileEncryption;

describe(`files, seed ${SEED}`, () => {
  const random = seededRandom(SEED);
  const plains = SIZES.map((size) => random.bytes(size));
  const digests = plains.map(digest);

  test('the browser encrypts, we decrypt, at once and as a stream', async () => {
    const files = await browser.callMany(
      'encryptFile',
      plains.map((plain) => [plain, 'plan.png']),
    );
    for (const [index, { data, ...secrets }] of files.entries()) {
      expect(digest(await decryptFile(data, secretsOf(secrets)))).toBe(digests[index]);
      const stream = decryptFileStream(secretsOf(secrets));
      expect(digest(await pour(data, stream, random))).toBe(digests[index]);
    }
  });

  test('we encrypt at once, the browser decrypts', async () => {
    const name = 'Übersicht 😀.tar.gz';
    const files = await Promise.all(plains.map((plain) => encryptFile(plain, name)));
    for (const [index, file] of files.entries()) {
      expect(file.name).toBe(sha256(name));
      expect(file.hashes).toEqual({ sha256: sha256(plains[index] as Uint8Array) });
      expect(file.data).toHaveLength(SIZES[index] as number);
    }
    const opened = await browser.callMany(
      'decryptFile',
      files.map((file) => [new Uint8Array(file.data), secretsOf(file)]),
    );
    expect(opened.map(digest)).toEqual(digests);
  });

  test('we encrypt as a stream, the browser decrypts', async () => {
    const calls: [Uint8Array<ArrayBuffer>, FileSecrets][] = [];
    for (const plain of plains) {
      const stream = encryptFileStream('plan.png');
      const data = await pour(plain, stream, random);
      expect(stream.name).toBe(sha256('plan.png'));
      expect(stream.hashes).toEqual({ sha256: sha256(plain) });
      calls.push([new Uint8Array(data), secretsOf(stream)]);
    }
    expect((await browser.callMany('decryptFile', calls)).map(digest)).toEqual(digests);
  });

  test('every file has a key and an iv of its own', async () => {
    const plain = new Uint8Array(32);
    const files = await Promise.all(Array.from({ length: 20 }, () => encryptFile(plain)));
    expect(new Set(files.map(({ encryption }) => encryption.key.k)).size).toBe(20);
    expect(new Set(files.map(({ encryption }) => encryption.iv)).size).toBe(20);
    for (const { name, encryption } of files) {
      expect(name).toBeUndefined();
      expect(encryption.key).toEqual({
        alg: 'A256CTR',
        ext: true,
        k: expect.stringMatching(/^[\w-]{43}$/),
        key_ops: ['encrypt', 'decrypt'],
        kty: 'oct',
      });
      expect(Buffer.from(encryption.iv, 'base64')).toHaveLength(16);
    }
  });

  test('the counter wraps in its low 64 bits alone', async () => {
    // Blocks before the wrap: in the first piece, at its edge, and beyond 64 KiB.
    const cases = [1n, 2n, 4095n, 4096n, 4097n].flatMap((blocksLeft) => {
      const iv = Buffer.alloc(16, 0x11);
      iv.writeBigUInt64BE(2n ** 64n - blocksLeft, 8);
      return plains.slice(4).map((plain) => ({ plain, iv: new Uint8Array(iv) }));
    });
    const files = await browser.callMany(
      'encryptFile',
      cases.map(({ plain, iv }) => [plain, 'plan.png', iv]),
    );
    for (const [index, { data, ...secrets }] of files.entries()) {
      const expected = digest((cases[index] as (typeof cases)[number]).plain);
      expect(digest(await decryptFile(data, secretsOf(secrets)))).toBe(expected);
      const stream = decryptFileStream(secretsOf(secrets));
      expect(digest(await pour(data, stream, random))).toBe(expected);
    }
  });

  test('a damaged file is refused', async () => {
    const plain = random.bytes(100_000);
    const { data, ...secrets } = await browser.call('encryptFile', plain, 'plan.png');
    data[99_999] = Number(data[99_999]) ^ 1;
    const failure = failsWith('ERR_E2EE_DECRYPTION_FAILED');
    await expect(decryptFile(data, secretsOf(secrets))).rejects.toEqual(failure);
    const stream = decryptFileStream(secretsOf(secrets));
    await expect(pour(data, stream, random)).rejects.toEqual(failure);

    const file = await encryptFile(plain);
    const damaged = new Uint8Array(file.data.subarray(1));
    await expect(browser.call('decryptFile', damaged, secretsOf(file))).rejects.toThrow(
      'The file is not what was hashed',
    );
  });

  test.each(['web-8', 'mobile-8', 'web-7'] as const)(
    '%s sends a file, we read it',
    async (flavour) => {
      const plain = random.bytes(1000);
      const { data, name, ...secrets } = await browser.call('encryptFile', plain, 'plan.png');
      const payload = await browser.call('fileMessage', flavour, {
        ...{ fileId: 'fileId', url: `/file-upload/fileId/${name}`, name: 'plan.png' },
        ...{ type: 'image/png', size: 1000, width: 10, height: 5, msg: 'look', ...secrets },
      });
      const message = await browser.call('encryptMessage', flavour, roomKeys[flavour], payload);
      const content = oursOf(roomKeys[flavour]).decrypt(contentOf(message));
      expect(content).toMatchObject(payload);
      const [attachment] = content.attachments as unknown as [FileSecrets];
      expect(digest(await decryptFile(data, secretsOf(attachment)))).toBe(digest(plain));
    },
  );

  test.each(['web-8', 'mobile-8', 'web-7'] as const)(
    'we send a file, %s reads it',
    async (flavour) => {
      const plain = random.bytes(1000);
      const { data, name, encryption, hashes } = await encryptFile(plain, 'plan.png');
      const file = {
        _id: 'fileId',
        name: 'plan.png',
        type: 'image/png',
        size: 1000,
        format: 'PNG',
      };
      const title_link = `/file-upload/fileId/${name}`;
      const attachment = { title: 'plan.png', type: 'file', title_link, encryption, hashes };
      const content = { msg: 'look', attachments: [attachment], files: [file], file };
      const written = oursOf(roomKeys[flavour]).encrypt(content as unknown as MessageContent);
      const [read] = await browserReads(flavour, roomKeys[flavour], [written]);
      expect(read).toEqual(content);
      const secrets = secretsOf(read?.attachments[0]);
      const opened = await browser.call('decryptFile', new Uint8Array(data), secrets);
      expect(digest(opened)).toBe(digest(plain));
    },
  );
});

// --- Recorded fixtures ------------------------------------------------------------------------

describe('recorded fixtures', () => {
  test.each(identities.envelopes)(
    '$client private key, passphrase "$passphrase"',
    async ({ stored, passphrase }) => {
      const identity = await Identity.unlock(stored, passphrase, identities.userId);
      expect(identity.publicKey).toBe(identities.publicKey);
    },
  );

  test.each(roomKeyFixtures.roomKeys)(
    '$client room key',
    async ({ wrapped, keyId, algorithm, jwk }) => {
      const roomKey = await Identity.fromPrivateJwk(identities.privateKey).unwrapRoomKey(wrapped);
      expect([roomKey.keyId, roomKey.algorithm]).toEqual([keyId, algorithm]);
      const content = roomKey.encrypt({ msg: 'hello' });
      expect(RoomKey.fromJwk(jwk, keyId).decrypt(content)).toEqual({ msg: 'hello' });
    },
  );

  test.each(messages.filter(({ form }) => form !== 'f'))(
    'message: $name',
    ({ roomKey, message, msg }) => {
      expect(oursOf(roomKey).decrypt(contentOf(message))).toMatchObject({ msg });
    },
  );

  test.each(messages.filter(({ form }) => form === 'f'))(
    'message: $name',
    ({ roomKey, message }) => {
      expect(() => oursOf(roomKey).decrypt(contentOf(message))).toThrow(E2eeError);
    },
  );

  test.each(files)('$client file $name', async ({ roomKey, data, plain, message, ...file }) => {
    const decrypted = await decryptFile(Buffer.from(data, 'base64'), secretsOf(file));
    expect(decrypted.toString('base64')).toBe(plain);
    const content = oursOf(roomKey).decrypt(contentOf(message));
    expect(content).toMatchObject(JSON.parse(file.messagePlaintext));
  });
});
