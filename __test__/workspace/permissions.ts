import type { Room, Store, User } from './model';

/** Roles that hold a permission by default (protocol 9.4 and 9.1). */
const PERMISSIONS = {
  'toggle-room-e2e-encryption': ['owner', 'admin'],
  'edit-other-user-e2ee': ['admin'],
  'api-bypass-rate-limit': ['bot', 'app'],
  'send-many-messages': ['bot', 'app', 'admin'],
  'message-impersonate': ['bot', 'app'],
  'pin-message': ['owner', 'moderator', 'admin'],
  'edit-message': ['owner', 'moderator', 'admin'],
  'delete-message': ['owner', 'moderator', 'admin'],
  'clean-channel-history': ['admin'],
  'add-user-to-any-p-room': ['owner', 'moderator', 'admin'],
  'remove-user': ['owner', 'moderator', 'admin'],
} as const satisfies Record<string, readonly string[]>;

export type Permission = keyof typeof PERMISSIONS;

/** Global roles count everywhere, those of a subscription in its room. */
export function hasPermission(
  store: Store,
  uid: string,
  permission: Permission,
  rid?: string,
): boolean {
  const roles = new Set(store.users.get(uid)?.roles);
  if (rid !== undefined) {
    for (const role of store.subscription(rid, uid)?.roles ?? []) roles.add(role);
  }
  return PERMISSIONS[permission].some((role) => roles.has(role));
}

/** "Can access room" (2.2): a public channel, a member, or the parent of a discussion. */
export function canAccessRoom(store: Store, room: Room | undefined, uid: string): room is Room {
  if (room === undefined) return false;
  if (room.t === 'c' || store.subscription(room._id, uid) !== undefined) return true;
  return room.prid !== undefined && canAccessRoom(store, store.rooms.get(room.prid), uid);
}

/** What `canSendMessage` adds to access: a read-only room is for its owner. */
export function canWrite(store: Store, room: Room, user: User): boolean {
  return (
    room.ro !== true || (store.subscription(room._id, user._id)?.roles ?? []).includes('owner')
  );
}
