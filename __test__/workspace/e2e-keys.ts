import { MeteorError, PlainError } from './errors';
import type { OldRoomKey, Room, Store, Subscription, User } from './model';
import type { Notifier } from './notify';
import { canAccessRoom } from './permissions';

/** Users per room in one answer, entries of a queue (2.3, 3.1), and old keys kept (3.5). */
const USERS_PER_ROOM = 50;
const QUEUE_LENGTH = 50;
const OLD_KEYS = 10;
const RESET_LOCK_MS = 10_000;
const NOTIFY_BATCH = 100;

export interface SuggestedKey {
  _id: string;
  key: string;
  oldKeys?: { e2eKeyId?: string; ts?: string; E2EKey?: string }[];
}

/** Places where the server waits between two writes; a test can hold it there. */
export interface Gaps {
  /** 7.0 only: between reading the room and writing its key id. */
  setRoomKeyID?: (rid: string, keyId: string) => Promise<void>;
  /** Between steps 3 and 4 of a reset: keys are gone, the room still shows the old id (3.5). */
  resetRoomKey?: (rid: string) => Promise<void>;
}

/** The rules of `e2e.*` (2.3, 3.1, 3.5). */
export class E2eKeys {
  /** In memory per process: a restart forgets them. */
  private readonly resetLocks = new Map<string, number>();

  constructor(
    private readonly store: Store,
    private readonly notify: Notifier,
    private readonly gaps: Gaps,
  ) {}

  forgetLocks(): void {
    this.resetLocks.clear();
  }

  /** Both strings, or neither. */
  myKeys(user: User): { public_key?: string; private_key?: string } {
    return user.e2e === undefined ? {} : { ...user.e2e };
  }

  /** No validation of the content, and `E2EKey`s of an older pair stay (2.3). */
  setUserKeys(
    user: User,
    keys: { public_key: string; private_key: string; force?: boolean },
    method = 'e2e.setUserPublicAndPrivateKeys',
  ): void {
    if (keys.force !== true && user.e2e?.private_key && user.e2e.public_key) {
      throw new MeteorError('error-keys-already-set', 'Keys already set', { method });
    }
    const { private_key, public_key } = keys;
    this.store.users.update(user, (stored) => {
      stored.e2e = { private_key, public_key };
    });
    for (const sub of this.store.subscriptions.by('uid', user._id)) {
      const room = this.store.rooms.get(sub.rid);
      if (sub.E2EKey === undefined && room?.encrypted === true) {
        this.enqueue(room, user._id);
        this.notify.room(room);
      }
    }
  }

  async setRoomKeyId(uid: string, rid: string, keyId: string): Promise<void> {
    const method = 'setRoomKeyID';
    const room = this.store.rooms.get(rid);
    if (!canAccessRoom(this.store, room, uid)) {
      throw new MeteorError('error-invalid-room', 'Invalid room', { method });
    }
    if (room.e2eKeyId !== undefined) {
      throw new MeteorError('error-room-e2e-key-already-exists', 'E2E Key ID already exists', {
        method,
      });
    }
    if (!this.store.behaviour.atomicSetRoomKeyId) {
      // Read-then-write: whoever comes in here meanwhile has passed the check as well, both
      // succeed, and the later write stays.
      await (this.gaps.setRoomKeyID?.(rid, keyId) ?? new Promise(setImmediate));
    }
    this.store.rooms.update(room, (stored) => {
      stored.e2eKeyId = keyId;
    });
    this.notify.room(room);
  }

  updateGroupKey(callerId: string, rid: string, uid: string, key: string): void {
    const caller = this.store.subscription(rid, callerId);
    const room = this.store.rooms.get(rid);
    if (caller === undefined || room === undefined) return; // silently nothing
    if (uid === callerId) {
      this.change(caller, (sub) => {
        sub.E2EKey = key;
      });
      if (this.dequeue(room, [uid])) this.notify.room(room);
      return;
    }
    const target = this.store.subscription(rid, uid);
    if (target === undefined) return;
    this.change(target, (sub) => {
      sub.E2ESuggestedKey = key;
    });
  }

  /** Includes the caller, and who holds a suggestion; no cap. */
  usersWithoutKey(callerId: string, rid: string): { _id: string; e2e: { public_key: string } }[] {
    if (!canAccessRoom(this.store, this.store.rooms.get(rid), callerId)) {
      throw new MeteorError('error-invalid-room', 'Invalid room', {
        method: 'e2e.getUsersOfRoomWithoutKey',
      });
    }
    return this.store
      .membersOf(rid)
      .filter((sub) => sub.E2EKey === undefined)
      .flatMap((sub) => this.publicKeyOf(sub.u._id))
      .map(({ _id, public_key }) => ({ _id, e2e: { public_key } }));
  }

  /** Computed from the subscriptions, not from the queue. */
  usersWaiting(
    callerId: string,
    rids: readonly string[],
  ): Record<string, { _id: string; public_key: string }[]> {
    const waiting: Record<string, { _id: string; public_key: string }[]> = {};
    if (!this.store.settings.isOn('E2E_Enable')) return waiting;
    for (const rid of rids) {
      const readable =
        !this.store.behaviour.waitingUsersFilteredByAccess ||
        canAccessRoom(this.store, this.store.rooms.get(rid), callerId);
      if (!readable) continue;
      const users = this.store
        .membersOf(rid)
        .filter((sub) => sub.E2EKey === undefined && sub.E2ESuggestedKey === undefined)
        .filter((sub) => sub.u._id !== callerId)
        .flatMap((sub) => this.publicKeyOf(sub.u._id))
        .slice(0, USERS_PER_ROOM);
      if (users.length > 0) waiting[rid] = users;
    }
    return waiting;
  }

  /** Overwrites pending suggestions, and suggests to members who have a key. */
  suggestKeys(callerId: string, suggestions: Readonly<Record<string, SuggestedKey[]>>): void {
    if (!this.store.settings.isOn('E2E_Enable')) return;
    for (const [rid, users] of Object.entries(suggestions)) {
      const room = this.store.rooms.get(rid);
      if (!canAccessRoom(this.store, room, callerId)) continue;
      const served: string[] = [];
      for (const { _id, key, oldKeys } of users) {
        const member = this.store.subscription(rid, _id);
        if (member === undefined) continue;
        this.change(member, (sub) => {
          sub.E2ESuggestedKey = key;
          if (oldKeys !== undefined) {
            sub.suggestedOldRoomKeys = oldKeys.map(
              (old) => ({ ...old, ts: new Date(old.ts ?? Number.NaN) }) as OldRoomKey,
            );
          }
        });
        served.push(_id);
      }
      this.dequeue(room, served);
      this.notify.room(room);
    }
  }

  acceptSuggestion(uid: string, rid: string): void {
    const sub = this.suggestionOf(uid, rid, 'e2e.acceptSuggestedGroupKey');
    this.change(sub, (stored) => {
      stored.E2EKey = stored.E2ESuggestedKey;
      // Into an empty place only: there is no merging (3.7).
      if (stored.oldRoomKeys === undefined && stored.suggestedOldRoomKeys !== undefined) {
        stored.oldRoomKeys = stored.suggestedOldRoomKeys;
      }
      delete stored.E2ESuggestedKey;
      delete stored.suggestedOldRoomKeys;
    });
    const room = this.store.rooms.get(rid);
    if (room !== undefined && this.dequeue(room, [uid])) this.notify.room(room);
  }

  rejectSuggestion(uid: string, rid: string): void {
    const sub = this.suggestionOf(uid, rid, 'e2e.rejectSuggestedGroupKey');
    this.change(sub, (stored) => {
      delete stored.E2ESuggestedKey;
      delete stored.suggestedOldRoomKeys;
    });
    const room = this.store.rooms.get(rid);
    if (room !== undefined && this.enqueue(room, uid)) this.notify.room(room);
  }

  /** Nothing is stored; members who listen are asked (2.3). The argument is open in 11.7. */
  requestKeys(uid: string): void {
    for (const sub of this.store.subscriptions.by('uid', uid)) {
      const keyId = this.store.rooms.get(sub.rid)?.e2eKeyId;
      if (sub.E2EKey === undefined && keyId !== undefined) {
        this.notify.toRoom(sub.rid, 'e2e.keyRequest', keyId);
      }
    }
  }

  /** The lock is taken before the access check: a refused call leaves it for 10 s (2.3). */
  async resetRoomKey(uid: string, rid: string, key: string, keyId: string): Promise<void> {
    const now = this.store.clock.now();
    if ((this.resetLocks.get(rid) ?? 0) > now)
      throw new PlainError('error-e2e-key-reset-in-progress');
    this.resetLocks.set(rid, now + RESET_LOCK_MS);
    if (!canAccessRoom(this.store, this.store.rooms.get(rid), uid)) {
      throw new PlainError('error-not-allowed');
    }
    try {
      await this.replaceRoomKey(uid, rid, key, keyId);
    } catch (error) {
      if (!(error instanceof PlainError)) throw error;
      throw new PlainError('error-e2e-key-reset-failed'); // the reason is logged, not returned
    } finally {
      this.resetLocks.delete(rid);
    }
  }

  /** The five steps of 3.5. */
  private async replaceRoomKey(
    uid: string,
    rid: string,
    key: string,
    keyId: string,
  ): Promise<void> {
    // 1. The requester has both keys, the room has a key id.
    const e2e = this.store.users.get(uid)?.e2e;
    if (!e2e?.private_key || !e2e.public_key) throw new PlainError('error-user-has-no-keys');
    const room = this.store.rooms.get(rid);
    const previous = room?.e2eKeyId;
    if (room === undefined || !previous) throw new PlainError('error-room-not-encrypted');

    // 2. and 3. A bulk write past the model layer: `_updatedAt` of these subscriptions stays, so
    // a client that polls with `updatedSince` sees the change by the room alone.
    const affected = this.store
      .membersOf(rid)
      .filter((sub) => sub.E2EKey !== undefined || sub.E2ESuggestedKey !== undefined);
    for (let start = 0; start < affected.length; start += NOTIFY_BATCH) {
      const batch = affected.slice(start, start + NOTIFY_BATCH);
      for (const sub of batch) this.archiveKey(sub, previous);
      for (const sub of batch) if (sub.u._id !== uid) this.notify.subscription(sub);
    }
    await this.gaps.resetRoomKey?.(rid);

    // 4. The queue is replaced, and may be left empty.
    this.store.rooms.update(room, (stored) => {
      stored.e2eKeyId = keyId;
      stored.usersWaitingForE2EKeys = affected
        .filter((sub) => sub.u._id !== uid)
        .slice(0, QUEUE_LENGTH)
        .map((sub) => ({ userId: sub.u._id, ts: this.store.now() }));
    });
    // 5.
    const own = this.store.subscription(rid, uid);
    if (own !== undefined) {
      this.change(own, (sub) => {
        sub.E2EKey = key;
      });
    }
    this.notify.room(room);
  }

  /** A suggestion never accepted is dropped; the 11th oldest key is lost. */
  private archiveKey(sub: Subscription, e2eKeyId: string): void {
    if (sub.E2EKey !== undefined) {
      const older = [...(sub.oldRoomKeys ?? [])].sort((a, b) => b.ts.getTime() - a.ts.getTime());
      const retired = { e2eKeyId, ts: this.store.now(), E2EKey: sub.E2EKey };
      sub.oldRoomKeys = [retired, ...older].slice(0, OLD_KEYS);
    }
    delete sub.E2EKey;
    delete sub.E2ESuggestedKey;
    delete sub.suggestedOldRoomKeys;
  }

  /** Keys and wrapped keys of the user go; every encrypted room has it in the queue (2.3). */
  resetUserKeys(user: User): void {
    this.store.users.update(user, (stored) => {
      delete stored.e2e;
    });
    for (const sub of this.store.subscriptions.by('uid', user._id)) {
      this.change(sub, (stored) => {
        delete stored.E2EKey;
        delete stored.E2ESuggestedKey;
        delete stored.oldRoomKeys;
      });
      const room = this.store.rooms.get(sub.rid);
      if (room !== undefined && this.enqueue(room, user._id)) this.notify.room(room);
    }
  }

  /** Only with `E2E_Enable`, and only who has a public key (3.1). */
  memberAdded(room: Room, user: User): void {
    if (this.store.settings.isOn('E2E_Enable') && user.e2e?.public_key) {
      this.enqueue(room, user._id);
    }
  }

  memberRemoved(room: Room, uid: string): void {
    this.dequeue(room, [uid]);
  }

  /** Only rooms with `encrypted: true`, nobody twice, the last 50 stay (3.1). */
  private enqueue(room: Room, uid: string): boolean {
    const queue = room.usersWaitingForE2EKeys ?? [];
    if (room.encrypted !== true || queue.some(({ userId }) => userId === uid)) return false;
    this.store.rooms.update(room, (stored) => {
      stored.usersWaitingForE2EKeys = [...queue, { userId: uid, ts: this.store.now() }].slice(
        -QUEUE_LENGTH,
      );
    });
    return true;
  }

  /** After a removal the field is unset when empty (3.1). */
  private dequeue(room: Room, uids: readonly string[]): boolean {
    const queue = room.usersWaitingForE2EKeys;
    const left = queue?.filter(({ userId }) => !uids.includes(userId));
    if (queue === undefined || left === undefined || left.length === queue.length) return false;
    this.store.rooms.update(room, (stored) => {
      if (left.length > 0) stored.usersWaitingForE2EKeys = left;
      else delete stored.usersWaitingForE2EKeys;
    });
    return true;
  }

  private suggestionOf(uid: string, rid: string, method: string): Subscription {
    const sub = this.store.subscription(rid, uid);
    if (sub === undefined) {
      throw new MeteorError('error-subscription-not-found', 'Subscription not found', { method });
    }
    if (sub.E2ESuggestedKey === undefined) {
      throw new MeteorError('error-no-suggested-key-available', 'No suggested key available', {
        method,
      });
    }
    return sub;
  }

  private publicKeyOf(uid: string): { _id: string; public_key: string }[] {
    const key = this.store.users.get(uid)?.e2e?.public_key;
    return key ? [{ _id: uid, public_key: key }] : [];
  }

  private change(sub: Subscription, change: (sub: Subscription) => void): void {
    this.store.subscriptions.update(sub, change);
    this.notify.subscription(sub);
  }
}
