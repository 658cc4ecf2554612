import { ManualClock } from './clock';
import { Rest, Socket } from './probe';
import { type Account, Workspace, type WorkspaceOptions } from './server';

const V2 = { algorithm: 'rc.v2.aes-sha2', kid: 'kid', iv: 'iv', ciphertext: 'c2VjcmV0' };
const V1 = { algorithm: 'rc.v1.aes-sha2', ciphertext: 'kid0secret' };

let workspace: Workspace;
let clock: ManualClock;
let ann: Account;
let bob: Account;
let asAnn: Rest;
let asBob: Rest;
let rid: string;

async function start(options: Partial<WorkspaceOptions> = {}): Promise<void> {
  clock = new ManualClock();
  workspace = await Workspace.start({ version: '8.8', clock, rateLimits: false, ...options });
  ann = workspace.createUser('ann');
  bob = workspace.createUser('bob');
  asAnn = new Rest(workspace, ann);
  asBob = new Rest(workspace, bob);
  rid = workspace.createRoom('p', [ann, bob], { encrypted: true, name: 'secret' })._id;
}

const send = (message: object, who = asAnn) => who.post('chat.sendMessage', { message });
const encrypted = (extra: object = {}) => ({
  rid,
  t: 'e2e',
  e2e: 'pending',
  content: V2,
  ...extra,
});

async function sent(extra: object = {}, who = asAnn): Promise<string> {
  clock.advance(1);
  const reply = await send(encrypted(extra), who);
  expect(reply.status).toBe(200);
  return reply.body.message._id;
}

afterEach(() => workspace.close());

describe('chat.sendMessage', () => {
  beforeEach(() => start());

  test('stores what it is given, `msg` empty, and answers with the message', async () => {
    const reply = await send(encrypted({ _id: 'm1' }));
    const message = {
      _id: 'm1',
      rid,
      t: 'e2e',
      e2e: 'pending',
      content: V2,
      msg: '',
      ts: new Date(clock.now()).toISOString(),
      u: { _id: ann._id, username: 'ann', name: 'Ann' },
      urls: [],
      mentions: [],
      channels: [],
      _updatedAt: new Date(clock.now()).toISOString(),
    };
    expect(reply.body).toEqual({ success: true, message });
    const stored = await asBob.get('chat.getMessage', { msgId: 'm1' });
    expect(stored.body).toEqual({ success: true, message });
    expect(workspace.room(rid)).toMatchObject({ msgs: 1, lastMessage: { _id: 'm1', content: V2 } });
  });

  test.each([
    [{ message: { msg: 'no room' } }, "must have required property 'rid'"],
    [{ message: { rid: 'r', msg: 5 } }, 'must be string'],
    [{ message: { rid: 'r', tshow: 'yes' } }, 'must be boolean'],
    [{ message: { rid: 'r' }, other: 1 }, 'must NOT have additional properties'],
    [{}, "must have required property 'message'"],
  ])('refuses %j', async (body, error) => {
    const reply = await asAnn.post('chat.sendMessage', body);
    expect(reply.status).toBe(400);
    expect(reply.body).toEqual({ success: false, errorType: 'invalid-params', error });
  });

  test('system types are refused, without a code', async () => {
    const reply = await send({ rid, t: 'room_e2e_disabled' });
    expect(reply.status).toBe(400);
    expect(reply.body).toEqual({
      success: false,
      error: "Cannot send system messages using 'chat.sendMessage'",
    });
  });

  test('checks in their order: tshow, threads, ts, size, access, encryption', async () => {
    const longAgo = new Date(clock.now() - 60_001).toISOString();
    const long = 'x'.repeat(5001);
    const stranger = new Rest(workspace, workspace.createUser('stranger'));
    const worst = { rid, tshow: true, ts: longAgo, msg: long };
    const errorType = async (message: object, who = asAnn) =>
      (await send(message, who)).body.errorType;
    expect(await errorType(worst)).toBe('invalid-params');
    workspace.setSetting('Threads_enabled', false);
    expect(await errorType({ ...worst, tmid: 'x' })).toBe('error-not-allowed');
    workspace.setSetting('Threads_enabled', true);
    expect(await errorType({ ...worst, tmid: 'x' })).toBe('error-message-ts-out-of-sync');
    expect(await errorType({ rid, msg: long }, stranger)).toBe('error-message-size-exceeded');
    const outside = await send({ rid, msg: 'x' }, stranger);
    expect(outside.body.error).toBe('Not allowed [error-not-allowed]');
    const plain = await send({ rid, msg: 'x' });
    expect(plain.body).toEqual({
      success: false,
      error: 'Not allowed to send un-encrypted messages in an encrypted room [error-not-allowed]',
      errorType: 'error-not-allowed',
      details: { method: 'sendMessage' },
    });
    expect(workspace.messagesIn(rid)).toEqual([]);
  });

  test('a failed send also shows the sender something ephemeral', async () => {
    const socket = await Socket.connect(workspace, ann);
    await socket.sub('stream-notify-user', `${ann._id}/message`);
    await send({ rid, msg: 'plain' });
    const [message] = await socket.event(`${ann._id}/message`);
    expect(message).toMatchObject({ rid, msg: 'error-not-allowed', private: true });
    socket.close();
  });

  test('a time 10 to 60 s off is replaced, a nearer one kept', async () => {
    const at = (off: number) => new Date(clock.now() + off).toISOString();
    const ts = async (off: number) => (await send(encrypted({ ts: at(off) }))).body.message.ts;
    expect(await ts(-10_000)).toBe(at(-10_000));
    expect(await ts(-10_001)).toBe(at(0));
    expect(await ts(60_000)).toBe(at(0));
    expect((await send(encrypted({ ts: at(60_001) }))).status).toBe(400);
  });

  test('only `msg` is measured, never `content`', async () => {
    const huge = { ...V2, ciphertext: 'x'.repeat(100_000) };
    expect((await send(encrypted({ content: huge }))).status).toBe(200);
    expect((await send(encrypted({ msg: 'x'.repeat(5000) }))).status).toBe(200);
    expect((await send(encrypted({ msg: 'x'.repeat(5001) }))).body.errorType).toBe(
      'error-message-size-exceeded',
    );
  });

  test('never looks into an encrypted message: `t` with plaintext passes', async () => {
    expect((await send({ rid, t: 'e2e', msg: 'in clear' })).status).toBe(200);
  });

  test('plaintext passes where it is allowed, or encryption is off', async () => {
    workspace.setSetting('E2E_Allow_Unencrypted_Messages', true);
    const reply = await send({ rid, msg: 'plain' });
    expect(reply.status).toBe(200);
    expect(reply.body.message.md).toHaveLength(1);
    workspace.setSetting('E2E_Allow_Unencrypted_Messages', false);
    workspace.setSetting('E2E_Enable', false);
    expect((await send({ rid, msg: 'plain' })).status).toBe(200);
  });

  test('a taken `_id` is not inserted again, and the answer is an odd 400', async () => {
    await send(encrypted({ _id: 'once' }));
    const again = await send(encrypted({ _id: 'once', content: V1 }));
    expect(again.status).toBe(400);
    expect(again.body).toEqual({
      success: false,
      error: "Cannot read properties of undefined (reading 'starred')",
    });
    expect(workspace.messagesIn(rid)).toHaveLength(1);
    expect(workspace.message('once')?.content).toEqual(V2);
    expect(workspace.room(rid).msgs).toBe(1);
  });

  test('e2eMentions become mentions, instead of those in `msg`', async () => {
    const general = workspace.createRoom('c', [ann], { name: 'general' });
    const reply = await send(
      encrypted({
        msg: '@ann',
        e2eMentions: {
          e2eUserMentions: ['@bob', '@all', '@nobody'],
          e2eChannelMentions: ['#general'],
        },
      }),
    );
    expect(reply.body.message.mentions).toEqual([
      { _id: bob._id, username: 'bob', name: 'Bob', type: 'user' },
      { _id: 'all', username: 'all' },
    ]);
    expect(reply.body.message.channels).toEqual([
      { _id: general._id, name: 'general', fname: 'general' },
    ]);
    expect(workspace.subscription(rid, bob._id)).toMatchObject({
      userMentions: 1,
      groupMentions: 1,
      unread: 1,
      alert: true,
    });
    workspace.setSetting('Message_MaxAll', 1);
    const limited = await send(encrypted({ e2eMentions: { e2eUserMentions: ['@all'] } }));
    expect(limited.body.message.mentions).toEqual([]);
  });

  test('an entry without the sigil loses a letter, one with a colon is taken whole', async () => {
    const far = workspace.createUser('@far:example.org');
    const reply = await send(
      encrypted({ e2eMentions: { e2eUserMentions: ['bob', '@far:example.org'] } }),
    );
    expect(reply.body.message.mentions.map(({ _id }: { _id: string }) => _id)).toEqual([far._id]);
  });

  test('a reply goes to the root of its thread, and to the room of the thread', async () => {
    const root = await sent();
    const reply = await sent({ tmid: root });
    const nested = await sent({ tmid: reply });
    expect(workspace.message(nested)?.tmid).toBe(root);
    expect(workspace.message(root)).toMatchObject({ tcount: 2, replies: [ann._id] });
    const elsewhere = workspace.createRoom('p', [ann], { encrypted: true })._id;
    const stray = await send({ ...encrypted({ tmid: root }), rid: elsewhere });
    expect(stray.body.message.rid).toBe(rid);
  });

  test('impersonation and attachment addresses', async () => {
    expect((await send(encrypted({ alias: 'Boss' }))).body.error).toBe('Not enough permission');
    const bot = workspace.createUser('robot', { roles: ['bot'] });
    workspace.addMember(rid, bot);
    expect((await send(encrypted({ alias: 'Boss' }), new Rest(workspace, bot))).status).toBe(200);
    const link = async (title_link: string) =>
      (await send(encrypted({ attachments: [{ title_link }] }))).status;
    expect(await link('/file-upload/F/name')).toBe(200);
    expect(await link('https://example.org/x')).toBe(200);
    expect(await link('javascript:alert(1)')).toBe(400);
    expect(await link('relative/path')).toBe(400);
  });

  test('Message_Read_Receipt_Enabled marks messages unread', async () => {
    workspace.setSetting('Message_Read_Receipt_Enabled', true);
    expect(workspace.message(await sent())?.unread).toBe(true);
  });

  test('the quirk of some versions: blank messages are refused, whatever they hold', async () => {
    await workspace.close();
    await start({ quirks: { refuseBlankMessages: true } });
    expect((await send(encrypted())).body.errorType).toBe('error-invalid-message');
    expect((await send(encrypted({ msg: 'x' }))).status).toBe(200);
  });
});

describe('chat.update', () => {
  beforeEach(() => start());

  test('replaces content and mentions; `t`, `_id` and `ts` stay', async () => {
    const msgId = await sent();
    const before = workspace.message(msgId);
    clock.advance(5000);
    const e2eMentions = { e2eUserMentions: ['@bob'], e2eChannelMentions: [] };
    const reply = await asAnn.post('chat.update', { roomId: rid, msgId, content: V1, e2eMentions });
    expect(reply.status).toBe(200);
    const after = workspace.message(msgId);
    expect(after).toMatchObject({
      t: 'e2e',
      content: V1,
      e2eMentions,
      ts: before?.ts,
      editedAt: new Date(clock.now()),
      editedBy: { _id: ann._id, username: 'ann' },
      mentions: [{ username: 'bob' }],
    });
    expect(workspace.room(rid).lastMessage?.content).toEqual(V1);
  });

  test('content alone leaves the old mentions', async () => {
    const e2eMentions = { e2eUserMentions: ['@bob'] };
    const msgId = await sent({ e2eMentions });
    await asAnn.post('chat.update', { roomId: rid, msgId, content: V1 });
    expect(workspace.message(msgId)).toMatchObject({ e2eMentions, content: V1 });
  });

  test.each([
    ['both shapes', { text: 'x', content: V1 }],
    ['neither', {}],
    ['an extra key', { content: V1, t: 'e2e' }],
    ['an empty ciphertext', { content: { ...V1, ciphertext: '' } }],
    ['v2 without its iv', { content: { algorithm: V2.algorithm, kid: 'k', ciphertext: 'c' } }],
    ['v1 with a kid', { content: { ...V1, kid: 'k' } }],
    ['an unknown algorithm', { content: { algorithm: 'm.megolm.v1.aes-sha2', ciphertext: 'c' } }],
    ['mentions with text', { text: 'x', e2eMentions: {} }],
  ])('refuses %s', async (_what, extra) => {
    const msgId = await sent();
    const reply = await asAnn.post('chat.update', { roomId: rid, msgId, ...extra });
    expect(reply.status).toBe(400);
    expect(reply.body.errorType).toBe('invalid-params');
    expect(workspace.message(msgId)?.content).toEqual(V2);
  });

  test('content is for encrypted messages, and an edit for its author', async () => {
    workspace.setSetting('E2E_Allow_Unencrypted_Messages', true);
    const plain = (await send({ rid, msg: 'plain' })).body.message._id;
    const onPlain = await asAnn.post('chat.update', { roomId: rid, msgId: plain, content: V1 });
    expect(onPlain.body).toEqual({
      success: false,
      error: 'Only encrypted messages can have content updated.',
    });
    const msgId = await sent();
    const foreign = await asBob.post('chat.update', { roomId: rid, msgId, content: V1 });
    expect(foreign.body.errorType).toBe('error-action-not-allowed');
    const absent = await asAnn.post('chat.update', { roomId: rid, msgId: 'none', content: V1 });
    expect(absent.body.error).toBe('No message found with the id of "none".');
    const elsewhere = await asAnn.post('chat.update', { roomId: 'other', msgId, content: V1 });
    expect(elsewhere.body.error).toBe(
      'The room id provided does not match where the message is from.',
    );
  });
});

describe('reading', () => {
  beforeEach(() => start());

  test('getMessage: out of reach and absent look the same', async () => {
    const stranger = new Rest(workspace, workspace.createUser('stranger'));
    for (const msgId of [await sent(), 'absent']) {
      const reply = await stranger.get('chat.getMessage', { msgId });
      expect(reply.status).toBe(400);
      expect(reply.body).toEqual({ success: false });
    }
  });

  test('history has whole messages, groups.messages has them without `e2e`', async () => {
    await sent();
    const history = await asBob.get('groups.history', { roomId: rid });
    expect(history.body.messages[0]).toMatchObject({ t: 'e2e', e2e: 'pending', content: V2 });
    const messages = await asBob.get('groups.messages', { roomId: rid });
    expect(messages.body).toMatchObject({ count: 1, offset: 0, total: 1 });
    expect(messages.body.messages[0]).toMatchObject({ t: 'e2e', content: V2 });
    expect(messages.body.messages[0]).not.toHaveProperty('e2e');
    const dm = workspace.createRoom('d', [ann, bob], { encrypted: true })._id;
    await send({ ...encrypted(), rid: dm });
    expect((await asBob.get('im.history', { roomId: dm })).body.messages[0].e2e).toBe('pending');
    const direct = await asBob.get('im.messages', { roomId: dm });
    expect(direct.body.messages[0]).not.toHaveProperty('e2e');
  });

  test('history: newest first, 20 unless told, edges only when inclusive', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 22; i += 1) ids.push(await sent());
    const at = (i: number) => workspace.message(ids[i] ?? '')?.ts.toISOString() ?? '';
    const history = async (query: Record<string, string | number>) =>
      (await asBob.get('groups.history', { roomId: rid, ...query })).body.messages.map(
        ({ _id }: { _id: string }) => ids.indexOf(_id),
      );
    expect(await history({})).toEqual(Array.from({ length: 20 }, (_, i) => 21 - i));
    const range = { oldest: at(3), latest: at(6) };
    expect(await history(range)).toEqual([5, 4]);
    expect(await history({ ...range, inclusive: 'true' })).toEqual([6, 5, 4, 3]);
    expect(await history({ count: 2, offset: 1 })).toEqual([20, 19]);
  });

  test('groups.messages: 50 unless told, 100 at most, 0 for all', async () => {
    for (let i = 0; i < 101; i += 1) await sent();
    const countOf = async (query: Record<string, number>) =>
      (await asBob.get('groups.messages', { roomId: rid, ...query })).body.messages.length;
    const counts = [await countOf({}), await countOf({ count: 1000 }), await countOf({ count: 0 })];
    expect(counts).toEqual([50, 100, 101]);
  });

  test('a room one is not in: history and messages do not say that it exists', async () => {
    const stranger = new Rest(workspace, workspace.createUser('stranger'));
    for (const route of ['groups.history', 'groups.messages', 'groups.members']) {
      expect((await stranger.get(route, { roomId: rid })).body.errorType).toBe(
        'error-room-not-found',
      );
    }
  });
});

describe('chat.syncMessages', () => {
  beforeEach(() => start());

  const sync = (query: Record<string, string | number>) =>
    asBob.get('chat.syncMessages', { roomId: rid, ...query });
  const idsOf = (messages: { _id: string }[]) => messages.map(({ _id }) => _id);

  test('since a date: what was updated, and ids of what was deleted', async () => {
    const first = await sent();
    const second = await sent();
    const third = await sent();
    await asAnn.post('chat.delete', { roomId: rid, msgId: await sent() }); // before the date
    const lastUpdate = new Date(clock.now()).toISOString();
    clock.advance(10);
    await asAnn.post('chat.update', { roomId: rid, msgId: first, content: V1 });
    await asAnn.post('chat.delete', { roomId: rid, msgId: second });
    const { body } = await sync({ lastUpdate });
    expect(idsOf(body.result.updated)).toEqual([first]);
    expect(body.result.updated[0]).toMatchObject({ t: 'e2e', content: V1 });
    expect(body.result.deleted).toEqual([
      { _id: second, _deletedAt: new Date(clock.now()).toISOString() },
    ]);
    const all = await sync({ lastUpdate: new Date(0).toISOString() });
    expect(idsOf(all.body.result.updated)).toEqual([third, first]); // newest first, by `ts`
  });

  test('page by page, forwards and back', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i += 1) ids.push(await sent());
    const cursorOf = (i: number) => String(workspace.message(ids[i] ?? '')?._updatedAt.getTime());
    const page = async (query: Record<string, string | number>) =>
      (await sync({ type: 'UPDATED', count: 2, ...query })).body.result;
    const one = await page({ next: 0 });
    expect(idsOf(one.updated)).toEqual(ids.slice(0, 2));
    expect(one.deleted).toEqual([]);
    expect(one.cursor).toEqual({ next: cursorOf(1), previous: cursorOf(0) });
    const two = await page({ next: one.cursor.next });
    expect(idsOf(two.updated)).toEqual(ids.slice(2, 4));
    const three = await page({ next: two.cursor.next });
    expect(idsOf(three.updated)).toEqual(ids.slice(4));
    expect(three.cursor).toEqual({ next: null, previous: cursorOf(4) });
    const back = await page({ previous: three.cursor.previous });
    expect(idsOf(back.updated)).toEqual([ids[3], ids[2]]);
    expect(back.cursor).toEqual({ next: cursorOf(3), previous: cursorOf(2) });
  });

  test('deleted messages page by their time of deletion', async () => {
    const [one, two] = [await sent(), await sent()];
    const times: string[] = [];
    for (const msgId of [one, two]) {
      clock.advance(10);
      times.push(String(clock.now()));
      await asAnn.post('chat.delete', { roomId: rid, msgId });
    }
    const { body } = await sync({ type: 'DELETED', next: 0, count: 1 });
    expect(idsOf(body.result.deleted)).toEqual([one]);
    expect(body.result.cursor.next).toBe(times[0]);
    const rest = await sync({ type: 'DELETED', next: body.result.cursor.next, count: 1 });
    expect(idsOf(rest.body.result.deleted)).toEqual([two]);
  });

  test('before 7.1: since a date alone', async () => {
    await workspace.close();
    await start({ version: '7.0' });
    const id = await sent();
    const { body } = await sync({ type: 'UPDATED', next: '1' });
    expect(body.errorType).toBe('error-lastUpdate-param-not-provided');
    const { result } = (await sync({ lastUpdate: '2026-01-01', count: 1 })).body;
    expect(idsOf(result.updated)).toEqual([id]);
    expect(result.cursor).toBeUndefined();
  });

  test('`type` without a cursor: an empty answer without one', async () => {
    await sent();
    const { body } = await sync({ type: 'UPDATED' });
    expect(body.result).toEqual({ updated: [], deleted: [] });
  });

  test.each([
    [{}, 'error-param-required'],
    [{ lastUpdate: 'yesterday' }, 'error-lastUpdate-param-invalid'],
    [{ lastUpdate: '2026-01-01', next: '0' }, 'error-type-param-required'],
    [{ type: 'UPDATED', next: '1', previous: '2' }, 'error-cursor-conflict'],
    [
      { type: 'UPDATED', next: '1', lastUpdate: '2026-01-01' },
      'error-cursor-and-lastUpdate-conflict',
    ],
    [{ type: 'REMOVED' }, 'error-invalid-params'],
    [{ lastUpdate: '2026-01-01', other: 'x' }, 'error-invalid-params'],
  ])('%j is refused', async (query, errorType) => {
    const reply = await sync(query as Record<string, string>);
    expect(reply.status).toBe(400);
    expect(reply.body.errorType).toBe(errorType);
  });
});

describe('delete, pin, prune', () => {
  beforeEach(() => start());

  test('delete: gone, announced, and the room shows the message before', async () => {
    const [first, second] = [await sent(), await sent()];
    const socket = await Socket.connect(workspace, bob);
    await socket.sub('stream-notify-room', `${rid}/deleteMessage`);
    const refused = await asBob.post('chat.delete', { roomId: rid, msgId: second });
    expect(refused.body.errorType).toBe('error-action-not-allowed');
    const reply = await asAnn.post('chat.delete', { roomId: rid, msgId: second });
    expect(reply.body).toMatchObject({ _id: second, message: { _id: second, rid } });
    expect(await socket.event(`${rid}/deleteMessage`)).toEqual([{ _id: second }]);
    expect(workspace.message(second)).toBeUndefined();
    expect(workspace.room(rid)).toMatchObject({ msgs: 1, lastMessage: { _id: first } });
    socket.close();
  });

  test('pin: a system message with the content in its attachment', async () => {
    const messageId = await sent();
    expect((await asBob.post('chat.pinMessage', { messageId })).body.errorType).toBe(
      'not-authorized',
    );
    const reply = await asAnn.post('chat.pinMessage', { messageId });
    expect(reply.body.message).toMatchObject({
      t: 'message_pinned_e2e',
      msg: '',
      u: { username: 'ann' },
      attachments: [{ text: '', author_name: 'ann', content: V2, attachments: [] }],
    });
    expect(reply.body.message).not.toHaveProperty('content');
    expect(workspace.message(messageId)).toMatchObject({ pinned: true, t: 'e2e', content: V2 });
  });

  test.each([
    ['8.8', { color: '#FD745E', text: '_File removed by prune_', type: 'removed-file' }],
    ['7.0', { color: '#FD745E', text: '_File removed by prune_' }],
  ] as const)('%s: pruning files leaves an attachment that says so', async (version, left) => {
    await workspace.close();
    await start({ version });
    const admin = workspace.createUser('root', { roles: ['admin'] });
    workspace.addMember(rid, admin);
    const form = new FormData();
    form.append('file', new File(['bytes'], 'name'));
    const { file } = (await asAnn.form(`rooms.media/${rid}`, form)).body;
    clock.advance(1);
    await asAnn.post(`rooms.mediaConfirm/${rid}/${file._id}`, { t: 'e2e', content: V2 });
    const socket = await Socket.connect(workspace, bob);
    await socket.sub('stream-notify-room', `${rid}/deleteMessageBulk`);
    const range = {
      roomId: rid,
      oldest: new Date(0).toISOString(),
      latest: new Date(clock.now() + 1).toISOString(),
      filesOnly: true,
    };
    expect((await asAnn.post('rooms.cleanHistory', range)).body.errorType).toBe(
      'error-not-allowed',
    );
    const reply = await new Rest(workspace, admin).post('rooms.cleanHistory', range);
    expect(reply.body).toMatchObject({ _id: rid, count: 1 });
    const message = workspace.messagesIn(rid).find(({ t }) => t === 'e2e');
    expect(message?.attachments).toEqual([left]);
    expect(message).not.toHaveProperty('file');
    expect(message?.content).toEqual(V2); // the envelope still has the file
    expect(workspace.upload(file._id)).toBeUndefined();
    expect(await socket.event(`${rid}/deleteMessageBulk`)).toMatchObject([
      { rid, filesOnly: true, replaceFileAttachmentsWith: left },
    ]);
    socket.close();
  });
});

describe('pruning without filesOnly', () => {
  test('removes messages, edges only when inclusive, and says the range', async () => {
    await start();
    const admin = workspace.createUser('root', { roles: ['admin'] });
    workspace.addMember(rid, admin);
    clock.advance(1000);
    const ids = [await sent(), await sent(), await sent()];
    const at = (i: number) => workspace.message(ids[i] ?? '')?.ts.toISOString() ?? '';
    const socket = await Socket.connect(workspace, bob);
    await socket.sub('stream-notify-room', `${rid}/deleteMessageBulk`);
    const asAdmin = new Rest(workspace, admin);
    const range = { roomId: rid, oldest: at(0), latest: at(2) };
    expect((await asAdmin.post('rooms.cleanHistory', range)).body.count).toBe(1);
    expect(workspace.message(ids[1] ?? '')).toBeUndefined();
    const [bulk] = await socket.event(`${rid}/deleteMessageBulk`);
    expect(bulk).toMatchObject({ rid, ts: { $gt: new Date(range.oldest) }, users: [] });
    expect(bulk).not.toHaveProperty('filesOnly');
    const whole = { ...range, inclusive: true };
    expect((await asAdmin.post('rooms.cleanHistory', whole)).body.count).toBe(2);
    socket.close();
  });
});

describe('documents put there by hand', () => {
  test('addMessage asks nothing; editUser and editRoom change what is served', async () => {
    await start();
    const old = workspace.addMessage(ann, {
      rid,
      _id: 'old',
      t: 'e2e',
      msg: 'eyJhbGciOiJBv1',
      ts: new Date(5),
    });
    expect(old).toMatchObject({ _id: 'old', ts: new Date(5), u: { username: 'ann' } });
    const plain = workspace.addMessage(bob, { rid, msg: 'from before' });
    const reply = await asBob.get('chat.getMessage', { msgId: plain._id });
    expect(reply.body.message).toMatchObject({ msg: 'from before', u: { username: 'bob' } });
    workspace.editUser(bob._id, (user) => {
      user.e2e = { public_key: 'swapped', private_key: 'q' };
    });
    const users = await asAnn.get('e2e.getUsersOfRoomWithoutKey', { rid });
    expect(users.body.users).toEqual([{ _id: bob._id, e2e: { public_key: 'swapped' } }]);
  });
});

describe('chat.postMessage', () => {
  beforeEach(() => start());

  test('has no place for an encrypted message, and is refused where one is needed', async () => {
    const extra = await asAnn.post('chat.postMessage', { roomId: rid, t: 'e2e', content: V2 });
    expect(extra.body.errorType).toBe('invalid-params');
    const plain = await asAnn.post('chat.postMessage', { roomId: rid, text: 'plain' });
    expect(plain.body.errorType).toBe('error-not-allowed');
    const open = workspace.createRoom('p', [ann], { name: 'open' });
    const reply = await asAnn.post('chat.postMessage', { channel: '#open', text: 'plain' });
    expect(reply.body.message).toMatchObject({ rid: open._id, msg: 'plain' });
  });
});
