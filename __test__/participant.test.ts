import { once } from 'events';
import {
  type DecryptedMessage,
  E2eeError,
  MemoryStore,
  Participant,
  type ParticipantOptions,
  type RecordStore,
  RestWorkspace,
} from '..';
import { codeOf } from './helpers';
import { storeOver } from './participate';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';

const PASSPHRASE = 'correct horse battery staple';

/** A store that a participant cannot close, as if its process had been killed. */
function keptOpen(store: RecordStore): RecordStore {
  return storeOver(store, { close: async () => undefined });
}

describe.each(['7.0', '8.8'] as const)('in a workspace of version %s', (version) => {
  const flavour = version === '7.0' ? 'web-7' : 'web-8';
  let workspace: Workspace;
  let bot: Account;
  let ann: Person;
  let bob: Person;
  let rid: string;
  let open: Participant[];

  beforeEach(async () => {
    workspace = await Workspace.start({ version, rateLimits: false });
    bot = workspace.createUser('bot', { roles: ['bot'] });
    ann = await Person.join(workspace, workspace.createUser('ann'), flavour);
    bob = await Person.join(workspace, workspace.createUser('bob'), flavour);
    rid = workspace.createRoom('p', [ann.account, bob.account, bot], { encrypted: true })._id;
    open = [];
  });

  afterEach(async () => {
    for (const participant of open) await participant.close();
    // Nothing of what people say has left anybody in clear.
    expect(workspace.requests.containing('secret')).toEqual([]);
    await workspace.close();
  });

  async function participate(options: Partial<ParticipantOptions> = {}): Promise<Participant> {
    const participant = await Participant.open({
      appId: 'test',
      workspace: new RestWorkspace({
        url: workspace.url,
        userId: bot._id,
        authToken: bot.authToken,
      }),
      store: await MemoryStore.open(),
      passphrase: PASSPHRASE,
      rooms: [rid],
      ...options,
    });
    open.push(participant);
    return participant;
  }

  /** What the participant tells while it syncs. */
  async function messagesOf(participant: Participant): Promise<DecryptedMessage[]> {
    const messages: DecryptedMessage[] = [];
    const listen = (message: DecryptedMessage) => messages.push(message);
    participant.on('message', listen);
    await participant.sync();
    participant.off('message', listen);
    return messages;
  }

  test('it makes an identity, tells its passphrase once, and publishes it', async () => {
    const participant = await participate({ passphrase: undefined } as never);
    const [{ passphrase }] = await once(participant, 'passphrase');
    expect(passphrase.split(' ')).toHaveLength(12);
    const again = await participate({ passphrase, store: await MemoryStore.open() });
    expect(await again.trust.fingerprint()).toBe(await participant.trust.fingerprint());
  });

  test('a wrong passphrase is told, and no keys are made', async () => {
    await participate();
    const keys = workspace.user(bot._id).e2e;
    expect(await codeOf(() => participate({ passphrase: 'wrong' }))).toBe(
      'ERR_E2EE_WRONG_PASSPHRASE',
    );
    expect(workspace.user(bot._id).e2e).toEqual(keys);
  });

  test('the id of one room, not in a list, is not taken for all rooms', async () => {
    expect(await codeOf(() => participate({ rooms: rid as 'all' }))).toBe(
      'ERR_E2EE_INVALID_ARGUMENT',
    );
    expect(workspace.user(bot._id).e2e).toBeUndefined();
  });

  test('a failed fetch never makes keys', async () => {
    workspace.faults.rest('e2e.fetchMyKeys', { kind: 'status', status: 400 });
    expect(await codeOf(() => participate())).toBe('ERR_E2EE_WORKSPACE');
    expect(workspace.user(bot._id).e2e).toBeUndefined();
  });

  test('it gets the key from whoever is there, reads, and answers', async () => {
    const participant = await participate();
    await ann.createKey(rid);
    await bob.fetchKeys(rid);
    await participant.sync();
    const asked = await ann.say(rid, 'a secret question');
    const [message] = await messagesOf(participant);
    expect(message).toMatchObject({
      roomId: rid,
      messageId: asked,
      userId: ann.account._id,
      document: { msg: 'a secret question' },
    });
    const { messageId } = await participant.sendEncryptedMessage(rid, 'a secret answer');
    expect(await ann.readById(rid, messageId)).toBe('a secret answer');
    expect(await bob.readById(rid, messageId)).toBe('a secret answer');
    // Told once, however often it looks.
    expect(await messagesOf(participant)).toEqual([]);
  });

  test('a message that the application brings is told once, as those of the workspace', async () => {
    const store = await MemoryStore.open();
    const participant = await participate({ store: keptOpen(store) });
    const other = await participate({ store: keptOpen(store) });
    const told: string[] = [];
    for (const one of [participant, other]) {
      one.on('message', ({ document }) => told.push(document.msg));
      one.on('undecryptable', ({ error }) => told.push(error.code));
    }
    const keyId = await ann.createKey(rid);
    const bring = async (id: string, to = participant, change: object = {}) =>
      to.receiveMessage({ ...workspace.message(id), ...change }, keyId);
    // Its key is there, and nobody has told so.
    const one = await ann.say(rid, 'a secret question');
    await bring(one);
    expect(told).toEqual(['a secret question']);
    await Promise.all([bring(one), bring(one, other)]);
    await participant.sync();
    expect(told).toHaveLength(1);
    // Not for it: in clear, its own, in another room.
    const two = await ann.say(rid, 'another secret');
    await bring(two, participant, { t: undefined });
    await bring(two, participant, { u: { _id: bot._id } });
    await bring(two, participant, { rid: 'elsewhere' });
    await bring(two, participant, { content: { algorithm: 'rc.v9' } });
    expect(told.slice(1)).toEqual(['ERR_E2EE_UNSUPPORTED_ALGORITHM']);
    // A key that it has not heard of: the room is read anew.
    await ann.resetKey(rid);
    await ann.serve(rid);
    const three = await ann.say(rid, 'a third secret');
    await participant.receiveMessage(workspace.message(three) ?? {}, 'another key');
    expect(told.slice(2)).toEqual(['a third secret']);
  });

  test('it encrypts a message that the application posts itself', async () => {
    const participant = await participate();
    expect(await codeOf(() => participant.encryptMessage('elsewhere', 'a secret'))).toBe(
      'ERR_E2EE_ROOM_NOT_AUTHORIZED',
    );
    await ann.createKey(rid);
    await participant.sync();
    const message = { msg: 'a secret', threadId: 'thread', mentions: ['@ann'] };
    const encrypted = await participant.encryptMessage(rid, message);
    expect(encrypted).toEqual({
      t: 'e2e',
      e2e: 'pending',
      content: expect.objectContaining({
        algorithm: expect.stringMatching(/^rc\.v[12]\.aes-sha2$/),
      }),
      e2eMentions: { e2eUserMentions: ['@ann'], e2eChannelMentions: [] },
      tmid: 'thread',
    });
    expect((await ann.read(rid, encrypted)).msg).toBe('a secret');
  });

  test('it creates the key where there is none, and serves newcomers', async () => {
    const participant = await participate();
    await participant.sync();
    const [info] = await participant.getRoomKeyHistory(rid);
    expect(info).toMatchObject({ source: 'created', current: true });
    expect(info?.keyId).toHaveLength(version === '7.0' ? 12 : 36);
    const { messageId } = await participant.sendEncryptedMessage(rid, 'secret');
    for (const person of [ann, bob]) {
      expect(await person.fetchKeys(rid)).toBe(true);
      expect(await person.readById(rid, messageId)).toBe('secret');
    }
    const carol = await Person.join(workspace, workspace.createUser('carol'), flavour);
    workspace.addMember(rid, carol.account);
    await participant.sync();
    expect(await carol.fetchKeys(rid)).toBe(true);
    expect(await carol.readById(rid, messageId)).toBe('secret');
  });

  test('a message that came before its key is told when the key arrives', async () => {
    const participant = await participate();
    await ann.createKey(rid);
    // The suggestion for the bot is taken back, as if nobody had served it.
    workspace.editSubscription(rid, bot._id, (subscription) => {
      delete subscription.E2ESuggestedKey;
    });
    await participant.sync();
    await ann.say(rid, 'an early secret');
    const untold: unknown[] = [];
    participant.on('undecryptable', (event) => untold.push(event));
    expect(await messagesOf(participant)).toEqual([]);
    expect(untold).toMatchObject([{ roomId: rid, error: { code: 'ERR_E2EE_NO_ROOM_KEY' } }]);
    await ann.serve(rid);
    const told = once(participant, 'message');
    await participant.sync();
    expect((await told)[0].document.msg).toBe('an early secret');
    expect(untold).toHaveLength(1);
  });

  test('after a reset by others it reads both, and answers under the new key', async () => {
    const participant = await participate();
    await ann.createKey(rid);
    await participant.sync();
    await participant.sync();
    const before = await ann.say(rid, 'a secret before');
    await ann.resetKey(rid);
    await ann.serve(rid);
    await participant.sync();
    const after = await ann.say(rid, 'a secret after');
    const fetched = [workspace.message(before), workspace.message(after)] as object[];
    const read = await participant.decryptMessages(JSON.parse(JSON.stringify(fetched)));
    expect(read.map((one) => (one instanceof E2eeError ? one.code : one.document.msg))).toEqual([
      'a secret before',
      'a secret after',
    ]);
    const { keyId } = await participant.sendEncryptedMessage(rid, 'secret');
    expect(keyId).toBe(ann.keysOf(rid).current?.keyId);
    expect(await participant.getRoomKeyHistory(rid)).toHaveLength(2);
  });

  test('its own reset keeps the old key, and gives both to the others', async () => {
    workspace.editUser(bot._id, (user) => user.roles.push('admin'));
    const participant = await participate();
    await participant.sync();
    const { messageId: before } = await participant.sendEncryptedMessage(rid, 'secret one');
    const rotated = once(participant, 'roomKeyRotated');
    await participant.resetRoomKey(rid);
    expect((await rotated)[0]).toMatchObject({ roomId: rid });
    const { messageId: after } = await participant.sendEncryptedMessage(rid, 'secret two');
    expect(await ann.fetchKeys(rid)).toBe(true);
    expect(await ann.readById(rid, before)).toBe('secret one');
    expect(await ann.readById(rid, after)).toBe('secret two');
  });

  test('a forged suggestion is refused', async () => {
    const participant = await participate();
    const keyId = await ann.createKey(rid);
    await participant.sync();
    // Bob proposes other bytes under the room's own id.
    const { publicKey } = JSON.parse(
      JSON.stringify({ publicKey: workspace.user(bot._id).e2e?.public_key }),
    );
    await bob.fetchKeys(rid);
    const client = (await import('./webcrypto-client/client.js')).default;
    const forged = { ...(await client.createRoomKey(flavour)), keyId };
    const key = await client.wrapRoomKey(forged, publicKey);
    const body = { usersSuggestedGroupKeys: { [rid]: [{ _id: bot._id, key }] } };
    await bob.rest.post('e2e.provideUsersSuggestedGroupKeys', body);
    await participant.sync();
    const subscription = workspace.subscription(rid, bot._id);
    expect(subscription?.E2ESuggestedKey).toBeUndefined();
    const { messageId } = await participant.sendEncryptedMessage(rid, 'secret');
    expect(await ann.readById(rid, messageId)).toBe('secret');
  });

  test('a round of an idle bot in 50 rooms is two requests: 8 a minute', async () => {
    for (let room = 0; room < 50; room++) {
      workspace.createRoom('p', [ann.account, bob.account, bot], { encrypted: true });
    }
    const participant = await participate({ rooms: 'all' });
    // The first round makes the keys; the second sees what the server says of that.
    await participant.sync();
    await participant.sync();
    const before = workspace.requests.containing('/api/').length;
    for (let round = 0; round < 4; round++) await participant.sync();
    expect(workspace.requests.containing('/api/').length - before).toBe(8);
  }, 60_000);

  test('the key pair stays where the server lets nobody read what is wrapped for it', async () => {
    const account = { url: workspace.url, userId: bot._id, authToken: bot.authToken };
    const participant = await participate({
      workspace: new RestWorkspace({ ...account, deadline: 300 }),
    });
    const before = await participant.trust.fingerprint();
    await ann.createKey(rid);
    await ann.serve(rid);
    const limit = { kind: 'status', status: 429, retryAfterMs: 500 } as const;
    workspace.faults.rest('e2e.acceptSuggestedGroupKey', limit, { times: 1e6 });
    const code = 'ERR_E2EE_RATE_LIMITED';
    expect(await codeOf(() => participant.rotateIdentity())).toBe(code);
    workspace.faults.clear();
    expect(await participant.trust.fingerprint()).toBe(before);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await participant.rotateIdentity();
    expect(await participant.trust.fingerprint()).not.toBe(before);
  });

  test('only authorised rooms', async () => {
    const other = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
    const participant = await participate();
    await participant.sync();
    const code = 'ERR_E2EE_ROOM_NOT_AUTHORIZED';
    expect(await codeOf(() => participant.sendEncryptedMessage(other, 'secret'))).toBe(code);
    expect(await codeOf(() => participant.resetRoomKey(other))).toBe(code);
    expect(await codeOf(() => participant.getRoomKeyHistory(other))).toBe(code);
    expect(workspace.room(other).e2eKeyId).toBeUndefined();
    await participant.authorizeRoom(other);
    await participant.sendEncryptedMessage(other, 'secret');
    expect(await participant.authorizedRooms()).toEqual([rid, other].sort());
    await participant.deauthorizeRoom(other);
    expect(await codeOf(() => participant.sendEncryptedMessage(other, 'secret'))).toBe(code);
    await participant.authorizeRoom(other);
    // Its keys were forgotten, and came back from the server alone.
    expect(await participant.getRoomKeyHistory(other)).toMatchObject([{ source: 'subscription' }]);
  });

  test('a fresh replica with the passphrase alone reads history under old and new keys', async () => {
    workspace.editUser(bot._id, (user) => user.roles.push('admin'));
    const first = await participate();
    await first.sync();
    const { messageId: before } = await first.sendEncryptedMessage(rid, 'secret one');
    await first.resetRoomKey(rid);
    const { messageId: after } = await first.sendEncryptedMessage(rid, 'secret two');
    await first.close();
    const second = await participate({ store: await MemoryStore.open() });
    await second.sync();
    for (const [id, msg] of [
      [before, 'secret one'],
      [after, 'secret two'],
    ] as const) {
      const message = JSON.parse(JSON.stringify(workspace.message(id)));
      expect((await second.decryptMessage(message)).document.msg).toBe(msg);
    }
  });

  test('two replicas that start at once end with one identity', async () => {
    const [one, two] = await Promise.all([participate(), participate()]);
    expect(await one.trust.fingerprint()).toBe(await two.trust.fingerprint());
    await Promise.all([one.sync(), two.sync()]);
    await one.sync();
    await two.sync();
    const { messageId } = await one.sendEncryptedMessage(rid, 'secret');
    const message = JSON.parse(JSON.stringify(workspace.message(messageId)));
    expect((await two.decryptMessage(message)).document.msg).toBe('secret');
  });

  test('a lost answer never posts twice', async () => {
    const participant = await participate();
    await participant.sync();
    workspace.faults.rest('chat.sendMessage', { kind: 'drop', when: 'after' });
    const { messageId } = await participant.sendEncryptedMessage(rid, 'secret');
    const posted = workspace.messagesIn(rid).filter(({ t }) => t === 'e2e');
    expect(posted.map(({ _id }) => _id)).toEqual([messageId]);
  });

  test('without a key a send waits, and goes out when the key comes', async () => {
    const participant = await participate();
    await ann.createKey(rid);
    workspace.editSubscription(rid, bot._id, (subscription) => {
      delete subscription.E2ESuggestedKey;
    });
    await participant.sync();
    const sends = ['secret one', 'secret two'].map((msg) =>
      participant.sendEncryptedMessage(rid, msg),
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(workspace.messagesIn(rid).filter(({ t }) => t === 'e2e')).toEqual([]);
    await ann.serve(rid);
    await participant.sync();
    const sent = await Promise.all(sends);
    const posted = workspace.messagesIn(rid).filter(({ t }) => t === 'e2e');
    expect(posted.map(({ _id }) => _id)).toEqual(sent.map(({ messageId }) => messageId));
    expect(await ann.readById(rid, sent[0]?.messageId ?? '')).toBe('secret one');
  });

  test('a send that waits too long fails, and is never sent', async () => {
    const participant = await participate();
    await ann.createKey(rid);
    workspace.editSubscription(rid, bot._id, (subscription) => {
      delete subscription.E2ESuggestedKey;
    });
    await participant.sync();
    const message = { msg: 'secret', deadline: 50 };
    expect(await codeOf(() => participant.sendEncryptedMessage(rid, message))).toBe(
      'ERR_E2EE_EXPIRED',
    );
    await ann.serve(rid);
    await participant.sync();
    expect(workspace.messagesIn(rid).filter(({ t }) => t === 'e2e')).toEqual([]);
  });

  test('the outbox survives a restart', async () => {
    const store = await MemoryStore.open();
    const kept = keptOpen(store);
    const first = await participate({ store: kept });
    await ann.createKey(rid);
    workspace.editSubscription(rid, bot._id, (subscription) => {
      delete subscription.E2ESuggestedKey;
    });
    await first.sync();
    const send = first.sendEncryptedMessage(rid, 'a secret for later').catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await first.close();
    await send;
    await ann.serve(rid);
    const second = await participate({ store });
    await second.sync();
    const [posted] = workspace.messagesIn(rid).filter(({ t }) => t === 'e2e');
    expect(await ann.readById(rid, posted?._id ?? '')).toBe('a secret for later');
  });

  test('an edit replaces the content', async () => {
    const participant = await participate();
    await participant.sync();
    const { messageId } = await participant.sendEncryptedMessage(rid, 'secret one');
    await participant.editEncryptedMessage(rid, messageId, 'secret two');
    await ann.fetchKeys(rid);
    expect(await ann.readById(rid, messageId)).toBe('secret two');
  });

  test('mentions travel in clear only when asked for', async () => {
    const participant = await participate();
    await participant.sync();
    const plain = await participant.sendEncryptedMessage(rid, 'secret @ann');
    const asked = await participant.sendEncryptedMessage(rid, {
      msg: 'secret',
      mentions: ['@ann'],
    });
    expect(workspace.message(plain.messageId)?.mentions).toEqual([]);
    expect(workspace.message(asked.messageId)?.mentions).toMatchObject([{ username: 'ann' }]);
  });

  test('a public key that changed is not served until it is trusted', async () => {
    const participant = await participate();
    await participant.sync();
    const other = await Person.join(workspace, workspace.createUser('carol'), flavour);
    workspace.editUser(ann.account._id, (user) => {
      user.e2e = { ...user.e2e, public_key: other.identity.publicKey } as typeof user.e2e;
    });
    workspace.editSubscription(rid, ann.account._id, (subscription) => {
      delete subscription.E2ESuggestedKey;
    });
    const changed = once(participant, 'publicKeyChanged');
    await participant.distributeRoomKeys(rid);
    const [{ userId, seen }] = await changed;
    expect(userId).toBe(ann.account._id);
    expect(workspace.subscription(rid, ann.account._id)?.E2ESuggestedKey).toBeUndefined();
    await participant.trust.pin(userId, seen);
    await participant.distributeRoomKeys(rid);
    expect(workspace.subscription(rid, ann.account._id)?.E2ESuggestedKey).toBeDefined();
  });

  test('a changed passphrase opens the identity, the old one does not', async () => {
    const participant = await participate();
    await participant.changePassphrase('a new passphrase');
    await participate({ passphrase: 'a new passphrase' });
    expect(await codeOf(() => participate())).toBe('ERR_E2EE_WRONG_PASSPHRASE');
  });

  test('a revoked identity does nothing any more', async () => {
    const store = await MemoryStore.open();
    const kept = keptOpen(store);
    const participant = await participate({ store: kept });
    await participant.sync();
    await participant.revokeIdentity();
    const code = 'ERR_E2EE_IDENTITY_REVOKED';
    expect(await codeOf(() => participant.sync())).toBe(code);
    expect(await codeOf(() => participant.sendEncryptedMessage(rid, 'secret'))).toBe(code);
    expect(await codeOf(() => participant.getEncryptedRoomKey(rid))).toBe(code);
    await participant.close();
    expect(await codeOf(() => participate({ store }))).toBe(code);
  });

  test('after close, every call says so', async () => {
    const participant = await participate();
    await participant.close();
    expect(await codeOf(() => participant.sync())).toBe('ERR_E2EE_CLOSED');
    await participant.close();
  });
});
