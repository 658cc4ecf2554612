import { failure, MatchError, MeteorError, PlainError } from './errors';
import { type Message, type Room, refOf, type Store, type User } from './model';
import type { Notifier } from './notify';
import { canAccessRoom, canWrite, hasPermission } from './permissions';
import { isRecord } from './schema';

/** What a sender hands in: the named members are typed, any further one is stored as it came. */
export type Draft = Partial<Omit<Message, 'ts'>> & { ts?: Date | string };

const SYSTEM_TYPES = new Set([
  'uj',
  'ul',
  'ru',
  'au',
  'r',
  'rm',
  'discussion-created',
  'message_pinned',
  'message_pinned_e2e',
  'room_e2e_enabled',
  'room_e2e_disabled',
  'user_joined_otr',
  'user_requested_otr_key_refresh',
  'user_key_refreshed_successfully',
]);

const TS_REFUSED_MS = 60_000;
const TS_REPLACED_MS = 10_000;

export interface Quirks {
  /** 11.3: a version that refuses blank `msg` without attachments, whatever `content` holds. */
  refuseBlankMessages?: boolean;
  /** Which member of an OTR message carries the receipt; it differs between versions. */
  otrReceipt?: 'otrAck' | 'otr';
}

export class Messages {
  constructor(
    private readonly store: Store,
    private readonly notify: Notifier,
    private readonly quirks: Quirks,
  ) {}

  static isSystemType(t: unknown): boolean {
    return typeof t === 'string' && SYSTEM_TYPES.has(t);
  }

  /**
   * `chat.sendMessage` and everything that ends there, checks in the order of 5.1. Undefined when
   * the `_id` is taken: the message is not inserted again.
   */
  send(user: User, draft: Draft): Message | undefined {
    const method = 'sendMessage';
    const { settings } = this.store;
    if (draft.tshow && !draft.tmid) {
      throw new MeteorError('invalid-params', 'tshow provided but missing tmid', { method });
    }
    if (draft.tmid && !settings.isOn('Threads_enabled')) {
      throw new MeteorError('error-not-allowed', 'not-allowed', { method });
    }
    const ts = this.timestamp(draft.ts);
    if (this.quirks.refuseBlankMessages && !draft.msg?.trim() && !draft.attachments?.length) {
      throw new MeteorError('error-invalid-message', 'Message cannot be empty', { method });
    }
    // Only `msg` is measured, never `content`.
    if ((draft.msg ?? '').length > settings.number('Message_MaxAllowedSize')) {
      throw new MeteorError(
        'error-message-size-exceeded',
        'Message size exceeds Message_MaxAllowedSize',
        { method },
      );
    }
    // A reply to a reply goes to the root, and the thread decides the room, whatever `rid` says.
    const parent = draft.tmid === undefined ? undefined : this.store.messages.get(draft.tmid);
    const tmid = parent?.tmid ?? draft.tmid;
    const rid = parent?.rid ?? draft.rid ?? '';

    try {
      const room = this.writableRoom(user, rid);
      const plain = room.encrypted === true && draft.t !== 'e2e';
      if (
        plain &&
        settings.isOn('E2E_Enable') &&
        !settings.isOn('E2E_Allow_Unencrypted_Messages')
      ) {
        throw new MeteorError(
          'error-not-allowed',
          'Not allowed to send un-encrypted messages in an encrypted room',
          { method },
        );
      }
      this.checkImpersonation(user, room, draft);
      checkAttachmentUrls(draft.attachments ?? []);
      return this.store.messages.get(draft._id ?? '') === undefined
        ? this.insert(user, room, { ...draft, ...(tmid !== undefined && { tmid }), ts })
        : undefined;
    } catch (error) {
      const text = error instanceof MeteorError ? String(error.error) : (error as Error).message;
      this.notify.ephemeral(user._id, rid, text);
      throw error;
    }
  }

  /** Writes what the server itself says, and tells the room. */
  system(t: string, room: Room, msg: string, user: User, extra: Partial<Message> = {}): Message {
    const message = this.store.messages.insert({
      _id: this.store.random.id(),
      t,
      rid: room._id,
      ts: this.store.now(),
      msg,
      u: refOf(user),
      groupable: false,
      ...extra,
    });
    this.saved(room, message);
    return message;
  }

  /** `chat.update` (5.3); `t` and `_id` stay. */
  update(
    user: User,
    body: {
      roomId: string;
      msgId: string;
      text?: string;
      content?: unknown;
      e2eMentions?: Message['e2eMentions'];
      customFields?: unknown;
    },
  ): Message {
    const message = this.addressed(body.msgId, body.roomId);
    if (body.content !== undefined && message.t !== 'e2e') {
      throw failure('Only encrypted messages can have content updated.');
    }
    const room = this.writableRoom(user, message.rid);
    const allowed =
      this.store.settings.isOn('Message_AllowEditing') &&
      (message.u._id === user._id || hasPermission(this.store, user._id, 'edit-message', room._id));
    if (!allowed) {
      throw new MeteorError('error-action-not-allowed', 'Message editing not allowed', {
        method: 'updateMessage',
        action: 'Message_editing',
      });
    }
    this.store.messages.update(message, (stored) => {
      if (body.content !== undefined) {
        stored.content = body.content;
        if (body.e2eMentions !== undefined) stored.e2eMentions = body.e2eMentions;
      } else {
        // Taken for an encrypted message too: the server does not look.
        stored.msg = body.text ?? '';
        if (body.customFields !== undefined) stored.customFields = body.customFields;
      }
      this.resolveMentions(room, stored);
      stored.editedAt = this.store.now();
      stored.editedBy = { _id: user._id, username: user.username };
    });
    this.refreshLastMessage(room, message);
    this.notify.message(message);
    return message;
  }

  /** `chat.delete` */
  delete(user: User, msgId: string, roomId?: string): Message {
    const message = this.addressed(msgId, roomId);
    const room = this.store.rooms.get(message.rid);
    const allowed =
      canAccessRoom(this.store, room, user._id) &&
      this.store.settings.isOn('Message_AllowDeleting') &&
      (message.u._id === user._id ||
        hasPermission(this.store, user._id, 'delete-message', message.rid));
    if (!allowed) {
      throw new MeteorError('error-action-not-allowed', 'Not allowed', {
        method: 'deleteMessage',
        action: 'Delete_message',
      });
    }
    this.remove(message);
    this.notify.toRoom(message.rid, 'deleteMessage', { _id: message._id });
    const left = this.inRoom(message.rid).at(-1);
    this.store.rooms.update(room, (stored) => {
      stored.msgs -= 1;
      if (stored.lastMessage?._id === message._id) stored.lastMessage = left;
    });
    this.notify.room(room);
    return message;
  }

  /** A pinned encrypted message is announced with its `content` in an attachment (section 1). */
  pin(user: User, messageId: string): Message {
    const message = this.store.messages.get(messageId);
    if (message === undefined) {
      throw new MeteorError(
        'error-message-not-found',
        'The provided "messageId" does not match any existing message.',
      );
    }
    const room = this.store.rooms.get(message.rid);
    if (!this.store.settings.isOn('Message_AllowPinning')) {
      throw new MeteorError('error-action-not-allowed', 'Message pinning not allowed', {
        method: 'pinMessage',
        action: 'Message_pinning',
      });
    }
    if (
      !hasPermission(this.store, user._id, 'pin-message', message.rid) ||
      !canAccessRoom(this.store, room, user._id)
    ) {
      throw new MeteorError('not-authorized', 'Not Authorized', { method: 'pinMessage' });
    }
    if (message.pinned) return message;
    this.store.messages.update(message, (stored) => {
      stored.pinned = true;
      stored.pinnedAt = this.store.now();
      stored.pinnedBy = { _id: user._id, username: user.username };
    });
    this.notify.message(message);
    return this.system(
      message.t === 'e2e' ? 'message_pinned_e2e' : 'message_pinned',
      room,
      '',
      user,
      {
        attachments: [
          {
            text: message.msg,
            author_name: message.u.username,
            author_icon: `/avatar/${message.u.username}`,
            ...(message.content !== undefined && { content: message.content }),
            ts: message.ts,
            attachments: message.attachments ?? [],
          },
        ],
      },
    );
  }

  /** `chat.getMessage`: a message that is not there and one out of reach look the same. */
  readable(user: User, msgId: string): Message {
    const message = this.store.messages.get(msgId);
    const room = this.store.rooms.get(message?.rid ?? '');
    if (message === undefined || !canAccessRoom(this.store, room, user._id)) throw failure();
    return message;
  }

  /** Oldest first. */
  inRoom(rid: string): Message[] {
    return this.store.messages
      .by('rid', rid)
      .sort(
        (a, b) =>
          a.ts.getTime() - b.ts.getTime() || a._updatedAt.getTime() - b._updatedAt.getTime(),
      );
  }

  /** `*.history`: newest first; `latest` and `oldest` themselves only when `inclusive`. */
  history(
    rid: string,
    query: {
      latest?: string;
      oldest?: string;
      inclusive?: boolean;
      offset?: number;
      count?: number;
      showThreadMessages?: boolean;
    },
  ): Message[] {
    const inclusive = query.inclusive ?? false;
    const offset = query.offset ?? 0;
    const latest = query.latest === undefined ? Number.POSITIVE_INFINITY : Date.parse(query.latest);
    const oldest = query.oldest === undefined ? Number.NEGATIVE_INFINITY : Date.parse(query.oldest);
    return this.inRoom(rid)
      .reverse()
      .filter(({ ts }) => (inclusive ? ts.getTime() <= latest : ts.getTime() < latest))
      .filter(({ ts }) => (inclusive ? ts.getTime() >= oldest : ts.getTime() > oldest))
      .filter(({ tmid, tshow }) => query.showThreadMessages !== false || !tmid || tshow)
      .slice(offset, offset + (query.count ?? 20));
  }

  /**
   * `rooms.cleanHistory`. With `filesOnly` the messages stay, their files go, and the server's
   * attachment says so (3.9: from 8.2 with a type of its own).
   */
  prune(
    rid: string,
    query: { latest: string; oldest: string; inclusive?: boolean; filesOnly?: boolean },
  ): number {
    const [latest, oldest] = [Date.parse(query.latest), Date.parse(query.oldest)];
    const hit = this.inRoom(rid).filter(({ ts }) => {
      const at = ts.getTime();
      return query.inclusive ? at >= oldest && at <= latest : at > oldest && at < latest;
    });
    const bulk = {
      rid,
      excludePinned: false,
      ignoreDiscussion: true,
      ts: { $gt: new Date(oldest), $lt: new Date(latest) },
      users: [],
    };
    if (query.filesOnly !== true) {
      for (const message of hit) this.remove(message);
      this.notify.toRoom(rid, 'deleteMessageBulk', bulk);
      return hit.length;
    }
    const replacement = {
      color: '#FD745E',
      text: '_File removed by prune_',
      ...(this.store.behaviour.removedFileAttachments && { type: 'removed-file' }),
    };
    const withFiles = hit.filter(({ files }) => files !== undefined);
    for (const message of withFiles) {
      this.removeFiles(message);
      this.store.messages.update(message, (stored) => {
        delete stored.file;
        stored.attachments = [replacement];
      });
    }
    this.notify.toRoom(rid, 'deleteMessageBulk', {
      ...bulk,
      filesOnly: true,
      replaceFileAttachmentsWith: replacement,
    });
    return withFiles.length;
  }

  remove(message: Message): void {
    this.removeFiles(message);
    this.store.messages.remove(message);
  }

  private removeFiles(message: Message): void {
    for (const { _id } of message.files ?? []) {
      const upload = this.store.uploads.get(_id);
      if (upload !== undefined) this.store.uploads.remove(upload);
      this.store.blobs.delete(_id);
    }
  }

  /** Past all checks. */
  insert(user: User, room: Room, draft: Draft & { ts: Date }): Message {
    const message = {
      ...draft,
      _id: draft._id ?? this.store.random.id(),
      rid: room._id,
      msg: draft.msg ?? '',
      u: refOf(user),
      urls: links(draft.msg ?? ''),
      // Markdown of an encrypted message is not parsed (5.4), nor of an off-the-record one.
      ...(draft.t === undefined && draft.msg && { md: paragraph(draft.msg) }),
      ...(this.store.settings.isOn('Message_Read_Receipt_Enabled') && { unread: true }),
    };
    this.resolveMentions(room, message);
    if (draft.t === 'otr' && this.store.behaviour.otr) {
      // Streamed, not stored (otr-protocol.md).
      const passing = { ...message, _updatedAt: this.store.now() };
      this.notify.message(passing);
      return passing;
    }
    const stored = this.store.messages.insert(message);
    this.saved(room, stored);
    this.countInThread(stored);
    return stored;
  }

  private saved(room: Room, message: Message): void {
    this.store.rooms.update(room, (stored) => {
      stored.msgs += 1;
      stored.lm = message.ts;
      stored.lastMessage = message;
    });
    this.notify.message(message);
    this.notify.room(room);
    if (!SYSTEM_TYPES.has(message.t ?? '')) this.countUnread(room, message);
  }

  private countUnread(room: Room, message: Message): void {
    const mentioned = new Set((message.mentions ?? []).map(({ _id }) => _id));
    const everyone = mentioned.has('all') || mentioned.has('here');
    for (const member of this.store.membersOf(room._id)) {
      if (member.u._id === message.u._id) continue;
      const own = mentioned.has(member.u._id);
      this.store.subscriptions.update(member, (sub) => {
        sub.alert = true;
        sub.open = true;
        if (own) sub.userMentions += 1;
        if (everyone) sub.groupMentions += 1;
        if (own || everyone || room.t === 'd') sub.unread += 1;
      });
      this.notify.subscription(member);
    }
  }

  private countInThread(message: Message): void {
    const root = message.tmid === undefined ? undefined : this.store.messages.get(message.tmid);
    if (root === undefined) return;
    this.store.messages.update(root, (stored) => {
      stored.tcount = (stored.tcount ?? 0) + 1;
      stored.tlm = message.ts;
      stored.replies = [...new Set([...(stored.replies ?? []), stored.u._id, message.u._id])];
    });
    this.notify.message(root);
  }

  /** `e2eMentions` are resolved instead of `msg` (5.4). */
  private resolveMentions(
    room: Room,
    message: Pick<Message, 'msg' | 'e2eMentions' | 'mentions' | 'channels'>,
  ): void {
    const { e2eUserMentions, e2eChannelMentions } = message.e2eMentions ?? {};
    const users = e2eUserMentions?.length
      ? // Everything but a federated id loses its first character, be it `@` or not.
        e2eUserMentions.map((entry) => (entry.includes(':') ? entry.trim() : entry.trim().slice(1)))
      : named(message.msg, '@');
    const channels = e2eChannelMentions?.length
      ? e2eChannelMentions.map((entry) => entry.trim().slice(1))
      : named(message.msg, '#');
    const limit = this.store.settings.number('Message_MaxAll');
    message.mentions = users.flatMap((username): Record<string, unknown>[] => {
      if (username === 'all' || username === 'here') {
        return limit > 0 && room.usersCount > limit ? [] : [{ _id: username, username }];
      }
      const user = this.store.userNamed(username);
      return user ? [{ _id: user._id, username, name: user.name, type: 'user' }] : [];
    });
    message.channels = channels.flatMap((channel) => {
      const found = this.store.roomNamed(channel);
      return found ? [{ _id: found._id, name: found.name, fname: found.fname }] : [];
    });
  }

  private refreshLastMessage(room: Room, message: Message): void {
    if (room.lastMessage?._id !== message._id) return;
    this.store.rooms.update(room, (stored) => {
      stored.lastMessage = message;
    });
    this.notify.room(room);
  }

  /** A client's clock more than 60 s off is refused, 10–60 s off is ignored. */
  private timestamp(ts: Date | string | undefined): Date {
    const now = this.store.now();
    if (ts === undefined) return now;
    const given = new Date(ts);
    const off = Math.abs(given.getTime() - now.getTime());
    if (!(off <= TS_REFUSED_MS)) {
      throw new MeteorError('error-message-ts-out-of-sync', 'Message timestamp is out of sync', {
        method: 'sendMessage',
        message_ts: ts,
        server_ts: now.getTime(),
      });
    }
    return off > TS_REPLACED_MS ? now : given;
  }

  private writableRoom(user: User, rid: string): Room {
    const room = this.store.rooms.get(rid);
    if (room === undefined) throw new MeteorError('error-invalid-room', 'Invalid room');
    // The sender of type `app` skips the access check (8.3).
    if (user.type !== 'app' && !canAccessRoom(this.store, room, user._id)) {
      throw new MeteorError('error-not-allowed', 'Not allowed');
    }
    if (!canWrite(this.store, room, user)) {
      throw new PlainError("You can't send messages because the room is readonly.");
    }
    return room;
  }

  private checkImpersonation(user: User, room: Room, draft: Draft): void {
    if (draft.alias === undefined && draft.avatar === undefined) return;
    if (!hasPermission(this.store, user._id, 'message-impersonate', room._id)) {
      throw new PlainError('Not enough permission');
    }
  }

  private addressed(msgId: string, roomId: string | undefined): Message {
    const message = this.store.messages.get(msgId);
    if (message === undefined) throw failure(`No message found with the id of "${msgId}".`);
    if (roomId !== undefined && roomId !== message.rid) {
      throw failure('The room id provided does not match where the message is from.');
    }
    return message;
  }
}

/** URLs of attachments are absolute or below the upload path, and never a script (5.1). */
function checkAttachmentUrls(attachments: readonly unknown[]): void {
  for (const attachment of attachments) {
    if (!isRecord(attachment)) throw new MatchError('Expected object in field attachments');
    for (const [name, value] of Object.entries(attachment)) {
      if (!/(_link|_url)$/.test(name) || typeof value !== 'string') continue;
      if (!/^(https?:\/\/|\/file-upload\/)/i.test(value)) {
        throw new PlainError('Invalid href value provided');
      }
    }
  }
}

function named(text: string, sigil: '@' | '#'): string[] {
  return [...text.matchAll(new RegExp(`(?:^|\\s|>)${sigil}([0-9a-zA-Z-_.]+)`, 'gm'))].map(
    ([, name]) => name ?? '',
  );
}

function links(text: string): unknown[] {
  return [...text.matchAll(/https?:\/\/\S+/g)].map(([url]) => ({ url }));
}

function paragraph(value: string): unknown[] {
  return [{ type: 'PARAGRAPH', value: [{ type: 'PLAIN_TEXT', value }] }];
}
