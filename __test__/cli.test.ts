import { type ChildProcess, spawn } from 'child_process';
import { once } from 'events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { ROOT } from './helpers';
import client from './webcrypto-client/client.js';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';

const MAIN = join(ROOT, 'dist', 'cli', 'main.js');
const STORE_SECRET = 'the secret of the store';
const PASSPHRASE = 'correct horse battery staple';
const KEYS_PASSPHRASE = 'only for the keys';

interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

// Each command is a process, and each of them stretches the store's secret.
jest.setTimeout(60_000);

let folder: string;
let workspace: Workspace;
let bot: Account;
let ann: Person;
let rid: string;
/** Everything that was printed, to be searched for secrets. */
let printed: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
  workspace = await Workspace.start({ version: '8.8', rateLimits: false });
  bot = workspace.createUser('bot', { roles: ['bot', 'admin'] });
  ann = await Person.join(workspace, workspace.createUser('ann'), 'web-8');
  rid = room('plans');
  printed = '';
});

afterEach(async () => {
  await workspace.close();
  rmSync(folder, { recursive: true });
  for (const secret of [bot.authToken, STORE_SECRET, PASSPHRASE, KEYS_PASSPHRASE]) {
    expect(printed).not.toContain(secret);
  }
  // A stack is for bugs.
  expect(printed).not.toMatch(/\n\s+at .*\.js:\d+|ERR_CLI_BUG/);
  expect(workspace.requests.containing('secret message')).toEqual([]);
});

function room(name: string): string {
  return workspace.createRoom('p', [ann.account, bot], { encrypted: true, name })._id;
}

function settings(): NodeJS.ProcessEnv {
  const { PATH } = process.env;
  return {
    PATH,
    RC_E2EE_URL: workspace.url,
    RC_E2EE_USER_ID: bot._id,
    RC_E2EE_TOKEN: bot.authToken,
    RC_E2EE_STORE: join(folder, 'bot.store'),
    RC_E2EE_STORE_SECRET: STORE_SECRET,
    RC_E2EE_PASSPHRASE: PASSPHRASE,
    RC_E2EE_KEYS_PASSPHRASE: KEYS_PASSPHRASE,
  };
}

function start(args: string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, [MAIN, ...args], {
    cwd: folder,
    env: Object.fromEntries(
      Object.entries({ ...settings(), ...env }).filter(([, value]) => value !== undefined),
    ),
    stdio: 'pipe',
  });
}

async function ending(child: ChildProcess): Promise<Ended> {
  const ended = { code: null, stdout: '', stderr: '' } as Ended;
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    ended.stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    ended.stderr += text;
  });
  [ended.code] = await once(child, 'close');
  printed += ended.stdout + ended.stderr;
  return ended;
}

async function cli(args: string[], env: NodeJS.ProcessEnv = {}, input = ''): Promise<Ended> {
  const child = start(args, env);
  child.stdin?.on('error', () => undefined).end(input);
  return ending(child);
}

async function good(args: string[], env: NodeJS.ProcessEnv = {}, input = ''): Promise<Ended> {
  const ended = await cli(args, env, input);
  expect({ ...ended, stdout: '' }).toMatchObject({ code: 0 });
  return ended;
}

const parsed = ({ stdout }: Ended) => JSON.parse(stdout);
const parsedLines = ({ stdout }: Ended) =>
  stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));

/** The bot set up and holding the room's key. */
async function setUp(): Promise<void> {
  await good(['init', 'plans']);
  await ann.createKey(rid);
}

const posted = () =>
  workspace.messagesIn(rid).filter(({ t, u }) => t === 'e2e' && u._id === bot._id);

async function until(ready: () => unknown): Promise<void> {
  for (const deadline = Date.now() + 20_000; !ready() && Date.now() < deadline; ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(ready()).toBeTruthy();
}

describe('arguments and settings', () => {
  test('--help lists every command, each has its own, and all of it fits into 80 columns', async () => {
    const { stdout } = await good(['--help']);
    const names = stdout.match(/^ {2}[a-z-]+(?= {2,}[A-Z])/gm)?.map((name) => name.trim());
    expect(names).toEqual(
      expect.arrayContaining(
        'init status rooms send listen decrypt rotate revoke export-keys import-keys change-secret audit'.split(
          ' ',
        ),
      ),
    );
    const helps = await Promise.all((names ?? []).map((name) => good([name, '--help'])));
    for (const help of [stdout, ...helps.map((ended) => ended.stdout)]) {
      for (const line of help.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
    }
  });

  test('docs/cli.md names every command and exit code', async () => {
    const { stdout } = await good(['--help']);
    const docs = readFileSync(join(ROOT, 'docs', 'cli.md'), 'utf8');
    for (const [, name] of stdout.matchAll(/^ {2}([a-z-]+) {2,}[A-Z]/gm)) {
      expect(docs).toContain(`\`${name}`);
    }
    for (const variable of new Set(stdout.match(/RC_E2EE_[A-Z_]+/g))) {
      expect(docs).toContain(variable);
    }
    for (const code of [0, 1, 2, 3, 4, 5, 6, 70, 130]) expect(docs).toContain(`| ${code} |`);
  });

  test.each([
    [[]],
    [['frobnicate']],
    [['toString']],
    [['status', '--frobnicate']],
    [['status', 'too', 'many']],
    [['send']],
    [['rotate']],
    [['rotate', 'plans', '--identity']],
    [['rooms', 'frobnicate', 'plans']],
    [['rooms', 'authorize']],
    [['decrypt']],
    [['audit', '--since', 'yesterday']],
    [['audit', '--limit', '0']],
    [['send', 'plans', 'x', '--wait', 'long']],
    [['export-keys']],
  ])('%j is refused with 2', async (args) => {
    expect((await cli(args)).code).toBe(2);
  });

  test.each([
    ['RC_E2EE_URL', ['status']],
    ['RC_E2EE_USER_ID', ['status']],
    ['RC_E2EE_TOKEN', ['status']],
    ['RC_E2EE_STORE_SECRET', ['status']],
    ['RC_E2EE_KEYS_PASSPHRASE', ['export-keys', 'keys.json']],
    ['RC_E2EE_NEW_STORE_SECRET', ['change-secret']],
  ])('without %s, %j says what is missing', async (variable, args) => {
    await setUp();
    const { code, stderr } = await cli(args, { [variable]: undefined });
    expect(code).toBe(2);
    expect(stderr).toContain(variable);
  });

  test.each([
    ['--token', '--token=aaaa'],
    ['--auth-token', '--auth-token', 'aaaa'],
    ['--passphrase', '--passphrase=aaaa'],
    ['--password', '--password', 'aaaa'],
    ['--store-secret', '--store-secret=aaaa'],
    ['--secret', '--secret', 'aaaa'],
    ['a token', 'DGwyAL64oPFAqJuYRhLFZmo4Def3KRsfMMd2vZbf85p'],
    [
      'a passphrase',
      'come explain chaos seven arrow party problem sound bachelor belt champ brush',
    ],
    ['a private key', '{"kty":"RSA","d":"AQAB"}'],
    ['the secret that the environment has', STORE_SECRET],
  ])('%s is refused among the arguments, and not repeated', async (_what, ...args) => {
    const { code, stderr, stdout } = await cli(['send', 'plans', ...args]);
    expect(code).toBe(2);
    expect(stderr).toContain('ERR_CLI_SECRET_IN_ARGUMENTS');
    expect(stderr + stdout).not.toContain(args.at(-1)?.split('=').at(-1));
  });

  test('secrets come from files too, but not from both places', async () => {
    const file = join(folder, 'secret');
    writeFileSync(file, `${STORE_SECRET}\n`);
    await setUp();
    const env = { RC_E2EE_STORE_SECRET: undefined, RC_E2EE_STORE_SECRET_FILE: file };
    await good(['status'], env);
    expect((await cli(['status'], { RC_E2EE_STORE_SECRET_FILE: file })).code).toBe(2);
    writeFileSync(file, '');
    expect((await cli(['status'], env)).code).toBe(2);
    expect((await cli(['status'], { ...env, RC_E2EE_STORE_SECRET_FILE: 'nowhere' })).code).toBe(1);
  });

  test('errors are JSON with --json', async () => {
    const { code, stdout, stderr } = await cli(['status', '--json']);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'ERR_CLI_NOT_SET_UP' } });
  });
});

describe('init and status', () => {
  test('init makes the identity and tells its passphrase once', async () => {
    const env = { RC_E2EE_PASSPHRASE: undefined };
    const first = await good(['init', 'plans'], env);
    const words = first.stdout.match(/^ {2}((?:[a-z]+ ){11}[a-z]+)$/m)?.[1] ?? '';
    expect(words).not.toBe('');
    expect(first.stderr).toContain('can read everything');
    const again = parsed(await good(['init', '--json'], env));
    expect(again).toMatchObject({ created: false, userId: bot._id, authorized: [rid] });
    expect(again).not.toHaveProperty('passphrase');
    // The account's key on another machine: only with that passphrase.
    const other = { RC_E2EE_STORE: join(folder, 'other.store') };
    expect((await cli(['init'], { ...env, ...other })).code).toBe(2);
    expect((await cli(['init'], other)).code).toBe(5);
    const adopted = await good(['init', '--json'], { ...other, RC_E2EE_PASSPHRASE: words });
    expect(parsed(adopted).fingerprint).toBe(again.fingerprint);
    printed = printed.replaceAll(words, '');
  });

  test('no other command makes an identity or a store', async () => {
    for (const args of [['status'], ['rooms'], ['send', 'plans', 'x'], ['listen'], ['audit']]) {
      expect((await cli(args)).code).toBe(2);
    }
    expect(existsSync(join(folder, 'bot.store'))).toBe(false);
    expect(workspace.user(bot._id).e2e).toBeUndefined();
  });

  test('a server that refuses, or is not there, is 4, and leaves no store', async () => {
    expect((await cli(['init'], { RC_E2EE_TOKEN: 'wrong' })).code).toBe(4);
    expect(existsSync(join(folder, 'bot.store'))).toBe(false);
    workspace.faults.rest('e2e.fetchMyKeys', { kind: 'status', status: 400 });
    const { code, stderr } = await cli(['init', '--json']);
    expect(code).toBe(4);
    expect(JSON.parse(stderr).error.code).toBe('ERR_E2EE_WORKSPACE');
    expect(workspace.user(bot._id).e2e).toBeUndefined();
  });

  test('status tells what is held, offered and missing, and changes nothing', async () => {
    await good(['init', 'plans']);
    const empty = room('empty');
    const before = parsed(await good(['status', '--json']));
    expect(before).toMatchObject({
      userId: bot._id,
      fingerprint: expect.stringMatching(/^([0-9a-f]{4} ){15}[0-9a-f]{4}$/),
    });
    const of = (status: typeof before, id: string) =>
      status.rooms.find(({ roomId }: { roomId: string }) => roomId === id);
    expect(of(before, rid)).toMatchObject({ name: 'plans', key: 'none', authorized: true });
    expect(of(before, empty)).toMatchObject({ key: 'none', authorized: false });
    const keyId = await ann.createKey(rid);
    expect(of(parsed(await good(['status', '--json'])), rid)).toMatchObject({
      key: 'offered',
      keysHeld: 0,
      keysMissing: [keyId],
    });
    expect(workspace.subscription(rid, bot._id)?.E2ESuggestedKey).toBeDefined();
    await good(['send', 'plans', 'a secret message']);
    expect(of(parsed(await good(['status', '--json'])), rid)).toMatchObject({
      key: 'held',
      keysHeld: 1,
      keysMissing: [],
      waiting: [],
      outbox: 0,
    });
    workspace.editSubscription(rid, bot._id, (subscription) => {
      delete subscription.E2EKey;
    });
    const next = await ann.resetKey(rid);
    const carol = await Person.join(workspace, workspace.createUser('carol'), 'web-8');
    workspace.addMember(rid, carol.account);
    const after = of(parsed(await good(['status', '--json'])), rid);
    expect(after).toMatchObject({ key: 'missing', keysMissing: [next] });
    expect(after.waiting).toContain(carol.account._id);
    const { stdout } = await good(['status']);
    expect(stdout).toMatch(/^plans +\w+ +yes +missing +1 +0 +\d +0$/m);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  test('a wrong store secret is 5', async () => {
    await setUp();
    const { code, stderr } = await cli(['status'], { RC_E2EE_STORE_SECRET: 'another secret' });
    expect(code).toBe(5);
    expect(stderr).not.toContain('another secret');
  });
});

describe('rooms', () => {
  test('are listed, authorised and given up', async () => {
    await good(['init']);
    expect(parsedLines(await good(['rooms', '--json']))).toMatchObject([
      { roomId: rid, name: 'plans', authorized: false },
    ]);
    await good(['rooms', 'authorize', '#plans']);
    expect((await good(['rooms'])).stdout).toMatch(/^plans .* yes .* held$/m);
    expect((await cli(['rooms', 'deauthorize', 'plans'])).code).toBe(2);
    await good(['rooms', 'deauthorize', rid, '--yes']);
    expect((await good(['rooms'])).stdout).toMatch(/^plans .* no /m);
    const { code, stderr } = await cli(['rooms', 'authorize', 'nowhere']);
    expect(code).toBe(1);
    expect(stderr).toContain('ERR_CLI_NO_SUCH_ROOM');
  });

  test('names cannot command a terminal, nor stretch a table', async () => {
    workspace.createRoom('p', [ann.account, bot], {
      encrypted: true,
      name: `\u001b]0;owned\u0007\u009b2J\u202e${'部屋'.repeat(60)}`,
    });
    await good(['init']);
    for (const args of [['rooms'], ['status'], ['rooms', '--json']]) {
      const { stdout } = await good(args);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal acts on
      expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
    }
  });
});

describe('send', () => {
  test('sends an argument, standard input, and a file', async () => {
    await setUp();
    const { messageId } = parsed(await good(['send', 'plans', 'a secret message', '--json']));
    expect(await ann.readById(rid, messageId)).toBe('a secret message');
    await good(['send', rid], {}, 'a secret message\nof two lines\n');
    const [, second] = posted();
    expect(await ann.readById(rid, second?._id ?? '')).toBe('a secret message\nof two lines');
    writeFileSync(join(folder, 'plan.txt'), 'the secret message of a file');
    await good(['send', 'plans', 'see this', '--file', 'plan.txt', '--thread', messageId]);
    const [, , third] = posted();
    expect(third?.tmid).toBe(messageId);
    const { attachments } = (await ann.read(rid, third ?? {})) as never as {
      attachments: { title: string }[];
    };
    expect(attachments[0]?.title).toBe('plan.txt');
  });

  test('sends nothing without a key, without authorisation, or in clear', async () => {
    await good(['init']);
    expect((await cli(['send', 'plans', 'a secret message'])).code).toBe(1);
    await good(['rooms', 'authorize', 'plans']);
    await ann.fetchKeys(rid);
    await ann.resetKey(rid);
    const { code, stderr } = await cli(['send', 'plans', 'a secret message', '--wait', '0']);
    expect(code).toBe(6);
    expect(stderr).toContain('ERR_E2EE_NO_ROOM_KEY');
    const plain = workspace.createRoom('p', [ann.account, bot], { name: 'plain' })._id;
    await good(['rooms', 'authorize', 'plain']);
    const refused = await cli(['send', 'plain', 'a secret message', '--json']);
    expect(refused.code).toBe(1);
    expect(JSON.parse(refused.stderr).error.code).toBe('ERR_CLI_NOT_ENCRYPTED');
    expect(workspace.messagesIn(plain).filter(({ u }) => u._id === bot._id)).toEqual([]);
    expect(posted()).toEqual([]);
    expect((await cli(['send', 'plans'])).code).toBe(2);
    expect((await cli(['send', 'plans', '--file', 'nowhere'])).code).toBe(1);
  });

  test('waits for a key that comes', async () => {
    await good(['init', 'plans']);
    await ann.createKey(rid);
    await ann.resetKey(rid);
    const sending = good(['send', 'plans', 'a secret message', '--wait', '20']);
    await until(() =>
      workspace.requests.entries.some(({ path }) => path.includes('SubscriptionKeys')),
    );
    await ann.serve(rid);
    await sending;
    expect(posted()).toHaveLength(1);
  });
});

describe('listen', () => {
  async function listening(args: string[] = []): Promise<ChildProcess> {
    const child = start(['listen', ...args]);
    child.stdin?.end();
    await until(() => workspace.openSockets(bot._id) > 0);
    return child;
  }

  test('prints what is said, defused, until it is interrupted', async () => {
    await setUp();
    await good(['send', 'plans', 'a secret message']);
    const child = await listening();
    const ended = ending(child);
    const evil = 'a secret message \u001b]0;owned\u0007\u009b31m\n2026-01-01 00:00:00  bob: forged';
    const lines = await saidUntilPrinted(child, evil);
    child.kill('SIGINT');
    const { code, stdout } = await ended;
    expect(code).toBe(0);
    expect(lines).toContain('\\u{1b}]0;owned\\u{7}\\u{9b}31m');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal acts on
    expect(stdout).not.toMatch(/[\u001b\u0007\u009b]/);
    expect(stdout).toMatch(/^plans {2}\d{4}-.* ann: a secret message/m);
    expect(stdout).toMatch(/^ {4}2026-01-01 00:00:00 {2}bob: forged$/m);
  });

  test('prints JSON lines, and ends when nobody reads them any more', async () => {
    await setUp();
    await good(['send', 'plans', 'a secret message']);
    const child = await listening(['plans', '--json']);
    const [line] = (await saidUntilPrinted(child, 'a secret message \u009b31m')).split('\n');
    expect(line).not.toContain('\u009b');
    expect(JSON.parse(line ?? '')).toMatchObject({
      roomId: rid,
      username: 'ann',
      document: { msg: 'a secret message \u009b31m' },
    });
    const closed = once(child, 'close');
    child.stdout?.destroy();
    await ann.say(rid, 'to nobody');
    expect((await closed)[0]).toBe(0);
  });

  /** What was said before the streams are live is not told: it is said until it is. */
  async function saidUntilPrinted(child: ChildProcess, text: string): Promise<string> {
    let seen = '';
    child.stdout?.on('data', (chunk) => {
      seen += chunk;
    });
    const say = setInterval(() => void ann.say(rid, text), 500);
    await until(() => seen.includes('\n'));
    clearInterval(say);
    return seen;
  }

  test('needs an authorised room', async () => {
    await good(['init']);
    expect((await cli(['listen'])).code).toBe(1);
    room('other');
    await good(['rooms', 'authorize', 'plans']);
    expect((await cli(['listen', 'other'])).code).toBe(1);
  });

  test('ends with 4 when the server no longer accepts the token', async () => {
    await setUp();
    expect((await cli(['listen'], { RC_E2EE_TOKEN: 'wrong' })).code).toBe(4);
    const child = await listening();
    const ended = ending(child);
    workspace.editUser(bot._id, (user) => {
      user.services.resume.loginTokens = [];
    });
    workspace.cutSockets(bot._id);
    expect((await ended).code).toBe(4);
  });
});

describe('decrypt', () => {
  /** A room with three keys, the middle one of which the bot never had. */
  async function threeKeys(count: number): Promise<{ messages: object[]; missing: string }> {
    await setUp();
    await good(['send', 'plans', 'a secret message']);
    const keys = [ann.keysOf(rid).current];
    const missing = await ann.resetKey(rid);
    keys.push(ann.keysOf(rid).current);
    await ann.resetKey(rid);
    keys.push(ann.keysOf(rid).current);
    ann.keysOf(rid).old.shift();
    await ann.serve(rid);
    await good(['send', 'plans', 'a secret message']);
    const messages: object[] = [];
    for (let number = 0; number < count; number++) {
      const key = keys[number % 3] as never;
      const { content } = (await client.encryptMessage('web-8', key, {
        msg: `secret ${number}`,
      })) as { content: object };
      const ts = new Date(1_700_000_000_000 + number * 1000).toISOString();
      messages.push({
        _id: `m${number}`,
        rid,
        t: 'e2e',
        msg: '',
        ts,
        u: { username: 'ann' },
        content,
      });
    }
    messages.push({ _id: 'joined', rid, t: 'uj', msg: 'carol', ts: new Date().toISOString() });
    return { messages, missing };
  }

  const FORMS: [string, (messages: object[]) => string][] = [
    ['an array', (messages) => JSON.stringify(messages)],
    ['an array, indented', (messages) => JSON.stringify(messages, null, 2)],
    ['a page of history', (messages) => JSON.stringify({ messages, success: true })],
    ['a page, indented', (messages) => JSON.stringify({ success: true, messages }, null, 2)],
    ['lines', (messages) => messages.map((one) => JSON.stringify(one)).join('\n')],
    [
      'lines of Windows',
      (messages) => messages.map((one) => `${JSON.stringify(one)}\r\n`).join(''),
    ],
  ];

  test('opens every form of an export without a server, and reports what it cannot open', async () => {
    const { messages, missing } = await threeKeys(9);
    await good(['export-keys', 'keys.json']);
    expect(statSync(join(folder, 'keys.json')).mode & 0o777).toBe(0o600);
    await workspace.close();
    for (const [, write] of FORMS) {
      writeFileSync(join(folder, 'export.json'), write(messages));
      for (const keys of [[], ['--keys', 'keys.json']]) {
        const ended = await cli(['decrypt', 'export.json', '--json', ...keys], {
          RC_E2EE_URL: undefined,
          RC_E2EE_TOKEN: undefined,
        });
        expect(ended.code).toBe(3);
        const all = parsed(ended);
        expect(all.map((one: { msg: string }) => one.msg)).toEqual(
          messages.map((_, number) =>
            number === 9 ? 'carol' : number % 3 === 1 ? '' : `secret ${number}`,
          ),
        );
        expect(all[1].unreadable).toMatchObject({ code: 'ERR_E2EE_NO_ROOM_KEY', keyId: missing });
        expect(JSON.parse(ended.stderr)).toMatchObject({
          messages: 10,
          decrypted: 6,
          notEncrypted: 1,
          unreadable: 3,
          reasons: [
            {
              code: 'ERR_E2EE_NO_ROOM_KEY',
              roomId: rid,
              keyId: missing,
              count: 3,
              first: '2023-11-14T22:13:21.000Z',
              last: '2023-11-14T22:13:27.000Z',
            },
          ],
        });
      }
    }
  });

  test('writes text and a list of what it could not open, into files of its own', async () => {
    const { messages, missing } = await threeKeys(6);
    writeFileSync(join(folder, 'export.json'), JSON.stringify(messages));
    const args = ['decrypt', 'export.json', '--out', 'out.txt', '--unreadable', 'not.jsonl'];
    const ended = await cli(args);
    expect(ended).toMatchObject({ code: 3, stdout: '' });
    expect(ended.stderr).toContain('7 messages: 4 decrypted, 1 not encrypted, 2 not readable');
    expect(ended.stderr).toContain(missing);
    const text = readFileSync(join(folder, 'out.txt'), 'utf8');
    expect(text).toMatch(/^2023-11-14 22:13:20 {2}ann: secret 0$/m);
    expect(text).toContain(`ann: [not readable: ERR_E2EE_NO_ROOM_KEY, key ${missing}]`);
    expect(statSync(join(folder, 'out.txt')).mode & 0o777).toBe(0o600);
    const list = readFileSync(join(folder, 'not.jsonl'), 'utf8').trim().split('\n');
    expect(list.map((line) => JSON.parse(line)._id)).toEqual(['m1', 'm4']);
    // Nothing is overwritten.
    expect((await cli(args)).code).toBe(1);
    expect(readFileSync(join(folder, 'out.txt'), 'utf8')).toBe(text);
  });

  test("opens Rocket.Chat's own export of a room as far as that has ciphertext", async () => {
    await threeKeys(0);
    const key = await client.createRoomKey('web-7');
    // Written before `content`: the ciphertext is in `msg`.
    const { msg } = (await client.encryptMessage('web-6', key, { msg: 'of old' })) as {
      msg: string;
    };
    const lines = [
      { msg, username: 'ann', ts: '2024-01-01T00:00:00.000Z', type: 'e2e' },
      { msg: '', username: 'ann', ts: '2025-01-01T00:00:00.000Z', type: 'e2e' },
      { msg: 'User joined', username: 'ann', ts: '2025-01-01T00:00:01.000Z', type: 'uj' },
    ];
    writeFileSync(
      join(folder, 'room.json'),
      lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
    );
    const ended = await cli(['decrypt', 'room.json', '--room', rid, '--json']);
    expect(ended.code).toBe(3);
    const [old, without, joined] = parsed(ended);
    expect(old.unreadable).toMatchObject({ code: 'ERR_E2EE_NO_ROOM_KEY', keyId: msg.slice(0, 12) });
    expect(without.unreadable.message).toContain('no ciphertext');
    expect(joined).toEqual(lines[2]);
  });

  test('keeps going where an export is not what it should be', async () => {
    const { messages } = await threeKeys(1);
    const [first] = messages;
    const deep = `{"rid":"${rid}","t":"e2e","x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    const cases: [string, number, object][] = [
      ['', 0, { messages: 0 }],
      ['[]', 0, { messages: 0 }],
      [`[${JSON.stringify(first)},7,null,"x",[]]`, 3, { messages: 5, decrypted: 1, unreadable: 4 }],
      [`${JSON.stringify(first)}\n{"cut":\n7\n`, 3, { messages: 3, decrypted: 1, unreadable: 2 }],
      [
        `[${JSON.stringify(first)},${deep},${JSON.stringify(first)}]`,
        3,
        { decrypted: 2, unreadable: 1 },
      ],
      [`${JSON.stringify(first)}\n${deep}\n`, 3, { decrypted: 1, unreadable: 1 }],
    ];
    for (const [text, code, summary] of cases) {
      const ended = await cli(['decrypt', '-', '--json'], {}, text);
      expect({ code: ended.code, ...JSON.parse(ended.stderr) }).toMatchObject({ code, ...summary });
      parsed(ended);
    }
    for (const text of [
      'hello',
      '{\n"a":1}',
      `[${JSON.stringify(first)},{"_id":`,
      '{"messages":[{]}',
    ]) {
      const { code, stderr } = await cli(['decrypt', '-'], {}, text);
      expect(code).toBe(1);
      expect(stderr).toMatch(/ERR_CLI_(NOT_AN|DAMAGED)_EXPORT/);
    }
    // What was before the damage is there.
    const cut = await cli(['decrypt', '-'], {}, `[${JSON.stringify(first)},{"_id":`);
    expect(cut.stdout).toContain('secret 0');
  });

  test('what is said cannot command a terminal, in text or JSON', async () => {
    await setUp();
    await good(['send', 'plans', 'a secret message']);
    await ann.say(rid, '\u001b[2J\u009b31m \u202eexe.gnp');
    for (const args of [[], ['--json']]) {
      const { stdout } = await good(['decrypt', '--room', 'plans', ...args]);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal acts on
      expect(stdout).not.toMatch(/[\u001b\u009b\u202e]/);
    }
  });

  test('reads the history of a room, oldest first, however many messages one moment has', async () => {
    await setUp();
    await good(['send', 'plans', 'a secret message']);
    for (let number = 0; number < 230; number++) await ann.say(rid, `secret ${number}`);
    const all = parsed(await good(['decrypt', '--room', 'plans', '--json']));
    const said = all
      .map(({ msg }: { msg: string }) => msg)
      .filter((msg: string) => /^secret/.test(msg));
    expect(said).toEqual(Array.from({ length: 230 }, (_, number) => `secret ${number}`));
  });

  test('reads a direct message, by the name of whom it is with', async () => {
    const direct = workspace.createRoom('d', [ann.account, bot], { encrypted: true })._id;
    await good(['init']);
    await good(['rooms', 'authorize', '@ann']);
    await good(['send', 'ann', 'a secret message']);
    await ann.fetchKeys(direct);
    await ann.say(direct, 'a secret message in answer');
    const { stdout } = await good(['decrypt', '--room', 'ann']);
    expect(stdout).toMatch(/bot: a secret message\n.* ann: a secret message in answer\n$/);
  });

  test('--fresh takes keys with the passphrase alone, and leaves no store', async () => {
    await setUp();
    await good(['send', 'plans', 'a secret message']);
    const env = { RC_E2EE_STORE: join(folder, 'none'), RC_E2EE_STORE_SECRET: undefined };
    const { stdout } = await good(['decrypt', '--room', 'plans', '--fresh'], env);
    expect(stdout).toContain('bot: a secret message');
    expect(existsSync(join(folder, 'none'))).toBe(false);
    const wrong = { ...env, RC_E2EE_PASSPHRASE: 'wrong' };
    expect((await cli(['decrypt', '--room', 'plans', '--fresh'], wrong)).code).toBe(5);
    expect((await cli(['decrypt', 'x.json', '--fresh', '--keys', 'y'])).code).not.toBe(0);
  });

  test('does not read a room that is not authorised, nor makes a key to do so', async () => {
    const other = room('other');
    await setUp();
    expect((await cli(['decrypt', '--room', 'other'])).code).toBe(1);
    expect((await cli(['decrypt', '--room', 'other', '--fresh'])).code).toBe(0);
    expect(workspace.room(other).e2eKeyId).toBeUndefined();
  });

  test('an interruption ends it, and what it wrote is removed', async () => {
    const { messages } = await threeKeys(3);
    const child = start(['decrypt', '-', '--out', 'out.txt']);
    const ended = ending(child);
    child.stdin?.on('error', () => undefined);
    child.stdin?.write(`${messages.map((one) => JSON.stringify(one)).join('\n')}\n`);
    await until(() => existsSync(join(folder, 'out.txt')));
    child.kill('SIGINT');
    expect((await ended).code).toBe(130);
    expect(existsSync(join(folder, 'out.txt'))).toBe(false);
  });

  test('ends quietly when its output is cut', async () => {
    const { messages } = await threeKeys(3);
    const many = Array.from({ length: 20_000 }, (_, number) => messages[number % 3]);
    writeFileSync(join(folder, 'export.json'), JSON.stringify(many));
    const child = start(['decrypt', 'export.json']);
    child.stdout?.once('data', () => child.stdout?.destroy());
    let stderr = '';
    child.stderr?.on('data', (text) => {
      stderr += text;
    });
    const [code] = await once(child, 'close');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });
});

describe('keys and secrets', () => {
  test('rotate gives a room a new key, and its members get it', async () => {
    await setUp();
    await good(['send', 'plans', 'a secret message']);
    const before = workspace.room(rid).e2eKeyId;
    const { keyId, served } = parsed(await good(['rotate', 'plans', '--json']));
    expect(workspace.room(rid).e2eKeyId).toBe(keyId);
    expect(keyId).not.toBe(before);
    expect(served).toBe(1);
    await ann.fetchKeys(rid);
    const { messageId } = parsed(await good(['send', 'plans', 'a secret message', '--json']));
    expect(await ann.readById(rid, messageId)).toBe('a secret message');
    workspace.editUser(bot._id, (user) => {
      user.roles = ['bot'];
    });
    expect((await cli(['rotate', 'plans'])).code).toBe(4);
    expect((await cli(['rotate', 'nowhere'])).code).toBe(1);
  });

  test('rotate --identity makes another key pair under the same passphrase', async () => {
    await setUp();
    const { fingerprint } = parsed(await good(['status', '--json']));
    expect((await cli(['rotate', '--identity'])).code).toBe(2);
    const rotated = parsed(await good(['rotate', '--identity', '--yes', '--json']));
    expect(rotated.fingerprint).not.toBe(fingerprint);
    expect(rotated).not.toHaveProperty('passphrase');
    const other = { RC_E2EE_STORE: join(folder, 'other.store') };
    expect(parsed(await good(['init', '--json'], other)).fingerprint).toBe(rotated.fingerprint);
  });

  test('revoke ends the store for good, once it is confirmed', async () => {
    await setUp();
    expect((await cli(['revoke'])).code).toBe(2);
    await good(['status']);
    await good(['revoke', '--yes']);
    const { code, stderr } = await cli(['status', '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(stderr).error.code).toBe('ERR_E2EE_IDENTITY_REVOKED');
  });

  test('keys go out and come in under a passphrase of their own', async () => {
    await setUp();
    await good(['send', 'plans', 'a secret message']);
    await good(['export-keys', 'keys.json']);
    expect((await cli(['export-keys', 'keys.json'])).code).toBe(1);
    const other = { RC_E2EE_STORE: join(folder, 'other.store') };
    await good(['init'], other);
    expect(parsed(await good(['import-keys', 'keys.json', '--json'], other))).toEqual({
      keys: 0,
      skippedRooms: 1,
    });
    const bundle = (await good(['export-keys', '-'])).stdout;
    // A room whose key the server has no more for the account.
    workspace.editSubscription(rid, bot._id, (subscription) => {
      delete subscription.E2EKey;
    });
    await cli(['rooms', 'authorize', 'plans'], other);
    expect(parsed(await good(['import-keys', '-', '--json'], other, bundle)).keys).toBe(1);
    const wrong = { ...other, RC_E2EE_KEYS_PASSPHRASE: 'wrong' };
    expect((await cli(['import-keys', 'keys.json'], wrong)).code).toBe(5);
    expect((await cli(['import-keys', '-'], other, 'not a bundle')).code).toBe(1);
    expect((await cli(['import-keys', 'nowhere'], other)).code).toBe(1);
  });

  test('change-secret changes what opens the store, and --rekey its data key', async () => {
    await setUp();
    const next = { RC_E2EE_NEW_STORE_SECRET: 'the next secret' };
    await good(['change-secret'], next);
    expect((await cli(['status'])).code).toBe(5);
    const opened = { RC_E2EE_STORE_SECRET: 'the next secret' };
    await good(['status'], opened);
    await good(['change-secret', '--rekey', '--json'], {
      ...opened,
      RC_E2EE_NEW_STORE_SECRET: STORE_SECRET,
    });
    await good(['status']);
    expect(printed).not.toContain('the next secret');
  });

  test('audit lists what was done, filtered', async () => {
    await setUp();
    const { messageId } = parsed(await good(['send', 'plans', 'a secret message', '--json']));
    const entries = (args: string[] = []) => good(['audit', '--json', ...args]).then(parsedLines);
    const all = await entries();
    expect(all.map(({ action }) => action)).toEqual(
      expect.arrayContaining(['identityCreated', 'roomAuthorized', 'keyAccepted', 'sent']),
    );
    expect(await entries(['--action', 'sent', '--room', 'plans'])).toMatchObject([
      { action: 'sent', details: { roomId: rid, messageId } },
    ]);
    expect(await entries(['--limit', '1'])).toEqual(all.slice(-1));
    expect(await entries(['--until', '2020-01-01'])).toEqual([]);
    expect(await entries(['--since', new Date(all.at(-1).ts).toISOString()])).toEqual(
      all.slice(-1),
    );
    const { stdout } = await good(['audit']);
    expect(stdout).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}sent +plans +messageId/m);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });
});
