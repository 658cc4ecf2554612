import { type RawData, WebSocket } from 'ws';
import { E2eeError } from './errors';
import type { Lifetime } from './lifetime';

/** What the server answers a method or a subscription with. */
interface ServerError {
  readonly error?: unknown;
  readonly details?: unknown;
}

interface Pending {
  readonly what: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: E2eeError) => void;
}

export interface DdpHandlers {
  /** A stream event. */
  readonly event: (stream: string, eventName: string, args: readonly unknown[]) => void;
  /** A live subscription was ended by the server. */
  readonly ended: (subscription: string) => void;
}

export interface DdpTimes {
  /** After this much silence the server is asked for a sign of life, after twice of it cut. */
  readonly heartbeat: number;
  /** For the handshake, and for each answer. */
  readonly answer: number;
}

/** Subscriptions of a large workspace arrive in frames far below this. */
const MAX_FRAME_BYTES = 32 * 1024 * 1024;

/** Ids are unique in the process: a live one is never given out again, on no connection. */
let lastId = 0;

/** One connection of Meteor's DDP, version 1, from its handshake to its end. */
export class DdpConnection {
  /** When it is over, with the reason. Never rejects. */
  readonly closed: Promise<string>;
  readonly #socket: WebSocket;
  readonly #handlers: DdpHandlers;
  readonly #times: DdpTimes;
  readonly #pending = new Map<string, Pending>();
  readonly #live = new Set<string>();
  #reason = 'the connection was cut';
  #heard = performance.now();
  #over = false;

  /** Resolves when the server has answered `connect`. */
  static async open(
    url: string,
    handlers: DdpHandlers,
    times: DdpTimes,
    lifetime: Lifetime,
  ): Promise<DdpConnection> {
    const connection = new DdpConnection(url, handlers, times, lifetime);
    try {
      await connection.#answer('connect', 'connect', () => undefined);
    } catch (error) {
      connection.close();
      throw error;
    }
    return connection;
  }

  private constructor(url: string, handlers: DdpHandlers, times: DdpTimes, lifetime: Lifetime) {
    this.#handlers = handlers;
    this.#times = times;
    this.#socket = new WebSocket(url, {
      handshakeTimeout: times.answer,
      maxPayload: MAX_FRAME_BYTES,
      perMessageDeflate: false,
    });
    const watch = setInterval(() => this.#watch(), Math.max(10, times.heartbeat / 4));
    this.#socket.on('open', () => this.#send({ msg: 'connect', version: '1', support: ['1'] }));
    this.#socket.on('message', (data) => this.#receive(data));
    this.#socket.on('error', (error) => {
      const { code } = error as { code?: unknown };
      this.#reason = `the connection failed${typeof code === 'string' ? ` (${code})` : ''}`;
    });
    const forget = lifetime.onClose(() => this.close());
    this.closed = new Promise((resolve) => {
      this.#socket.on('close', () => {
        this.#over = true;
        forget();
        clearInterval(watch);
        for (const [, { what, reject }] of this.#pending) {
          reject(new E2eeError('ERR_E2EE_WORKSPACE', `${what}: ${this.#reason}`));
        }
        this.#pending.clear();
        resolve(this.#reason);
      });
    });
  }

  /** Rejects with the server's error; without a `status`, the server may have acted. */
  call(method: string, params: readonly unknown[]): Promise<unknown> {
    const id = nextId();
    return this.#answer(`m${id}`, method, () =>
      this.#send({ msg: 'method', id: `m${id}`, method, params }),
    );
  }

  /** Resolves with the subscription's id when the stream is live. */
  async subscribe(stream: string, eventName: string): Promise<string> {
    const id = `s${nextId()}`;
    await this.#answer(id, `${stream} ${eventName}`, () =>
      this.#send({
        msg: 'sub',
        id,
        name: stream,
        params: [eventName, { useCollection: false, args: [] }],
      }),
    );
    return id;
  }

  unsubscribe(id: string): void {
    if (this.#live.delete(id)) this.#send({ msg: 'unsub', id });
  }

  /** At once, without a goodbye that a dead peer would not answer. */
  close(reason?: string): void {
    if (reason !== undefined) this.#reason = reason;
    this.#socket.terminate();
  }

  #answer(id: string, what: string, ask: () => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#over) {
        reject(new E2eeError('ERR_E2EE_WORKSPACE', `${what}: ${this.#reason}`));
        return;
      }
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new E2eeError('ERR_E2EE_WORKSPACE', `${what}: the server gave no answer in time`));
      }, this.#times.answer);
      this.#pending.set(id, {
        what,
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
      ask();
    });
  }

  #settle(id: unknown, error: unknown, value: unknown): void {
    const pending = this.#pending.get(String(id));
    if (pending === undefined) return;
    this.#pending.delete(String(id));
    if (error === undefined) pending.resolve(value);
    else pending.reject(refusal(pending.what, error));
  }

  #send(frame: object): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  #watch(): void {
    const silence = performance.now() - this.#heard;
    if (silence > 2 * this.#times.heartbeat) this.close('the server fell silent');
    else if (silence > this.#times.heartbeat) this.#send({ msg: 'ping' });
  }

  /** Whatever comes, the connection goes on. */
  #receive(data: RawData): void {
    this.#heard = performance.now();
    let frame: Record<string, unknown>;
    try {
      frame = Object(JSON.parse(String(data))) as Record<string, unknown>;
    } catch {
      return;
    }
    const { msg, id } = frame;
    switch (msg) {
      case 'connected':
        this.#settle('connect', undefined, undefined);
        break;
      case 'failed':
        this.#settle('connect', { error: 'ddp-version' }, undefined);
        break;
      case 'ping':
        this.#send({ msg: 'pong', ...(id !== undefined && { id }) });
        break;
      case 'result':
        this.#settle(id, frame.error, frame.result);
        break;
      case 'ready':
        for (const sub of Array.isArray(frame.subs) ? frame.subs : []) {
          if (this.#pending.has(String(sub))) this.#live.add(String(sub));
          this.#settle(sub, undefined, undefined);
        }
        break;
      case 'nosub':
        if (this.#live.delete(String(id))) this.#handlers.ended(String(id));
        else this.#settle(id, frame.error ?? {}, undefined);
        break;
      case 'changed': {
        const { eventName, args } = Object(frame.fields) as Record<string, unknown>;
        if (typeof frame.collection !== 'string' || typeof eventName !== 'string') break;
        if (Array.isArray(args)) this.#handlers.event(frame.collection, eventName, args);
        break;
      }
    }
  }
}

function nextId(): number {
  lastId += 1;
  return lastId;
}

/** Meteor's error, whose `error` is a code or an HTTP status. */
function refusal(what: string, value: unknown): E2eeError {
  const { error, details } = Object(value) as ServerError;
  if (error === 'too-many-requests') {
    const message = `${what}: the server's rate limit is reached`;
    const { timeToReset } = Object(details) as { timeToReset?: unknown };
    return new DdpRateLimited(message, typeof timeToReset === 'number' ? timeToReset : undefined);
  }
  const errorType =
    typeof error === 'string' || typeof error === 'number' ? String(error) : undefined;
  return new E2eeError('ERR_E2EE_WORKSPACE', `${what}: refused by the server`, {
    // A refusal is an answer: it has a status, so that it is not taken for a cut connection.
    status: typeof error === 'number' ? error : 400,
    errorType: errorType?.slice(0, 200),
  });
}

/** A rate limit of DDP. */
export class DdpRateLimited extends E2eeError {
  readonly #waitMs: number | undefined;

  constructor(message: string, waitMs: number | undefined) {
    super('ERR_E2EE_RATE_LIMITED', message, { status: 429 });
    this.#waitMs = waitMs;
  }

  /** How long it lasts, where the server says so. */
  get waitMs(): number | undefined {
    return this.#waitMs;
  }
}
