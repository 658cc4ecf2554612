import type { Readable } from 'stream';
import { E2eeError } from '../errors';
import { type Credentials, checkCredential, RestClient, type TransportInit } from '../rest-client';
import type { Workspace, WorkspaceRequest, WorkspaceResponse } from '../workspace';
import type { Http, HttpResponse } from './accessors';

/** For {@link AppsEngineWorkspace}. */
export interface AppsEngineWorkspaceOptions {
  /** `IHttp`. */
  readonly http: Http;
  /** Where the server is, as it sees itself: `http://localhost:3000`, or its public address. */
  readonly url: string;
  readonly userId: string;
  /** A personal access token of the bot account. */
  readonly authToken: string;
  /** Milliseconds for all attempts of a request: 12,000, far below the Apps-Engine's 30 seconds. */
  readonly deadline?: number;
  /** Milliseconds for one attempt: 6,000. */
  readonly attemptTimeout?: number;
}

/** What a call into an app may take is 30 seconds; several requests have to fit. */
const DEADLINE_MS = 12_000;
const ATTEMPT_TIMEOUT_MS = 6_000;

/**
 * The server that an app runs in, reached through `IHttp` with a bot account's token.
 *
 * It is as patient as {@link RestWorkspace} with rate limits, failures and timeouts, within shorter
 * deadlines. Files cannot be uploaded, since `IHttp` carries text. `IHttp` follows redirects by
 * itself and takes the token along, so the url has to be the address that answers.
 */
export class AppsEngineWorkspace implements Workspace {
  readonly userId: string;
  readonly #client: RestClient;
  readonly #credentials: Credentials;
  #http: Http;

  constructor(options: AppsEngineWorkspaceOptions) {
    const { http, url, authToken } = options;
    const { deadline = DEADLINE_MS, attemptTimeout = ATTEMPT_TIMEOUT_MS } = options;
    this.#http = expectHttp(http);
    this.userId = checkCredential(options.userId, 'userId');
    this.#credentials = {
      userId: this.userId,
      authToken: checkCredential(authToken, 'authToken'),
    };
    this.#client = new RestClient(url, { deadline, attemptTimeout }, (address, init) =>
      this.#call(address, init, attemptTimeout),
    );
  }

  /**
   * Goes on with the accessor of the call under way.
   *
   * @internal
   */
  use(http: Http): void {
    this.#http = expectHttp(http);
  }

  /** See {@link Workspace.request}. */
  async request(request: WorkspaceRequest): Promise<WorkspaceResponse> {
    if (request.form) {
      throw new E2eeError(
        'ERR_E2EE_INVALID_ARGUMENT',
        'an app cannot upload files: its IHttp carries text only',
      );
    }
    return this.#client.request(request, this.#credentials);
  }

  /** See {@link Workspace.download}. */
  async download(path: string): Promise<Readable> {
    return this.#client.download(path, this.#credentials);
  }

  /** See {@link Workspace.close}. */
  async close(): Promise<void> {
    this.#client.close();
  }

  async #call(url: URL, init: TransportInit, timeout: number): Promise<Response> {
    const { method = 'GET', body, signal } = init;
    const headers = new Headers(init.headers);
    const request = {
      headers: Object.fromEntries(headers),
      timeout,
      // JSON comes as text; a file's bytes come as they are.
      ...(!headers.has('accept') && { encoding: null }),
      ...(typeof body === 'string' && { content: body }),
    };
    const http = this.#http;
    const answer = method === 'POST' ? http.post(url.href, request) : http.get(url.href, request);
    // An accessor's call cannot be ended, only no longer waited for.
    return responseOf(await Promise.race([answer, aborted(signal)]));
  }
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const end = () => reject(new Error('aborted'));
    if (signal.aborted) end();
    else signal.addEventListener('abort', end, { once: true });
  });
}

/** Statuses that have no body, and cannot be given one. */
const BODILESS = new Set([204, 205, 304]);

/** Throws where the accessor gives no answer that HTTP could have. */
function responseOf(answer: HttpResponse): Response {
  const { statusCode, headers, content } = Object(answer) as Partial<HttpResponse>;
  const received = new Headers();
  for (const [name, value] of Object.entries(Object(headers) as Record<string, unknown>)) {
    // Names and values that HTTP does not know are as good as absent.
    try {
      received.append(name, String(value));
    } catch {}
  }
  const status = Number(statusCode);
  const body = BODILESS.has(status) ? null : (content ?? '');
  return new Response(body, { status, headers: received });
}

function expectHttp(http: Http): Http {
  if (typeof http?.get !== 'function' || typeof http.post !== 'function') {
    throw new E2eeError('ERR_E2EE_INVALID_ARGUMENT', 'http must be an IHttp');
  }
  return http;
}
