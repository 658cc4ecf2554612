import { type E2eeError, MemoryStore, type Participant } from '..';
import { participate, postedBy, until } from './participate';
import { Person } from './webcrypto-client/person';
import { type Account, ManualClock, Workspace } from './workspace';

jest.setTimeout(60_000);

const SEEDS = Array.from({ length: Number(process.env.FAULT_SEEDS ?? 4) }, (_, index) => index + 1);

describe.each(['7.0', '8.8'] as const)(
  'two replicas that share nothing but the passphrase, in a workspace of version %s',
  (version) => {
    const flavour = version === '7.0' ? 'web-7' : 'web-8';
    let workspace: Workspace;
    let bot: Account;
    let ann: Person;
    let rid: string;
    let replicas: Participant[];

    async function begin(seed = 1): Promise<void> {
      workspace = await Workspace.start({ version, rateLimits: false, seed });
      bot = workspace.createUser('bot', { roles: ['bot', 'admin'] });
      ann = await Person.join(workspace, workspace.createUser('ann'), flavour);
      rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
      replicas = [];
    }

    afterEach(async () => {
      jest.restoreAllMocks();
      for (const replica of replicas) await replica.close();
      expect(workspace.requests.containing('secret')).toEqual([]);
      await workspace.close();
    });

    /** As an operator whose replica does not come up for now: again. */
    async function start(): Promise<Participant> {
      for (let tries = 0; ; tries++) {
        try {
          const replica = await participate(workspace, bot, { rooms: [rid], patience: 300 });
          replicas.push(replica);
          return replica;
        } catch (error) {
          if ((error as E2eeError).code !== 'ERR_E2EE_WORKSPACE' || tries === 20) throw error;
        }
      }
    }

    /** Until nobody has anything to do any more, or at most so many rounds. */
    async function rounds(count = 4): Promise<void> {
      for (let round = 0; round < count; round++) {
        for (const replica of replicas) await replica.sync().catch(() => undefined);
        await ann.fetchKeys(rid);
        if (ann.keysOf(rid).current?.keyId === workspace.room(rid).e2eKeyId) await ann.serve(rid);
      }
    }

    async function expectOne(): Promise<void> {
      const prints = await Promise.all(replicas.map((replica) => replica.trust.fingerprint()));
      expect(new Set(prints).size).toBe(1);
      const { e2eKeyId } = workspace.room(rid);
      const ids = [];
      for (const replica of replicas) {
        const sent = await replica.sendEncryptedMessage(rid, 'secret of a replica');
        expect(sent.keyId).toBe(e2eKeyId);
        expect(await ann.readById(rid, sent.messageId)).toBe('secret of a replica');
        ids.push(sent.messageId);
      }
      ids.push(await ann.say(rid, 'secret of ann'));
      const documents = ids.map((id) => JSON.parse(JSON.stringify(workspace.message(id))));
      for (const replica of [...replicas, await start()]) {
        await replica.sync();
        const read = await replica.decryptMessages(documents);
        expect(read.map((one) => ('code' in one ? one.code : one.document.msg))).toEqual([
          ...replicas.slice(0, ids.length - 1).map(() => 'secret of a replica'),
          'secret of ann',
        ]);
      }
    }

    test.each(SEEDS)(
      'seed %i: they start at once, with faults: one identity, one key',
      async (seed) => {
        await begin(seed);
        const mine = { uid: bot._id, times: 1_000_000, chance: 0.12 };
        workspace.faults.rest('*', { kind: 'drop', when: 'before' }, mine);
        workspace.faults.rest('*', { kind: 'drop', when: 'after' }, mine);
        workspace.faults.rest('*', { kind: 'status', status: 503 }, mine);
        workspace.faults.rest('*', { kind: 'delay', ms: 15 }, { ...mine, chance: 0.3 });
        await Promise.all([start(), start()]);
        await Promise.all(replicas.map((replica) => replica.sync().catch(() => undefined)));
        await rounds(2);
        workspace.faults.clear();
        await rounds();
        await expectOne();
      },
      60_000,
    );

    test('both create the first key, and the server believes both', async () => {
      await begin();
      await Promise.all([start(), start()]);
      let inside = 0;
      const both = until.bind(undefined, 'both are inside', () => inside >= 2, 3000);
      // Only servers of before 8.7 wait here: each has seen that there is no key.
      workspace.gaps.setRoomKeyID = async () => {
        inside += 1;
        await both().catch(() => undefined);
      };
      await Promise.all(replicas.map((replica) => replica.sync()));
      expect(inside).toBe(version === '7.0' ? 2 : 0);
      delete workspace.gaps.setRoomKeyID;
      await rounds();
      await expectOne();
    }, 60_000);

    test('a room where a person creates the first key at the same time', async () => {
      await begin();
      await start();
      let inside = 0;
      workspace.gaps.setRoomKeyID = async () => {
        inside += 1;
        await until('both are inside', () => inside >= 2, 3000).catch(() => undefined);
      };
      const [, created] = await Promise.allSettled([replicas[0]?.sync(), ann.createKey(rid)]);
      delete workspace.gaps.setRoomKeyID;
      // Her client, too, follows what the room names; where it lost, it waits to be served.
      const named = workspace.room(rid).e2eKeyId;
      const hers = ann.keysOf(rid).current?.keyId;
      if (created.status === 'fulfilled' && hers !== named) {
        workspace.editSubscription(rid, ann.account._id, (subscription) => {
          delete subscription.E2EKey;
        });
      }
      await rounds();
      await replicas[0]?.distributeRoomKeys(rid).catch(() => undefined);
      await rounds();
      await expectOne();
    }, 60_000);

    test('one makes a new identity while the other is at work', async () => {
      await begin();
      const [first, second] = [await start(), await start()];
      await rounds();
      await Promise.all([first.rotateIdentity(), second.sync(), ann.say(rid, 'secret')]);
      // What does not open makes it ask which pair the server has; once a minute at most.
      const now = Date.now;
      jest.spyOn(Date, 'now').mockImplementation(() => now() + 61_000);
      await ann.resetKey(rid);
      await ann.serve(rid);
      await rounds();
      await expectOne();
    }, 60_000);

    test('one changes the passphrase: the other goes on, a third needs the new one', async () => {
      await begin();
      const [first, second] = [await start(), await start()];
      await rounds();
      await first.changePassphrase('another passphrase');
      await second.sync();
      await second.sendEncryptedMessage(rid, 'secret');
      const old = participate(workspace, bot, { rooms: [rid] });
      await expect(old).rejects.toMatchObject({ code: 'ERR_E2EE_WRONG_PASSPHRASE' });
      const third = await participate(workspace, bot, {
        rooms: [rid],
        passphrase: 'another passphrase',
      });
      await third.sync();
      expect(await third.trust.fingerprint()).toBe(await first.trust.fingerprint());
      await third.close();
    });
  },
);

describe.each([
  ['an hour ahead', 3_600_000],
  ['an hour behind', -3_600_000],
  ['forty years behind', -40 * 365 * 86_400_000],
])('a server whose clock is %s of ours', (_what, skew) => {
  test.each(['7.0', '8.8'] as const)(
    'version %s: nothing is lost, nothing loops',
    async (version) => {
      const flavour = version === '7.0' ? 'web-7' : 'web-8';
      const clock = new ManualClock(Date.now() + skew);
      const workspace = await Workspace.start({ version, rateLimits: false, clock });
      const bot = workspace.createUser('bot', { roles: ['bot', 'admin'] });
      const ann = await Person.join(workspace, workspace.createUser('ann'), flavour);
      const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
      const store = await MemoryStore.open();
      const participant = await participate(workspace, bot, { store, rooms: [rid] });
      const heard: string[] = [];
      participant.on('message', ({ document }) => heard.push(document.msg));
      await participant.sync();
      await ann.fetchKeys(rid);
      const said: string[] = [];
      for (let round = 0; round < 6; round++) {
        clock.advance(round % 2 === 0 ? 1 : 600_000);
        const msg = `secret ${round}`;
        said.push(msg);
        await ann.say(rid, msg);
        if (round === 3) {
          await ann.resetKey(rid);
          await ann.serve(rid);
        }
        await participant.sync();
        const { messageId } = await participant.sendEncryptedMessage(rid, 'secret of the bot');
        await ann.fetchKeys(rid);
        expect(await ann.readById(rid, messageId)).toBe('secret of the bot');
      }
      await participant.sync();
      expect(heard).toEqual(said);
      // Idle, it asks no more than the lists: no message is read again and again.
      await participant.sync();
      workspace.requests.clear();
      for (let round = 0; round < 5; round++) await participant.sync();
      expect(heard).toEqual(said);
      expect(workspace.requests.to('chat.syncMessages').length).toBeLessThanOrEqual(5);
      expect(workspace.requests.entries.length).toBeLessThanOrEqual(20);
      expect(workspace.requests.containing('secret')).toEqual([]);
      await participant.close();
      await workspace.close();
    },
  );
});

describe('a clock of our own that jumps', () => {
  afterEach(() => jest.restoreAllMocks());

  test.each([
    ['back by an hour', -3_600_000],
    ['back by a year', -365 * 86_400_000],
    ['on by an hour', 3_600_000],
  ])('%s: messages are told once, sends keep their order', async (_what, jump) => {
    const clock = new ManualClock();
    const workspace = await Workspace.start({
      version: '8.8',
      rateLimits: false,
      clock,
    });
    const bot = workspace.createUser('bot', { roles: ['bot', 'admin'] });
    const ann = await Person.join(workspace, workspace.createUser('ann'), 'web-8');
    const rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
    const participant = await participate(workspace, bot, { rooms: [rid], patience: 200 });
    const heard: string[] = [];
    participant.on('message', ({ document }) => heard.push(document.msg));
    await participant.sync();
    await ann.fetchKeys(rid);
    clock.advance(1000);
    await ann.say(rid, 'secret one');
    await participant.sync();
    const mine = { uid: bot._id, times: 1e6 };
    workspace.faults.rest('chat.sendMessage', { kind: 'status', status: 503 }, mine);
    const far = { deadline: 2 * 365 * 86_400_000 };
    const sends = [participant.sendEncryptedMessage(rid, { msg: 'secret first', ...far })];
    await participant.sync();
    const now = Date.now;
    jest.spyOn(Date, 'now').mockImplementation(() => now() + jump);
    sends.push(participant.sendEncryptedMessage(rid, { msg: 'secret second', ...far }));
    clock.advance(1000);
    await ann.say(rid, 'secret two');
    await participant.sync();
    workspace.faults.clear();
    await participant.sync();
    await Promise.all(sends);
    // Asking for a key goes on as well: once a minute by a clock that was set back.
    clock.advance(1000);
    await ann.resetKey(rid);
    workspace.requests.clear();
    await participant.sync();
    expect(workspace.requests.to('e2e.requestSubscriptionKeys').length).toBe(1);
    await ann.serve(rid);
    clock.advance(1000);
    await ann.say(rid, 'secret three');
    await participant.sync();
    await participant.sync();
    expect(heard).toEqual(['secret one', 'secret two', 'secret three']);
    await ann.fetchKeys(rid);
    const posted = [];
    for (const message of postedBy(bot, rid, workspace)) {
      posted.push((await ann.read(rid, message)).msg);
    }
    expect(posted).toEqual(['secret first', 'secret second']);
    await participant.close();
    await workspace.close();
  });
});
