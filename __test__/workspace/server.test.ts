import { ManualClock } from './clock';
import { Rest, Socket } from './probe';
import { type Account, Workspace, type WorkspaceOptions } from './server';

const CONTENT = { algorithm: 'rc.v2.aes-sha2', kid: 'kid', iv: 'iv', ciphertext: 'c2VjcmV0' };

let workspace: Workspace;
let clock: ManualClock;
let ann: Account;
let asAnn: Rest;
let rid: string;

async function start(options: Partial<WorkspaceOptions> = {}): Promise<void> {
  clock = new ManualClock();
  workspace = await Workspace.start({ version: '8.8', clock, rateLimits: false, ...options });
  ann = workspace.createUser('ann');
  asAnn = new Rest(workspace, ann);
  rid = workspace.createRoom('p', [ann], { encrypted: true })._id;
}

const send = (_id: string) =>
  asAnn.post('chat.sendMessage', { message: { _id, rid, t: 'e2e', content: CONTENT } });

const stored = () => workspace.messagesIn(rid).map(({ _id }) => _id);

afterEach(() => workspace.close());

describe('rate limits', () => {
  test('ten per route and minute, then 429, until the window is over', async () => {
    await start({ rateLimits: {} });
    const remaining: (string | null)[] = [];
    for (let i = 0; i < 10; i += 1) {
      const reply = await asAnn.get('me');
      expect(reply.status).toBe(200);
      expect(reply.headers.get('x-ratelimit-limit')).toBe('10');
      expect(reply.headers.get('x-ratelimit-reset')).toBe(String(clock.now() + 60_000));
      remaining.push(reply.headers.get('x-ratelimit-remaining'));
    }
    expect(remaining).toEqual(['9', '8', '7', '6', '5', '4', '3', '2', '1', '0']);
    clock.advance(20_000);
    const refused = await asAnn.get('me');
    expect(refused.status).toBe(429);
    expect(refused.headers.get('x-ratelimit-remaining')).toBe('0');
    expect(refused.headers.get('x-ratelimit-reset')).toBe(String(clock.now() + 40_000));
    expect(refused.body).toEqual({
      success: false,
      error:
        'Error, too many requests. Please slow down. You must wait 40 seconds before trying this endpoint again.',
    });
    expect((await asAnn.get('rooms.get')).status).toBe(200); // another route
    clock.advance(40_000);
    expect((await asAnn.get('me')).status).toBe(200);
  });

  test('counted by address, not by user: another user is refused as well', async () => {
    await start({ rateLimits: {} });
    const asBob = new Rest(workspace, workspace.createUser('bob'));
    for (let i = 0; i < 10; i += 1) await asAnn.get('me');
    expect((await asBob.get('me')).status).toBe(429);
  });

  test('the bot role passes, and gets no headers', async () => {
    await start({ rateLimits: {} });
    const asBot = new Rest(workspace, workspace.createUser('robot', { roles: ['user', 'bot'] }));
    for (let i = 0; i < 12; i += 1) {
      const reply = await asBot.get('me');
      expect(reply.status).toBe(200);
      expect(reply.headers.get('x-ratelimit-limit')).toBeNull();
    }
  });

  test('limits are settings', async () => {
    await start({
      rateLimits: {},
      settings: {
        API_Enable_Rate_Limiter_Limit_Calls_Default: 1,
        API_Enable_Rate_Limiter_Limit_Time_Default: 500,
      },
    });
    await asAnn.get('me');
    expect((await asAnn.get('me')).status).toBe(429);
    clock.advance(500);
    expect((await asAnn.get('me')).status).toBe(200);
    workspace.setSetting('API_Enable_Rate_Limiter', false);
    for (let i = 0; i < 3; i += 1) expect((await asAnn.get('me')).status).toBe(200);
  });
});

describe('faults of calls', () => {
  beforeEach(() => start());

  test('drop before: no effect; drop after: the effect without the answer', async () => {
    workspace.faults.rest('chat.sendMessage', { kind: 'drop' });
    await expect(send('lost')).rejects.toThrow('fetch failed');
    expect(stored()).toEqual([]);
    workspace.faults.rest('chat.sendMessage', { kind: 'drop', when: 'after' });
    await expect(send('kept')).rejects.toThrow('fetch failed');
    expect(stored()).toEqual(['kept']);
    expect((await send('fine')).status).toBe(200);
  });

  test('answers of a proxy and of the rate limiter, before and after the effect', async () => {
    workspace.faults.rest('chat.sendMessage', { kind: 'status', status: 502 });
    const bad = await send('lost');
    expect([bad.status, bad.headers.get('content-type'), bad.body]).toEqual([
      502,
      'text/html',
      '<html><body><h1>502</h1></body></html>',
    ]);
    workspace.faults.rest('chat.sendMessage', { kind: 'status', status: 503, when: 'after' });
    expect((await send('kept')).status).toBe(503);
    expect(stored()).toEqual(['kept']);
    workspace.faults.rest('*', { kind: 'status', status: 429, retryAfterMs: 3000 });
    const limited = await send('later');
    expect(limited.status).toBe(429);
    expect(limited.headers.get('x-ratelimit-reset')).toBe(String(clock.now() + 3000));
    expect(limited.body.success).toBe(false);
  });

  test('delay', async () => {
    workspace.faults.rest('me', { kind: 'delay', ms: 60 });
    const before = performance.now();
    await asAnn.get('me');
    expect(performance.now() - before).toBeGreaterThanOrEqual(55);
  });

  test('times, skip, one user, undoing', async () => {
    const bob = new Rest(workspace, workspace.createUser('bob'));
    const failing = async (who: Rest, count: number) => {
      const statuses: number[] = [];
      for (let i = 0; i < count; i += 1) statuses.push((await who.get('me')).status);
      return statuses;
    };
    const status = { kind: 'status', status: 500 } as const;
    workspace.faults.rest('me', status, { skip: 1, times: 2 });
    expect(await failing(asAnn, 4)).toEqual([200, 500, 500, 200]);
    const undo = workspace.faults.rest('me', status, { uid: ann._id, times: 100 });
    expect(await failing(bob, 1)).toEqual([200]);
    expect(await failing(asAnn, 1)).toEqual([500]);
    undo();
    expect(await failing(asAnn, 1)).toEqual([200]);
    workspace.faults.rest('me', status, { times: 100 });
    workspace.faults.clear();
    expect(await failing(asAnn, 1)).toEqual([200]);
  });

  test('chance is drawn from the seed: the same twice, another with another seed', async () => {
    const run = async (seed: number) => {
      await workspace.close();
      await start({ seed });
      const status = { kind: 'status', status: 500 } as const;
      workspace.faults.rest('me', status, { chance: 0.5, times: 100 });
      let pattern = '';
      for (let i = 0; i < 40; i += 1) pattern += (await asAnn.get('me')).status === 500 ? 'x' : '.';
      return [pattern, rid];
    };
    const first = await run(7);
    expect(await run(7)).toEqual(first);
    expect((await run(8))[0]).not.toBe(first[0]);
    const failed = (first[0]?.match(/x/g) ?? []).length;
    expect(failed).toBeGreaterThan(8);
    expect(failed).toBeLessThan(32);
  });

  test('of DDP methods: dropped after the effect, refused, delayed', async () => {
    const socket = await Socket.connect(workspace, ann);
    workspace.faults.method('e2e.setRoomKeyID', { kind: 'status', status: 500 });
    expect((await socket.call('e2e.setRoomKeyID', rid, 'id')).error.error).toBe(500);
    expect(workspace.room(rid).e2eKeyId).toBeUndefined();
    workspace.faults.method('e2e.setRoomKeyID', { kind: 'drop', when: 'after' });
    socket.send({ msg: 'method', id: 'x', method: 'e2e.setRoomKeyID', params: [rid, 'id'] });
    await socket.until(() => socket.closed);
    expect(workspace.room(rid).e2eKeyId).toBe('id');
    expect(socket.frames.some(({ id }) => id === 'x')).toBe(false);
  });
});

describe('faults of events', () => {
  let socket: Socket;

  beforeEach(async () => {
    await start();
    socket = await Socket.connect(workspace, ann);
    await socket.sub('stream-room-messages', rid);
  });

  afterEach(() => socket.close());

  const seen = () => socket.events(rid).map(([{ _id }]) => _id);

  test('duplicate', async () => {
    workspace.faults.event('stream-room-messages', { kind: 'duplicate' });
    await send('a');
    await send('b');
    await socket.event(rid, 2);
    expect(seen()).toEqual(['a', 'a', 'b']);
  });

  test('swap: out of order, or late when nothing follows', async () => {
    workspace.faults.event(rid, { kind: 'swap' });
    await send('a');
    await send('b');
    await socket.event(rid, 1);
    expect(seen()).toEqual(['b', 'a']);
    workspace.faults.event(rid, { kind: 'swap' });
    await send('c');
    await socket.settled();
    expect(seen()).toEqual(['b', 'a']);
    await socket.event(rid, 2);
    expect(seen()).toEqual(['b', 'a', 'c']);
  });

  test('lose and delay', async () => {
    workspace.faults.event(rid, { kind: 'lose' });
    await send('a');
    workspace.faults.event(rid, { kind: 'delay', ms: 30 });
    await send('b');
    await send('c');
    await socket.event(rid, 1);
    expect(seen()).toEqual(['c', 'b']);
  });

  test('by the end of the event name', async () => {
    await socket.sub('stream-notify-user', `${ann._id}/rooms-changed`);
    workspace.faults.event('/rooms-changed', { kind: 'lose' });
    await send('a');
    await socket.event(rid);
    await socket.settled();
    expect(socket.events(`${ann._id}/rooms-changed`)).toEqual([]);
  });
});

describe('sockets and restarts', () => {
  beforeEach(() => start());

  test('cutSockets cuts those of one user, without a goodbye', async () => {
    const bob = workspace.createUser('bob');
    const [asA, asB] = [await Socket.connect(workspace, ann), await Socket.connect(workspace, bob)];
    expect(workspace.openSockets()).toBe(2);
    expect(workspace.cutSockets(ann._id)).toBe(1);
    await asA.until(() => asA.closed);
    expect(asB.closed).toBe(false);
    expect(workspace.openSockets(bob._id)).toBe(1);
    asB.close();
  });

  test('a restart cuts everything and keeps the state, at the same address', async () => {
    await send('before');
    const socket = await Socket.connect(workspace, ann);
    const { url } = workspace;
    const restarted = workspace.restart({ downMs: 50 });
    await socket.until(() => socket.closed);
    await expect(asAnn.get('me')).rejects.toThrow('fetch failed');
    await restarted;
    expect(workspace.url).toBe(url);
    expect((await asAnn.get('chat.getMessage', { msgId: 'before' })).status).toBe(200);
    const again = await Socket.connect(workspace, ann);
    await again.sub('stream-room-messages', rid);
    await send('after');
    await again.event(rid);
    again.close();
  });

  test('a restart forgets the counters', async () => {
    await workspace.close();
    await start({ rateLimits: {} });
    for (let i = 0; i < 11; i += 1) await asAnn.get('me');
    await workspace.restart({ downMs: 20 });
    expect((await asAnn.get('me')).status).toBe(200);
  });
});

describe('the request log', () => {
  beforeEach(() => start());

  test('has every request and frame, without tokens', async () => {
    await send('m');
    await asAnn.fetch(`/file-upload/x/y?rc_uid=u&rc_token=${ann.authToken}`, {});
    const socket = await Socket.connect(workspace, ann);
    await socket.sub('stream-room-messages', rid);
    await socket.call('e2e.setRoomKeyID', rid, 'some key id');
    const [request] = workspace.requests.to('chat.sendMessage');
    expect(request).toMatchObject({ transport: 'rest', method: 'POST', status: 200 });
    expect(request?.headers['x-user-id']).toBe(ann._id);
    expect(JSON.parse(String(request?.body))).toMatchObject({ message: { _id: 'm' } });
    expect(workspace.requests.to('e2e.setRoomKeyID')).toMatchObject([
      { transport: 'ddp', method: 'method', path: 'e2e.setRoomKeyID' },
    ]);
    expect(workspace.requests.to('stream-room-messages')).toMatchObject([{ method: 'sub' }]);
    expect(workspace.requests.containing('some key id')).toHaveLength(1);
    expect(workspace.requests.containing(ann.authToken)).toEqual([]);
    workspace.requests.clear();
    expect(workspace.requests.entries).toEqual([]);
    socket.close();
  });

  const secret = 'Das Geheimnis: "süß"\n';

  test.each<[string, string]>([
    ['as it is', secret],
    ['in JSON', JSON.stringify({ text: secret })],
    ['with escapes', JSON.stringify(secret).replaceAll('ü', '\\u00fc').replaceAll('ß', '\\u00df')],
    ['in percent', encodeURIComponent(secret)],
    ['in hex', Buffer.from(secret).toString('hex')],
    ['in base64', Buffer.from(secret).toString('base64')],
    ['in base64, shifted by 1', Buffer.from(`x${secret}y`).toString('base64')],
    ['in base64, shifted by 2', Buffer.from(`xx${secret}y`).toString('base64')],
    ['in base64url', Buffer.from(`???${secret}`).toString('base64url')],
  ])('finds a text %s', async (_how, body) => {
    await asAnn.fetch('/api/v1/anything', { method: 'POST', body });
    expect(workspace.requests.containing(secret)).toHaveLength(1);
    expect(workspace.requests.containing('another secret')).toEqual([]);
  });

  test('searches paths, headers and files too', async () => {
    await asAnn.get('me', { q: 'needle in the path' });
    await asAnn.fetch('/api/v1/me', { headers: { 'x-note': 'needle in a header' } });
    const form = new FormData();
    form.append('file', new File(['needle in a file'], 'name'));
    await asAnn.form(`rooms.media/${rid}`, form);
    for (const needle of ['needle in a header', 'needle in a file']) {
      expect(workspace.requests.containing(needle)).toHaveLength(1);
    }
    expect(workspace.requests.containing('needle+in+the+path')).toHaveLength(1);
  });
});

describe('routes', () => {
  test('unknown ones, wrong methods, other paths', async () => {
    await start();
    expect((await asAnn.get('no.such')).status).toBe(404);
    expect((await asAnn.get('chat.sendMessage')).status).toBe(404);
    expect((await asAnn.post('rooms.upload/x')).status).toBe(404); // removed in 8.0
    expect((await asAnn.fetch('/elsewhere', {})).status).toBe(404);
  });

  test('a body that is no JSON counts as empty', async () => {
    await start();
    const reply = await asAnn.fetch('/api/v1/e2e.acceptSuggestedGroupKey', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"rid":',
    });
    expect(reply.body.error).toBe("must have required property 'rid'");
  });
});
