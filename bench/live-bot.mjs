// A bot in a process of its own, which follows the server of its arguments.

import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const [place] = process.argv.slice(2);
const { url, userId, authToken } = JSON.parse(place);
const settled = async () => {
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  globalThis.gc();
  return process.memoryUsage.rss();
};

const bare = await settled();
const { Participant, RealtimeWorkspace, SqliteStore } = createRequire(import.meta.url)(
  '../dist/index.js',
);
const folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-bench-'));
const bot = await Participant.open({
  appId: 'bench',
  workspace: new RealtimeWorkspace({ url, userId, authToken }),
  store: await SqliteStore.open(join(folder, 'bot.store'), { secret: 'of this benchmark' }),
  passphrase: 'correct horse battery staple',
  rooms: 'all',
});
await bot.start();
process.send({ bare });

const before = await settled();
process.send({ rss: before });

let received = 0;
let after = before;
bot.on('message', ({ document }) => {
  if (document.msg.length === 200) received++;
  if (received % 100 === 0) after = Math.max(after, process.memoryUsage.rss());
});
bot.on('undecryptable', ({ error }) => console.error(error));
bot.on('error', ({ error }) => console.error(error));
const monitor = monitorEventLoopDelay({ resolution: 1 });
monitor.enable();

process.once('message', async () => {
  monitor.disable();
  const delay = (q) => monitor.percentile(q) / 1e6;
  process.send({
    received,
    p50: delay(50),
    p99: delay(99),
    max: monitor.max / 1e6,
    before,
    after,
  });
  await bot.close();
  rmSync(folder, { recursive: true });
  process.disconnect();
});
