import { Readable } from 'stream';
import { E2eeError, kindOf } from './errors';
import { backoff, closedError, Lifetime } from './lifetime';
import { isSpent, type Multipart, multipart } from './multipart';
import type { WorkspaceRequest, WorkspaceResponse } from './workspace';

/** Who calls. The token never enters an error, a log, or a request to another host. */
export interface Credentials {
  readonly userId: string;
  readonly authToken: string;
}

/** How patient a workspace is. */
export interface Patience {
  /** Milliseconds for all attempts of a request, where it names no own deadline: 60,000. */
  readonly deadline?: number;
  /** Milliseconds for one attempt; in a transfer, without a byte moved: 30,000. */
  readonly attemptTimeout?: number;
}

const DEADLINE_MS = 60_000;
const TRANSFER_DEADLINE_MS = 600_000;
const ATTEMPT_TIMEOUT_MS = 30_000;
const BACKOFF_BASE_MS = 250;
const BACKOFF_CAP_MS = 10_000;
/** A history of long messages, or the subscriptions of an account in ten thousand rooms. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;
const MAX_ERROR_TYPE_LENGTH = 200;
/** Clocks that differ by less are taken for equal: the `Date` header has whole seconds. */
const TOLERATED_SKEW_MS = 2000;
/** A later end of the rate limit's window is not believed; the default window is taken. */
const MAX_RATE_WINDOW_MS = 600_000;
const DEFAULT_RATE_WINDOW_MS = 60_000;
const MAX_REDIRECTS = 5;

/** The connection was never made, so the server has not acted. */
const UNSENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);
/** Waiting does not help against these. */
const HOPELESS =
  /CERT|SELF_SIGNED|UNABLE_TO_(GET|VERIFY)|^ERR_(TLS|SSL)|UND_ERR_(INVALID_ARG|REQ_CONTENT_LENGTH)/;

type Outcome<T> =
  | { readonly value: T }
  | {
      readonly error: unknown;
      /** Whether another attempt makes sense, and may be made when the server must act once. */
      readonly retry: 'never' | 'unless once' | 'always';
      readonly waitMs?: number;
      /** There was no answer in time. */
      readonly late?: boolean;
    };

/** Bounds one attempt; `again` moves the bound on while bytes move. */
interface Attempt {
  readonly signal: AbortSignal;
  again(): void;
}

/** How requests get to the server: `fetch`, or what stands in for it. */
export type Transport = (url: URL, init: TransportInit) => Promise<Response>;

/** `fetch`'s options, with what always is among them. */
export type TransportInit = RequestInit & { readonly signal: AbortSignal };

/**
 * REST with the patience of a long-running program: bounded attempts, retries with backoff, rate
 * limits. Whoever uses it brings the credentials with each call.
 */
export class RestClient {
  readonly lifetime = new Lifetime();
  readonly #base: URL;
  readonly #patience: Patience;
  readonly #transport: Transport;
  /** Until when (monotonic) a route takes no more calls. */
  readonly #shut = new Map<string, number>();

  constructor(url: string, patience: Patience, transport: Transport = fetch) {
    this.#base = checkUrl(url);
    this.#transport = transport;
    this.#patience = {
      ...(patience.deadline !== undefined && {
        deadline: checkDuration(patience.deadline, 'deadline'),
      }),
      ...(patience.attemptTimeout !== undefined && {
        attemptTimeout: checkDuration(patience.attemptTimeout, 'attemptTimeout'),
      }),
    };
  }

  /** Where the realtime connection goes. */
  get websocketUrl(): string {
    const url = new URL(`${this.#base.pathname}websocket`, this.#base);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    return url.href;
  }

  get deadline(): number {
    return this.#patience.deadline ?? DEADLINE_MS;
  }

  async request(request: WorkspaceRequest, by?: Credentials): Promise<WorkspaceResponse> {
    const url = this.#address(request);
    const { method, path, form, once = false } = request;
    const deadline =
      request.deadline === undefined
        ? form && this.#patience.deadline === undefined
          ? TRANSFER_DEADLINE_MS
          : this.deadline
        : checkDuration(request.deadline, 'deadline');
    const what = `${method} ${path}`;
    const route = `${method} ${path.split('/', 1)[0]}`;
    return this.#persist({ what, route, deadline, once }, async (attempt) => {
      if (form && isSpent(form)) return { error: spentError(what), retry: 'never' };
      const parts = form && multipart(form, () => attempt.again());
      const init = { method, headers: headersOf(request, by, parts), ...bodyOf(request, parts) };
      const outcome = await this.#fetch(what, url, init, attempt);
      const failed = parts?.sourceError();
      if (failed) return { error: failed.error, retry: 'never' };
      if (!('value' in outcome)) return outcome;
      const response = outcome.value;
      this.#heedLimit(route, response);
      if (!response.ok) return this.#refusal(what, response, by);
      return readJson(what, response, form ? () => attempt.again() : () => undefined);
    });
  }

  async download(path: string, by: Credentials): Promise<Readable> {
    const url = this.#fileAddress(path);
    const what = 'GET /file-upload';
    const opened = await this.#persist<Download>(
      { what, route: what, deadline: this.deadline, once: false },
      (attempt) => this.#open(what, url, by, attempt),
    );
    return opened.stream;
  }

  close(): void {
    this.lifetime.close();
  }

  /** Attempts until one succeeds, none makes sense any more, or the deadline passes. */
  async #persist<T>(
    call: {
      readonly what: string;
      readonly route: string;
      readonly deadline: number;
      readonly once: boolean;
    },
    act: (attempt: Attempt) => Promise<Outcome<T>>,
  ): Promise<T> {
    const { what, route, once } = call;
    const end = performance.now() + call.deadline;
    let told: unknown;
    for (let failures = 0; ; failures += 1) {
      this.lifetime.check();
      const shut = (this.#shut.get(route) ?? 0) - performance.now();
      if (shut > 0) {
        if (performance.now() + shut > end) throw rateLimited(what);
        await this.lifetime.sleep(shut);
      }
      const outcome = await this.#bounded(what, end - performance.now(), act);
      this.lifetime.check();
      if ('value' in outcome) return outcome.value;
      const { retry, late = false } = outcome;
      if (retry === 'never' || (once && retry === 'unless once')) throw outcome.error;
      // An attempt that ran out of time says less than an earlier answer.
      if (retry === 'unless once' && !late) told = outcome.error;
      const wait = outcome.waitMs ?? backoff(failures, BACKOFF_BASE_MS, BACKOFF_CAP_MS);
      if (performance.now() + wait >= end) throw late ? (told ?? outcome.error) : outcome.error;
      await this.lifetime.sleep(wait);
    }
  }

  async #bounded<T>(
    what: string,
    remaining: number,
    act: (attempt: Attempt) => Promise<Outcome<T>>,
  ): Promise<Outcome<T>> {
    const { attemptTimeout = ATTEMPT_TIMEOUT_MS } = this.#patience;
    const controller = new AbortController();
    let late = false;
    const timer = setTimeout(
      () => {
        late = true;
        controller.abort();
      },
      Math.max(1, Math.min(attemptTimeout, remaining)),
    );
    const forget = this.lifetime.onClose(() => controller.abort());
    try {
      const outcome = await act({ signal: controller.signal, again: () => timer.refresh() });
      if ('value' in outcome || !late) return outcome;
      const error = new E2eeError(
        'ERR_E2EE_WORKSPACE',
        `${what}: the server gave no answer in time`,
      );
      return { error, retry: 'unless once', late };
    } finally {
      clearTimeout(timer);
      forget();
      controller.abort(); // of a body that nobody wants to the end
    }
  }

  async #fetch(
    what: string,
    url: URL,
    init: RequestInit,
    { signal }: Pick<Attempt, 'signal'>,
  ): Promise<Outcome<Response>> {
    const transport = this.#transport;
    try {
      return { value: await transport(url, { ...init, signal, redirect: 'manual' }) };
    } catch (error) {
      return cut(what, error);
    }
  }

  /** Every answer but a success. */
  async #refusal(
    what: string,
    response: Response,
    by: Credentials | undefined,
  ): Promise<Outcome<never>> {
    const { status } = response;
    if (status === 429) {
      const waitMs = limitWait(response);
      return { error: rateLimited(what), retry: 'always', ...(waitMs && { waitMs }) };
    }
    if (status >= 500) {
      const message = `${what}: the server answered ${status}`;
      return {
        error: new E2eeError('ERR_E2EE_WORKSPACE', message, { status }),
        retry: 'unless once',
      };
    }
    if (status < 400) {
      const message = `${what}: the server answered with a redirect (${status}), which is not followed; use the address it leads to as the url`;
      return { error: new E2eeError('ERR_E2EE_WORKSPACE', message, { status }), retry: 'never' };
    }
    const errorType = await readErrorType(response, by);
    const message =
      status === 401
        ? by === undefined
          ? `${what}: the server does not accept the username or password (401)`
          : `${what}: the server does not accept the account's token (401)`
        : `${what}: the server answered ${status}`;
    return {
      error: new E2eeError('ERR_E2EE_WORKSPACE', message, { status, errorType }),
      retry: 'never',
    };
  }

  /** Remembers that a route takes no more calls for now, so that they wait here instead. */
  #heedLimit(route: string, response: Response): void {
    if (response.status !== 429 && response.headers.get('x-ratelimit-remaining') !== '0') return;
    const wait = limitWait(response);
    if (wait !== undefined && wait > 0) this.#shut.set(route, performance.now() + wait);
  }

  #address({ path, query }: WorkspaceRequest): URL {
    const expected = `${this.#base.pathname}api/v1/${path}`;
    const url = new URL(expected, this.#base);
    // Neither `..` nor `?` nor `//` gets a request to where it was not meant to go.
    const straight = url.pathname === expected && sameOrigin(url, this.#base);
    if (typeof path !== 'string' || path.split('/').includes('') || !straight) {
      throw new E2eeError('ERR_E2EE_INVALID_ARGUMENT', 'path must be the name of a REST route');
    }
    for (const [name, value] of Object.entries(query ?? {})) {
      if (typeof value === 'string') url.searchParams.append(name, value);
      else for (const item of value) url.searchParams.append(`${name}[]`, item);
    }
    return url;
  }

  #fileAddress(path: string): URL {
    const prefix = this.#base.pathname;
    const below =
      typeof path === 'string' && path.startsWith('/file-upload/') ? prefix + path.slice(1) : path;
    const url = URL.canParse(below, this.#base.href) ? new URL(below, this.#base) : undefined;
    const allowed = `${prefix}file-upload/`;
    if (url === undefined || !sameOrigin(url, this.#base) || !url.pathname.startsWith(allowed)) {
      throw new E2eeError(
        'ERR_E2EE_INVALID_ARGUMENT',
        'the path of a file must begin with /file-upload/ and be on this server',
      );
    }
    return url;
  }

  /** The connection outlives the attempt that opens it. */
  async #open(
    what: string,
    url: URL,
    by: Credentials,
    attempt: Attempt,
  ): Promise<Outcome<Download>> {
    const { attemptTimeout = ATTEMPT_TIMEOUT_MS } = this.#patience;
    const transfer = new Transfer(this.lifetime, attemptTimeout);
    const abort = () => transfer.end();
    attempt.signal.addEventListener('abort', abort);
    const outcome = await this.#follow(what, url, by, transfer);
    if ('value' in outcome && outcome.value.ok) {
      attempt.signal.removeEventListener('abort', abort);
      return { value: { stream: transfer.stream(what, outcome.value) } };
    }
    const failed = 'value' in outcome ? await this.#refusal(what, outcome.value, by) : outcome;
    transfer.end();
    return failed;
  }

  /**
   * Servers with files in S3 or the like answer with a redirect to a signed address. It is followed,
   * without the token once another host is reached.
   */
  async #follow(
    what: string,
    url: URL,
    by: Credentials,
    transfer: Transfer,
  ): Promise<Outcome<Response>> {
    let target = url;
    for (let hops = 0; ; hops += 1) {
      const headers = sameOrigin(target, this.#base) ? authentication(by) : {};
      const outcome = await this.#fetch(what, target, { headers }, transfer);
      if (!('value' in outcome)) return outcome;
      const location = outcome.value.headers.get('location');
      if (outcome.value.status < 300 || outcome.value.status >= 400) return outcome;
      if (location === null || hops === MAX_REDIRECTS) return outcome;
      if (!URL.canParse(location, target.href)) return outcome;
      const next = new URL(location, target);
      const downgrade = target.protocol === 'https:' && next.protocol !== 'https:';
      if (downgrade || !/^https?:$/.test(next.protocol)) return outcome;
      void outcome.value.body?.cancel().catch(() => undefined);
      target = next;
    }
  }
}

interface Download {
  readonly stream: Readable;
}

/** The life of a download: cut when nothing moves, when the workspace closes, when unwanted. */
class Transfer {
  readonly #lifetime: Lifetime;
  readonly #timeout: number;
  readonly #controller = new AbortController();

  constructor(lifetime: Lifetime, timeout: number) {
    this.#lifetime = lifetime;
    this.#timeout = timeout;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  stream(what: string, response: Response): Readable {
    const reader = response.body?.getReader();
    const cutOff = (why: string) => {
      stream.destroy(new E2eeError('ERR_E2EE_WORKSPACE', `${what}: the transfer ${why}`));
    };
    const stream = new Readable({
      read: () => {
        if (reader === undefined) {
          stream.push(null);
          return;
        }
        const timer = setTimeout(() => cutOff('stood still'), this.#timeout);
        reader
          .read()
          .then(
            ({ done, value }) => stream.push(done ? null : value),
            () => cutOff('was cut'),
          )
          .finally(() => clearTimeout(timer));
      },
    });
    const forget = this.#lifetime.onClose(() => stream.destroy(closedError()));
    stream.once('close', () => {
      forget();
      this.end();
    });
    return stream;
  }

  end(): void {
    this.#controller.abort();
  }
}

/** Where a server is: an origin, and the path that Rocket.Chat is served below. */
function checkUrl(value: unknown): URL {
  const wrong = (why: string) => new E2eeError('ERR_E2EE_INVALID_ARGUMENT', `url ${why}`);
  if (typeof value !== 'string') throw wrong(`must be a string, not ${kindOf(value)}`);
  if (!URL.canParse(value)) throw wrong('is not an absolute URL');
  const url = new URL(value);
  if (!/^https?:$/.test(url.protocol)) throw wrong('must begin with https:// or http://');
  if (url.username !== '' || url.password !== '') throw wrong('must not hold a name or password');
  if (url.search !== '' || url.hash !== '') throw wrong('must have neither a query nor a fragment');
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url;
}

function checkDuration(value: unknown, name: string): number {
  if (typeof value !== 'number' || !(value > 0) || value > 2 ** 31 - 1) {
    throw new E2eeError(
      'ERR_E2EE_INVALID_ARGUMENT',
      `${name} must be a positive number of milliseconds, below 2^31`,
    );
  }
  return value;
}

/** Checks what goes into headers: a wrong one would be quoted by the error that `fetch` makes. */
export function checkCredential(value: unknown, name: string): string {
  if (typeof value !== 'string' || !/^[\x21-\x7e]+$/.test(value)) {
    throw new E2eeError(
      'ERR_E2EE_INVALID_ARGUMENT',
      `${name} must be a string of visible ASCII characters`,
    );
  }
  return value;
}

function sameOrigin(one: URL, other: URL): boolean {
  return one.origin === other.origin;
}

function authentication({ userId, authToken }: Credentials): Record<string, string> {
  return { 'x-user-id': userId, 'x-auth-token': authToken };
}

function headersOf(
  { twoFactor, body }: WorkspaceRequest,
  by: Credentials | undefined,
  parts: Multipart | undefined,
): Record<string, string> {
  const type = parts?.contentType ?? (body === undefined ? undefined : 'application/json');
  return {
    accept: 'application/json',
    ...(by && authentication(by)),
    ...(type !== undefined && { 'content-type': type }),
    ...(parts?.contentLength !== undefined && { 'content-length': String(parts.contentLength) }),
    ...(twoFactor && {
      'x-2fa-method': checkCredential(twoFactor.method, 'twoFactor.method'),
      'x-2fa-code': checkCredential(twoFactor.code, 'twoFactor.code'),
    }),
  };
}

function bodyOf({ body }: WorkspaceRequest, parts: Multipart | undefined): RequestInit {
  if (parts !== undefined) return { body: parts.body, duplex: 'half' } as RequestInit;
  if (body === undefined) return {};
  return { body: typeof body === 'string' ? body : JSON.stringify(body) };
}

/** What `fetch` threw. Only its code is told: its text can quote what was sent. */
function cut(what: string, error: unknown): Outcome<never> {
  const { cause } = Object(error) as { cause?: unknown };
  const { code } = Object(cause) as { code?: unknown };
  const known = typeof code === 'string' && /^[A-Z0-9_]{1,60}$/.test(code) ? code : '';
  const retry = HOPELESS.test(known) ? 'never' : UNSENT.has(known) ? 'always' : 'unless once';
  const why = known === '' ? '' : ` (${known})`;
  const message = `${what}: the server cannot be reached, or the connection was cut${why}`;
  return { error: new E2eeError('ERR_E2EE_WORKSPACE', message), retry };
}

function rateLimited(what: string): E2eeError {
  return new E2eeError(
    'ERR_E2EE_RATE_LIMITED',
    `${what}: the server's rate limit lasts longer than the deadline`,
    { status: 429 },
  );
}

function spentError(what: string): E2eeError {
  return new E2eeError(
    'ERR_E2EE_WORKSPACE',
    `${what}: the upload failed, and its stream can be read only once`,
  );
}

/** How long the rate limit lasts, by the server's clock where it differs from ours. */
function limitWait({ headers }: Response): number | undefined {
  const reset = Number(headers.get('x-ratelimit-reset') ?? Number.NaN);
  const seconds = Number(headers.get('retry-after') ?? Number.NaN);
  if (!Number.isFinite(reset)) {
    return Number.isFinite(seconds)
      ? Math.min(Math.max(0, seconds) * 1000, MAX_RATE_WINDOW_MS)
      : undefined;
  }
  const told = Date.parse(headers.get('date') ?? '');
  const now = Date.now();
  const skewed = Number.isFinite(told) && Math.abs(told - now) > TOLERATED_SKEW_MS;
  const wait = reset - (skewed ? told : now);
  if (wait <= 0) return undefined; // over, or nonsense: the ordinary backoff
  return wait > MAX_RATE_WINDOW_MS ? DEFAULT_RATE_WINDOW_MS : wait;
}

/** A 200 whose body is not JSON comes from something that is not Rocket.Chat. */
async function readJson(
  what: string,
  response: Response,
  progress: () => void,
): Promise<Outcome<WorkspaceResponse>> {
  const { status } = response;
  const wrong = (why: string): Outcome<never> => ({
    error: new E2eeError('ERR_E2EE_WORKSPACE', `${what}: the answer ${why}`, { status }),
    retry: 'never',
  });
  let text: string | undefined;
  try {
    text = await readText(response, MAX_JSON_BYTES, progress);
  } catch (error) {
    return cut(what, error);
  }
  if (text === undefined) return wrong(`is larger than ${MAX_JSON_BYTES} bytes`);
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    return wrong('is not JSON: is there a Rocket.Chat server at this url?');
  }
  if (Object(body).success === false) return wrong('says that it failed, and not why');
  return { value: { status, body } };
}

/** Undefined when there is more than `limit`. */
async function readText(
  response: Response,
  limit: number,
  progress: () => void,
): Promise<string | undefined> {
  if (response.body === null) return '';
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of response.body) {
    progress();
    length += piece.length;
    if (length > limit) return undefined;
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

/** Rocket.Chat's code of a refusal; bodies of 401 and 403 are often no JSON. */
async function readErrorType(
  response: Response,
  by: Credentials | undefined,
): Promise<string | undefined> {
  try {
    const text = await readText(response, MAX_ERROR_BYTES, () => undefined);
    const { errorType, error } = Object(JSON.parse(text ?? '')) as Record<string, unknown>;
    const told = [errorType, error].find((value) => typeof value === 'string');
    // A server that echoes the token must not bring it into a log.
    if (typeof told !== 'string' || (by && told.includes(by.authToken))) return undefined;
    return told.slice(0, MAX_ERROR_TYPE_LENGTH);
  } catch {
    return undefined;
  }
}
