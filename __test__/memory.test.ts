import { execFileSync } from 'child_process';
import { join } from 'path';

const GIGABYTE = 1024 ** 3;

/** In a process of its own, so that only the streams' memory is seen. */
const SOURCE = `
  const { encryptFileStream, decryptFileStream } = require(process.argv[1]);
  const { Readable, Writable } = require('stream');
  const { pipeline } = require('stream/promises');
  const { createHash } = require('crypto');
  const CHUNK = 64 * 1024;
  function* plain() {
    for (let sent = 0; sent < ${GIGABYTE}; sent += CHUNK) yield Buffer.alloc(CHUNK, sent / CHUNK);
  }
  const peaks = [];
  function sink() {
    const hash = createHash('sha256');
    let bytes = 0;
    const writable = new Writable({
      write(chunk, _, done) {
        bytes += chunk.length;
        hash.update(chunk);
        if (bytes % (16 * 1024 * 1024) === 0) peaks.push(process.memoryUsage.rss());
        done();
      },
    });
    return { writable, result: () => ({ bytes, sha256: hash.digest('hex') }) };
  }
  (async () => {
    // A first round shows what the process takes anyway; encrypted on the way, and decrypted.
    const encrypt = encryptFileStream();
    const first = sink();
    await pipeline(Readable.from(plain()), encrypt, first.writable);
    const again = { encryption: encrypt.encryption, hashes: encrypt.hashes };
    const second = sink();
    // Counter mode: encrypting anew with the decryptor's key gives the ciphertext again.
    const decrypt = decryptFileStream(again);
    const ciphertext = require('crypto').createCipheriv('aes-256-ctr',
      Buffer.from(again.encryption.key.k, 'base64url'), Buffer.from(again.encryption.iv, 'base64'));
    await pipeline(Readable.from(plain()), ciphertext, decrypt, second.writable);
    console.log(JSON.stringify({
      first: peaks[1], peak: Math.max(...peaks), samples: peaks.length,
      hashes: encrypt.hashes.sha256, encrypted: first.result(), decrypted: second.result(),
    }));
  })();
`;

test('1 GB streams through in constant memory, both ways', () => {
  const output = execFileSync(process.execPath, ['-e', SOURCE, join(__dirname, '..')], {
    encoding: 'utf8',
  });
  const { first, peak, samples, hashes, encrypted, decrypted } = JSON.parse(output);
  expect(encrypted.bytes).toBe(GIGABYTE);
  expect(decrypted).toEqual({ bytes: GIGABYTE, sha256: hashes });
  expect(encrypted.sha256).not.toBe(hashes);
  expect(samples).toBe(128);
  // 2 GB went through; what the garbage collector had not yet taken is all that may be added.
  console.info(`resident: ${first / 2 ** 20} MiB at the start, ${peak / 2 ** 20} MiB at most`);
  expect(peak - first).toBeLessThan(64 * 1024 * 1024);
}, 60_000);
