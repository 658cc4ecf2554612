import { E2eeError, hasCode } from '../errors';
import { within } from '../lifetime';
import { encryptedContentOf } from '../message';
import { type DecryptedMessage, type OutgoingMessage, Participant } from '../participant';
import type { Http, Modify, Persistence, Read } from './accessors';
import { type AppMessage, type AppRoom, documentOf, keyIdOf } from './documents';
import { PersistenceStore } from './persistence-store';
import { type AppConfiguration, configurationOf } from './settings';
import { AppsEngineWorkspace } from './workspace';

/** What the Apps-Engine gives to a hook, a command, or a job of the scheduler. */
export interface AppAccessors {
  read: Read;
  http: Http;
  persistence: Persistence;
  /** Needed to answer. */
  modify: Modify;
}

/** A message that an app received. */
export interface ReceivedMessage extends DecryptedMessage {
  /** What it says. */
  text: string;
  /**
   * Answers, encrypted, in its room and thread. As the bot account, an answer that cannot be sent in
   * a few seconds waits, sealed, for up to ten minutes; {@link AppParticipant.sync} sends it.
   */
  reply(message: string | OutgoingMessage): Promise<void>;
}

/** What this version of the library can do for an app. */
export interface Capabilities {
  /** Counts changes to the members of {@link EncryptedMessageFields} and {@link EncryptedRoomFields}. */
  readonly fields: number;
  /** Counts changes to what the app's settings are called. */
  readonly settings: number;
  readonly features: readonly ('receive' | 'sync' | 'replyAsAccount' | 'replyAsApp' | 'history')[];
}

/** For apps that carry the library with them, or work with several versions of it. */
export const capabilities: Capabilities = Object.freeze({
  fields: 1,
  settings: 1,
  features: Object.freeze(['receive', 'sync', 'replyAsAccount', 'replyAsApp', 'history'] as const),
});

// The Apps-Engine gives a call 30 seconds. What takes longer than this goes on, and its outcome is
// found by a later call.
/** How long opening is waited for, then a message, then an answer. */
const OPEN_MS = 8_000;
const RECEIVE_MS = 8_000;
const REPLY_MS = 8_000;
/** How long a round is waited for, and then greetings. */
const ROUND_MS = 12_000;
const GREET_MS = 6_000;
/** How long a set-up that failed is not tried again, while the settings stay as they are. */
const RETRY_MS = 30_000;
/** How long a room that is not known is not looked for again. */
const LOOK_MS = 60_000;
/** Messages that cannot be read and whose hook has not asked why, at most. */
const MAX_FAILURES = 1000;
/** How long a message of the app's own accord may wait for its key. */
const GREETING_MS = 7 * 24 * 60 * 60 * 1000;

interface Session {
  readonly configuration: AppConfiguration;
  readonly participant: Participant;
  readonly store: PersistenceStore;
  readonly workspace: AppsEngineWorkspace;
  /** Messages that were decrypted, and not yet given to the app. */
  readonly told: DecryptedMessage[];
  /** By message, why it cannot be read. */
  readonly failures: Map<string, E2eeError>;
  readonly looked: Map<string, number>;
}

/**
 * An app's part in encrypted rooms, by the bot account that its settings name: what its hooks and
 * its scheduler call.
 *
 * Keep one for as long as the app's class lives. What it needs is kept in the app's persistence and
 * read from there when the process, or the server, is another one.
 */
export class AppParticipant {
  readonly #appId: string;
  #settings = '';
  #session: Promise<Session> | undefined;
  #failed = 0;
  #appUserId: string | undefined;

  /** @param appId - `this.getID()` of the app */
  constructor(appId: string) {
    this.#appId = appId;
  }

  /**
   * Call it in `executePostSystemMessageSent` and, for servers before 7.x, in
   * `executePostMessageSent`: it does not matter which of them a message comes by.
   *
   * @returns the message; `undefined` for what is not encrypted, in no authorised room, the app's
   * or its account's own, handled already (by whatever instance), or still without a key:
   * {@link AppParticipant.sync} returns it when that has come
   * @throws E2eeError (rejects) with the code of what is wrong with the message, the settings, the
   * store or the server.
   */
  async receive(
    message: AppMessage,
    accessors: AppAccessors,
  ): Promise<ReceivedMessage | undefined> {
    if (encryptedContentOf(message) === undefined) return undefined;
    if (await this.#isOwn(message.sender?.id, accessors)) return undefined;
    const session = await this.#open(accessors);
    const { participant } = session;
    const roomId = message.room?.id ?? message.roomId ?? '';
    await this.#look(session, roomId);
    session.failures.delete(message.id ?? '');
    await within(
      RECEIVE_MS,
      participant.receiveMessage(documentOf(message), keyIdOf(message.room)),
    );
    const failure = session.failures.get(message.id ?? '');
    if (failure !== undefined) throw failure;
    const place = session.told.findIndex(({ messageId }) => messageId === message.id);
    const [received] = place < 0 ? [] : session.told.splice(place, 1);
    return received && this.#received(received, session, accessors, message.room);
  }

  /**
   * One round of key upkeep, for a job of the scheduler, every minute or so: new keys, members who
   * wait for one, messages that wait to be sent. What is not done in 20 seconds goes on in the next.
   *
   * @returns messages that no hook has handled: their key came late, or the app was not running
   */
  async sync(accessors: AppAccessors): Promise<ReceivedMessage[]> {
    const session = await this.#open(accessors);
    const { participant, told } = session;
    await within(
      ROUND_MS,
      participant.sync().then(() => participant.settled()),
    );
    const messages: ReceivedMessage[] = [];
    for (const message of told.splice(0)) {
      if (await this.#isOwn(message.userId, accessors)) continue;
      messages.push(this.#received(message, session, accessors));
    }
    return messages;
  }

  /**
   * Says something in a room as the bot account. Without a key it waits, sealed, for up to a week;
   * {@link AppParticipant.sync} sends it.
   */
  async send(
    roomId: string,
    message: string | OutgoingMessage,
    accessors: AppAccessors,
  ): Promise<void> {
    const { participant } = await this.#open(accessors);
    const outgoing = typeof message === 'string' ? { msg: message } : message;
    await within(
      REPLY_MS,
      participant.sendEncryptedMessage(roomId, { deadline: GREETING_MS, ...outgoing }),
    );
  }

  /**
   * Says something once in every room that the app may read: that it is there, and why. Rooms that it
   * does not come to in a few seconds have their turn in the next call.
   */
  async greet(text: string, accessors: AppAccessors): Promise<void> {
    const { participant, store } = await this.#open(accessors);
    const end = performance.now() + GREET_MS;
    for (const roomId of await participant.authorizedRooms()) {
      if (performance.now() > end) return;
      const held = await participant.getRoomKeyHistory(roomId);
      if (!held.some(({ current }) => current)) continue;
      if (await store.claim(`greeting/${roomId}`, Number.POSITIVE_INFINITY)) {
        await this.send(roomId, text, accessors);
      }
    }
  }

  /** Decrypts messages that were handled before: `IMessage`s, or `IMessageRaw`s of a room reader. */
  async history(
    messages: readonly AppMessage[],
    accessors: AppAccessors,
  ): Promise<DecryptedMessage[]> {
    const { participant } = await this.#open(accessors);
    const encrypted = messages.filter((message) => encryptedContentOf(message) !== undefined);
    const results = await participant.decryptMessages(encrypted.map(documentOf));
    return results.filter((result): result is DecryptedMessage => !hasCode(result));
  }

  /** The participant itself, for whatever is not above. */
  async participant(accessors: AppAccessors): Promise<Participant> {
    return (await this.#open(accessors)).participant;
  }

  /**
   * Forgets what the app has kept, and begins anew from what the server has. Needed when the
   * passphrase was changed, since it seals the app's store.
   */
  async reset({ read, persistence }: AppAccessors): Promise<void> {
    await this.#close();
    const appId = storeNameOf(this.#appId, await configurationOf(read));
    await PersistenceStore.erase({ read: read.getPersistenceReader(), persistence, appId });
  }

  /** Opens the participant, or goes on with it by the accessors of this call. */
  async #open({ read, http, persistence }: AppAccessors): Promise<Session> {
    const configuration = await configurationOf(read);
    const settings = JSON.stringify(configuration);
    const failed = this.#failed > 0 && performance.now() - this.#failed > RETRY_MS;
    if (settings !== this.#settings || failed) {
      await this.#close();
      this.#settings = settings;
    }
    if (this.#session === undefined) {
      const session: Promise<Session> = openSession(this.#appId, configuration, {
        read,
        http,
        persistence,
      });
      this.#session = session;
      session.catch(() => {
        if (this.#session === session) this.#failed = performance.now();
      });
    }
    const session = await inTime(this.#session);
    session.store.use({ read: read.getPersistenceReader(), persistence });
    session.workspace.use(http);
    return session;
  }

  async #close(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    this.#failed = 0;
    await session?.then(({ participant }) => participant.close()).catch(() => undefined);
  }

  /** Where every room of the account may be read, one that is not known may be new. */
  async #look({ configuration, participant, looked }: Session, roomId: string): Promise<void> {
    if (configuration.rooms !== 'all') return;
    if ((await participant.authorizedRooms()).includes(roomId)) return;
    if (performance.now() - (looked.get(roomId) ?? -LOOK_MS) < LOOK_MS) return;
    looked.set(roomId, performance.now());
    await within(RECEIVE_MS, participant.sync());
  }

  /** Whether the app's own user sent it. */
  async #isOwn(userId: string | undefined, { read }: AppAccessors): Promise<boolean> {
    if (this.#appUserId === undefined) {
      this.#appUserId = (await read.getUserReader().getAppUser())?.id;
    }
    return userId !== undefined && userId === this.#appUserId;
  }

  #received(
    message: DecryptedMessage,
    { configuration, participant }: Session,
    { modify }: AppAccessors,
    room: AppRoom = { id: message.roomId },
  ): ReceivedMessage {
    const reply = async (answer: string | OutgoingMessage) => {
      const { threadId } = message;
      const outgoing = {
        ...(typeof threadId === 'string' && { threadId }),
        ...(typeof answer === 'string' ? { msg: answer } : answer),
      };
      if (configuration.replyAs === 'account') {
        await within(REPLY_MS, participant.sendEncryptedMessage(message.roomId, outgoing));
        return;
      }
      const { tmid, ...encrypted } = await participant.encryptMessage(message.roomId, outgoing);
      const creator = modify.getCreator();
      const draft = {
        room,
        text: '',
        ...(tmid !== undefined && { threadId: tmid }),
        _unmappedProperties_: encrypted,
      };
      await creator.finish(creator.startMessage(draft as never) as never);
    };
    return { ...message, text: message.document.msg, reply };
  }
}

async function openSession(
  appId: string,
  configuration: AppConfiguration,
  { read, http, persistence }: Pick<AppAccessors, 'read' | 'http' | 'persistence'>,
): Promise<Session> {
  const { url, userId, authToken, passphrase } = configuration;
  const workspace = new AppsEngineWorkspace({ http, url, userId, authToken });
  const rooms =
    configuration.rooms === 'all' ? 'all' : await roomIdsOf(configuration.rooms, workspace);
  const store = await PersistenceStore.open({
    read: read.getPersistenceReader(),
    persistence,
    appId: storeNameOf(appId, configuration),
    secret: passphrase,
  });
  const participant = await Participant.open({
    appId,
    workspace,
    store,
    passphrase,
    rooms,
  });
  const told: DecryptedMessage[] = [];
  participant.on('message', (message) => told.push(message));
  const failures = new Map<string, E2eeError>();
  participant.on('undecryptable', ({ messageId, error }) => {
    // One that waits for its key is told again when that has come.
    if (error.code === 'ERR_E2EE_NO_ROOM_KEY') return;
    if (failures.size >= MAX_FAILURES) failures.clear();
    failures.set(messageId, error);
  });
  if (rooms !== 'all') {
    // What the setting no longer names is no longer read.
    for (const room of await participant.authorizedRooms()) {
      if (!rooms.includes(room)) await participant.deauthorizeRoom(room);
    }
  }
  return { configuration, participant, store, workspace, told, failures, looked: new Map() };
}

/** Another account has a store of its own. */
function storeNameOf(appId: string, { userId }: AppConfiguration): string {
  return `${appId}/${userId}`;
}

/** Rooms are set by id or by name, as the bot account sees them. */
async function roomIdsOf(
  rooms: readonly string[],
  workspace: AppsEngineWorkspace,
): Promise<string[]> {
  const { body } = await workspace.request({ method: 'GET', path: 'rooms.get' });
  const { update } = Object(body) as { update?: unknown };
  if (!Array.isArray(update)) {
    throw new E2eeError('ERR_E2EE_WORKSPACE', 'GET rooms.get: the answer is not of the known form');
  }
  const known = update as { _id: string; name?: string; fname?: string }[];
  return rooms.map((wanted) => {
    const room =
      known.find(({ _id }) => _id === wanted) ??
      known.find(({ name, fname }) => name === wanted.replace(/^#/, '') || fname === wanted);
    // One that the account is not in yet, by its id.
    return room?._id ?? wanted;
  });
}

/** Opening that takes too long goes on, for the calls that follow. */
async function inTime(session: Promise<Session>): Promise<Session> {
  await within(OPEN_MS, session);
  const late = Symbol('late');
  const opened = await Promise.race([session, Promise.resolve(late)]);
  if (typeof opened !== 'symbol') return opened;
  throw new E2eeError(
    'ERR_E2EE_WORKSPACE',
    'the server, or the store, takes long to answer; what is under way goes on',
  );
}
