import type { Message, Room, Store, Subscription } from './model';
import { canAccessRoom } from './permissions';
import { roomFields, subscriptionFields } from './projections';

/** What carries events to the clients: the DDP server. */
export interface Streams {
  /** `argsFor` is asked per listening user; undefined leaves the user out. */
  emit(stream: string, eventName: string, argsFor: (uid: string) => unknown[] | undefined): void;
  /** Ends the subscriptions of one user to one event of a stream, without telling the client. */
  drop(stream: string, eventName: string, uid: string): void;
  /** Cuts the sessions logged in with one of these tokens. */
  disconnect(hashedTokens: readonly string[]): void;
}

/** The events of section 4.2. */
export class Notifier {
  constructor(
    private readonly store: Store,
    private readonly streams: Streams,
  ) {}

  toUser(uid: string, event: string, ...args: unknown[]): void {
    this.streams.emit('stream-notify-user', `${uid}/${event}`, () => args);
  }

  toRoom(rid: string, event: string, ...args: unknown[]): void {
    this.streams.emit('stream-notify-room', `${rid}/${event}`, () => args);
  }

  /** "sub-changed" */
  subscription(subscription: Subscription, action: 'inserted' | 'updated' = 'updated'): void {
    this.toUser(
      subscription.u._id,
      'subscriptions-changed',
      action,
      subscriptionFields(this.store.behaviour, subscription),
    );
  }

  /**
   * A removed subscription also ends the user's subscription to the messages of the room: who is
   * invited again has to subscribe again.
   */
  subscriptionRemoved({ _id, u, rid, t }: Subscription): void {
    this.toUser(u._id, 'subscriptions-changed', 'removed', { _id, u, rid, t });
    this.streams.drop('stream-room-messages', rid, u._id);
  }

  /** "room-changed": to every member. */
  room(room: Room): void {
    for (const member of this.store.membersOf(room._id)) {
      this.toUser(member.u._id, 'rooms-changed', 'updated', roomFields(room));
    }
  }

  /** A new subscription makes the server send the room again, as `inserted`. */
  roomInserted(uid: string, room: Room): void {
    this.toUser(uid, 'rooms-changed', 'inserted', roomFields(room));
  }

  /** New, edited and otherwise updated messages use the same event. */
  message(message: Message | Record<string, unknown>): void {
    const room = this.store.rooms.get(String(message.rid));
    if (room === undefined) return;
    this.streams.emit('stream-room-messages', room._id, () => [message]);
    this.streams.emit('stream-room-messages', '__my_messages__', (uid) =>
      canAccessRoom(this.store, room, uid)
        ? [
            message,
            {
              roomParticipant: this.store.subscription(room._id, uid) !== undefined,
              roomType: room.t,
              roomName: room.name,
            },
          ]
        : undefined,
    );
  }

  /** Only the sender sees it, and it is not stored (5.1). */
  ephemeral(uid: string, rid: string, msg: string): void {
    this.toUser(uid, 'message', {
      _id: this.store.random.id(),
      rid,
      ts: this.store.now(),
      msg,
      private: true,
      u: { _id: 'rocket.cat', username: 'rocket.cat' },
    });
  }
}
