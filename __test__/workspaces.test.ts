import { spawn } from 'child_process';
import { createHash } from 'crypto';
import { once } from 'events';
import { createServer, type RequestListener, type Server } from 'http';
import { type AddressInfo, createServer as createTcpServer } from 'net';
import { type Readable, Writable } from 'stream';
import { pipeline } from 'stream/promises';
import { inspect } from 'util';
import { WebSocketServer } from 'ws';
import {
  type E2eeError,
  RealtimeWorkspace,
  RestWorkspace,
  type WorkspaceEvent,
  type Workspace as WorkspaceInterface,
} from '..';
import { ROOT } from './helpers';
import { type Account, Workspace, type WorkspaceOptions } from './workspace';

const CONTENT = { algorithm: 'rc.v2.aes-sha2', kid: 'kid', iv: 'iv', ciphertext: 'c2VjcmV0' };
const VERSIONS = ['7.0', '8.8'] as const;
const UID = 'u'.repeat(17);
const TOKEN = 'T0ken-that-must-not-show-up-anywhere-012345';

let server: Workspace;
let ann: Account;
let bot: Account;
let rid: string;
let clients: WorkspaceInterface[] = [];
let others: Server[] = [];

async function start(options: Partial<WorkspaceOptions> = {}): Promise<void> {
  server = await Workspace.start({ version: '8.8', rateLimits: false, ...options });
  ann = server.createUser('ann');
  bot = server.createUser('robot', { roles: ['user', 'bot'] });
  rid = server.createRoom('p', [ann, bot], { encrypted: true, name: 'secret' })._id;
}

type Patience = { deadline?: number; attemptTimeout?: number; heartbeat?: number };

function rest(patience: Patience = {}, url = server.url, who = bot): RestWorkspace {
  const workspace = new RestWorkspace({
    url,
    userId: who?._id ?? UID,
    authToken: who?.authToken ?? TOKEN,
    ...patience,
  });
  clients.push(workspace);
  return workspace;
}

/** A realtime workspace, and the events it told. */
function realtime(
  how: Patience & { username?: string; password?: string; authToken?: string; url?: string } = {},
): { workspace: RealtimeWorkspace; events: WorkspaceEvent[] } {
  const { username, password, ...rest } = how;
  const workspace = new RealtimeWorkspace(
    username !== undefined && password !== undefined
      ? { url: server.url, username, password, ...rest }
      : { url: server.url, userId: bot._id, authToken: bot.authToken, ...rest },
  );
  clients.push(workspace);
  return { workspace, events: [] };
}

async function subscribed(how: Parameters<typeof realtime>[0] = {}) {
  const client = realtime(how);
  await client.workspace.subscribe((event) => client.events.push(event));
  return client;
}

const message = (_id: string, extra: object = {}) => ({
  method: 'POST' as const,
  path: 'chat.sendMessage',
  body: { message: { _id, rid, t: 'e2e', content: CONTENT, ...extra } },
});
const ME = { method: 'GET', path: 'me' } as const;

async function refused(promise: Promise<unknown>): Promise<E2eeError> {
  const value = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(value).toBeDefined();
  return value as E2eeError;
}

async function until(condition: () => boolean, timeoutMs = 15_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`never happened: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Another server than the stand-in. */
async function listen(listener: RequestListener): Promise<string> {
  const other = createServer(listener);
  others.push(other);
  other.listen(0, '127.0.0.1');
  await once(other, 'listening');
  return `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
}

const ids = (events: readonly WorkspaceEvent[]) =>
  events.flatMap((event) =>
    event.type === 'message' ? [(event.message as { _id: string })._id] : [],
  );
const types = (events: readonly WorkspaceEvent[]) => events.map(({ type }) => type);

// Backoff draws its delays at random.
jest.setTimeout(20_000);

afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  clients = [];
  await server?.close();
  for (const other of others) {
    other.closeAllConnections();
    other.close();
  }
  others = [];
});

describe.each(VERSIONS)('REST, server %s', (version) => {
  beforeEach(() => start({ version }));

  test('requests with query lists, JSON text, objects', async () => {
    const workspace = rest();
    expect(workspace.userId).toBe(bot._id);
    const { status, body } = await workspace.request(ME);
    expect([status, body]).toMatchObject([200, { success: true, username: 'robot' }]);
    server.setSetting('E2E_Enable', true);
    const waiting = await workspace.request({
      method: 'GET',
      path: 'e2e.fetchUsersWaitingForGroupKey',
      query: { roomIds: [rid, 'other'] },
    });
    expect(waiting.body).toMatchObject({ success: true, usersWaitingForE2EKeys: {} });
    expect(server.requests.entries.at(-1)?.path).toContain('roomIds%5B%5D=');
    await workspace.request({ ...message('a'), body: JSON.stringify(message('a').body) });
    await workspace.request(message('b'));
    expect(server.messagesIn(rid).map(({ _id }) => _id)).toEqual(['a', 'b']);
  });

  test('a refusal has its status and code, and is not repeated', async () => {
    const workspace = rest();
    const error = await refused(
      workspace.request({
        method: 'POST',
        path: 'e2e.setRoomKeyID',
        body: { rid: 'nowhere', keyID: 'k' },
      }),
    );
    expect(error).toMatchObject({
      name: 'E2eeError',
      code: 'ERR_E2EE_WORKSPACE',
      status: 400,
      errorType: 'error-invalid-room',
    });
    expect(server.requests.to('e2e.setRoomKeyID')).toHaveLength(1);
  });

  test('401: told once and clearly', async () => {
    const workspace = rest({}, server.url, { ...bot, authToken: TOKEN });
    const error = await refused(workspace.request(ME));
    expect(error).toMatchObject({ code: 'ERR_E2EE_WORKSPACE', status: 401 });
    expect(error.message).toMatch(/does not accept the account's token/);
    expect(inspect(error, { showHidden: true, depth: null })).not.toContain(TOKEN);
    expect(server.requests.to('me')).toHaveLength(1);
  });

  test.each([
    ['before', { kind: 'drop', when: 'before' }],
    ['after', { kind: 'drop', when: 'after' }],
    ['(502) before', { kind: 'status', status: 502, when: 'before' }],
    ['(503) after', { kind: 'status', status: 503, when: 'after' }],
  ] as const)('an answer lost %s the effect: one message', async (when, fault) => {
    server.faults.rest('chat.sendMessage', fault, { times: when.includes('after') ? 1 : 2 });
    const sent = rest().request(message('a'));
    // What a repeated id is answered with is for the caller to judge: the message is there.
    if (when.includes('after')) expect(await refused(sent)).toMatchObject({ status: 400 });
    else await sent;
    expect(server.requests.to('chat.sendMessage')).toHaveLength(when.includes('after') ? 2 : 3);
    expect(server.messagesIn(rid)).toHaveLength(1);
  });

  test('a file: uploaded from bytes and streams, also again; downloaded', async () => {
    const workspace = rest();
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i * 31));
    const content = JSON.stringify(CONTENT);
    async function* pieces() {
      for (let at = 0; at < bytes.length; at += 70_000) yield bytes.subarray(at, at + 70_000);
    }
    for (const [file, size, faults] of [
      [bytes, undefined, 1],
      [pieces, bytes.length, 1],
      [pieces, undefined, 1],
      [pieces(), bytes.length, 0],
    ] as const) {
      if (faults) server.faults.rest('rooms.media', { kind: 'status', status: 503 });
      const { body } = await workspace.request({
        method: 'POST',
        path: `rooms.media/${rid}`,
        form: { file, fileName: 'a"b\r\nc', content, ...(size !== undefined && { size }) },
      });
      const { file: stored } = body as { file: { _id: string; url: string } };
      expect(server.upload(stored._id)?.bytes.equals(bytes)).toBe(true);
      expect(server.upload(stored._id)?.upload).toMatchObject({
        content: CONTENT,
        type: 'application/octet-stream',
      });
      server.faults.rest('file-upload', { kind: 'drop' });
      const stream = await workspace.download(stored.url);
      expect(Buffer.concat(await stream.toArray()).equals(bytes)).toBe(true);
    }
    expect(await refused(workspace.download('/file-upload/none/x'))).toMatchObject({ status: 404 });
  });

  test('a stream that can be read once is not repeated; its own failure is told', async () => {
    const workspace = rest();
    const upload = (file: AsyncIterable<Uint8Array>) =>
      refused(
        workspace.request({
          method: 'POST',
          path: `rooms.media/${rid}`,
          form: { file, fileName: 'x' },
        }),
      );
    async function* one() {
      yield Buffer.from('x');
    }
    server.faults.rest('rooms.media', { kind: 'status', status: 503 });
    expect(await upload(one())).toMatchObject({ code: 'ERR_E2EE_WORKSPACE' });
    expect(server.requests.to('rooms.media')).toHaveLength(1);
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('x');
      throw new Error('disk is gone');
    }
    expect((await upload(broken())).message).toBe('disk is gone');
  });
});

describe('rate limits', () => {
  const limit = {
    API_Enable_Rate_Limiter_Limit_Calls_Default: 3,
    API_Enable_Rate_Limiter_Limit_Time_Default: 700,
  };

  test('a used-up route waits here; the others go on', async () => {
    await start({ rateLimits: {}, settings: limit });
    const workspace = rest({}, server.url, ann);
    const began = performance.now();
    for (let i = 0; i < 5; i += 1) await workspace.request(ME);
    expect(performance.now() - began).toBeGreaterThan(500);
    expect(server.requests.entries.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
  });

  test('429 is waited for; many at once all come through', async () => {
    await start({ rateLimits: {}, settings: limit });
    const workspace = rest({}, server.url, ann);
    await Promise.all(Array.from({ length: 8 }, () => workspace.request(ME)));
    const statuses = server.requests.entries.map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(8);
    expect(statuses.length).toBeLessThan(20);
  });

  test('a limit beyond the deadline is told at once', async () => {
    await start();
    server.faults.rest('me', { kind: 'status', status: 429, retryAfterMs: 30_000 });
    const workspace = rest({ deadline: 2000 });
    const began = performance.now();
    const error = await refused(workspace.request(ME));
    expect(error).toMatchObject({ code: 'ERR_E2EE_RATE_LIMITED', status: 429 });
    // Nor is the server asked again before that.
    expect(await refused(workspace.request(ME))).toMatchObject({ code: 'ERR_E2EE_RATE_LIMITED' });
    expect(performance.now() - began).toBeLessThan(1000);
    expect(server.requests.to('me')).toHaveLength(1);
  });

  test('a call that must happen once is repeated after 429, and after nothing else', async () => {
    await start();
    const workspace = rest();
    server.faults.rest('me', { kind: 'status', status: 429, retryAfterMs: 50 });
    await workspace.request({ ...ME, once: true });
    server.requests.clear();
    server.faults.rest('me', { kind: 'drop' });
    const error = await refused(workspace.request({ ...ME, once: true }));
    expect(error.code).toBe('ERR_E2EE_WORKSPACE');
    expect(error).not.toHaveProperty('status');
    server.faults.rest('me', { kind: 'status', status: 502 });
    expect(await refused(workspace.request({ ...ME, once: true }))).toMatchObject({ status: 502 });
    expect(server.requests.to('me')).toHaveLength(2);
  });

  test("a server's clock that is hours off, and a reset that is nonsense", async () => {
    await start();
    const hour = 3_600_000;
    for (const [date, reset] of [
      [Date.now() - 5 * hour, Date.now() - 5 * hour + 400],
      [Date.now() + 5 * hour, Date.now() + 5 * hour + 400],
      [Date.now(), -1],
      [Date.now(), 'soon'],
    ] as const) {
      let asked = 0;
      const url = await listen((_request, response) => {
        asked += 1;
        response.writeHead(asked === 1 ? 429 : 200, {
          date: new Date(date).toUTCString(),
          'x-ratelimit-reset': String(reset),
        });
        response.end('{}');
      });
      await rest({ deadline: 5000 }, url).request(ME);
      expect(asked).toBe(2);
    }
  });
});

describe('patience and its end', () => {
  beforeEach(() => start());

  test('a server that never answers: attempts are bounded, and so is the whole', async () => {
    let asked = 0;
    const url = await listen(() => {
      asked += 1;
    });
    const began = performance.now();
    const error = await refused(rest({ deadline: 1200, attemptTimeout: 200 }, url).request(ME));
    expect(error.code).toBe('ERR_E2EE_WORKSPACE');
    expect(error.message).toMatch(/no answer in time/);
    expect(performance.now() - began).toBeLessThan(2000);
    expect(asked).toBeGreaterThan(1);
  });

  test('a server that is down: retried until it is up again', async () => {
    const workspace = rest();
    const restarted = server.restart({ downMs: 600 });
    await workspace.request(ME);
    await restarted;
  });

  test('5xx to the end: the last status is told', async () => {
    server.faults.rest('me', { kind: 'status', status: 500 }, { times: 1000 });
    const error = await refused(rest().request({ ...ME, deadline: 600 }));
    expect(error).toMatchObject({ code: 'ERR_E2EE_WORKSPACE', status: 500 });
  });

  test('a body that stops in the middle', async () => {
    let asked = 0;
    const url = await listen((_request, response) => {
      asked += 1;
      if (asked > 1) return response.end('{"ok":1}');
      response.writeHead(200, { 'content-length': 100 });
      response.write('{"ok":');
      return setTimeout(() => response.destroy(), 20);
    });
    expect(await rest({}, url).request(ME)).toEqual({ status: 200, body: { ok: 1 } });
  });

  test('a 200 that is not Rocket.Chat', async () => {
    const url = await listen((_request, response) => response.end('<html>Hotel WiFi</html>'));
    const error = await refused(rest({}, url).request(ME));
    expect(error).toMatchObject({ code: 'ERR_E2EE_WORKSPACE', status: 200 });
    expect(error.message).not.toContain('Hotel');
  });

  test('an endless answer is not read to its end', async () => {
    const url = await listen((_request, response) => {
      const chunk = Buffer.alloc(1 << 20, 0x20);
      const more = () => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on('drain', more);
      more();
    });
    const error = await refused(rest({}, url).request(ME));
    expect(error.message).toMatch(/larger than/);
  });

  test('the token does not follow a redirect', async () => {
    const seen: string[] = [];
    const elsewhere = await listen((request, response) => {
      seen.push(inspect(request.headers));
      response.end('elsewhere');
    });
    const url = await listen((request, response) => {
      response.writeHead(302, { location: `${elsewhere}${request.url}` });
      response.end();
    });
    const workspace = rest({}, url, { ...bot, authToken: TOKEN });
    const error = await refused(workspace.request(ME));
    expect(error).toMatchObject({ code: 'ERR_E2EE_WORKSPACE', status: 302 });
    expect(seen).toEqual([]);
    // A file may lie in another storage, which learns nothing of the account.
    const stream = await workspace.download('/file-upload/id/name');
    expect(Buffer.concat(await stream.toArray()).toString()).toBe('elsewhere');
    expect(seen).toHaveLength(1);
    expect(seen[0]).not.toContain(TOKEN);
    expect(seen[0]).not.toContain(bot._id);
  });

  test.each([
    '..',
    '../../x',
    'a/../../b',
    '%2e%2e/x',
    '/evil.test/x',
    'me?x=1',
    'me#x',
    'a b',
    '',
    'http://x/',
    '\\\\x',
  ])('path %j is refused', async (path) => {
    const error = await refused(rest().request({ method: 'GET', path }));
    expect(error.code).toBe('ERR_E2EE_INVALID_ARGUMENT');
    expect(server.requests.entries).toEqual([]);
  });

  test.each(['http://evil.test/file-upload/x', '//evil.test/file-upload/x', '/api/v1/me', 'x'])(
    'download of %j is refused',
    async (path) => {
      const error = await refused(rest().download(path));
      expect(error.code).toBe('ERR_E2EE_INVALID_ARGUMENT');
    },
  );

  test.each([
    [{ url: 'chat.example.org' }, /url/],
    [{ url: 'ftp://chat.example.org' }, /url/],
    [{ url: `https://me:${TOKEN}@chat.example.org` }, /url/],
    [{ url: `https://chat.example.org/?t=${TOKEN}` }, /url/],
    [{ url: 5 }, /url/],
    [{ authToken: `${TOKEN}\n` }, /authToken/],
    [{ authToken: undefined }, /authToken/],
    [{ userId: '' }, /userId/],
    [{ deadline: 0 }, /deadline/],
    [{ attemptTimeout: Number.NaN }, /attemptTimeout/],
  ])('options %j are refused', (wrong, why) => {
    const options = { url: 'https://x', userId: UID, authToken: TOKEN, ...wrong };
    for (const Class of [RestWorkspace, RealtimeWorkspace]) {
      let error: unknown;
      try {
        new Class(options as never);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toMatchObject({ code: 'ERR_E2EE_INVALID_ARGUMENT' });
      expect(String(error)).toMatch(why);
      expect(inspect(error)).not.toContain(TOKEN);
    }
  });

  test('below a path: REST, files and the websocket', async () => {
    const paths: string[] = [];
    const url = await listen((request, response) => {
      paths.push(request.url ?? '');
      response.end('{}');
    });
    others.at(-1)?.on('upgrade', (request, socket) => {
      paths.push(request.url ?? '');
      socket.destroy();
    });
    const workspace = rest({}, `${url}/chat`);
    await workspace.request(ME);
    (await workspace.download('/file-upload/a/b')).resume();
    (await workspace.download(`${url}/chat/file-upload/a/b`)).resume();
    await refused(realtime({ url: `${url}/chat`, deadline: 100 }).workspace.subscribe(() => {}));
    expect(paths.slice(0, 4)).toEqual([
      '/chat/api/v1/me',
      '/chat/file-upload/a/b',
      '/chat/file-upload/a/b',
      '/chat/websocket',
    ]);
  });

  test('a big upload and download in constant memory', async () => {
    const SIZE = 192 << 20;
    const chunk = Buffer.alloc(1 << 16, 7);
    let received = 0;
    const url = await listen((request, response) => {
      if (request.method === 'GET') {
        let left = SIZE;
        const more = () => {
          while (left > 0) {
            left -= chunk.length;
            if (!response.write(chunk)) return;
          }
          response.end();
        };
        response.on('drain', more);
        return more();
      }
      request.on('data', (data: Buffer) => {
        received += data.length;
      });
      return request.on('end', () => response.end('{}'));
    });
    async function* file() {
      for (let sent = 0; sent < SIZE; sent += chunk.length) yield chunk;
    }
    const workspace = rest({}, url);
    const before = process.memoryUsage().rss;
    let peak = before;
    const watch = setInterval(() => {
      peak = Math.max(peak, process.memoryUsage().rss);
    }, 10);
    await workspace.request({
      method: 'POST',
      path: 'rooms.media/r',
      form: { file, size: SIZE, fileName: 'x' },
    });
    expect(received).toBeGreaterThan(SIZE);
    let read = 0;
    const sink = new Writable({
      write(data: Buffer, _encoding, done) {
        read += data.length;
        done();
      },
    });
    await pipeline(await workspace.download('/file-upload/a/b'), sink);
    clearInterval(watch);
    expect(read).toBe(SIZE);
    const grown = Math.round((peak - before) / (1 << 20));
    if (process.env.SHOW) process.stderr.write(`grown ${grown} MiB\n`);
    expect(grown).toBeLessThan(128);
  });

  test('a download that is cut, or stands still, fails with a code', async () => {
    let sockets = 0;
    const url = await listen((_request, response) => {
      sockets += 1;
      response.writeHead(200, { 'content-length': 1000 });
      response.write('x');
      if (sockets === 1) setTimeout(() => response.destroy(), 50);
    });
    const workspace = rest({ attemptTimeout: 200 }, url);
    for (const why of [/was cut/, /stood still/]) {
      const stream = await workspace.download('/file-upload/a/b');
      const error = await refused(stream.toArray());
      expect(error).toMatchObject({ code: 'ERR_E2EE_WORKSPACE' });
      expect(error.message).toMatch(why);
    }
  });
});

describe('close', () => {
  beforeEach(() => start());

  test('in the middle of everything: ERR_E2EE_CLOSED, at once', async () => {
    const silent = await listen((request, response) => {
      if (request.url?.startsWith('/file-upload')) {
        response.write('x');
      }
    });
    const [hanging, limited, failing] = [rest({}, silent), rest(), rest()];
    server.faults.rest('me', { kind: 'status', status: 429, retryAfterMs: 30_000 });
    server.faults.rest('rooms.get', { kind: 'status', status: 503 }, { times: 1000 });
    async function* slow() {
      yield Buffer.from('x');
      await new Promise((resolve) => setTimeout(resolve, 1000).unref());
    }
    const under = [
      hanging.request(ME),
      hanging.request({ method: 'POST', path: 'x', form: { file: slow, fileName: 'x' } }),
      hanging.download('/file-upload/a/b').then((stream: Readable) => stream.toArray()),
      limited.request(ME),
      failing.request({ method: 'GET', path: 'rooms.get' }),
    ].map(refused);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const began = performance.now();
    await Promise.all(clients.map((client) => client.close()));
    for (const error of await Promise.all(under)) {
      expect(error).toMatchObject({ name: 'E2eeError', code: 'ERR_E2EE_CLOSED' });
    }
    expect(performance.now() - began).toBeLessThan(300);
    for (const later of [hanging.request(ME), hanging.download('/file-upload/a/b')]) {
      expect((await refused(later)).code).toBe('ERR_E2EE_CLOSED');
    }
  });

  test.each([
    ['handshake', async () => undefined],
    ['login', async () => server.faults.method('login', { kind: 'delay', ms: 1500 })],
    ['connection', async () => undefined],
    ['reconnecting', async () => undefined],
  ])('of a realtime workspace in its %s', async (stage, prepare) => {
    await prepare();
    let url = server.url;
    if (stage === 'handshake') {
      const mute = createTcpServer(() => undefined).listen(0, '127.0.0.1');
      others.push(mute as unknown as Server);
      (mute as unknown as { closeAllConnections: () => void }).closeAllConnections = () => {};
      await once(mute, 'listening');
      url = `http://127.0.0.1:${(mute.address() as AddressInfo).port}`;
    }
    const { workspace, events } = realtime({ url });
    const subscribing = workspace.subscribe((event) => events.push(event));
    if (stage === 'handshake' || stage === 'login') {
      const failing = refused(subscribing);
      await new Promise((resolve) => setTimeout(resolve, 200));
      await workspace.close();
      expect((await failing).code).toBe('ERR_E2EE_CLOSED');
    } else {
      await subscribing;
      server.faults.method('me.slow', { kind: 'delay', ms: 1000 });
      const call = refused(workspace.callMethod('me.slow', []));
      await new Promise((resolve) => setTimeout(resolve, 50));
      if (stage === 'reconnecting') {
        await server.close();
        await until(() => types(events).includes('disconnected'));
        expect((await call).code).toBe('ERR_E2EE_WORKSPACE');
        await workspace.close();
      } else {
        await workspace.close();
        expect((await call).code).toBe('ERR_E2EE_CLOSED');
      }
    }
    const told = events.length;
    for (const later of [
      workspace.request(ME),
      workspace.subscribe(() => undefined),
      workspace.watchRoom(rid),
      workspace.callMethod('x', []),
      workspace.login(),
    ]) {
      expect((await refused(later)).code).toBe('ERR_E2EE_CLOSED');
    }
    expect(events).toHaveLength(told);
    if (stage === 'reconnecting') await start(); // for afterEach
  });

  test('the process exits by itself', async () => {
    const script = `
      const { RestWorkspace, RealtimeWorkspace } = require(${JSON.stringify(ROOT)});
      const account = ${JSON.stringify({ url: server.url, userId: bot._id, authToken: bot.authToken })};
      (async () => {
        const rest = new RestWorkspace(account);
        const realtime = new RealtimeWorkspace(account);
        await rest.request({ method: 'GET', path: 'me' });
        await realtime.subscribe(() => {});
        await realtime.watchRoom(${JSON.stringify(rid)});
        rest.request({ method: 'GET', path: 'rooms.get' }).catch(() => {});
        await rest.close();
        await realtime.close();
        process.on('exit', () => console.log('left', Date.now() - closed, process.getActiveResourcesInfo().join()));
        const closed = Date.now();
      })();`;
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.on('data', (data) => {
      output += data;
    });
    const [code] = await once(child, 'exit');
    const [, ms, left] = /left (\d+) (.*)/.exec(output) ?? [];
    expect([code, Number(ms) < 500, left]).toEqual([0, true, expect.not.stringContaining('Time')]);
    await until(() => server.openSockets() === 0);
  });
});

describe.each(VERSIONS)('realtime, server %s', (version) => {
  beforeEach(() => start({ version }));

  test('every kind of event, as documents came', async () => {
    const { workspace, events } = await subscribed();
    expect(types(events)).toEqual(['connected']);
    await workspace.watchRoom(rid);
    await workspace.watchRoom(rid);
    const asAnn = rest({}, server.url, ann);
    await asAnn.request(message('a'));
    await asAnn.request({
      method: 'POST',
      path: 'chat.update',
      body: { roomId: rid, msgId: 'a', content: CONTENT },
    });
    await asAnn.request({
      method: 'POST',
      path: 'chat.delete',
      body: { roomId: rid, msgId: 'a' },
    });
    server.editSubscription(rid, bot._id, (subscription) => {
      subscription.E2ESuggestedKey = 'suggested';
    });
    server.editRoom(rid, (room) => {
      room.e2eKeyId = 'key-id';
    });
    await until(
      () => types(events).includes('messageDeleted') && inspect(events).includes('key-id'),
    );
    const [first, second] = events.filter(({ type }) => type === 'message') as {
      message: Record<string, unknown>;
    }[];
    expect(first?.message).toMatchObject({
      _id: 'a',
      content: CONTENT,
      ts: { $date: expect.any(Number) },
    });
    expect(second?.message).toHaveProperty('editedAt');
    expect(events).toContainEqual({ type: 'messageDeleted', roomId: rid, messageId: 'a' });
    const subscription = events.filter(({ type }) => type === 'subscription').at(-1);
    expect(subscription).toMatchObject({
      action: 'updated',
      subscription: { rid, E2ESuggestedKey: 'suggested' },
    });
    const room = events.filter(({ type }) => type === 'room').at(-1);
    expect(room).toMatchObject({ action: 'updated', room: { _id: rid, e2eKeyId: 'key-id' } });
    const subs = server.requests.entries.filter(({ method }) => method === 'sub');
    expect(subs.filter(({ path }) => path === 'stream-notify-room')).toHaveLength(2);
  });

  test('somebody asks for a key', async () => {
    const { workspace, events } = await subscribed();
    await workspace.watchRoom(rid);
    server.editRoom(rid, (room) => {
      room.e2eKeyId = 'key-id';
    });
    const asAnn = realtime({ ...{ username: 'ann', password: ann.password } }).workspace;
    await asAnn.login();
    expect(asAnn.userId).toBe(ann._id);
    if (version === '7.0') {
      await asAnn.callMethod('stream-notify-room-users', [`${rid}/e2ekeyRequest`, rid, 'key-id']);
      await asAnn.callMethod('e2e.requestSubscriptionKeys', []);
    } else {
      await asAnn.request({ method: 'POST', path: 'e2e.requestSubscriptionKeys' });
      const error = await refused(asAnn.callMethod('e2e.requestSubscriptionKeys', []));
      expect(error).toMatchObject({ code: 'ERR_E2EE_WORKSPACE', status: 404, errorType: '404' });
    }
    const expected = version === '7.0' ? 2 : 1;
    await until(() => types(events).filter((type) => type === 'keyRequest').length === expected);
    expect(events).toContainEqual({ type: 'keyRequest', roomId: rid, keyId: 'key-id' });
  });

  test('cut and restarted: connected again, subscribed again, in order', async () => {
    const { workspace, events } = await subscribed();
    await workspace.watchRoom(rid);
    const asAnn = rest({}, server.url, ann);
    for (const [round, breakIt] of [
      () => server.cutSockets(bot._id),
      () => server.restart({ downMs: 300 }),
      () => server.restart(),
    ].entries()) {
      await breakIt();
      await until(() => types(events).filter((t) => t === 'connected').length === round + 2);
      for (let i = 0; i < 20; i += 1) await asAnn.request(message(`m${round}-${i}`));
      await asAnn.request({
        method: 'POST',
        path: 'chat.delete',
        body: { roomId: rid, msgId: `m${round}-0` },
      });
      await until(() => types(events).filter((t) => t === 'messageDeleted').length === round + 1);
    }
    expect(ids(events)).toEqual(
      [0, 1, 2].flatMap((round) => Array.from({ length: 20 }, (_, i) => `m${round}-${i}`)),
    );
    const states = types(events).filter((t) => t === 'connected' || t === 'disconnected');
    expect(states).toEqual(['connected', ...Array(3).fill(['disconnected', 'connected']).flat()]);
    const subs = server.requests.entries.filter(({ method }) => method === 'sub');
    const subIds = subs.map(({ body }) => JSON.parse(body.toString()).id);
    expect(new Set(subIds).size).toBe(subIds.length);
  });

  test('duplicates, losses and another order are passed on as they come', async () => {
    const { events } = await subscribed();
    const asAnn = rest({}, server.url, ann);
    server.faults.event('__my_messages__', { kind: 'duplicate' }, { uid: bot._id });
    await asAnn.request(message('a'));
    server.faults.event('__my_messages__', { kind: 'lose' }, { uid: bot._id });
    await asAnn.request(message('b'));
    server.faults.event('__my_messages__', { kind: 'delay', ms: 200 }, { uid: bot._id });
    await asAnn.request(message('c'));
    await asAnn.request(message('d'));
    await until(() => ids(events).length === 4);
    expect(ids(events)).toEqual(['a', 'a', 'd', 'c']);
  });

  test('login that fails for a while', async () => {
    server.faults.method('login', { kind: 'drop' });
    server.faults.method('login', { kind: 'status', status: 503 }, { skip: 1 });
    const { events } = await subscribed();
    expect(types(events)).toEqual(['connected']);
    expect(server.requests.to('login')).toHaveLength(3);
  });

  test('a password: digest, token for REST, again when the token is gone', async () => {
    const { workspace, events } = realtime({ username: 'robot', password: bot.password });
    expect(() => workspace.userId).toThrow(expect.objectContaining({ code: expect.any(String) }));
    expect(inspect(workspace, { showHidden: true, depth: null })).not.toContain(bot.password);
    await Promise.all([workspace.request(ME), workspace.request(ME)]);
    expect(workspace.userId).toBe(bot._id);
    expect(server.requests.to('login')).toHaveLength(1);
    expect(server.requests.containing(bot.password)).toEqual([]);
    await workspace.subscribe((event) => events.push(event));
    server.editUser(bot._id, ({ services }) => {
      services.resume.loginTokens = [];
    });
    await Promise.all([workspace.request(ME), workspace.request(ME)]);
    expect(server.requests.to('login').filter((r) => r.transport === 'rest')).toHaveLength(2);
    server.editUser(bot._id, ({ services }) => {
      services.resume.loginTokens = [];
    });
    server.cutSockets(bot._id);
    await until(() => types(events).at(-1) === 'connected' && events.length === 3);
    await rest({}, server.url, ann).request(message('a'));
    await until(() => ids(events).length === 1);
  });

  test('a wrong password is tried once', async () => {
    const { workspace } = realtime({ username: 'robot', password: 'wrong' });
    const error = await refused(workspace.request(ME));
    expect(error).toMatchObject({ code: 'ERR_E2EE_WORKSPACE', status: 401 });
    expect(error.message).toMatch(/username or password/);
    expect((await refused(workspace.subscribe(() => undefined))).message).toBe(error.message);
    await refused(workspace.request(ME));
    expect(server.requests.to('login')).toHaveLength(1);
  });

  test('a wrong token, and one of another user', async () => {
    const wrong = realtime({ authToken: TOKEN });
    const error = await refused(wrong.workspace.subscribe(() => undefined));
    expect(error).toMatchObject({ code: 'ERR_E2EE_WORKSPACE', status: 401 });
    expect(inspect(error, { showHidden: true })).not.toContain(TOKEN);
    expect(server.requests.to('login')).toHaveLength(1);
    const other = realtime({ authToken: ann.authToken });
    const mismatch = await refused(other.workspace.subscribe(() => undefined));
    expect(mismatch.message).toMatch(/another user/);
  });

  test('logged out by the server: told once, and the end', async () => {
    const { workspace, events } = await subscribed();
    const reset = rest().request({
      method: 'POST',
      path: 'users.resetE2EKey',
      body: {},
      twoFactor: { method: 'password', code: sha256(bot.password) },
    });
    await reset;
    await until(() => events.some((event) => event.type === 'disconnected' && 'error' in event));
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const last = events.filter((event) => event.type === 'disconnected' && 'error' in event);
    expect(last).toHaveLength(1);
    expect(last[0]).toMatchObject({ error: { code: 'ERR_E2EE_WORKSPACE', status: 401 } });
    expect(server.openSockets()).toBe(0);
    expect((await refused(workspace.callMethod('x', []))).message).toMatch(/token/);
    expect(server.requests.to('login').length).toBeLessThanOrEqual(2);
  });

  test('rooms: many, foreign, left and joined again', async () => {
    const { workspace, events } = await subscribed();
    const rooms = Array.from({ length: 60 }, () => server.createRoom('p', [ann, bot])._id);
    await Promise.all(rooms.map((room) => workspace.watchRoom(room)));
    const foreign = server.createRoom('p', [ann])._id;
    expect(await refused(workspace.watchRoom(foreign))).toMatchObject({ errorType: 'not-allowed' });
    await workspace.watchRoom(rid);
    server.removeMember(rid, bot);
    await until(() =>
      events.some((event) => event.type === 'subscription' && event.action === 'removed'),
    );
    server.addMember(rid, bot);
    await workspace.watchRoom(rid);
    server.cutSockets();
    await until(() => types(events).filter((type) => type === 'connected').length === 2);
    const asAnn = rest({}, server.url, ann);
    await asAnn.request(message('a'));
    await asAnn.request({ method: 'POST', path: 'chat.delete', body: { roomId: rid, msgId: 'a' } });
    await until(() => types(events).includes('messageDeleted'));
    expect(events.filter(({ type }) => type === 'messageDeleted')).toHaveLength(1);
  });
});

describe('a peer that misbehaves', () => {
  let endPeer: () => void = () => undefined;
  afterEach(() => endPeer());

  /** A DDP server of a few lines: accepts every login and subscription. */
  async function peer(onSocket: (send: (text: string) => void, nth: number) => void) {
    await start();
    const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    await once(sockets, 'listening');
    let connections = 0;
    sockets.on('connection', (socket) => {
      connections += 1;
      const nth = connections;
      socket.on('message', (data) => {
        const { msg, id, method } = JSON.parse(String(data));
        if (msg === 'connect') socket.send('{"msg":"connected","session":"x"}');
        if (method === 'login') {
          socket.send(JSON.stringify({ msg: 'result', id, result: { id: bot._id } }));
        }
        if (msg === 'sub') socket.send(JSON.stringify({ msg: 'ready', subs: [id] }));
        if (msg === 'ping' && nth > 1) socket.send('{"msg":"pong"}');
      });
      onSocket((text) => socket.send(text), nth);
    });
    endPeer = () => {
      for (const socket of sockets.clients) socket.terminate();
      sockets.close();
    };
    const url = `http://127.0.0.1:${(sockets.address() as AddressInfo).port}`;
    return { url, count: () => connections };
  }

  test('one that falls silent is left', async () => {
    const { url, count } = await peer(() => undefined);
    const { events } = await subscribed({ url, heartbeat: 100 });
    await until(() => types(events).filter((type) => type === 'connected').length === 2);
    expect(events[1]).toEqual({ type: 'disconnected', reason: 'the server fell silent' });
    await new Promise((resolve) => setTimeout(resolve, 600)); // now it answers pings
    expect(count()).toBe(2);
  });

  test('bad frames, and a listener that throws, kill nothing', async () => {
    let send: (text: string) => void = () => undefined;
    const { url, count } = await peer((given) => {
      send = given;
    });
    const { workspace, events } = await subscribed({ url });
    await workspace.subscribe(() => {
      throw new Error('a bug');
    });
    const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
    const changed = (fields: unknown, collection: unknown = 'stream-room-messages') =>
      JSON.stringify({ msg: 'changed', collection, id: 'id', fields });
    for (const bad of [
      '',
      '{',
      'null',
      '7',
      '[]',
      '"x"',
      '{"msg":"changed"}',
      '{"msg":"ready"}',
      '{"msg":"ready","subs":[7,null]}',
      '{"msg":"nosub"}',
      '{"msg":"result","id":{}}',
      '{"msg":"error","reason":"x"}',
      '{"msg":{"toString":1}}',
      changed(null),
      changed({ eventName: 7, args: [] }),
      changed({ eventName: '__my_messages__', args: 7 }),
      changed({ eventName: '__my_messages__', args: [7] }),
      changed({ eventName: '__my_messages__', args: [] }),
      changed({ eventName: `${bot._id}/subscriptions-changed`, args: [1] }, 'stream-notify-user'),
      changed({ eventName: `other/rooms-changed`, args: ['updated', {}] }, 'stream-notify-user'),
      changed({ eventName: 'r/deleteMessage', args: [{ _id: 7 }] }, 'stream-notify-room'),
      changed({ eventName: '/', args: [] }, { toString: 1 }),
      '{"msg":"changed","collection":"stream-room-messages","fields":{"eventName":"x","args":[{"__proto__":{"polluted":1},"_id":"z"}]}}',
    ]) {
      send(bad);
    }
    send(changed({ eventName: '__my_messages__', args: [{ _id: 'a' }] }));
    await until(() => ids(events).includes('a'));
    expect(ids(events)).toEqual(['z', 'a']);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(warned.mock.calls[0]?.[0]).toMatch(/threw Error; it must not throw/);
    warned.mockRestore();
    expect(count()).toBe(1);
  });

  test('a forged force_logout changes nothing', async () => {
    await start();
    const { events } = await subscribed();
    const asAnn = realtime({ username: 'ann', password: ann.password }).workspace;
    for (let i = 0; i < 3; i += 1) {
      await asAnn.callMethod('stream-notify-user', [`${bot._id}/force_logout`]);
    }
    await until(() => server.requests.to('me').length === 1);
    await rest({}, server.url, ann).request(message('a'));
    await until(() => ids(events).length === 1);
    expect(types(events)).toEqual(expect.not.arrayContaining(['disconnected']));
    expect(server.requests.to('me')).toHaveLength(1);
  });

  test('no connection within the deadline: subscribe rejects, and nothing goes on', async () => {
    await start();
    const url = await listen((_request, response) => response.end());
    let upgrades = 0;
    others.at(-1)?.on('upgrade', (_request, socket) => {
      upgrades += 1;
      socket.destroy();
    });
    const { workspace } = realtime({ url, deadline: 800 });
    const error = await refused(workspace.subscribe(() => undefined));
    expect(error).toMatchObject({ code: 'ERR_E2EE_WORKSPACE' });
    const tried = upgrades;
    expect(tried).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect(upgrades - tried).toBeLessThanOrEqual(1);
  });
});

test('tokens show up in no output', async () => {
  await start();
  const hidden = { showHidden: true, depth: null, getters: false } as const;
  const { workspace } = await subscribed();
  const plain = rest();
  for (const value of [workspace, plain]) {
    const pending = value.request(ME);
    expect(inspect(value, hidden)).not.toContain(bot.authToken);
    expect(JSON.stringify(value)).not.toContain(bot.authToken);
    await pending;
  }
  // Not even where the server echoes it.
  const url = await listen((request, response) => {
    response.statusCode = 400;
    response.statusMessage = String(request.headers['x-auth-token']);
    response.end(JSON.stringify({ error: `bad token ${request.headers['x-auth-token']}` }));
  });
  const error = await refused(rest({}, url).request(ME));
  expect(error.status).toBe(400);
  expect(inspect(error, hidden)).not.toContain(bot.authToken);
});

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
