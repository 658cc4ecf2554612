import { EventEmitter } from 'events';
import { Readable, promises as streams } from 'stream';
import type { Participant as NativeParticipant } from '../binding';
import { fromEjson, toEjson, toJson, withoutNulls } from './ejson';
import { E2eeError, type E2eeErrorCode, expectText, guard, guardAsync, hasCode } from './errors';
import {
  decryptFileStream,
  type EncryptedFile,
  encryptFile,
  encryptFileStream,
  type FileEncryptStream,
} from './file';
import { within } from './lifetime';
import { callListeners } from './listeners';
import type { EncryptedContent, MessageAttachment, MessageContent } from './message';
import { native } from './native';
import { type OtrRequest, type OtrSession, OtrSessions } from './otr';
import type { CreatedRoom, NewEncryptedRoom, RoomEncryption } from './room-encryption';
import type { Claim, RecordStore } from './store';
import { coreOf } from './vault';
import type { Workspace, WorkspaceEvent, WorkspaceForm } from './workspace';

/** How a {@link Participant} is set up. */
export interface ParticipantOptions {
  /** Names the app or bot, for the audit trail. */
  appId: string;
  workspace: Workspace;
  store: RecordStore;
  /** The account's E2EE password; made, and told once by the event `passphrase`, when absent. */
  passphrase?: string;
  /** The rooms that are authorised from the start; `all` for every encrypted room it is in. */
  rooms: readonly string[] | 'all';
  /** Whether members who wait for a key are served; they are unless this is false. */
  distributeKeys?: boolean;
}

/** A message to send. What stands in `mentions` travels in clear, so that people are notified. */
export interface OutgoingMessage {
  msg: string;
  attachments?: MessageAttachment[];
  /** The message whose thread this belongs to. */
  threadId?: string;
  /** Users to notify, with their sigil: `@bob`, `@all`. */
  mentions?: readonly string[];
  /** Channels to link, with their sigil: `#general`. */
  channelMentions?: readonly string[];
  /** How long it may wait for its key or a connection, in milliseconds; ten minutes by default. */
  deadline?: number;
}

/** A file to send. */
export interface OutgoingFile {
  /** Its real name, which only readers see. */
  name: string;
  /** Its media type, which only readers see. */
  type?: string;
  data: Uint8Array | Readable;
  /** Of an image, in pixels, so that readers can leave the room for it. */
  dimensions?: { width: number; height: number };
  /** A text to go with it. */
  msg?: string;
  /** The message whose thread this belongs to. */
  threadId?: string;
}

/** For {@link Participant.resetIdentity}. */
export interface IdentityReset {
  /**
   * The second factor that the server demands. `method`: `totp`, `email`, or `password` for an account
   * without an authenticator; `code`: its code, or the SHA-256 of the password in hexadecimal.
   */
  twoFactor: { method: string; code: string };
  /** The new passphrase; made, and told once by the event `passphrase`, when absent. */
  passphrase?: string;
}

/** What {@link Participant.importKeys} took. */
export interface ImportReport {
  /** Keys that were not held before. */
  keys: number;
  /** Rooms of the bundle that are not authorised here. */
  skippedRooms: number;
}

/** A message that was sent. */
export interface SentMessage {
  roomId: string;
  messageId: string;
  /** The key that it was encrypted under. */
  keyId: string;
}

/** A message that was decrypted. */
export interface DecryptedMessage {
  roomId: string;
  messageId: string;
  /** The sender, as the server says. */
  userId: string;
  username?: string;
  threadId?: string;
  /** The id of the key that it was encrypted under. */
  keyId: string;
  /** The message as the server has it, with the decrypted content laid over. */
  document: MessageContent & Record<string, unknown>;
}

/** What of a message document says that it is encrypted, and what it says. */
export interface EncryptedMessage {
  t: 'e2e';
  e2e: 'pending';
  content: EncryptedContent;
  e2eMentions: { e2eUserMentions: string[]; e2eChannelMentions: string[] };
  tmid?: string;
}

/** A room key that is held. */
export interface RoomKeyInfo {
  keyId: string;
  /** How it came; `offered`: made here for a room that took another one. */
  source: 'created' | 'offered' | 'accepted' | 'subscription' | 'old' | 'reset' | 'imported';
  /** Milliseconds since 1970, when it was first held here. */
  since: number;
  /**
   * Messages and files that were encrypted under it by all processes that share the store. Counted
   * in blocks of 1,024: one that a process has begun counts in full in the others, and after a kill.
   */
  messages: number;
  /** Whether new messages are encrypted under it. */
  current: boolean;
}

/** A message that another one quotes, as Rocket.Chat's clients show it. */
export interface Quote {
  /** The link in the message that quotes it. */
  message_link: string;
  /** The author's username, as the server says. */
  author_name: string;
  /** Path of the author's picture. */
  author_icon: string;
  /** Decrypted. */
  text: string;
  /** When it was written, as the server has it. */
  ts: unknown;
  /** What it quotes itself, then its own attachments. */
  attachments: MessageAttachment[];
}

/** A room key, wrapped for this account's identity. */
export interface EncryptedRoomKey {
  roomId: string;
  keyId: string;
  /** The key id, then 344 characters of base64. */
  key: string;
}

/** The events of a {@link Participant}, and what they carry. */
export interface ParticipantEvents {
  message: DecryptedMessage;
  undecryptable: { roomId: string; messageId: string; error: E2eeError };
  roomKey: { roomId: string; keyId: string };
  roomKeyRotated: { roomId: string; keyId: string };
  /**
   * A key has encrypted 2^30 messages here, a quarter of what random nonces allow: reset it. At
   * 2^32 sends fail with `ERR_E2EE_KEY_BUDGET`. What other members encrypt is not counted.
   */
  keyBudget: { roomId: string; keyId: string; messages: number; limit: number };
  keyRequested: { roomId: string };
  keyDistributed: { roomId: string; userId: string };
  identityCreated: { fingerprint: string };
  passphrase: { passphrase: string };
  identityRotated: { fingerprint: string };
  identityRevoked: Record<string, never>;
  publicKeyChanged: { userId: string; pinned: string; seen: string };
  roomAuthorized: { roomId: string };
  roomDeauthorized: { roomId: string };
  /** Somebody has switched the encryption of an authorised room on or off. */
  roomEncryption: { roomId: string; encrypted: boolean };
  /** Somebody asks for an off-the-record session; without a listener, it times out. */
  otrRequest: OtrRequest;
  disconnected: { reason: string };
  error: { roomId: string; error: E2eeError };
}

/** How often the lists of rooms and subscriptions are read, in milliseconds. */
const POLL = 15_000;
/** The same where the realtime streams tell of changes: a safety net. */
const SAFETY_NET = 5 * 60_000;

/** How many messages are decrypted at once: few enough not to hold up the event loop. */
const BATCH = 500;
/** How long closing waits for what is under way. */
const GRACE_MS = 1000;
/** A longer timer would fire at once. */
const MAX_TIMER = 2 ** 31 - 1;

/** What the core wants done; its `effect` names it. */
type Effect = { id: number } & (
  | {
      effect: 'request';
      method: 'GET' | 'POST';
      path: string;
      query?: Query;
      body?: unknown;
      once?: boolean;
    }
  | { effect: 'call'; name: string; params: unknown[] }
  | { effect: 'load'; prefix: string }
  | {
      effect: 'commit';
      changes: { name: string; expected: number; data: string | null }[];
      claims: Claim[];
    }
  | { effect: 'claim'; name: string; ttl: number }
  | { effect: 'generateKeyPair' }
  | { effect: 'sleep'; ms: number }
);
type Told =
  | { effect: 'emit'; event: 'otr'; data: Parameters<OtrSessions['tell']>[0] }
  | { effect: 'emit'; event: keyof ParticipantEvents; data: never }
  | ({ effect: 'done'; command: number } & Outcome);
type Query = Record<string, string | string[]>;
type Outcome = { ok: unknown } | { error: Failure };

interface Failure {
  code: E2eeErrorCode;
  message: string;
  status?: number;
  errorType?: string;
}

interface Caller {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/**
 * An account that takes part in encrypted rooms: it has an identity, receives and serves room
 * keys, reads messages and answers.
 *
 * It is an emitter of {@link ParticipantEvents}, and an async iterable of messages. An `error`
 * event that nobody listens to is dropped: it never ends the process.
 *
 * Listeners may be asynchronous. An {@link E2eeError} that one throws, or rejects with, is told by the
 * event `error`, where that has a listener; anything else is uncaught, as everywhere. Neither keeps
 * anything from other listeners, nor ends what is under way.
 */
export class Participant extends EventEmitter {
  readonly #core: NativeParticipant;
  readonly #workspace: Workspace;
  readonly #store: RecordStore;
  readonly #callers = new Map<number, Caller>();
  readonly #sleeps = new Set<NodeJS.Timeout>();
  /** Events of the time before anybody could listen. */
  #early: (() => void)[] | undefined = [];
  /** JSON texts, for the next step. */
  #inputs: string[] = [];
  #stepping = false;
  /** Effects that are not answered yet, without those that only wait. */
  #underWay = 0;
  #settling: (() => void)[] = [];
  #commands = 0;
  #poll: NodeJS.Timeout | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;
  readonly #otr = new OtrSessions({
    check: () => this.#expectRealtime(),
    command: (command) => this.#command(command),
    request: (request) => this.#emit('otrRequest', request),
    failed: (roomId, error) => this.#listenerFailed(roomId, error),
  });

  /**
   * Opens the store, and settles the account's identity with the server: unlocked, adopted, or
   * made and published.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_WRONG_PASSPHRASE`,
   * `ERR_E2EE_IDENTITY_REVOKED`, `ERR_E2EE_WORKSPACE`, or a code of the store.
   */
  static async open(options: ParticipantOptions): Promise<Participant> {
    return Participant.#open(options, { command: 'open' });
  }

  static async #open(options: ParticipantOptions, command: object): Promise<Participant> {
    await options.workspace.login?.();
    const participant = new Participant(options);
    try {
      await participant.#command(command);
    } catch (error) {
      participant.#stop();
      throw error;
    }
    setTimeout(() => {
      const early = participant.#early ?? [];
      participant.#early = undefined;
      for (const tell of early) tell();
    }, 0);
    return participant;
  }

  /**
   * As {@link Participant.open}, for an account whose passphrase is lost: its key pair is given up
   * first, with all that {@link Participant.resetIdentity} says. The passphrase of the options is not
   * used.
   *
   * @throws E2eeError (rejects) as both.
   */
  static async reset(options: ParticipantOptions, reset: IdentityReset): Promise<Participant> {
    return Participant.#open(options, { command: 'resetIdentity', ...reset });
  }

  private constructor(options: ParticipantOptions) {
    super();
    const { appId, workspace, store, passphrase, rooms, distributeKeys } = options;
    this.#workspace = workspace;
    this.#store = store;
    const core = { appId, userId: workspace.userId, passphrase, rooms, distributeKeys };
    this.#core = guard(() => new native.Participant(coreOf(store.vault), JSON.stringify(core)));
    this.on('newListener', (event) => {
      if (event === 'passphrase') setTimeout(() => this.#tellPassphrase(), 0);
    });
  }

  /** Keeps in step from here on: by the realtime streams where there are any, and by polling. */
  async start(): Promise<void> {
    this.#expectOpen();
    if (this.#poll !== undefined) return;
    const realtime = this.#workspace.subscribe !== undefined;
    this.#pollAfter(realtime ? SAFETY_NET : POLL);
    await this.#workspace.subscribe?.((event) => this.#see(event));
    await this.sync();
    if (this.#workspace.watchRoom) {
      const watch = (id: string) => this.#workspace.watchRoom?.(id).catch(() => undefined);
      for (const id of await this.authorizedRooms()) watch(id);
      this.on('roomAuthorized', ({ roomId }) => watch(roomId));
    }
  }

  /** One full round by hand: keys, rooms, suggestions, waiting members, outbox, messages. */
  async sync(): Promise<void> {
    await this.#command({ command: 'sync' });
  }

  /**
   * Ends everything: off-the-record sessions, timers, connections, the store. What is under way may
   * end by itself within a second; calls that have not reject with `ERR_E2EE_CLOSED` then, and what
   * they were to send waits in the store.
   */
  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    clearTimeout(this.#poll);
    await this.#otr.end();
    await within(GRACE_MS, this.settled());
    this.#stop();
    this.#emit('close', {});
    await this.#workspace.close();
    await this.#store.close();
  }

  /** Sends a message; resolves when the server has it. */
  async sendEncryptedMessage(
    roomId: string,
    message: string | OutgoingMessage,
  ): Promise<SentMessage> {
    const command = { command: 'send', roomId, message: outgoing(message) };
    return (await this.#command(command)) as SentMessage;
  }

  /** Replaces the content of a message that this account has sent. */
  async editEncryptedMessage(
    roomId: string,
    messageId: string,
    message: string | OutgoingMessage,
  ): Promise<void> {
    await this.#command({ command: 'edit', roomId, messageId, message: outgoing(message) });
  }

  /** Encrypts a file, uploads it and announces it; of any size, in constant memory. */
  async sendEncryptedFile(roomId: string, file: OutgoingFile): Promise<SentMessage> {
    const { name, type = 'application/octet-stream', data, dimensions, msg = '', threadId } = file;
    const whole = data instanceof Readable ? undefined : await encryptFile(data, name);
    const encrypted = whole ?? encryptFileStream(name);
    const { content } = (await this.#command({
      command: 'prepareUpload',
      roomId,
      file: {
        name,
        mimeType: type,
        encryption: encrypted.encryption,
        sha256: whole?.hashes.sha256,
      },
    })) as { content?: string };
    let size = 0;
    const send = (form: Pick<WorkspaceForm, 'file' | 'size'>) =>
      this.#workspace.request({
        method: 'POST',
        path: `rooms.media/${encodeURIComponent(roomId)}`,
        form: { ...form, fileName: encrypted.name ?? 'file', ...(content && { content }) },
      });
    let body: unknown;
    if (data instanceof Readable) {
      const stream = encrypted as FileEncryptStream;
      data.on('data', (chunk: Uint8Array) => {
        size += chunk.length;
      });
      [{ body }] = await Promise.all([send({ file: stream }), streams.pipeline(data, stream)]);
    } else {
      size = data.length;
      ({ body } = await send({ file: (encrypted as EncryptedFile).data, size }));
    }
    const uploaded = (body as { file?: { _id?: unknown; url?: unknown } }).file;
    const announced = {
      id: uploaded?._id,
      url: uploaded?.url,
      name,
      mimeType: type,
      size,
      encryption: encrypted.encryption,
      sha256: encrypted.hashes.sha256,
      dimensions,
      msg,
      threadId,
    };
    return (await this.#command({ command: 'announce', roomId, file: announced })) as SentMessage;
  }

  /**
   * Downloads and decrypts a file of a message. The stream fails with `ERR_E2EE_DECRYPTION_FAILED`
   * at its end where the bytes are not what the sender hashed: do not act on them before.
   *
   * @param index - which of the message's attachments; the first unless told otherwise
   */
  async downloadFile(message: DecryptedMessage, index = 0): Promise<Readable> {
    const attachment = message.document.attachments?.[index];
    const { encryption, hashes, title_link } = attachment ?? {};
    if (!encryption || !hashes || typeof title_link !== 'string') {
      throw new E2eeError('ERR_E2EE_INVALID_ARGUMENT', 'this attachment is not an encrypted file');
    }
    const decrypted = decryptFileStream({ encryption, hashes });
    const source = await this.#workspace.download(title_link);
    // Where either fails, both end; who reads sees the error.
    streams.pipeline(source, decrypted).catch(() => undefined);
    return decrypted;
  }

  /** Decrypts a message of an authorised room, as REST, DDP or the database has it. */
  async decryptMessage(message: object): Promise<DecryptedMessage> {
    const [result] = await this.decryptMessages([message]);
    if (result === undefined || result instanceof E2eeError) throw result;
    return result;
  }

  /**
   * Takes a message that the application was brought, by a webhook or by a hook of an app, as if
   * the workspace had told of it: where it is encrypted, in an authorised room and somebody else's,
   * the event `message` tells it, once among all that share the store; or `undecryptable`.
   *
   * @param message - as REST, DDP or the database has it
   * @param roomKeyId - the room's `e2eKeyId`, where the application was told: where it is another
   * than the one known, the room is read anew
   * @returns when it was told, or is known not to be told here
   * @throws E2eeError (rejects) with a code of the store or the workspace.
   */
  async receiveMessage(message: object, roomKeyId?: string): Promise<void> {
    await this.#command({ command: 'receive', message, keyId: roomKeyId });
  }

  /**
   * Encrypts a message for a way to the room of the application's own. It passes by the outbox:
   * without a usable key it rejects with `ERR_E2EE_NO_ROOM_KEY`.
   *
   * @returns members of a message document: `t`, `e2e`, `content`, `e2eMentions`, and `tmid` in a
   * thread
   */
  async encryptMessage(
    roomId: string,
    message: string | OutgoingMessage,
  ): Promise<EncryptedMessage> {
    const command = { command: 'encrypt', roomId, message: outgoing(message) };
    return (await this.#command(command)) as EncryptedMessage;
  }

  /** Decrypts many; one that cannot be read does not keep the others from being read. */
  async decryptMessages(messages: Iterable<object>): Promise<(DecryptedMessage | E2eeError)[]> {
    const all = [...messages];
    const results: (DecryptedMessage | E2eeError)[] = [];
    let batch = this.#decryptBatch(all.slice(0, BATCH));
    for (let next = BATCH; ; next += BATCH) {
      const outcomes = await batch;
      const more = next < all.length;
      // It is under way while this one is read.
      if (more) batch = this.#decryptBatch(all.slice(next, next + BATCH));
      for (const [result, message] of outcomes) {
        results.push(typeof result === 'string' ? new E2eeError(result, String(message)) : result);
      }
      if (!more) return results;
    }
  }

  #decryptBatch(messages: object[]): Promise<[DecryptedMessage | E2eeErrorCode, string?][]> {
    const outcomes = this.#command({ command: 'decrypt', messages });
    // Whoever waits for it is told; until then nobody needs to be.
    outcomes.catch(() => undefined);
    return outcomes as Promise<[DecryptedMessage | E2eeErrorCode, string?][]>;
  }

  /**
   * The messages that a message quotes, and what those quote, as deep as the workspace allows
   * (`Message_QuoteChainLimit`, 2 unless it was changed) and 20 in all. They are fetched and
   * decrypted; left out is what is gone, not to be read, in a room that is not authorised, or a
   * loop.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_ROOM_NOT_AUTHORIZED`, or `ERR_E2EE_WORKSPACE`
   * where the server gives no answer.
   *
   * Protocol: §6.
   */
  async resolveQuotes(message: DecryptedMessage): Promise<Quote[]> {
    const document = JSON.parse(toEjson(message.document));
    return (await this.#command({ command: 'resolveQuotes', document })) as Quote[];
  }

  /** A key of the room, the current one unless `keyId` names another, wrapped for this identity. */
  async getEncryptedRoomKey(roomId: string, keyId?: string): Promise<EncryptedRoomKey> {
    const command = { command: 'getEncryptedRoomKey', roomId, keyId };
    return (await this.#command(command)) as EncryptedRoomKey;
  }

  /** Every key of the room that is held, without the keys themselves. */
  async getRoomKeyHistory(roomId: string): Promise<RoomKeyInfo[]> {
    return (await this.#command({ command: 'getRoomKeyHistory', roomId })) as RoomKeyInfo[];
  }

  /** Makes the room's first key where it has none, and gives it to its members. */
  async createRoomKey(roomId: string): Promise<void> {
    await this.#command({ command: 'createRoomKey', roomId });
  }

  /** Makes a new key for the room; the server retires the old one. */
  async resetRoomKey(roomId: string): Promise<void> {
    await this.#command({ command: 'resetRoomKey', roomId });
  }

  /** Asks the room's members for its key. */
  async requestRoomKey(roomId: string): Promise<void> {
    await this.#command({ command: 'requestRoomKey', roomId });
  }

  /** Serves members who wait for keys, in one room or in all. */
  async distributeRoomKeys(roomId?: string): Promise<void> {
    await this.#command({ command: 'distributeRoomKeys', roomId });
  }

  /**
   * Makes an encrypted room, authorises it, makes its key and gives it to the members.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_ROOM_NOT_ENCRYPTABLE` for a discussion in a public
   * channel, or `ERR_E2EE_WORKSPACE` when the server refuses; `errorType` says why.
   */
  async createEncryptedRoom(room: NewEncryptedRoom): Promise<CreatedRoom> {
    return withoutNulls(
      (await this.#command({ command: 'createEncryptedRoom', room })) as CreatedRoom,
    );
  }

  /**
   * Switches the encryption of an authorised room on or off. Keys stay as they are, here and with the
   * server: a room that is switched on again goes on with the key that it had.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_ROOM_NOT_ENCRYPTABLE`, or `ERR_E2EE_WORKSPACE` with
   * `errorType` `error-action-not-allowed` (in a channel it takes the permission
   * `toggle-room-e2e-encryption`, which owners have) or `error-encrypted-private-rooms-enforced`.
   */
  async setRoomEncryption(roomId: string, encrypted: boolean): Promise<void> {
    await this.#command({ command: 'setRoomEncryption', roomId, encrypted });
  }

  /** What is known of an authorised room's encryption, asked anew. */
  async roomEncryption(roomId: string): Promise<RoomEncryption> {
    return withoutNulls(
      (await this.#command({ command: 'roomEncryption', roomId })) as RoomEncryption,
    );
  }

  /** Lets the participant read, send and serve in this room. */
  async authorizeRoom(roomId: string): Promise<void> {
    await this.#command({ command: 'authorizeRoom', roomId });
  }

  /** Ends that, and forgets the room's keys. */
  async deauthorizeRoom(roomId: string): Promise<void> {
    await this.#command({ command: 'deauthorizeRoom', roomId });
  }

  /**
   * The off-the-record session of a direct message: always the same object for the same room. The
   * room must be authorised, and the participant started. Servers from 8.0 on have no such sessions.
   */
  otr(roomId: string): OtrSession {
    return this.#otr.of(expectText(roomId, 'roomId', 'ERR_E2EE_INVALID_ARGUMENT'));
  }

  /** The ids of the authorised rooms. */
  async authorizedRooms(): Promise<string[]> {
    return (await this.#command({ command: 'authorizedRooms' })) as string[];
  }

  /** Seals the private key with another passphrase, here and with the server. */
  async changePassphrase(next: string): Promise<void> {
    await this.#command({ command: 'changePassphrase', next });
  }

  /**
   * Makes a new key pair in place of the present one, under the same passphrase. Room keys that
   * are held stay readable; the others are asked for again.
   */
  async rotateIdentity(): Promise<void> {
    await this.#command({ command: 'rotateIdentity' });
  }

  /**
   * Gives up the account's key pair and makes another, for an account whose passphrase is lost. As
   * long as this participant is open, {@link Participant.changePassphrase} is enough; where it cannot
   * be opened for want of the passphrase, {@link Participant.reset} does the same.
   *
   * What it costs, and cannot be undone:
   * - every login token of the account is deleted, personal access tokens too: only a workspace with a
   *   password goes on by itself;
   * - the server forgets the account's room keys. Rooms whose keys this participant's store holds stay
   *   readable; all others are unreadable until a member of each suggests its key again, and what was
   *   said under older keys, until that member suggests those too;
   * - other participants have pinned the key pair, and serve the new one after somebody trusts it.
   *
   * The new passphrase is told by the event `passphrase`, once, unless it is given. The code serves
   * once.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_WORKSPACE` when the server refuses; its `errorType`
   * is `totp-required` or `totp-invalid` where the second factor is wrong, and nothing was changed.
   */
  async resetIdentity(reset: IdentityReset): Promise<void> {
    await this.#command({ command: 'resetIdentity', ...reset });
  }

  /** Every room key that is held, sealed with a passphrase: a text to be kept or carried. */
  async exportKeys(passphrase: string): Promise<string> {
    return (await this.#command({ command: 'exportKeys', passphrase })) as string;
  }

  /** Takes the keys of authorised rooms from what {@link Participant.exportKeys} gave. */
  async importKeys(bundle: string, passphrase: string): Promise<ImportReport> {
    return (await this.#command({ command: 'importKeys', bundle, passphrase })) as ImportReport;
  }

  /** Forgets the private key for good: every later call fails with `ERR_E2EE_IDENTITY_REVOKED`. */
  async revokeIdentity(): Promise<void> {
    await this.#command({ command: 'revokeIdentity' });
  }

  /**
   * The account and its rooms, as the server has them now. Changes nothing: no key is accepted,
   * made or given, no message is read or sent.
   */
  async status(): Promise<ParticipantStatus> {
    return (await this.#command({ command: 'status' })) as ParticipantStatus;
  }

  /**
   * What was read, sent, given and to whom, oldest first: never content. Only what fits the filter
   * is held in memory.
   *
   * @throws E2eeError (rejects) with `ERR_E2EE_INVALID_ARGUMENT`, or a code of the store.
   */
  async auditTrail(filter: AuditFilter = {}): Promise<AuditEntry[]> {
    return (await this.#command({ command: 'auditTrail', filter })) as AuditEntry[];
  }

  /** Public keys of other people, as this participant has seen and trusts them. */
  readonly trust = {
    /** A user's pinned fingerprint, if any; without a user, this account's own. */
    fingerprint: async (userId?: string): Promise<string | undefined> =>
      ((await this.#command({ command: 'fingerprint', userId })) as string | null) ?? undefined,
    /** Trusts a fingerprint that somebody has compared. */
    pin: async (userId: string, fingerprint: string): Promise<void> => {
      await this.#command({ command: 'pin', userId, fingerprint });
    },
    /** Every pin, by user. */
    list: async (): Promise<Record<string, TrustedKey>> =>
      (await this.#command({ command: 'pins' })) as Record<string, TrustedKey>,
  };

  /**
   * The messages that arrive from now on, until the participant is closed.
   *
   * @throws E2eeError (the iteration rejects) when no more can come: with code
   * `ERR_E2EE_IDENTITY_REVOKED`, or with `ERR_E2EE_WORKSPACE` and status 401 where the login is not valid
   * any more. What passes is told by the event `error` alone.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<DecryptedMessage> {
    const messages = new Readable({ objectMode: true, read: () => undefined });
    const push = (message: DecryptedMessage) => messages.push(message);
    const fail = ({ error }: ParticipantEvents['error']) => {
      if (error.status === 401 || error.code === 'ERR_E2EE_IDENTITY_REVOKED') {
        messages.destroy(error);
      }
    };
    const end = () => messages.push(null);
    this.on('message', push).on('error', fail).on('close', end);
    try {
      for await (const message of messages) yield message as DecryptedMessage;
    } finally {
      this.off('message', push).off('error', fail).off('close', end);
    }
  }

  #expectOpen(): void {
    if (this.#closed) throw new E2eeError('ERR_E2EE_CLOSED', 'the participant is closed');
  }

  /** Off-the-record events come over the realtime streams alone. */
  #expectRealtime(): void {
    this.#expectOpen();
    if (!this.#workspace.callMethod || !this.#workspace.subscribe) {
      const message = 'off-the-record sessions need a realtime connection';
      throw new E2eeError('ERR_E2EE_OTR_UNAVAILABLE', message);
    }
    if (this.#poll === undefined) {
      throw new E2eeError('ERR_E2EE_INVALID_ARGUMENT', 'start() the participant first');
    }
  }

  #command(command: object): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#expectOpen();
      const id = ++this.#commands;
      const input = toJson({ input: 'command', id, command }, 'an argument');
      this.#callers.set(id, { resolve, reject });
      this.#input(input);
    });
  }

  #see(event: WorkspaceEvent): void {
    if (this.#closing) return;
    this.#input(JSON.stringify({ input: 'event', event }));
    // The workspace has ended its watch when the account left the room.
    if (event.type === 'subscription' && event.action === 'inserted') {
      const { rid } = event.subscription as { rid?: unknown };
      if (typeof rid === 'string') void this.#watchAgain(rid);
    }
    // For good: nothing will connect again by itself.
    if (event.type === 'disconnected' && event.error) {
      this.#emit('error', { roomId: '', error: event.error });
    }
  }

  async #watchAgain(roomId: string): Promise<void> {
    const authorized = await this.authorizedRooms().catch((): string[] => []);
    if (!authorized.includes(roomId)) return;
    await this.#workspace.watchRoom?.(roomId).catch(() => undefined);
  }

  #input(input: string): void {
    this.#inputs.push(input);
    if (!this.#stepping) void this.#steps();
  }

  /** Steps of the core, one after the other, while there is something to bring. */
  async #steps(): Promise<void> {
    this.#stepping = true;
    try {
      while (this.#inputs.length > 0 && !this.#closed) {
        const inputs = `[${this.#inputs.splice(0).join()}]`;
        const effects = await guardAsync(() => this.#core.step(Date.now(), inputs));
        for (const effect of fromEjson(effects) as (Effect | Told)[]) this.#carryOut(effect);
      }
    } catch (error) {
      for (const { reject } of this.#callers.values()) reject(error);
      this.#callers.clear();
    } finally {
      this.#stepping = false;
      this.#tellSettled();
    }
  }

  /**
   * Resolves when nothing is under way but waiting: what a round has set going goes on after it.
   *
   * @internal
   */
  async settled(): Promise<void> {
    if (this.#underWay === 0 && !this.#stepping) return;
    await new Promise<void>((resolve) => this.#settling.push(resolve));
  }

  #tellSettled(): void {
    if (this.#underWay > 0 && !this.#closed) return;
    for (const resolve of this.#settling.splice(0)) resolve();
  }

  #carryOut(effect: Effect | Told): void {
    switch (effect.effect) {
      case 'emit':
        if (effect.event === 'otr') this.#otr.tell(effect.data);
        else this.#tell(effect.event, effect.data);
        return;
      case 'done': {
        const caller = this.#callers.get(effect.command);
        this.#callers.delete(effect.command);
        if ('ok' in effect) caller?.resolve(effect.ok);
        else caller?.reject(errorOf(effect.error));
        return;
      }
      default: {
        const counts = effect.effect === 'sleep' ? 0 : 1;
        this.#underWay += counts;
        const bring = (outcome: object) => {
          this.#underWay -= counts;
          this.#bring({ input: 'answer', id: effect.id, ...outcome });
        };
        this.#answer(effect).then(
          (ok) => bring({ ok: ok ?? null }),
          (error) => bring({ error: failureOf(error) }),
        );
      }
    }
  }

  #bring(input: object): void {
    if (!this.#closed) this.#input(JSON.stringify(input));
  }

  async #answer(effect: Effect): Promise<unknown> {
    switch (effect.effect) {
      case 'request': {
        const { effect: _effect, id: _id, ...request } = effect;
        return (await this.#workspace.request(request)).body;
      }
      case 'call':
        if (!this.#workspace.callMethod) {
          throw new E2eeError('ERR_E2EE_WORKSPACE', 'this workspace has no DDP connection');
        }
        return this.#workspace.callMethod(effect.name, effect.params);
      case 'load':
        return (await this.#store.load(effect.prefix)).map(({ name, version, data }) => ({
          name,
          version,
          data: Buffer.from(data).toString('base64'),
        }));
      case 'commit':
        return this.#store.commit(
          effect.changes.map(({ name, expected, data }) => ({
            name,
            expected,
            data: data === null ? null : Buffer.from(data, 'base64'),
          })),
          effect.claims,
        );
      case 'claim':
        return this.#store.claim(effect.name, effect.ttl);
      case 'generateKeyPair':
        return guardAsync(() => this.#core.generateKeyPair(effect.id));
      case 'sleep':
        return new Promise<void>((resolve) => {
          const timer = setTimeout(
            () => {
              this.#sleeps.delete(timer);
              resolve();
            },
            Math.min(effect.ms, MAX_TIMER),
          );
          // Waiting alone must not keep a process alive. Some hosts' timers are numbers.
          timer.unref?.();
          this.#sleeps.add(timer);
        });
    }
  }

  #tell<E extends keyof ParticipantEvents>(event: E, data: ParticipantEvents[E]): void {
    const carried =
      'error' in data ? { ...data, error: errorOf(data.error as unknown as Failure) } : data;
    const tell = () => {
      if (event === 'passphrase') {
        this.#untold = data as ParticipantEvents['passphrase'];
        this.#tellPassphrase();
      } else {
        this.#emit(event, carried);
      }
    };
    if (this.#early) this.#early.push(tell);
    else tell();
  }

  #emit(event: string, data: object): void {
    callListeners(this, event, data, (error) => {
      if (event === 'error') uncaught(error);
      else this.#listenerFailed('roomId' in data ? String(data.roomId) : '', error);
    });
  }

  #listenerFailed(roomId: string, error: unknown): void {
    // What a listener was at when the participant was closed, ended with it.
    if (hasCode(error) && error.code === 'ERR_E2EE_CLOSED' && this.#closed) return;
    if (hasCode(error) && this.listenerCount('error') > 0) this.#emit('error', { roomId, error });
    else uncaught(error);
  }

  /** A passphrase that nobody has heard yet; the core keeps it until somebody has. */
  #untold: ParticipantEvents['passphrase'] | undefined;

  #tellPassphrase(): void {
    const untold = this.#untold;
    if (untold === undefined || this.listenerCount('passphrase') === 0 || this.#closed) return;
    this.#untold = undefined;
    this.#emit('passphrase', untold);
    this.#command({ command: 'passphraseTold' }).catch(() => undefined);
  }

  #pollAfter(ms: number): void {
    this.#poll = setTimeout(() => {
      this.sync().then(
        () => this.#closing || this.#pollAfter(ms),
        (error) => {
          if (this.#closing) return;
          this.#emit('error', { roomId: '', error });
          this.#pollAfter(ms);
        },
      );
    }, ms);
  }

  /** Ends timers and callers; the store and the workspace stay. */
  #stop(): void {
    this.#closed = true;
    clearTimeout(this.#poll);
    for (const timer of this.#sleeps) clearTimeout(timer);
    this.#sleeps.clear();
    const closed = new E2eeError('ERR_E2EE_CLOSED', 'the participant was closed');
    for (const { reject } of this.#callers.values()) reject(closed);
    this.#callers.clear();
    this.#tellSettled();
  }
}

/** What {@link Participant.status} tells. */
export interface ParticipantStatus {
  userId: string;
  /** Of the account's own public key. */
  fingerprint: string;
  rooms: RoomStatus[];
}

/** A room that the account is in, or that was authorised. */
export interface RoomStatus {
  roomId: string;
  /** Whether the account is in it. */
  member: boolean;
  /** Whether encryption is switched on. */
  encrypted: boolean;
  authorized: boolean;
  /** The id of the room's current key, as the server names it; `null` before anybody made one. */
  keyId: string | null;
  /**
   * Whether that key is held; `offered` when the server has it for the account, which takes it at
   * its next round; `none` when there is none.
   */
  key: 'held' | 'offered' | 'missing' | 'none';
  /** Keys of all times that are held. */
  keysHeld: number;
  /** The ids of keys that the server names and that are not held. */
  keysMissing: string[];
  /** The ids of members who wait for keys. */
  waiting: string[];
  /** Messages that wait to be sent. */
  outbox: number;
}

/** Which lines of the audit trail are wanted; all, unless told otherwise. */
export interface AuditFilter {
  /** Lines about this room. */
  roomId?: string;
  /** Lines of this action: `read`, `sent`, … */
  action?: string;
  /** Lines about this user. */
  userId?: string;
  /** Lines from this time on, in milliseconds since 1970. Reading costs less where it is given. */
  since?: number;
  /** Lines up to this time, in milliseconds since 1970. */
  until?: number;
  /** The newest of them, at most so many. */
  limit?: number;
}

/** A line of the audit trail. */
export interface AuditEntry {
  /** Milliseconds since 1970. */
  ts: number;
  /** What the app or bot calls itself. */
  appId: string;
  /** What was done: `read`, `sent`, `edited`, `keyGiven`, `keyAccepted`, `keyRejected`, … */
  action: string;
  /** Ids of what it was done with. */
  details: { roomId?: string; messageId?: string; userId?: string; keyId?: string };
}

/** A pinned public key. */
export interface TrustedKey {
  fingerprint: string;
  /** Whether somebody compared it, rather than that it was just the first. */
  verified: boolean;
  /** A fingerprint that was seen since and is not trusted. */
  changed?: string;
}

function outgoing(message: string | OutgoingMessage): object {
  if (typeof message === 'string') return { msg: message };
  const { attachments } = message;
  // Dates and bytes may stand in attachments only.
  return { ...message, ...(attachments && { attachments: JSON.parse(toEjson(attachments)) }) };
}

function uncaught(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}

function errorOf({ code, message, status, errorType }: Failure): E2eeError {
  return new E2eeError(code, message, { status, errorType });
}

function failureOf(error: unknown): Failure {
  if (hasCode(error)) {
    const { code, message, status, errorType } = error as E2eeError;
    return { code, message, ...(status && { status }), ...(errorType && { errorType }) };
  }
  return { code: 'ERR_E2EE_INTERNAL', message: 'the workspace or the store failed unexpectedly' };
}
