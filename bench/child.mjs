import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** Runs a program of this folder in a process of its own; gives what it sends first. */
export async function child(name, ...args) {
  const file = fileURLToPath(new URL(name, import.meta.url));
  const running = fork(file, args.map(String), { execArgv: ['--expose-gc'] });
  const [answer] = await once(running, 'message');
  return { running, answer };
}
