import type { E2eKeys } from './e2e-keys';
import { MeteorError } from './errors';
import type { Messages } from './messages';
import { type Room, refOf, type Store, type Subscription, type User } from './model';
import type { Notifier } from './notify';
import { canAccessRoom, hasPermission } from './permissions';

export interface NewRoom {
  t: Room['t'];
  name?: string;
  fname?: string;
  owner: User;
  /** The owner is a member anyway. */
  members?: User[];
  encrypted?: boolean;
  prid?: string;
  teamId?: string;
  topic?: string;
  broadcast?: boolean;
}

/** Rooms and who is in them (2.4, 3.1, 3.6). */
export class Rooms {
  constructor(
    private readonly store: Store,
    private readonly notify: Notifier,
    private readonly messages: Messages,
    private readonly keys: E2eKeys,
  ) {}

  /** Members from the start are not put in the queue: only users *added* to a room are (3.1). */
  create(options: NewRoom): Room {
    const { t, name, owner, prid } = options;
    if (t !== 'd' && this.store.roomNamed(name) !== undefined) {
      throw new MeteorError(
        'error-duplicate-channel-name',
        `A channel with name '${name}' exists`,
        {
          channel_name: name,
        },
      );
    }
    const encrypted = this.encryptionAtCreation(options);
    const members = [owner, ...(options.members ?? []).filter(({ _id }) => _id !== owner._id)];
    const direct = t === 'd';
    const uids = members.map(({ _id }) => _id);
    const room = this.store.rooms.insert({
      // A direct room of two is named by them, so that there is one only.
      _id: direct && uids.length === 2 ? [...uids].sort().join('') : this.store.random.id(),
      t,
      ...(!direct && { name: name ?? '', fname: options.fname ?? name ?? '' }),
      ...(direct && { uids, usernames: members.map(({ username }) => username) }),
      ...(encrypted !== undefined && { encrypted }),
      ...(prid !== undefined && { prid }),
      ...(options.teamId !== undefined && { teamId: options.teamId }),
      ...(options.topic !== undefined && { topic: options.topic }),
      ...(options.broadcast !== undefined && { broadcast: options.broadcast }),
      u: refOf(owner),
      ts: this.store.now(),
      msgs: 0,
      usersCount: members.length,
    });
    for (const member of members) {
      this.subscribe(room, member, members, !direct && member === owner ? ['owner'] : undefined);
    }
    return room;
  }

  /** The direct room of these users: an existing one, or a new one. */
  direct(caller: User, others: readonly User[]): Room {
    const members = [caller, ...others.filter(({ _id }) => _id !== caller._id)];
    const wanted = members.map(({ _id }) => _id).sort();
    const existing = this.store.subscriptions
      .by('uid', caller._id)
      .map(({ rid }) => this.store.rooms.get(rid))
      .find((room) => room?.t === 'd' && [...(room.uids ?? [])].sort().join() === wanted.join());
    return existing ?? this.create({ t: 'd', owner: caller, members });
  }

  /** Keys are left alone (2.4). */
  setEncrypted(user: User, room: Room, encrypted: boolean): void {
    if (room.encrypted === encrypted) return;
    const refuse = (reason: string) =>
      new MeteorError('error-action-not-allowed', reason, {
        method: 'saveRoomSettings',
        action: 'Change_Room_Encrypted',
      });
    if (room.t === 'c' || !this.store.settings.isOn('E2E_Enable')) {
      throw refuse('Only groups or direct channels can enable encryption');
    }
    // A participant of a direct message needs no permission.
    if (
      room.t !== 'd' &&
      !hasPermission(this.store, user._id, 'toggle-room-e2e-encryption', room._id)
    ) {
      throw refuse('You do not have permission to toggle E2E encryption');
    }
    this.refuseUnencryptedPrivate(room.t, encrypted);
    this.store.rooms.update(room, (stored) => {
      stored.encrypted = encrypted;
    });
    this.messages.system(
      encrypted ? 'room_e2e_enabled' : 'room_e2e_disabled',
      room,
      user.username,
      user,
    );
    if (!encrypted) return;
    for (const member of this.store.membersOf(room._id)) {
      if (member.autoTranslate !== true) continue;
      this.store.subscriptions.update(member, (sub) => {
        delete sub.autoTranslate;
      });
      this.notify.subscription(member);
    }
  }

  discussion(
    user: User,
    options: {
      prid: string;
      t_name: string;
      users?: string[];
      encrypted?: boolean;
      reply?: string;
      topic?: string;
    },
  ): Room {
    const method = 'DiscussionCreation';
    const parent = this.store.rooms.get(options.prid);
    if (!canAccessRoom(this.store, parent, user._id)) {
      throw new MeteorError('error-not-allowed', 'Not allowed', { method });
    }
    if (parent.prid !== undefined) {
      throw new MeteorError('error-nested-discussion', 'Cannot create nested discussions', {
        method,
      });
    }
    if (options.encrypted === true && options.reply) {
      throw new MeteorError(
        'error-invalid-arguments',
        'Encrypted discussions must not receive an initial reply.',
        { method },
      );
    }
    // Where encryption is enforced, an unencrypted private parent has no discussions (2.4).
    if (parent.t === 'p' && parent.encrypted !== true) {
      this.refuseUnencryptedPrivate('p', false);
    }
    const room = this.create({
      t: parent.t === 'c' ? 'c' : 'p',
      name: this.store.random.id(),
      fname: options.t_name,
      owner: user,
      members: (options.users ?? []).flatMap((name) => this.store.userNamed(name) ?? []),
      encrypted: options.encrypted,
      prid: parent._id,
      topic: options.topic,
    });
    this.messages.system('discussion-created', parent, options.t_name, user, { drid: room._id });
    if (options.reply) this.messages.send(user, { rid: room._id, msg: options.reply });
    return room;
  }

  add(room: Room, user: User, inviter?: User): void {
    if (this.store.subscription(room._id, user._id) !== undefined) return;
    this.store.rooms.update(room, (stored) => {
      stored.usersCount += 1;
    });
    this.keys.memberAdded(room, user);
    this.subscribe(room, user, []);
    if (inviter === undefined) this.messages.system('uj', room, user.username, user);
    else this.messages.system('au', room, user.username, inviter);
  }

  /** Deletes the subscription and the place in the queue; the key is not rotated (3.6). */
  remove(room: Room, user: User, by?: User): void {
    const sub = this.store.subscription(room._id, user._id);
    if (sub === undefined) {
      throw new MeteorError('error-user-not-in-room', 'User is not in this room', {
        method: 'removeUserFromRoom',
      });
    }
    if (by === undefined) this.messages.system('ul', room, user.username, user);
    else this.messages.system('ru', room, user.username, by);
    this.store.subscriptions.remove(sub);
    this.keys.memberRemoved(room, user._id);
    this.store.rooms.update(room, (stored) => {
      stored.usersCount -= 1;
    });
    this.notify.subscriptionRemoved(sub);
    this.notify.room(room);
  }

  private subscribe(room: Room, user: User, members: readonly User[], roles?: string[]): void {
    const others = members.filter(({ _id }) => _id !== user._id);
    const named = others.length > 0 ? others : [user];
    const direct = room.t === 'd';
    const sub: Subscription = this.store.subscriptions.insert({
      _id: this.store.random.id(),
      rid: room._id,
      t: room.t,
      u: refOf(user),
      name: direct ? named.map(({ username }) => username).join(', ') : (room.name ?? ''),
      fname: direct ? named.map(({ name }) => name).join(', ') : (room.fname ?? ''),
      ts: this.store.now(),
      open: true,
      alert: false,
      unread: 0,
      userMentions: 0,
      groupMentions: 0,
      ...(roles && { roles }),
      ...(room.prid !== undefined && { prid: room.prid }),
    });
    this.notify.subscription(sub, 'inserted');
    this.notify.roomInserted(user._id, room);
  }

  /** The settings that make `encrypted` default to true, or demand it (2.4). */
  private encryptionAtCreation({ t, owner, encrypted }: NewRoom): boolean | undefined {
    const { settings } = this.store;
    if (!settings.isOn('E2E_Enable') || t === 'c') return encrypted;
    if (owner.federated !== true && encrypted === false) this.refuseUnencryptedPrivate(t, false);
    const byDefault =
      (t === 'd' && settings.isOn('E2E_Enabled_Default_DirectRooms')) ||
      (t === 'p' && settings.isOn('E2E_Enabled_Default_PrivateRooms')) ||
      (t === 'p' && this.enforcesEncryption() && owner.federated !== true);
    return encrypted ?? (byDefault ? true : undefined);
  }

  private refuseUnencryptedPrivate(t: Room['t'], encrypted: boolean): void {
    if (t === 'p' && !encrypted && this.enforcesEncryption()) {
      throw new MeteorError(
        'error-encrypted-private-rooms-enforced',
        'Private rooms have to be encrypted',
      );
    }
  }

  private enforcesEncryption(): boolean {
    return (
      this.store.behaviour.forceEncryptionSetting &&
      this.store.settings.isOn('E2E_Force_Encryption_For_Private_Rooms')
    );
  }
}
