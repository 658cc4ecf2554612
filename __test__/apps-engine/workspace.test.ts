import { AppsEngineWorkspace } from '../..';
import { codeOf } from '../helpers';

type Answer = { statusCode: number; headers?: Record<string, string>; content?: string };
type Call = { method: string; url: string; options: Record<string, never> };

/** An `IHttp` that answers as told, and what it was asked. */
function httpOf(...answers: (Answer | Error | 'never' | unknown)[]) {
  const calls: Call[] = [];
  const call = (method: string) => async (url: string, options?: object) => {
    calls.push({ method, url, options: options as Call['options'] });
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === 'never') return new Promise<never>(() => undefined);
    if (answer instanceof Error) throw answer;
    return answer as Answer;
  };
  return { calls, http: { get: call('get'), post: call('post') } };
}

const ok = (body: unknown): Answer => ({ statusCode: 200, content: JSON.stringify(body) });
const open = (http: ReturnType<typeof httpOf>['http'], more = {}) =>
  new AppsEngineWorkspace({
    http,
    url: 'https://chat.example/sub',
    userId: 'bot',
    authToken: 'the-token',
    deadline: 400,
    attemptTimeout: 100,
    ...more,
  });

const GET = { method: 'GET', path: 'e2e.fetchMyKeys' } as const;

test('asks as the account, and answers with what the server says', async () => {
  const { calls, http } = httpOf(ok({ success: true }));
  const workspace = open(http);
  const query = { roomIds: ['a', 'b c'] };
  expect(await workspace.request({ ...GET, query })).toEqual({
    status: 200,
    body: { success: true },
  });
  await workspace.request({ method: 'POST', path: 'chat.sendMessage', body: { a: 1 } });
  expect(calls).toMatchObject([
    {
      method: 'get',
      url: 'https://chat.example/sub/api/v1/e2e.fetchMyKeys?roomIds%5B%5D=a&roomIds%5B%5D=b+c',
      options: { headers: { 'x-user-id': 'bot', 'x-auth-token': 'the-token' }, timeout: 100 },
    },
    {
      method: 'post',
      options: { content: '{"a":1}', headers: { 'content-type': 'application/json' } },
    },
  ]);
});

test('tries again what may pass: failures, no answer, 500 and more', async () => {
  const { calls, http } = httpOf(new Error('the-token'), 'never', { statusCode: 503 }, ok(1));
  expect((await open(http, { deadline: 5000 }).request(GET)).body).toBe(1);
  expect(calls).toHaveLength(4);
});

test('does not repeat what must happen once', async () => {
  const { calls, http } = httpOf(new Error('cut'), ok(1));
  const request = { method: 'POST', path: 'rooms.mediaConfirm/a/b', once: true } as const;
  expect(await codeOf(() => open(http).request(request))).toBe('ERR_E2EE_WORKSPACE');
  expect(calls).toHaveLength(1);
});

test('waits for the rate limit within its deadline', async () => {
  const reset = { 'x-ratelimit-reset': String(Date.now() + 150), 'x-ratelimit-remaining': '0' };
  const { calls, http } = httpOf({ statusCode: 429, headers: reset }, ok(1));
  const start = performance.now();
  expect((await open(http, { deadline: 2000 }).request(GET)).body).toBe(1);
  expect(performance.now() - start).toBeGreaterThan(100);
  expect(calls).toHaveLength(2);
  const late = { 'x-ratelimit-reset': String(Date.now() + 60_000) };
  const { http: shut } = httpOf({ statusCode: 429, headers: late });
  expect(await codeOf(() => open(shut).request(GET))).toBe('ERR_E2EE_RATE_LIMITED');
});

test('ends at its deadline, though an accessor cannot be ended', async () => {
  const { http } = httpOf('never');
  const start = performance.now();
  expect(await codeOf(() => open(http).request(GET))).toBe('ERR_E2EE_WORKSPACE');
  expect(performance.now() - start).toBeLessThan(2000);
});

test.each<[string, unknown]>([
  ['no answer', undefined],
  ['null', null],
  ['no status', {}],
  ['a status that is none', { statusCode: 99 }],
  ['a status of text', { statusCode: 'ok', content: '{}' }],
  ['HTML', { statusCode: 200, content: '<html>' }],
  ['nothing', { statusCode: 200 }],
  ['an object for text', { statusCode: 200, content: {} }],
  ['a body that cannot be', { statusCode: 204, content: '{}' }],
  ['a redirect', { statusCode: 302, headers: { location: 'https://evil.example/' } }],
  ['a refusal that quotes the token', { statusCode: 401, content: '{"error":"the-token"}' }],
])('a hostile accessor answers with %s', async (_, answer) => {
  const { http } = httpOf(answer);
  const error = await open(http)
    .request(GET)
    .catch((thrown) => thrown);
  expect(error).toMatchObject({ name: 'E2eeError', code: 'ERR_E2EE_WORKSPACE' });
  expect(JSON.stringify([error.message, error.errorType])).not.toContain('the-token');
});

test('headers that HTTP does not know are as good as absent', async () => {
  const headers = { 'a b': '1', 'x-ok': '\n', 'x-ratelimit-remaining': '5' };
  const { http } = httpOf({ ...ok(1), headers });
  expect((await open(http).request(GET)).body).toBe(1);
});

test('opens a file, whose bytes come as they are', async () => {
  const { calls, http } = httpOf({ statusCode: 200, content: Buffer.from([1, 2, 255]) as never });
  const stream = await open(http).download('/file-upload/id/name');
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  expect([...Buffer.concat(chunks)]).toEqual([1, 2, 255]);
  expect(calls[0]?.options.encoding).toBeNull();
});

test('cannot upload, and says so', async () => {
  const { calls, http } = httpOf(ok(1));
  const form = { file: new Uint8Array(1), fileName: 'a' };
  const upload = () => open(http).request({ method: 'POST', path: 'rooms.media/a', form });
  expect(await codeOf(upload)).toBe('ERR_E2EE_INVALID_ARGUMENT');
  expect(calls).toEqual([]);
});

test('what cannot be used is refused at once', async () => {
  const { http } = httpOf(ok(1));
  for (const wrong of [{ http: {} }, { url: 'chat' }, { userId: '' }, { authToken: 'a\nb' }]) {
    expect(await codeOf(() => open(http, wrong))).toBe('ERR_E2EE_INVALID_ARGUMENT');
  }
  const closed = open(http);
  await closed.close();
  expect(await codeOf(() => closed.request(GET))).toBe('ERR_E2EE_CLOSED');
});
