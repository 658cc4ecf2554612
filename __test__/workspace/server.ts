import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { NewUser } from './accounts';
import { type Clock, systemClock } from './clock';
import { DdpServer } from './ddp';
import type { Gaps } from './e2e-keys';
import { Faults, pause } from './faults';
import type { Draft, Quirks } from './messages';
import { type Message, type Room, Store, type Subscription, type Upload, type User } from './model';
import { Random } from './random';
import { type Limit, RateLimiter } from './rate-limit';
import { RequestLog } from './request-log';
import { RestServer } from './rest/server';
import { createServices, type Services } from './services';
import type { SettingValue } from './settings';
import type { Version } from './versions';

export interface WorkspaceOptions {
  version: Version;
  /** Over the defaults of `settings.ts`. */
  settings?: Record<string, SettingValue>;
  /** false: no limits at all. The REST limit is a setting; this one is for DDP methods. */
  rateLimits?: false | { ddpMethods?: Limit };
  /** For ids, tokens and faults. */
  seed?: number;
  clock?: Clock;
  quirks?: Quirks;
  heartbeatMs?: number;
}

/** What a test needs to act as a user. */
export interface Account {
  readonly _id: string;
  readonly username: string;
  readonly name: string;
  readonly password: string;
  readonly authToken: string;
}

const DDP_METHOD_LIMIT: Limit = { calls: 10, windowMs: 10_000 };
const HEARTBEAT_MS = 15_000;

/**
 * A stand-in for a Rocket.Chat server: REST and DDP on one port of 127.0.0.1, everything in
 * memory. It models what rocketchat-e2ee-protocol.md says of the server, and knows no client.
 */
export class Workspace {
  readonly faults: Faults;
  readonly requests = new RequestLog();
  /** Set a member to hold the server between two writes. */
  readonly gaps: Gaps = {};
  private readonly limiter: RateLimiter;
  private readonly store: Store;
  private readonly services: Services;
  private readonly ddp: DdpServer;
  private readonly rest: RestServer;
  private server: Server;
  private port = 0;

  static async start(options: WorkspaceOptions): Promise<Workspace> {
    const workspace = new Workspace(options);
    await workspace.listen();
    return workspace;
  }

  private constructor(options: WorkspaceOptions) {
    const { version, seed = 1, clock = systemClock, rateLimits = {} } = options;
    const settings =
      rateLimits === false
        ? { API_Enable_Rate_Limiter: false, ...options.settings }
        : { ...options.settings };
    this.store = new Store(clock, new Random(seed), version, settings);
    this.faults = new Faults(seed);
    this.limiter = new RateLimiter(clock);
    this.ddp = new DdpServer(
      () => this.services,
      this.faults,
      this.limiter,
      {
        methodLimit: rateLimits === false ? undefined : (rateLimits.ddpMethods ?? DDP_METHOD_LIMIT),
        heartbeatMs: options.heartbeatMs ?? HEARTBEAT_MS,
      },
      this.requests,
    );
    this.services = createServices(this.store, this.ddp, this.gaps, options.quirks ?? {});
    this.rest = new RestServer(this.services, this.faults, this.limiter, this.requests);
    this.server = this.createServer();
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  async close(): Promise<void> {
    this.ddp.cut();
    const closed = new Promise((resolve) => this.server.close(resolve));
    this.server.closeAllConnections();
    await closed;
  }

  /**
   * All sockets are cut; what is in memory only (locks, counters) is gone, state stays. Without
   * `downMs` a client may not yet know that its kept-alive connection is closed.
   */
  async restart({ downMs = 0 }: { downMs?: number } = {}): Promise<void> {
    await this.close();
    this.services.keys.forgetLocks();
    this.limiter.clear();
    if (downMs > 0) await pause(downMs);
    this.server = this.createServer();
    await this.listen();
  }

  /** Cuts websockets without a goodbye: those of one user, or all. Says how many. */
  cutSockets(uid?: string): number {
    return this.ddp.cut(uid);
  }

  /** Websockets now open: of one user, or all. */
  openSockets(uid?: string): number {
    return this.ddp.count(uid);
  }

  setSetting(name: string, value: SettingValue): void {
    this.store.settings.set(name, value);
  }

  // Who is there

  createUser(username: string, options: NewUser = {}): Account {
    const password = options.password ?? `password of ${username}`;
    const user = this.services.accounts.create(username, { ...options, password });
    const authToken = this.services.accounts.issueToken(user, 'personalAccessToken');
    return { _id: user._id, username, name: user.name, password, authToken };
  }

  createToken(uid: string): string {
    return this.services.accounts.issueToken(this.userDocument(uid), 'login');
  }

  /** The first user named is its owner (`p`, `c`); a `d` room has no owner. */
  createRoom(
    t: Room['t'],
    members: readonly Account[],
    options: { name?: string; encrypted?: boolean; topic?: string } = {},
  ): Room {
    const users = members.map(({ _id }) => this.userDocument(_id));
    const [owner] = users;
    if (owner === undefined) throw new Error('a room needs a member');
    const name = options.name ?? `room-${this.store.rooms.all().length + 1}`;
    return structuredClone(
      this.services.rooms.create({ ...options, t, name, owner, members: users }),
    );
  }

  addMember(rid: string, user: Account, inviter?: Account): void {
    this.services.rooms.add(
      this.roomDocument(rid),
      this.userDocument(user._id),
      inviter && this.userDocument(inviter._id),
    );
  }

  removeMember(rid: string, user: Account, by?: Account): void {
    this.services.rooms.remove(
      this.roomDocument(rid),
      this.userDocument(user._id),
      by && this.userDocument(by._id),
    );
  }

  // What is stored: copies

  user(uid: string): User {
    return structuredClone(this.userDocument(uid));
  }

  room(rid: string): Room {
    return structuredClone(this.roomDocument(rid));
  }

  subscription(rid: string, uid: string): Subscription | undefined {
    return structuredClone(this.store.subscription(rid, uid));
  }

  message(id: string): Message | undefined {
    return structuredClone(this.store.messages.get(id));
  }

  /** Oldest first. */
  messagesIn(rid: string): Message[] {
    return structuredClone(this.services.messages.inRoom(rid));
  }

  /** With the bytes that were uploaded. */
  upload(id: string): { upload: Upload; bytes: Buffer } | undefined {
    const upload = this.services.uploads.find(id);
    const bytes = this.store.blobs.get(id);
    return upload && bytes && { upload: structuredClone(upload), bytes: Buffer.from(bytes) };
  }

  // Documents as an older server, another client or an attacker would have left them

  editUser(uid: string, change: (user: User) => void): void {
    this.store.users.update(this.userDocument(uid), change);
  }

  /** A message past all checks: of an older time, of another client, … */
  addMessage(user: Account, draft: Draft & { rid: string }): Message {
    const ts = draft.ts === undefined ? this.store.now() : new Date(draft.ts);
    const room = this.roomDocument(draft.rid);
    const message = this.services.messages.insert(this.userDocument(user._id), room, {
      ...draft,
      ts,
    });
    return structuredClone(message);
  }

  /** As a reaction, a new name of the sender or a reply in its thread changes it. */
  editMessage(id: string, change: (message: Message) => void): void {
    const message = this.store.messages.get(id);
    if (message === undefined) throw new Error(`no message ${id}`);
    const { rid } = this.store.messages.update(message, change);
    this.services.notify.message(message);
    this.store.rooms.update(this.roomDocument(rid), () => undefined);
  }

  editSubscription(rid: string, uid: string, change: (sub: Subscription) => void): void {
    const sub = this.store.subscription(rid, uid);
    if (sub === undefined) throw new Error(`${uid} is not in ${rid}`);
    this.store.subscriptions.update(sub, change);
    this.services.notify.subscription(sub);
  }

  editRoom(rid: string, change: (room: Room) => void): void {
    this.services.notify.room(this.store.rooms.update(this.roomDocument(rid), change));
  }

  private userDocument(uid: string): User {
    const user = this.store.users.get(uid);
    if (user === undefined) throw new Error(`no user ${uid}`);
    return user;
  }

  private roomDocument(rid: string): Room {
    const room = this.store.rooms.get(rid);
    if (room === undefined) throw new Error(`no room ${rid}`);
    return room;
  }

  // HTTP

  private createServer(): Server {
    const server = createServer((request, response) => {
      this.rest.serve(request, response).catch((error: unknown) => {
        console.error('stand-in workspace: unexpected error', request.url, error);
        response.destroy();
      });
    });
    this.ddp.attach(server);
    return server;
  }

  private async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(this.port, '127.0.0.1', resolve);
    });
    this.port = (this.server.address() as AddressInfo).port;
  }
}
