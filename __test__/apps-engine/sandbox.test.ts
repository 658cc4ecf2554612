import { execFileSync } from 'child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'fs';
import { tmpdir } from 'os';
import { dirname, join } from 'path';
import { Person } from '../webcrypto-client/person';
import { type Account, Workspace } from '../workspace';
import { packageBundled, packageVendored } from './package-app';
import { AppServer, type Instance, SANDBOX, type Sandboxes, setUpSandboxes } from './server';

// Everything here is the real thing, but for the server around it: the engine's AppManager and
// runtime, Deno, Node, the compiler. `sandbox/setup.mjs` installs them, for Linux on x64.
const here = process.platform === 'linux' && process.arch === 'x64' ? describe : describe.skip;

const PASSPHRASE = 'correct horse battery staple';
const RUNTIMES = [
  ['engine 1.62.0', 'Deno 2.3'],
  ['engine 1.62.0', 'Deno 2.9'],
  ['engine 1.46.0', 'Deno 1.46'],
  ['imitation', 'Node 22'],
  ['imitation', 'Node 24'],
] as const;
const BUILDS = ['apps-cli', 'esbuild'] as const;
/** Milliseconds and sizes, for who wants to know: `APPS_ENGINE_FIGURES=1`. */
const figures: Record<string, unknown>[] = [];

let sandboxes: Sandboxes;
let folder: string;
const zips = new Map<string, string>();

/** The app, packaged; the path of the zip. */
async function packaged(build: (typeof BUILDS)[number]): Promise<string> {
  const known = zips.get(build);
  if (known !== undefined) return known;
  const work = join(folder, build);
  const zip = build === 'apps-cli' ? packageVendored(work) : await packageBundled(work);
  const path = `${work}.zip`;
  writeFileSync(path, zip);
  zips.set(build, path);
  return path;
}

async function until<T>(ready: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (const deadline = Date.now() + 25_000; ; ) {
    const found = await ready();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error('it did not come about');
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

here('the example app in the sandbox', () => {
  let workspace: Workspace;
  let server: AppServer;
  let bot: Account;
  let ann: Person;
  let rid: string;

  beforeAll(() => {
    sandboxes = setUpSandboxes();
    folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
  }, 600_000);

  afterAll(() => {
    if (process.env.APPS_ENGINE_FIGURES) console.table(figures);
    if (folder) rmSync(folder, { recursive: true });
  });

  beforeEach(async () => {
    workspace = await Workspace.start({ version: '8.8', rateLimits: false });
    server = new AppServer(workspace);
    bot = workspace.createUser('bot', { roles: ['bot'] });
    ann = await Person.join(workspace, workspace.createUser('ann'), 'web-8');
    rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
    await ann.createKey(rid);
  });

  afterEach(async () => {
    await server.close();
    // What people say in the room leaves nobody in clear, and is kept nowhere.
    expect(workspace.requests.containing('secret')).toEqual([]);
    expect(JSON.stringify(server.persistence.documents)).not.toContain('secret');
    await workspace.close();
  });

  /** A server instance that runs apps in this way. */
  async function start(runtime: string): Promise<Instance> {
    const [kind, version] = runtime.split(' ') as [string, string];
    if (kind === 'Node') {
      const node = sandboxes.nodes.find((one) => one.version === version)?.path ?? '';
      return server.start({
        script: 'node-runtime.cjs',
        words: [],
        execPath: node,
        execArgv: ['--permission', `--allow-fs-read=${SANDBOX}`, `--allow-fs-read=${folder}`],
      });
    }
    const { path, denoDir, temporary, folder: engine } = engineOf(version);
    return server.start({
      script: 'host.cjs',
      words: [engine, temporary],
      env: { PATH: `${path}:${process.env.PATH}`, DENO_DIR: denoDir },
    });
  }

  function engineOf(deno: string): Sandboxes['engines'][number] {
    const found = sandboxes.engines.find((one) => one.deno === deno);
    if (!found) throw new Error(`no engine for Deno ${deno}`);
    return found;
  }

  async function install(
    instance: Instance,
    runtime: string,
    zip: string,
  ): Promise<{ status: string; ms: number }> {
    let given: unknown = readFileSync(zip);
    if (runtime.startsWith('Node')) {
      const engine = engineOf('2.3').folder;
      given = `${zip}.json`;
      const unpacked = execFileSync(process.execPath, [join(SANDBOX, 'unpack.cjs'), engine, zip], {
        maxBuffer: 2 ** 26,
      });
      writeFileSync(given as string, unpacked);
    }
    const user = server.userOf(ann.account._id);
    return (await instance.ask('install', [given, user])) as { status: string; ms: number };
  }

  function configure(instance: Instance, more: Record<string, string> = {}): Promise<unknown> {
    return instance.ask('set', [
      {
        'rocketchat-e2ee-url': workspace.url,
        'rocketchat-e2ee-user-id': bot._id,
        'rocketchat-e2ee-auth-token': bot.authToken,
        'rocketchat-e2ee-passphrase': PASSPHRASE,
        'rocketchat-e2ee-rooms': rid,
        ...more,
      },
    ]);
  }

  /** Ann says something, and the server runs its hooks; how long that took. */
  async function say(instance: Instance, text: string, older = false): Promise<number> {
    const id = await ann.say(rid, text);
    const message = workspace.message(id);
    if (!message) throw new Error('the message is gone');
    const start = performance.now();
    await (older ? instance.deliverAsOlder(message) : instance.deliver(message));
    return performance.now() - start;
  }

  /** What others than Ann have said, as her client reads it. */
  async function answers(): Promise<string[]> {
    const encrypted = workspace
      .messagesIn(rid)
      .filter(({ t, u }) => t === 'e2e' && u._id !== ann.account._id);
    return Promise.all(encrypted.map(async (message) => (await ann.read(rid, message)).msg));
  }

  /** What the app itself has logged: the engine logs every change of a setting, with its value. */
  async function logged(instance: Instance): Promise<string> {
    const logs = (await instance.ask('logs', [])) as { method: string }[];
    return JSON.stringify(logs.filter(({ method }) => /^(app:execute|scheduler:)/.test(method)));
  }

  /** Ready to answer: the app has the room's key, from Ann. */
  async function joined(runtime: string, zip: string, settings = {}): Promise<Instance> {
    const instance = await start(runtime);
    const { status } = await install(instance, runtime, zip);
    expect(status).toMatch(/enabled$/);
    await configure(instance, settings);
    await instance.ask('job', ['e2ee-upkeep']);
    await ann.serve(rid);
    await instance.ask('job', ['e2ee-upkeep']);
    return instance;
  }

  async function expectNoErrors(instance: Instance): Promise<void> {
    expect(await logged(instance)).not.toMatch(/ERR_E2EE|TypeError|ReferenceError|not allowed/);
  }

  describe.each(RUNTIMES)('%s, %s', (engine, runtime) => {
    test.each(BUILDS)(
      'built by %s: installed, read, answered',
      async (build) => {
        const zip = await packaged(build);
        const instance = await start(runtime);
        const { status, ms: installed } = await install(instance, runtime, zip);
        expect(status).toMatch(/enabled$/);
        expect(server.told).toEqual([expect.stringContaining('CAN READ everything')]);
        await configure(instance);

        // It makes its identity and waits for the key; Ann's client gives it.
        const before = performance.now();
        await instance.ask('job', ['e2ee-upkeep']);
        const first = performance.now() - before;
        expect(await ann.serve(rid)).toEqual([bot._id]);
        await instance.ask('job', ['e2ee-upkeep']);
        expect(await answers()).toEqual([
          expect.stringContaining('I can read what is written here'),
        ]);

        const answered = await say(instance, '!ping a secret');
        expect((await answers()).slice(1)).toEqual(['pong, ann']);
        const system = await say(instance, '!ping', true);
        expect((await answers()).slice(1)).toEqual(['pong, ann', 'pong, ann']);

        await say(instance, 'The secret launch is on Friday.');
        await say(instance, 'Is the launch of the rocket on Friday?');
        await say(instance, '!summary');
        expect((await answers()).at(-1)).toMatch(/ann 2.*\nOften: friday, launch/);
        await expectNoErrors(instance);
        figures.push({
          runtime: `${engine}, ${runtime}`,
          build,
          installed: Math.round(installed),
          'first round': Math.round(first),
          'first answer': Math.round(answered),
          'next answer': Math.round(system),
        });
      },
      120_000,
    );
  });

  describe.each(['Deno 2.3', 'Node 24'])('in %s', (runtime) => {
    let zip: string;
    beforeAll(async () => {
      zip = await packaged('apps-cli');
    }, 60_000);

    test('answers as the app’s own user, and not itself', async () => {
      const instance = await joined(runtime, zip, { 'rocketchat-e2ee-reply-as': 'app' });
      await say(instance, '!ping');
      const answer = workspace.messagesIn(rid).at(-1);
      expect(answer).toMatchObject({ t: 'e2e', msg: '', u: { _id: server.appUser._id } });
      expect((await answers()).at(-1)).toBe('pong, ann');
      // Its own messages come to its hooks, too: the app's user's, and the bot account's.
      const before = workspace.messagesIn(rid).length;
      for (const message of workspace.messagesIn(rid)) await instance.deliver(message);
      expect(workspace.messagesIn(rid)).toHaveLength(before);
      await expectNoErrors(instance);
    }, 60_000);

    test('two server instances handle a message once, and the greeting is said once', async () => {
      const one = await joined(runtime, zip);
      const two = await start(runtime);
      await install(two, runtime, zip);
      await configure(two);
      const message = workspace.message(await ann.say(rid, '!ping'));
      if (!message) throw new Error('the message is gone');
      await Promise.all([
        one.deliver(message),
        two.deliver(message),
        two.deliverAsOlder(message),
        one.ask('job', ['e2ee-upkeep']),
        two.ask('job', ['e2ee-upkeep']),
      ]);
      const pongs = async () => (await answers()).filter((text) => text === 'pong, ann').length;
      await until(async () => ((await pongs()) > 0 ? true : undefined));
      await two.ask('job', ['e2ee-upkeep']);
      expect(await pongs()).toBe(1);
      expect(await answers()).toHaveLength(2);
    }, 60_000);

    test('a message that comes before its key is answered once the key has come', async () => {
      const instance = await start(runtime);
      await install(instance, runtime, zip);
      await configure(instance);
      await instance.ask('job', ['e2ee-upkeep']);
      await say(instance, '!ping');
      expect(await answers()).toEqual([]);
      await ann.serve(rid);
      await instance.ask('job', ['e2ee-upkeep']);
      expect(await answers()).toContain('pong, ann');
    }, 60_000);

    test('a room that its settings do not name is not read, and one taken out no longer', async () => {
      const other = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
      await ann.createKey(other);
      const instance = await joined(runtime, zip);
      await ann.serve(other);
      const message = workspace.message(await ann.say(other, '!ping'));
      if (message) await instance.deliver(message);
      expect(workspace.messagesIn(other).filter(({ t }) => t === 'e2e')).toHaveLength(1);
      await configure(instance, { 'rocketchat-e2ee-rooms': other });
      await say(instance, '!ping');
      expect(await answers()).not.toContain('pong, ann');
    }, 60_000);

    test('goes on after its process was another one, from what it has kept', async () => {
      const one = await joined(runtime, zip);
      await say(one, '!ping');
      await server.close();
      const two = await start(runtime);
      await install(two, runtime, zip);
      await configure(two);
      // The key is in its store: the server need not give it again.
      workspace.editSubscription(rid, bot._id, (subscription) => {
        delete subscription.E2EKey;
      });
      await say(two, '!ping');
      expect((await answers()).slice(1)).toEqual(['pong, ann', 'pong, ann']);
    }, 60_000);

    test('hostile messages and answers get an error, and the next message an answer', async () => {
      const instance = await joined(runtime, zip);
      const good = workspace.message(await ann.say(rid, 'hello'));
      if (!good) throw new Error('the message is gone');
      const content = good.content as { ciphertext: string };
      const changed = [
        { ...content, ciphertext: `AAAA${content.ciphertext.slice(4)}` },
        { ...content, ciphertext: '' },
        { ...content, kid: 7 },
        { algorithm: 'rc.v9' },
        'text',
        null,
      ];
      for (const [i, hostile] of changed.entries()) {
        await instance.deliver({ ...good, _id: `hostile${i}`, content: hostile } as never);
      }
      for (const answer of [
        { statusCode: 200, content: '<html>' },
        { statusCode: 200 },
        { statusCode: 99, content: 7, headers: { '\n': '\n' } },
        { statusCode: 302, headers: { location: 'http://evil.example/' } },
        { statusCode: 401, content: bot.authToken },
        {},
      ]) {
        server.http = () => answer;
        await instance.ask('job', ['e2ee-upkeep']);
      }
      server.http = () => undefined;
      await say(instance, '!ping');
      expect(await answers()).toContain('pong, ann');
      const logs = await logged(instance);
      expect(logs).not.toContain(bot.authToken);
      expect(logs).not.toContain(PASSPHRASE);
    }, 120_000);
  });

  test.each(['Deno 2.3', 'Node 24'])(
    '%s: with a hundred rooms, a new process answers at once',
    async (runtime) => {
      const rooms = [rid];
      for (let i = 1; i < 100; i += 1) {
        const room = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
        await ann.createKey(room);
        rooms.push(room);
      }
      const zip = await packaged('apps-cli');
      const settings = { 'rocketchat-e2ee-rooms': 'all' };
      const one = await start(runtime);
      await install(one, runtime, zip);
      await configure(one, settings);
      await one.ask('job', ['e2ee-upkeep']);
      for (const room of rooms) await ann.serve(room);
      const times: Record<string, number> = {};
      const timed = async (what: string, work: () => Promise<unknown>) => {
        const start = performance.now();
        await work();
        times[what] = Math.round(performance.now() - start);
      };
      const greeted = () =>
        rooms.filter((room) => workspace.messagesIn(room).some(({ u }) => u._id === bot._id))
          .length;
      await timed('100 keys accepted', async () => {
        // As often as it takes: each call is bounded.
        for (let calls = 0; calls < 30 && greeted() < 100; calls += 1) {
          await one.ask('job', ['e2ee-upkeep']);
        }
      });
      expect(greeted()).toBe(100);
      await server.close();

      const two = await start(runtime);
      await install(two, runtime, zip);
      await configure(two, settings);
      await timed('rebuilt and answered', () => say(two, '!ping'));
      expect(await answers()).toContain('pong, ann');
      await timed('first round afterwards', () => two.ask('job', ['e2ee-upkeep']));
      await timed('next round', () => two.ask('job', ['e2ee-upkeep']));
      figures.push({ runtime, build: '100 rooms', ...times });
      expect(times['rebuilt and answered']).toBeLessThan(10_000);
      expect(times['first round afterwards']).toBeLessThan(25_000);
    },
    240_000,
  );

  test.each(['Deno 2.3', 'Deno 1.46', 'Node 24'])(
    '%s: the entry for Node.js, in an app, says what to import instead',
    async (runtime) => {
      const zip = join(folder, 'native.zip');
      writeFileSync(zip, await packageBundled(join(folder, 'native'), 'rocketchat-e2ee'));
      const instance = await start(runtime);
      const error = await install(instance, runtime, zip).then(
        ({ status }) => status,
        ({ message }) => message,
      );
      expect(error).toContain("import from 'rocketchat-e2ee/apps-engine'");
    },
    60_000,
  );

  test('settings that hold secrets are passwords, and none is public', async () => {
    const instance = await start('Node 24');
    await install(instance, 'Node 24', await packaged('esbuild'));
    const settings = (await instance.ask('settings', [])) as { id: string; type: string }[];
    const translations = JSON.parse(
      readFileSync(join(dirname(SANDBOX), '../../examples/apps-engine/i18n/en.json'), 'utf8'),
    );
    for (const setting of settings as never as Record<string, string>[]) {
      expect(setting.public).toBe(false);
      expect(translations).toHaveProperty(setting.i18nLabel as string);
      expect(translations).toHaveProperty(setting.i18nDescription as string);
    }
    const secret = settings.filter(({ type }) => type === 'password').map(({ id }) => id);
    expect(secret).toEqual(['rocketchat-e2ee-auth-token', 'rocketchat-e2ee-passphrase']);
  }, 60_000);
});
