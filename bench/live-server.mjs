// A stand-in server in a process of its own, where somebody writes so many messages a second.

import { createRequire } from 'node:module';
import { ascii } from './texts.mjs';

const require = createRequire(import.meta.url);
require('../scripts/load-typescript.cjs');
const { Workspace } = require('../__test__/workspace/index.ts');
const { Person } = require('../__test__/webcrypto-client/person.ts');
const client = require('../__test__/webcrypto-client/client.js');

const [rate, seconds] = process.argv.slice(2).map(Number);
const TICK = 10;

const workspace = await Workspace.start({ version: '8.8', rateLimits: false });
const ann = await Person.join(workspace, workspace.createUser('ann'), 'web-8');
const bot = workspace.createUser('bot', { roles: ['bot'] });
const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
await ann.createKey(rid);
process.send({ url: workspace.url, userId: bot._id, authToken: bot.authToken, rid });

process.once('message', async () => {
  await ann.serve(rid);
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const { current } = ann.keysOf(rid);
  const contents = [];
  for (let number = 0; number < 500; number++) {
    const { content } = await client.encryptMessage('web-8', current, { msg: ascii(200, number) });
    contents.push(content);
  }
  let sent = 0;
  const start = performance.now();
  const timer = setInterval(() => {
    const elapsed = Math.min(performance.now() - start, seconds * 1_000);
    while (sent < (elapsed * rate) / 1_000) {
      const content = contents[sent % contents.length];
      workspace.addMessage(ann.account, { rid, t: 'e2e', e2e: 'pending', msg: '', content });
      sent++;
    }
    if (elapsed >= seconds * 1_000) {
      clearInterval(timer);
      setTimeout(() => process.send({ sent }), 1_000);
    }
  }, TICK);
});
