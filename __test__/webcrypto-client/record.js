/**
 * Records `__test__/fixtures/recorded/*.json` with the client model in a real browser:
 *
 *     node __test__/webcrypto-client/record.js
 *
 * Keys, ivs and ids are new each time; names, order and plaintexts stay.
 */
const { mkdirSync, readFileSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const ts = require('typescript');

/** Node 20 reads no TypeScript by itself. */
require.extensions['.ts'] = (/** @type {any} */ module, /** @type {string} */ path) => {
  const compilerOptions = { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 };
  const { outputText } = ts.transpileModule(readFileSync(path, 'utf8'), { compilerOptions });
  module._compile(outputText, path);
};

const { ejson } = require('./client.js');
const { openBrowser } = require('./browser');

/**
 * @typedef {import('./browser').BrowserClient} BrowserClient
 * @typedef {import('./client.js').Flavour} Flavour
 * @typedef {import('./client.js').Form} Form
 * @typedef {import('./client.js').RoomKeyJwk} RoomKeyJwk
 */

const FOLDER = join(__dirname, '..', 'fixtures', 'recorded');
const USER_ID = 'annUserId00000001';
const ROOM_ID = 'roomId00000000001';
const TS = new Date(1_790_000_000_000);

/** @type {Flavour[]} */
const FLAVOURS = ['web-8', 'web-7', 'web-6', 'mobile-8', 'mobile-7', 'mobile-6'];

/** @param {string} name @param {string} source @param {object} content */
function save(name, source, content) {
  const path = join(FOLDER, `${name}.json`);
  writeFileSync(path, `${JSON.stringify({ source, ...content }, null, 2)}\n`);
  console.log(path);
}

/** @param {BrowserClient} browser */
async function recordIdentities(browser) {
  const { publicKey, privateKey } = await browser.call('createIdentity');
  const words = 'prize fluid crystal small jaguar lunar bonus absent destroy settle carbon ignore';
  /** @type {[Flavour, string][]} */
  const cases = [
    ['web-7', words],
    ['web-7', 'café crème'],
    ['mobile-7', 'k3v-9xq-b7m-2tz'],
    ['mobile-7', 'café crème'],
    ['web-8', words],
    ['web-8', 'café crème'],
    ['mobile-8', words],
    ['mobile-8', 'café crème'],
  ];
  const envelopes = [];
  for (const [client, passphrase] of cases) {
    envelopes.push({
      client,
      version: client.endsWith('8') ? 2 : 1,
      passphraseEncoding: client.startsWith('web') ? 'latin1' : 'utf8',
      passphrase,
      stored: await browser.call('lockPrivateKey', client, privateKey, passphrase, USER_ID),
    });
  }
  return { userId: USER_ID, publicKey, privateKey, envelopes };
}

/** @param {BrowserClient} browser @param {string} publicKey */
async function recordRoomKeys(browser, publicKey) {
  const roomKeys = [];
  for (const client of FLAVOURS) {
    const roomKey = await browser.call('createRoomKey', client);
    roomKeys.push({
      client,
      algorithm: String(JSON.parse(roomKey.jwk).alg),
      ...roomKey,
      wrapped: await browser.call('wrapRoomKey', roomKey, publicKey),
    });
  }
  return roomKeys;
}

/** @param {BrowserClient} browser @param {(client: Flavour) => RoomKeyJwk} keyOf */
async function recordMessages(browser, keyOf) {
  const text = 'Grüße, 你好, שלום, e\u0301, 👩‍👩‍👧, line\u2028separator';
  const old = { _id: 'oldMessage0000001', text, userId: USER_ID, ts: TS };
  const rich = {
    msg: text,
    attachments: [{ title: 'plan.png', ts: TS, thumbnail: new Uint8Array([0, 1, 254, 255]) }],
  };
  /** @type {[name: string, Flavour, Form, keyOf: Flavour, payload: object][]} */
  const cases = [
    ['web 8, AES-GCM', 'web-8', 'c', 'web-8', { msg: text }],
    ['web 8, AES-GCM, EJSON date and bytes', 'web-8', 'c', 'web-8', rich],
    ['web 8, AES-GCM, empty text', 'web-8', 'c', 'web-8', { msg: '' }],
    ['web 8 in a room whose key is AES-CBC', 'web-8', 'd', 'web-7', { msg: text }],
    ['web 7', 'web-7', 'b', 'web-7', { msg: text }],
    ['one v1 string in msg and content', 'web-7', 'e', 'web-7', { msg: text }],
    ['oldest web', 'web-6', 'a', 'web-6', old],
    ['mobile 8, AES-GCM', 'mobile-8', 'c', 'mobile-8', { msg: text }],
    ['mobile 8 in a room whose key is AES-CBC', 'mobile-8', 'b', 'mobile-7', { msg: text }],
    ['oldest mobile', 'mobile-6', 'a', 'mobile-6', old],
  ];
  /** @type {object[]} */
  const messages = [];
  const add = async (
    /** @type {string} */ name,
    /** @type {Flavour} */ client,
    /** @type {Form} */ form,
    /** @type {RoomKeyJwk} */ roomKey,
    /** @type {import('./client.js').MessageDocument} */ written,
  ) => {
    const id = `message${String(messages.length).padStart(10, '0')}`;
    const message = {
      _id: id,
      rid: ROOM_ID,
      ts: TS.toISOString(),
      u: { _id: USER_ID },
      ...written,
    };
    const envelope = written.content ?? written.msg;
    const plaintext = await browser.call('openEnvelope', client, { current: roomKey }, envelope);
    const { msg, text: oldText } = ejson.parse(plaintext);
    messages.push({ name, client, form, roomKey, message, plaintext, msg: msg ?? oldText });
  };
  for (const [name, client, form, keyClient, payload] of cases) {
    const roomKey = keyOf(keyClient);
    const written = await browser.call('writeMessage', form, roomKey, payload);
    await add(name, client, form, roomKey, written);
  }
  const mobileKey = keyOf('mobile-7');
  const meta = { _id: old._id, userId: USER_ID, ts: TS };
  const twice = await browser.call('encryptMessage', 'mobile-7', mobileKey, { msg: text }, meta);
  await add('mobile 7: old payload in msg, new in content', 'mobile-7', 'e', mobileKey, twice);
  return [
    ...messages,
    {
      name: 'Matrix federation, which no room key opens',
      client: null,
      form: 'f',
      roomKey: keyOf('web-8'),
      message: {
        _id: 'messageMegolm0001',
        rid: ROOM_ID,
        ts: TS.toISOString(),
        u: { _id: USER_ID },
        t: 'e2e',
        e2e: 'pending',
        msg: '',
        content: {
          algorithm: 'm.megolm.v1.aes-sha2',
          ciphertext: 'AwgAEnACgAkLmt6qF84IK++J7UDH2Za1YVchHyprqTqsg2yyOwAtHaZTwyNg37afzg8f3r9I',
        },
      },
      plaintext: null,
      msg: null,
    },
  ];
}

/** @param {BrowserClient} browser @param {(client: Flavour) => RoomKeyJwk} keyOf */
async function recordFiles(browser, keyOf) {
  const sample = Uint8Array.from({ length: 100 }, (_, index) => (index * 7) % 256);
  const text = new TextEncoder().encode('Un fichier tout à fait secret.\n');
  const wrapping = Uint8Array.from([...Array(8).fill(0x11), ...Array(7).fill(0xff), 0xfe]);
  /** @type {[Flavour, name: string, type: string, plain: Uint8Array<ArrayBuffer>, iv?: Uint8Array<ArrayBuffer>][]} */
  const cases = [
    ['web-8', 'plan.png', 'image/png', sample],
    ['web-8', 'wrapping counter.bin', 'application/octet-stream', sample, wrapping],
    ['web-8', 'empty', 'text/plain', new Uint8Array()],
    ['web-7', 'résumé.txt', 'text/plain', text],
    ['mobile-8', 'voice.m4a', 'audio/mp4', sample],
  ];
  /** @type {object[]} */
  const files = [];
  for (const [client, name, type, plain, iv] of cases) {
    const roomKey = keyOf(client);
    const file = await (iv
      ? browser.call('encryptFile', plain, name, iv)
      : browser.call('encryptFile', plain, name));
    const { data, name: hashedName, ...secrets } = file;
    const fileId = `fileId${String(files.length).padStart(11, '0')}`;
    const url = `/file-upload/${fileId}/${hashedName}`;
    const about = { name, type, size: plain.length, width: 10, height: 5, msg: 'look' };
    const shown = await browser.call('fileMessage', client, { fileId, url, ...about, ...secrets });
    const metadata = await browser.call('uploadMetadata', { name, type, ...secrets });
    const upload = await browser.call('encryptMessage', client, roomKey, metadata);
    files.push({
      client,
      name,
      type,
      roomKey,
      hashedName,
      ...secrets,
      plain: Buffer.from(plain).toString('base64'),
      data: Buffer.from(data).toString('base64'),
      message: await browser.call('encryptMessage', client, roomKey, shown),
      messagePlaintext: ejson.stringify(shown),
      uploadContent: upload.content,
      uploadPlaintext: ejson.stringify(metadata),
    });
  }
  return files;
}

async function main() {
  const browser = await openBrowser();
  try {
    const source =
      `Recorded in ${browser.version} by __test__/webcrypto-client/record.js: the client model ` +
      'on WebCrypto, in the formats of the protocol reference. Not captured from a server.';
    mkdirSync(FOLDER, { recursive: true });
    const identity = await recordIdentities(browser);
    save('identities', source, identity);

    const roomKeys = await recordRoomKeys(browser, identity.publicKey);
    save('room-keys', `${source} Wrapped for the identity in identities.json.`, { roomKeys });

    const keyOf = (/** @type {Flavour} */ client) => {
      const found = roomKeys.find((roomKey) => roomKey.client === client);
      if (!found) throw new Error(`No room key of ${client}`);
      return { keyId: found.keyId, jwk: found.jwk };
    };
    save('messages', source, { messages: await recordMessages(browser, keyOf) });
    save('files', source, { files: await recordFiles(browser, keyOf) });
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
