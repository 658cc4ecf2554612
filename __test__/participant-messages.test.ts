import { spawn } from 'child_process';
import { once } from 'events';
import { mkdtempSync, rmSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { Readable } from 'stream';
import {
  type DecryptedMessage,
  MemoryStore,
  Participant,
  type ParticipantOptions,
  RealtimeWorkspace,
  type RecordStore,
  RestWorkspace,
  SqliteStore,
} from '..';
import { codeOf } from './helpers';
import { storeOver } from './participate';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';

const PASSPHRASE = 'correct horse battery staple';
/** How much sooner claims run out than they should: a lease of a minute in 60 ms. */
const HASTE = 1000;

/** A store that a participant cannot close, as if its process had been killed. */
function keptOpen(store: RecordStore, changes: Partial<RecordStore> = {}): RecordStore {
  return storeOver(store, {
    claim: (id, ttl) => store.claim(id, Math.max(1, ttl / HASTE)),
    close: async () => undefined,
    ...changes,
  });
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(['7.0', '8.8'] as const)('in a workspace of version %s', (version) => {
  const flavour = version === '7.0' ? 'web-7' : 'web-8';
  let workspace: Workspace;
  let bot: Account;
  let ann: Person;
  let rid: string;
  let open: Participant[];

  beforeEach(async () => {
    workspace = await Workspace.start({ version, rateLimits: false });
    bot = workspace.createUser('bot', { roles: ['bot'] });
    ann = await Person.join(workspace, workspace.createUser('ann'), flavour);
    rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
    open = [];
  });

  afterEach(async () => {
    for (const participant of open) await participant.close();
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

  /** Brings the room's key to both, and begins to read. */
  async function settle(participant: Participant): Promise<void> {
    await participant.sync();
    await ann.fetchKeys(rid);
  }

  function listen(participant: Participant): DecryptedMessage[] {
    const told: DecryptedMessage[] = [];
    participant.on('message', (message) => told.push(message));
    return told;
  }

  /** So many messages of Ann's, the quick way: the content of one of them again and again. */
  async function flood(count: number) {
    const first = await ann.say(rid, 'a secret that is said often');
    const { content } = workspace.message(first) as { content: unknown };
    const ids = [first];
    for (let i = 1; i < count; i += 1) {
      const draft = { rid, t: 'e2e', msg: '', content, _id: `flood${i}` };
      ids.push(workspace.addMessage(ann.account, draft)._id);
    }
    return ids;
  }

  test('a message is told again when the process was killed before it acknowledged it', async () => {
    const store = await MemoryStore.open();
    let hang = false;
    const first = await participate({
      store: keptOpen(store, {
        commit: (batch, claims) =>
          hang && claims?.length ? new Promise(() => undefined) : store.commit(batch, claims),
      }),
    });
    await settle(first);
    hang = true;
    const id = await ann.say(rid, 'secret');
    const told = listen(first);
    const sync = first.sync().catch(() => undefined);
    while (told.length === 0) await pause(5);
    await first.close();
    await sync;

    const second = await participate({ store: keptOpen(store) });
    const again = listen(second);
    await pause(100);
    await second.sync();
    expect(again.map(({ messageId }) => messageId)).toEqual([id]);
    await second.close();

    const third = await participate({ store: keptOpen(store) });
    const never = listen(third);
    await pause(100);
    await third.sync();
    expect(never).toEqual([]);
  });

  test('an acknowledgement that fails is made later, and the message is not told again', async () => {
    const store = await MemoryStore.open();
    let failures = 0;
    const participant = await participate({
      store: keptOpen(store, {
        commit: async (batch, claims) => {
          if (claims?.length && failures++ < 1) throw new Error('the disk is full');
          return store.commit(batch, claims);
        },
      }),
    });
    await settle(participant);
    const told = listen(participant);
    const id = await ann.say(rid, 'secret');
    await participant.sync();
    expect(told.map(({ messageId }) => messageId)).toEqual([id]);
    expect(failures).toBe(2);
    const [line] = await participant.auditTrail({ action: 'read' });
    expect(line).toMatchObject({ appId: 'test', details: { roomId: rid, messageId: id } });
    await pause(100);
    await participant.sync();
    expect(told).toHaveLength(1);
  });

  test('a reaction to a message, over whatever way it comes, does not tell it again', async () => {
    const participant = await participate();
    await settle(participant);
    const told = listen(participant);
    const id = await ann.say(rid, 'secret');
    await participant.sync();
    workspace.editMessage(id, (message) => {
      Object.assign(message, { reactions: { ':+1:': { usernames: ['ann'] } } });
    });
    await participant.sync();
    await participant.sync();
    expect(told).toHaveLength(1);
    const { content } = workspace.message(id) as { content: unknown };
    await ann.rest.post('chat.update', { roomId: rid, msgId: id, content });
    await participant.sync();
    expect(told.map(({ messageId }) => messageId)).toEqual([id, id]);
  });

  test('nothing of a long gap is lost, in order, in pages where there are any', async () => {
    const participant = await participate();
    await settle(participant);
    const told = listen(participant);
    const ids = await flood(3_000);
    await participant.sync();
    expect(told.map(({ messageId }) => messageId)).toEqual(ids);
    const pages = workspace.requests.to('chat.syncMessages');
    if (version === '7.0') expect(pages.length).toBeLessThan(5);
    else expect(pages.length).toBeGreaterThan(10);
    await participant.sync();
    expect(told).toHaveLength(ids.length);
  });

  test('two processes share a store: each message is told once', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
    const secret = Buffer.alloc(32, 1);
    const path = join(folder, 'store');
    const one = await participate({ store: await SqliteStore.open(path, { secret }) });
    const two = await participate({ store: await SqliteStore.open(path, { secret }) });
    await settle(one);
    await two.sync();
    const told = [listen(one), listen(two)];
    const ids = await flood(300);
    await Promise.all([one.sync(), two.sync()]);
    await Promise.all([one.sync(), two.sync()]);
    expect(told.flatMap((messages) => messages.map(({ messageId }) => messageId)).sort()).toEqual(
      [...ids].sort(),
    );
    await one.close();
    await two.close();
    rmSync(folder, { recursive: true });
  });

  test('the audit trail is filtered by room, action, user and time, and can be limited', async () => {
    const participant = await participate();
    await settle(participant);
    const between = Date.now();
    await pause(2);
    const id = await ann.say(rid, 'secret');
    await participant.sync();
    await participant.sendEncryptedMessage(rid, 'secret one');
    await participant.sendEncryptedMessage(rid, 'secret two');
    const all = await participant.auditTrail();
    expect(all.map(({ ts }) => ts)).toEqual(all.map(({ ts }) => ts).sort());
    const actions = (lines: { action: string }[]) => lines.map(({ action }) => action);
    expect(actions(await participant.auditTrail({ since: between + 1 }))).toEqual([
      'read',
      'sent',
      'sent',
    ]);
    expect(await participant.auditTrail({ until: between })).toEqual(all.slice(0, -3));
    expect(await participant.auditTrail({ action: 'read' })).toMatchObject([
      { details: { roomId: rid, messageId: id } },
    ]);
    expect(await participant.auditTrail({ roomId: 'another' })).toEqual([]);
    const given = await participant.auditTrail({ userId: ann.account._id, roomId: rid });
    expect(actions(given)).toEqual(['keyGiven']);
    expect(await participant.auditTrail({ limit: 2 })).toEqual(all.slice(-2));
    expect(await codeOf(() => participant.auditTrail({ since: -1 }))).toBe(
      'ERR_E2EE_INVALID_ARGUMENT',
    );
    expect(await codeOf(() => participant.auditTrail({ room: rid } as never))).toBe(
      'ERR_E2EE_INVALID_ARGUMENT',
    );
  });

  test('a message with an impossible id, or a key that never was, keeps no other from being read', async () => {
    const participant = await participate();
    await settle(participant);
    const told = listen(participant);
    const first = await ann.say(rid, 'secret');
    const { content } = workspace.message(first) as { content: object };
    workspace.addMessage(ann.account, { rid, t: 'e2e', msg: '', content, _id: 'x'.repeat(5000) });
    const refused = once(participant, 'undecryptable');
    const last = await ann.say(rid, 'secret');
    await participant.sync();
    expect(told.map(({ messageId }) => messageId)).toEqual([first, last]);
    expect((await refused)[0]).toMatchObject({ error: { code: 'ERR_E2EE_MALFORMED_ENVELOPE' } });
  });

  /** A link as Rocket.Chat's clients write it. */
  const link = (id: string, site = workspace.url) => `[ ](${site}/group/room?msg=${id})`;

  test('quotes are resolved, and quotes of quotes as deep as the workspace allows', async () => {
    workspace.setSetting('Site_Url', workspace.url);
    const participant = await participate();
    await settle(participant);
    const told = listen(participant);
    const one = await ann.say(rid, 'secret one');
    const two = await ann.say(rid, `${link(one)} secret two`);
    const three = await ann.say(rid, `${link(two)} secret three`);
    await ann.say(rid, `${link(three)} ${link(one)} secret four`);
    await participant.sync();
    const last = told.at(-1) as DecryptedMessage;
    const quotes = await participant.resolveQuotes(last);
    expect(quotes).toMatchObject([
      {
        author_name: 'ann',
        text: `${link(two)} secret three`,
        message_link: `${workspace.url}/group/room?msg=${three}`,
        attachments: [{ text: `${link(one)} secret two`, attachments: [] }],
      },
      { text: 'secret one', ts: expect.anything() },
    ]);
    expect(await participant.resolveQuotes(told[0] as DecryptedMessage)).toEqual([]);
  });

  test('loops, foreign rooms, other sites and what is gone are left out of quotes', async () => {
    workspace.setSetting('Site_Url', workspace.url);
    const participant = await participate();
    await settle(participant);
    const told = listen(participant);
    const foreign = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
    const elsewhere = workspace.addMessage(ann.account, { rid: foreign, msg: 'not for the bot' });
    const loop = 'loopingTo';
    await ann.say(rid, `${link('loopingBack')} secret loop`, { _id: loop });
    await ann.say(
      rid,
      [link(loop), link(elsewhere._id), link('gone'), link(loop, 'https://evil.example')].join(' '),
      { _id: 'loopingBack' },
    );
    await participant.sync();
    const quotes = await participant.resolveQuotes(told.at(-1) as DecryptedMessage);
    expect(quotes).toMatchObject([{ text: `${link('loopingBack')} secret loop` }]);
    expect(quotes[0]?.attachments).toEqual([]);
    const other = { ...told[0], document: { ...told[0]?.document, rid: foreign } };
    expect(await codeOf(() => participant.resolveQuotes(other as DecryptedMessage))).toBe(
      'ERR_E2EE_ROOM_NOT_AUTHORIZED',
    );
  });

  test.each(['bytes', 'a stream'])('an upload of %s has its metadata encrypted', async (kind) => {
    const participant = await participate();
    await settle(participant);
    const data = Buffer.from('the bytes of a secret image');
    const { messageId } = await participant.sendEncryptedFile(rid, {
      name: 'secret.tar.png',
      type: 'image/png',
      data: kind === 'bytes' ? data : Readable.from([data.subarray(0, 3), data.subarray(3)]),
      dimensions: { width: 8, height: 6 },
      msg: 'look',
    });
    const stored = workspace.message(messageId) as { file?: { _id: string } };
    const read = (await ann.read(rid, stored)) as unknown as {
      attachments: Record<string, unknown>[];
      files: Record<string, unknown>[];
    };
    expect(read.files).toMatchObject([
      { name: 'secret.tar.png', size: data.length, format: 'png' },
    ]);
    expect(read.attachments).toMatchObject([
      { image_size: data.length, image_dimensions: { width: 8, height: 6 } },
    ]);
    const upload = workspace.upload(stored.file?._id ?? '')?.upload as { content?: object };
    const metadata = await ann.read(rid, { ...stored, content: upload.content });
    const { encryption, hashes } = read.attachments[0] ?? {};
    const hashed = version === '8.8' || kind === 'bytes';
    expect(metadata).toMatchObject({
      type: 'image/png',
      typeGroup: 'image',
      name: 'secret.tar.png',
      encryption,
      ...(hashed && { hashes }),
    });
    expect(workspace.requests.containing('the bytes of')).toEqual([]);
  });

  test('a file without an extension has the format of its clients', async () => {
    const participant = await participate();
    await settle(participant);
    const data = Buffer.from('x');
    const { messageId } = await participant.sendEncryptedFile(rid, { name: '.profile', data });
    const read = await ann.read(rid, workspace.message(messageId) as object);
    expect(read).toMatchObject({ attachments: [{ format: 'file', size: 1 }] });
  });

  test('while the workspace has encryption off, no key is made; then everything resumes', async () => {
    workspace.setSetting('E2E_Enable', false);
    const participant = await participate();
    const errors: unknown[] = [];
    participant.on('error', (event) => errors.push(event));
    await pause(20);
    await participant.sync();
    await participant.sync();
    expect(errors).toMatchObject([{ error: { code: 'ERR_E2EE_DISABLED' } }]);
    expect(workspace.user(bot._id).e2e).toBeUndefined();
    expect(workspace.requests.to('e2e.setUserPublicAndPrivateKeys')).toHaveLength(1); // Ann's
    expect(workspace.requests.to('e2e.fetchUsersWaitingForGroupKey')).toEqual([]);
    expect(await codeOf(() => participant.sendEncryptedMessage(rid, 'secret'))).toBe(
      'ERR_E2EE_DISABLED',
    );
    workspace.setSetting('E2E_Enable', true);
    await participant.sync();
    await ann.fetchKeys(rid);
    const { messageId } = await participant.sendEncryptedMessage(rid, 'secret');
    expect(await ann.readById(rid, messageId)).toBe('secret');
    expect(errors).toHaveLength(1);
    const asked = workspace.requests.to('settings.public').length;
    await participant.sync();
    await participant.sync();
    expect(workspace.requests.to('settings.public')).toHaveLength(asked);
  });

  test('mentions and files follow the settings of the workspace', async () => {
    workspace.setSetting('E2E_Enabled_Mentions', false);
    workspace.setSetting('E2E_Enable_Encrypt_Files', false);
    const participant = await participate();
    await settle(participant);
    const message = { msg: 'secret', mentions: ['@ann'] };
    const { messageId } = await participant.sendEncryptedMessage(rid, message);
    expect(workspace.message(messageId)?.mentions).toEqual([]);
    const file = { name: 'secret', data: Buffer.from('secret') };
    expect(await codeOf(() => participant.sendEncryptedFile(rid, file))).toBe('ERR_E2EE_DISABLED');
    expect(workspace.requests.to('rooms.media')).toEqual([]);
  });

  test('what a key has encrypted is counted, also over a restart', async () => {
    const store = await MemoryStore.open();
    const participant = await participate({ store: keptOpen(store) });
    await settle(participant);
    const count = async (one: Participant) => (await one.getRoomKeyHistory(rid))[0]?.messages;
    expect(await count(participant)).toBe(0);
    const { messageId } = await participant.sendEncryptedMessage(rid, 'secret');
    await participant.editEncryptedMessage(rid, messageId, 'another secret');
    expect(await count(participant)).toBe(2);
    await participant.close();
    const again = await participate({ store });
    expect(await count(again)).toBe(1024);
    await again.sync();
    await again.sendEncryptedMessage(rid, 'secret');
    expect(await count(again)).toBe(1025);
  });

  /** A participant over DDP, with the account's password. */
  async function connect(): Promise<Participant> {
    const participant = await participate({
      workspace: new RealtimeWorkspace({
        url: workspace.url,
        username: bot.username,
        password: bot.password,
      }),
      rooms: 'all',
    });
    await participant.start();
    return participant;
  }

  test('a room that was left is watched again after the account is invited back', async () => {
    const participant = await connect();
    await ann.fetchKeys(rid);
    const name = `${rid}/deleteMessage`;
    const watched = () => workspace.requests.entries.filter(({ body }) => body.includes(name));
    while (watched().length < 1) await pause(10);
    workspace.removeMember(rid, bot);
    await pause(100);
    workspace.addMember(rid, bot);
    while (watched().length < 2) await pause(10);
    const told = once(participant, 'message');
    await ann.say(rid, 'secret');
    expect((await told)[0].document.msg).toBe('secret');
  });

  test('what a password has logged in is logged out on closing', async () => {
    const tokens = () => workspace.user(bot._id).services.resume.loginTokens.length;
    const before = tokens();
    const participant = await connect();
    expect(tokens()).toBe(before + 1);
    await participant.close();
    expect(tokens()).toBe(before);
    expect(workspace.openSockets(bot._id)).toBe(0);
  });

  test('after closing, the process exits by itself', async () => {
    const script = `
      const { MemoryStore, Participant, RealtimeWorkspace } = require('..');
      (async () => {
        const [url, username, password] = process.argv.slice(1);
        const participant = await Participant.open({
          appId: 'child', passphrase: 'correct horse', rooms: 'all',
          workspace: new RealtimeWorkspace({ url, username, password }),
          store: await MemoryStore.open(),
        });
        await participant.start();
        await participant.close();
      })();`;
    const args = ['-e', script, workspace.url, bot.username, bot.password];
    const child = spawn(process.execPath, args, { cwd: __dirname, stdio: 'inherit' });
    const [code] = await once(child, 'exit');
    expect(code).toBe(0);
  }, 20_000);
});
