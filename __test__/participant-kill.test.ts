import { spawn } from 'child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { type E2eeError, type Participant, SqliteStore } from '..';
import { filesWith, participate, postedBy, SECRET } from './participate';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';

/** Kills for each kind of work: `KILLS=100 npx jest participant-kill` makes many. */
const KILLS = Number(process.env.KILLS ?? 4);

/** Few kills lie as far apart as many. */
const SPREAD = Math.max(1, Math.round(20 / KILLS));

/** Lets the child run until some time after it is ready, then kills it; returns what it said. */
function runAndKill(args: string[], after: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(__dirname, 'participant-child.js'), ...args]);
    let output = '';
    let errors = '';
    let ready = false;
    child.stdout.on('data', (data) => {
      output += data;
      if (ready || !output.includes('ready\n')) return;
      ready = true;
      setTimeout(() => child.kill('SIGKILL'), after);
    });
    child.stderr.on('data', (data) => {
      errors += data;
    });
    child.on('close', (_code, signal) => {
      if (signal === 'SIGKILL') resolve(output.split('\n').slice(0, -1));
      else reject(new Error(errors));
    });
  });
}

let folder: string;
let path: string;
let workspace: Workspace;
let bot: Account;
let ann: Person;
let rid: string;
/** What is known: the passphrases that may be right, what was told, sent and acknowledged. */
let passphrases: string[];
let tried: number;
let acknowledged: string[];
let told: string[];
let said: string[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
  path = join(folder, 'store');
  workspace = await Workspace.start({ version: '8.8', rateLimits: false });
  bot = workspace.createUser('bot', { roles: ['bot', 'admin'] });
  ann = await Person.join(workspace, workspace.createUser('ann'), 'web-8');
  rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
  passphrases = ['correct horse'];
  tried = 0;
  acknowledged = [];
  told = [];
  said = [];
});

afterEach(async () => {
  expect(workspace.requests.containing('secret of')).toEqual([]);
  await workspace.close();
  rmSync(folder, { recursive: true });
});

/** With the store, which opens whatever the passphrase is; without, by the passphrase alone. */
async function open(more: { path?: string } = { path }): Promise<Participant> {
  for (const passphrase of [...passphrases].reverse()) {
    try {
      const participant = await participate(workspace, bot, { ...more, passphrase, rooms: [rid] });
      if (!more.path) passphrases = [passphrase];
      return participant;
    } catch (error) {
      if ((error as E2eeError).code !== 'ERR_E2EE_WRONG_PASSPHRASE') throw error;
    }
  }
  throw new Error('no passphrase opens the identity');
}

/** Runs a job until it is killed, and notes what it said. */
async function kill(named: string, number: number): Promise<string[]> {
  const job = jobs[named]?.job ?? named;
  const from = `${passphrases.at(-1)}/${tried}`;
  const args = [workspace.url, bot._id, bot.authToken, path, rid, job, from];
  // From before the first write to after several, a different place each time.
  const lines = await runAndKill(args, (number * 37 * SPREAD) % (jobs[named]?.spread ?? 90));
  for (const line of lines) {
    const [what, value = '', more = ''] = line.split(' ');
    if (what === 'try') tried = Number(more || value) + 1;
    if (what === 'try' && value === 'phrase') passphrases.push(`phrase ${more}`);
    if (what === 'passphrase') passphrases = [`phrase ${more}`];
    if (what === 'sent') acknowledged.push(more);
    if (what === 'read') told.push(value);
  }
  return lines;
}

/** Everybody is in step, nothing is lost, nothing went twice, nothing is in clear. */
async function expectWhole(): Promise<void> {
  expect(filesWith(folder, 'secret of', 'phrase ', 'correct horse')).toEqual([]);
  const participant = await open();
  participant.on('message', ({ messageId }) => told.push(messageId));
  await participant.sync();
  await ann.fetchKeys(rid);
  await ann.serve(rid);
  await participant.sync();
  await ann.fetchKeys(rid);
  // Server and store agree.
  const { e2eKeyId } = workspace.room(rid);
  expect(ann.keysOf(rid).current?.keyId).toBe(e2eKeyId);
  const sent = await participant.sendEncryptedMessage(rid, 'secret of the bot after a kill');
  expect(sent.keyId).toBe(e2eKeyId);
  acknowledged.push(sent.messageId);
  said.push(await ann.say(rid, 'secret of ann after a kill'));
  await participant.sync();
  expect(told).toContain(said.at(-1));
  const posted = postedBy(bot, rid, workspace);
  const ids = posted.map(({ _id }) => _id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).toEqual(expect.arrayContaining(acknowledged));
  // The bot itself reads all that was ever said, by everybody.
  const all = workspace.messagesIn(rid).filter(({ t }) => t === 'e2e');
  const opened = await participant.decryptMessages(JSON.parse(JSON.stringify(all)));
  const plain = opened.map((one) => ('code' in one ? one.code : one.document.msg));
  expect(plain.filter((text) => !text.startsWith('secret of'))).toEqual([]);
  expect(await ann.readById(rid, sent.messageId)).toBe('secret of the bot after a kill');
  await participant.close();
  // So does who has nothing but the passphrase, for the present key.
  const replica = await open({});
  await replica.sync();
  const last = JSON.parse(JSON.stringify(workspace.message(sent.messageId)));
  expect((await replica.decryptMessage(last)).document.msg).toContain('after a kill');
  await replica.close();
}

/** What is written while a process is killed, and what more must hold. */
interface Job {
  /** What the child does; what the job is called unless told otherwise. */
  job?: string;
  /** Within how many milliseconds it is killed. */
  spread?: number;
  before?: () => Promise<void>;
  after?: (lines: string[]) => Promise<void>;
}
const jobs: Record<string, Job> = {
  send: {
    async after() {
      // Numbers in order, each once: what waited in the outbox went out before what came later.
      const bots = postedBy(bot, rid, workspace);
      const numbers = [];
      for (const message of bots) {
        const number = (await ann.read(rid, message)).msg.split(' ')[4];
        if (number !== 'a' && number !== 'after') numbers.push(Number(number));
      }
      const numbered = numbers.filter((number) => !Number.isNaN(number));
      expect(numbered).toEqual([...new Set(numbered)].sort((a, b) => a - b));
    },
  },
  sync: {
    async before() {
      said.push(await ann.say(rid, 'secret of ann'), await ann.say(rid, 'secret of ann'));
    },
  },
  accept: {
    job: 'sync',
    async before() {
      await ann.resetKey(rid);
      await ann.serve(rid);
      said.push(await ann.say(rid, 'secret of ann under a new key'));
    },
  },
  serve: {
    job: 'sync',
    async before() {
      const name = `user${workspace.requests.entries.length}`;
      const person = await Person.join(workspace, workspace.createUser(name), 'web-8');
      workspace.addMember(rid, person.account);
    },
    async after() {
      const waiting = await ann.rest.get('e2e.getUsersOfRoomWithoutKey', { rid });
      for (const { _id } of waiting.body.users) {
        expect(workspace.subscription(rid, _id)?.E2ESuggestedKey).toBeDefined();
      }
    },
  },
  create: {
    job: 'sync',
    async before() {
      // A room of its own each time, so that its first key is made while the process is killed.
      rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
      told = [];
      said = [];
      acknowledged = [];
    },
  },
  reset: {
    spread: 250,
    async after(lines) {
      const participant = await open();
      await participant.sync();
      const held = (await participant.getRoomKeyHistory(rid)).map(({ keyId }) => `key ${keyId}`);
      await participant.close();
      expect(held).toEqual(expect.arrayContaining(lines.filter((line) => line.startsWith('key '))));
    },
  },
  authorize: {},
  rotate: { spread: 1500 },
  passphrase: {},
  pin: {
    async after(lines) {
      const participant = await open();
      const pins = await participant.trust.list();
      await participant.close();
      for (const line of lines.filter((one) => one.startsWith('pinned '))) {
        const turn = Number(line.split(' ')[1]);
        const { verified, fingerprint = '' } = pins[`user ${turn % 5}`] ?? {};
        expect(verified).toBe(true);
        // That one, or one that was pinned after it.
        const pinned = Number.parseInt(fingerprint.replaceAll(' ', ''), 16);
        expect(pinned).toBeGreaterThanOrEqual(turn);
      }
    },
  },
  import: {
    spread: 1500,
    async before() {
      const participant = await open();
      const bundle = await participant.exportKeys('a bundle passphrase');
      await participant.close();
      writeFileSync(`${path}.bundle`, bundle);
    },
  },
  secret: {},
  rekey: {},
};

test.each(Object.entries(jobs))(
  `killed ${KILLS} times during %s: the store opens, and everything goes on`,
  async (job, { before, after }) => {
    const first = await open();
    await first.sync();
    await first.close();
    await ann.fetchKeys(rid);
    let acknowledgements = 0;
    for (let number = 0; number < KILLS; number++) {
      await before?.();
      const beside = job === 'secret' ? await open() : undefined;
      const lines = await kill(job, number);
      acknowledgements += lines.length - 1;
      // A participant that has the store open goes on.
      if (beside) await beside.sendEncryptedMessage(rid, 'secret of the bot beside it');
      await beside?.close();
      if (job === 'secret') {
        const other = Buffer.alloc(32, 9);
        const changed = await SqliteStore.open(path, { secret: other }).catch(() => undefined);
        await changed?.changeSecret(SECRET);
        await changed?.close();
      }
      await expectWhole();
      await after?.(lines);
    }
    // Each message is told at least once, and again only where the process was killed before it
    // could say that it was handled.
    expect([...new Set(told)].sort()).toEqual([...new Set(said)].sort());
    expect(told.length).toBeLessThanOrEqual(said.length + 2 * KILLS);
    console.info(`${job}: ${KILLS} kills, ${acknowledgements} steps acknowledged`);
  },
  KILLS * 10_000,
);
