import type { Participant } from '..';
import { participate, until } from './participate';
import { Person } from './webcrypto-client/person';
import { type Account, Workspace } from './workspace';
import { Rest } from './workspace/probe';

let workspace: Workspace;
let bot: Account;
let ann: Person;
let rid: string;
let participant: Participant;

beforeEach(async () => {
  workspace = await Workspace.start({ version: '8.8', rateLimits: false });
  bot = workspace.createUser('bot', { roles: ['bot'] });
  ann = await Person.join(workspace, workspace.createUser('ann'), 'web-8');
  rid = workspace.createRoom('p', [ann.account, bot], { encrypted: true })._id;
  participant = await participate(workspace, bot);
  await participant.sync();
  await ann.fetchKeys(rid);
});

afterEach(async () => {
  await participant.close();
  await workspace.close();
});

/** What nobody catches while something is done. */
async function uncaughtWhile(act: () => Promise<void>): Promise<unknown[]> {
  const thrown: unknown[] = [];
  const microtask = jest.spyOn(globalThis, 'queueMicrotask').mockImplementation((throws) => {
    try {
      throws();
    } catch (error) {
      thrown.push(error);
    }
  });
  await act();
  microtask.mockRestore();
  return thrown;
}

describe.each([
  ['throws', (error: Error) => error],
  ['rejects', (error: Error) => Promise.reject(error)],
])('a listener that %s', (_, fail) => {
  /** Listens with what fails first, and with what counts after it. */
  function listen(error: Error): unknown[] {
    const told: unknown[] = [];
    participant.on('message', () => {
      const failure = fail(error);
      if (failure instanceof Promise) return failure;
      throw failure;
    });
    participant.on('message', ({ document }) => told.push(document.msg));
    return told;
  }

  test('keeps nothing from the others, and stays uncaught', async () => {
    const error = new Error('cannot handle it');
    const told = listen(error);
    const errors: unknown[] = [];
    participant.on('error', (data) => errors.push(data));
    const thrown = await uncaughtWhile(async () => {
      await ann.say(rid, 'a secret');
      await ann.say(rid, 'another secret');
      await participant.sync();
    });
    expect(told).toEqual(['a secret', 'another secret']);
    expect(thrown).toEqual([error, error]);
    expect(errors).toEqual([]);
  });

  test('with an error of ours has it told by the event error', async () => {
    const code = 'ERR_E2EE_ROOM_NOT_AUTHORIZED';
    const error = await participant.sendEncryptedMessage('elsewhere', 'secret').catch((e) => e);
    listen(error);
    await ann.say(rid, 'a secret');
    // Nobody listens: it is not lost.
    expect(await uncaughtWhile(() => participant.sync())).toMatchObject([{ code }]);
    const errors: unknown[] = [];
    participant.on('error', (data) => errors.push(data));
    await ann.say(rid, 'a secret');
    expect(await uncaughtWhile(() => participant.sync())).toEqual([]);
    expect(errors).toMatchObject([{ roomId: rid, error: { code } }]);
  });

  test('of errors is not told of its own', async () => {
    listen(await participant.sendEncryptedMessage('elsewhere', 'secret').catch((e) => e));
    const error = new Error('cannot tell it');
    participant.on('error', () => {
      const failure = fail(error);
      if (failure instanceof Promise) return failure;
      throw failure;
    });
    await ann.say(rid, 'a secret');
    expect(await uncaughtWhile(() => participant.sync())).toEqual([error]);
  });
});

describe('iterating', () => {
  test('goes on after an error that passes', async () => {
    const read: unknown[] = [];
    const reading = (async () => {
      for await (const { document } of participant) read.push(document.msg);
    })();
    const errors: unknown[] = [];
    participant.on('error', ({ error }) => errors.push(error.code));
    participant.on('message', ({ document }) => {
      if (document.msg === 'a secret') return participant.sendEncryptedMessage('elsewhere', '');
      return undefined;
    });
    await ann.say(rid, 'a secret');
    await participant.sync();
    await ann.say(rid, 'another secret');
    await participant.sync();
    await until('both were read', () => read.length === 2);
    expect(read).toEqual(['a secret', 'another secret']);
    expect(errors).toEqual(['ERR_E2EE_ROOM_NOT_AUTHORIZED']);
    await participant.close();
    await reading;
  });

  test('ends with the error where no more can come', async () => {
    const realtime = await participate(workspace, bot, { realtime: true });
    await realtime.start();
    const reading = (async () => {
      for await (const _ of realtime);
    })();
    await new Rest(workspace, bot).post('logout');
    await expect(reading).rejects.toMatchObject({ code: 'ERR_E2EE_WORKSPACE', status: 401 });
    await realtime.close();
  });
});
