import { type ChildProcess, spawn } from 'child_process';
import { once } from 'events';
import { mkdtempSync, rmSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { createInterface } from 'readline';
import { filesWith, participate, postedBy, until } from './participate';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';

jest.setTimeout(60_000);

interface Line {
  id?: number;
  ok?: unknown;
  error?: string;
  event?: string;
  data?: { messageId?: string; document?: { msg?: string } };
}

/** A participant in a process of its own, which does what it is told. */
class Child {
  readonly heard: string[] = [];
  readonly events: string[] = [];
  readonly #process: ChildProcess;
  readonly #answers = new Map<number, (line: Line) => void>();
  #calls = 0;
  #errors = '';
  #fail: (error: Error) => void = () => undefined;
  readonly #ended = new Promise<never>((_, reject) => {
    this.#fail = reject;
  });

  constructor(workspace: Workspace, bot: Account, path: string, rooms: string, way = 'realtime') {
    const args = [workspace.url, bot._id, bot.authToken, path, rooms, 'obey', way];
    this.#process = spawn(process.execPath, [join(__dirname, 'participant-child.js'), ...args]);
    this.#process.stderr?.on('data', (data) => {
      this.#errors += data;
    });
    this.#ended.catch(() => undefined);
    this.#process.once('close', () => {
      this.#fail(new Error(`the process has ended: ${this.#errors}`));
    });
    const stdout = this.#process.stdout;
    if (!stdout) throw new Error('no output');
    createInterface(stdout).on('line', (text) => {
      const line = JSON.parse(text) as Line;
      if (line.event === 'message') this.heard.push(String(line.data?.document?.msg));
      else if (line.event) this.events.push(line.event);
      else if (line.id !== undefined) this.#answers.get(line.id)?.(line);
    });
  }

  /** Calls a method; rejects with its code. */
  async call(method: string, ...args: unknown[]): Promise<unknown> {
    const id = ++this.#calls;
    const answered = new Promise<Line>((resolve) => this.#answers.set(id, resolve));
    this.#process.stdin?.write(`${JSON.stringify({ id, method, args })}\n`);
    const line = await Promise.race([answered, this.#ended]);
    if (line.error !== undefined) throw new Error(line.error);
    return line.ok;
  }

  /** The code that a call fails with. */
  async code(method: string, ...args: unknown[]): Promise<string> {
    return this.call(method, ...args).then(
      () => 'none',
      ({ message }) => message,
    );
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const closed = once(this.#process, 'close');
    this.#process.stdin?.end();
    await closed;
    expect(this.#errors).toBe('');
  }
}

describe.each(['7.0', '8.8'] as const)(
  'two processes on one store, in a workspace of version %s',
  (version) => {
    const flavour = version === '7.0' ? 'web-7' : 'web-8';
    let folder: string;
    let path: string;
    let workspace: Workspace;
    let bot: Account;
    let ann: Person;
    let rid: string;
    let children: Child[];

    beforeEach(async () => {
      folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
      path = join(folder, 'store');
      workspace = await Workspace.start({ version, rateLimits: false });
      bot = workspace.createUser('bot', { roles: ['bot', 'admin'] });
      ann = await Person.join(workspace, workspace.createUser('ann'), flavour);
      rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
      children = [];
    });

    afterEach(async () => {
      for (const child of children) await child.end();
      expect(workspace.requests.containing('secret of')).toEqual([]);
      expect(filesWith(folder, 'secret of')).toEqual([]);
      await workspace.close();
      rmSync(folder, { recursive: true });
    });

    async function two(way?: string): Promise<[Child, Child]> {
      const pair: [Child, Child] = [
        new Child(workspace, bot, path, rid, way),
        new Child(workspace, bot, path, rid, way),
      ];
      children.push(...pair);
      await Promise.all(pair.map((child) => child.call('authorizedRooms')));
      return pair;
    }

    const keyOfRoom = () => workspace.room(rid).e2eKeyId;

    test('each message is handled once in all; sends go out once, in order for each', async () => {
      const [a, b] = await two();
      await Promise.all([a.call('sync'), b.call('sync')]);
      const replay = { kind: 'duplicate' } as const;
      workspace.faults.event('stream-room-messages', replay, { times: 1000, chance: 0.3 });
      const mine = { uid: bot._id, times: 1000, chance: 0.1 };
      workspace.faults.rest('*', { kind: 'drop', when: 'after' }, mine);
      workspace.faults.rest('*', { kind: 'status', status: 503 }, mine);
      await ann.fetchKeys(rid);
      const count = 30;
      const said = Array.from({ length: count }, (_, i) => `secret of ann ${i}`);
      const numbers = Array.from({ length: count }, (_, i) => i);
      await Promise.all([
        (async () => {
          for (const msg of said) await ann.say(rid, msg);
        })(),
        ...numbers.map((i) => a.call('sendEncryptedMessage', rid, `secret of a ${i}`)),
        ...numbers.map((i) => b.call('sendEncryptedMessage', rid, `secret of b ${i}`)),
      ]);
      workspace.faults.clear();
      await Promise.all([a.call('sync'), b.call('sync')]);
      await until('all is heard', () => a.heard.length + b.heard.length >= count);
      expect([...a.heard, ...b.heard].sort()).toEqual([...said].sort());

      const posted = [];
      for (const message of postedBy(bot, rid, workspace)) {
        posted.push((await ann.read(rid, message)).msg);
      }
      for (const name of ['a', 'b']) {
        const own = posted.filter((msg) => msg.startsWith(`secret of ${name} `));
        expect(own).toEqual(numbers.map((i) => `secret of ${name} ${i}`));
      }
      expect(posted).toHaveLength(2 * count);
    }, 60_000);

    test('both create the first key at once: one key, and both use it', async () => {
      const [a, b] = await two();
      const rooms = Array.from(
        { length: 5 },
        () => workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id,
      );
      await Promise.all(
        rooms.flatMap((id) => [a.call('authorizeRoom', id), b.call('authorizeRoom', id)]),
      );
      await Promise.all([a.call('sync'), b.call('sync')]);
      await Promise.all([a.call('sync'), b.call('sync')]);
      for (const id of rooms) {
        const { e2eKeyId } = workspace.room(id);
        for (const [child, msg] of [
          [a, 'secret of a'],
          [b, 'secret of b'],
        ] as const) {
          const sent = await child.call('sendEncryptedMessage', id, msg);
          expect(sent).toMatchObject({ keyId: e2eKeyId });
          await ann.fetchKeys(id);
          const { messageId } = sent as { messageId: string };
          expect(await ann.readById(id, messageId)).toBe(msg);
        }
      }
    }, 60_000);

    test('a key that one has made is known to the other, without the server', async () => {
      const [a, b] = await two('rest');
      await a.call('sync');
      await b.call('sync');
      await a.call('resetRoomKey', rid);
      // The server loses it, as after a crash: only the store has it now.
      workspace.editSubscription(rid, bot._id, (subscription) => {
        delete subscription.E2EKey;
      });
      await ann.fetchKeys(rid);
      const id = await ann.say(rid, 'secret of ann');
      const message = JSON.parse(JSON.stringify(workspace.message(id)));
      expect(await b.call('decryptMessage', message)).toMatchObject({
        document: { msg: 'secret of ann' },
      });
      await b.call('sync');
      expect(await b.call('sendEncryptedMessage', rid, 'secret of b')).toMatchObject({
        keyId: keyOfRoom(),
      });
    });

    test('both write the same room: nothing that either holds is lost', async () => {
      const [a, b] = await two('rest');
      await a.call('sync');
      await b.call('sync');
      // Each gets keys by itself that the other has not loaded, in turns.
      for (let turn = 0; turn < 4; turn++) {
        const who = turn % 2 === 0 ? a : b;
        await who.call('resetRoomKey', rid);
      }
      const ids = async (child: Child) =>
        ((await child.call('getRoomKeyHistory', rid)) as { keyId: string }[])
          .map(({ keyId }) => keyId)
          .sort();
      const held = await ids(a);
      expect(held).toHaveLength(5);
      expect(await ids(b)).toEqual(held);
      for (const child of [a, b]) {
        await child.call('sync');
        const sent = await child.call('sendEncryptedMessage', rid, 'secret of both');
        expect(sent).toMatchObject({ keyId: keyOfRoom() });
      }
    });

    test('a room that one gives up, the other reads and sends to no more', async () => {
      const [a, b] = await two('rest');
      await a.call('sync');
      await b.call('sync');
      await ann.fetchKeys(rid);
      await a.call('deauthorizeRoom', rid);
      const code = 'ERR_E2EE_ROOM_NOT_AUTHORIZED';
      expect(await b.code('sendEncryptedMessage', rid, 'secret of b')).toBe(code);
      const id = await ann.say(rid, 'secret of ann');
      await b.call('sync');
      expect(b.heard).toEqual([]);
      const message = JSON.parse(JSON.stringify(workspace.message(id)));
      expect(await b.code('decryptMessage', message)).toBe(code);
      expect(await b.code('getRoomKeyHistory', rid)).toBe(code);
      expect(b.events).toContain('roomDeauthorized');
      // Nor does what the other writes bring it back.
      await b.call('sync');
      expect(await a.call('authorizedRooms')).toEqual([]);
      expect(await b.call('authorizedRooms')).toEqual([]);
      expect(postedBy(bot, rid, workspace)).toEqual([]);
      await b.call('authorizeRoom', rid);
      await a.call('sendEncryptedMessage', rid, 'secret of a');
    });

    test('an identity that one revokes is revoked for the other', async () => {
      const [a, b] = await two();
      await Promise.all([a.call('sync'), b.call('sync')]);
      await ann.fetchKeys(rid);
      await a.call('revokeIdentity');
      const code = 'ERR_E2EE_IDENTITY_REVOKED';
      expect(await b.code('sendEncryptedMessage', rid, 'secret of b')).toBe(code);
      expect(await b.code('getEncryptedRoomKey', rid)).toBe(code);
      expect(await b.code('resetRoomKey', rid)).toBe(code);
      expect(await b.code('sync')).toBe(code);
      expect(b.events).toContain('identityRevoked');
      await ann.say(rid, 'secret of ann');
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect([...a.heard, ...b.heard]).toEqual([]);
    });

    test('a new identity that one makes is the identity of the other', async () => {
      const [a, b] = await two('rest');
      await a.call('sync');
      await b.call('sync');
      await a.call('rotateIdentity');
      await ann.fetchKeys(rid);
      await ann.resetKey(rid);
      await ann.serve(rid);
      await b.call('sync');
      await a.call('sync');
      for (const child of [a, b]) {
        const sent = await child.call('sendEncryptedMessage', rid, 'secret of both');
        expect(sent).toMatchObject({ keyId: keyOfRoom() });
      }
      const prints = [await a.call('fingerprint'), await b.call('fingerprint')];
      expect(prints[0]).toBe(prints[1]);
    });

    test('what a process leaves in its outbox goes out with the next, once and in order', async () => {
      const [a, b] = await two('rest');
      await a.call('sync');
      await b.call('sync');
      workspace.faults.rest('chat.sendMessage', { kind: 'status', status: 503 }, { times: 1e6 });
      const waiting = Array.from({ length: 5 }, (_, i) =>
        a.code('sendEncryptedMessage', rid, `secret of a ${i}`),
      );
      await new Promise((resolve) => setTimeout(resolve, 300));
      await a.call('close');
      expect(await Promise.all(waiting)).toEqual(waiting.map(() => 'ERR_E2EE_CLOSED'));
      workspace.faults.clear();
      const next = await participate(workspace, bot, { path, rooms: [rid] });
      await Promise.all([next.sync(), b.call('sync')]);
      await next.close();
      await ann.fetchKeys(rid);
      const posted = [];
      for (const message of postedBy(bot, rid, workspace)) {
        posted.push((await ann.read(rid, message)).msg);
      }
      expect(posted).toEqual(waiting.map((_, i) => `secret of a ${i}`));
    });
  },
);
