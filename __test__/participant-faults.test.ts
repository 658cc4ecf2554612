import { mkdtempSync, rmSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';
import type { E2eeError } from '..';
import { filesWith, PASSPHRASE, participate, postedBy, random, until } from './participate';
import { Person } from './webcrypto-client/person';
import { Workspace } from './workspace';

/** `FAULT_SEED=7 npx jest participant-faults` repeats one run; `FAULT_SEEDS=60` makes many. */
const SEEDS = process.env.FAULT_SEED
  ? [Number(process.env.FAULT_SEED)]
  : Array.from({ length: Number(process.env.FAULT_SEEDS ?? 8) }, (_, index) => index + 1);

describe.each(['7.0', '8.8'] as const)('with faults, in a workspace of version %s', (version) => {
  test.each(SEEDS)(
    'seed %i: no message is lost or told twice, none leaves in clear',
    async (seed) => {
      const flavour = version === '7.0' ? 'web-7' : 'web-8';
      const draw = random(seed);
      // Every other run gives up so soon that failures reach the participant.
      const patience = seed % 2 === 0 ? 150 : 60_000;
      const folder = mkdtempSync(join(tmpdir(), 'rocketchat-e2ee-'));
      const workspace = await Workspace.start({ version, rateLimits: false, seed });
      const bot = workspace.createUser('bot', { roles: ['bot', 'admin'] });
      const ann = await Person.join(workspace, workspace.createUser('ann'), flavour);
      const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;

      let passphrase = PASSPHRASE;
      const open = async () => {
        const participant = await participate(workspace, bot, {
          path: join(folder, 'store'),
          patience,
          passphrase,
          rooms: [rid],
        });
        participant.on('message', ({ document }) => read.push(document.msg));
        return participant;
      };
      /** As an operator whose bot does not come up for now: again. */
      const reopen = async () => {
        for (let tries = 0; ; tries++) {
          try {
            return await open();
          } catch (error) {
            const { code, status = 503 } = error as E2eeError;
            if (code !== 'ERR_E2EE_WORKSPACE' || status < 500 || tries === 20) throw error;
          }
        }
      };
      const read: string[] = [];
      const said: string[] = [];
      const tried: string[] = [];
      const sent: string[] = [];
      const refused: string[] = [];
      const sends: Promise<unknown>[] = [];

      let participant = await open();
      await participant.sync();
      await ann.fetchKeys(rid);

      const mine = { uid: bot._id, times: 1_000_000 };
      const chance = patience < 1000 ? 0.12 : 0.06;
      workspace.faults.rest('*', { kind: 'drop', when: 'before' }, { ...mine, chance });
      workspace.faults.rest('*', { kind: 'drop', when: 'after' }, { ...mine, chance });
      workspace.faults.rest('*', { kind: 'status', status: 503 }, { ...mine, chance });
      workspace.faults.rest('*', { kind: 'delay', ms: 20 }, { ...mine, chance: 0.1 });
      for (let step = 0; step < 16; step++) {
        const turn = draw(15);
        // Her client accepts what it is given, and neither speaks nor resets without the room's key:
        // the server drops suggestions at a reset, and nobody would have that key any more.
        await ann.fetchKeys(rid);
        const served = ann.keysOf(rid).current?.keyId === workspace.room(rid).e2eKeyId;
        if (turn < 5 && served) {
          const msg = `secret of ann ${step}`;
          await ann.say(rid, msg);
          said.push(msg);
        } else if (turn >= 5 && turn < 9) {
          const msg = `secret of the bot ${step}`;
          tried.push(msg);
          const send = participant.sendEncryptedMessage(rid, msg).then(
            () => sent.push(msg),
            ({ code }) => code === 'ERR_E2EE_CLOSED' || refused.push(msg),
          );
          sends.push(send);
        } else if ((turn === 9 || turn === 10) && served) {
          await ann.resetKey(rid);
          await ann.serve(rid);
        } else if (turn === 11) {
          await participant.close();
          participant = await reopen();
        } else if (turn === 12 && served) {
          await participant.resetRoomKey(rid).catch(() => undefined);
        } else if (turn === 13) {
          await participant.rotateIdentity().catch(() => undefined);
        } else if (turn === 14) {
          const next = `passphrase ${step}`;
          await participant.changePassphrase(next).then(
            () => {
              passphrase = next;
            },
            // Whatever came of it, the operator tries until it is certain.
            async () => {
              workspace.faults.clear();
              await participant.changePassphrase(next);
              passphrase = next;
              workspace.faults.rest('*', { kind: 'drop', when: 'after' }, { ...mine, chance });
            },
          );
        }
        await participant.sync().catch(() => undefined);
      }
      workspace.faults.clear();
      for (let round = 0; round < 3; round++) {
        await participant.sync();
        // Her client's own loop.
        await ann.fetchKeys(rid);
        await ann.serve(rid);
      }
      await participant.sync();
      await Promise.all(sends);
      await participant.sync();

      // A message that was claimed and not told before a participant was closed is told by the next
      // one after a minute.
      await until('all is read', () => read.length >= said.length, 75_000).catch(() => undefined);
      expect(read.sort()).toEqual(said.sort());
      await ann.fetchKeys(rid);
      const posted: string[] = [];
      for (const message of postedBy(bot, rid, workspace)) {
        posted.push((await ann.read(rid, message)).msg);
      }
      // Each once, in order; all that were acknowledged, none that was refused.
      expect(posted).toEqual(tried.filter((msg) => posted.includes(msg)));
      expect(posted).toEqual(expect.arrayContaining(sent));
      expect(posted.filter((msg) => refused.includes(msg))).toEqual([]);
      // Both hold the room's key at the end, and so does a replica that has the passphrase alone.
      const { keyId } = await participant.sendEncryptedMessage(rid, 'secret of the bot at last');
      expect(keyId).toBe(workspace.room(rid).e2eKeyId);
      expect(keyId).toBe(ann.keysOf(rid).current?.keyId);
      await participant.close();
      const replica = await participate(workspace, bot, { passphrase, rooms: [rid] });
      await replica.sync();
      expect(await replica.getEncryptedRoomKey(rid)).toMatchObject({ keyId });
      const last = postedBy(bot, rid, workspace).at(-1);
      const again = await replica.decryptMessage(JSON.parse(JSON.stringify(last)));
      expect(again.document.msg).toBe('secret of the bot at last');
      await replica.close();

      expect(workspace.requests.containing('secret of')).toEqual([]);
      expect(filesWith(folder, 'secret of', 'passphrase ')).toEqual([]);
      await workspace.close();
      rmSync(folder, { recursive: true });
    },
    180_000,
  );
});
