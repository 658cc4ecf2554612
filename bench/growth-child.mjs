// Opens a store in a process of its own, and measures what its parent sends messages for.

import { open } from './store.mjs';

const [path, account] = process.argv.slice(2);
process.send({});

const now = () => Number(process.hrtime.bigint());

process.once('message', async ({ envelopes, documents }) => {
  globalThis.gc();
  const before = process.memoryUsage.rss();
  const start = now();
  const participant = await open(path, JSON.parse(account));
  const opened = now();
  if (documents) {
    const { monitorEventLoopDelay } = await import('node:perf_hooks');
    const monitor = monitorEventLoopDelay({ resolution: 1 });
    monitor.enable();
    const began = now();
    const results = await participant.decryptMessages(documents);
    const time = (now() - began) / documents.length;
    monitor.disable();
    const bad = results.filter((result) => result.document?.msg === undefined).length;
    if (bad > 0) throw new Error(`${bad} messages could not be read`);
    const p99 = monitor.percentile(99) / 1e6;
    process.send({ count: documents.length, time, p99, max: monitor.max / 1e6 });
  } else {
    const [first, ...rest] = envelopes;
    await participant.decryptMessage(first);
    const read = now();
    globalThis.gc();
    const memory = process.memoryUsage.rss() - before;
    const each = [];
    for (let round = 0; round < 3; round++) {
      for (const message of rest) {
        const began = now();
        const { document } = await participant.decryptMessage(message);
        each.push(now() - began);
        if (document.msg.length !== 200) throw new Error('this is not what was said');
      }
    }
    each.sort((a, b) => a - b);
    process.send({
      open: opened - start,
      first: read - opened,
      each: each[each.length >> 1],
      memory,
    });
  }
  await participant.close();
  process.disconnect();
});
