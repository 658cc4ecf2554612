import { createInterface } from 'readline';
import { Writable } from 'stream';
import { CliError, Exit, usage } from './failure';

/** Whether somebody is there to answer. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** Asks at the terminal; what is typed in answer to a `hidden` question is not shown. */
export function ask(
  question: string,
  { signal, hidden = false }: { signal: AbortSignal; hidden?: boolean },
): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({
    input: process.stdin,
    output: hidden ? silent : process.stderr,
    terminal: true,
    historySize: 0,
  });
  return new Promise<string>((resolve, reject) => {
    const interrupted = () => {
      lines.removeAllListeners('close');
      lines.close();
      if (hidden) process.stderr.write('\n');
      reject(new CliError('ERR_CLI_INTERRUPTED', 'interrupted', Exit.interrupted));
    };
    const abort = () => {
      lines.close();
      reject(new Error('interrupted'));
    };
    signal.addEventListener('abort', abort, { once: true });
    lines.once('SIGINT', interrupted);
    lines.once('close', () => reject(usage('nothing was answered')));
    if (hidden) process.stderr.write(question);
    lines.question(hidden ? '' : question, (answer) => {
      signal.removeEventListener('abort', abort);
      lines.removeAllListeners('close');
      lines.close();
      if (hidden) process.stderr.write('\n');
      resolve(answer);
    });
  });
}

/** Has what cannot be undone confirmed, at the terminal or by `--yes`. */
export async function confirm(
  what: string,
  { yes, signal }: { yes: boolean; signal: AbortSignal },
): Promise<void> {
  if (yes) return;
  if (!canAsk()) throw usage(`${what} Say --yes to do it.`);
  const answer = await ask(`${what} Type yes to go on: `, { signal });
  if (answer.trim() !== 'yes') throw usage('nothing was done');
}
