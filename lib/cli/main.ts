#!/usr/bin/env node
import { parseArgs } from 'util';
import type { Call, Command, Option } from './command';
import { Exit, type Told, tell, usage } from './failure';
import { Output, safeJson, safeLine } from './output';
import { PREFIX, refuseSecrets } from './secrets';

const NAME = 'rocketchat-e2ee';

/** Where the explanations of options begin. */
const INDENT = 26;

const COMMON: Readonly<Record<string, Option>> = {
  url: { type: 'string', value: 'url', help: `the server; ${PREFIX}URL` },
  'user-id': { type: 'string', value: 'id', help: `the account's user id; ${PREFIX}USER_ID` },
  store: { type: 'string', value: 'file', help: `the store; ${PREFIX}STORE` },
  json: { type: 'boolean', help: 'results, and errors, as JSON' },
  help: { type: 'boolean', short: 'h', help: 'this' },
};

const GENERAL = `
Secrets come from the environment, from a file, or from whoever sits at the
terminal, never from arguments:
  ${PREFIX}TOKEN            the account's personal access token
  ${PREFIX}STORE_SECRET     what opens the store
  ${PREFIX}PASSPHRASE       the account's E2EE password
  ${PREFIX}KEYS_PASSPHRASE  the passphrase of exported keys
  ${PREFIX}NEW_STORE_SECRET for change-secret
and each of them, with _FILE behind it, the name of a file that holds it.

Exit codes: 0 done; 1 it could not be done; 2 wrong arguments or settings;
3 decrypt: some messages could not be opened; 4 the server refused, or gave no
answer; 5 a passphrase or secret is wrong; 6 a room key is not held; 70 a bug;
130 interrupted.`;

function optionLines(options: Readonly<Record<string, Option>>): string[] {
  return Object.entries(options).flatMap(([name, { short, value, help }]) => {
    const form = `${short ? `-${short}, ` : ''}--${name}${value ? ` <${value}>` : ''}`;
    const [first, ...rest] = wrapped(help, 80 - INDENT);
    return [
      `  ${form}`.padEnd(INDENT - 1).concat(` ${first}`),
      ...rest.map((line) => ' '.repeat(INDENT) + line),
    ];
  });
}

function wrapped(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line === '') lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function helpOf(name: string, command: Command): string {
  return [
    `${NAME} ${name} ${command.usage}`.trimEnd(),
    '',
    command.summary,
    ...(command.help ? ['', command.help.trim()] : []),
    '',
    'Options:',
    ...optionLines({ ...command.options, ...COMMON }),
    '',
    `${NAME} --help tells about secrets and exit codes.`,
  ].join('\n');
}

type Commands = Readonly<Record<string, Command>>;

/** Loads the addon, which may not be there: its error is told as any other. */
async function loadCommands(): Promise<Commands> {
  return (await import('./commands')).commands;
}

function overview(commands: Commands): string {
  return [
    `Usage: ${NAME} <command> [arguments]`,
    '',
    'Takes part in end-to-end-encrypted rooms of Rocket.Chat.',
    '',
    ...Object.entries(commands).map(([name, { summary }]) => `  ${name.padEnd(14)} ${summary}`),
    '',
    `${NAME} <command> --help tells more. All commands take:`,
    ...optionLines(COMMON),
    GENERAL,
  ].join('\n');
}

/** Ends what a command has opened, once, the last first. */
class Ends {
  readonly #ends: (() => Promise<void> | void)[] = [];
  #running: Promise<void> = Promise.resolve();

  add(end: () => Promise<void> | void): void {
    this.#ends.push(end);
  }

  run(): Promise<void> {
    this.#running = this.#running.then(() => this.#run());
    return this.#running;
  }

  async #run(): Promise<void> {
    for (const end of this.#ends.splice(0).reverse()) {
      try {
        await end();
      } catch {
        // What is ended already, or cannot be ended, keeps nothing else open.
      }
    }
  }
}

async function main(args: string[]): Promise<number> {
  const json = args.includes('--json');
  const stop = new AbortController();
  const ends = new Ends();
  let stopped: number | undefined;
  let quit = (_code: number) => {};
  const aborted = new Promise<number>((resolve) => {
    quit = resolve;
  });
  const end = (code: number) => {
    if (stopped !== undefined) return;
    stopped = code;
    stop.abort();
    // A command that ends by itself now has its own say.
    void ends.run().then(() => setImmediate(quit, code));
  };
  const interrupt = () => {
    // Whoever is told twice does not wait for anything.
    if (stopped !== undefined) process.exit(Exit.interrupted);
    end(Exit.interrupted);
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  // `| head` has read enough: nobody is to be told anything.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') report(tell(error), json);
    end(error.code === 'EPIPE' ? Exit.done : Exit.failed);
  });
  process.stderr.on('error', () => undefined);
  try {
    const running = run(args, stop.signal, (each) => ends.add(each));
    return (await Promise.race([running, aborted])) ?? Exit.done;
  } catch (error) {
    if (stopped !== undefined) return stopped;
    const told = tell(error);
    report(told, json);
    if (told.exit === Exit.bug && process.env[`${PREFIX}DEBUG`]) {
      console.error(error);
    }
    return told.exit;
  } finally {
    await ends.run();
    // What a command still waits for, such as standard input, is not waited for.
    if (stopped !== undefined) setImmediate(() => process.exit());
  }
}

function report(told: Told, json: boolean): void {
  const { exit: _exit, ...error } = told;
  const text = json ? safeJson({ error }) : `${NAME}: ${safeLine(told.message)} [${told.code}]`;
  process.stderr.write(`${text}\n`);
}

async function run(
  args: string[],
  signal: AbortSignal,
  onEnd: Call['onEnd'],
): Promise<number | undefined> {
  refuseSecrets(args, process.env);
  const [name, ...rest] = args;
  if (name === '--version') {
    console.log((require('../../package.json') as { version: string }).version);
    return Exit.done;
  }
  const commands = await loadCommands();
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    console.log(overview(commands));
    return name === undefined ? Exit.usage : Exit.done;
  }
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined) {
    throw usage(`there is no command “${name}”; ${NAME} --help lists them`);
  }
  const { values, positionals } = parse(rest, { ...command.options, ...COMMON });
  if (values.help) {
    console.log(helpOf(name, command));
    return Exit.done;
  }
  const [least, most] = command.arity;
  if (positionals.length < least || positionals.length > most) {
    throw usage(`Usage: ${NAME} ${name} ${command.usage}`.trimEnd());
  }
  return command.run({
    args: positionals,
    output: new Output(values.json === true, process.env),
    env: process.env,
    signal,
    text: (option) => values[option] as string | undefined,
    list: (option) => (values[option] as string[] | undefined) ?? [],
    flag: (option) => values[option] === true,
    onEnd,
  });
}

function parse(args: string[], options: Readonly<Record<string, Option>>) {
  try {
    return parseArgs({ args, options, allowPositionals: true });
  } catch (error) {
    // The first sentence says what is wrong; the others are about `--`.
    const [first] = (error as Error).message.split('. ');
    throw usage(String(first).replace(/\.$/, ''));
  }
}

void main(process.argv.slice(2)).then((code) => {
  process.exitCode = code;
});
