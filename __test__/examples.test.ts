import { execFileSync, spawn } from 'child_process';
import { once } from 'events';
import { mkdtempSync, readFileSync, rmSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { ROOT } from './helpers';
import { Person } from './webcrypto-client/person';
import { Workspace } from './workspace';

const run = (file: string) =>
  execFileSync(process.execPath, [join(ROOT, 'examples', file)], { encoding: 'utf8' });

test('the example of the README is the one that runs', () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const example = readFileSync(join(ROOT, 'examples', 'echo.mjs'), 'utf8');
  expect(readme).toContain(`\`\`\`js\n${example}\`\`\``);
});

test('reply.mjs answers', () => {
  expect(run('reply.mjs')).toMatch(/t: 'e2e'.*algorithm: 'rc\.v2\.aes-sha2'/s);
});

test('ciphertext.mjs reads everything', () => {
  const output = run('ciphertext.mjs');
  expect(output).toContain('Bob reads, with WebCrypto alone              "You asked: Can you read');
  expect(output.trimEnd()).toMatch(/Everything was read\.$/);
});

test('demo.mjs: the bot reads, answers and serves, and the server learns nothing', () => {
  const output = run('demo.mjs');
  expect(output).toContain('ann    reads "pong, ann"');
  expect(output).toContain('carol  reads what was before her: "pong, ann"');
  expect(output).toContain('the secret is in 0 of them.');
});

test('echo.mjs echoes in an encrypted room, and ends when it is told to', async () => {
  const workspace = await Workspace.start({ version: '8.8', rateLimits: false });
  const bot = workspace.createUser('bot', { roles: ['bot'] });
  const ann = await Person.join(workspace, workspace.createUser('ann'), 'web-8');
  const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
  await ann.createKey(rid);
  const folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
  const child = spawn(process.execPath, [join(ROOT, 'examples', 'echo.mjs')], {
    cwd: folder,
    env: {
      ...process.env,
      RC_URL: workspace.url,
      RC_USER_ID: bot._id,
      RC_TOKEN: bot.authToken,
      RC_ROOM: rid,
      E2EE_PASSPHRASE: 'correct horse',
      E2EE_STORE_SECRET: 'store secret',
    },
  });
  let errors = '';
  child.stderr.on('data', (data) => {
    errors += data;
  });
  const until = async (ready: () => unknown) => {
    const deadline = Date.now() + 20_000;
    while (!ready() && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  await until(() => workspace.user(bot._id).e2e && workspace.openSockets(bot._id) > 0);
  await ann.serve(rid);
  await ann.say(rid, 'hello');
  const echoed = () =>
    workspace.messagesIn(rid).find(({ t, u }) => t === 'e2e' && u._id === bot._id);
  await until(echoed);
  expect((await ann.read(rid, echoed() ?? {})).msg).toBe('ann said: hello');
  const closed = once(child, 'close');
  child.kill('SIGINT');
  expect({ code: (await closed)[0], errors }).toEqual({ code: 0, errors: '' });
  await workspace.close();
  rmSync(folder, { recursive: true });
}, 60_000);
