import { existsSync, readFileSync } from 'fs';
import { join } from 'path';

export const ROOT = join(__dirname, '..');

/** A capture from a real Rocket.Chat client; `undefined` in a checkout that has none beside it. */
// biome-ignore lint/suspicious/noExplicitAny: captures have many shapes
export function captured(name: string): any {
  const path = join(ROOT, '..', 'shared', 'captured', name);
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
}

/** The code that a call fails with, thrown or rejected; fails the test where it does not fail. */
export async function codeOf(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    const { name, code, message } = error as { name?: string; code?: string; message?: string };
    expect({ name, code: String(code) }).toEqual({
      name: 'E2eeError',
      code: expect.stringMatching(/^ERR_E2EE_[A-Z_]+$/),
    });
    expect(message).not.toBe('');
    return String(code);
  }
  throw new Error('the call did not fail');
}

/** Runs `work` and counts how often the event loop came round meanwhile. */
export async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let done = false;
  const turn = () => {
    turns++;
    if (!done) setImmediate(turn);
  };
  setImmediate(turn);
  await work();
  done = true;
  return turns;
}
