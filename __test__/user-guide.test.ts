/*
 * What Rocket.Chat's user guide to end-to-end encryption tells people that they can do, for what a
 * participant can do of it; the headings are the guide's, the sentences our own. Where a person is
 * needed, it is the WebCrypto client, which has nothing of ours.
 */
import { createHash } from 'crypto';
import { once } from 'events';
import { buffer } from 'stream/consumers';
import {
  encryptedContentOf,
  MemoryStore,
  Participant,
  type ParticipantOptions,
  RealtimeWorkspace,
  type RecordStore,
  RestWorkspace,
} from '..';
import { codeOf } from './helpers';
import { storeOver } from './participate';
import client from './webcrypto-client/client.js';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';

jest.setTimeout(20_000);

describe.each(['7.0', '8.8'] as const)('the user guide, with a server of %s', (version) => {
  const flavour = version === '7.0' ? 'web-7' : 'web-8';
  let workspace: Workspace;
  let bot: Account;
  let ann: Person;
  let closers: (() => unknown)[];

  beforeEach(async () => {
    workspace = await Workspace.start({ version, rateLimits: false });
    bot = workspace.createUser('bot', { roles: ['bot'] });
    ann = await Person.join(workspace, workspace.createUser('ann'), flavour);
    closers = [];
  });

  afterEach(async () => {
    for (const close of closers) await close();
    // What people say never reaches the server in clear.
    expect(workspace.requests.containing('secret')).toEqual([]);
    await workspace.close();
  });

  async function optionsOf(
    change: Partial<ParticipantOptions> = {},
  ): Promise<ParticipantOptions & { passphrase?: string }> {
    const { url } = workspace;
    const { username, password } = bot;
    return {
      appId: 'guide',
      workspace: new RealtimeWorkspace({ url, username, password }),
      store: await MemoryStore.open(),
      rooms: 'all',
      ...change,
    };
  }

  async function device(change: Partial<ParticipantOptions> = {}): Promise<Participant> {
    const participant = await Participant.open(await optionsOf(change));
    closers.push(() => participant.close());
    return participant;
  }

  const secondFactor = () => ({
    method: 'password',
    code: createHash('sha256').update(bot.password).digest('hex'),
  });

  /** The account's private key, opened by a web client. */
  async function webClientOpens(password: string): Promise<boolean> {
    const stored = workspace.user(bot._id).e2e?.private_key ?? '';
    return client.unlockPrivateKey('web-8', stored, password, bot._id).then(
      () => true,
      () => false,
    );
  }

  /** A store that a participant cannot close. */
  const keptOpen = (store: RecordStore) => storeOver(store, { close: async () => undefined });

  const stored = (id: string) => JSON.parse(JSON.stringify(workspace.message(id)));

  async function told(participant: Participant): Promise<string> {
    const [{ passphrase }] = await once(participant, 'passphrase');
    return passphrase;
  }

  describe('Enabling E2EE', () => {
    test('nothing is encrypted before an administrator switches it on, and then all is ready', async () => {
      workspace.setSetting('E2E_Enable', false);
      const participant = await device({ passphrase: 'correct horse' });
      await participant.sync().catch(() => undefined);
      expect(workspace.user(bot._id).e2e).toBeUndefined();
      workspace.setSetting('E2E_Enable', true);
      await participant.sync();
      expect(workspace.user(bot._id).e2e).toBeDefined();
      expect(await webClientOpens('correct horse')).toBe(true);
    });
  });

  describe('Save your E2EE password', () => {
    test('a new password is shown, once, and the server does not have it', async () => {
      const store = await MemoryStore.open();
      const participant = await device({ store });
      const password = await told(participant);
      expect(password.split(' ')).toHaveLength(12);
      let again = 0;
      participant.on('passphrase', () => {
        again += 1;
      });
      await participant.sync();
      expect(again).toBe(0);
      expect(workspace.requests.containing(password)).toEqual([]);
      expect(await webClientOpens(password)).toBe(true);
    });

    test('once it is saved, encrypted rooms can be made and messages sent', async () => {
      const participant = await device();
      await told(participant);
      const { roomId } = await participant.createEncryptedRoom({
        type: 'direct',
        members: ['ann'],
      });
      const { messageId } = await participant.sendEncryptedMessage(roomId, 'a secret');
      await ann.fetchKeys(roomId);
      expect(await ann.readById(roomId, messageId)).toBe('a secret');
    });
  });

  describe('Enter your E2EE password', () => {
    test('the saved password unlocks rooms and messages on another device', async () => {
      const first = await device();
      const passphrase = await told(first);
      const { roomId } = await first.createEncryptedRoom({ type: 'direct', members: ['ann'] });
      const { messageId } = await first.sendEncryptedMessage(roomId, 'a secret');
      const second = await device({ passphrase });
      await second.sync();
      expect((await second.decryptMessage(stored(messageId))).document.msg).toBe('a secret');
      expect(await second.trust.fingerprint()).toBe(await first.trust.fingerprint());
    });

    test('a wrong password is told and unlocks nothing; the right one still does', async () => {
      await device({ passphrase: 'correct horse' });
      const keys = workspace.user(bot._id).e2e;
      for (const passphrase of ['wrong', 'Correct horse', 'correct horse ']) {
        expect(await codeOf(() => device({ passphrase }))).toBe('ERR_E2EE_WRONG_PASSPHRASE');
      }
      // Nor does a device that has none make other keys.
      expect(await codeOf(() => device())).toBe('ERR_E2EE_WRONG_PASSPHRASE');
      expect(workspace.user(bot._id).e2e).toEqual(keys);
      await device({ passphrase: 'correct horse' });
    });
  });

  describe('Create an encrypted room', () => {
    test.each([
      ['a direct message', { type: 'direct', members: ['ann'] }],
      ['a private channel', { type: 'channel', name: 'plans', members: ['ann'] }],
      [
        "a private team's channel",
        { type: 'channel', name: 'plans', members: ['ann'], teamId: 'teamId0000000001' },
      ],
    ] as const)('%s is encrypted from the start', async (_name, room) => {
      const participant = await device({ passphrase: 'correct horse' });
      const { roomId } = await participant.createEncryptedRoom(room);
      expect((await participant.roomEncryption(roomId)).encrypted).toBe(true);
      const { messageId } = await participant.sendEncryptedMessage(roomId, 'a secret');
      await ann.fetchKeys(roomId);
      expect(await ann.readById(roomId, messageId)).toBe('a secret');
    });

    test('a discussion is encrypted from the start', async () => {
      const participant = await device({ passphrase: 'correct horse' });
      const { roomId: parentRoomId } = await participant.createEncryptedRoom({
        type: 'channel',
        name: 'plans',
        members: ['ann'],
      });
      const { roomId } = await participant.createEncryptedRoom({
        type: 'discussion',
        parentRoomId,
        name: 'details',
        members: ['ann'],
      });
      const { messageId } = await participant.sendEncryptedMessage(roomId, 'a secret');
      await ann.fetchKeys(roomId);
      expect(await ann.readById(roomId, messageId)).toBe('a secret');
    });
  });

  describe('Encrypt an existing room, and end that', () => {
    test('encryption is switched on in a room that has messages, which stay as they are', async () => {
      const rid = workspace.createRoom('p', [bot, ann.account])._id;
      await ann.rest.post('chat.sendMessage', { message: { rid, msg: 'hello' } });
      const participant = await device({ passphrase: 'correct horse', rooms: [rid] });
      await participant.setRoomEncryption(rid, true);
      const { messageId } = await participant.sendEncryptedMessage(rid, 'a secret');
      await ann.fetchKeys(rid);
      expect(await ann.readById(rid, messageId)).toBe('a secret');
      expect(workspace.messagesIn(rid).map(({ t, msg }) => [t, msg])).toEqual([
        [undefined, 'hello'],
        ['room_e2e_enabled', 'bot'],
        ['e2e', ''],
      ]);
    });

    test('encryption is switched off: what was said stays encrypted, and readable', async () => {
      const rid = workspace.createRoom('p', [bot, ann.account], { encrypted: true })._id;
      const participant = await device({ passphrase: 'correct horse', rooms: [rid] });
      const { messageId } = await participant.sendEncryptedMessage(rid, 'a secret');
      await participant.setRoomEncryption(rid, false);
      expect(workspace.message(messageId)).toMatchObject({ t: 'e2e', msg: '' });
      expect((await participant.decryptMessage(stored(messageId))).document.msg).toBe('a secret');
      expect(await codeOf(() => participant.sendEncryptedMessage(rid, 'a secret'))).toBe(
        'ERR_E2EE_ROOM_NOT_ENCRYPTED',
      );
    });

    test('who may not switch it is told so', async () => {
      const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
      const participant = await device({ passphrase: 'correct horse', rooms: [rid] });
      await expect(participant.setRoomEncryption(rid, false)).rejects.toMatchObject({
        code: 'ERR_E2EE_WORKSPACE',
        errorType: 'error-action-not-allowed',
      });
    });
  });

  describe('Identify encrypted rooms and messages', () => {
    test('encrypted rooms are told from others', async () => {
      const participant = await device({ passphrase: 'correct horse', rooms: [] });
      const [secret, open] = [true, false].map(
        (encrypted) => workspace.createRoom('p', [bot, ann.account], { encrypted })._id,
      ) as [string, string];
      for (const rid of [secret, open]) await participant.authorizeRoom(rid);
      expect(await participant.roomEncryption(secret)).toMatchObject({
        encrypted: true,
        keyId: workspace.room(secret).e2eKeyId,
        holdsKey: true,
      });
      expect(await participant.roomEncryption(open)).toMatchObject({ encrypted: false });
    });

    test('encrypted messages are told from others', async () => {
      const rid = workspace.createRoom('p', [bot, ann.account])._id;
      const reply = await ann.rest.post('chat.sendMessage', { message: { rid, msg: 'hello' } });
      const participant = await device({ passphrase: 'correct horse', rooms: [rid] });
      await participant.setRoomEncryption(rid, true);
      const { messageId } = await participant.sendEncryptedMessage(rid, 'a secret');
      expect(encryptedContentOf(reply.body.message)).toBeUndefined();
      expect(encryptedContentOf(stored(messageId))).toBeDefined();
      expect(await codeOf(() => participant.decryptMessage(reply.body.message))).toBe(
        'ERR_E2EE_INVALID_ARGUMENT',
      );
    });
  });

  describe('Messages and files in encrypted rooms', () => {
    test('only the sender and the members read what is said; not the server, nor its search', async () => {
      const rid = workspace.createRoom('p', [bot, ann.account], { encrypted: true })._id;
      const participant = await device({ passphrase: 'correct horse', rooms: [rid] });
      await participant.sync();
      await ann.fetchKeys(rid);
      const asked = await ann.say(rid, 'a secret question');
      const { messageId } = await participant.sendEncryptedMessage(rid, 'a secret answer');
      expect(await ann.readById(rid, messageId)).toBe('a secret answer');
      const read = await participant.decryptMessage(stored(asked));
      expect(read.document.msg).toBe('a secret question');
      expect(JSON.stringify(workspace.messagesIn(rid))).not.toContain('secret');
      // Somebody outside has no key.
      const eve = await Person.join(workspace, workspace.createUser('eve'), flavour);
      expect(eve.keysOf(rid).current).toBeUndefined();
      expect(workspace.subscription(rid, eve.account._id)).toBeUndefined();
    });

    test('files are encrypted too, with their names and types', async () => {
      const rid = workspace.createRoom('p', [bot, ann.account], { encrypted: true })._id;
      const participant = await device({ passphrase: 'correct horse', rooms: [rid] });
      await participant.sync();
      await ann.fetchKeys(rid);
      const data = Buffer.from('a secret plan '.repeat(1000));
      const { messageId } = await participant.sendEncryptedFile(rid, {
        name: 'secret-plan.txt',
        type: 'text/plain',
        data,
      });
      const message = stored(messageId);
      expect(JSON.stringify(message)).not.toMatch(/secret|text\/plain/);
      const [file] = message.files;
      expect(workspace.upload(file._id)?.bytes.includes('secret')).toBe(false);
      // A web client opens it.
      const shown = (await ann.read(rid, message)) as unknown as {
        attachments: { title: string; encryption: never; hashes: never }[];
      };
      const [attachment] = shown.attachments;
      if (!attachment) throw new Error('no attachment');
      expect(attachment.title).toBe('secret-plan.txt');
      const bytes = new Uint8Array(workspace.upload(file._id)?.bytes ?? Buffer.alloc(0));
      expect(data.equals(await client.decryptFile(bytes, attachment))).toBe(true);
      // And so does the participant.
      const own = await participant.decryptMessage(message);
      expect(data.equals(await buffer(await participant.downloadFile(own)))).toBe(true);
    });
  });

  describe('Change your E2EE password', () => {
    test('the new password opens the key everywhere, the old one nowhere, and all stays readable', async () => {
      const participant = await device({ passphrase: 'correct horse' });
      const { roomId } = await participant.createEncryptedRoom({
        type: 'direct',
        members: ['ann'],
      });
      const { messageId } = await participant.sendEncryptedMessage(roomId, 'a secret');
      const { public_key } = workspace.user(bot._id).e2e ?? {};
      await participant.changePassphrase('battery staple');
      expect(await webClientOpens('battery staple')).toBe(true);
      expect(await webClientOpens('correct horse')).toBe(false);
      expect(workspace.user(bot._id).e2e?.public_key).toBe(public_key);
      expect((await participant.decryptMessage(stored(messageId))).document.msg).toBe('a secret');
      expect(await codeOf(() => device({ passphrase: 'correct horse' }))).toBe(
        'ERR_E2EE_WRONG_PASSPHRASE',
      );
      const other = await device({ passphrase: 'battery staple' });
      await other.sync();
      expect((await other.decryptMessage(stored(messageId))).document.msg).toBe('a secret');
    });
  });

  describe('Reset your E2EE password', () => {
    /** A room with a key of before and a present one, and what was said under each. */
    async function history(): Promise<{ rid: string; said: [string, string] }> {
      const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
      await ann.createKey(rid);
      const before = await ann.say(rid, 'a secret before');
      await ann.resetKey(rid);
      await ann.serve(rid);
      return { rid, said: [before, await ann.say(rid, 'a secret after')] };
    }

    async function reads(participant: Participant, ids: readonly string[]): Promise<string[]> {
      const results = await participant.decryptMessages(ids.map(stored));
      return results.map((result) => ('code' in result ? result.code : result.document.msg));
    }

    test('it takes a second factor, and without one nothing changes', async () => {
      const participant = await device({ passphrase: 'correct horse' });
      const keys = workspace.user(bot._id).e2e;
      const wrong = { method: 'password', code: 'wrong' };
      const reset = participant.resetIdentity({ twoFactor: wrong });
      await expect(reset).rejects.toMatchObject({
        code: 'ERR_E2EE_WORKSPACE',
        errorType: 'totp-invalid',
      });
      const ambiguous = { twoFactor: secondFactor(), passphrase: 'пароль' };
      expect(await codeOf(() => participant.resetIdentity(ambiguous))).toBe(
        'ERR_E2EE_AMBIGUOUS_PASSPHRASE',
      );
      expect(workspace.user(bot._id).e2e).toEqual(keys);
      expect(await webClientOpens('correct horse')).toBe(true);
    });

    test('the account is logged out everywhere, and has a new password that is shown once', async () => {
      const participant = await device({ passphrase: 'correct horse' });
      const fingerprint = await participant.trust.fingerprint();
      const shown = told(participant);
      await participant.resetIdentity({ twoFactor: secondFactor() });
      const password = await shown;
      expect(await participant.trust.fingerprint()).not.toBe(fingerprint);
      expect(await webClientOpens(password)).toBe(true);
      expect(await webClientOpens('correct horse')).toBe(false);
      // The personal access token is gone with the others; the participant has logged in again.
      const { status } = await fetch(`${workspace.url}/api/v1/me`, {
        headers: { 'x-user-id': bot._id, 'x-auth-token': bot.authToken },
      });
      expect(status).toBe(401);
      await participant.sync();
      const actions = (await participant.auditTrail()).map(({ action }) => action);
      expect(actions).toContain('identityReset');
    });

    test('a device without its store reads nothing until a member shares the keys again', async () => {
      await device({ passphrase: 'a lost password' });
      const { rid, said } = await history();
      const options = await optionsOf();
      const participant = await Participant.reset(options, {
        twoFactor: secondFactor(),
        passphrase: 'battery staple',
      });
      closers.push(() => participant.close());
      await participant.sync();
      const none = 'ERR_E2EE_NO_ROOM_KEY';
      expect(await reads(participant, said)).toEqual([none, none]);
      expect(workspace.room(rid).usersWaitingForE2EKeys).toMatchObject([{ userId: bot._id }]);
      await ann.serve(rid);
      await participant.sync();
      expect(await reads(participant, said)).toEqual(['a secret before', 'a secret after']);
      const { messageId } = await participant.sendEncryptedMessage(rid, 'a secret answer');
      expect(await ann.readById(rid, messageId)).toBe('a secret answer');
      const other = await device({ passphrase: 'battery staple' });
      await other.sync();
      expect(await reads(other, said)).toEqual(['a secret before', 'a secret after']);
    });

    test('a device with its store reads its history at once, and asks for what others must give', async () => {
      const store = await MemoryStore.open();
      const participant = await device({ passphrase: 'correct horse', store });
      const { rid, said } = await history();
      await participant.sync();
      expect(await reads(participant, said)).toEqual(['a secret before', 'a secret after']);
      await participant.resetIdentity({ twoFactor: secondFactor(), passphrase: 'battery staple' });
      expect(workspace.subscription(rid, bot._id)?.E2EKey).toBeUndefined();
      expect(await reads(participant, said)).toEqual(['a secret before', 'a secret after']);
      await ann.serve(rid);
      await participant.sync();
      expect(workspace.subscription(rid, bot._id)?.E2EKey).toBeDefined();
      const { messageId } = await participant.sendEncryptedMessage(rid, 'a secret answer');
      expect(await ann.readById(rid, messageId)).toBe('a secret answer');
      const other = await device({ passphrase: 'battery staple' });
      await other.sync();
      expect(await reads(other, said)).toEqual(['a secret before', 'a secret after']);
    });

    test('with a token alone it is completed when there is a new token', async () => {
      const store = await MemoryStore.open();
      const { url } = workspace;
      const by = (authToken: string) => new RestWorkspace({ url, userId: bot._id, authToken });
      const participant = await device({
        workspace: by(bot.authToken),
        store: keptOpen(store),
        passphrase: 'correct horse',
      });
      await expect(participant.resetIdentity({ twoFactor: secondFactor() })).rejects.toMatchObject({
        code: 'ERR_E2EE_WORKSPACE',
        status: 401,
      });
      expect(workspace.user(bot._id).e2e).toBeUndefined();
      await participant.close();
      const again = await device({ workspace: by(workspace.createToken(bot._id)), store });
      expect(await webClientOpens(await told(again))).toBe(true);
    });

    test('a lost answer is found out, and the reset completed', async () => {
      const participant = await device({ passphrase: 'correct horse' });
      workspace.faults.rest('users.resetE2EKey', { kind: 'drop', when: 'after' });
      await participant.resetIdentity({ twoFactor: secondFactor(), passphrase: 'battery staple' });
      expect(await webClientOpens('battery staple')).toBe(true);
    });
  });
});
