import { MemoryStore, type Participant, type ParticipantOptions } from '..';
import { participate, postedBy, until } from './participate';
import client from './webcrypto-client/client.js';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';
import { Socket } from './workspace/probe';

jest.setTimeout(60_000);

const ROUTES_THAT_CHANGE_KEYS = [
  'e2e.setRoomKeyID',
  'e2e.updateGroupKey',
  'e2e.resetRoomKey',
  'e2e.acceptSuggestedGroupKey',
  'e2e.rejectSuggestedGroupKey',
  'e2e.provideUsersSuggestedGroupKeys',
  'e2e.setUserPublicAndPrivateKeys',
];

describe.each(['7.0', '8.8'] as const)('in a workspace of version %s', (version) => {
  const flavour = version === '7.0' ? 'web-7' : 'web-8';
  let workspace: Workspace;
  let bot: Account;
  let ann: Person;
  let rid: string;
  let participant: Participant;
  let heard: string[];

  async function begin(options: Partial<ParticipantOptions> & { realtime?: boolean }) {
    workspace = await Workspace.start({ version, rateLimits: false });
    bot = workspace.createUser('bot', { roles: ['bot', 'admin'] });
    ann = await Person.join(workspace, workspace.createUser('ann'), flavour);
    rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
    heard = [];
    participant = await participate(workspace, bot, { patience: 3000, ...options });
    participant.on('message', ({ document }) => heard.push(document.msg));
    if (options.realtime) await participant.start();
    else await participant.sync();
    await ann.fetchKeys(rid);
  }

  afterEach(async () => {
    await participant.close();
    expect(workspace.requests.containing('secret')).toEqual([]);
    await workspace.close();
  });

  /** Everything works: both ways, under the room's key. */
  async function expectInStep(what: string): Promise<void> {
    await participant.sync();
    const msg = `secret after ${what}`;
    const { messageId, keyId } = await participant.sendEncryptedMessage(rid, msg);
    expect(keyId).toBe(workspace.room(rid).e2eKeyId);
    expect(workspace.message(messageId)).toMatchObject({ t: 'e2e', msg: '' });
    expect(await ann.fetchKeys(rid)).toBe(true);
    expect(await ann.readById(rid, messageId)).toBe(msg);
    await ann.say(rid, `secret answer to ${what}`);
    await participant.sync();
    await until(`hearing of ${what}`, () => heard.includes(`secret answer to ${what}`));
  }

  describe('events that somebody forges', () => {
    let mallory: Account;
    let socket: Socket;
    /** A key of his, under an id, for the bot. */
    let forge: (keyId?: string) => Promise<string>;

    beforeEach(async () => {
      await begin({ realtime: true } as never);
      mallory = workspace.createUser('mallory');
      await Person.join(workspace, mallory, flavour);
      socket = await Socket.connect(workspace, mallory);
      const publicKey = workspace.user(bot._id).e2e?.public_key ?? '';
      forge = async (keyId) => {
        const key = await client.createRoomKey(flavour);
        return client.wrapRoomKey({ ...key, keyId: keyId ?? key.keyId }, publicKey);
      };
    });

    afterEach(() => socket.close());

    async function tell(event: string, ...args: unknown[]): Promise<void> {
      const { error } = await socket.call('stream-notify-user', `${bot._id}/${event}`, ...args);
      expect(error).toBeUndefined();
    }

    const keyCalls = () =>
      ROUTES_THAT_CHANGE_KEYS.flatMap((route) => workspace.requests.to(route)).length;
    /** What the forged events were to make it do has had time to happen. */
    const pause = () => new Promise((resolve) => setTimeout(resolve, 150));

    /** Forges, and sees that keys, rooms and messages are as they were. */
    async function withstand(what: string, forgery: () => Promise<void>): Promise<void> {
      // The number of messages under a key is no matter of the forgery.
      const keys = async () =>
        (await participant.getRoomKeyHistory(rid)).map(({ messages: _, ...key }) => key);
      const history = await keys();
      const rooms = await participant.authorizedRooms();
      const calls = keyCalls();
      await forgery();
      // At once, while the forgery may be believed.
      const at = participant.sendEncryptedMessage(rid, 'secret meanwhile');
      const { messageId, keyId } = await at;
      expect(keyId).toBe(workspace.room(rid).e2eKeyId);
      expect(await ann.readById(rid, messageId)).toBe('secret meanwhile');
      await pause();
      expect(await keys()).toEqual(history);
      expect(await participant.authorizedRooms()).toEqual(rooms);
      await expectInStep(what);
      expect(await keys()).toEqual(history);
      expect(keyCalls()).toBe(calls);
      expect(await participant.trust.fingerprint(mallory._id)).toBeUndefined();
    }

    test('a room that is said to be in clear, or to have another key, or none', async () => {
      const room = { _id: rid, t: 'p', encrypted: true, e2eKeyId: workspace.room(rid).e2eKeyId };
      await withstand('clear', () =>
        tell('rooms-changed', 'updated', { ...room, encrypted: false }),
      );
      const { encrypted: _, ...silent } = room;
      await withstand('silence', () => tell('rooms-changed', 'updated', silent));
      await withstand('a channel', () => tell('rooms-changed', 'updated', { ...room, t: 'c' }));
      const { e2eKeyId: __, ...keyless } = room;
      await withstand('no key', () => tell('rooms-changed', 'updated', keyless));
      const other = { ...room, e2eKeyId: 'a0617a42-4732-4765-b04e-54d8475c10b2' };
      await withstand('another key', () => tell('rooms-changed', 'updated', other));
      await withstand('removal', () => tell('rooms-changed', 'removed', room));
      const waiting = [{ userId: mallory._id, ts: new Date() }];
      await withstand('a queue', () =>
        tell('rooms-changed', 'updated', { ...room, usersWaitingForE2EKeys: waiting }),
      );
    });

    test('a subscription with keys of his, without keys, or gone', async () => {
      const keyId = workspace.room(rid).e2eKeyId;
      const own = workspace.subscription(rid, bot._id);
      const subscription = { _id: own?._id, rid, t: 'p', E2EKey: own?.E2EKey };
      const changed = (more: object) =>
        tell('subscriptions-changed', 'updated', { ...subscription, ...more });
      for (const id of [keyId, undefined]) {
        const wrapped = await forge(id);
        await withstand(`his key ${id}`, () => changed({ E2EKey: wrapped }));
        await withstand(`his suggestion ${id}`, () => changed({ E2ESuggestedKey: wrapped }));
        const old = [{ e2eKeyId: id ?? wrapped.slice(0, 36), ts: new Date(), E2EKey: wrapped }];
        await withstand(`his old key ${id}`, () => changed({ oldRoomKeys: old }));
      }
      await withstand('no key', () => changed({ E2EKey: undefined }));
      await withstand('removal', () => tell('subscriptions-changed', 'removed', subscription));
    });

    test('rooms that the bot is not in, and rooms that are not encrypted', async () => {
      const foreign = workspace.createRoom('p', [mallory, ann.account], { encrypted: true })._id;
      const clear = workspace.createRoom('p', [mallory, bot])._id;
      for (const _id of [foreign, clear, 'nowhere']) {
        await withstand(`room ${_id}`, async () => {
          await tell('rooms-changed', 'inserted', { _id, t: 'p', encrypted: true });
          const E2EKey = await forge();
          await tell('subscriptions-changed', 'inserted', { _id: 'x', rid: _id, E2EKey });
          await tell('e2ekeyRequest', _id, 'any');
        });
        expect(workspace.messagesIn(clear).filter(({ t }) => t === 'e2e')).toEqual([]);
      }
    });

    test('what is of no known form, and a great deal of it', async () => {
      const odd = [
        undefined,
        null,
        5,
        'text',
        [],
        {},
        { rid },
        { _id: rid },
        { rid: { $ne: 1 }, _id: [rid] },
        { _id: rid, rid, t: 5, encrypted: 'no', e2eKeyId: {}, usersWaitingForE2EKeys: 'all' },
        { rid, E2EKey: 5, E2ESuggestedKey: [], oldRoomKeys: [null, 5, { E2EKey: 1 }] },
        { rid, E2EKey: '', E2ESuggestedKey: '', oldRoomKeys: [{ e2eKeyId: '', E2EKey: '' }] },
        { _id: rid, t: 'p', deep: 'x'.repeat(100_000) },
      ];
      await withstand('odd events', async () => {
        for (const first of ['updated', 'removed', 5, null]) {
          for (const second of odd) {
            await tell('rooms-changed', first, second);
            await tell('subscriptions-changed', first, second);
            await tell('e2ekeyRequest', second, first);
          }
        }
      });
      workspace.requests.clear();
      const names = ['e2e.getUsersOfRoomWithoutKey', 'rooms.info', 'subscriptions.getOne'];
      const asked = () => names.flatMap((name) => workspace.requests.to(name)).length;
      await withstand('a flood', async () => {
        for (let i = 0; i < 300; i++) {
          socket.send({
            msg: 'method',
            id: `f${i}`,
            method: 'stream-notify-user',
            params: [`${bot._id}/e2ekeyRequest`, rid],
          });
          socket.send({
            msg: 'method',
            id: `g${i}`,
            method: 'stream-notify-user',
            params: [`${bot._id}/rooms-changed`, 'updated', { _id: rid, t: 'p', e2eKeyId: `${i}` }],
          });
        }
        await socket.settled();
      });
      // One at a time, however many events came.
      expect(asked()).toBeLessThan(300);
    });

    test('a logout that did not happen', async () => {
      await withstand('a logout', () => tell('force_logout'));
    });
  });

  describe('a room that is really switched to clear', () => {
    test('gets nothing in clear, neither at once nor from the outbox', async () => {
      await begin({ realtime: true } as never);
      workspace.faults.rest('chat.sendMessage', { kind: 'status', status: 503 }, { times: 50 });
      const waiting = participant.sendEncryptedMessage(rid, 'secret in the outbox');
      waiting.catch(() => undefined);
      workspace.editRoom(rid, (room) => {
        room.encrypted = false;
      });
      await participant.sync();
      const refused = participant.sendEncryptedMessage(rid, 'secret');
      await expect(refused).rejects.toMatchObject({ code: 'ERR_E2EE_ROOM_NOT_ENCRYPTED' });
      workspace.faults.clear();
      await participant.sync();
      for (const { t, msg } of postedBy(bot, rid, workspace)) expect([t, msg]).toEqual(['e2e', '']);
      expect(
        workspace.messagesIn(rid).filter(({ u, t }) => u._id === bot._id && t === undefined),
      ).toEqual([]);
    });
  });

  describe('answers that are hostile', () => {
    /** Every route that it calls, with wrong values for the fields that it reads. */
    const routes: Record<string, object[]> = {
      info: [{ info: 5 }, { version: {} }, { info: { version: 'x.y' } }],
      'subscriptions.get': [
        { update: 5 },
        { update: [null, 5, {}, [], { rid: 5 }], remove: 'x' },
        { update: [{ _id: 1, rid: 'R', E2EKey: 5, _updatedAt: 'zzzz' }], remove: [null, 5] },
      ],
      'rooms.get': [
        { update: {} },
        { update: [null, 'x', { _id: 5, t: 'p' }, { _id: 'R', t: 5, _updatedAt: 'zzzz' }] },
        { update: [{ _id: 'R', t: 'p', encrypted: 'no', usersWaitingForE2EKeys: [null] }] },
      ],
      'rooms.info': [{ room: 5 }, { room: [] }, { room: { _id: 'R' } }, { room: { _id: 5 } }],
      'subscriptions.getOne': [
        { subscription: 5 },
        { subscription: { rid: 'R', E2EKey: {}, oldRoomKeys: 'x' } },
        { subscription: { rid: 'other', E2EKey: 'x' } },
      ],
      'e2e.fetchMyKeys': [
        { public_key: 5, private_key: {} },
        { public_key: 'x', private_key: 'y' },
        { public_key: '{}', private_key: '{"$binary":"AAAA"}' },
        { private_key: '{}' },
      ],
      'e2e.setUserPublicAndPrivateKeys': [{}],
      'e2e.setRoomKeyID': [{}],
      'e2e.updateGroupKey': [{}],
      'e2e.resetRoomKey': [{}],
      'e2e.acceptSuggestedGroupKey': [{}],
      'e2e.getUsersOfRoomWithoutKey': [
        { users: 5 },
        { users: [null, 5, { _id: 5 }, { _id: 'U', e2e: { public_key: 'x' } }] },
        { users: Array.from({ length: 20_000 }, (_, i) => ({ _id: `U${i}`, e2e: {} })) },
      ],
      'e2e.fetchUsersWaitingForGroupKey': [
        { usersWaitingForE2EKeys: 5 },
        { usersWaitingForE2EKeys: { R: 5, other: [{ _id: 'U', public_key: 'x' }] } },
        { usersWaitingForE2EKeys: { R: [null, 5, { _id: 5 }, { _id: 'U', public_key: '{}' }] } },
      ],
      'e2e.provideUsersSuggestedGroupKeys': [{}],
      'e2e.requestSubscriptionKeys': [{}],
      'chat.syncMessages': [
        { result: 5 },
        { result: { updated: {} } },
        { result: { updated: [null, 5, [], {}, { rid: 'R', t: 'e2e' }] } },
        {
          result: {
            updated: [
              { _id: 'M1', rid: 'R', t: 'e2e', u: 5, content: 5, _updatedAt: 'zzzz', ts: {} },
              { _id: 5, rid: 'R', t: 'e2e', content: { algorithm: 'rc.v2.aes-sha2' } },
              { _id: 'M2', rid: 'other', t: 'e2e', msg: 'x'.repeat(10_000) },
            ],
          },
        },
        {
          result: {
            updated: Array.from({ length: 5000 }, (_, i) => ({
              _id: `H${i}`,
              rid: 'R',
              t: 'e2e',
              msg: 'x'.repeat(40),
            })),
          },
        },
      ],
      'chat.sendMessage': [{ message: 5 }, { message: { _id: 'other' } }],
      'chat.getMessage': [{ message: 5 }, { message: { _id: 'other', rid: 'R', u: 5 } }],
      'chat.update': [{ message: 5 }],
    };
    const anywhere = ['<html><body>503</body></html>', null, 5, [], {}, { success: false }];

    test.each(Object.entries(routes))(
      'of %s',
      async (route, bodies) => {
        await begin({ store: await MemoryStore.open(), rooms: 'all' });
        const history = await participant.getRoomKeyHistory(rid);
        const codes = new Set<string>();
        const note = ({ code = 'none' }: { code?: string }) => codes.add(String(code));
        participant.on('error', ({ error }) => note(error));
        let n = 0;
        for (const body of [...anywhere, ...bodies]) {
          for (const when of ['before', 'after'] as const) {
            n += 1;
            const text = JSON.stringify(body).replaceAll('"R"', JSON.stringify(rid));
            const answer = typeof body === 'string' ? body : JSON.parse(text);
            const isHtml =
              typeof answer === 'string' || answer === null || !(answer instanceof Object);
            const whole = isHtml || Array.isArray(answer) ? answer : { success: true, ...answer };
            const fault = {
              kind: 'answer',
              body: when === 'after' ? () => whole : whole,
              when,
            } as const;
            const undo = workspace.faults.rest(route, fault, { uid: bot._id, times: 20 });
            workspace.editRoom(rid, () => undefined);
            const acts: Promise<unknown>[] = [
              participant.sync(),
              participant.sendEncryptedMessage(rid, { msg: `secret ${n}`, deadline: 60_000 }),
              participant.distributeRoomKeys(rid),
              participant.requestRoomKey(rid),
            ];
            if (n % 6 === 1) acts.push(participant.resetRoomKey(rid));
            if (n % 6 === 2)
              acts.push(participant.changePassphrase('correct horse battery staple'));
            if (n % 6 === 3) acts.push(participant.rotateIdentity());
            for (const act of acts) act.catch(note);
            await Promise.race([
              Promise.allSettled(acts),
              new Promise((resolve) => setTimeout(resolve, 400)),
            ]);
            undo();
            await participant.sync();
            await participant.sync();
            const done = await Promise.allSettled(acts);
            for (const outcome of done) if (outcome.status === 'rejected') note(outcome.reason);
            await expectInStep(`${route} ${n}`);
          }
        }
        for (const code of codes) expect(code).toMatch(/^ERR_E2EE_/);
        expect([...codes]).not.toContain('ERR_E2EE_INTERNAL');
        const held = (await participant.getRoomKeyHistory(rid)).map(({ keyId }) => keyId);
        expect(held).toEqual(expect.arrayContaining(history.map(({ keyId }) => keyId)));
        // Whatever was acknowledged is there, and nothing twice.
        const posted = [];
        for (const message of postedBy(bot, rid, workspace)) posted.push(message._id);
        expect(new Set(posted).size).toBe(posted.length);
        // A replica with the passphrase alone still finds everything.
        const replica = await participate(workspace, bot, { rooms: [rid] });
        await replica.sync();
        expect(await replica.getEncryptedRoomKey(rid)).toMatchObject({
          keyId: workspace.room(rid).e2eKeyId,
        });
        await replica.close();
      },
      60_000,
    );
  });
});
