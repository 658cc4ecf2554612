import { once } from 'events';
import { mkdtempSync, rmSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { Readable } from 'stream';
import { buffer } from 'stream/consumers';
import { MemoryStore, Participant, RealtimeWorkspace, SqliteStore } from '..';
import { codeOf } from './helpers';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';

describe.each(['7.0', '8.8'] as const)('over DDP, in a workspace of version %s', (version) => {
  const flavour = version === '7.0' ? 'web-7' : 'web-8';
  let workspace: Workspace;
  let bot: Account;
  let ann: Person;
  let rid: string;
  let participant: Participant;

  beforeEach(async () => {
    workspace = await Workspace.start({ version, rateLimits: false });
    bot = workspace.createUser('bot', { roles: ['bot', 'admin'] });
    ann = await Person.join(workspace, workspace.createUser('ann'), flavour);
    rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
    participant = await Participant.open({
      appId: 'test',
      workspace: new RealtimeWorkspace({
        url: workspace.url,
        username: bot.username,
        password: bot.password,
      }),
      store: await MemoryStore.open(),
      passphrase: 'correct horse',
      rooms: 'all',
    });
    await participant.start();
  });

  afterEach(async () => {
    await participant.close();
    expect(workspace.requests.containing('secret')).toEqual([]);
    await workspace.close();
  });

  test('it creates the key, reads what is said at once, and answers', async () => {
    await ann.fetchKeys(rid);
    const told = once(participant, 'message');
    await ann.say(rid, 'a secret question');
    const [message] = await told;
    expect(message.document.msg).toBe('a secret question');
    const { messageId } = await participant.sendEncryptedMessage(rid, 'a secret answer');
    expect(await ann.readById(rid, messageId)).toBe('a secret answer');
  });

  test('messages can be iterated', async () => {
    await ann.fetchKeys(rid);
    const said = ['secret one', 'secret two', 'secret three'];
    const read = (async () => {
      const messages = [];
      for await (const message of participant) {
        messages.push(message.document.msg);
        if (messages.length === said.length) return messages;
      }
      return messages;
    })();
    for (const msg of said) await ann.say(rid, msg);
    expect(await read).toEqual(said);
  });

  test('somebody who joins is served without being asked for', async () => {
    const bob = await Person.join(workspace, workspace.createUser('bob'), flavour);
    const { messageId } = await participant.sendEncryptedMessage(rid, 'secret');
    const given = once(participant, 'keyDistributed');
    workspace.addMember(rid, bob.account);
    expect((await given)[0]).toEqual({ roomId: rid, userId: bob.account._id });
    await bob.fetchKeys(rid);
    expect(await bob.readById(rid, messageId)).toBe('secret');
  });

  test('a reset by somebody else is followed at once', async () => {
    await ann.fetchKeys(rid);
    const ours = workspace.room(rid).e2eKeyId;
    await ann.resetKey(rid);
    const rotated = once(participant, 'roomKeyRotated');
    await ann.serve(rid);
    const [{ keyId }] = await rotated;
    expect(keyId).toBe(ann.keysOf(rid).current?.keyId);
    expect(keyId).not.toBe(ours);
    const sent = await participant.sendEncryptedMessage(rid, 'secret');
    expect(sent.keyId).toBe(keyId);
  });

  test('what was said while the server was away is told after it is back', async () => {
    await ann.fetchKeys(rid);
    const messages: string[] = [];
    participant.on('message', ({ document }) => messages.push(document.msg));
    await ann.say(rid, 'secret one');
    const away = once(participant, 'disconnected');
    workspace.cutSockets(bot._id);
    await away;
    await ann.say(rid, 'secret two');
    await ann.say(rid, 'secret three');
    const deadline = Date.now() + 10_000;
    while (messages.length < 3 && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(messages).toEqual(['secret one', 'secret two', 'secret three']);
  });

  test('events that come twice are told once', async () => {
    await ann.fetchKeys(rid);
    workspace.faults.event('stream-room-messages', { kind: 'duplicate' }, { times: 100 });
    const messages: string[] = [];
    participant.on('message', ({ document }) => messages.push(document.msg));
    for (const msg of ['secret one', 'secret two']) await ann.say(rid, msg);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await participant.sync();
    expect(messages).toEqual(['secret one', 'secret two']);
  });

  test('a file goes out and comes back, and only readers know its name', async () => {
    const plain = Buffer.from('a secret file '.repeat(20_000));
    const sent = await participant.sendEncryptedFile(rid, {
      name: 'secret-plan.txt',
      type: 'text/plain',
      data: Readable.from([plain.subarray(0, 1000), plain.subarray(1000)]),
      msg: 'the secret plan',
    });
    const stored = workspace.message(sent.messageId) as unknown as Record<string, unknown>;
    expect(JSON.stringify(stored)).not.toContain('secret');
    const message = await participant.decryptMessage(JSON.parse(JSON.stringify(stored)));
    expect(message.document.msg).toBe('the secret plan');
    expect(message.document.attachments?.[0]?.title).toBe('secret-plan.txt');
    expect(plain.equals(await buffer(await participant.downloadFile(message)))).toBe(true);
    // Ann's client opens it too.
    await ann.fetchKeys(rid);
    const read = (await ann.read(rid, stored)) as unknown as { files: { name: string }[] };
    expect(read.files[0]?.name).toBe('secret-plan.txt');
    expect(workspace.requests.containing('secret-plan')).toEqual([]);
  });

  test('a new identity keeps what it can read, and goes on', async () => {
    await ann.fetchKeys(rid);
    const before = await ann.say(rid, 'secret one');
    const fingerprint = await participant.trust.fingerprint();
    await participant.rotateIdentity();
    expect(await participant.trust.fingerprint()).not.toBe(fingerprint);
    const message = JSON.parse(JSON.stringify(workspace.message(before)));
    expect((await participant.decryptMessage(message)).document.msg).toBe('secret one');
    const { messageId } = await participant.sendEncryptedMessage(rid, 'secret two');
    expect(await ann.readById(rid, messageId)).toBe('secret two');
    // The server has the room's key for the new pair.
    const replica = await Participant.open({
      appId: 'test',
      workspace: new RealtimeWorkspace({
        url: workspace.url,
        userId: bot._id,
        authToken: bot.authToken,
      }),
      store: await MemoryStore.open(),
      passphrase: 'correct horse',
      rooms: [rid],
    });
    await replica.sync();
    expect((await replica.decryptMessage(message)).document.msg).toBe('secret one');
    await replica.close();
  });

  test('exported keys open history elsewhere, with their passphrase alone', async () => {
    const { messageId } = await participant.sendEncryptedMessage(rid, 'secret');
    const bundle = await participant.exportKeys('a bundle passphrase');
    expect(bundle).not.toContain('secret');
    const folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
    const store = await SqliteStore.open(join(folder, 'store'), { secret: 'store secret' });
    const archive = await Participant.open({
      appId: 'archive',
      workspace: new RealtimeWorkspace({
        url: workspace.url,
        userId: bot._id,
        authToken: bot.authToken,
      }),
      store,
      passphrase: 'correct horse',
      rooms: [rid],
    });
    const message = JSON.parse(JSON.stringify(workspace.message(messageId)));
    expect(await codeOf(() => archive.decryptMessage(message))).toBe('ERR_E2EE_NO_ROOM_KEY');
    expect(await codeOf(() => archive.importKeys(bundle, 'wrong'))).toBe(
      'ERR_E2EE_WRONG_PASSPHRASE',
    );
    expect(await codeOf(() => archive.importKeys('{}', 'wrong'))).toBe(
      'ERR_E2EE_MALFORMED_ENVELOPE',
    );
    expect(await archive.importKeys(bundle, 'a bundle passphrase')).toEqual({
      keys: 1,
      skippedRooms: 0,
    });
    expect((await archive.decryptMessage(message)).document.msg).toBe('secret');
    await archive.close();
    rmSync(folder, { recursive: true });
  });

  test('the audit trail says what was done, and nothing of what was said', async () => {
    await ann.fetchKeys(rid);
    const told = once(participant, 'message');
    await ann.say(rid, 'secret');
    await told;
    await participant.sendEncryptedMessage(rid, 'secret');
    const trail = await participant.auditTrail();
    const actions = trail.map(({ action }) => action);
    expect(actions).toEqual(
      expect.arrayContaining([
        'identityCreated',
        'roomAuthorized',
        'keyCreated',
        'keyGiven',
        'read',
        'sent',
      ]),
    );
    expect(JSON.stringify(trail)).not.toContain('secret');
    expect(trail.every(({ appId, ts }) => appId === 'test' && ts > 0)).toBe(true);
  });
});
