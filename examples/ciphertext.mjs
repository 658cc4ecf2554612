// Opens ciphertext of Rocket.Chat's clients, answers, and lets a WebCrypto client read the answer.
//
// The ciphertext was recorded with a browser's WebCrypto (__test__/fixtures/recorded); captures
// from Rocket.Chat itself are opened too where ../shared/captured has them. The client that reads
// the answer (__test__/webcrypto-client) shares no code with this library.

import { existsSync, readFileSync } from 'node:fs';
import {
  decryptFile,
  encryptedContentOf,
  encryptFile,
  generatePassphrase,
  Identity,
  RoomKey,
} from 'rocketchat-e2ee';
import client from '../__test__/webcrypto-client/client.js';

const read = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'));
const recorded = (name) => read(`../__test__/fixtures/recorded/${name}.json`);
const step = (title) => console.log(`\n${title}`);
const show = (what, value) => console.log(`  ${what.padEnd(44)} ${value}`);
const quote = (text) => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);

step("1. Ann's private key, as her clients stored it with the server");
const { userId, envelopes } = recorded('identities');
let ann;
for (const { client: writer, version, passphrase, stored } of envelopes) {
  ann = await Identity.unlock(stored, passphrase, userId);
  show(`${writer}, form v${version}`, `opened with ${quote(passphrase)}`);
}
show('fingerprint', ann.fingerprint.slice(0, 39));
show('', ann.fingerprint.slice(40));

step('2. Room keys, wrapped for her');
const keys = new Map();
for (const { client: writer, wrapped } of recorded('room-keys').roomKeys) {
  const key = await ann.unwrapRoomKey(wrapped);
  keys.set(key.keyId, key);
  show(`${writer}, ${key.algorithm}`, key.keyId);
}

step('3. Messages, in every form that clients have written');
for (const { name, form, roomKey, message } of recorded('messages').messages) {
  const key = RoomKey.fromJwk(roomKey.jwk, roomKey.keyId);
  try {
    show(`${form}: ${name}`.slice(0, 44), quote(key.decrypt(encryptedContentOf(message)).msg));
  } catch ({ code }) {
    show(`${form}: ${name}`.slice(0, 44), code);
  }
}

step('4. Captures from Rocket.Chat itself');
const captured = '../../shared/captured/';
if (existsSync(new URL(captured, import.meta.url))) {
  const keychain = read(`${captured}keychain-v2-web.json`);
  await Identity.unlock(keychain.persisted, keychain.passphrase, keychain.userId);
  show('private key, 2025-09', 'opened');
  for (const version of ['v1', 'v2']) {
    const { roomKeyJwk, kid, message } = read(`${captured}message-${version}-web.json`);
    const key = RoomKey.fromJwk(JSON.stringify(roomKeyJwk), kid);
    show(`message ${version}, 2025-09`, quote(key.decrypt(encryptedContentOf(message)).msg));
  }
} else {
  console.log('  none beside this checkout');
}

step('5. A bot makes an identity and a room key, and Bob gets the key');
const bot = await Identity.generate();
const passphrase = generatePassphrase();
const stored = await bot.lock(passphrase, 'botUserId00000001');
await client.unlockPrivateKey('web-8', stored, passphrase, 'botUserId00000001');
show("the bot's private key", 'a web client opens it with the passphrase');
const roomKey = RoomKey.generate();
const bob = await client.createIdentity();
const wrapped = await roomKey.wrapFor(bob.publicKey);
const bobsKey = await client.unwrapRoomKey('web-8', wrapped, bob.privateKey);
show('the room key', `${roomKey.keyId}, unwrapped by Bob`);

step('6. Bob asks, the bot answers, Bob reads');
const question = await client.encryptMessage('web-8', bobsKey, { msg: 'Can you read this? 🔐' });
show('on the wire', `${question.content.ciphertext.slice(0, 40)}…`);
const asked = roomKey.decrypt(encryptedContentOf(question)).msg;
show('the bot reads', quote(asked));
const content = roomKey.encrypt({ msg: `You asked: ${asked}` });
show('on the wire', `${content.ciphertext.slice(0, 40)}…`);
const answer = { t: 'e2e', msg: '', content };
const { msg } = await client.decryptMessage('web-8', { current: bobsKey }, answer);
show('Bob reads, with WebCrypto alone', quote(msg));
if (msg !== 'You asked: Can you read this? 🔐') throw new Error('Bob read something else');

step('7. A file');
const plain = Buffer.from('The plan: there is no plan.\n'.repeat(1000));
const file = await encryptFile(plain, 'plan.txt');
const bobsCopy = await client.decryptFile(new Uint8Array(file.data), file);
if (!plain.equals(bobsCopy)) throw new Error('Bob got another file');
show('the bot encrypts', `${plain.length} bytes, uploaded as ${file.name.slice(0, 12)}…`);
show('Bob decrypts', `${bobsCopy.length} bytes, the hash fits`);
file.data[0] ^= 1;
const refused = await decryptFile(file.data, file).catch(({ code }) => code);
show('somebody changes one bit', refused);

console.log('\nEverything was read.');
