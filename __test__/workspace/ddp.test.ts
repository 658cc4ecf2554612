import { ManualClock } from './clock';
import { type Frame, Rest, Socket } from './probe';
import { type Account, Workspace, type WorkspaceOptions } from './server';

const CONTENT = { algorithm: 'rc.v2.aes-sha2', kid: 'kid', iv: 'iv', ciphertext: 'c2VjcmV0' };

let workspace: Workspace;
let clock: ManualClock;
let ann: Account;
let bob: Account;
let rid: string;
let sockets: Socket[];

async function start(options: Partial<WorkspaceOptions> = {}): Promise<void> {
  clock = new ManualClock();
  sockets = [];
  workspace = await Workspace.start({ version: '8.8', clock, rateLimits: false, ...options });
  ann = workspace.createUser('ann');
  bob = workspace.createUser('bob');
  rid = workspace.createRoom('p', [ann, bob], { encrypted: true, name: 'secret' })._id;
}

async function open(account?: Account): Promise<Socket> {
  const socket = await Socket.connect(workspace, account);
  sockets.push(socket);
  return socket;
}

const send = (extra: object = {}, who = ann) =>
  new Rest(workspace, who).post('chat.sendMessage', {
    message: { rid, t: 'e2e', content: CONTENT, ...extra },
  });

afterEach(async () => {
  for (const socket of sockets) socket.close();
  await workspace.close();
});

describe('the protocol', () => {
  beforeEach(() => start());

  test('connect, ping, login with what follows it unasked', async () => {
    const socket = await Socket.raw(workspace);
    sockets.push(socket);
    socket.send({ msg: 'ping' });
    await socket.frame(({ msg }) => msg === 'error');
    socket.send({ msg: 'connect', version: '1', support: ['1'] });
    await socket.frame(({ msg }) => msg === 'connected');
    socket.send({ msg: 'ping', id: 'p' });
    expect(await socket.frame(({ msg }) => msg === 'pong')).toEqual({ msg: 'pong', id: 'p' });
    const { result } = await socket.call('login', { resume: ann.authToken });
    expect(result).toEqual({
      id: ann._id,
      token: ann.authToken,
      tokenExpires: new Date(clock.now() + 90 * 86_400_000),
      type: 'resume',
    });
    await socket.frame(({ msg }) => msg === 'updated');
    expect(socket.frames.map(({ msg }) => msg)).toEqual([
      undefined, // server_id
      'error',
      'connected',
      'pong',
      'added',
      'result',
      'updated',
    ]);
    expect(socket.frames[4]).toMatchObject({ collection: 'users', id: ann._id });
  });

  test('another version: failed, and closed', async () => {
    const socket = await Socket.raw(workspace);
    socket.send({ msg: 'connect', version: 'pre2', support: ['pre2'] });
    expect(await socket.frame(({ msg }) => msg === 'failed')).toEqual({
      msg: 'failed',
      version: '1',
    });
    await socket.until(() => socket.closed);
  });

  test('login with a password; refusals', async () => {
    const socket = await open();
    const digest = '5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8';
    const pat = workspace.createUser('pat', { password: 'password' });
    const password = { digest, algorithm: 'sha-256' };
    const { result } = await socket.call('login', { user: { username: 'pat' }, password });
    expect(result).toMatchObject({ id: pat._id, type: 'password' });
    const wrong = await socket.call('login', { user: { username: 'ann' }, password });
    expect(wrong.error).toEqual({
      isClientSafe: true,
      error: 403,
      reason: 'Incorrect password',
      message: 'Incorrect password [403]',
      errorType: 'Meteor.Error',
    });
    const gone = await socket.call('login', { resume: 'gone' });
    expect(gone.error.reason).toBe("You've been logged out by the server. Please log in again.");
    expect((await socket.call('no.such')).error).toMatchObject({
      error: 404,
      reason: "Method 'no.such' not found",
    });
  });

  test('subscriptions: ready, a live id is dropped silently, unsub', async () => {
    const socket = await open(ann);
    expect(await socket.sub('stream-room-messages', rid, 'one')).toEqual({
      msg: 'ready',
      subs: ['one'],
    });
    socket.send({ msg: 'sub', id: 'one', name: 'stream-room-messages', params: [rid, false] });
    await socket.settled();
    expect(socket.frames.filter(({ msg }) => msg === 'ready')).toHaveLength(1);
    socket.send({ msg: 'unsub', id: 'one' });
    expect(await socket.frame(({ msg }) => msg === 'nosub')).toEqual({ msg: 'nosub', id: 'one' });
    await send();
    await socket.settled();
    expect(socket.events(rid)).toEqual([]);
  });

  test('two subs to one event: it comes once, until both are gone', async () => {
    const socket = await open(ann);
    await socket.sub('stream-room-messages', rid, 'one');
    await socket.sub('stream-room-messages', rid, 'two');
    socket.send({ msg: 'unsub', id: 'one' });
    await send();
    await socket.event(rid);
    await socket.settled();
    expect(socket.events(rid)).toHaveLength(1);
  });

  test.each<[string, (stranger: Account) => string]>([
    ['stream-room-messages', () => rid],
    ['stream-notify-room', () => `${rid}/e2e.keyRequest`],
    ['stream-notify-user', () => `${ann._id}/subscriptions-changed`],
    ['stream-notify-room-users', () => `${rid}/e2ekeyRequest`],
  ])('%s is not for strangers', async (stream, key) => {
    const stranger = workspace.createUser('stranger');
    const socket = await open(stranger);
    expect(await socket.sub(stream, key(stranger), 'x')).toEqual({
      msg: 'nosub',
      id: 'x',
      error: {
        isClientSafe: true,
        error: 'not-allowed',
        message: '[not-allowed]',
        errorType: 'Meteor.Error',
      },
    });
  });

  test('an unknown stream', async () => {
    const socket = await open(ann);
    expect((await socket.sub('stream-other', 'x')).error.error).toBe(404);
  });

  test('logout ends the token', async () => {
    const socket = await open(ann);
    await socket.call('logout');
    expect((await new Rest(workspace, ann).get('me')).status).toBe(401);
  });
});

describe('heartbeat', () => {
  test('a client that answers stays, a silent one is cut', async () => {
    await start({ heartbeatMs: 30 });
    const silent = await open(ann);
    const alive = await open(bob);
    const answer = setInterval(() => alive.send({ msg: 'pong' }), 10);
    await silent.frame(({ msg }) => msg === 'ping');
    await silent.until(() => silent.closed);
    expect(alive.closed).toBe(false);
    clearInterval(answer);
  });
});

describe('events', () => {
  beforeEach(() => start());

  test('a message: in its room, and in __my_messages__ with the room', async () => {
    const socket = await open(bob);
    await socket.sub('stream-room-messages', rid);
    await socket.sub('stream-room-messages', '__my_messages__');
    await send({ _id: 'm', e2e: 'pending' });
    const [frame] = await Promise.all([
      socket.frame((f: Frame) => f.msg === 'changed' && f.fields.eventName === rid),
      socket.event('__my_messages__'),
    ]);
    const message = {
      _id: 'm',
      rid,
      msg: '',
      t: 'e2e',
      e2e: 'pending',
      ts: new Date(clock.now()),
      u: { _id: ann._id, username: 'ann', name: 'Ann' },
      content: CONTENT,
      mentions: [],
      channels: [],
      urls: [],
      _updatedAt: new Date(clock.now()),
    };
    expect(frame).toEqual({
      msg: 'changed',
      collection: 'stream-room-messages',
      id: 'id',
      fields: { eventName: rid, args: [message] },
    });
    expect(socket.events('__my_messages__')).toEqual([
      [message, { roomParticipant: true, roomType: 'p', roomName: 'secret' }],
    ]);
  });

  test('dates are EJSON on the wire', async () => {
    const socket = await open(bob);
    const raw: string[] = [];
    await socket.sub('stream-room-messages', rid);
    await send({ _id: 'm' });
    await socket.event(rid);
    raw.push(JSON.stringify(socket.events(rid)));
    const { default: WebSocket } = await import('ws');
    const ws = new WebSocket(`${workspace.url.replace('http', 'ws')}/websocket`);
    const frames: string[] = [];
    ws.on('message', (data) => frames.push(String(data)));
    await new Promise((resolve) => ws.once('open', resolve));
    ws.send('{"msg":"connect","version":"1","support":["1"]}');
    ws.send(
      JSON.stringify({
        msg: 'method',
        id: '1',
        method: 'login',
        params: [{ resume: ann.authToken }],
      }),
    );
    await new Promise<void>((resolve) => {
      ws.on('message', () => frames.some((f) => f.includes('"result"')) && resolve());
    });
    const expires = clock.now() + 90 * 86_400_000;
    expect(frames.find((f) => f.includes('"result"'))).toContain(
      `"tokenExpires":{"$date":${expires}}`,
    );
    ws.terminate();
  });

  test('__my_messages__ checks the room each time', async () => {
    const stranger = workspace.createUser('stranger');
    const channel = workspace.createRoom('c', [ann], { name: 'open' })._id;
    const socket = await open(stranger);
    await socket.sub('stream-room-messages', '__my_messages__');
    await send();
    await new Rest(workspace, ann).post('chat.sendMessage', {
      message: { rid: channel, msg: 'x' },
    });
    const [message, room] = await socket.event('__my_messages__');
    expect(message.rid).toBe(channel);
    expect(room).toEqual({ roomParticipant: false, roomType: 'c', roomName: 'open' });
    expect(socket.events('__my_messages__')).toHaveLength(1);
  });

  test('an edit is the same event, with editedAt; a thread updates its root', async () => {
    const socket = await open(bob);
    await socket.sub('stream-room-messages', rid);
    await send({ _id: 'root' });
    await send({ _id: 'reply', tmid: 'root' });
    await new Rest(workspace, ann).post('chat.update', {
      roomId: rid,
      msgId: 'reply',
      content: { algorithm: 'rc.v1.aes-sha2', ciphertext: 'x' },
    });
    const [edited] = await socket.event(rid, 3);
    expect(socket.events(rid).map(([{ _id }]) => _id)).toEqual(['root', 'reply', 'root', 'reply']);
    expect(socket.events(rid)[2][0].tcount).toBe(1);
    expect(edited.editedAt).toEqual(new Date(clock.now()));
  });

  test('every message changes the room of all members, and the subscription of the others', async () => {
    const [asAnn, asBob] = [await open(ann), await open(bob)];
    for (const [socket, { _id }] of [
      [asAnn, ann],
      [asBob, bob],
    ] as const) {
      await socket.sub('stream-notify-user', `${_id}/rooms-changed`);
      await socket.sub('stream-notify-user', `${_id}/subscriptions-changed`);
    }
    await send();
    const [action, room] = await asAnn.event(`${ann._id}/rooms-changed`);
    expect([action, room.lastMessage.content]).toEqual(['updated', CONTENT]);
    const [, sub] = await asBob.event(`${bob._id}/subscriptions-changed`);
    expect(sub).toMatchObject({ rid, alert: true });
    await asAnn.settled();
    expect(asAnn.events(`${ann._id}/subscriptions-changed`)).toEqual([]);
  });

  test('an edit of the last message changes the room, one of an older does not', async () => {
    await send({ _id: 'older' });
    clock.advance(1);
    await send({ _id: 'last' });
    const socket = await open(bob);
    await socket.sub('stream-notify-user', `${bob._id}/rooms-changed`);
    const content = { algorithm: 'rc.v1.aes-sha2', ciphertext: 'edited' };
    for (const msgId of ['older', 'last']) {
      await new Rest(workspace, ann).post('chat.update', { roomId: rid, msgId, content });
    }
    await socket.settled();
    const rooms = socket.events(`${bob._id}/rooms-changed`).map(([, room]) => room);
    expect(rooms).toMatchObject([{ lastMessage: { _id: 'last', content } }]);
  });

  test('an absent field means that it was removed', async () => {
    workspace.editSubscription(rid, bob._id, (sub) => {
      sub.E2EKey = 'key';
    });
    const socket = await open(bob);
    const name = `${bob._id}/subscriptions-changed`;
    await socket.sub('stream-notify-user', name);
    workspace.editSubscription(rid, bob._id, (sub) => {
      delete sub.E2EKey;
      sub.oldRoomKeys = [{ e2eKeyId: 'i', ts: new Date(5), E2EKey: 'key' }];
    });
    const [action, sub] = await socket.event(name);
    expect(action).toBe('updated');
    expect(sub).not.toHaveProperty('E2EKey');
    expect(sub.oldRoomKeys).toEqual([{ e2eKeyId: 'i', ts: new Date(5), E2EKey: 'key' }]);
  });

  test('who is removed and invited again has to subscribe again', async () => {
    const socket = await open(bob);
    await socket.sub('stream-room-messages', rid);
    workspace.removeMember(rid, bob, ann);
    const seen = socket.events(rid).length;
    workspace.addMember(rid, bob, ann);
    await send({ _id: 'later' });
    await socket.settled();
    expect(socket.events(rid).slice(seen)).not.toContainEqual([
      expect.objectContaining({ _id: 'later' }),
    ]);
    await socket.sub('stream-room-messages', rid);
    await send({ _id: 'again' });
    await socket.until(() => socket.events(rid).some(([{ _id }]) => _id === 'again'));
  });

  test('any user can write any event to another: nothing there can be trusted', async () => {
    const socket = await open(bob);
    await socket.sub('stream-notify-user', `${bob._id}/subscriptions-changed`);
    const forger = await open(workspace.createUser('forger'));
    await forger.call('stream-notify-user', `${bob._id}/subscriptions-changed`, 'updated', {
      rid,
      E2ESuggestedKey: 'bogus',
    });
    expect(await socket.event(`${bob._id}/subscriptions-changed`)).toEqual([
      'updated',
      { rid, E2ESuggestedKey: 'bogus' },
    ]);
  });
});

describe('7.0: the old generation', () => {
  beforeEach(() => start({ version: '7.0' }));

  test('e2ekeyRequest reaches the other members on their own stream', async () => {
    const [asAnn, asBob] = [await open(ann), await open(bob)];
    await asAnn.sub('stream-notify-user', `${ann._id}/e2ekeyRequest`);
    await asBob.sub('stream-notify-user', `${bob._id}/e2ekeyRequest`);
    await asBob.call('stream-notify-room-users', `${rid}/e2ekeyRequest`, rid, 'key id');
    expect(await asAnn.event(`${ann._id}/e2ekeyRequest`)).toEqual([rid, 'key id']);
    await asBob.settled();
    expect(asBob.events(`${bob._id}/e2ekeyRequest`)).toEqual([]);
    const stranger = await open(workspace.createUser('stranger'));
    await stranger.call('stream-notify-room-users', `${rid}/e2ekeyRequest`, rid, 'forged');
    await asAnn.settled();
    expect(asAnn.events(`${ann._id}/e2ekeyRequest`)).toHaveLength(1);
  });

  test('the DDP twins of e2e.*', async () => {
    const socket = await open(ann);
    const pair = { public_key: 'p', private_key: 'q' };
    expect((await socket.call('e2e.setUserPublicAndPrivateKeys', pair)).error).toBeUndefined();
    expect((await socket.call('e2e.fetchMyKeys')).result).toEqual(pair);
    await socket.call('e2e.setRoomKeyID', rid, 'id');
    const again = await socket.call('e2e.setRoomKeyID', rid, 'other');
    expect(again.error.error).toBe('error-room-e2e-key-already-exists');
    await socket.call('e2e.updateGroupKey', rid, bob._id, 'suggested');
    expect(workspace.subscription(rid, bob._id)?.E2ESuggestedKey).toBe('suggested');
    const without = await socket.call('e2e.getUsersOfRoomWithoutKey', rid);
    expect(without.result).toEqual({ users: [{ _id: ann._id, e2e: { public_key: 'p' } }] });
    await socket.sub('stream-notify-room', `${rid}/e2e.keyRequest`);
    const other = await open(bob);
    expect((await other.call('e2e.requestSubscriptionKeys')).result).toBe(true);
    expect(await socket.event(`${rid}/e2e.keyRequest`)).toEqual(['id']);
  });

  test('resetOwnE2EKey: second factor last, the session is killed', async () => {
    const socket = await open(ann);
    await socket.sub('stream-notify-user', `${ann._id}/force_logout`);
    expect((await socket.call('e2e.resetOwnE2EKey')).error.error).toBe('totp-required');
    const { createHash } = await import('node:crypto');
    const twoFactorCode = createHash('sha256').update(ann.password).digest('hex');
    socket.send({
      msg: 'method',
      id: 'reset',
      method: 'e2e.resetOwnE2EKey',
      params: [{ twoFactorCode, twoFactorMethod: 'password' }],
    });
    await socket.until(() => socket.closed);
    expect(socket.events(`${ann._id}/force_logout`)).toHaveLength(1);
    expect(workspace.user(ann._id).services.resume.loginTokens).toEqual([]);
  });

  test('sendMessage takes its keys and no other', async () => {
    const socket = await open(ann);
    const message = { _id: 'm', rid, t: 'e2e', e2e: 'pending', content: CONTENT };
    const { result } = await socket.call('sendMessage', message);
    expect(result).toMatchObject({ _id: 'm', msg: '', content: CONTENT });
    for (const extra of [{ attachments: [] }, { alias: 'x' }, { content: 'text' }]) {
      const { error } = await socket.call('sendMessage', { ...message, _id: 'x', ...extra });
      expect(error).toMatchObject({ error: 400, reason: 'Match failed' });
    }
    const plain = await socket.call('sendMessage', { rid, msg: 'plain' });
    expect(plain.error.error).toBe('error-not-allowed');
    // Every other failure looks like success.
    const long = await socket.call('sendMessage', { ...message, _id: 'x', msg: 'x'.repeat(5001) });
    expect(long).toEqual({ msg: 'result', id: long.id });
    expect(workspace.messagesIn(rid)).toHaveLength(1);
  });

  test('sendMessage: five per second, unless send-many-messages', async () => {
    await workspace.close();
    await start({ version: '7.0', rateLimits: {} });
    const bot = workspace.createUser('robot', { roles: ['bot'] });
    workspace.addMember(rid, bot);
    for (const [account, refused] of [
      [ann, 1],
      [bot, 0],
    ] as const) {
      const socket = await open(account);
      const results: Frame[] = [];
      for (let i = 0; i < 6; i += 1) {
        results.push(await socket.call('sendMessage', { rid, t: 'e2e', content: CONTENT }));
      }
      const errors = results.filter(({ error }) => error !== undefined);
      expect(errors).toHaveLength(refused);
      if (refused) expect(errors[0].error).toMatchObject({ error: 'too-many-requests' });
    }
    clock.advance(1000);
    const socket = await open(ann);
    const { error } = await socket.call('sendMessage', { rid, t: 'e2e', content: CONTENT });
    expect(error).toBeUndefined();
  });

  test('methods: ten in ten seconds, each, for a connection', async () => {
    await workspace.close();
    await start({ version: '7.0', rateLimits: {} });
    const socket = await open(ann);
    for (let i = 0; i < 10; i += 1) await socket.call('e2e.fetchMyKeys');
    const { error } = await socket.call('e2e.fetchMyKeys');
    expect(error).toMatchObject({ error: 'too-many-requests', details: { timeToReset: 10_000 } });
    expect((await socket.call('e2e.setRoomKeyID', rid, 'id')).error).toBeUndefined();
    expect((await (await open(ann)).call('e2e.fetchMyKeys')).error).toBeUndefined();
    clock.advance(10_000);
    expect((await socket.call('e2e.fetchMyKeys')).error).toBeUndefined();
  });
});

describe('8.8: what is gone', () => {
  beforeEach(() => start());

  test('e2ekeyRequest is dropped silently', async () => {
    const [asAnn, asBob] = [await open(ann), await open(bob)];
    await asAnn.sub('stream-notify-user', `${ann._id}/e2ekeyRequest`);
    const { error } = await asBob.call(
      'stream-notify-room-users',
      `${rid}/e2ekeyRequest`,
      rid,
      'i',
    );
    expect(error).toBeUndefined();
    await asAnn.settled();
    expect(asAnn.events(`${ann._id}/e2ekeyRequest`)).toEqual([]);
  });

  test.each([
    'sendMessage',
    'e2e.setUserPublicAndPrivateKeys',
    'e2e.requestSubscriptionKeys',
    'e2e.resetOwnE2EKey',
    'deleteOldOTRMessages',
    'updateOTRAck',
  ])('%s', async (method) => {
    const socket = await open(ann);
    expect((await socket.call(method)).error.error).toBe(404);
  });
});

describe('off the record', () => {
  const sealed = '{"$binary":"c2VjcmV0"}';
  let dm: string;

  beforeEach(async () => {
    await start({ version: '7.0' });
    dm = workspace.createRoom('d', [ann, bob])._id;
  });

  test('control events reach the peer, while the setting is on', async () => {
    const [asAnn, asBob] = [await open(ann), await open(bob)];
    await asBob.sub('stream-notify-user', `${bob._id}/otr`);
    const data = { roomId: dm, userId: ann._id, publicKey: '{"kty":"EC"}' };
    await asAnn.call('stream-notify-user', `${bob._id}/otr`, 'handshake', data);
    expect(await asBob.event(`${bob._id}/otr`)).toEqual(['handshake', data]);
    workspace.setSetting('OTR_Enable', false);
    const { error } = await asAnn.call('stream-notify-user', `${bob._id}/otr`, 'handshake', data);
    expect(error.error).toBe('not-allowed');
    await asBob.settled();
    expect(asBob.events(`${bob._id}/otr`)).toHaveLength(1);
  });

  test.each([
    ['otrAck', 'cmVjZWlwdA=='],
    ['otr', { ack: 'cmVjZWlwdA==' }],
  ] as const)(
    'a message is streamed, not stored; its receipt comes as %s',
    async (field, value) => {
      await workspace.close();
      await start({ version: '7.0', quirks: { otrReceipt: field } });
      dm = workspace.createRoom('d', [ann, bob])._id;
      const [asAnn, asBob] = [await open(ann), await open(bob)];
      await asAnn.sub('stream-room-messages', dm);
      await asBob.sub('stream-room-messages', dm);
      await asAnn.call('sendMessage', { _id: 'o', rid: dm, t: 'otr', msg: sealed });
      const [message] = await asBob.event(dm);
      expect(message).toMatchObject({ _id: 'o', t: 'otr', msg: sealed, u: { _id: ann._id } });
      expect(workspace.messagesIn(dm)).toEqual([]);
      expect(workspace.room(dm).msgs).toBe(0);
      const reply = await asBob.call('updateOTRAck', { message, ack: 'cmVjZWlwdA==' });
      expect(reply.error).toBeUndefined();
      const [receipt] = await asAnn.event(dm, 1);
      expect(receipt).toEqual({ ...message, [field]: value });
    },
  );

  test('updateOTRAck checks the message and the room', async () => {
    const asBob = await open(bob);
    await asBob.sub('stream-room-messages', dm);
    await (await open(ann)).call('sendMessage', { _id: 'o', rid: dm, t: 'otr', msg: sealed });
    const [message] = await asBob.event(dm);
    const code = async (change: object, socket = asBob) =>
      (await socket.call('updateOTRAck', { message: { ...message, ...change }, ack: 'a' })).error
        .error;
    expect(await code({ extra: 1 })).toBe(400);
    expect(await code({ u: { _id: ann._id } })).toBe(400);
    expect(await code({ urls: undefined })).toBe(400);
    expect(await code({ t: 'e2e' })).toBe('error-invalid-message');
    expect(await code({ rid: 'nowhere' })).toBe('error-invalid-room');
    expect(await code({ u: { _id: 'x', username: 'x', name: 'x' } })).toBe('error-invalid-user');
    const stranger = await open(workspace.createUser('stranger'));
    expect(await code({}, stranger)).toBe('error-invalid-user');
  });

  test('notices are stored, until deleteOldOTRMessages', async () => {
    const rest = new Rest(workspace, ann);
    await rest.post('chat.otr', { roomId: dm, type: 'user_joined_otr' });
    expect(workspace.messagesIn(dm)).toMatchObject([{ t: 'user_joined_otr', msg: 'ann' }]);
    await rest.post('chat.sendMessage', { message: { rid: dm, msg: 'stays' } });
    const bad = await rest.post('chat.otr', { roomId: dm, type: 'other' });
    expect(bad.body.errorType).toBe('invalid-params');
    const socket = await open(bob);
    await socket.call('deleteOldOTRMessages', dm);
    expect(workspace.messagesIn(dm).map(({ msg }) => msg)).toEqual(['stays']);
    expect((await socket.call('deleteOldOTRMessages', rid)).error.error).toBe('error-invalid-room');
  });

  test('8.8 has neither the route nor the type', async () => {
    await workspace.close();
    await start();
    dm = workspace.createRoom('d', [ann, bob])._id;
    const rest = new Rest(workspace, ann);
    expect((await rest.post('chat.otr', { roomId: dm, type: 'user_joined_otr' })).status).toBe(404);
    await rest.post('chat.sendMessage', { message: { rid: dm, t: 'otr', msg: sealed } });
    expect(workspace.messagesIn(dm)).toHaveLength(1); // an ordinary message, and stored
  });
});
