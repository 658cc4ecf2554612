import { MeteorError, PlainError } from './errors';
import type { Message, Store } from './model';
import { canAccessRoom } from './permissions';

export interface SyncQuery {
  roomId: string;
  lastUpdate?: string;
  type?: 'UPDATED' | 'DELETED';
  next?: string;
  previous?: string;
  count?: number;
}

export interface SyncResult {
  updated: Message[];
  deleted: { _id: string; _deletedAt: Date }[];
  cursor?: { next: string | null; previous: string | null };
}

const DEFAULT_COUNT = 20;

/** `chat.syncMessages` in both forms: since a date, and page by page (4.1). */
export function syncMessages(store: Store, uid: string, query: SyncQuery): SyncResult {
  const { roomId, lastUpdate, type, next, previous } = store.behaviour.syncCursors
    ? query
    : { roomId: query.roomId, lastUpdate: query.lastUpdate };
  if (lastUpdate === undefined && !store.behaviour.syncCursors) {
    throw new MeteorError(
      'error-lastUpdate-param-not-provided',
      'The required "lastUpdate" query param is missing.',
    );
  }
  if (lastUpdate === undefined && type === undefined) {
    throw new MeteorError(
      'error-param-required',
      'The "type" or "lastUpdate" parameters must be provided',
    );
  }
  if (lastUpdate !== undefined && Number.isNaN(Date.parse(lastUpdate))) {
    throw new MeteorError(
      'error-lastUpdate-param-invalid',
      'The "lastUpdate" query parameter must be a valid date',
    );
  }
  if (!canAccessRoom(store, store.rooms.get(roomId), uid)) {
    throw new MeteorError('error-not-allowed', 'Not allowed', { method: 'messages/get' });
  }
  if ((next || previous) && !type) {
    throw new MeteorError(
      'error-type-param-required',
      'The "type" parameter is required when using the "next" or "previous" parameters',
    );
  }
  if (next && previous) {
    throw new MeteorError(
      'error-cursor-conflict',
      'You cannot provide both "next" and "previous" parameters',
    );
  }
  if ((next || previous) && lastUpdate) {
    throw new MeteorError(
      'error-cursor-and-lastUpdate-conflict',
      'The attributes "next", "previous" and "lastUpdate" cannot be used together',
    );
  }
  if (lastUpdate !== undefined) return since(store, roomId, new Date(lastUpdate));
  // `type` without a cursor asks the history by mistake: an empty answer that has no cursor. The
  // first page is `next=0`.
  if (type === undefined || (!next && !previous)) return { updated: [], deleted: [] };
  return page(store, roomId, type, query);
}

function since(store: Store, rid: string, lastUpdate: Date): SyncResult {
  return {
    updated: store.messages
      .by('rid', rid)
      .filter(({ _updatedAt }) => _updatedAt > lastUpdate)
      .sort((a, b) => b.ts.getTime() - a.ts.getTime()),
    deleted: store.messages.trash
      .filter((message) => message.rid === rid && message._deletedAt > lastUpdate)
      .sort((a, b) => b.ts.getTime() - a.ts.getTime())
      .map(({ _id, _deletedAt }) => ({ _id, _deletedAt })),
  };
}

function page(
  store: Store,
  rid: string,
  type: 'UPDATED' | 'DELETED',
  { next, previous, count = DEFAULT_COUNT }: SyncQuery,
): SyncResult {
  const edge = Number.parseInt(next ?? previous ?? '', 10);
  if (Number.isNaN(edge)) throw new PlainError('Invalid Date');
  const rows =
    type === 'UPDATED'
      ? store.messages.by('rid', rid).map((message) => ({
          message,
          at: message._updatedAt.getTime(),
        }))
      : store.messages.trash
          .filter((message) => message.rid === rid)
          .map((message) => ({ message, at: message._deletedAt.getTime() }));
  // Deleted ones are sorted by `_updatedAt` as well, although the cursor is their `_deletedAt`.
  const sorted = rows
    .filter(({ at }) => (next ? at > edge : at < edge))
    .sort((a, b) => a.message._updatedAt.getTime() - b.message._updatedAt.getTime());
  if (previous) sorted.reverse();
  const found = sorted.slice(0, count + 1);
  const more = found.length > count;
  const shown = found.slice(0, count);
  const first = shown[0]?.at.toString() ?? null;
  const last = shown.at(-1)?.at.toString() ?? null;
  return {
    updated: type === 'UPDATED' ? shown.map(({ message }) => message) : [],
    deleted:
      type === 'DELETED'
        ? shown.map(({ message, at }) => ({ _id: message._id, _deletedAt: new Date(at) }))
        : [],
    cursor: next
      ? { next: more ? last : null, previous: first }
      : { next: first, previous: more ? last : null },
  };
}
