import type { IncomingMessage, Server } from 'node:http';
import { type RawData, WebSocket, WebSocketServer } from 'ws';
import { hashToken } from './accounts';
import { fromEjson, toEjson } from './ejson';
import { MatchError, MeteorError, PlainError } from './errors';
import { type CallFault, type Faults, pause } from './faults';
import { type Caller, METHODS, type Method } from './methods';
import type { User } from './model';
import type { Streams } from './notify';
import { canAccessRoom, hasPermission } from './permissions';
import type { Limit, RateLimiter } from './rate-limit';
import type { RequestLog } from './request-log';
import { isRecord } from './schema';
import type { Services } from './services';

export interface DdpOptions {
  /** Per method and connection (9.1); without it there are no limits at all. */
  readonly methodLimit: Limit | undefined;
  /** A silent client is pinged after this time, and cut after twice of it. */
  readonly heartbeatMs: number;
}

/** How long a swapped event waits for another to overtake it. */
const SWAP_MS = 50;
const SEND_WINDOW_MS = 1000;

export class DdpServer implements Streams {
  private readonly sockets = new WebSocketServer({ noServer: true });
  private readonly sessions = new Set<Session>();

  constructor(
    private readonly services: () => Services,
    private readonly faults: Faults,
    private readonly limiter: RateLimiter,
    private readonly options: DdpOptions,
    private readonly log: RequestLog,
  ) {}

  attach(server: Server): void {
    server.on('upgrade', (request: IncomingMessage, socket, head) => {
      if (request.url !== '/websocket') {
        socket.destroy();
        return;
      }
      this.sockets.handleUpgrade(request, socket, head, (ws) => this.open(ws));
    });
  }

  emit(stream: string, eventName: string, argsFor: (uid: string) => unknown[] | undefined): void {
    for (const session of this.sessions) {
      const uid = session.user?._id;
      if (uid === undefined || !session.listensTo(stream, eventName)) continue;
      const args = argsFor(uid);
      if (args !== undefined) session.deliver(stream, eventName, args);
    }
  }

  drop(stream: string, eventName: string, uid: string): void {
    for (const session of this.sessions) {
      if (session.user?._id === uid) session.forget(stream, eventName);
    }
  }

  disconnect(hashedTokens: readonly string[]): void {
    for (const session of this.sessions) {
      if (hashedTokens.includes(session.hashedToken ?? '')) session.close();
    }
  }

  /** Cuts websockets without a goodbye: of one user, or all. Says how many. */
  cut(uid?: string): number {
    const hit = [...this.sessions].filter(
      (session) => uid === undefined || session.user?._id === uid,
    );
    for (const session of hit) session.terminate();
    return hit.length;
  }

  /** Sessions now open: logged in as this user, or all. */
  count(uid?: string): number {
    return [...this.sessions].filter((session) => uid === undefined || session.user?._id === uid)
      .length;
  }

  private open(ws: WebSocket): void {
    const session = new Session(ws, this.services(), this.faults, this.limiter, this.options, this);
    this.sessions.add(session);
    const heartbeat = setInterval(() => session.beat(), this.options.heartbeatMs);
    ws.on('message', (data: RawData) => {
      const bytes = data as Buffer;
      const frame = parse(bytes.toString());
      this.log.add({
        transport: 'ddp',
        method: String(frame.msg),
        path: String(frame.method ?? frame.name ?? ''),
        headers: {},
        body: withoutToken(frame, bytes),
      });
      void session.receive(frame);
    });
    ws.on('close', () => {
      clearInterval(heartbeat);
      this.sessions.delete(session);
    });
    ws.on('error', () => ws.terminate());
    ws.send('{"server_id":"0"}');
  }
}

class Session implements Caller {
  user: User | undefined;
  hashedToken: string | undefined;
  private readonly id: string;
  private connected = false;
  private silentBeats = 0;
  /** `sub` id → what it listens to. */
  private readonly subs = new Map<string, { stream: string; eventName: string }>();
  private readonly listening = new Map<string, number>();
  private swapped: string | undefined;

  constructor(
    private readonly ws: WebSocket,
    private readonly services: Services,
    private readonly faults: Faults,
    private readonly limiter: RateLimiter,
    private readonly options: DdpOptions,
    private readonly server: DdpServer,
  ) {
    this.id = services.store.random.id();
  }

  beat(): void {
    this.silentBeats += 1;
    if (this.silentBeats > 2) this.terminate();
    else if (this.connected) this.send({ msg: 'ping' });
  }

  async receive(frame: Record<string, unknown>): Promise<void> {
    this.silentBeats = 0;
    if (!this.connected && frame.msg !== 'connect') {
      this.send({ msg: 'error', reason: 'Must connect first', offendingMessage: frame });
      return;
    }
    switch (frame.msg) {
      case 'connect':
        return this.connect(frame);
      case 'ping':
        return this.send({ msg: 'pong', ...(frame.id !== undefined && { id: frame.id }) });
      case 'pong':
        return;
      case 'sub':
        return this.subscribe(frame);
      case 'unsub':
        return this.unsubscribe(String(frame.id));
      case 'method':
        return this.call(String(frame.id), String(frame.method), frame.params);
      default:
        return this.send({ msg: 'error', reason: 'Bad request', offendingMessage: frame });
    }
  }

  login(user: User, token: string): void {
    this.user = user;
    this.hashedToken = hashToken(token);
    // Unasked, right after login (4.2).
    const fields = { username: user.username, emails: user.emails };
    this.send({ msg: 'added', collection: 'users', id: user._id, fields });
  }

  logout(): void {
    const user = this.user;
    if (user === undefined) return;
    this.services.store.users.update(user, ({ services }) => {
      services.resume.loginTokens = services.resume.loginTokens.filter(
        ({ hashedToken }) => hashedToken !== this.hashedToken,
      );
    });
    this.user = undefined;
    this.hashedToken = undefined;
    this.send({ msg: 'removed', collection: 'users', id: user._id });
  }

  relay(stream: string, eventName: string, args: unknown[]): void {
    const own = this.user?._id;
    this.server.emit(stream, eventName, (uid) => (uid === own ? undefined : args));
  }

  listensTo(stream: string, eventName: string): boolean {
    return (this.listening.get(`${stream} ${eventName}`) ?? 0) > 0;
  }

  /** The events of one `(stream, eventName)` come once, however many subs ask for them. */
  deliver(stream: string, eventName: string, args: unknown[]): void {
    const event = toEjson({
      msg: 'changed',
      collection: stream,
      id: 'id',
      fields: { eventName, args },
    });
    const faults = this.faults.eventFaults(stream, eventName, this.user?._id);
    const kinds = faults.map(({ kind }) => kind);
    if (kinds.includes('lose')) return;
    const delayed = faults.find((fault) => fault.kind === 'delay');
    if (delayed !== undefined) {
      void pause(delayed.ms).then(() => this.write(event));
      return;
    }
    if (kinds.includes('swap') && this.swapped === undefined) {
      this.swapped = event;
      void pause(SWAP_MS).then(() => this.releaseSwapped());
      return;
    }
    this.write(event);
    if (kinds.includes('duplicate')) this.write(event);
    this.releaseSwapped();
  }

  forget(stream: string, eventName: string): void {
    this.listening.delete(`${stream} ${eventName}`);
  }

  close(): void {
    this.ws.close();
  }

  terminate(): void {
    this.ws.terminate();
  }

  private connect(frame: Record<string, unknown>): void {
    if (frame.version !== '1') {
      this.send({ msg: 'failed', version: '1' });
      this.ws.close();
      return;
    }
    this.connected = true;
    this.send({ msg: 'connected', session: this.id });
  }

  private subscribe(frame: Record<string, unknown>): void {
    const id = String(frame.id);
    if (this.subs.has(id)) return; // a live id: dropped silently (4.2)
    const stream = String(frame.name);
    const eventName = Array.isArray(frame.params) ? String(frame.params[0]) : '';
    const error = this.refusal(stream, eventName);
    if (error !== undefined) {
      this.send({ msg: 'nosub', id, error: describe(error) });
      return;
    }
    this.subs.set(id, { stream, eventName });
    const key = `${stream} ${eventName}`;
    this.listening.set(key, (this.listening.get(key) ?? 0) + 1);
    this.send({ msg: 'ready', subs: [id] });
  }

  private unsubscribe(id: string): void {
    const sub = this.subs.get(id);
    if (sub !== undefined) {
      this.subs.delete(id);
      const key = `${sub.stream} ${sub.eventName}`;
      const count = (this.listening.get(key) ?? 0) - 1;
      if (count > 0) this.listening.set(key, count);
      else this.listening.delete(key);
    }
    this.send({ msg: 'nosub', id });
  }

  /** Who may read what (4.2). */
  private refusal(stream: string, eventName: string): MeteorError | undefined {
    const { store } = this.services;
    const uid = this.user?._id;
    const [owner = '', event] = eventName.split('/');
    const allowed = (): boolean => {
      switch (stream) {
        case 'stream-room-messages':
          // Access to each room is checked per event for `__my_messages__`.
          return (
            eventName === '__my_messages__' ||
            (uid !== undefined && canAccessRoom(store, store.rooms.get(eventName), uid))
          );
        case 'stream-notify-user':
          return uid === owner && event !== undefined;
        case 'stream-notify-room':
          return uid !== undefined && store.subscription(owner, uid) !== undefined;
        default:
          return false; // `stream-notify-room-users` is write-only
      }
    };
    const known = stream.startsWith('stream-notify-') || stream === 'stream-room-messages';
    if (!known) return new MeteorError(404, `Subscription '${stream}' not found`);
    return allowed() ? undefined : new MeteorError('not-allowed');
  }

  private async call(id: string, name: string, params: unknown): Promise<void> {
    const faults = this.faults.callFaults('method', name, this.user?._id);
    for (const fault of faults) if (!(await this.suffer(fault, 'before', id))) return;
    const answer = await this.run(name, Array.isArray(params) ? params : []);
    for (const fault of faults) if (!(await this.suffer(fault, 'after', id))) return;
    this.send({ msg: 'result', id, ...answer });
    this.send({ msg: 'updated', methods: [id] });
  }

  private async run(name: string, params: unknown[]): Promise<object> {
    const method = Object.hasOwn(METHODS, name) ? METHODS[name] : undefined;
    try {
      if (method === undefined || method.exists?.(this.services.store.behaviour) === false) {
        throw new MeteorError(404, `Method '${name}' not found`);
      }
      this.limitRate(name, method);
      const result = await method.run(this.services, this, params);
      return result === undefined ? {} : { result };
    } catch (error) {
      if (!(error instanceof MeteorError || error instanceof PlainError)) {
        console.error('stand-in workspace: unexpected error in method', name, error);
      }
      return { error: describe(error) };
    }
  }

  private limitRate(name: string, { perSecond }: Method): void {
    const { methodLimit } = this.options;
    if (methodLimit === undefined) return;
    this.count(`${this.id} ${name}`, methodLimit);
    if (perSecond === undefined || this.user === undefined) return;
    if (hasPermission(this.services.store, this.user._id, 'send-many-messages')) return;
    this.count(`${this.user._id} ${name}`, { calls: perSecond, windowMs: SEND_WINDOW_MS });
  }

  private count(key: string, limit: Limit): void {
    const { allowed, resetAt } = this.limiter.hit(`ddp ${key}`, limit);
    if (allowed) return;
    const wait = resetAt - this.services.store.clock.now();
    throw new MeteorError(
      'too-many-requests',
      `Error, too many requests. Please slow down. You must wait ${Math.ceil(wait / 1000)} seconds before trying again.`,
      { timeToReset: wait },
    );
  }

  /** False when the call is over. */
  private async suffer(fault: CallFault, now: 'before' | 'after', id: string): Promise<boolean> {
    if ((fault.when ?? 'before') !== now) return true;
    switch (fault.kind) {
      case 'drop':
        this.terminate();
        return false;
      case 'delay':
        await pause(fault.ms);
        return true;
      case 'answer':
        return true;
      case 'status': {
        const error = describe(new MeteorError(fault.status, 'Internal server error'));
        this.send({ msg: 'result', id, error });
        this.send({ msg: 'updated', methods: [id] });
        return false;
      }
    }
  }

  private releaseSwapped(): void {
    const event = this.swapped;
    this.swapped = undefined;
    if (event !== undefined) this.write(event);
  }

  private send(frame: object): void {
    this.write(toEjson(frame));
  }

  private write(frame: string): void {
    if (this.ws.readyState === WebSocket.OPEN) this.ws.send(frame);
  }
}

function parse(text: string): Record<string, unknown> {
  try {
    const frame = fromEjson(text);
    return isRecord(frame) ? frame : {};
  } catch {
    return {};
  }
}

/** A `login` is logged without the token or the password. */
function withoutToken(frame: Record<string, unknown>, bytes: Buffer): Buffer {
  return frame.method === 'login' ? Buffer.from('{"msg":"method","method":"login"}') : bytes;
}

/** Meteor's error frame. */
function describe(error: unknown): object {
  if (error instanceof MeteorError) {
    const { error: code, reason, details, message } = error;
    return {
      isClientSafe: true,
      error: code,
      ...(reason !== undefined && { reason }),
      message,
      ...(details && { details }),
      errorType: 'Meteor.Error',
    };
  }
  return error instanceof MatchError
    ? describe(new MeteorError(400, 'Match failed'))
    : describe(new MeteorError(500, 'Internal server error'));
}
