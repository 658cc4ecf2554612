import { spawn } from 'child_process';
import { mkdtempSync, rmSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { SqliteStore } from '..';
import { participate, postedBy, random, SECRET, storeOver, until } from './participate';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';

jest.setTimeout(60_000);

let folder: string;
let workspace: Workspace;
let bot: Account;
let ann: Person;
let rid: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
  workspace = await Workspace.start({ version: '8.8', rateLimits: false });
  bot = workspace.createUser('bot', { roles: ['bot', 'admin'] });
  ann = await Person.join(workspace, workspace.createUser('ann'), 'web-8');
  rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
});

afterEach(async () => {
  await workspace.close();
  rmSync(folder, { recursive: true });
});

/** Runs a bot that closes; says how it ended, and how long after `close` was done. */
function exitOf(
  way: string,
  when: string,
): Promise<{ code: unknown; after: number; errors: string }> {
  const args = [workspace.url, bot._id, bot.authToken, join(folder, 'store'), rid, 'leave'];
  const child = spawn(process.execPath, [
    '--unhandled-rejections=strict',
    join(__dirname, 'participant-child.js'),
    ...args,
    `${way}/${when}`,
  ]);
  let errors = '';
  let closed = 0;
  child.stdout.on('data', () => {
    closed = Date.now();
  });
  child.stderr.on('data', (data) => {
    errors += data;
  });
  const hung = setTimeout(() => child.kill('SIGKILL'), 15_000);
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(hung);
      resolve({ code: signal ?? code, after: closed && Date.now() - closed, errors });
    });
  });
}

describe.each(['rest', 'realtime'])('over %s', (way) => {
  test.each([
    'idle',
    'in a sync',
    'in a send that waits',
    'in a send without a server',
    'while it reconnects',
    'before it has started',
  ])(
    'the process ends by itself after close: %s',
    async (when) => {
      if (when.startsWith('in a sync')) {
        workspace.faults.rest(
          '*',
          { kind: 'delay', ms: 300 },
          { uid: bot._id, times: 1e6, skip: 6 },
        );
      }
      if (when === 'in a send that waits') {
        const status = { kind: 'status', status: 503 } as const;
        workspace.faults.rest('chat.sendMessage', status, { times: 1e6 });
      }
      if (when === 'in a send without a server') {
        workspace.faults.rest('chat.sendMessage', { kind: 'delay', ms: 60_000 }, { times: 1e6 });
      }
      const cutting = setInterval(() => {
        if (when === 'while it reconnects') workspace.cutSockets(bot._id);
      }, 20);
      const { code, after, errors } = await exitOf(way, when);
      clearInterval(cutting);
      expect({ code, errors }).toEqual({ code: 0, errors: '' });
      expect(after).toBeGreaterThan(0);
      expect(after).toBeLessThan(1000);
    },
    30_000,
  );
});

test('close at any moment ends every call with a code, and the store opens again', async () => {
  const unhandled: unknown[] = [];
  const listen = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', listen);
  const path = join(folder, 'store');
  const draw = random(7);
  for (let turn = 0; turn < 40; turn++) {
    const participant = await participate(workspace, bot, {
      path,
      realtime: turn % 2 === 0,
      rooms: [rid],
    });
    if (draw(2) === 0) await participant.sync();
    const calls = [
      participant.start(),
      participant.sync(),
      participant.sendEncryptedMessage(rid, `secret ${turn}`),
      participant.distributeRoomKeys(),
      ...(draw(4) === 0 ? [participant.resetRoomKey(rid)] : []),
      ...(draw(4) === 0 ? [participant.rotateIdentity()] : []),
      ...(draw(4) === 0 ? [participant.changePassphrase('correct horse battery staple')] : []),
    ];
    const outcomes = Promise.allSettled(calls);
    await new Promise((resolve) => setTimeout(resolve, draw(25)));
    const before = Date.now();
    await Promise.all([participant.close(), participant.close()]);
    for (const outcome of await outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason.code).toMatch(/^ERR_E2EE_/);
    }
    // A second of grace, and the ends of connections and files.
    expect(Date.now() - before).toBeLessThan(3000);
  }
  const last = await participate(workspace, bot, { path, rooms: [rid] });
  await last.sync();
  await ann.fetchKeys(rid);
  const { messageId } = await last.sendEncryptedMessage(rid, 'secret at last');
  expect(await ann.readById(rid, messageId)).toBe('secret at last');
  await last.close();
  expect(unhandled).toEqual([]);
  process.off('unhandledRejection', listen);
  expect(workspace.requests.containing('secret')).toEqual([]);
}, 60_000);

describe('what is under way when it is closed', () => {
  test('ends, where the server answers in time: an answer that a listener sends', async () => {
    const participant = await participate(workspace, bot, { realtime: true, rooms: [rid] });
    await participant.start();
    await ann.fetchKeys(rid);
    const sent: Promise<unknown>[] = [];
    participant.on('message', ({ document }) => {
      sent.push(participant.sendEncryptedMessage(rid, `secret echo of ${document.msg}`));
    });
    const slow = { kind: 'delay', ms: 200, when: 'after' } as const;
    workspace.faults.rest('chat.sendMessage', slow, { uid: bot._id });
    await ann.say(rid, 'a secret');
    await until('it has been posted', () => postedBy(bot, rid, workspace).length === 1);
    await participant.close();
    expect(await Promise.allSettled(sent)).toMatchObject([{ status: 'fulfilled' }]);
  });

  test('is given up after a second, which a listener may leave to itself', async () => {
    const path = join(folder, 'store');
    const participant = await participate(workspace, bot, { path, rooms: [rid] });
    await participant.sync();
    await ann.fetchKeys(rid);
    const errors: unknown[] = [];
    participant.on('error', ({ error }) => errors.push(error));
    participant.on('message', ({ document }) =>
      participant.sendEncryptedMessage(rid, `secret echo of ${document.msg}`),
    );
    workspace.faults.rest('chat.sendMessage', { kind: 'delay', ms: 60_000 }, { uid: bot._id });
    await ann.say(rid, 'a secret');
    await participant.sync();
    const unhandled: unknown[] = [];
    const listen = (reason: unknown) => unhandled.push(reason);
    process.on('uncaughtException', listen).on('unhandledRejection', listen);
    const before = Date.now();
    await participant.close();
    expect(Date.now() - before).toBeLessThan(3000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    process.off('uncaughtException', listen).off('unhandledRejection', listen);
    expect({ errors, unhandled }).toEqual({ errors: [], unhandled: [] });
    // It waits in the store, and goes out once.
    const next = await participate(workspace, bot, { path, rooms: [rid] });
    await next.sync();
    await until('it was sent', () => postedBy(bot, rid, workspace).length > 0);
    await next.close();
    expect(await ann.read(rid, postedBy(bot, rid, workspace)[0] ?? {})).toMatchObject({
      msg: 'secret echo of a secret',
    });
  });

  test('are messages: those that were told are acknowledged', async () => {
    const path = join(folder, 'store');
    const store = await SqliteStore.open(path, { secret: SECRET });
    let commitMs = 0;
    const slow = storeOver(store, {
      commit: async (...batch) => {
        await new Promise((resolve) => setTimeout(resolve, commitMs));
        return store.commit(...batch);
      },
    });
    const first = await participate(workspace, bot, { store: slow, rooms: [rid] });
    await first.sync();
    await ann.fetchKeys(rid);
    commitMs = 50;
    const told: unknown[] = [];
    for (let turn = 0; turn < 5; turn++) await ann.say(rid, `secret ${turn}`);
    let closed: Promise<void> | undefined;
    first.on('message', ({ document }) => {
      told.push(document.msg);
      closed ??= first.close();
    });
    await first.sync().catch(() => undefined);
    await closed;
    const next = await participate(workspace, bot, { path, rooms: [rid] });
    next.on('message', ({ document }) => told.push(document.msg));
    await next.sync();
    expect(told).toEqual([0, 1, 2, 3, 4].map((turn) => `secret ${turn}`));
    // What was told and not acknowledged would be told again in a minute.
    expect(await next.auditTrail({ action: 'read' })).toHaveLength(5);
    await next.close();
  });
});
