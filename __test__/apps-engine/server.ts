import { type ChildProcess, execFileSync, fork } from 'child_process';
import { once } from 'events';
import { join } from 'path';
import type { Account, Workspace } from '../workspace';
import type { Message } from '../workspace/model';
import { AppPersistence } from './persistence';

const { connect } = require('./sandbox/link.cjs') as {
  connect(
    peer: ChildProcess,
    answer: (method: string, parameters: never[]) => Promise<unknown>,
  ): (method: string, parameters: unknown[]) => Promise<unknown>;
};

export const SANDBOX = join(__dirname, 'sandbox');

/** What `setup.mjs` has installed. */
export interface Sandboxes {
  engines: {
    engine: string;
    deno: string;
    folder: string;
    path: string;
    denoDir: string;
    temporary: string;
  }[];
  nodes: { version: string; path: string }[];
}

/** Installs what is missing. */
export function setUpSandboxes(): Sandboxes {
  const output = execFileSync(process.execPath, [join(SANDBOX, 'setup.mjs')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return JSON.parse(output);
}

type Document = Record<string, unknown>;

/** Members of messages that the server's converter names; what it does not goes into the bucket. */
const NAMED = new Set([
  '_id',
  'msg',
  't',
  'tmid',
  'ts',
  'u',
  'rid',
  'attachments',
  'file',
  'editedAt',
  '_updatedAt',
]);

/**
 * The part of a Rocket.Chat server that apps see: bridges between the stand-in workspace and an
 * app in its sandbox, with the server's conversions (protocol §8.1, §8.3). Imports nothing of ours.
 */
export class AppServer {
  readonly appUser: Account;
  readonly #children: ChildProcess[] = [];

  constructor(
    readonly workspace: Workspace,
    readonly persistence = new AppPersistence(),
  ) {
    this.appUser = workspace.createUser('encrypted-helper.bot', { roles: ['app'] });
  }

  /** Rooms that an app has made: direct ones with whom it installed. */
  readonly told: string[] = [];
  /** What the app asks of the server by HTTP is answered by this instead, where it answers. */
  http: (info: { url: string }) => Document | undefined = () => undefined;

  /** Another instance of the server, with its own process of apps. */
  async start(program: {
    script: string;
    words: string[];
    execPath?: string;
    execArgv?: string[];
    env?: Record<string, string>;
  }): Promise<Instance> {
    const { script, words, execPath = process.execPath, execArgv = [], env = {} } = program;
    const child = fork(join(SANDBOX, script), words, {
      execPath,
      execArgv,
      env: { ...process.env, ...env },
      serialization: 'advanced',
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.#children.push(child);
    const ask = connect(child, (method, parameters) => this.#bridge(method, parameters));
    let errors = '';
    child.stderr?.on('data', (text) => {
      errors += text;
    });
    const instance: Instance = {
      ask,
      errors: () => errors,
      deliver: (message) => ask('hook', ['executePostSystemMessageSent', this.messageOf(message)]),
      deliverAsOlder: (message) => ask('hook', ['executePostMessageSent', this.messageOf(message)]),
    };
    await ask('start', []);
    return instance;
  }

  async close(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const closed = once(child, 'exit');
      child.kill('SIGKILL');
      await closed;
    }
  }

  /** An `IMessage`. */
  messageOf(message: Message): Document {
    const document = message as unknown as Document;
    return {
      id: message._id,
      text: message.msg,
      type: message.t,
      ...(document.tmid !== undefined && { threadId: document.tmid }),
      room: this.roomOf(message.rid),
      sender: this.userOf(message.u._id),
      createdAt: new Date(message.ts),
      updatedAt: new Date(message._updatedAt ?? message.ts),
      ...(document.editedAt !== undefined && { editedAt: document.editedAt }),
      attachments: document.attachments ?? [],
      _unmappedProperties_: bucketOf(document, NAMED),
    };
  }

  /** An `IRoom`. */
  roomOf(rid: string): Document {
    const room = this.workspace.room(rid) as unknown as Document;
    return {
      id: rid,
      displayName: room.fname ?? room.name,
      slugifiedName: room.name,
      type: room.t,
      creator: undefined,
      userIds: room.uids,
      _unmappedProperties_: bucketOf(room, new Set(['_id', 't', 'name', 'fname', 'u', 'uids'])),
    };
  }

  /** An `IUser`. */
  userOf(uid: string): Document {
    const { _id, username, name } = this.workspace.user(uid);
    return { id: _id, username, name, type: 'user', roles: [], isEnabled: true, emails: [] };
  }

  async #bridge(method: string, parameters: unknown[]): Promise<unknown> {
    const answer = this.#answers[method];
    return answer?.(...(parameters as never[]));
  }

  readonly #answers: Record<string, (...parameters: never[]) => unknown> = {
    'PersistenceBridge.createWithAssociations': (data: object, associations: object[]) =>
      this.persistence.persistence.createWithAssociations(data, associations),
    'PersistenceBridge.readByAssociations': ([association]: [object]) =>
      this.persistence.read.readByAssociation(association),
    'PersistenceBridge.updateByAssociations': (
      associations: object[],
      data: object,
      upsert: boolean,
    ) => this.persistence.persistence.updateByAssociations(associations, data, upsert),
    'PersistenceBridge.removeByAssociations': ([association]: [object]) =>
      this.persistence.persistence.removeByAssociation(association),

    'HttpBridge.call': async (info: {
      url: string;
      method: string;
      request: { headers?: Record<string, string>; content?: string; timeout?: number };
    }) => {
      const instead = this.http(info);
      if (instead !== undefined) return instead;
      const { headers = {}, content, timeout = 180_000 } = info.request;
      const get = info.method.toUpperCase() === 'GET';
      const response = await fetch(info.url, {
        method: info.method.toUpperCase(),
        headers,
        signal: AbortSignal.timeout(timeout),
        ...(!get && content !== undefined && { body: content }),
      });
      return {
        url: info.url,
        method: info.method,
        statusCode: response.status,
        headers: Object.fromEntries(response.headers),
        content: await response.text(),
      };
    },

    'UserBridge.getAppUser': () => this.userOf(this.appUser._id),
    'UserBridge.getById': (id: string) =>
      id === 'admin' ? { id: 'admin', username: 'admin' } : this.userOf(id),
    'UserBridge.create': () => this.appUser._id,
    'UserBridge.remove': () => true,

    'RoomBridge.create': () => 'direct room with who installed it',
    'RoomBridge.getById': (rid: string) =>
      rid.startsWith('direct room') ? { id: rid, type: 'd' } : this.roomOf(rid),
    'RoomBridge.getMessages': (rid: string, { limit = 100 }: { limit?: number } = {}) =>
      this.workspace
        .messagesIn(rid)
        .slice(-limit)
        .reverse()
        .map((message) => {
          const { room: _, sender, ...raw } = this.messageOf(message);
          const { id, username, name } = sender as Document;
          return { ...raw, roomId: rid, sender: { _id: id, username, name } };
        }),

    // As the server converts it: what the bucket holds is laid over what the app set.
    'MessageBridge.create': (message: {
      text?: string;
      threadId?: string;
      room: { id: string };
      sender: { id: string };
      _unmappedProperties_?: object;
    }) => {
      const { text = '', room, sender, threadId, _unmappedProperties_ } = message;
      if (room.id.startsWith('direct room')) {
        this.told.push(text);
        return 'message';
      }
      const user = { ...this.appUser, _id: sender.id };
      const draft = {
        rid: room.id,
        msg: text,
        ...(threadId !== undefined && { tmid: threadId }),
        ..._unmappedProperties_,
      };
      return this.workspace.addMessage(user, draft)._id;
    },
  };
}

/** A process that runs the app. */
export interface Instance {
  ask(method: string, parameters: unknown[]): Promise<unknown>;
  errors(): string;
  /** As servers do that know `IPostSystemMessageSent`. */
  deliver(message: Message): Promise<unknown>;
  /** As servers before them did. */
  deliverAsOlder(message: Message): Promise<unknown>;
}

function bucketOf(document: Document, named: ReadonlySet<string>): Document {
  return Object.fromEntries(Object.entries(document).filter(([member]) => !named.has(member)));
}
