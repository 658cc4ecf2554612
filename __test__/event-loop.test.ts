import { encryptFile, Identity, RoomKey } from '..';
import { turnsDuring } from './helpers';

describe('the event loop goes on during', () => {
  const key = RoomKey.generate();
  let identity: Identity;
  let locked: string;
  beforeAll(async () => {
    identity = await Identity.generate();
    locked = await identity.lock('correct horse', 'u');
  });

  // Each takes at least a millisecond; on the loop, it would come round once or twice.
  test.each<[string, () => Promise<unknown>]>([
    ['Identity.generate', () => Identity.generate()],
    ['Identity.unlock', () => Identity.unlock(locked, 'correct horse', 'u')],
    ['Identity.lock', () => identity.lock('correct horse', 'u')],
    ['encryptFile', () => encryptFile(Buffer.alloc(16 * 1024 * 1024))],
    [
      'decryptMany',
      () => key.decryptMany(Array(50_000).fill(key.encrypt({ msg: 'x'.repeat(100) }))),
    ],
  ])('%s', async (_name, work) => {
    expect(await turnsDuring(work)).toBeGreaterThan(20);
  });
});
