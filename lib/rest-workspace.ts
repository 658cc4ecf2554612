import type { Readable } from 'stream';
import { type Credentials, checkCredential, type Patience, RestClient } from './rest-client';
import type { Workspace, WorkspaceRequest, WorkspaceResponse } from './workspace';

/** For {@link RestWorkspace}. */
export interface RestWorkspaceOptions extends Patience {
  /** Where the server is: `https://chat.example.org`, with a path where it is served below one. */
  readonly url: string;
  readonly userId: string;
  /** A personal access token, or the token of a login. */
  readonly authToken: string;
}

/**
 * A server reached through its REST API alone, on Node's own `fetch`.
 *
 * Attempts are bounded; answers of 500 and more, cut connections and timeouts are retried with
 * backoff and jitter, a rate limit is waited for, all within the request's deadline. A 4xx answer
 * rejects with `ERR_E2EE_WORKSPACE`, its `status` and its `errorType`. Redirects are not followed,
 * except to the storage that a file lies in, and there without the token.
 *
 * After {@link RestWorkspace.close} nothing of it keeps the process alive. (Idle connections belong
 * to Node's pool, which drops them after seconds and does not wait for them at exit.)
 */
export class RestWorkspace implements Workspace {
  readonly userId: string;
  readonly #client: RestClient;
  readonly #credentials: Credentials;

  constructor(options: RestWorkspaceOptions) {
    this.#client = new RestClient(options.url, options);
    this.userId = checkCredential(options.userId, 'userId');
    this.#credentials = {
      userId: this.userId,
      authToken: checkCredential(options.authToken, 'authToken'),
    };
  }

  /** See {@link Workspace.request}. */
  async request(request: WorkspaceRequest): Promise<WorkspaceResponse> {
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
}
