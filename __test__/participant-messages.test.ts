import { once } from 'events';
import { mkdtempSync, rmSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import {
  type DecryptedMessage,
  MemoryStore,
  Participant,
  type ParticipantOptions,
  type RecordStore,
  RestWorkspace,
  SqliteStore,
} from '..';
import { codeOf } from './helpers';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';

const PASSPHRASE = 'correct horse battery staple';
/** How much sooner claims run out than they should: a lease of a minute in 60 ms. */
const HASTE = 1000;

/** A store that a participant cannot close, as if its process had been killed. */
function keptOpen(store: RecordStore, changes: Partial<RecordStore> = {}): RecordStore {
  return {
    vault: store.vault,
    load: (prefix) => store.load(prefix),
    commit: (batch, claims) => store.commit(batch, claims),
    claim: (id, ttl) => store.claim(id, Math.max(1, ttl / HASTE)),
    close: async () => undefined,
    ...changes,
  };
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
});
