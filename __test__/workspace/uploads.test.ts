import { ManualClock } from './clock';
import { Rest } from './probe';
import { type Account, Workspace } from './server';

const CONTENT = { algorithm: 'rc.v2.aes-sha2', kid: 'kid', iv: 'iv', ciphertext: 'c2VjcmV0' };
const META = { algorithm: 'rc.v2.aes-sha2', kid: 'kid', iv: 'iv', ciphertext: 'bWV0YQ==' };
const NAME = '6f1c'.repeat(16);
const BYTES = Buffer.from([0, 13, 10, 45, 45, 255, 128, 0]);

let workspace: Workspace;
let clock: ManualClock;
let ann: Account;
let bob: Account;
let asAnn: Rest;
let asBob: Rest;
let rid: string;

beforeEach(async () => {
  clock = new ManualClock();
  workspace = await Workspace.start({ version: '8.8', clock, rateLimits: false });
  ann = workspace.createUser('ann');
  bob = workspace.createUser('bob');
  asAnn = new Rest(workspace, ann);
  asBob = new Rest(workspace, bob);
  rid = workspace.createRoom('p', [ann, bob], { encrypted: true })._id;
});

afterEach(() => workspace.close());

function form(content?: string, type = ''): FormData {
  const data = new FormData();
  if (content !== undefined) data.append('content', content);
  data.append('file', new File([BYTES], NAME, { type }));
  return data;
}

async function upload(content?: string, type?: string): Promise<{ _id: string; url: string }> {
  const reply = await asAnn.form(`rooms.media/${rid}`, form(content, type));
  expect(reply.status).toBe(200);
  return reply.body.file;
}

const confirm = (id: string, body: object, who = asAnn) =>
  who.post(`rooms.mediaConfirm/${rid}/${id}`, body);

test('step 1 stores the ciphertext for 24 hours', async () => {
  const { _id, url } = await upload(JSON.stringify(META));
  expect(url).toBe(`/file-upload/${_id}/${NAME}`);
  const stored = workspace.upload(_id);
  expect(stored?.bytes).toEqual(BYTES);
  expect(stored?.upload).toMatchObject({
    name: NAME,
    size: 8,
    type: 'application/octet-stream',
    content: META,
    rid,
    userId: ann._id,
    expiresAt: new Date(clock.now() + 86_400_000),
  });
  expect(workspace.messagesIn(rid)).toEqual([]);
  clock.advance(86_399_999);
  expect(workspace.upload(_id)).toBeDefined();
  clock.advance(1);
  expect(workspace.upload(_id)).toBeUndefined();
  expect((await confirm(_id, { t: 'e2e', content: CONTENT })).body).toEqual({
    success: false,
    error: '[invalid-file]',
    errorType: 'invalid-file',
  });
});

test('step 1 refuses', async () => {
  const stranger = new Rest(workspace, workspace.createUser('stranger'));
  const denied = await stranger.form(`rooms.media/${rid}`, form());
  expect(denied.status).toBe(403);
  const bad = await asAnn.form(`rooms.media/${rid}`, form('{no json'));
  expect(bad.body.errorType).toBe('invalid-field-content');
  const none = await asAnn.form(`rooms.media/${rid}`, new FormData());
  expect(none.body.errorType).toBe('error-no-file-uploaded');
  workspace.setSetting('FileUpload_MaxFileSize', 7);
  const big = await asAnn.form(`rooms.media/${rid}`, form());
  expect(big.body.errorType).toBe('error-file-too-large');
  workspace.setSetting('FileUpload_MaxFileSize', 8);
  workspace.setSetting('FileUpload_MediaTypeWhiteList', 'image/*');
  const type = await asAnn.form(`rooms.media/${rid}`, form());
  expect(type.body.errorType).toBe('error-invalid-file-type');
  workspace.setSetting('FileUpload_MediaTypeWhiteList', 'image/*,application/octet-stream');
  expect((await asAnn.form(`rooms.media/${rid}`, form())).status).toBe(200);
});

test('step 2 posts the message, with what the server itself knows of the file', async () => {
  const { _id } = await upload(JSON.stringify(META));
  const later = { ...META, ciphertext: 'bGF0ZXI=' };
  const reply = await confirm(_id, { t: 'e2e', msg: '', content: CONTENT, fileContent: later });
  expect(reply.status).toBe(200);
  const file = { _id, name: NAME, type: 'application/octet-stream', size: 8, format: '' };
  expect(reply.body.message).toMatchObject({
    t: 'e2e',
    msg: '',
    content: CONTENT,
    groupable: false,
    file,
    files: [file],
    attachments: [
      {
        title: NAME,
        type: 'file',
        title_link: `/file-upload/${_id}/${NAME}`,
        title_link_download: true,
        fileId: _id,
        size: 8,
        format: '',
      },
    ],
  });
  expect(workspace.upload(_id)?.upload).toMatchObject({ content: later });
  expect(workspace.upload(_id)?.upload).not.toHaveProperty('expiresAt');
  clock.advance(86_400_001);
  expect(workspace.upload(_id)).toBeDefined();
});

test('a real image type makes an image attachment', async () => {
  const { _id } = await upload(undefined, 'image/png');
  const { body } = await confirm(_id, { t: 'e2e', content: CONTENT });
  expect(body.message.attachments[0]).toMatchObject({
    image_url: `/file-upload/${_id}/${NAME}`,
    image_type: 'image/png',
    image_size: 8,
  });
  expect(body.message.attachments[0]).not.toHaveProperty('size');
});

test('fileName and description are written in clear where they are given', async () => {
  const { _id } = await upload();
  const { body } = await confirm(_id, {
    t: 'e2e',
    content: CONTENT,
    fileName: 'plan.png',
    description: 'look',
    customFields: '{"a":1}',
  });
  expect(body.message.file).toMatchObject({ name: 'plan.png', format: 'png' });
  expect(body.message.attachments[0]).toMatchObject({ title: 'plan.png', description: 'look' });
  expect(body.message.customFields).toEqual({ a: 1 });
});

test.each([
  ['e2e', { e2e: 'pending' }, 'Match error: Unknown key in field e2e'],
  ['e2eMentions', { e2eMentions: {} }, 'Match error: Unknown key in field e2eMentions'],
  ['_id', { _id: 'mine' }, 'Match error: Unknown key in field _id'],
  ['customFields as an object', { customFields: {} }, /Unexpected value in field customFields/],
  ['a content without ciphertext', { content: { algorithm: 'x' } }, /field content/],
])('step 2 refuses %s', async (_what, extra, error) => {
  const { _id } = await upload();
  const reply = await confirm(_id, { t: 'e2e', content: CONTENT, ...extra });
  expect(reply.status).toBe(400);
  expect(reply.body.error).toEqual(
    typeof error === 'string' ? error : expect.stringMatching(error),
  );
  expect(reply.body).not.toHaveProperty('errorType');
  expect(workspace.messagesIn(rid)).toEqual([]);
});

test('only the uploader confirms, in the room of the upload, and encrypted', async () => {
  const { _id } = await upload();
  const body = { t: 'e2e', content: CONTENT };
  expect((await confirm(_id, body, asBob)).body.errorType).toBe('invalid-file');
  const other = workspace.createRoom('p', [ann])._id;
  const elsewhere = await asAnn.post(`rooms.mediaConfirm/${other}/${_id}`, body);
  expect(elsewhere.body.errorType).toBe('invalid-file');
  const plain = await confirm(_id, { msg: 'plain' });
  expect(plain.body.errorType).toBe('error-not-allowed');
  // Not confirmed by a refused attempt.
  expect(workspace.upload(_id)?.upload).toHaveProperty('expiresAt');
});

test('a second confirmation posts a second message, and answers with the first', async () => {
  const { _id } = await upload();
  const first = await confirm(_id, { t: 'e2e', content: CONTENT });
  clock.advance(1);
  const second = await confirm(_id, { t: 'e2e', content: CONTENT });
  expect(second.body.message._id).toBe(first.body.message._id);
  expect(workspace.messagesIn(rid)).toHaveLength(2);
});

describe('download', () => {
  test('for members, with tokens in headers, cookies or the query', async () => {
    const { _id, url } = await upload();
    await confirm(_id, { t: 'e2e', content: CONTENT });
    const get = (init: RequestInit = {}, query = '') => fetch(workspace.url + url + query, init);
    const headers = { 'x-user-id': bob._id, 'x-auth-token': bob.authToken };
    const cookie = `rc_uid=${bob._id}; rc_token=${encodeURIComponent(bob.authToken)}`;
    const query = `?rc_uid=${bob._id}&rc_token=${bob.authToken}`;
    for (const response of [
      await get({ headers }),
      await get({ headers: { cookie } }),
      await get({}, query),
    ]) {
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toBe('application/octet-stream');
      expect(Buffer.from(await response.arrayBuffer())).toEqual(BYTES);
    }
    expect((await get()).status).toBe(403);
    const stranger = workspace.createUser('stranger');
    const outside = { 'x-user-id': stranger._id, 'x-auth-token': stranger.authToken };
    expect((await get({ headers: outside })).status).toBe(403);
    expect((await fetch(`${workspace.url}/file-upload/none/x`, { headers })).status).toBe(404);
    workspace.setSetting('FileUpload_ProtectFiles', false);
    expect((await get()).status).toBe(200);
  });

  test('deleting the message deletes the file', async () => {
    const { _id } = await upload();
    const { body } = await confirm(_id, { t: 'e2e', content: CONTENT });
    await asAnn.post('chat.delete', { roomId: rid, msgId: body.message._id });
    expect(workspace.upload(_id)).toBeUndefined();
  });
});
