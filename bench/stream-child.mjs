// As much as a stream of ours keeps in memory, at most, beyond what was there before: of files of
// 100 MB and of 1 GB, after one that warms up.

import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import library from '../dist/index.js';

const piece = Buffer.alloc(64 * 1024, 1);

function* source(size) {
  for (let done = 0; done < size; done += piece.length) yield piece;
}

async function most(size) {
  const before = process.memoryUsage.rss();
  let seen = 0;
  const sink = new Writable({
    write(_chunk, _encoding, done) {
      seen = Math.max(seen, process.memoryUsage.rss() - before);
      done();
    },
  });
  await pipeline(Readable.from(source(size)), library.encryptFileStream(), sink);
  return seen;
}

await most(100_000_000);
process.send({ hundredMegabytes: await most(100_000_000), gigabyte: await most(1_000_000_000) });
process.disconnect();
