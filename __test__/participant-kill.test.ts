import { spawn } from 'child_process';
import { mkdtempSync, rmSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { Participant, RestWorkspace, SqliteStore } from '..';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';

const KILLS = 60;

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
      if (signal === 'SIGKILL') resolve(output.split('\n'));
      else reject(new Error(errors));
    });
  });
}

test(`killed ${KILLS} times while it sends: nothing acknowledged is lost, nothing goes twice`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
  const path = join(folder, 'store');
  const workspace = await Workspace.start({ version: '8.8', rateLimits: false });
  const bot: Account = workspace.createUser('bot', { roles: ['bot'] });
  const ann = await Person.join(workspace, workspace.createUser('ann'), 'web-8');
  const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
  const open = async () =>
    Participant.open({
      appId: 'test',
      workspace: new RestWorkspace({
        url: workspace.url,
        userId: bot._id,
        authToken: bot.authToken,
      }),
      store: await SqliteStore.open(path, { secret: Buffer.alloc(32, 7) }),
      passphrase: 'correct horse',
      rooms: [rid],
    });
  const first = await open();
  await first.sync();
  await first.close();
  await ann.fetchKeys(rid);

  const acknowledged: number[] = [];
  const read: string[] = [];
  const said: string[] = [];
  let next = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    said.push(await ann.say(rid, `secret of ann ${kill}`));
    const args = [workspace.url, bot._id, bot.authToken, path, rid, String(next)];
    // From before the first send to after several, a different place each time.
    for (const line of await runAndKill(args, (kill * 7) % 60)) {
      const [what, value = ''] = line.split(' ');
      if (what === 'try') next = Number(value) + 1;
      if (what === 'sent') acknowledged.push(Number(value));
      if (what === 'read') read.push(value);
    }
  }

  // What was in the outbox when it was killed goes out, or has gone out: each once.
  const last = await open();
  last.on('message', ({ messageId }) => read.push(messageId));
  await last.sync();
  await last.close();
  const posted = workspace.messagesIn(rid).filter(({ t, u }) => t === 'e2e' && u._id === bot._id);
  const numbers = [];
  for (const message of posted)
    numbers.push(Number((await ann.read(rid, message)).msg.split(' ')[1]));
  expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
  expect(numbers).toEqual(expect.arrayContaining(acknowledged));
  expect(acknowledged.length).toBeGreaterThan(KILLS / 2);
  // A message that was told but not acknowledged when the process was killed is told again once
  // its lease has run out; participant-messages.test.ts waits for that.
  expect(said).toEqual(expect.arrayContaining(read));
  console.info(`${KILLS} kills: ${acknowledged.length} acknowledged, ${numbers.length} posted`);
  expect(workspace.requests.containing('secret')).toEqual([]);
  await workspace.close();
  rmSync(folder, { recursive: true });
}, 120_000);
