import { MatchError, MeteorError } from './errors';
import type { Messages, Quirks } from './messages';
import type { Room, Store, User } from './model';
import type { Notifier } from './notify';
import { canAccessRoom } from './permissions';
import { isRecord } from './schema';

export const OTR_NOTICES = [
  'user_joined_otr',
  'user_requested_otr_key_refresh',
  'user_key_refreshed_successfully',
] as const;

/** A message "as received": what the stream sent, nothing more and nothing less. */
const RECEIVED_KEYS = [
  '_id',
  'rid',
  'msg',
  't',
  'ts',
  'u',
  '_updatedAt',
  'urls',
  'mentions',
  'channels',
];
const OPTIONAL_KEYS = ['room', 'name', 'otr', 'otrAck'];

/** Off-the-record messages, up to 7.x (otr-protocol.md). */
export class Otr {
  constructor(
    private readonly store: Store,
    private readonly notify: Notifier,
    private readonly messages: Messages,
    private readonly quirks: Quirks,
  ) {}

  /** POST `chat.otr` */
  notice(user: User, roomId: string, type: (typeof OTR_NOTICES)[number]): void {
    const room = this.directRoom(user, roomId, 'chat.otr');
    this.messages.system(type, room, user.username, user);
  }

  /** The messages themselves are never stored; what goes is the notices up to now. */
  deleteOld(user: User, roomId: string): void {
    this.directRoom(user, roomId, 'deleteOldOTRMessages');
    for (const message of this.messages.inRoom(roomId)) {
      const notice = OTR_NOTICES.some((type) => type === message.t);
      if (notice || message.t === 'otr') this.messages.remove(message);
    }
  }

  /** DDP method `updateOTRAck`: the message is emitted again, with the receipt. */
  acknowledge(user: User, argument: unknown): void {
    const { message, ack } = isRecord(argument) ? argument : {};
    if (typeof ack !== 'string' || !isRecord(message)) {
      throw new MatchError('Expected string in field ack');
    }
    checkReceived(message);
    if (message.t !== 'otr') {
      throw new MeteorError('error-invalid-message', 'Invalid message type', {
        method: 'updateOTRAck',
      });
    }
    const room = this.store.rooms.get(String(message.rid));
    if (room === undefined) {
      throw new MeteorError('error-invalid-room', 'Invalid room', { method: 'updateOTRAck' });
    }
    const sender = isRecord(message.u) ? String(message.u._id) : '';
    const outside = room.uids !== undefined && !room.uids.includes(sender);
    if (!canAccessRoom(this.store, room, user._id) || outside) {
      throw new MeteorError('error-invalid-user', 'Invalid user, not in room', {
        method: 'updateOTRAck',
      });
    }
    this.notify.message({
      ...message,
      ...(this.quirks.otrReceipt === 'otr' ? { otr: { ack } } : { otrAck: ack }),
    });
  }

  private directRoom(user: User, roomId: string, method: string): Room {
    const room = this.store.rooms.get(roomId);
    if (room?.t !== 'd' || this.store.subscription(roomId, user._id) === undefined) {
      throw new MeteorError('error-invalid-room', 'Invalid room', { method });
    }
    return room;
  }
}

function checkReceived(message: Record<string, unknown>): void {
  const missing = RECEIVED_KEYS.find((key) => message[key] === undefined);
  if (missing !== undefined) throw new MatchError(`Missing key '${missing}'`);
  const known = [...RECEIVED_KEYS, ...OPTIONAL_KEYS];
  const unknown = Object.keys(message).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new MatchError(`Unknown key in field ${unknown}`);
  for (const key of ['_id', 'rid', 'msg', 't']) {
    if (typeof message[key] !== 'string') throw new MatchError(`Expected string in field ${key}`);
  }
  if (!(message.ts instanceof Date)) throw new MatchError('Expected Date in field ts');
  const u = message.u;
  const complete =
    isRecord(u) && ['_id', 'username', 'name'].every((key) => typeof u[key] === 'string');
  if (!complete) throw new MatchError('Expected object in field u');
}
