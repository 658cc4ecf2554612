import type { Clock } from './clock';
import type { Random } from './random';
import { Settings, type SettingValue } from './settings';
import { BEHAVIOUR, type Behaviour, type Version } from './versions';

// The documents of section 1, as far as the workspace serves them.

export interface Document {
  _id: string;
  _updatedAt: Date;
}

export interface UserRef {
  _id: string;
  username: string;
  name?: string;
}

export interface LoginToken {
  hashedToken: string;
  when: Date;
  type?: 'personalAccessToken';
}

export interface User extends Document {
  username: string;
  name: string;
  type: 'user' | 'bot' | 'app';
  roles: string[];
  active: boolean;
  createdAt: Date;
  emails: { address: string; verified: boolean }[];
  services: { password?: { sha256: string }; resume: { loginTokens: LoginToken[] } };
  e2e?: { public_key: string; private_key: string };
  federated?: boolean;
}

export interface Waiting {
  userId: string;
  ts: Date;
}

export interface Room extends Document {
  t: 'p' | 'd' | 'c';
  name?: string;
  fname?: string;
  u: UserRef;
  ts: Date;
  msgs: number;
  usersCount: number;
  lm?: Date;
  lastMessage?: Message;
  encrypted?: boolean;
  e2eKeyId?: string;
  usersWaitingForE2EKeys?: Waiting[];
  uids?: string[];
  usernames?: string[];
  prid?: string;
  teamId?: string;
  topic?: string;
  broadcast?: boolean;
  ro?: boolean;
}

export interface OldRoomKey {
  e2eKeyId: string;
  ts: Date;
  E2EKey: string;
}

export interface Subscription extends Document {
  rid: string;
  t: Room['t'];
  u: UserRef;
  name: string;
  fname: string;
  ts: Date;
  open: boolean;
  alert: boolean;
  unread: number;
  userMentions: number;
  groupMentions: number;
  roles?: string[];
  prid?: string;
  autoTranslate?: boolean;
  E2EKey?: string;
  E2ESuggestedKey?: string;
  oldRoomKeys?: OldRoomKey[];
  suggestedOldRoomKeys?: OldRoomKey[];
}

export interface MessageFile {
  _id: string;
  name: string;
  type: string;
  size: number;
  format: string;
}

export interface Message extends Document {
  rid: string;
  msg: string;
  ts: Date;
  u: UserRef;
  t?: string;
  e2e?: string;
  content?: unknown;
  e2eMentions?: { e2eUserMentions?: string[]; e2eChannelMentions?: string[] };
  tmid?: string;
  tshow?: boolean;
  tcount?: number;
  tlm?: Date;
  replies?: string[];
  drid?: string;
  alias?: string;
  avatar?: string;
  emoji?: string;
  attachments?: Record<string, unknown>[];
  blocks?: unknown[];
  customFields?: unknown;
  file?: MessageFile;
  files?: MessageFile[];
  mentions?: Record<string, unknown>[];
  channels?: Record<string, unknown>[];
  urls?: unknown[];
  md?: unknown[];
  groupable?: boolean;
  unread?: boolean;
  pinned?: boolean;
  pinnedAt?: Date;
  pinnedBy?: UserRef;
  editedAt?: Date;
  editedBy?: UserRef;
}

export interface Upload extends Document {
  name: string;
  size: number;
  type: string;
  rid: string;
  userId: string;
  uploadedAt: Date;
  path: string;
  description?: string;
  content?: unknown;
  /** Set until the upload is confirmed (5.5). */
  expiresAt?: Date;
}

export type Trashed<T> = T & { _deletedAt: Date };

/** One MongoDB collection: keeps `_updatedAt`, and what was removed, in the trash. */
export class Collection<T extends Document> {
  private readonly documents = new Map<string, T>();
  private readonly indexes = new Map<string, Map<string, Set<T>>>();
  readonly trash: Trashed<T>[] = [];

  /** `indexed`: keys that never change during a document's life. */
  constructor(
    private readonly clock: Clock,
    private readonly indexed: Readonly<Record<string, (document: T) => string>> = {},
  ) {
    for (const name of Object.keys(indexed)) this.indexes.set(name, new Map());
  }

  insert(document: Omit<T, '_updatedAt'>): T {
    const stored = { ...document, _updatedAt: this.now() } as T;
    this.documents.set(stored._id, stored);
    for (const [name, keyOf] of Object.entries(this.indexed)) {
      const index = this.indexes.get(name);
      const key = keyOf(stored);
      const bucket = index?.get(key);
      if (bucket) bucket.add(stored);
      else index?.set(key, new Set([stored]));
    }
    return stored;
  }

  /** Changes a stored document in place. */
  update(document: T, change: (document: T) => void): T {
    change(document);
    document._updatedAt = this.now();
    return document;
  }

  remove(document: T): void {
    this.documents.delete(document._id);
    for (const [name, keyOf] of Object.entries(this.indexed)) {
      this.indexes.get(name)?.get(keyOf(document))?.delete(document);
    }
    this.trash.push({ ...document, _deletedAt: this.now() });
  }

  get(id: string): T | undefined {
    return this.documents.get(id);
  }

  all(): T[] {
    return [...this.documents.values()];
  }

  by(index: string, key: string): T[] {
    return [...(this.indexes.get(index)?.get(key) ?? [])];
  }

  private now(): Date {
    return new Date(this.clock.now());
  }
}

/** Everything the workspace stores: survives its restart. */
export class Store {
  readonly behaviour: Behaviour;
  readonly settings: Settings;
  readonly users: Collection<User>;
  readonly rooms: Collection<Room>;
  readonly subscriptions: Collection<Subscription>;
  readonly messages: Collection<Message>;
  readonly uploads: Collection<Upload>;
  readonly blobs = new Map<string, Buffer>();

  constructor(
    readonly clock: Clock,
    readonly random: Random,
    version: Version,
    settings: Readonly<Record<string, SettingValue>>,
  ) {
    this.behaviour = BEHAVIOUR[version];
    this.settings = new Settings(this.behaviour, settings);
    this.users = new Collection(clock, { username: (user) => user.username });
    this.rooms = new Collection(clock, { name: (room) => room.name ?? '' });
    this.subscriptions = new Collection(clock, {
      rid: (sub) => sub.rid,
      uid: (sub) => sub.u._id,
      both: (sub) => `${sub.rid} ${sub.u._id}`,
    });
    this.messages = new Collection(clock, { rid: (message) => message.rid });
    this.uploads = new Collection(clock, { rid: (upload) => upload.rid });
  }

  now(): Date {
    return new Date(this.clock.now());
  }

  userNamed(username: string): User | undefined {
    return this.users.by('username', username)[0];
  }

  roomNamed(name: string | undefined): Room | undefined {
    return name === undefined ? undefined : this.rooms.by('name', name)[0];
  }

  membersOf(rid: string): Subscription[] {
    return this.subscriptions.by('rid', rid);
  }

  subscription(rid: string, uid: string): Subscription | undefined {
    return this.subscriptions.by('both', `${rid} ${uid}`)[0];
  }
}

export function refOf({ _id, username, name }: User): UserRef {
  return { _id, username, name };
}
