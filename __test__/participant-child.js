// A bot in a process of its own: does jobs until it is killed, or what it is told by its input.
// node participant-child.js <url> <user id> <token> <store> <room id> <job> <more>

const { writeSync } = require('fs');
const { createInterface } = require('readline');
const { Participant, RealtimeWorkspace, RestWorkspace, SqliteStore } = require('..');

const [url = '', userId = '', authToken = '', path = '', roomId = '', job = '', more = ''] =
  process.argv.slice(2);
const secret = Buffer.alloc(32, 7);

/** At once, or what was done just before a kill would not be known. @param {unknown} line */
const say = (line) => writeSync(1, `${line}\n`);

/** @param {string} passphrase */
async function open(passphrase) {
  const workspace = more.startsWith('realtime')
    ? new RealtimeWorkspace({ url, userId, authToken })
    : new RestWorkspace({ url, userId, authToken });
  const store = await SqliteStore.open(path, { secret });
  return Participant.open({ appId: 'child', workspace, store, passphrase, rooms: [roomId] });
}

/** Calls methods as they come in, at once: `{id, method, args}`. */
async function obey() {
  const participant = await open('correct horse battery staple');
  for (const event of ['message', 'roomDeauthorized', 'identityRevoked']) {
    participant.on(event, (data) => say(JSON.stringify({ event, data })));
  }
  if (more === 'realtime') await participant.start();
  const methods = /** @type {any} */ (participant);
  const input = createInterface(process.stdin);
  input.on('line', async (line) => {
    const { id, method, args } = JSON.parse(line);
    try {
      const ok = await (method === 'fingerprint'
        ? participant.trust.fingerprint()
        : methods[method](...args));
      say(JSON.stringify({ id, ok: ok ?? null }));
    } catch (error) {
      const { code, message } = /** @type {any} */ (error);
      say(JSON.stringify({ id, error: code ?? message }));
    }
  });
  // Ends by itself when nobody tells anything any more.
  input.on('close', () => participant.close());
}

/**
 * Does one kind of work again and again, until it is killed; says what was acknowledged.
 *
 * @param {(participant: any, say: (line: string) => void, turn: number) => Promise<void>} work
 */
const forever = (work) => async () => {
  const [passphrase = '', from = '0'] = more.split('/');
  const participant = await open(passphrase);
  participant.on('message', ({ messageId }) => say(`read ${messageId}`));
  await participant.sync();
  say('ready');
  for (let turn = Number(from); ; turn++) await work(participant, say, turn);
};

/** @type {Record<string, () => Promise<void>>} */
const jobs = {
  obey,

  /** Sends numbered messages. */
  send: forever(async (participant, tell, turn) => {
    tell(`try ${turn}`);
    const { messageId } = await participant.sendEncryptedMessage(
      roomId,
      `secret of the bot ${turn}`,
    );
    tell(`sent ${turn} ${messageId}`);
    if (turn % 3 === 0) await participant.sync();
  }),

  /** Reads what others say, takes the keys they make, and serves. */
  async sync() {
    const participant = await open(more.split('/')[0] ?? '');
    participant.on('message', ({ messageId }) => say(`read ${messageId}`));
    say('ready');
    for (;;) await participant.sync();
  },

  /** Does something, closes in the middle of it, and is left to end by itself. */
  async leave() {
    const when = more.split('/')[1] ?? '';
    const participant = await open('correct horse battery staple');
    if (when !== 'before it has started') await participant.start();
    const calls = [];
    if (when === 'in a sync') calls.push(participant.sync());
    if (when.startsWith('in a send')) {
      calls.push(participant.sendEncryptedMessage(roomId, 'secret of the bot'));
    }
    for (const call of calls) call.catch(() => undefined);
    if (when !== 'before it has started') await new Promise((done) => setTimeout(done, 200));
    await participant.close();
    say('closed');
  },

  /** Makes new keys for the room. */
  reset: forever(async (participant, tell, turn) => {
    await participant.resetRoomKey(roomId);
    const { keyId } = await participant.getEncryptedRoomKey(roomId);
    tell(`key ${keyId}`);
    await participant.sendEncryptedMessage(roomId, `secret of the bot ${turn}`);
    await participant.sync();
  }),

  /** Gives the room up, and takes it again. */
  authorize: forever(async (participant, tell) => {
    await participant.deauthorizeRoom(roomId);
    tell('given up');
    await participant.authorizeRoom(roomId);
    tell('taken');
  }),

  /** Makes new identities. */
  rotate: forever(async (participant, tell) => {
    await participant.rotateIdentity();
    tell(`identity ${await participant.trust.fingerprint()}`);
  }),

  /** Changes the passphrase. */
  passphrase: forever(async (participant, tell, turn) => {
    tell(`try phrase ${turn}`);
    await participant.changePassphrase(`phrase ${turn}`);
    tell(`passphrase phrase ${turn}`);
  }),

  /** Carries its own keys out and in, and pins. */
  pin: forever(async (participant, tell, turn) => {
    const user = `user ${turn % 5}`;
    const fingerprint = turn.toString(16).padStart(64, '0');
    await participant.trust.pin(user, fingerprint);
    tell(`pinned ${turn}`);
  }),

  /** Takes keys of another store. */
  import: forever(async (participant, tell) => {
    const { readFileSync } = require('fs');
    await participant.importKeys(readFileSync(`${path}.bundle`, 'utf8'), 'a bundle passphrase');
    tell('imported');
    await participant.deauthorizeRoom(roomId);
    await participant.authorizeRoom(roomId);
  }),

  /** Changes the store's secret beside a participant that goes on. */
  async secret() {
    const store = await SqliteStore.open(path, { secret });
    say('ready');
    for (;;) {
      await store.changeSecret(Buffer.from(secret).fill(9));
      await store.changeSecret(secret);
      say('changed');
    }
  },

  /** Draws new data keys for the store beside a participant. */
  async rekey() {
    const store = await SqliteStore.open(path, { secret });
    say('ready');
    for (;;) {
      await store.rekey();
      say('rekeyed');
    }
  },
};

(jobs[job] ?? obey)().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
