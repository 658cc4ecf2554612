import { EventEmitter } from 'events';
import { withoutNulls } from './ejson';
import { E2eeError, type E2eeErrorCode } from './errors';
import { within } from './lifetime';
import { callListeners } from './listeners';

/**
 * Where an off-the-record session stands.
 *
 * - `NOT_STARTED`: nothing is under way
 * - `REQUESTED`: the peer asks; the application has ten seconds to accept or decline
 * - `ESTABLISHING`: we have asked, or asked for new keys
 * - `ESTABLISHED`: messages can be sent and read
 * - `DECLINED`: the peer refused
 * - `TIMEOUT`: nobody answered in time
 * - `ERROR`: the server did not take the handshake or its answer
 */
export type OtrState =
  | 'NOT_STARTED'
  | 'REQUESTED'
  | 'ESTABLISHING'
  | 'ESTABLISHED'
  | 'DECLINED'
  | 'TIMEOUT'
  | 'ERROR';

/** States in which there is something to end. */
const OPEN: ReadonlySet<OtrState> = new Set(['REQUESTED', 'ESTABLISHING', 'ESTABLISHED']);
/** How long closing waits for the server to take that. */
const GOODBYE_MS = 1000;

/** An off-the-record message of the peer's. It is nowhere else. */
export interface OtrMessage {
  roomId: string;
  messageId: string;
  /** The sender: always the peer. */
  userId: string;
  username?: string;
  text: string;
  /** By the sender's clock. */
  ts?: Date;
}

/** The events of an {@link OtrSession}, and what they carry. */
export interface OtrSessionEvents {
  /** The state has changed; `ESTABLISHED` comes again after each refresh. */
  state: { roomId: string; state: OtrState };
  message: OtrMessage;
  /** The peer has read a message of ours. */
  receipt: { roomId: string; messageId: string };
  /** A message that is not the peer's, was changed, or is under another key; told once for each. */
  undecryptable: { roomId: string; messageId: string; error: E2eeError };
}

/** Somebody asks for an off-the-record session. */
export interface OtrRequest {
  roomId: string;
  /** Who asks, as the event says: the other member of the direct message. */
  userId: string;
  session: OtrSession;
  /**
   * Within ten seconds.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_OTR_NOT_ESTABLISHED` when the request is over, or
   * `ERR_E2EE_WORKSPACE` when the server did not take the answer.
   */
  accept(): Promise<void>;
  /** As {@link OtrRequest.accept}. */
  decline(): Promise<void>;
}

/** A message that was sent off the record. */
export interface SentOtrMessage {
  roomId: string;
  messageId: string;
}

/** What the core tells. */
type Told = { roomId: string } & (
  | { type: 'request'; userId: string; request: number }
  | { type: 'state'; state: OtrState }
  | {
      type: 'message';
      messageId: string;
      userId: string;
      username?: string;
      text: string;
      ts?: Date;
    }
  | { type: 'receipt'; messageId: string }
  | { type: 'undecryptable'; messageId: string; error: { code: E2eeErrorCode; message: string } }
);

/** What a session needs of its participant. */
export interface OtrHost {
  /** Throws where no session can be had. */
  check(): void;
  command(command: object): Promise<unknown>;
  request(request: OtrRequest): void;
  /** What a listener of a session has thrown, or rejected with. */
  failed(roomId: string, error: unknown): void;
}

let open: (roomId: string, host: OtrHost) => OtrSession;
let tell: (session: OtrSession, told: Told) => void;

/**
 * An off-the-record session with the other member of a direct message, on servers up to 7.x: see
 * `Participant.otr`. An emitter of {@link OtrSessionEvents}.
 *
 * Its keys are in memory alone, and so are its messages: neither this participant nor the server
 * stores them. Nothing authenticates the keys, so a server that puts in keys of its own can read
 * along.
 */
export class OtrSession extends EventEmitter<{
  [E in keyof OtrSessionEvents]: [OtrSessionEvents[E]];
}> {
  /** The direct message. */
  readonly roomId: string;
  readonly #host: OtrHost;
  #state: OtrState = 'NOT_STARTED';

  // Only what is in this file makes sessions, and tells them anything.
  static {
    open = (roomId, host) => new OtrSession(roomId, host);
    tell = (session, told) => session.#tell(told);
  }

  private constructor(roomId: string, host: OtrHost) {
    super();
    this.roomId = roomId;
    this.#host = host;
  }

  /** Where it stands, as the event `state` last told. */
  get state(): OtrState {
    return this.#state;
  }

  /**
   * Asks the peer for a session; resolves when it is established. An established session is begun
   * anew. Where the peer is asking, or asks meanwhile, that is accepted.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_OTR_UNAVAILABLE` when the server or the room has no
   * such sessions or the workspace no realtime connection, `ERR_E2EE_OTR_DECLINED`,
   * `ERR_E2EE_OTR_TIMEOUT` after twelve seconds, `ERR_E2EE_OTR_NOT_ESTABLISHED` when it was ended
   * meanwhile, `ERR_E2EE_ROOM_NOT_AUTHORIZED`, or `ERR_E2EE_WORKSPACE`.
   */
  async start(): Promise<void> {
    await this.#command('otrStart');
  }

  /**
   * Makes new keys; resolves when the peer has them too. Messages sent meanwhile wait for them.
   *
   * @throws E2eeError (rejects) as {@link OtrSession.start}; the session is over then.
   */
  async refresh(): Promise<void> {
    await this.#command('otrRefresh');
  }

  /**
   * Ends the session, or what would become one, and wipes its keys.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_WORKSPACE` when the peer could not be told; the
   * session is over all the same.
   */
  async end(): Promise<void> {
    await this.#command('otrEnd');
  }

  /**
   * Sends a text; resolves when the server has passed it on. The event `receipt` tells when the peer
   * has read it.
   *
   * @throws E2eeError (rejects) with code `ERR_E2EE_OTR_NOT_ESTABLISHED`, or `ERR_E2EE_WORKSPACE` or
   * `ERR_E2EE_RATE_LIMITED` when the server did not take it. It is not sent later.
   */
  async send(text: string): Promise<SentOtrMessage> {
    if (typeof text !== 'string') {
      throw new E2eeError('ERR_E2EE_INVALID_ARGUMENT', 'a message must be a string');
    }
    return (await this.#command('otrSend', { text })) as SentOtrMessage;
  }

  async #command(command: string, more: object = {}): Promise<unknown> {
    this.#host.check();
    return this.#host.command({ command, roomId: this.roomId, ...more });
  }

  #tell(told: Told): void {
    const { roomId } = told;
    switch (told.type) {
      case 'request':
        this.#request(told.userId, told.request);
        break;
      case 'state':
        this.#state = told.state;
        this.#emit('state', { roomId, state: told.state });
        break;
      case 'message': {
        const { type: _type, ...message } = told;
        this.#emit('message', withoutNulls(message));
        break;
      }
      case 'receipt':
        this.#emit('receipt', { roomId, messageId: told.messageId });
        break;
      case 'undecryptable': {
        const error = new E2eeError(told.error.code, told.error.message);
        const { messageId } = told;
        this.#emit('undecryptable', { roomId, messageId, error });
        break;
      }
    }
  }

  #emit<E extends keyof OtrSessionEvents>(event: E, data: OtrSessionEvents[E]): void {
    callListeners(this, event, data, (error) => this.#host.failed(this.roomId, error));
  }

  #request(userId: string, request: number): void {
    this.#host.request({
      roomId: this.roomId,
      userId,
      session: this,
      accept: async () => {
        await this.#command('otrAccept', { request });
      },
      decline: async () => {
        await this.#command('otrDecline', { request });
      },
    });
  }
}

/** The sessions of a participant, one for each room. */
export class OtrSessions {
  readonly #sessions = new Map<string, OtrSession>();
  readonly #host: OtrHost;

  constructor(host: OtrHost) {
    this.#host = host;
  }

  of(roomId: string): OtrSession {
    let session = this.#sessions.get(roomId);
    if (session === undefined) {
      session = open(roomId, this.#host);
      this.#sessions.set(roomId, session);
    }
    return session;
  }

  /** Ends them all, as far as their peers can be told without waiting for a server that is away. */
  async end(): Promise<void> {
    const open = [...this.#sessions.values()].filter(({ state }) => OPEN.has(state));
    if (open.length === 0) return;
    await within(GOODBYE_MS, Promise.allSettled(open.map((session) => session.end())));
  }

  tell(told: Told): void {
    tell(this.of(told.roomId), told);
  }
}
