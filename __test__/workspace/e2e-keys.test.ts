import { ManualClock } from './clock';
import { Rest, Socket } from './probe';
import { type Account, Workspace, type WorkspaceOptions } from './server';

const PUBLIC = '{"kty":"RSA","n":"public"}';
const PRIVATE = '{"$binary":"private"}';

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

const setKeys = (who: Rest) =>
  who.post('e2e.setUserPublicAndPrivateKeys', { public_key: PUBLIC, private_key: PRIVATE });

const queueOf = (rid: string) => workspace.room(rid).usersWaitingForE2EKeys?.map((w) => w.userId);

afterEach(() => workspace.close());

describe('user keys', () => {
  beforeEach(() => start());

  test('are absent at first, then both strings', async () => {
    expect((await asAnn.get('e2e.fetchMyKeys')).body).toEqual({ success: true });
    expect((await setKeys(asAnn)).body).toEqual({ success: true });
    expect((await asAnn.get('e2e.fetchMyKeys')).body).toEqual({
      success: true,
      public_key: PUBLIC,
      private_key: PRIVATE,
    });
  });

  test('are not overwritten without force', async () => {
    await setKeys(asAnn);
    const body = { public_key: 'other', private_key: 'other' };
    const refused = await asAnn.post('e2e.setUserPublicAndPrivateKeys', body);
    expect(refused.status).toBe(400);
    expect(refused.body).toEqual({
      success: false,
      error: 'Keys already set [error-keys-already-set]',
      errorType: 'error-keys-already-set',
      details: { method: 'e2e.setUserPublicAndPrivateKeys' },
    });
    await asAnn.post('e2e.setUserPublicAndPrivateKeys', { ...body, force: true });
    expect(workspace.user(ann._id).e2e).toEqual(body);
  });

  test('put their user in the queue of encrypted rooms whose key it lacks', async () => {
    const waiting = workspace.createRoom('p', [ann, bob], { encrypted: true });
    const holding = workspace.createRoom('p', [ann, bob], { encrypted: true });
    const plain = workspace.createRoom('p', [ann, bob]);
    workspace.editSubscription(holding._id, bob._id, (sub) => {
      sub.E2EKey = 'key';
    });
    const socket = await Socket.connect(workspace, ann);
    await socket.sub('stream-notify-user', `${ann._id}/rooms-changed`);
    await setKeys(asBob);
    expect(queueOf(waiting._id)).toEqual([bob._id]);
    expect(queueOf(holding._id)).toBeUndefined();
    expect(queueOf(plain._id)).toBeUndefined();
    const [action, room] = await socket.event(`${ann._id}/rooms-changed`);
    expect(action).toBe('updated');
    expect(room).toMatchObject({
      _id: waiting._id,
      encrypted: true,
      usersWaitingForE2EKeys: [{ userId: bob._id, ts: new Date(clock.now()) }],
    });
    await socket.settled();
    expect(socket.events(`${ann._id}/rooms-changed`)).toHaveLength(1);
    socket.close();
  });
});

describe('schemas', () => {
  const cases: [string, unknown, string][] = [
    ['e2e.setRoomKeyID', { rid: 'r' }, "must have required property 'keyID'"],
    ['e2e.setRoomKeyID', { rid: 'r', keyID: 5 }, 'must be string'],
    ['e2e.setRoomKeyID', { rid: 'r', keyID: 'k', x: 1 }, 'must NOT have additional properties'],
    ['e2e.updateGroupKey', { rid: 'r', key: 'k' }, "must have required property 'uid'"],
    ['e2e.acceptSuggestedGroupKey', {}, "must have required property 'rid'"],
    ['e2e.rejectSuggestedGroupKey', { rid: 'r', x: 1 }, 'must NOT have additional properties'],
    ['e2e.resetRoomKey', { rid: 'r', e2eKey: 'k' }, "must have required property 'e2eKeyId'"],
    [
      'e2e.provideUsersSuggestedGroupKeys',
      { usersSuggestedGroupKeys: { r: [{ _id: 'u', key: 'k', extra: 1 }] } },
      'must NOT have additional properties',
    ],
    [
      'e2e.provideUsersSuggestedGroupKeys',
      { usersSuggestedGroupKeys: { r: [{ _id: 'u', key: 'k', oldKeys: [{ ts: 5 }] }] } },
      'must be string',
    ],
    [
      'e2e.setUserPublicAndPrivateKeys',
      { public_key: 'p', private_key: 'q', force: 'true' },
      'must be boolean',
    ],
  ];

  test.each(cases)('8.8: %s refuses %j', async (route, body, error) => {
    await start();
    const reply = await asAnn.post(route, body);
    expect(reply.status).toBe(400);
    expect(reply.body).toEqual({ success: false, errorType: 'invalid-params', error });
  });

  test('8.8: are looked at before the login, and a query has a code of its own', async () => {
    await start();
    const reply = await new Rest(workspace).get('e2e.getUsersOfRoomWithoutKey', { rid: 'r', x: 1 });
    expect(reply.status).toBe(400);
    expect(reply.body.errorType).toBe('error-invalid-params');
  });

  test('7.0: a thrown Meteor error, after the login; extra keys are let through', async () => {
    await start({ version: '7.0' });
    const missing = await asAnn.post('e2e.setRoomKeyID', { rid: 'r' });
    expect(missing.body).toEqual({
      success: false,
      error: "must have required property 'keyID' [invalid-params]",
      errorType: 'invalid-params',
    });
    expect((await new Rest(workspace).post('e2e.setRoomKeyID', {})).status).toBe(401);
    const room = workspace.createRoom('p', [ann], { encrypted: true });
    const extra = { rid: room._id, keyID: 'k', x: 1 };
    expect((await asAnn.post('e2e.setRoomKeyID', extra)).status).toBe(200);
  });
});

describe('setRoomKeyID', () => {
  test('sets the id once and nothing else', async () => {
    await start();
    const room = workspace.createRoom('p', [ann], { encrypted: false });
    const before = workspace.subscription(room._id, ann._id);
    const body = { rid: room._id, keyID: 'first' };
    expect((await asAnn.post('e2e.setRoomKeyID', body)).body).toEqual({ success: true });
    expect(workspace.room(room._id)).toMatchObject({ e2eKeyId: 'first', encrypted: false });
    expect(workspace.subscription(room._id, ann._id)).toEqual(before);
    const again = await asAnn.post('e2e.setRoomKeyID', { rid: room._id, keyID: 'second' });
    expect(again.body.errorType).toBe('error-room-e2e-key-already-exists');
    expect(workspace.room(room._id).e2eKeyId).toBe('first');
  });

  test('refuses a room one cannot access, and one that is not there', async () => {
    await start();
    const room = workspace.createRoom('p', [ann], { encrypted: true });
    for (const rid of [room._id, 'nowhere']) {
      const reply = await asBob.post('e2e.setRoomKeyID', { rid, keyID: 'k' });
      expect(reply.body).toMatchObject({ errorType: 'error-invalid-room' });
    }
  });

  test('7.0: two creators can both win, the later write stays', async () => {
    await start({ version: '7.0' });
    const room = workspace.createRoom('p', [ann, bob], { encrypted: true });
    const inside: string[] = [];
    let open: () => void = () => undefined;
    const both = new Promise<void>((resolve) => {
      open = resolve;
    });
    workspace.gaps.setRoomKeyID = async (_rid, keyId) => {
      inside.push(keyId);
      if (inside.length === 2) open();
      await both;
    };
    const replies = await Promise.all([
      asAnn.post('e2e.setRoomKeyID', { rid: room._id, keyID: 'of ann' }),
      asBob.post('e2e.setRoomKeyID', { rid: room._id, keyID: 'of bob' }),
    ]);
    expect(replies.map(({ status }) => status)).toEqual([200, 200]);
    expect(workspace.room(room._id).e2eKeyId).toBe(inside[1]);
  });

  test('8.8: one of many creators wins', async () => {
    await start();
    const room = workspace.createRoom('p', [ann, bob], { encrypted: true });
    workspace.gaps.setRoomKeyID = () => Promise.reject(new Error('never waits'));
    const replies = await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        (i % 2 ? asAnn : asBob).post('e2e.setRoomKeyID', { rid: room._id, keyID: `${i}` }),
      ),
    );
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(1);
    const lost = replies.filter(({ body }) => body.errorType);
    expect(lost.map(({ body }) => body.errorType)).toEqual(
      Array(7).fill('error-room-e2e-key-already-exists'),
    );
  });
});

describe('keys of members', () => {
  let rid: string;

  beforeEach(async () => {
    await start();
    rid = workspace.createRoom('p', [ann], { encrypted: true })._id;
    await setKeys(asAnn);
    await setKeys(asBob);
  });

  test('updateGroupKey: own key at once, somebody else gets a suggestion', async () => {
    workspace.addMember(rid, bob, ann);
    expect(queueOf(rid)).toEqual([ann._id, bob._id]);
    await asAnn.post('e2e.updateGroupKey', { uid: ann._id, rid, key: 'wrapped for ann' });
    expect(workspace.subscription(rid, ann._id)?.E2EKey).toBe('wrapped for ann');
    expect(queueOf(rid)).toEqual([bob._id]);
    await asAnn.post('e2e.updateGroupKey', { uid: bob._id, rid, key: 'wrapped for bob' });
    const sub = workspace.subscription(rid, bob._id);
    expect(sub?.E2EKey).toBeUndefined();
    expect(sub?.E2ESuggestedKey).toBe('wrapped for bob');
    expect(queueOf(rid)).toEqual([bob._id]); // untouched
  });

  test('updateGroupKey of a stranger: success, and nothing done', async () => {
    const reply = await asBob.post('e2e.updateGroupKey', { uid: ann._id, rid, key: 'bogus' });
    expect(reply.body).toEqual({ success: true });
    expect(workspace.subscription(rid, ann._id)?.E2ESuggestedKey).toBeUndefined();
  });

  test('a user added to an encrypted room is queued only with a public key', async () => {
    const carl = workspace.createUser('carl');
    workspace.addMember(rid, carl, ann);
    workspace.addMember(rid, bob, ann);
    expect(queueOf(rid)).toEqual([ann._id, bob._id]);
  });

  test('with E2E_Enable off nobody is queued, and the distribution routes do nothing', async () => {
    workspace.setSetting('E2E_Enable', false);
    workspace.addMember(rid, bob, ann);
    expect(queueOf(rid)).toEqual([ann._id]);
    const waiting = await asAnn.get('e2e.fetchUsersWaitingForGroupKey', { roomIds: rid });
    expect(waiting.body).toEqual({ success: true, usersWaitingForE2EKeys: {} });
    const usersSuggestedGroupKeys = { [rid]: [{ _id: bob._id, key: 'k' }] };
    await asAnn.post('e2e.provideUsersSuggestedGroupKeys', { usersSuggestedGroupKeys });
    expect(workspace.subscription(rid, bob._id)?.E2ESuggestedKey).toBeUndefined();
  });

  test('the queue keeps the last 50', async () => {
    const users = Array.from({ length: 52 }, (_, i) => workspace.createUser(`user${i}`));
    for (const user of users) await setKeys(new Rest(workspace, user));
    for (const user of users) workspace.addMember(rid, user, ann);
    expect(queueOf(rid)).toEqual(users.slice(2).map(({ _id }) => _id));
    // … and 50 are served at a time, computed from the subscriptions: ann lacks the key as well.
    const reply = await asAnn.get('e2e.fetchUsersWaitingForGroupKey', { 'roomIds[]': rid });
    const served = reply.body.usersWaitingForE2EKeys[rid];
    expect(served).toHaveLength(50);
    expect(served[0]).toEqual({ _id: users[0]?._id, public_key: PUBLIC });
    const all = await asAnn.get('e2e.getUsersOfRoomWithoutKey', { rid });
    expect(all.body.users).toHaveLength(53);
    expect(all.body.users[0]).toEqual({ _id: ann._id, e2e: { public_key: PUBLIC } });
  });

  test('waiting users: without those who have a key or a suggestion, and the caller', async () => {
    const carl = workspace.createUser('carl');
    await setKeys(new Rest(workspace, carl));
    for (const user of [bob, carl, workspace.createUser('keyless')]) {
      workspace.addMember(rid, user, ann);
    }
    workspace.editSubscription(rid, bob._id, (sub) => {
      sub.E2ESuggestedKey = 'pending';
    });
    const reply = await asAnn.get('e2e.fetchUsersWaitingForGroupKey', { roomIds: rid });
    expect(reply.body.usersWaitingForE2EKeys).toEqual({
      [rid]: [{ _id: carl._id, public_key: PUBLIC }],
    });
    const without = await asAnn.get('e2e.getUsersOfRoomWithoutKey', { rid });
    expect(without.body.users.map(({ _id }: { _id: string }) => _id)).toEqual([
      ann._id,
      bob._id,
      carl._id,
    ]);
  });

  test('suggestions: stored with dates, served users leave the queue, room-changed', async () => {
    workspace.addMember(rid, bob, ann);
    workspace.editSubscription(rid, bob._id, (sub) => {
      sub.E2ESuggestedKey = 'to be overwritten';
    });
    const socket = await Socket.connect(workspace, bob);
    await socket.sub('stream-notify-user', `${bob._id}/subscriptions-changed`);
    await socket.sub('stream-notify-user', `${bob._id}/rooms-changed`);
    const oldKeys = [{ e2eKeyId: 'old', ts: '2026-03-02T10:00:00.000Z', E2EKey: 'oldwrapped' }];
    const reply = await asAnn.post('e2e.provideUsersSuggestedGroupKeys', {
      usersSuggestedGroupKeys: {
        [rid]: [
          { _id: bob._id, key: 'suggested', oldKeys },
          { _id: 'stranger', key: 'k' },
        ],
        elsewhere: [{ _id: bob._id, key: 'k' }],
      },
    });
    expect(reply.body).toEqual({ success: true });
    const stored = [{ ...oldKeys[0], ts: new Date('2026-03-02T10:00:00.000Z') }];
    expect(workspace.subscription(rid, bob._id)).toMatchObject({
      E2ESuggestedKey: 'suggested',
      suggestedOldRoomKeys: stored,
    });
    expect(queueOf(rid)).toEqual([ann._id]);
    const [action, sub] = await socket.event(`${bob._id}/subscriptions-changed`);
    expect(action).toBe('updated');
    expect(sub.E2ESuggestedKey).toBe('suggested');
    expect(sub.suggestedOldRoomKeys).toBeUndefined(); // not among the fields
    const [, room] = await socket.event(`${bob._id}/rooms-changed`);
    expect(room.usersWaitingForE2EKeys).toEqual([{ userId: ann._id, ts: expect.any(Date) }]);
    socket.close();
  });

  test('a room one cannot access is skipped silently', async () => {
    const usersSuggestedGroupKeys = { [rid]: [{ _id: ann._id, key: 'bogus' }] };
    const reply = await asBob.post('e2e.provideUsersSuggestedGroupKeys', {
      usersSuggestedGroupKeys,
    });
    expect(reply.body).toEqual({ success: true });
    expect(workspace.subscription(rid, ann._id)?.E2ESuggestedKey).toBeUndefined();
  });

  const old = (id: string) => ({ e2eKeyId: id, ts: new Date(0), E2EKey: `${id}wrapped` });

  test('accept: old keys only into an empty place; the queue field goes when empty', async () => {
    workspace.editSubscription(rid, ann._id, (sub) => {
      sub.E2ESuggestedKey = 'suggested';
      sub.suggestedOldRoomKeys = [old('a')];
    });
    expect((await asAnn.post('e2e.acceptSuggestedGroupKey', { rid })).body).toEqual({
      success: true,
    });
    const accepted = workspace.subscription(rid, ann._id);
    expect(accepted?.E2EKey).toBe('suggested');
    expect(accepted?.oldRoomKeys).toEqual([old('a')]);
    expect(accepted).not.toHaveProperty('E2ESuggestedKey');
    expect(accepted).not.toHaveProperty('suggestedOldRoomKeys');
    expect(workspace.room(rid)).not.toHaveProperty('usersWaitingForE2EKeys');
    workspace.editSubscription(rid, ann._id, (sub) => {
      sub.E2ESuggestedKey = 'next';
      sub.suggestedOldRoomKeys = [old('b')];
    });
    await asAnn.post('e2e.acceptSuggestedGroupKey', { rid });
    expect(workspace.subscription(rid, ann._id)).toMatchObject({
      E2EKey: 'next',
      oldRoomKeys: [old('a')],
    });
  });

  test('reject: back into the queue, the key in use stays', async () => {
    workspace.editRoom(rid, (room) => {
      delete room.usersWaitingForE2EKeys;
    });
    workspace.editSubscription(rid, ann._id, (sub) => {
      sub.E2EKey = 'mine';
      sub.E2ESuggestedKey = 'bogus';
      sub.suggestedOldRoomKeys = [old('a')];
    });
    await asAnn.post('e2e.rejectSuggestedGroupKey', { rid });
    const sub = workspace.subscription(rid, ann._id);
    expect(sub?.E2EKey).toBe('mine');
    expect(sub).not.toHaveProperty('E2ESuggestedKey');
    expect(sub).not.toHaveProperty('suggestedOldRoomKeys');
    expect(queueOf(rid)).toEqual([ann._id]);
  });

  test('the queue: nobody twice, and nobody where encryption is off', async () => {
    workspace.editSubscription(rid, ann._id, (sub) => {
      sub.E2ESuggestedKey = 'bogus';
    });
    expect(queueOf(rid)).toEqual([ann._id]);
    await asAnn.post('e2e.rejectSuggestedGroupKey', { rid });
    expect(queueOf(rid)).toEqual([ann._id]);
    workspace.editRoom(rid, (room) => {
      room.encrypted = false;
    });
    workspace.addMember(rid, bob, ann);
    expect(queueOf(rid)).toEqual([ann._id]);
  });

  test.each(['accept', 'reject'])('%s: nothing to answer', async (verb) => {
    const route = `e2e.${verb}SuggestedGroupKey`;
    const none = await asAnn.post(route, { rid });
    expect(none.body.errorType).toBe('error-no-suggested-key-available');
    const outside = await asBob.post(route, { rid });
    expect(outside.body.errorType).toBe('error-subscription-not-found');
  });

  test('who leaves is dropped from the queue, and the key stays as it was', async () => {
    workspace.addMember(rid, bob, ann);
    workspace.editRoom(rid, (room) => {
      room.e2eKeyId = 'key id';
    });
    expect((await asAnn.post('groups.kick', { roomId: rid, userId: bob._id })).status).toBe(200);
    expect(queueOf(rid)).toEqual([ann._id]);
    expect(workspace.room(rid).e2eKeyId).toBe('key id');
    expect(workspace.subscription(rid, bob._id)).toBeUndefined();
  });
});

describe('fetchUsersWaitingForGroupKey of a room one cannot access', () => {
  test.each([
    ['7.0', 1],
    ['8.8', 0],
  ] as const)('%s', async (version, rooms) => {
    await start({ version });
    const { _id } = workspace.createRoom('p', [ann], { encrypted: true });
    await setKeys(asAnn);
    const reply = await asBob.get('e2e.fetchUsersWaitingForGroupKey', { 'roomIds[]': _id });
    expect(Object.keys(reply.body.usersWaitingForE2EKeys)).toHaveLength(rooms);
  });

  test('lists come bare, repeated, in brackets, or not at all', async () => {
    await start();
    const rids = [1, 2].map(() => workspace.createRoom('p', [ann, bob], { encrypted: true })._id);
    await setKeys(asBob);
    const path = '/api/v1/e2e.fetchUsersWaitingForGroupKey';
    for (const query of [
      `?roomIds[]=${rids[0]}&roomIds[]=${rids[1]}`,
      `?roomIds=${rids[0]}&roomIds=${rids[1]}`,
      `?roomIds%5B%5D=${rids[0]}&roomIds%5B%5D=${rids[1]}`,
    ]) {
      const reply = await asAnn.fetch(path + query, {});
      expect(Object.keys(reply.body.usersWaitingForE2EKeys).sort()).toEqual([...rids].sort());
    }
    expect((await asAnn.fetch(path, {})).status).toBe(400);
  });
});

describe('requestSubscriptionKeys', () => {
  test('8.8: asks in every room that has a key the caller lacks', async () => {
    await start();
    const [asked, held, fresh] = [1, 2, 3].map(
      () => workspace.createRoom('p', [ann, bob], { encrypted: true })._id,
    ) as [string, string, string];
    for (const rid of [asked, held]) {
      workspace.editRoom(rid, (room) => {
        room.e2eKeyId = `id of ${rid}`;
      });
    }
    workspace.editSubscription(held, bob._id, (sub) => {
      sub.E2EKey = 'mine';
    });
    const socket = await Socket.connect(workspace, ann);
    for (const rid of [asked, held, fresh]) {
      await socket.sub('stream-notify-room', `${rid}/e2e.keyRequest`);
    }
    expect((await asBob.post('e2e.requestSubscriptionKeys')).body).toEqual({ success: true });
    expect(await socket.event(`${asked}/e2e.keyRequest`)).toEqual([`id of ${asked}`]);
    await socket.settled();
    expect(socket.events(`${held}/e2e.keyRequest`)).toEqual([]);
    expect(socket.events(`${fresh}/e2e.keyRequest`)).toEqual([]);
    socket.close();
  });

  test('7.0: there is no such route', async () => {
    await start({ version: '7.0' });
    expect((await asBob.post('e2e.requestSubscriptionKeys')).status).toBe(404);
  });
});

describe('resetRoomKey', () => {
  let rid: string;
  let carl: Account;
  const reset = (who: Rest, e2eKeyId = 'new id') =>
    who.post('e2e.resetRoomKey', { rid, e2eKey: `${e2eKeyId} wrapped`, e2eKeyId });

  beforeEach(async () => {
    await start();
    carl = workspace.createUser('carl');
    rid = workspace.createRoom('p', [ann, bob, carl], { encrypted: true })._id;
    await setKeys(asAnn);
    workspace.editRoom(rid, (room) => {
      room.e2eKeyId = 'first id';
    });
    workspace.editSubscription(rid, ann._id, (sub) => {
      sub.E2EKey = 'first of ann';
    });
  });

  test('archives the keys, drops suggestions, replaces the queue', async () => {
    workspace.editSubscription(rid, bob._id, (sub) => {
      sub.E2EKey = 'first of bob';
      sub.E2ESuggestedKey = 'not accepted';
      sub.suggestedOldRoomKeys = [];
    });
    const untouched = workspace.subscription(rid, carl._id);
    const bobBefore = workspace.subscription(rid, bob._id);
    clock.advance(1000);
    const now = new Date(clock.now());
    expect((await reset(asAnn)).body).toEqual({ success: true });

    expect(workspace.room(rid)).toMatchObject({
      e2eKeyId: 'new id',
      usersWaitingForE2EKeys: [{ userId: bob._id, ts: now }],
    });
    expect(workspace.subscription(rid, ann._id)).toMatchObject({
      E2EKey: 'new id wrapped',
      oldRoomKeys: [{ e2eKeyId: 'first id', ts: now, E2EKey: 'first of ann' }],
    });
    const bobAfter = workspace.subscription(rid, bob._id);
    expect(bobAfter).not.toHaveProperty('E2EKey');
    expect(bobAfter).not.toHaveProperty('E2ESuggestedKey');
    expect(bobAfter).not.toHaveProperty('suggestedOldRoomKeys');
    expect(bobAfter?.oldRoomKeys).toEqual([
      { e2eKeyId: 'first id', ts: now, E2EKey: 'first of bob' },
    ]);
    // Written past the model layer: a client polling its subscriptions does not see it.
    expect(bobAfter?._updatedAt).toEqual(bobBefore?._updatedAt);
    expect(workspace.subscription(rid, carl._id)).toEqual(untouched);
  });

  test('a suggestion alone is dropped, not archived, and its user queued', async () => {
    workspace.editSubscription(rid, carl._id, (sub) => {
      sub.E2ESuggestedKey = 'pending';
    });
    await reset(asAnn);
    const sub = workspace.subscription(rid, carl._id);
    expect(sub).not.toHaveProperty('E2ESuggestedKey');
    expect(sub).not.toHaveProperty('oldRoomKeys');
    expect(queueOf(rid)).toEqual([carl._id]);
  });

  test('may leave an empty queue, and keeps ten old keys, newest first', async () => {
    for (let i = 1; i <= 12; i += 1) {
      clock.advance(1000);
      expect((await reset(asAnn, `id ${i}`)).status).toBe(200);
    }
    expect(workspace.room(rid).usersWaitingForE2EKeys).toEqual([]);
    const ids = workspace.subscription(rid, ann._id)?.oldRoomKeys?.map(({ e2eKeyId }) => e2eKeyId);
    expect(ids).toEqual(Array.from({ length: 10 }, (_, i) => `id ${11 - i}`));
  });

  test('members see their key go while the room still shows the old id', async () => {
    workspace.editSubscription(rid, bob._id, (sub) => {
      sub.E2EKey = 'first of bob';
    });
    const socket = await Socket.connect(workspace, bob);
    await socket.sub('stream-notify-user', `${bob._id}/subscriptions-changed`);
    await socket.sub('stream-notify-user', `${bob._id}/rooms-changed`);
    let roomDuring: unknown;
    workspace.gaps.resetRoomKey = async () => {
      const [, sub] = await socket.event(`${bob._id}/subscriptions-changed`);
      expect(sub).not.toHaveProperty('E2EKey');
      expect(sub.oldRoomKeys).toHaveLength(1);
      roomDuring = (await asBob.get('rooms.info', { roomId: rid })).body.room.e2eKeyId;
      expect(socket.events(`${bob._id}/rooms-changed`)).toEqual([]);
    };
    await reset(asAnn);
    expect(roomDuring).toBe('first id');
    const [, room] = await socket.event(`${bob._id}/rooms-changed`);
    expect(room.e2eKeyId).toBe('new id');
    socket.close();
  });

  test('is for owners and admins', async () => {
    const reply = await reset(asBob);
    expect(reply.status).toBe(403);
    expect(reply.body).toEqual({ success: false, error: 'error-not-allowed' });
  });

  test('7.0 words the 403 differently', async () => {
    await workspace.close();
    await start({ version: '7.0' });
    rid = workspace.createRoom('p', [ann, bob], { encrypted: true })._id;
    expect((await reset(asBob)).body).toEqual({ success: false, error: 'unauthorized' });
  });

  test('a refused call without access blocks the room for ten seconds', async () => {
    const admin = new Rest(workspace, workspace.createUser('root', { roles: ['admin'] }));
    const refused = await reset(admin);
    expect(refused.status).toBe(400);
    expect(refused.body).toEqual({ success: false, error: 'error-not-allowed' });
    const locked = await reset(asAnn);
    expect(locked.status).toBe(400);
    expect(locked.body).toEqual({ success: false, error: 'error-e2e-key-reset-in-progress' });
    clock.advance(9_999);
    expect((await reset(asAnn)).status).toBe(400);
    clock.advance(1);
    expect((await reset(asAnn)).status).toBe(200);
  });

  test('two at once: the second is refused; a restart forgets the lock', async () => {
    workspace.gaps.resetRoomKey = async () => {
      workspace.gaps.resetRoomKey = undefined;
      expect((await reset(asAnn, 'second')).body.error).toBe('error-e2e-key-reset-in-progress');
    };
    expect((await reset(asAnn, 'first')).status).toBe(200);
    await reset(new Rest(workspace, workspace.createUser('root', { roles: ['admin'] })));
    await workspace.restart({ downMs: 20 });
    expect((await reset(asAnn, 'third')).status).toBe(200);
  });

  test('without own keys, or without a room key: one code for all', async () => {
    const keyless = workspace.createRoom('p', [bob], { encrypted: true })._id;
    const noUserKeys = await asBob.post('e2e.resetRoomKey', {
      rid: keyless,
      e2eKey: 'k',
      e2eKeyId: 'i',
    });
    expect(noUserKeys.body).toEqual({ success: false, error: 'error-e2e-key-reset-failed' });
    rid = workspace.createRoom('p', [ann], { encrypted: true })._id;
    expect((await reset(asAnn)).body).toEqual({
      success: false,
      error: 'error-e2e-key-reset-failed',
    });
    // The lock is released.
    expect((await reset(asAnn)).body.error).toBe('error-e2e-key-reset-failed');
  });
});

describe('users.resetE2EKey', () => {
  beforeEach(() => start());

  test('asks for the second factor', async () => {
    const asked = await asAnn.post('users.resetE2EKey');
    expect(asked.status).toBe(400);
    expect(asked.body).toMatchObject({
      errorType: 'totp-required',
      details: { method: 'password' },
    });
    const wrong = await asAnn.post(
      'users.resetE2EKey',
      {},
      {
        'x-2fa-method': 'password',
        'x-2fa-code': '00',
      },
    );
    expect(wrong.body.errorType).toBe('totp-invalid');
  });

  test('unsets all keys, queues the user, deletes every token, cuts its sessions', async () => {
    const room = workspace.createRoom('p', [ann, bob], { encrypted: true });
    await setKeys(asAnn);
    workspace.editRoom(room._id, (stored) => {
      delete stored.usersWaitingForE2EKeys;
    });
    workspace.editSubscription(room._id, ann._id, (sub) => {
      sub.E2EKey = 'a';
      sub.E2ESuggestedKey = 'b';
      sub.oldRoomKeys = [];
    });
    const socket = await Socket.connect(workspace, ann);
    await socket.sub('stream-notify-user', `${ann._id}/force_logout`);
    const other = await Socket.connect(workspace, bob);
    expect((await asAnn.postWithPassword('users.resetE2EKey')).body).toEqual({ success: true });
    expect(workspace.user(ann._id)).not.toHaveProperty('e2e');
    const sub = workspace.subscription(room._id, ann._id);
    expect(sub).not.toHaveProperty('E2EKey');
    expect(sub).not.toHaveProperty('E2ESuggestedKey');
    expect(sub).not.toHaveProperty('oldRoomKeys');
    expect(queueOf(room._id)).toEqual([ann._id]);
    await socket.until(() => socket.closed);
    expect(socket.events(`${ann._id}/force_logout`)).toEqual([[]]);
    expect(other.closed).toBe(false);
    expect((await asAnn.get('me')).status).toBe(401);
    const back = await new Rest(workspace).post('login', { user: 'ann', password: ann.password });
    expect(back.body).toMatchObject({ status: 'success', data: { userId: ann._id } });
    other.close();
  });

  test('somebody else: only with edit-other-user-e2ee; never a federated user', async () => {
    await setKeys(asBob);
    const refused = await asAnn.postWithPassword('users.resetE2EKey', { username: 'bob' });
    expect(refused.body.errorType).toBe('error-not-allowed');
    expect(workspace.user(bob._id).e2e).toBeDefined();
    const admin = new Rest(workspace, workspace.createUser('root', { roles: ['admin'] }));
    const done = await admin.postWithPassword('users.resetE2EKey', { userId: bob._id });
    expect(done.body).toEqual({ success: true });
    expect(workspace.user(bob._id)).not.toHaveProperty('e2e');
    const far = new Rest(workspace, workspace.createUser('far', { federated: true }));
    expect((await far.postWithPassword('users.resetE2EKey')).body.errorType).toBe(
      'error-not-allowed',
    );
  });
});
