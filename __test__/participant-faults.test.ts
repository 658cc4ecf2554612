import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import { Participant, RestWorkspace, SqliteStore } from '..';
import { Person } from './webcrypto-client/person';
import { Workspace } from './workspace';

/** One seed repeats one run: `FAULT_SEED=7 npx jest participant-faults`. */
const SEEDS = process.env.FAULT_SEED
  ? [Number(process.env.FAULT_SEED)]
  : Array.from({ length: 12 }, (_, index) => index + 1);

/** Enough randomness for a test, the same for the same seed (xorshift32). */
function random(seed: number): (below: number) => number {
  let state = seed * 0x9e3779b1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

describe.each(['7.0', '8.8'] as const)('with faults, in a workspace of version %s', (version) => {
  test.each(SEEDS)(
    'seed %i: no message is lost or told twice, none leaves in clear',
    async (seed) => {
      const flavour = version === '7.0' ? 'web-7' : 'web-8';
      const draw = random(seed);
      const folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
      const workspace = await Workspace.start({ version, rateLimits: false, seed });
      const bot = workspace.createUser('bot', { roles: ['bot', 'admin'] });
      const ann = await Person.join(workspace, workspace.createUser('ann'), flavour);
      const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;

      const open = async () => {
        const participant = await Participant.open({
          appId: 'test',
          workspace: new RestWorkspace({
            url: workspace.url,
            userId: bot._id,
            authToken: bot.authToken,
          }),
          store: await SqliteStore.open(join(folder, 'store'), { secret: Buffer.alloc(32, 7) }),
          passphrase: 'correct horse',
          rooms: [rid],
        });
        participant.on('message', ({ document }) => read.push(document.msg));
        return participant;
      };
      const read: string[] = [];
      const said: string[] = [];
      const sent: string[] = [];

      let participant = await open();
      await participant.sync();
      await ann.fetchKeys(rid);

      const mine = { uid: bot._id, times: 1_000_000 };
      workspace.faults.rest('*', { kind: 'drop', when: 'before' }, { ...mine, chance: 0.06 });
      workspace.faults.rest('*', { kind: 'drop', when: 'after' }, { ...mine, chance: 0.06 });
      workspace.faults.rest('*', { kind: 'status', status: 503 }, { ...mine, chance: 0.06 });
      workspace.faults.rest('*', { kind: 'delay', ms: 20 }, { ...mine, chance: 0.1 });
      for (let step = 0; step < 14; step++) {
        const turn = draw(10);
        if (turn < 4) {
          const msg = `secret of ann ${step}`;
          await ann.say(rid, msg);
          said.push(msg);
        } else if (turn < 8) {
          const msg = `secret of the bot ${step}`;
          sent.push(msg);
          await participant.sendEncryptedMessage(rid, msg);
        } else if (turn === 8) {
          await ann.resetKey(rid);
          await ann.serve(rid);
        } else {
          await participant.close();
          participant = await open();
        }
        await participant.sync().catch(() => undefined);
      }
      workspace.faults.clear();
      await participant.sync();
      await participant.sync();
      await participant.close();

      expect(read.sort()).toEqual(said.sort());
      const posted = workspace
        .messagesIn(rid)
        .filter(({ t, u }) => t === 'e2e' && u._id === bot._id);
      await ann.fetchKeys(rid);
      const readByAnn = [];
      for (const message of posted) readByAnn.push((await ann.read(rid, message)).msg);
      expect(readByAnn).toEqual(sent);
      expect(workspace.requests.containing('secret')).toEqual([]);
      for (const file of readdirSync(folder)) {
        expect(readFileSync(join(folder, file)).includes('secret of')).toBe(false);
      }
      await workspace.close();
      rmSync(folder, { recursive: true });
    },
    60_000,
  );
});
