import type { IncomingMessage, ServerResponse } from 'node:http';
import { HttpError, MeteorError, PlainError } from '../errors';
import { type CallFault, type Faults, pause } from '../faults';
import type { User } from '../model';
import { hasPermission } from '../permissions';
import { type RateLimiter, tooManyRequests } from '../rate-limit';
import type { LoggedRequest, RequestLog } from '../request-log';
import type { Services } from '../services';
import { routes } from '.';
import type { Call, Route } from './route';

interface Answer {
  status: number;
  headers: Record<string, string>;
  body: string | Buffer;
}

const JSON_HEADERS = { 'content-type': 'application/json', 'cache-control': 'no-store' };

/** From bytes to a route and back: faults, schemas, login, rate limits, errors (2.1, 9.1). */
export class RestServer {
  constructor(
    private readonly services: Services,
    private readonly faults: Faults,
    private readonly limiter: RateLimiter,
    private readonly log: RequestLog,
  ) {}

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const bytes = await read(request).catch(() => undefined);
    if (bytes === undefined) return; // the client went away
    const logged = this.log.add({
      transport: 'rest',
      method: request.method ?? '',
      path: request.url ?? '',
      headers: flat(request.headers),
      body: bytes,
    });
    const url = new URL(request.url ?? '', 'http://127.0.0.1');
    const route = this.routeOf(request.method ?? '', url.pathname);
    const name = url.pathname.startsWith('/file-upload/') ? 'file-upload' : (route?.name ?? '');
    const faults = this.faults.callFaults('rest', name, header(request, 'x-user-id'));

    for (const fault of faults) {
      if (!(await this.suffer(fault, 'before', response, logged))) return;
    }
    let answer =
      name === 'file-upload'
        ? this.download(request, url)
        : await this.answer(request, url, bytes, route);
    for (const fault of faults) {
      if (!(await this.suffer(fault, 'after', response, logged))) return;
      if (fault.kind === 'answer' && fault.when === 'after') answer = forged(fault, answer);
    }
    send(response, answer, logged);
  }

  private routeOf(method: string, path: string): Route | undefined {
    return routes.find(
      (route) =>
        route.method === method &&
        route.pattern.test(path) &&
        route.exists?.(this.services.store.behaviour) !== false,
    );
  }

  private async answer(
    request: IncomingMessage,
    url: URL,
    bytes: Buffer,
    route: Route | undefined,
  ): Promise<Answer> {
    if (route === undefined) return json(404, { success: false, error: 'Not Found' });
    const { behaviour } = this.services.store;
    const limits: Record<string, string> = {};
    try {
      const loose = !behaviour.strictE2eSchemas && route.path.startsWith('e2e.');
      const parameters = parseQuery(url.searchParams);
      const query = route.query === undefined ? parameters : route.query.coerce(parameters);
      const body = parseBody(request, bytes);
      const wrongQuery = route.query?.check(query, loose);
      const wrongBody = route.body?.check(body, loose);
      if (behaviour.schemasCheckedByRouter) {
        // Before it is known who calls; query and body have different codes, the text has none.
        if (wrongQuery !== undefined) throw schemaError('error-invalid-params', wrongQuery);
        if (wrongBody !== undefined) throw schemaError('invalid-params', wrongBody);
      }
      const { user, token } = this.authenticate(route, request);
      this.limitRate(route, request, user, limits);
      const wrong = wrongQuery ?? wrongBody;
      if (wrong !== undefined) throw new MeteorError('invalid-params', wrong);
      if (route.twoFactor) {
        this.services.accounts.requireSecondFactor(
          user,
          header(request, 'x-2fa-code'),
          header(request, 'x-2fa-method'),
        );
      }
      const call: Call<unknown, unknown> = {
        services: this.services,
        user,
        token,
        query,
        body,
        params: route.pattern.exec(url.pathname)?.groups ?? {},
        headers: request.headers,
        bytes,
      };
      const result = await route.handle(call);
      return json(200, { success: true, ...result }, limits);
    } catch (error) {
      return failed(error, route.path, limits);
    }
  }

  private authenticate(route: Route, request: IncomingMessage): { user: User; token: string } {
    const token = header(request, 'x-auth-token') ?? '';
    const user = this.services.accounts.userOfToken(token, header(request, 'x-user-id') ?? '');
    if (user !== undefined) return { user, token };
    // A handler of a public route does not look at the user.
    if (route.public) return { user: undefined as unknown as User, token };
    throw this.services.store.behaviour.plainTextUnauthorized
      ? new HttpError(401, 'Unauthorized', { 'content-type': 'text/plain' })
      : new HttpError(401, { status: 'error', message: 'You must be logged in to do this.' });
  }

  /** Per route and client address (9.1); who may bypass it gets no headers either. */
  private limitRate(
    route: Route,
    request: IncomingMessage,
    user: User | undefined,
    headers: Record<string, string>,
  ): void {
    const { settings, clock } = this.services.store;
    if (!settings.isOn('API_Enable_Rate_Limiter')) return;
    if (user && hasPermission(this.services.store, user._id, 'api-bypass-rate-limit')) return;
    const calls = settings.number('API_Enable_Rate_Limiter_Limit_Calls_Default');
    const windowMs = settings.number('API_Enable_Rate_Limiter_Limit_Time_Default');
    const key = `rest ${route.method} ${route.path} ${request.socket.remoteAddress}`;
    const verdict = this.limiter.hit(key, { calls, windowMs });
    headers['x-ratelimit-limit'] = String(calls);
    headers['x-ratelimit-remaining'] = String(verdict.remaining);
    headers['x-ratelimit-reset'] = String(verdict.resetAt);
    if (!verdict.allowed) {
      throw new HttpError(429, {
        success: false,
        error: tooManyRequests(verdict.resetAt - clock.now()),
      });
    }
  }

  /** `/file-upload/<id>/<name>`: tokens in headers, cookies or the query. */
  private download(request: IncomingMessage, url: URL): Answer {
    const cookies = new Map(
      (request.headers.cookie ?? '').split(/; */).map((pair) => {
        const [name = '', value = ''] = pair.split('=');
        return [name, value];
      }),
    );
    const given = (headerName: string, name: string) =>
      header(request, headerName) ?? cookies.get(name) ?? url.searchParams.get(name) ?? '';
    const token = given('x-auth-token', 'rc_token');
    const user = this.services.accounts.userOfToken(token, given('x-user-id', 'rc_uid'));
    const found = this.services.uploads.download(user, url.pathname.split('/')[2] ?? '');
    if (found === 'absent') return { status: 404, headers: {}, body: '' };
    if (found === 'denied') return { status: 403, headers: {}, body: '' };
    return {
      status: 200,
      headers: {
        'content-type': found.upload.type,
        'content-disposition': `attachment; filename*=UTF-8''${encodeURIComponent(found.upload.name)}`,
      },
      body: found.bytes,
    };
  }

  /** False when the request is over. */
  private async suffer(
    fault: CallFault,
    now: 'before' | 'after',
    response: ServerResponse,
    logged: LoggedRequest,
  ): Promise<boolean> {
    if ((fault.when ?? 'before') !== now) return true;
    switch (fault.kind) {
      case 'drop':
        response.socket?.destroy();
        return false;
      case 'delay':
        await pause(fault.ms);
        return true;
      case 'status':
        send(response, this.faultAnswer(fault.status, fault.retryAfterMs ?? 1000), logged);
        return false;
      case 'answer':
        if (now === 'after') return true;
        send(response, forged(fault), logged);
        return false;
    }
  }

  /** A 429 is the rate limiter's, a 5xx comes from a proxy and is no JSON. */
  private faultAnswer(status: number, retryAfterMs: number): Answer {
    if (status !== 429) {
      return {
        status,
        headers: { 'content-type': 'text/html' },
        body: `<html><body><h1>${status}</h1></body></html>`,
      };
    }
    const headers = {
      'x-ratelimit-limit': '10',
      'x-ratelimit-remaining': '0',
      'x-ratelimit-reset': String(this.services.store.clock.now() + retryAfterMs),
    };
    return json(429, { success: false, error: tooManyRequests(retryAfterMs) }, headers);
  }
}

function forged(fault: CallFault & { kind: 'answer' }, answer?: Answer): Answer {
  const { body, status = 200 } = fault;
  if (typeof body === 'string') {
    return { status, headers: { 'content-type': 'text/html' }, body };
  }
  if (typeof body !== 'function') return json(status, body);
  return json(status, body(JSON.parse(String(answer?.body ?? '{}'))));
}

function schemaError(errorType: string, error: string): HttpError {
  return new HttpError(400, { success: false, errorType, error });
}

/** `a[]=1&a[]=2`, `a[0]=1` and a repeated `a` are lists (2.1). */
function parseQuery(parameters: URLSearchParams): Record<string, string | string[]> {
  const value: Record<string, string | string[]> = {};
  for (const [key, text] of parameters) {
    const name = key.replace(/\[\d*\]$/, '');
    const earlier = value[name];
    if (Array.isArray(earlier)) earlier.push(text);
    else if (earlier !== undefined) value[name] = [earlier, text];
    else value[name] = name === key ? text : [text];
  }
  return value;
}

/** Anything that is no JSON object counts as an empty one. */
function parseBody(request: IncomingMessage, bytes: Buffer): unknown {
  if (!header(request, 'content-type')?.includes('application/json')) return {};
  try {
    return JSON.parse(bytes.toString());
  } catch {
    return {};
  }
}

/** Section 2.1: how what was thrown becomes an answer. */
function failed(error: unknown, path: string, headers: Record<string, string>): Answer {
  if (error instanceof HttpError) {
    return typeof error.body === 'string'
      ? { status: error.status, headers: { ...headers, ...error.headers }, body: error.body }
      : json(error.status, error.body, { ...headers, ...error.headers });
  }
  if (error instanceof MeteorError) {
    const { message, error: errorType, details } = error;
    return json(400, { success: false, error: message, errorType, details }, headers);
  }
  if (error instanceof PlainError) {
    return json(400, { success: false, error: error.message }, headers);
  }
  console.error('stand-in workspace: unexpected error in route', path, error);
  return json(500, { success: false, error: String(error) }, headers);
}

function json(status: number, body: unknown, headers: Record<string, string> = {}): Answer {
  return { status, headers: { ...JSON_HEADERS, ...headers }, body: JSON.stringify(body) };
}

function send(response: ServerResponse, answer: Answer, logged: LoggedRequest): void {
  logged.status = answer.status;
  response.writeHead(answer.status, {
    ...answer.headers,
    'content-length': Buffer.byteLength(answer.body),
  });
  response.end(answer.body);
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function header(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function flat(headers: IncomingMessage['headers']): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}
