// Two people with WebCrypto clients and a bot with this library, in an encrypted room.
//
//   node examples/demo.mjs
//     against the stand-in workspace of the tests, which imports nothing of this library
//   E2EE_PASSPHRASE=… node examples/demo.mjs --url U --user ID --token T --room R
//     the same bot against a real server; you are the people

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runBot } from './bot.mjs';

const say = (who) => (line) => console.log(`${who.padEnd(6)} ${line}`);
const option = { type: 'string' };
const { values } = parseArgs({
  options: { url: option, user: option, token: option, room: option },
});
const folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
const path = join(folder, 'bot.store');

/** Waits until something is there. */
async function until(ready) {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; ) {
    const value = await ready();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error('this took too long');
}

async function againstServer({ url, user, token, room }) {
  const missing = Object.entries({ url, user, token, room }).filter(([, value]) => !value);
  if (missing.length > 0) {
    console.error(`Missing: ${missing.map(([name]) => `--${name}`).join(', ')}`);
    process.exit(2);
  }
  const bot = await runBot({
    url,
    userId: user,
    authToken: token,
    rooms: [room],
    passphrase: process.env.E2EE_PASSPHRASE,
    secret: process.env.E2EE_STORE_SECRET ?? 'of this run alone',
    path,
    log: say('bot'),
  });
  say('')('Write !ping in the room; Ctrl+C ends.');
  process.once('SIGINT', async () => {
    await bot.close();
    rmSync(folder, { recursive: true });
  });
}

async function againstStandIn() {
  const require = createRequire(import.meta.url);
  require('../scripts/load-typescript.cjs');
  const { Workspace } = require('../__test__/workspace/index.ts');
  const { Person } = require('../__test__/webcrypto-client/person.ts');

  const workspace = await Workspace.start({ version: '8.8', rateLimits: false });
  say('')(`A stand-in workspace, version 8.8, at ${workspace.url}`);
  const ann = await Person.join(workspace, workspace.createUser('ann'), 'web-8');
  const bob = await Person.join(workspace, workspace.createUser('bob'), 'mobile-8');
  const account = workspace.createUser('bot', { roles: ['bot'] });
  const rid = workspace.createRoom('p', [ann.account, bob.account, account], {
    encrypted: true,
  })._id;
  const keyId = await ann.createKey(rid);
  say('ann')(`makes the room's key ${keyId}`);
  await bob.fetchKeys(rid);
  say('bob')('accepts it');

  const bot = await runBot({
    url: workspace.url,
    userId: account._id,
    authToken: account.authToken,
    rooms: [rid],
    passphrase: undefined,
    secret: 'the operator knows this',
    path,
    log: say('bot'),
  });
  await ann.serve(rid);

  const posted = (from) =>
    workspace.messagesIn(rid).filter(({ t, u }) => t === 'e2e' && u._id === from);
  const greeting = await until(() => posted(account._id)[0]);
  say('bob')(`reads, with WebCrypto alone: ${JSON.stringify((await bob.read(rid, greeting)).msg)}`);

  await ann.say(rid, '!ping, can you keep a secret?');
  say('ann')('says "!ping, can you keep a secret?"');
  const wire = posted(ann.account._id)[0].content;
  say('server')(`sees ${JSON.stringify(wire).slice(0, 68)}…`);
  const answer = await until(() => posted(account._id)[1]);
  say('ann')(`reads ${JSON.stringify((await ann.read(rid, answer)).msg)}`);

  const carol = await Person.join(workspace, workspace.createUser('carol'), 'web-8');
  workspace.addMember(rid, carol.account);
  say('carol')('joins the room');
  await until(() => carol.fetchKeys(rid));
  say('carol')(`reads what was before her: ${JSON.stringify((await carol.read(rid, answer)).msg)}`);

  await ann.resetKey(rid);
  await ann.serve(rid);
  say('ann')('resets the key of the room');
  await until(async () => (await bot.getRoomKeyHistory(rid)).length === 2);
  await ann.say(rid, '!ping under the new key');
  const last = await until(() => posted(account._id)[2]);
  say('ann')(`reads ${JSON.stringify((await ann.read(rid, last)).msg)}`);

  await bot.close();
  const found = workspace.requests.containing('keep a secret');
  const stored = readdirSync(folder).filter((file) =>
    readFileSync(join(folder, file)).includes('keep a secret'),
  );
  say('')(
    `${workspace.requests.entries.length} requests and the bot's store were searched: ` +
      `the secret is in ${found.length + stored.length} of them.`,
  );
  if (found.length + stored.length > 0) process.exitCode = 1;
  await workspace.close();
  rmSync(folder, { recursive: true });
}

await (Object.keys(values).length > 0 ? againstServer(values) : againstStandIn());
