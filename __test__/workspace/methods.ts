import type { PasswordProof } from './accounts';
import { MatchError, MeteorError, PlainError } from './errors';
import { type Draft, Messages } from './messages';
import type { User } from './model';
import { isRecord } from './schema';
import type { Services } from './services';
import type { Behaviour } from './versions';

/** The session a method runs in. */
export interface Caller {
  /** Undefined before login. */
  readonly user: User | undefined;
  login(user: User, token: string): void;
  logout(): void;
  /** Passes an event on to everybody else who listens. */
  relay(stream: string, eventName: string, args: unknown[]): void;
}

export interface Method {
  readonly exists?: (behaviour: Behaviour) => boolean;
  /** Calls per second of a user without `send-many-messages` (9.1). */
  readonly perSecond?: number;
  readonly run: (services: Services, caller: Caller, params: unknown[]) => unknown;
}

const TOKEN_LIFE_MS = 90 * 24 * 3_600_000;

const old = (behaviour: Behaviour): boolean => behaviour.oldDdpMethods;
const otr = (behaviour: Behaviour): boolean => behaviour.otr;

function userOf(caller: Caller, method: string): User {
  if (caller.user === undefined) {
    throw new MeteorError('error-invalid-user', 'Invalid user', { method });
  }
  return caller.user;
}

function string(value: unknown, name: string): string {
  if (typeof value !== 'string') throw new MatchError(`Expected string in field ${name}`);
  return value;
}

/** The strict key list of `sendMessage` (5.2). */
const DRAFT_KEYS: Readonly<Record<string, (value: unknown) => boolean>> = {
  _id: isString,
  rid: isString,
  msg: isString,
  tmid: isString,
  tshow: (value) => typeof value === 'boolean',
  ts: (value) => value instanceof Date,
  t: isString,
  bot: isRecord,
  content: isRecord,
  e2e: isString,
  e2eMentions: isRecord,
  customFields: isRecord,
  federation: isRecord,
  groupable: (value) => typeof value === 'boolean',
  sentByEmail: (value) => typeof value === 'boolean',
};

function isString(value: unknown): boolean {
  return typeof value === 'string';
}

function checkDraft(value: unknown): Draft {
  if (!isRecord(value)) throw new MatchError('Expected object');
  for (const [key, member] of Object.entries(value)) {
    const fits = DRAFT_KEYS[key];
    if (fits === undefined) throw new MatchError(`Unknown key in field ${key}`);
    if (member !== null && !fits(member)) throw new MatchError(`Unexpected value in field ${key}`);
  }
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== null));
}

function login({ accounts, store }: Services, caller: Caller, [options]: unknown[]): object {
  if (!isRecord(options)) throw new MatchError('Expected object');
  const who = isRecord(options.user) ? options.user : {};
  const { user, token } =
    typeof options.resume === 'string'
      ? accounts.loginWithToken(options.resume)
      : accounts.loginWithPassword(
          {
            ...(typeof who.username === 'string' && { username: who.username }),
            ...(typeof who.email === 'string' && { email: who.email }),
          },
          options.password as PasswordProof,
        );
  caller.login(user, token);
  return {
    id: user._id,
    token,
    tokenExpires: new Date(store.clock.now() + TOKEN_LIFE_MS),
    type: typeof options.resume === 'string' ? 'resume' : 'password',
  };
}

/** The DDP methods of both generations; most `e2e.*` are deprecated twins of REST (2.3). */
export const METHODS: Readonly<Record<string, Method>> = {
  login: { run: login },
  logout: {
    run: (_services, caller) => {
      caller.logout();
    },
  },

  'e2e.fetchMyKeys': {
    run: ({ keys }, caller) => keys.myKeys(userOf(caller, 'fetchMyKeys')),
  },
  'e2e.setUserPublicAndPrivateKeys': {
    exists: old,
    run({ keys }, caller, [pair]) {
      const user = userOf(caller, 'e2e.setUserPublicAndPrivateKeys');
      if (!isRecord(pair)) throw new MatchError('Expected object');
      keys.setUserKeys(user, {
        public_key: string(pair.public_key, 'public_key'),
        private_key: string(pair.private_key, 'private_key'),
        force: pair.force === true,
      });
    },
  },
  'e2e.getUsersOfRoomWithoutKey': {
    run: ({ keys }, caller, [rid]) => ({
      users: keys.usersWithoutKey(
        userOf(caller, 'e2e.getUsersOfRoomWithoutKey')._id,
        string(rid, 'rid'),
      ),
    }),
  },
  'e2e.setRoomKeyID': {
    run: ({ keys }, caller, [rid, keyId]) =>
      keys.setRoomKeyId(
        userOf(caller, 'e2e.setRoomKeyID')._id,
        string(rid, 'rid'),
        string(keyId, 'keyID'),
      ),
  },
  'e2e.updateGroupKey': {
    run({ keys }, caller, [rid, uid, key]) {
      const { _id } = userOf(caller, 'e2e.acceptSuggestedGroupKey');
      keys.updateGroupKey(_id, string(rid, 'rid'), string(uid, 'uid'), string(key, 'key'));
    },
  },
  'e2e.requestSubscriptionKeys': {
    exists: old,
    run({ keys }, caller) {
      keys.requestKeys(userOf(caller, 'requestSubscriptionKeys')._id);
      return true;
    },
  },
  'e2e.resetOwnE2EKey': {
    exists: old,
    /** The second factor travels as a last parameter. */
    run({ accounts }, caller, params) {
      const user = userOf(caller, 'resetOwnE2EKey');
      const factor = params.at(-1);
      const { twoFactorCode, twoFactorMethod } = isRecord(factor) ? factor : {};
      accounts.requireSecondFactor(
        user,
        typeof twoFactorCode === 'string' ? twoFactorCode : undefined,
        typeof twoFactorMethod === 'string' ? twoFactorMethod : undefined,
      );
      try {
        accounts.resetE2eKey(user, user);
      } catch {
        throw new MeteorError('failed-reset-e2e-password', 'Failed to reset E2E password', {
          method: 'resetOwnE2EKey',
        });
      }
      return true;
    },
  },

  sendMessage: {
    exists: old,
    perSecond: 5,
    run({ messages }, caller, [value]) {
      const draft = checkDraft(value);
      const user = userOf(caller, 'sendMessage');
      if (Messages.isSystemType(draft.t)) {
        throw new PlainError("Cannot send system messages using 'sendMessage'");
      }
      try {
        return messages.send(user, draft);
      } catch (error) {
        if (!(error instanceof MeteorError || error instanceof PlainError)) throw error;
        // Only this one reaches the caller; after any other there is a result without a message.
        if ('error' in error && error.error === 'error-not-allowed') throw error;
        return undefined;
      }
    },
  },
  deleteOldOTRMessages: {
    exists: otr,
    run({ otr: service }, caller, [roomId]) {
      service.deleteOld(userOf(caller, 'deleteOldOTRMessages'), string(roomId, 'roomId'));
    },
  },
  updateOTRAck: {
    exists: otr,
    run({ otr: service }, caller, [argument]) {
      service.acknowledge(userOf(caller, 'updateOTRAck'), argument);
    },
  },

  /** Any logged-in user may write any event to anybody: clients cannot trust these (upstream). */
  'stream-notify-user': {
    run({ store }, caller, [eventName, ...args]) {
      const name = string(eventName, 'eventName');
      const isOtr = name.endsWith('/otr');
      const starts = args[0] === 'handshake' || args[0] === 'acknowledge';
      if (caller.user === undefined || (isOtr && starts && !store.settings.isOn('OTR_Enable'))) {
        throw new MeteorError('not-allowed');
      }
      caller.relay('stream-notify-user', name, args);
    },
  },
  /** Write-only: reaches the other members on their own `stream-notify-user` (3.8). */
  'stream-notify-room-users': {
    run({ store, notify }, caller, [eventName, ...args]) {
      const [rid = '', event = ''] = string(eventName, 'eventName').split('/');
      const user = caller.user;
      if (user === undefined || store.subscription(rid, user._id) === undefined) return;
      const passed =
        store.behaviour.relaysKeyRequests || event === 'video-conference' || event === 'userData';
      if (!passed) return; // dropped silently
      for (const member of store.membersOf(rid)) {
        if (member.u._id !== user._id) notify.toUser(member.u._id, event, ...args);
      }
    },
  },
};
