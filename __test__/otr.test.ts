import { once } from 'events';
import {
  MemoryStore,
  type OtrMessage,
  type OtrRequest,
  type OtrSession,
  type OtrState,
  Participant,
  RealtimeWorkspace,
  type RecordStore,
  RestWorkspace,
} from '..';
import { codeOf } from './helpers';
import { storeOver } from './participate';
import { type BrowserClient, openBrowser } from './webcrypto-client/browser';
import { OtrPerson } from './webcrypto-client/otr-person';
import { type Account, Workspace, type WorkspaceOptions } from './workspace';

jest.setTimeout(30_000);

let browser: BrowserClient;
let workspace: Workspace;
let bot: Account;
let ann: Account;
let rid: string;
let person: OtrPerson;
let participant: Participant;
let session: OtrSession;
let closers: (() => unknown)[];
/** Names of the records that were written. */
let written: string[];

beforeAll(async () => {
  browser = await openBrowser();
});

afterAll(() => browser?.close());

beforeEach(() => {
  closers = [];
});

afterEach(async () => {
  for (const close of closers.reverse()) await close();
  // Nothing of what was said has left anybody in clear.
  expect(workspace.requests.containing('secret')).toEqual([]);
  await workspace.close();
});

function watched(store: RecordStore): RecordStore {
  written = [];
  return storeOver(store, {
    commit: (batch, claims) => {
      written.push(...batch.map(({ name }) => name), ...(claims ?? []).map(({ id }) => id));
      return store.commit(batch, claims);
    },
    claim: (id, ttl) => {
      written.push(id);
      return store.claim(id, ttl);
    },
  });
}

async function participate(
  account: Account,
  store?: RecordStore,
  rooms = [rid],
): Promise<Participant> {
  const { url } = workspace;
  const opened = await Participant.open({
    appId: 'test',
    workspace: new RealtimeWorkspace({ url, userId: account._id, authToken: account.authToken }),
    store: store ?? (await MemoryStore.open()),
    passphrase: 'correct horse',
    rooms,
  });
  closers.push(() => opened.close());
  await opened.start();
  return opened;
}

/** A bot and a person in a direct message. */
async function meet(options: Partial<WorkspaceOptions> = {}): Promise<void> {
  workspace = await Workspace.start({ version: '7.0', rateLimits: false, ...options });
  bot = workspace.createUser('bot', { roles: ['bot'] });
  ann = workspace.createUser('ann');
  rid = workspace.createRoom('d', [ann, bot])._id;
  person = await OtrPerson.open(workspace, ann, { peer: bot._id, rid, browser });
  closers.push(() => person.close());
  participant = await participate(bot, watched(await MemoryStore.open()));
  session = participant.otr(rid);
  written = [];
}

async function startedByTheBot(): Promise<void> {
  const started = session.start();
  await person.accepts(await person.isAsked());
  await started;
}

async function request(): Promise<OtrRequest> {
  const [asked] = await once(participant, 'otrRequest');
  return asked;
}

async function startedByThePerson(): Promise<void> {
  const asked = request();
  await person.asks();
  await (await asked).accept();
  await person.isAccepted();
}

function next<T>(event: 'message' | 'receipt' | 'undecryptable' | 'state'): Promise<T> {
  return once(session, event).then(([data]) => data);
}

async function reach(state: OtrState): Promise<void> {
  while (session.state !== state) await next('state');
}

/** Both say something, and both see that it was read. */
async function talk(): Promise<void> {
  const heard = next<OtrMessage>('message');
  const sent = await person.says('a secret question');
  expect(await heard).toEqual({
    roomId: rid,
    messageId: sent._id,
    userId: ann._id,
    username: 'ann',
    text: 'a secret question',
    ts: expect.any(Date),
  });
  await person.isConfirmed(sent);
  const confirmed = next('receipt');
  const { messageId } = await session.send('a secret answer 👋');
  const read = await person.reads();
  expect(read).toMatchObject({ text: 'a secret answer 👋', _id: messageId });
  expect(Math.abs(read.ts.getTime() - Date.now())).toBeLessThan(10_000);
  expect(await confirmed).toEqual({ roomId: rid, messageId });
}

const notices = () => workspace.messagesIn(rid).map(({ t, u }) => [t, u.username]);

describe.each(['otrAck', 'otr'] as const)('receipts in the member %s', (otrReceipt) => {
  beforeEach(() => meet({ quirks: { otrReceipt } }));

  test('started by the bot: both read each other, and nothing is stored', async () => {
    expect(session.state).toBe('NOT_STARTED');
    await startedByTheBot();
    expect(session.state).toBe('ESTABLISHED');
    await talk();
    await talk();
    expect(notices()).toEqual([['user_joined_otr', 'bot']]);
    expect(written).toEqual([]);
    expect(await participant.auditTrail()).not.toContainEqual(
      expect.objectContaining({ action: expect.stringMatching(/otr/i) }),
    );
  });

  test('started by the person: the application is asked, and accepts', async () => {
    const states: OtrState[] = [];
    session.on('state', ({ state }) => states.push(state));
    const asked = request();
    await person.asks();
    const { roomId, userId, session: same, accept } = await asked;
    expect({ roomId, userId }).toEqual({ roomId: rid, userId: ann._id });
    expect(same).toBe(session);
    await accept();
    await person.isAccepted();
    await talk();
    expect(states).toEqual(['REQUESTED', 'ESTABLISHED']);
    expect(notices()).toEqual([['user_joined_otr', 'ann']]);
  });
});

describe('in a workspace of version 7.0', () => {
  beforeEach(() => meet());

  test('declined by the application', async () => {
    const asked = request();
    await person.asks();
    const { accept, decline } = await asked;
    await decline();
    expect(await person.hears()).toEqual(['deny', { roomId: rid, userId: bot._id }]);
    expect(session.state).toBe('NOT_STARTED');
    expect(await codeOf(accept)).toBe('ERR_E2EE_OTR_NOT_ESTABLISHED');
    expect(await codeOf(decline)).toBe('ERR_E2EE_OTR_NOT_ESTABLISHED');
    expect(await codeOf(() => session.send('secret'))).toBe('ERR_E2EE_OTR_NOT_ESTABLISHED');
    await startedByThePerson();
    await talk();
  });

  test('declined by the person', async () => {
    const started = codeOf(() => session.start());
    await person.isAsked();
    await person.denies();
    expect(await started).toBe('ERR_E2EE_OTR_DECLINED');
    expect(session.state).toBe('DECLINED');
    await startedByTheBot();
    await talk();
  });

  test('not answered by the application: it has ten seconds', async () => {
    const asked = request();
    await person.asks();
    const { accept } = await asked;
    const began = performance.now();
    await reach('TIMEOUT');
    expect(performance.now() - began).toBeGreaterThan(9500);
    expect(await codeOf(accept)).toBe('ERR_E2EE_OTR_NOT_ESTABLISHED');
    expect(person.unheard).toEqual([]);
    await startedByThePerson();
    await talk();
  });

  test('not answered by the person; who accepts too late is told that it is over', async () => {
    const started = codeOf(() => session.start());
    const asked = await person.isAsked();
    expect(await started).toBe('ERR_E2EE_OTR_TIMEOUT');
    expect(session.state).toBe('TIMEOUT');
    await person.accepts(asked);
    expect((await person.hears())[0]).toBe('end');
    await startedByTheBot();
    await talk();
  });

  test('refreshed by the bot, without being asked; messages wait for the new key', async () => {
    await startedByTheBot();
    await talk();
    const refreshed = session.refresh();
    const asked = await person.isAsked(true);
    expect(session.state).toBe('ESTABLISHING');
    const waiting = session.send('a secret for the new key');
    // What crosses the refresh is read.
    const crossing = next<OtrMessage>('message');
    await person.says('a crossing secret');
    expect((await crossing).text).toBe('a crossing secret');
    await person.accepts(asked);
    await refreshed;
    await waiting;
    expect((await person.reads()).text).toBe('a secret for the new key');
    await talk();
    expect(notices().slice(-1)).toEqual([['user_key_refreshed_successfully', 'ann']]);
  });

  test('refreshed by the person: accepted at once', async () => {
    await startedByTheBot();
    await talk();
    let requests = 0;
    participant.on('otrRequest', () => {
      requests += 1;
    });
    const before = await person.seal('"under the old key"');
    await person.asks(true);
    await person.isAccepted(false);
    await talk();
    expect(requests).toBe(0);
    const refused = next('undecryptable');
    await person.sends('old', before);
    expect(await refused).toMatchObject({
      roomId: rid,
      messageId: 'old',
      error: { code: 'ERR_E2EE_DECRYPTION_FAILED' },
    });
    await talk();
  });

  test('ended by the bot, and begun again', async () => {
    await startedByTheBot();
    await talk();
    await session.end();
    expect((await person.hears())[0]).toBe('end');
    expect(session.state).toBe('NOT_STARTED');
    expect(notices()).toEqual([]);
    expect(await codeOf(() => session.send('secret'))).toBe('ERR_E2EE_OTR_NOT_ESTABLISHED');
    expect(await codeOf(() => session.refresh())).toBe('ERR_E2EE_OTR_NOT_ESTABLISHED');
    // Nothing of it is read any more.
    let told = 0;
    for (const event of ['message', 'undecryptable'] as const) session.on(event, () => told++);
    await person.says('secret');
    await session.end();
    expect(told).toBe(0);
    await startedByThePerson();
    await talk();
  });

  test('ended by the person', async () => {
    await startedByThePerson();
    await talk();
    const over = next('state');
    await person.ends();
    expect(await over).toEqual({ roomId: rid, state: 'NOT_STARTED' });
    expect(await codeOf(() => session.send('secret'))).toBe('ERR_E2EE_OTR_NOT_ESTABLISHED');
    await startedByTheBot();
    await talk();
  });

  test('begun anew in a session, by either', async () => {
    await startedByTheBot();
    await startedByTheBot();
    await talk();
    await startedByThePerson();
    await talk();
  });

  test('ended while it is being established', async () => {
    const started = codeOf(() => session.start());
    await person.isAsked();
    await session.end();
    expect(await started).toBe('ERR_E2EE_OTR_NOT_ESTABLISHED');
    expect((await person.hears())[0]).toBe('end');
    // The person withdraws what the application has not answered.
    const asked = request();
    await person.asks();
    const { accept } = await asked;
    const over = next('state');
    await person.ends();
    expect(await over).toEqual({ roomId: rid, state: 'NOT_STARTED' });
    expect(await codeOf(accept)).toBe('ERR_E2EE_OTR_NOT_ESTABLISHED');
  });

  test('closing the participant ends its session', async () => {
    await startedByTheBot();
    await participant.close();
    expect((await person.hears())[0]).toBe('end');
    expect(session.state).toBe('NOT_STARTED');
  });

  test('closing does not wait for a server that is away', async () => {
    await startedByTheBot();
    workspace.faults.method('stream-notify-user', { kind: 'delay', ms: 5000 });
    const began = performance.now();
    await Promise.all([participant.close(), participant.close()]);
    expect(performance.now() - began).toBeLessThan(3000);
  });

  test('deauthorising the room ends its session', async () => {
    await startedByTheBot();
    await participant.deauthorizeRoom(rid);
    expect((await person.hears())[0]).toBe('end');
    const code = 'ERR_E2EE_ROOM_NOT_AUTHORIZED';
    expect(await codeOf(() => session.send('secret'))).toBe(code);
    expect(await codeOf(() => session.start())).toBe(code);
    let asked = 0;
    participant.on('otrRequest', () => {
      asked += 1;
    });
    await person.asks();
    await participant.sync();
    expect(asked).toBe(0);
    expect(person.unheard).toEqual([]);
  });

  test('messages and receipts that are repeated or in another order are told once', async () => {
    await startedByTheBot();
    workspace.faults.event('stream-room-messages', { kind: 'duplicate' }, { times: 100 });
    const texts: string[] = [];
    const receipts: string[] = [];
    session.on('message', ({ text }) => texts.push(text));
    session.on('receipt', ({ messageId }) => receipts.push(messageId));
    const first = { _id: 'first', ack: 'ack one', text: 'secret one', userId: ann._id };
    const second = { _id: 'second', ack: 'ack two', text: 'secret two', userId: ann._id };
    const sealed = [await person.seal(first), await person.seal(second)] as const;
    await person.sends('second', sealed[1]);
    await person.sends('first', sealed[0]);
    await person.sends('first', sealed[0]);
    await person.sends('another', sealed[0]);
    await person.sends('third', await person.seal({ ...first, _id: 'third' }));
    const { messageId } = await session.send('secret');
    await person.reads();
    const last = next<OtrMessage>('message');
    const said = await person.says('the last secret');
    await last;
    await person.isConfirmed(said);
    expect(texts).toEqual(['secret two', 'secret one', 'the last secret']);
    expect(receipts).toEqual([messageId]);
    expect(workspace.requests.to('updateOTRAck')).toHaveLength(4);
  });

  test('foreign senders and broken messages are refused, and told once', async () => {
    await startedByTheBot();
    const told: string[] = [];
    session.on('undecryptable', ({ messageId, error }) => told.push(`${messageId} ${error.code}`));
    let read = 0;
    session.on('message', () => {
      read += 1;
    });
    const carol = workspace.createUser('carol');
    const foreign = await person.seal({ _id: 'a', text: 'secret', ack: 'a', userId: carol._id });
    await person.sends('a', foreign);
    await person.sends('a', foreign);
    await person.sends('b', await person.seal({ _id: 'b', text: 'secret', ack: 'b' }));
    await person.sends('c', await person.seal({ _id: 'c', userId: ann._id }));
    await person.sends('d', await person.seal('not json'));
    await person.sends('e', 'not sealed');
    await person.sends('f', '{"$binary":"c2hvcnQ="}');
    // The bot's own message, sent back as if Ann had written it.
    const { messageId } = await session.send('secret');
    let own: { _id: string; msg: string };
    do own = await person.sees();
    while (own._id !== messageId);
    await person.sends('g', own.msg);
    await talk();
    expect(told).toEqual([
      'a ERR_E2EE_DECRYPTION_FAILED',
      'b ERR_E2EE_DECRYPTION_FAILED',
      'c ERR_E2EE_MALFORMED_ENVELOPE',
      'd ERR_E2EE_DECRYPTION_FAILED',
      'e ERR_E2EE_MALFORMED_ENVELOPE',
      'f ERR_E2EE_MALFORMED_ENVELOPE',
      'g ERR_E2EE_DECRYPTION_FAILED',
    ]);
    expect(read).toBe(1);
  });

  test('control events that do not fit are ignored, and bad keys told once', async () => {
    const errors: string[] = [];
    participant.on('error', ({ error }) => errors.push(error.code));
    let requests = 0;
    participant.on('otrRequest', () => {
      requests += 1;
    });
    const who = { roomId: rid, userId: ann._id };
    const { publicKey } = await browser.call('createOtrPair');
    const other = workspace.createUser('other');
    const group = workspace.createRoom('p', [ann, bot])._id;
    const three = workspace.createRoom('d', [ann, bot, other])._id;
    await participant.authorizeRoom(group);
    await participant.authorizeRoom(three);
    const misfits: [string, unknown][] = [
      ['handshake', { userId: ann._id, publicKey }],
      ['handshake', { roomId: rid, publicKey }],
      ['handshake', who],
      ['handshake', { ...who, userId: bot._id, publicKey }],
      ['handshake', { ...who, userId: other._id, publicKey }],
      ['handshake', { ...who, userId: 7, publicKey }],
      ['handshake', { ...who, roomId: 'elsewhere', publicKey }],
      ['handshake', { ...who, roomId: group, publicKey }],
      ['handshake', { ...who, roomId: three, publicKey }],
      ['handshake', { ...who, roomId: '__proto__', publicKey }],
      ['handshake', null],
      ['handshake', 'text'],
      ['acknowledge', { ...who, publicKey }],
      ['deny', who],
      ['end', who],
      ['unknown', who],
    ];
    for (const [type, data] of misfits) await person.tell(type, data);
    await participant.sync();
    expect([requests, errors, session.state]).toEqual([0, [], 'NOT_STARTED']);
    const jwk = JSON.parse(publicKey);
    for (const bad of [
      { ...jwk, kty: 'RSA' },
      { ...jwk, y: jwk.x },
      { ...jwk, x: 'AAAA' },
    ]) {
      await person.tell('handshake', { ...who, publicKey: JSON.stringify(bad) });
    }
    await participant.sync();
    expect([requests, errors]).toEqual([0, ['ERR_E2EE_MALFORMED_KEY']]);
    const started = session.start();
    const asked = await person.isAsked();
    await person.tell('acknowledge', { ...who, publicKey: '{}' });
    await person.tell('acknowledge', { ...who, userId: other._id, publicKey });
    await person.accepts(asked);
    await started;
    await talk();
    expect(requests).toBe(0);
  });

  test('a flood of handshakes asks a few times, and ends nothing', async () => {
    let requests = 0;
    participant.on('otrRequest', ({ decline }) => {
      requests += 1;
      void decline();
    });
    for (let i = 0; i < 50; i++) await person.asks();
    await participant.sync();
    expect(requests).toBeLessThanOrEqual(5);
    expect(requests).toBeGreaterThan(0);
  });

  test('control events that come twice are acted on once', async () => {
    workspace.faults.event('stream-notify-user', { kind: 'duplicate' }, { times: 100 });
    let requests = 0;
    participant.on('otrRequest', () => {
      requests += 1;
    });
    await startedByThePerson();
    await talk();
    expect(requests).toBe(1);
    await session.end();
    const started = session.start();
    // The person hears everything twice too.
    let [type, data] = await person.hears();
    while (type !== 'handshake') [type, data] = await person.hears();
    await person.accepts(data);
    await started;
    await talk();
  });

  test('two bots: started by both at once, refreshed by both at once', async () => {
    person.close();
    const other = await participate(ann);
    const theirs = other.otr(rid);
    await Promise.all([session.start(), theirs.start()]);
    const exchange = async () => {
      const [one, two] = [once(theirs, 'message'), once(session, 'message')];
      const receipts = [once(session, 'receipt'), once(theirs, 'receipt')];
      await Promise.all([session.send('secret one'), theirs.send('secret two')]);
      expect([(await one)[0].text, (await two)[0].text]).toEqual(['secret one', 'secret two']);
      await Promise.all(receipts);
    };
    await exchange();
    await Promise.all([session.refresh(), theirs.refresh()]);
    await exchange();
    await theirs.end();
    await reach('NOT_STARTED');
  });

  test('what the server does not take is told', async () => {
    workspace.faults.method(
      'stream-notify-user',
      { kind: 'status', status: 500 },
      { uid: bot._id },
    );
    expect(await codeOf(() => session.start())).toBe('ERR_E2EE_WORKSPACE');
    expect(session.state).toBe('ERROR');
    await startedByTheBot();
    workspace.faults.method('sendMessage', { kind: 'status', status: 500 }, { uid: bot._id });
    expect(await codeOf(() => session.send('secret'))).toBe('ERR_E2EE_WORKSPACE');
    await talk();
    // The server answers nothing at all when it refuses for most reasons.
    expect(await codeOf(() => session.send('x'.repeat(6000)))).toBe('ERR_E2EE_WORKSPACE');
    await talk();
  });

  test('switched off, in other rooms, without a start, over REST alone', async () => {
    const unavailable = 'ERR_E2EE_OTR_UNAVAILABLE';
    const group = workspace.createRoom('p', [ann, bot])._id;
    const three = workspace.createRoom('d', [ann, bot, workspace.createUser('carol')])._id;
    const alone = workspace.createRoom('d', [bot])._id;
    expect(await codeOf(() => participant.otr(group).start())).toBe('ERR_E2EE_ROOM_NOT_AUTHORIZED');
    for (const room of [group, three, alone]) {
      await participant.authorizeRoom(room);
      expect(await codeOf(() => participant.otr(room).start())).toBe(unavailable);
    }
    workspace.setSetting('OTR_Enable', false);
    expect(await codeOf(() => session.start())).toBe(unavailable);
    workspace.setSetting('OTR_Enable', true);
    expect(await codeOf(() => session.send(7 as never))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    expect(await codeOf(() => participant.otr(7 as never))).toBe('ERR_E2EE_INVALID_ARGUMENT');
    const overRest = await Participant.open({
      appId: 'test',
      workspace: new RestWorkspace({
        url: workspace.url,
        userId: bot._id,
        authToken: bot.authToken,
      }),
      store: await MemoryStore.open(),
      passphrase: 'correct horse',
      rooms: [rid],
    });
    closers.push(() => overRest.close());
    expect(await codeOf(() => overRest.otr(rid).start())).toBe(unavailable);
    await participant.close();
    expect(await codeOf(() => session.start())).toBe('ERR_E2EE_CLOSED');
  });
});

test('in a workspace of version 8.8 there are no sessions', async () => {
  await meet({ version: '8.8' });
  expect(await codeOf(() => session.start())).toBe('ERR_E2EE_OTR_UNAVAILABLE');
  let requests = 0;
  participant.on('otrRequest', () => {
    requests += 1;
  });
  // Servers of 8.x still pass such events on.
  const { publicKey } = await browser.call('createOtrPair');
  workspace.setSetting('OTR_Enable', true);
  await person.tell('handshake', { roomId: rid, userId: ann._id, publicKey });
  await participant.sync();
  expect([requests, session.state]).toEqual([0, 'NOT_STARTED']);
});
