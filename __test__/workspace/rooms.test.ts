import { ManualClock } from './clock';
import { Rest, Socket } from './probe';
import { type Account, Workspace, type WorkspaceOptions } from './server';

let workspace: Workspace;
let clock: ManualClock;
let ann: Account;
let bob: Account;
let asAnn: Rest;
let asBob: Rest;

async function start(options: Partial<WorkspaceOptions> = {}): Promise<void> {
  clock = new ManualClock();
  workspace = await Workspace.start({ version: '8.8', clock, rateLimits: false, ...options });
  ann = workspace.createUser('ann');
  bob = workspace.createUser('bob');
  asAnn = new Rest(workspace, ann);
  asBob = new Rest(workspace, bob);
}

const group = (name: string, encrypted?: boolean) =>
  asAnn.post('groups.create', {
    name,
    members: ['bob'],
    ...(encrypted !== undefined && { extraData: { broadcast: false, encrypted } }),
  });

afterEach(() => workspace.close());

describe('creation', () => {
  test('`encrypted` is inside extraData; members from the start are not queued', async () => {
    await start();
    await asBob.post('e2e.setUserPublicAndPrivateKeys', { public_key: 'p', private_key: 'q' });
    const { body } = await group('one', true);
    expect(body.group).toMatchObject({ t: 'p', name: 'one', encrypted: true, usersCount: 2 });
    expect(workspace.room(body.group._id)).not.toHaveProperty('usersWaitingForE2EKeys');
    expect(workspace.subscription(body.group._id, ann._id)?.roles).toEqual(['owner']);
    const beside = await asAnn.post('groups.create', { name: 'two', encrypted: true });
    expect(beside.body.errorType).toBe('invalid-params');
    const half = await asAnn.post('groups.create', { name: 'two', extraData: { encrypted: true } });
    expect(half.body.error).toBe("must have required property 'broadcast'");
    expect((await group('one')).body.errorType).toBe('error-duplicate-channel-name');
  });

  test('defaults of the workspace, for groups and for direct rooms', async () => {
    await start({
      settings: { E2E_Enabled_Default_PrivateRooms: true, E2E_Enabled_Default_DirectRooms: true },
    });
    expect((await group('one')).body.group.encrypted).toBe(true);
    expect((await group('two', false)).body.group.encrypted).toBe(false);
    const direct = await asAnn.post('im.create', { username: 'bob' });
    expect(direct.body.room).toMatchObject({ t: 'd', encrypted: true, usernames: ['ann', 'bob'] });
    expect(direct.body.room.rid).toBe(direct.body.room._id);
    workspace.setSetting('E2E_Enable', false);
    expect((await group('three')).body.group).not.toHaveProperty('encrypted');
  });

  test('a direct room of the same two is the same room', async () => {
    await start();
    const one = (await asAnn.post('im.create', { username: 'bob' })).body.room._id;
    expect((await asBob.post('im.create', { usernames: 'ann' })).body.room._id).toBe(one);
    const unknown = await asAnn.post('im.create', { username: 'nobody' });
    expect(unknown.body.errorType).toBe('error-invalid-user');
  });

  test('8.8: private rooms can be made to be encrypted', async () => {
    await start({ settings: { E2E_Force_Encryption_For_Private_Rooms: true } });
    expect((await group('one')).body.group.encrypted).toBe(true);
    const refused = await group('two', false);
    expect(refused.body.errorType).toBe('error-encrypted-private-rooms-enforced');
    const parent = workspace.createRoom('p', [ann], { encrypted: true })._id;
    workspace.editRoom(parent, (room) => {
      room.encrypted = false;
    });
    const discussion = { prid: parent, t_name: 'talk', encrypted: true };
    expect((await asAnn.post('rooms.createDiscussion', discussion)).body.errorType).toBe(
      'error-encrypted-private-rooms-enforced',
    );
  });

  test('7.0 knows no such setting', async () => {
    await start({ version: '7.0' });
    workspace.setSetting('E2E_Force_Encryption_For_Private_Rooms', true);
    expect((await group('two', false)).body.group.encrypted).toBe(false);
  });

  test('discussions', async () => {
    await start();
    const parent = workspace.createRoom('p', [ann, bob], { encrypted: true })._id;
    const { body } = await asBob.post('rooms.createDiscussion', {
      prid: parent,
      t_name: 'talk',
      encrypted: true,
    });
    expect(body.discussion).toMatchObject({ prid: parent, fname: 'talk', encrypted: true, t: 'p' });
    const [announced] = workspace.messagesIn(parent);
    expect(announced).toMatchObject({ t: 'discussion-created', drid: body.discussion._id });
    // A member of the parent can access it without being in it.
    expect((await asAnn.get('rooms.info', { roomId: body.discussion._id })).status).toBe(200);
    const withReply = { prid: parent, t_name: 'x', encrypted: true, reply: 'plain' };
    expect((await asBob.post('rooms.createDiscussion', withReply)).body.errorType).toBe(
      'error-invalid-arguments',
    );
  });
});

describe('switching encryption', () => {
  test.each([
    ['groups.setEncrypted', 'roomId'],
    ['rooms.saveRoomSettings', 'rid'],
  ])('%s: system messages, keys left alone', async (route, key) => {
    await start();
    const room = workspace.createRoom('p', [ann, bob])._id;
    workspace.editSubscription(room, bob._id, (sub) => {
      sub.autoTranslate = true;
    });
    expect((await asAnn.post(route, { [key]: room, encrypted: true })).status).toBe(200);
    workspace.editRoom(room, (stored) => {
      stored.e2eKeyId = 'kept';
    });
    expect(workspace.subscription(room, bob._id)).not.toHaveProperty('autoTranslate');
    clock.advance(1);
    expect((await asAnn.post(route, { [key]: room, encrypted: false })).status).toBe(200);
    expect(workspace.room(room)).toMatchObject({ encrypted: false, e2eKeyId: 'kept' });
    expect(workspace.messagesIn(room).map(({ t, msg }) => [t, msg])).toEqual([
      ['room_e2e_enabled', 'ann'],
      ['room_e2e_disabled', 'ann'],
    ]);
    const refused = await asBob.post(route, { [key]: room, encrypted: true });
    expect(refused.body.errorType).toBe('error-action-not-allowed');
  });

  test('a participant of a direct room needs no permission; other types are refused', async () => {
    await start();
    const direct = workspace.createRoom('d', [ann, bob])._id;
    const settings = { rid: direct, encrypted: true };
    expect((await asBob.post('rooms.saveRoomSettings', settings)).body).toEqual({
      success: true,
      rid: direct,
    });
    expect(workspace.room(direct).encrypted).toBe(true);
    const channel = workspace.createRoom('c', [ann])._id;
    const refused = await asAnn.post('rooms.saveRoomSettings', { rid: channel, encrypted: true });
    expect(refused.body.errorType).toBe('error-action-not-allowed');
    expect((await asAnn.post('groups.setEncrypted', { roomId: 'none' })).body.errorType).toBe(
      'error-room-not-found',
    );
  });
});

describe('members', () => {
  test('invite, members, leave', async () => {
    await start();
    const carl = workspace.createUser('carl');
    const room = workspace.createRoom('p', [ann], { encrypted: true })._id;
    expect((await asBob.post('groups.invite', { roomId: room, userId: carl._id })).status).toBe(
      400,
    );
    await asAnn.post('groups.invite', { roomId: room, usernames: ['bob', 'carl'] });
    const refused = await asBob.post('groups.kick', { roomId: room, userId: carl._id });
    expect(refused.body.errorType).toBe('error-not-allowed');
    const members = await asBob.get('groups.members', { roomId: room, count: 2 });
    expect(members.body).toMatchObject({ count: 2, offset: 0, total: 3 });
    expect(members.body.members[1]).toEqual({
      _id: bob._id,
      username: 'bob',
      name: 'Bob',
      status: 'online',
    });
    expect((await asBob.post('groups.leave', { roomId: room })).body).toEqual({ success: true });
    expect(workspace.room(room).usersCount).toBe(2);
    expect((await asBob.get('groups.members', { roomId: room })).status).toBe(400);
    expect(workspace.messagesIn(room).map(({ t, msg }) => `${t} ${msg}`)).toEqual([
      'au bob',
      'au carl',
      'ul bob',
    ]);
  });

  test('events of coming and going', async () => {
    await start();
    const room = workspace.createRoom('p', [ann], { encrypted: true });
    const socket = await Socket.connect(workspace, bob);
    const [subs, rooms] = [`${bob._id}/subscriptions-changed`, `${bob._id}/rooms-changed`];
    await socket.sub('stream-notify-user', subs);
    await socket.sub('stream-notify-user', rooms);
    workspace.addMember(room._id, bob, ann);
    const [inserted, sub] = await socket.event(subs);
    expect([inserted, sub.rid, sub.u._id]).toEqual(['inserted', room._id, bob._id]);
    expect((await socket.event(rooms))[0]).toBe('inserted');
    workspace.removeMember(room._id, bob, ann);
    await socket.until(() => socket.events(subs).some(([action]) => action === 'removed'));
    expect(socket.events(subs).at(-1)).toEqual([
      'removed',
      { _id: sub._id, u: sub.u, rid: room._id, t: 'p' },
    ]);
    socket.close();
  });
});

describe('what is returned, and what is missing', () => {
  let rid: string;
  const old = [{ e2eKeyId: 'i', ts: new Date(0), E2EKey: 'k' }];

  async function prepare(version: '7.0' | '8.8'): Promise<void> {
    await start({ version });
    rid = workspace.createRoom('p', [ann, bob], { encrypted: true })._id;
    workspace.editRoom(rid, (room) => {
      room.e2eKeyId = 'id';
      room.usersWaitingForE2EKeys = [{ userId: bob._id, ts: new Date(0) }];
    });
    workspace.editSubscription(rid, ann._id, (sub) => {
      sub.E2EKey = 'key';
      sub.E2ESuggestedKey = 'suggested';
      sub.oldRoomKeys = old;
      sub.suggestedOldRoomKeys = old;
    });
  }

  test('8.8: subscriptions.get', async () => {
    await prepare('8.8');
    const { body } = await asAnn.get('subscriptions.get');
    expect(body.remove).toEqual([]);
    expect(body.update).toHaveLength(1);
    const [sub] = body.update;
    expect(sub).toMatchObject({
      rid,
      E2EKey: 'key',
      E2ESuggestedKey: 'suggested',
      oldRoomKeys: [{ e2eKeyId: 'i', ts: '1970-01-01T00:00:00.000Z', E2EKey: 'k' }],
    });
    for (const missing of ['suggestedOldRoomKeys', 'encrypted', 'e2eKeyId']) {
      expect(sub).not.toHaveProperty(missing);
    }
  });

  test('7.0: subscriptions.get has no oldRoomKeys either', async () => {
    await prepare('7.0');
    const { body } = await asAnn.get('subscriptions.get');
    expect(body.update[0].E2EKey).toBe('key');
    expect(body.update[0]).not.toHaveProperty('oldRoomKeys');
    const one = await asAnn.get('subscriptions.getOne', { roomId: rid });
    expect(one.body.subscription.oldRoomKeys).toHaveLength(1);
  });

  test('subscriptions.getOne: the whole document, or null', async () => {
    await prepare('8.8');
    const { body } = await asAnn.get('subscriptions.getOne', { roomId: rid });
    expect(body.subscription.suggestedOldRoomKeys).toHaveLength(1);
    const none = await asAnn.get('subscriptions.getOne', { roomId: 'elsewhere' });
    expect(none.body).toEqual({ success: true, subscription: null });
  });

  test('rooms.get and rooms.info', async () => {
    await prepare('8.8');
    const { body } = await asAnn.get('rooms.get');
    const fields = {
      _id: rid,
      encrypted: true,
      e2eKeyId: 'id',
      usersWaitingForE2EKeys: [{ userId: bob._id, ts: '1970-01-01T00:00:00.000Z' }],
    };
    expect(body.update).toMatchObject([fields]);
    const info = await asBob.get('rooms.info', { roomId: rid });
    expect(info.body.room).toMatchObject(fields);
    const stranger = new Rest(workspace, workspace.createUser('stranger'));
    expect((await stranger.get('rooms.info', { roomId: rid })).status).toBe(400);
    expect((await stranger.get('rooms.get')).body.update).toEqual([]);
  });

  test('updatedSince: what changed after it; a removed subscription is an id alone', async () => {
    await prepare('8.8');
    const other = workspace.createRoom('p', [ann, bob])._id;
    const subId = workspace.subscription(other, bob._id)?._id;
    const updatedSince = new Date(clock.now()).toISOString();
    expect((await asBob.get('subscriptions.get', { updatedSince })).body).toMatchObject({
      update: [],
      remove: [],
    });
    clock.advance(10);
    workspace.editSubscription(rid, bob._id, (sub) => {
      sub.E2EKey = 'new';
    });
    workspace.removeMember(other, bob, ann);
    const { body } = await asBob.get('subscriptions.get', { updatedSince });
    expect(body.update).toMatchObject([{ rid, E2EKey: 'new' }]);
    expect(body.remove).toEqual([{ _id: subId, _deletedAt: new Date(clock.now()).toISOString() }]);
    expect((await asBob.get('rooms.get', { updatedSince })).body.update).toEqual([]);
    const invalid = await asBob.get('rooms.get', { updatedSince: 'never' });
    expect(invalid.body.errorType).toBe('error-updatedSince-param-invalid');
  });

  test('nobody sees the keys of a user in its profile', async () => {
    await prepare('8.8');
    await asBob.post('e2e.setUserPublicAndPrivateKeys', { public_key: 'p', private_key: 'q' });
    const { body } = await asAnn.get('users.info', { username: 'bob' });
    expect(body.user).toMatchObject({ _id: bob._id, username: 'bob', type: 'user' });
    expect(body.user).not.toHaveProperty('e2e');
    expect(body.user).not.toHaveProperty('services');
    expect((await asBob.get('me')).body).not.toHaveProperty('e2e');
    expect((await asAnn.get('users.info', { userId: 'none' })).status).toBe(400);
  });
});

describe('settings.public and info', () => {
  test('a page of 50 ends before the first setting of ours', async () => {
    await start();
    const anybody = new Rest(workspace);
    const { body } = await anybody.get('settings.public');
    expect(body).toMatchObject({ count: 50, offset: 0 });
    expect(body.settings.some(({ _id }: { _id: string }) => _id.startsWith('E2E_'))).toBe(false);
    const all = await anybody.get('settings.public', { count: 0 });
    expect(all.body.settings).toHaveLength(body.total);
    const some = await anybody.get('settings.public', { _id: 'E2E_Enable,Site_Url' });
    expect(some.body.settings).toEqual([
      { _id: 'E2E_Enable', value: true },
      { _id: 'Site_Url', value: '' },
    ]);
  });

  test.each([
    ['7.0', '7.0', ['OTR_Enable']],
    ['8.8', '8.8', ['E2E_Force_Encryption_For_Private_Rooms']],
  ] as const)('%s', async (version, reported, own) => {
    await start({ version });
    const anybody = new Rest(workspace);
    expect((await anybody.get('info')).body).toEqual({ success: true, version: reported });
    expect((await anybody.fetch('/api/info', {})).body.version).toBe(reported);
    const _id = 'OTR_Enable,E2E_Force_Encryption_For_Private_Rooms';
    const { body } = await anybody.get('settings.public', { _id });
    expect(body.settings.map((setting: { _id: string }) => setting._id)).toEqual(own);
  });
});

describe('login', () => {
  test('by name, address, token; plain or hashed; logout ends it', async () => {
    await start();
    const anybody = new Rest(workspace);
    const digest = '5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8';
    workspace.createUser('pat', { password: 'password' });
    for (const body of [
      { user: 'pat', password: 'password' },
      { username: 'pat', password: 'password' },
      { user: 'pat@example.test', password: { digest, algorithm: 'sha-256' } },
      { resume: workspace.createToken(ann._id) },
    ]) {
      const reply = await anybody.post('login', body);
      expect(reply.status).toBe(200);
      expect(reply.body.status).toBe('success');
      expect(reply.body).not.toHaveProperty('success');
      const { userId, authToken } = reply.body.data;
      const account = { ...ann, _id: userId, authToken };
      const logged = new Rest(workspace, account);
      expect((await logged.get('me')).body._id).toBe(userId);
      expect((await logged.post('logout')).status).toBe(200);
      expect((await logged.get('me')).status).toBe(401);
    }
  });

  test('wrong password, unknown user, app user', async () => {
    await start();
    workspace.createUser('app.bot', { type: 'app', password: 'p', roles: ['app'] });
    const anybody = new Rest(workspace);
    for (const body of [
      { user: 'ann', password: 'wrong' },
      { user: 'nobody', password: 'x' },
      { resume: 'x' },
    ]) {
      const reply = await anybody.post('login', body);
      expect(reply.status).toBe(401);
      expect(reply.body).toEqual({
        status: 'error',
        error: 'Unauthorized',
        message: 'Unauthorized',
      });
    }
    const app = await anybody.post('login', { user: 'app.bot', password: 'p' });
    expect(app.status).toBe(401);
    expect(app.body.error).toBe('error-app-user-is-not-allowed-to-login');
  });

  test.each([
    ['7.0', { status: 'error', message: 'You must be logged in to do this.' }],
    ['8.8', 'Unauthorized'],
  ] as const)('%s: a request without a login', async (version, body) => {
    await start({ version });
    const reply = await new Rest(workspace, { ...ann, authToken: 'wrong' }).get('me');
    expect(reply.status).toBe(401);
    expect(reply.body).toEqual(body);
  });
});
