import type { Readable } from 'stream';
import type { E2eeError } from './errors';

/** One call of a server's REST API. */
export interface WorkspaceRequest {
  readonly method: 'GET' | 'POST';
  /** Below `/api/v1/`, each segment percent-encoded: `e2e.fetchMyKeys`, `rooms.media/<rid>`. */
  readonly path: string;
  /** A list travels as `roomIds[]=a&roomIds[]=b`, as the official client sends it. */
  readonly query?: Readonly<Record<string, string | readonly string[]>>;
  /** Sent as JSON: a string is taken to be JSON text already. */
  readonly body?: unknown;
  /** Sent as `multipart/form-data`, in place of a body. */
  readonly form?: WorkspaceForm;
  /**
   * Milliseconds for all attempts together, waits included: 60,000, or 600,000 with a form. An
   * upload is not cut by it while its bytes move.
   */
  readonly deadline?: number;
  /**
   * The server must not act on this twice. It is then repeated only where the server has certainly
   * not acted (no connection, or refused by the rate limit); after anything else, the call rejects,
   * without a `status` or with one of 500 and more, and the caller has to find out what happened.
   */
  readonly once?: boolean;
  /** The second factor, for the few routes that demand one. */
  readonly twoFactor?: { readonly method: string; readonly code: string };
}

/** A file to upload, and a text beside it. */
export interface WorkspaceForm {
  /**
   * Bytes; or a function that opens the file anew for each attempt; or something to be read once,
   * which leaves nothing to repeat after a failure.
   */
  readonly file: Uint8Array | AsyncIterable<Uint8Array> | (() => AsyncIterable<Uint8Array>);
  /** The number of bytes, where it is known. Without it the upload travels in chunks. */
  readonly size?: number;
  readonly fileName: string;
  /** `application/octet-stream` when absent. */
  readonly contentType?: string;
  /** The field `content`. */
  readonly content?: string;
}

/** A successful answer. */
export interface WorkspaceResponse {
  readonly status: number;
  /** Parsed JSON, as the server sent it. */
  readonly body: unknown;
}

/**
 * What a realtime workspace tells. Documents are passed on as they came, dates as `{$date: ms}`;
 * events can come twice, late, or not at all.
 */
export type WorkspaceEvent =
  /** A message was sent, edited or otherwise updated, in any room of the account. */
  | { readonly type: 'message'; readonly message: object }
  /** The account's subscription to a room; `action`: `inserted`, `updated`, `removed`. */
  | { readonly type: 'subscription'; readonly action: string; readonly subscription: object }
  /** A room of the account; `action`: `inserted`, `updated`, `removed`, `changed`. */
  | { readonly type: 'room'; readonly action: string; readonly room: object }
  /** Somebody asks for the key of a room. Anyone can send this: treat it as a hint. */
  | { readonly type: 'keyRequest'; readonly roomId: string; readonly keyId?: string }
  /**
   * A control event of off-the-record sessions; `event`: `handshake`, `acknowledge`, `deny`, `end`.
   * Anyone can send this, in anybody's name.
   */
  | { readonly type: 'otr'; readonly event: string; readonly data: object }
  | { readonly type: 'messageDeleted'; readonly roomId: string; readonly messageId: string }
  /**
   * All streams are live. What happened before, since the last `disconnected`, was not told and has
   * to be fetched.
   */
  | { readonly type: 'connected' }
  /**
   * The streams stand still. With an `error`, for good: the server no longer accepts the account's
   * token or password. Otherwise the workspace is connecting again.
   */
  | { readonly type: 'disconnected'; readonly reason: string; readonly error?: E2eeError };

/**
 * The way to a Rocket.Chat server, with an account. It carries requests and events, and decides
 * nothing about keys.
 *
 * Every method rejects with an `E2eeError`: `ERR_E2EE_WORKSPACE`, `ERR_E2EE_RATE_LIMITED`,
 * `ERR_E2EE_CLOSED` or `ERR_E2EE_INVALID_ARGUMENT`.
 */
export interface Workspace {
  /** The account's id; with a password, known once {@link Workspace.login} or a request is done. */
  readonly userId: string;
  /** Logs in where that takes a password; every other method does so by itself. */
  login?(): Promise<void>;
  /** Resolves with a success only, after as many attempts as fit into the deadline. */
  request(request: WorkspaceRequest): Promise<WorkspaceResponse>;
  /**
   * Opens an uploaded file by its path, `/file-upload/<id>/<name>`, or by its address on this
   * server. The stream fails with an `E2eeError` when it is cut.
   */
  download(path: string): Promise<Readable>;
  /** Only realtime workspaces: resolves once the streams are live. The listener must not throw. */
  subscribe?(listener: (event: WorkspaceEvent) => void): Promise<void>;
  /** Only realtime workspaces: `keyRequest` and `messageDeleted` events of one room. */
  watchRoom?(roomId: string): Promise<void>;
  /** Only realtime workspaces: a DDP method, for what servers of 7.x have no REST route for. */
  callMethod?(name: string, params: readonly unknown[]): Promise<unknown>;
  /** Ends everything under way with `ERR_E2EE_CLOSED`, and every later call. */
  close(): Promise<void>;
}
