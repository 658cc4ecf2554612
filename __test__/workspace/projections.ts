import type { Room, Subscription } from './model';
import type { Behaviour } from './versions';

type Fields<T> = readonly (keyof T)[];

/** `subscriptionFields` (4.1): no `suggestedOldRoomKeys`, no `encrypted`, no `e2eKeyId`. */
const SUBSCRIPTION_FIELDS: Fields<Subscription> = [
  '_id',
  't',
  'ts',
  'name',
  'fname',
  'rid',
  'u',
  'open',
  'alert',
  'roles',
  'unread',
  'prid',
  'userMentions',
  'groupMentions',
  'autoTranslate',
  'E2EKey',
  'E2ESuggestedKey',
  '_updatedAt',
];

/** `roomFields` (4.1). */
const ROOM_FIELDS: Fields<Room> = [
  '_id',
  'name',
  'fname',
  't',
  'u',
  'lm',
  'msgs',
  'usersCount',
  'topic',
  'broadcast',
  'encrypted',
  'e2eKeyId',
  'usersWaitingForE2EKeys',
  'lastMessage',
  'ro',
  'prid',
  'uids',
  'usernames',
  'ts',
  '_updatedAt',
];

function pick<T extends object>(document: T, fields: Fields<T>): Partial<T> {
  return Object.fromEntries(
    fields
      .filter((field) => document[field] !== undefined)
      .map((field) => [field, document[field]]),
  ) as Partial<T>;
}

export function subscriptionFields(
  behaviour: Behaviour,
  subscription: Subscription,
): Partial<Subscription> {
  return pick(
    subscription,
    behaviour.subscriptionFieldsWithOldRoomKeys
      ? [...SUBSCRIPTION_FIELDS, 'oldRoomKeys']
      : SUBSCRIPTION_FIELDS,
  );
}

export function roomFields(room: Room): Partial<Room> {
  return pick(room, ROOM_FIELDS);
}

/** The API's default exclusions (4.1): meant for users, they take a message's `e2e` along. */
export function withDefaultExclusions<T extends object>(document: T): Partial<T> {
  const excluded = ['joinCode', 'members', 'importIds', 'e2e'];
  return Object.fromEntries(
    Object.entries(document).filter(([field]) => !excluded.includes(field)),
  ) as Partial<T>;
}
