import { createHash } from 'node:crypto';
import WebSocket from 'ws';
import { fromEjson, toEjson } from './ejson';
import type { Account, Workspace } from './server';

export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed when it is JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it freely
  readonly body: any;
}

/** A user of the REST API in the tests of the workspace: plain fetch. */
export class Rest {
  constructor(
    private readonly workspace: Workspace,
    private readonly account?: Account,
  ) {}

  get(route: string, query: Record<string, string | number> = {}): Promise<Reply> {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) parameters.set(name, String(value));
    const suffix = parameters.size > 0 ? `?${parameters}` : '';
    return this.fetch(`/api/v1/${route}${suffix}`, {});
  }

  post(route: string, body: unknown = {}, headers: Record<string, string> = {}): Promise<Reply> {
    return this.fetch(`/api/v1/${route}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
  }

  form(route: string, form: FormData): Promise<Reply> {
    return this.fetch(`/api/v1/${route}`, { method: 'POST', body: form });
  }

  /** With the second factor of an account without an authenticator: its password. */
  postWithPassword(route: string, body: unknown = {}): Promise<Reply> {
    return this.post(route, body, {
      'x-2fa-method': 'password',
      'x-2fa-code': createHash('sha256')
        .update(this.account?.password ?? '')
        .digest('hex'),
    });
  }

  async fetch(path: string, init: RequestInit): Promise<Reply> {
    const headers = new Headers(init.headers);
    if (this.account !== undefined) {
      headers.set('x-user-id', this.account._id);
      headers.set('x-auth-token', this.account.authToken);
    }
    const response = await fetch(this.workspace.url + path, { ...init, headers });
    const text = await response.text();
    const json = response.headers.get('content-type')?.includes('json');
    return {
      status: response.status,
      headers: response.headers,
      body: json ? JSON.parse(text) : text,
    };
  }
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into frames freely
export type Frame = any;

/** A DDP connection in the tests of the workspace: plain `ws`. */
export class Socket {
  readonly frames: Frame[] = [];
  private readonly waiting = new Set<() => void>();
  private nextId = 0;
  closed = false;

  private constructor(private readonly ws: WebSocket) {
    ws.on('message', (data) => {
      this.frames.push(fromEjson(String(data)));
      for (const wake of this.waiting) wake();
    });
    ws.on('close', () => {
      this.closed = true;
      for (const wake of this.waiting) wake();
    });
    ws.on('error', () => undefined);
  }

  /** Open, before `connect`. */
  static async raw(workspace: Workspace): Promise<Socket> {
    const ws = new WebSocket(`${workspace.url.replace('http', 'ws')}/websocket`);
    const socket = new Socket(ws);
    await new Promise((resolve, reject) => ws.once('open', resolve).once('error', reject));
    return socket;
  }

  static async connect(workspace: Workspace, account?: Account): Promise<Socket> {
    const socket = await Socket.raw(workspace);
    socket.send({ msg: 'connect', version: '1', support: ['1'] });
    await socket.frame((frame) => frame.msg === 'connected');
    if (account !== undefined) {
      const { error } = await socket.call('login', { resume: account.authToken });
      if (error) throw new Error(error.message);
    }
    return socket;
  }

  send(frame: object): void {
    this.ws.send(toEjson(frame));
  }

  async call(method: string, ...params: unknown[]): Promise<Frame> {
    this.nextId += 1;
    const id = `m${this.nextId}`;
    this.send({ msg: 'method', id, method, params });
    return this.frame((frame) => frame.msg === 'result' && frame.id === id);
  }

  /** The `ready` or the `nosub`. */
  async sub(stream: string, key: string, id = `s${++this.nextId}`): Promise<Frame> {
    this.send({
      msg: 'sub',
      id,
      name: stream,
      params: [key, { useCollection: false, args: [] }],
    });
    return this.frame(
      (frame) => (frame.msg === 'ready' && frame.subs[0] === id) || frame.id === id,
    );
  }

  /** The args of the events so far, by event name. */
  events(eventName: string): Frame[] {
    return this.frames
      .filter((frame) => frame.msg === 'changed' && frame.fields.eventName === eventName)
      .map((frame) => frame.fields.args);
  }

  /** The args of the n-th event of this name, once it is there. */
  async event(eventName: string, n = 0): Promise<Frame> {
    await this.until(() => this.events(eventName).length > n);
    return this.events(eventName)[n];
  }

  async frame(hit: (frame: Frame) => boolean): Promise<Frame> {
    await this.until(() => this.frames.some(hit));
    return this.frames.find(hit);
  }

  /** All that the server sent before this call has arrived. */
  async settled(): Promise<void> {
    this.nextId += 1;
    const id = `p${this.nextId}`;
    this.send({ msg: 'ping', id });
    await this.frame((frame) => frame.msg === 'pong' && frame.id === id);
  }

  async until(condition: () => boolean, timeoutMs = 2000): Promise<void> {
    if (condition()) return;
    await new Promise<void>((resolve, reject) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.waiting.delete(check);
      };
      const check = (): void => {
        if (!condition()) return;
        finish();
        resolve();
      };
      const timer = setTimeout(() => {
        finish();
        reject(new Error(`not seen in ${timeoutMs} ms: ${JSON.stringify(this.frames.slice(-3))}`));
      }, timeoutMs);
      this.waiting.add(check);
    });
  }

  close(): void {
    this.ws.terminate();
  }
}
