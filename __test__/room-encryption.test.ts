import { once } from 'events';
import { type E2eeError, MemoryStore, Participant, RealtimeWorkspace, RestWorkspace } from '..';
import { codeOf } from './helpers';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';

describe.each(['7.0', '8.8'] as const)('rooms in a workspace of version %s', (version) => {
  const flavour = version === '7.0' ? 'web-7' : 'web-8';
  let workspace: Workspace;
  let bot: Account;
  let ann: Person;
  let bob: Account;
  let closers: (() => unknown)[];
  let participant: Participant;

  beforeEach(async () => {
    workspace = await Workspace.start({ version, rateLimits: false });
    bot = workspace.createUser('bot', { roles: ['bot'] });
    ann = await Person.join(workspace, workspace.createUser('ann'), flavour);
    bob = workspace.createUser('bob');
    closers = [];
    participant = await participate();
  });

  afterEach(async () => {
    for (const close of closers) await close();
    expect(workspace.requests.containing('secret')).toEqual([]);
    await workspace.close();
  });

  async function participate(realtime = false): Promise<Participant> {
    const way = { url: workspace.url, userId: bot._id, authToken: bot.authToken };
    const opened = await Participant.open({
      appId: 'test',
      workspace: realtime ? new RealtimeWorkspace(way) : new RestWorkspace(way),
      store: await MemoryStore.open(),
      passphrase: 'correct horse',
      rooms: [],
    });
    closers.push(() => opened.close());
    return opened;
  }

  async function refusal(call: () => Promise<unknown>): Promise<[string, string | undefined]> {
    try {
      await call();
    } catch (error) {
      const { code, errorType } = error as E2eeError;
      return [code, errorType];
    }
    throw new Error('the call did not fail');
  }

  /** Ann reads what the bot says, and the bot what Ann says. */
  async function talk(rid: string, participating = participant): Promise<void> {
    const { messageId } = await participating.sendEncryptedMessage(rid, 'a secret answer');
    if (!ann.keysOf(rid).current) expect(await ann.fetchKeys(rid)).toBe(true);
    expect(await ann.readById(rid, messageId)).toBe('a secret answer');
    const said = await ann.say(rid, 'a secret question');
    const message = JSON.parse(JSON.stringify(workspace.message(said)));
    expect((await participating.decryptMessage(message)).document.msg).toBe('a secret question');
  }

  test('a private channel is made, encrypted from its first message on', async () => {
    const { roomId, keyId } = await participant.createEncryptedRoom({
      type: 'channel',
      name: 'plans',
      members: ['ann'],
    });
    expect(workspace.room(roomId)).toMatchObject({ t: 'p', encrypted: true, e2eKeyId: keyId });
    expect(await participant.authorizedRooms()).toEqual([roomId]);
    await talk(roomId);
    // Nobody had to switch anything.
    expect(workspace.messagesIn(roomId).map(({ t }) => t)).toEqual(['e2e', 'e2e']);
    expect(
      await refusal(() => participant.createEncryptedRoom({ type: 'channel', name: 'plans' })),
    ).toEqual(['ERR_E2EE_WORKSPACE', 'error-duplicate-channel-name']);
  });

  test("a team's private channel is made", async () => {
    const { roomId } = await participant.createEncryptedRoom({
      type: 'channel',
      name: 'team-plans',
      members: ['ann'],
      teamId: 'teamId0000000001',
    });
    expect(workspace.room(roomId)).toMatchObject({ encrypted: true, teamId: 'teamId0000000001' });
    await talk(roomId);
  });

  test('a direct message is made; one that is there already is switched on', async () => {
    const { roomId } = await participant.createEncryptedRoom({ type: 'direct', members: ['ann'] });
    expect(workspace.room(roomId)).toMatchObject({ t: 'd', encrypted: true });
    await talk(roomId);
    const again = await participant.createEncryptedRoom({ type: 'direct', members: ['ann'] });
    expect(again).toEqual({ roomId, keyId: workspace.room(roomId).e2eKeyId });
    const three = await participant.createEncryptedRoom({
      type: 'direct',
      members: ['ann', 'bob'],
    });
    expect(workspace.room(three.roomId).uids).toHaveLength(3);
    await talk(three.roomId);
  });

  test('a discussion is made in a private channel and in a direct message, not in public', async () => {
    const { roomId: parent } = await participant.createEncryptedRoom({
      type: 'channel',
      name: 'plans',
      members: ['ann'],
    });
    const { roomId: direct } = await participant.createEncryptedRoom({
      type: 'direct',
      members: ['ann'],
    });
    for (const parentRoomId of [parent, direct]) {
      const { roomId } = await participant.createEncryptedRoom({
        type: 'discussion',
        parentRoomId,
        name: 'details',
        members: ['ann'],
      });
      expect(workspace.room(roomId)).toMatchObject({ prid: parentRoomId, encrypted: true });
      await talk(roomId);
    }
    const open = workspace.createRoom('c', [ann.account, bot])._id;
    const discussion = { type: 'discussion', parentRoomId: open, name: 'details' } as const;
    expect(await codeOf(() => participant.createEncryptedRoom(discussion))).toBe(
      'ERR_E2EE_ROOM_NOT_ENCRYPTABLE',
    );
    expect(workspace.messagesIn(open)).toEqual([]);
    expect(workspace.requests.to('rooms.createDiscussion')).toHaveLength(2);
  });

  test('switching off keeps the keys, and switching on again goes on with them', async () => {
    const { roomId, keyId } = await participant.createEncryptedRoom({
      type: 'channel',
      name: 'plans',
      members: ['ann'],
    });
    await talk(roomId);
    const before = await ann.say(roomId, 'a secret before');
    await participant.setRoomEncryption(roomId, false);
    expect(workspace.room(roomId)).toMatchObject({ encrypted: false, e2eKeyId: keyId });
    // History stays readable.
    const message = JSON.parse(JSON.stringify(workspace.message(before)));
    expect((await participant.decryptMessage(message)).document.msg).toBe('a secret before');
    expect(await participant.getRoomKeyHistory(roomId)).toHaveLength(1);
    await participant.setRoomEncryption(roomId, false);
    await participant.setRoomEncryption(roomId, true);
    const sent = await participant.sendEncryptedMessage(roomId, 'secret');
    expect(sent.keyId).toBe(keyId);
    await talk(roomId);
    // Said once each, although it was asked for twice.
    const notices = workspace.messagesIn(roomId).filter(({ t }) => t !== 'e2e');
    expect(notices.map(({ t }) => t)).toEqual(['room_e2e_disabled', 'room_e2e_enabled']);
    const actions = (await participant.auditTrail()).map(({ action }) => action);
    expect(actions).toEqual(
      expect.arrayContaining(['roomCreated', 'encryptionDisabled', 'encryptionEnabled']),
    );
  });

  test('a new key while it was off is taken when it is on again', async () => {
    const { roomId } = await participant.createEncryptedRoom({
      type: 'channel',
      name: 'plans',
      members: ['ann'],
    });
    await talk(roomId);
    workspace.editUser(ann.account._id, (user) => user.roles.push('admin'));
    await participant.setRoomEncryption(roomId, false);
    await participant.setRoomEncryption(roomId, true);
    const keyId = await ann.resetKey(roomId);
    await participant.setRoomEncryption(roomId, false);
    await ann.serve(roomId);
    await participant.sync();
    await participant.setRoomEncryption(roomId, true);
    expect((await participant.sendEncryptedMessage(roomId, 'secret')).keyId).toBe(keyId);
  });

  test('nothing is sent to a room that is switched off, and whoever sent it is told', async () => {
    const { roomId } = await participant.createEncryptedRoom({
      type: 'channel',
      name: 'plans',
      members: ['ann'],
    });
    await participant.setRoomEncryption(roomId, false);
    const file = { name: 'secret.txt', data: Buffer.from('secret') };
    const code = 'ERR_E2EE_ROOM_NOT_ENCRYPTED';
    expect(await codeOf(() => participant.sendEncryptedMessage(roomId, 'secret'))).toBe(code);
    expect(await codeOf(() => participant.editEncryptedMessage(roomId, 'x', 'secret'))).toBe(code);
    expect(await codeOf(() => participant.sendEncryptedFile(roomId, file))).toBe(code);
    expect(workspace.messagesIn(roomId).map(({ t }) => t)).toEqual(['room_e2e_disabled']);
  });

  test('what waits for a key is told as failed when the room is switched off', async () => {
    const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
    await ann.createKey(rid);
    workspace.editSubscription(rid, bot._id, (subscription) => {
      delete subscription.E2ESuggestedKey;
    });
    await participant.authorizeRoom(rid);
    const failed = codeOf(() => participant.sendEncryptedMessage(rid, 'secret'));
    await new Promise((resolve) => setTimeout(resolve, 100));
    await ann.rest.post('rooms.saveRoomSettings', { rid, encrypted: false });
    await participant.sync();
    expect(await failed).toBe('ERR_E2EE_ROOM_NOT_ENCRYPTED');
    // And it does not go out later.
    await ann.rest.post('rooms.saveRoomSettings', { rid, encrypted: true });
    await ann.serve(rid);
    await participant.sync();
    expect(workspace.messagesIn(rid).filter(({ t }) => t === 'e2e')).toEqual([]);
    await talk(rid);
  });

  test('what crosses the switching is ciphertext all the same', async () => {
    const { roomId } = await participant.createEncryptedRoom({
      type: 'channel',
      name: 'plans',
      members: ['ann'],
    });
    await ann.fetchKeys(roomId);
    workspace.editRoom(roomId, (room) => {
      room.encrypted = false;
    });
    // The participant has not heard of it.
    const { messageId } = await participant.sendEncryptedMessage(roomId, 'secret');
    expect(workspace.message(messageId)).toMatchObject({ t: 'e2e', msg: '' });
    expect(await ann.readById(roomId, messageId)).toBe('secret');
  });

  test('without the permission the server refuses, and nothing changes', async () => {
    const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
    await participant.authorizeRoom(rid);
    expect(await refusal(() => participant.setRoomEncryption(rid, false))).toEqual([
      'ERR_E2EE_WORKSPACE',
      'error-action-not-allowed',
    ]);
    expect(workspace.room(rid).encrypted).toBe(true);
    await ann.fetchKeys(rid);
    await talk(rid);
    // Whoever is in a direct message needs none.
    const dm = workspace.createRoom('d', [ann.account, bot])._id;
    await participant.authorizeRoom(dm);
    await participant.setRoomEncryption(dm, true);
    await talk(dm);
  });

  test('rooms that cannot be encrypted, or are not authorised', async () => {
    const open = workspace.createRoom('c', [bot])._id;
    await participant.authorizeRoom(open);
    expect(await codeOf(() => participant.setRoomEncryption(open, true))).toBe(
      'ERR_E2EE_ROOM_NOT_ENCRYPTABLE',
    );
    const other = workspace.createRoom('p', [bot])._id;
    const code = 'ERR_E2EE_ROOM_NOT_AUTHORIZED';
    expect(await codeOf(() => participant.setRoomEncryption(other, true))).toBe(code);
    expect(await codeOf(() => participant.roomEncryption(other))).toBe(code);
    expect(workspace.requests.to('rooms.saveRoomSettings')).toEqual([]);
    const wrong = { type: 'livechat', name: 'x' } as never;
    expect(await codeOf(() => participant.createEncryptedRoom(wrong))).toMatch(/^ERR_E2EE_/);
    workspace.setSetting('E2E_Enable', false);
    await participant.authorizeRoom(other);
    expect(await refusal(() => participant.setRoomEncryption(other, true))).toEqual([
      'ERR_E2EE_WORKSPACE',
      'error-action-not-allowed',
    ]);
  });

  test('a lost answer to the switching is found out', async () => {
    const { roomId } = await participant.createEncryptedRoom({
      type: 'channel',
      name: 'plans',
      members: ['ann'],
    });
    workspace.faults.rest('rooms.saveRoomSettings', {
      kind: 'status',
      status: 400,
      when: 'after',
    });
    await participant.setRoomEncryption(roomId, false);
    expect(workspace.room(roomId).encrypted).toBe(false);
  });

  test('how a room stands: its key, who waits, of whom no key pair is known', async () => {
    const { roomId, keyId } = await participant.createEncryptedRoom({
      type: 'channel',
      name: 'plans',
      members: ['ann', 'bob'],
    });
    const before = await participant.roomEncryption(roomId);
    expect(before).toEqual({
      roomId,
      encrypted: true,
      keyId,
      holdsKey: true,
      waiting: [ann.account._id], // who was given the key, and has not taken it
      withoutKnownKeyPair: [bob._id],
    });
    await ann.fetchKeys(roomId);
    const readers = await participant.roomEncryption(roomId);
    expect(readers).toMatchObject({ waiting: [], withoutKnownKeyPair: [bob._id] });
    const bobby = await Person.join(workspace, bob, flavour);
    const waits = await participant.roomEncryption(roomId);
    expect(waits).toMatchObject({ waiting: [bob._id], withoutKnownKeyPair: [] });
    await participant.sync();
    await bobby.fetchKeys(roomId);
    expect(await participant.roomEncryption(roomId)).toMatchObject({
      waiting: [],
      withoutKnownKeyPair: [],
    });
    await participant.setRoomEncryption(roomId, false);
    expect(await participant.roomEncryption(roomId)).toEqual({
      roomId,
      encrypted: false,
      keyId,
      holdsKey: true,
      waiting: [],
      withoutKnownKeyPair: [],
    });
  });

  test('a room whose key is still to come', async () => {
    const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
    const keyId = await ann.createKey(rid);
    workspace.editSubscription(rid, bot._id, (subscription) => {
      delete subscription.E2ESuggestedKey;
    });
    await participant.authorizeRoom(rid);
    expect(await participant.roomEncryption(rid)).toMatchObject({
      encrypted: true,
      keyId,
      holdsKey: false,
    });
  });

  test('large rooms are read page by page', async () => {
    const many = Array.from({ length: 250 }, (_, i) => workspace.createUser(`user${i}`));
    const rid = workspace.createRoom('p', [bot, ...many], { encrypted: true })._id;
    await participant.authorizeRoom(rid);
    const { withoutKnownKeyPair } = await participant.roomEncryption(rid);
    expect(withoutKnownKeyPair).toHaveLength(250);
    expect(workspace.requests.to('groups.members')).toHaveLength(3);
  });

  test.each([
    ['the room event', 'stream-room-messages'],
    ['the system message', 'stream-notify-user'],
  ])('switching by others is told by %s alone, once', async (_name, lost) => {
    await participant.close();
    const listening = await participate(true);
    await listening.start();
    const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
    await listening.authorizeRoom(rid);
    await ann.fetchKeys(rid);
    await talk(rid, listening);
    workspace.faults.event(lost, { kind: 'lose' }, { times: 1000, uid: bot._id });
    const told: unknown[] = [];
    listening.on('roomEncryption', (event) => told.push(event));
    for (const encrypted of [false, true]) {
      const switched = once(listening, 'roomEncryption');
      await ann.rest.post('rooms.saveRoomSettings', { rid, encrypted });
      expect((await switched)[0]).toEqual({ roomId: rid, encrypted });
      const sent = listening.sendEncryptedMessage(rid, 'secret').then(
        () => 'sent',
        (error) => (error as E2eeError).code,
      );
      expect(await sent).toBe(encrypted ? 'sent' : 'ERR_E2EE_ROOM_NOT_ENCRYPTED');
    }
    expect(told).toHaveLength(2);
  });
});

test('a server that demands encryption refuses to switch it off', async () => {
  const workspace = await Workspace.start({ version: '8.8', rateLimits: false });
  workspace.setSetting('E2E_Force_Encryption_For_Private_Rooms', true);
  const bot = workspace.createUser('bot');
  const participant = await Participant.open({
    appId: 'test',
    workspace: new RestWorkspace({
      url: workspace.url,
      userId: bot._id,
      authToken: bot.authToken,
    }),
    store: await MemoryStore.open(),
    passphrase: 'correct horse',
    rooms: [],
  });
  const { roomId } = await participant.createEncryptedRoom({ type: 'channel', name: 'plans' });
  const refused = participant.setRoomEncryption(roomId, false);
  await expect(refused).rejects.toMatchObject({
    code: 'ERR_E2EE_WORKSPACE',
    errorType: 'error-encrypted-private-rooms-enforced',
  });
  await participant.sendEncryptedMessage(roomId, 'hello');
  // A discussion in a private channel from before the setting is refused too.
  const old = workspace.createRoom('p', [bot], { encrypted: true })._id;
  workspace.editRoom(old, (room) => {
    room.encrypted = false;
  });
  const discussion = { type: 'discussion', parentRoomId: old, name: 'details' } as const;
  await expect(participant.createEncryptedRoom(discussion)).rejects.toMatchObject({
    errorType: 'error-encrypted-private-rooms-enforced',
  });
  await participant.close();
  await workspace.close();
});
