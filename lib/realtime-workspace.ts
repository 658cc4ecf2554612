/*
 * Why not @rocket.chat/ddp-client: it is kept up (1.1.2 of September 2026, releases every few weeks
 * with the server), and it was read and run for this.
 *  - npm cannot install it: it depends on core-typings ~8.8.0, and 8.8.1 depends on
 *    `typia: patch:…`, a protocol of Yarn alone (EUNSUPPORTEDPROTOCOL).
 *  - DDPSDK takes the global WebSocket, which Node 20 does not have. Given `ws` instead, a refused
 *    connection is an uncaught 'error' event, since it sets no `onerror`.
 *  - A dead peer is noticed, and then `connection.close()` ends reconnecting for good: one
 *    connection made in all, status 'closed'.
 *  - One frame that is not JSON is an uncaught exception.
 *  - After a reconnect, a call made before the cut waits for ever, and so does every later call
 *    behind a login that was cut.
 * It brings api-client, rest-typings and core-typings along, for the 300 lines of DDP that are used.
 *
 * So a small client of our own on `ws` (no dependencies of its own). Not on the global WebSocket of
 * Node 22 either: that has no way to drop a dead peer at once, and no bound on a frame.
 */
import { createHash } from 'crypto';
import type { Readable } from 'stream';
import { DdpConnection, DdpRateLimited } from './ddp-connection';
import { E2eeError, expectText } from './errors';
import { backoff, closedError } from './lifetime';
import { isSpent } from './multipart';
import { type Credentials, checkCredential, type Patience, RestClient } from './rest-client';
import type { Workspace, WorkspaceEvent, WorkspaceRequest, WorkspaceResponse } from './workspace';

/** For {@link RealtimeWorkspace}: with a token, or with a password. */
export type RealtimeWorkspaceOptions = Patience & {
  /** As in {@link RestWorkspaceOptions}. */
  readonly url: string;
  /**
   * Milliseconds of silence after which the server is asked for a sign of life; after twice of it
   * the connection is made anew. 20,000 when absent.
   */
  readonly heartbeat?: number;
} & (
    | { readonly userId: string; readonly authToken: string }
    | {
        /** A name, or an email address. */
        readonly username: string;
        /** Only its SHA-256 digest is kept, and sent. */
        readonly password: string;
      }
  );

type Listener = (event: WorkspaceEvent) => void;

const HEARTBEAT_MS = 20_000;
const ANSWER_MS = 30_000;
const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 30_000;
/** A connection that lived this long was a good one: backoff begins anew. */
const STABLE_MS = 10_000;
/** Subscriptions to rooms that wait for an answer at the same time. */
const ROOMS_AT_ONCE = 25;
const MAX_RATE_WAIT_MS = 60_000;
/** How long closing waits for the server to take the token back. */
const LOGOUT_MS = 5000;
/** From a `force_logout` to the check: the server deletes the token after telling. */
const LOGOUT_CHECK_MS = 2000;
const ROOM_EVENTS = ['e2e.keyRequest', 'deleteMessage'];

/**
 * A server reached through REST and, for events, through its realtime API (DDP).
 *
 * The connection is made anew with backoff and jitter when it is lost, logged in and subscribed
 * again; between `disconnected` and `connected` events are lost, and the listener fetches what it
 * missed. It ends for good when the server no longer accepts the account, or with
 * {@link RealtimeWorkspace.close}.
 *
 * With a password it logs in by itself, again when the token has expired or a key reset deleted it.
 * A password that was refused is not tried a second time.
 *
 * Protocol: §4.2.
 */
export class RealtimeWorkspace implements Workspace {
  readonly #url: string;
  readonly #rest: RestClient;
  readonly #heartbeat: number;
  readonly #answer: number;
  readonly #password: { readonly user: object; readonly digest: string } | undefined;
  readonly #listeners = new Set<Listener>();
  /** Rooms to watch, and what watches each on the current connection. */
  readonly #rooms = new Map<string, Set<string>>();
  #userId: string | undefined;
  #credentials: Credentials | undefined;
  #loggingIn: Promise<Credentials> | undefined;
  /** The server accepts neither token nor password any more. */
  #refused: E2eeError | undefined;
  /** From its handshake on. */
  #socket: DdpConnection | undefined;
  /** The same, once logged in and subscribed. */
  #connection: DdpConnection | undefined;
  #running: Promise<void> | undefined;
  #everConnected = false;
  #waiting: { resolve: () => void; reject: (error: unknown) => void }[] = [];
  #checkingLogout = false;

  constructor(options: RealtimeWorkspaceOptions) {
    this.#url = options.url;
    this.#rest = new RestClient(options.url, options);
    this.#heartbeat = options.heartbeat ?? HEARTBEAT_MS;
    this.#answer = options.attemptTimeout ?? ANSWER_MS;
    if (!(this.#heartbeat > 0)) {
      throw new E2eeError('ERR_E2EE_INVALID_ARGUMENT', 'heartbeat must be a positive number');
    }
    if ('password' in options) {
      const name = expectText(options.username, 'username', 'ERR_E2EE_INVALID_ARGUMENT');
      const password = expectText(options.password, 'password', 'ERR_E2EE_INVALID_ARGUMENT');
      this.#password = {
        user: name.includes('@') ? { email: name } : { username: name },
        digest: createHash('sha256').update(password).digest('hex'),
      };
    } else {
      this.#credentials = {
        userId: checkCredential(options.userId, 'userId'),
        authToken: checkCredential(options.authToken, 'authToken'),
      };
      this.#userId = options.userId;
    }
  }

  /**
   * The account's id. With a password it throws `ERR_E2EE_INVALID_ARGUMENT` until
   * {@link RealtimeWorkspace.login} or another method has logged in.
   */
  get userId(): string {
    if (this.#userId === undefined) {
      throw new E2eeError(
        'ERR_E2EE_INVALID_ARGUMENT',
        'the user id is not known before login: await login() first',
      );
    }
    return this.#userId;
  }

  /** See {@link Workspace.login}. */
  async login(): Promise<void> {
    await this.#authenticate();
  }

  /** See {@link Workspace.request}. */
  async request(request: WorkspaceRequest): Promise<WorkspaceResponse> {
    return this.#authenticated(
      (by) => this.#rest.request(request, by),
      () => request.form === undefined || !isSpent(request.form),
    );
  }

  /** See {@link Workspace.download}. */
  async download(path: string): Promise<Readable> {
    return this.#authenticated((by) => this.#rest.download(path, by));
  }

  /**
   * See {@link Workspace.subscribe}. Rejects, and stops trying, when no connection comes about
   * within the deadline.
   */
  async subscribe(listener: Listener): Promise<void> {
    this.#listeners.add(listener);
    if (this.#connection === undefined) {
      try {
        await this.#connected();
      } catch (error) {
        this.#listeners.delete(listener);
        throw error;
      }
    } else {
      tell(listener, { type: 'connected' });
    }
  }

  /**
   * See {@link Workspace.watchRoom}. While there is no connection, it resolves at once, and the room
   * is watched from the next one on. A room that the account has left is no longer watched.
   */
  async watchRoom(roomId: string): Promise<void> {
    expectText(roomId, 'roomId', 'ERR_E2EE_INVALID_ARGUMENT');
    this.#rest.lifetime.check();
    if (this.#rooms.has(roomId)) return;
    this.#rooms.set(roomId, new Set());
    const connection = this.#connection;
    if (connection === undefined) return;
    try {
      await this.#watch(connection, roomId);
    } catch (error) {
      this.#rest.lifetime.check();
      if (this.#connection !== connection) return; // the next connection sees to it
      this.#rooms.delete(roomId);
      throw error;
    }
  }

  /**
   * See {@link Workspace.callMethod}. Connects where that has not happened. Never repeated: without
   * a `status` in the error, the server may have acted.
   */
  async callMethod(name: string, params: readonly unknown[]): Promise<unknown> {
    await this.#connected();
    const connection = this.#connection;
    if (connection === undefined) {
      throw new E2eeError('ERR_E2EE_WORKSPACE', `${name}: there is no connection`);
    }
    try {
      return await connection.call(name, params);
    } catch (error) {
      this.#rest.lifetime.check();
      throw error;
    }
  }

  /** See {@link Workspace.close}. What a password has logged in is logged out. */
  async close(): Promise<void> {
    this.#rest.close();
    this.#listeners.clear();
    const by = this.#credentials;
    this.#credentials = undefined;
    await this.#running;
    if (this.#password === undefined || by === undefined) return;
    // When nothing of ours can log in again any more.
    const farewell = new RestClient(this.#url, { deadline: LOGOUT_MS });
    const logout = farewell.request({ method: 'POST', path: 'logout' }, by);
    // A server that does not answer keeps a token until it expires.
    await logout.catch(() => undefined);
    farewell.close();
  }

  // Login

  async #authenticated<T>(
    act: (by: Credentials) => Promise<T>,
    repeatable: () => boolean = () => true,
  ): Promise<T> {
    const by = await this.#authenticate();
    try {
      return await act(by);
    } catch (error) {
      const expired = error instanceof E2eeError && error.status === 401;
      if (!expired || this.#password === undefined || !repeatable()) throw error;
      return act(await this.#authenticate(by));
    }
  }

  /** The credentials, other than `stale`, which the server no longer accepts. */
  async #authenticate(stale?: Credentials): Promise<Credentials> {
    this.#rest.lifetime.check();
    if (this.#refused) throw this.#refused;
    if (this.#credentials !== undefined && this.#credentials !== stale) return this.#credentials;
    this.#loggingIn ??= this.#logIn().finally(() => {
      this.#loggingIn = undefined;
    });
    return this.#loggingIn;
  }

  async #logIn(): Promise<Credentials> {
    if (this.#password === undefined) throw this.#refuse(tokenRefused());
    const { user, digest } = this.#password;
    try {
      const { body } = await this.#rest.request({
        method: 'POST',
        path: 'login',
        body: { ...user, password: { digest, algorithm: 'sha-256' } },
      });
      const { data } = Object(body) as { data?: unknown };
      const { userId, authToken } = Object(data) as { userId?: unknown; authToken?: unknown };
      this.#credentials = {
        userId: checkCredential(userId, 'the user id in the answer to the login'),
        authToken: checkCredential(authToken, 'the token in the answer to the login'),
      };
      this.#userId = this.#credentials.userId;
      return this.#credentials;
    } catch (error) {
      throw isRefusal(error) ? this.#refuse(error) : error;
    }
  }

  #refuse(error: E2eeError): E2eeError {
    this.#refused ??= error;
    return this.#refused;
  }

  // Connection

  /** Resolves while there is a connection; makes one where nobody has. */
  async #connected(): Promise<void> {
    const { lifetime, deadline } = this.#rest;
    lifetime.check();
    if (this.#refused) throw this.#refused;
    if (this.#connection !== undefined) return;
    await new Promise<void>((resolve, reject) => {
      const settled = () => {
        clearTimeout(timer);
        this.#waiting = this.#waiting.filter((other) => other !== waiting);
      };
      const waiting = {
        resolve: () => {
          settled();
          resolve();
        },
        reject: (error: unknown) => {
          settled();
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        const message = 'the realtime connection did not come about in time';
        waiting.reject(new E2eeError('ERR_E2EE_WORKSPACE', message));
      }, deadline);
      this.#waiting.push(waiting);
      this.#running ??= this.#run();
    });
  }

  #settleWaiting(error?: unknown): void {
    for (const { resolve, reject } of this.#waiting) {
      if (error === undefined) resolve();
      else reject(error);
    }
  }

  /** One connection after the other. */
  async #run(): Promise<void> {
    const { lifetime } = this.#rest;
    let failures = 0;
    try {
      for (;;) {
        try {
          const began = performance.now();
          const reason = await this.#session();
          if (performance.now() - began > STABLE_MS) failures = 0;
          if (!lifetime.closed) this.#emit({ type: 'disconnected', reason });
        } catch {
          lifetime.check();
          if (this.#refused) throw this.#refused;
          const nobodyCame = !this.#everConnected && this.#waiting.length === 0;
          if (nobodyCame) return;
        }
        lifetime.check();
        await lifetime.sleep(backoff(failures, BACKOFF_BASE_MS, BACKOFF_CAP_MS));
        failures += 1;
      }
    } catch (error) {
      if (!lifetime.closed && this.#refused && this.#everConnected) {
        this.#emit({ type: 'disconnected', reason: this.#refused.message, error: this.#refused });
      }
      this.#settleWaiting(lifetime.closed ? closedError() : error);
    } finally {
      this.#running = undefined;
    }
  }

  /** From the first byte to the last; rejects when it does not get as far as `connected`. */
  async #session(): Promise<string> {
    const { lifetime, websocketUrl } = this.#rest;
    const by = await this.#authenticate();
    for (const subscriptions of this.#rooms.values()) subscriptions.clear();
    const connection = await DdpConnection.open(
      websocketUrl,
      {
        event: (stream, eventName, args) => this.#translate(by, stream, eventName, args),
        ended: (id) => this.#ended(id),
      },
      { heartbeat: this.#heartbeat, answer: this.#answer },
      lifetime,
    );
    this.#socket = connection;
    try {
      await this.#resume(connection, by);
      await this.#subscribeAll(connection, by);
      this.#connection = connection;
      this.#everConnected = true;
      this.#settleWaiting();
      this.#emit({ type: 'connected' });
      return await connection.closed;
    } finally {
      this.#connection = undefined;
      this.#socket = undefined;
      connection.close();
    }
  }

  async #resume(connection: DdpConnection, by: Credentials): Promise<void> {
    let result: unknown;
    try {
      result = await connection.call('login', [{ resume: by.authToken }]);
    } catch (error) {
      // Another token, where there is a password; otherwise the end.
      if (isRefusal(error)) await this.#authenticate(by);
      throw error;
    }
    const { id } = Object(result) as { id?: unknown };
    if (id !== by.userId) {
      const message = 'the token belongs to another user than the given userId';
      throw this.#refuse(new E2eeError('ERR_E2EE_WORKSPACE', message));
    }
  }

  async #subscribeAll(connection: DdpConnection, { userId }: Credentials): Promise<void> {
    await Promise.all([
      connection.subscribe('stream-room-messages', '__my_messages__'),
      connection.subscribe('stream-notify-user', `${userId}/subscriptions-changed`),
      connection.subscribe('stream-notify-user', `${userId}/rooms-changed`),
      // Useful, not needed: a server that refuses them is a server without them.
      connection.subscribe('stream-notify-user', `${userId}/e2ekeyRequest`).catch(unlessCut),
      connection.subscribe('stream-notify-user', `${userId}/force_logout`).catch(unlessCut),
      connection.subscribe('stream-notify-user', `${userId}/otr`).catch(unlessCut),
    ]);
    const rooms = [...this.#rooms.keys()];
    const worker = async () => {
      for (let rid = rooms.pop(); rid !== undefined; rid = rooms.pop()) {
        await this.#watch(connection, rid).catch((error) => {
          unlessCut(error);
          this.#rooms.delete(rid); // left meanwhile; it can be watched again
        });
      }
    };
    await Promise.all(Array.from({ length: ROOMS_AT_ONCE }, worker));
  }

  async #watch(connection: DdpConnection, roomId: string): Promise<void> {
    for (const event of ROOM_EVENTS) {
      let id: string | undefined;
      while (id === undefined) {
        try {
          id = await connection.subscribe('stream-notify-room', `${roomId}/${event}`);
        } catch (error) {
          if (!(error instanceof DdpRateLimited)) throw error;
          const wait = error.waitMs ?? backoff(0, MAX_RATE_WAIT_MS, MAX_RATE_WAIT_MS);
          await this.#rest.lifetime.sleep(Math.min(Math.max(wait, 100), MAX_RATE_WAIT_MS));
        }
      }
      const subscriptions = this.#rooms.get(roomId);
      if (subscriptions === undefined) connection.unsubscribe(id);
      else subscriptions.add(id);
    }
  }

  /** The account is no longer in the room. */
  #unwatch(roomId: string): void {
    for (const id of this.#rooms.get(roomId) ?? []) this.#socket?.unsubscribe(id);
    this.#rooms.delete(roomId);
  }

  /** The server has ended a subscription: of a room it is forgotten, any other is made anew. */
  #ended(id: string): void {
    for (const [roomId, subscriptions] of this.#rooms) {
      if (subscriptions.has(id)) {
        this.#unwatch(roomId);
        return;
      }
    }
    this.#socket?.close('the server ended a subscription');
  }

  // Events

  #translate(
    { userId }: Credentials,
    stream: string,
    eventName: string,
    args: readonly unknown[],
  ): void {
    const [first, second] = args;
    const slash = eventName.indexOf('/');
    const [owner, event] = [eventName.slice(0, slash), eventName.slice(slash + 1)];
    if (stream === 'stream-room-messages') {
      if (isObject(first)) this.#emit({ type: 'message', message: first });
    } else if (stream === 'stream-notify-user' && owner === userId) {
      this.#translateForUser(event, first, second);
    } else if (stream === 'stream-notify-room' && event === 'e2e.keyRequest') {
      this.#emit(keyRequest(owner, first));
    } else if (stream === 'stream-notify-room' && event === 'deleteMessage' && isObject(first)) {
      const { _id } = first as { _id?: unknown };
      if (typeof _id === 'string') {
        this.#emit({ type: 'messageDeleted', roomId: owner, messageId: _id });
      }
    }
  }

  #translateForUser(event: string, first: unknown, second: unknown): void {
    switch (event) {
      case 'subscriptions-changed': {
        if (typeof first !== 'string' || !isObject(second)) break;
        const { rid } = second as { rid?: unknown };
        if (first === 'removed' && typeof rid === 'string') this.#unwatch(rid);
        this.#emit({ type: 'subscription', action: first, subscription: second });
        break;
      }
      case 'rooms-changed':
        if (typeof first === 'string' && isObject(second)) {
          this.#emit({ type: 'room', action: first, room: second });
        }
        break;
      case 'e2ekeyRequest':
        if (typeof first === 'string') this.#emit(keyRequest(first, second));
        break;
      case 'otr':
        if (typeof first === 'string' && isObject(second)) {
          this.#emit({ type: 'otr', event: first, data: second });
        }
        break;
      case 'force_logout':
        void this.#checkLogout();
        break;
    }
  }

  /**
   * Servers let any user send this event to anyone, and it may mean another session, so it is
   * checked. Where the token is gone, the connection is made anew, which ends in the login that
   * this takes, or in being refused.
   */
  async #checkLogout(): Promise<void> {
    if (this.#checkingLogout) return;
    this.#checkingLogout = true;
    try {
      await this.#rest.lifetime.sleep(LOGOUT_CHECK_MS);
      const by = this.#credentials;
      if (by) await this.#rest.request({ method: 'GET', path: 'me' }, by);
    } catch (error) {
      if ((error as E2eeError).status === 401) this.#socket?.close('the account was logged out');
    } finally {
      this.#checkingLogout = false;
    }
  }

  #emit(event: WorkspaceEvent): void {
    for (const listener of this.#listeners) tell(listener, event);
  }
}

function tell(listener: Listener, event: WorkspaceEvent): void {
  try {
    listener(event);
  } catch (error) {
    // Its text could quote the event.
    const name = error instanceof Error ? error.name : 'a value';
    process.emitWarning(`A workspace's listener threw ${name}; it must not throw`, {
      code: 'ROCKETCHAT_E2EE_LISTENER',
    });
  }
}

/** Of a login, for good: not the limits on attempts, which pass. */
function isRefusal(error: unknown): error is E2eeError {
  if (!(error instanceof E2eeError)) return false;
  const { status = 0, errorType = '' } = error;
  return status >= 400 && status < 429 && !errorType.startsWith('error-login-blocked');
}

function keyRequest(roomId: string, keyId: unknown): WorkspaceEvent {
  return { type: 'keyRequest', roomId, ...(typeof keyId === 'string' && { keyId }) };
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Swallows the server's refusal of a subscription, and passes on that the connection is gone. */
function unlessCut(error: E2eeError): undefined {
  if (error.status === undefined) throw error;
}

function tokenRefused(): E2eeError {
  return new E2eeError(
    'ERR_E2EE_WORKSPACE',
    "the server does not accept the account's token (401)",
    {
      status: 401,
    },
  );
}
