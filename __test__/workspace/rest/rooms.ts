import { HttpError, MeteorError } from '../errors';
import type { Document, Room, Trashed } from '../model';
import { canAccessRoom, hasPermission } from '../permissions';
import { roomFields, subscriptionFields, withDefaultExclusions } from '../projections';
import { anything, flag, list, nonEmpty, shape, text } from '../schema';
import type { Services } from '../services';
import { type Call, forbidden, route } from './route';

const since = shape({}, { updatedSince: text });

/** `{update, remove}` of the `*.get` calls; what was removed is named by its id alone. */
function changes<T extends Document>(
  updatedSince: string | undefined,
  current: readonly T[],
  removed: readonly Trashed<T>[],
  project: (document: T) => object,
): { update: object[]; remove: object[] } {
  if (updatedSince === undefined || updatedSince === '') {
    return { update: current.map(project), remove: [] };
  }
  const date = new Date(updatedSince);
  if (Number.isNaN(date.getTime())) {
    throw new MeteorError(
      'error-updatedSince-param-invalid',
      'The "updatedSince" query parameter must be a valid date.',
    );
  }
  return {
    update: current.filter(({ _updatedAt }) => _updatedAt > date).map(project),
    remove: removed
      .filter(({ _deletedAt }) => _deletedAt > date)
      .map(({ _id, _deletedAt }) => ({ _id, _deletedAt })),
  };
}

function accessible({ services, user }: Call<unknown, unknown>, rid: string): Room {
  const room = services.store.rooms.get(rid);
  if (!canAccessRoom(services.store, room, user._id)) throw forbidden(services.store.behaviour);
  return room;
}

function roomsOf({ store }: Services, uid: string): Room[] {
  return store.subscriptions.by('uid', uid).flatMap(({ rid }) => store.rooms.get(rid) ?? []);
}

/** The form, and the bytes of its file as they came. */
async function multipart(call: Call<unknown, unknown>): Promise<[FormData, Buffer | undefined]> {
  const contentType = call.headers['content-type'] ?? '';
  if (!contentType.startsWith('multipart/form-data')) return [new FormData(), undefined];
  let form: FormData;
  try {
    const body = new Uint8Array(call.bytes);
    form = await new Response(body, { headers: { 'content-type': contentType } }).formData();
  } catch {
    throw new HttpError(400, { success: false, error: 'Malformed multipart body' });
  }
  const file = form.get('file');
  return [form, file instanceof File ? Buffer.from(await file.arrayBuffer()) : undefined];
}

/** `rooms.*` and `subscriptions.*` (2.4, 4.1, 5.5). */
export const roomRoutes = [
  route({
    method: 'GET',
    path: 'subscriptions.get',
    query: since,
    handle: ({ services, user, query }) =>
      changes(
        query.updatedSince,
        services.store.subscriptions.by('uid', user._id),
        services.store.subscriptions.trash.filter((sub) => sub.u._id === user._id),
        (sub) => subscriptionFields(services.store.behaviour, sub),
      ),
  }),
  route({
    method: 'GET',
    path: 'subscriptions.getOne',
    query: shape({ roomId: nonEmpty }),
    // The whole document, so `suggestedOldRoomKeys` too; null when there is none.
    handle: ({ services, user, query }) => ({
      subscription: services.store.subscription(query.roomId, user._id) ?? null,
    }),
  }),
  route({
    method: 'GET',
    path: 'rooms.get',
    query: since,
    handle: ({ services, user, query }) =>
      changes(
        query.updatedSince,
        roomsOf(services, user._id),
        services.store.rooms.trash,
        roomFields,
      ),
  }),
  route({
    method: 'GET',
    path: 'rooms.info',
    query: shape({}, { roomId: text, roomName: text }),
    handle({ services, user, query }) {
      const { store } = services;
      const room = store.rooms.get(query.roomId ?? '') ?? store.roomNamed(query.roomName);
      if (room === undefined) {
        throw new MeteorError(
          'error-room-not-found',
          'The required "roomId" or "roomName" param provided does not match any channel',
        );
      }
      if (!canAccessRoom(store, room, user._id)) {
        throw new HttpError(400, {
          success: false,
          error: 'not-allowed',
          errorType: 'Not Allowed',
        });
      }
      return { room: withDefaultExclusions(room) };
    },
  }),
  route({
    method: 'POST',
    path: 'rooms.saveRoomSettings',
    body: shape({ rid: text }, { encrypted: flag }, 'allowed'),
    handle({ services, user, body }) {
      const room = services.store.rooms.get(body.rid);
      if (!canAccessRoom(services.store, room, user._id)) {
        throw new MeteorError('error-action-not-allowed', 'Editing room is not allowed', {
          method: 'saveRoomSettings',
          action: 'Editing_room',
        });
      }
      if (body.encrypted !== undefined) services.rooms.setEncrypted(user, room, body.encrypted);
      return { rid: room._id };
    },
  }),
  route({
    method: 'POST',
    path: 'rooms.createDiscussion',
    body: shape(
      { prid: text, t_name: text },
      { users: list(text), encrypted: flag, reply: text, pmid: text, topic: text },
    ),
    handle: ({ services, user, body }) => ({
      discussion: services.rooms.discussion(user, body),
    }),
  }),
  route({
    method: 'POST',
    path: 'rooms.cleanHistory',
    body: shape(
      { roomId: text, latest: text, oldest: text },
      {
        inclusive: flag,
        filesOnly: flag,
        excludePinned: flag,
        ignoreThreads: flag,
        users: anything,
      },
    ),
    handle(call) {
      const { services, user, body } = call;
      const room = accessible(call, body.roomId);
      if (!hasPermission(services.store, user._id, 'clean-channel-history', room._id)) {
        throw new MeteorError('error-not-allowed', 'Not allowed', { method: 'cleanRoomHistory' });
      }
      return { _id: room._id, count: services.messages.prune(room._id, body) };
    },
  }),
  route({
    method: 'POST',
    path: 'rooms.media/:rid',
    async handle(call) {
      const room = accessible(call, call.params.rid ?? '');
      const [form, bytes] = await multipart(call);
      const { _id, path } = call.services.uploads.receive(call.user, room._id, form, bytes);
      return { file: { _id, url: path } };
    },
  }),
  route({
    method: 'POST',
    path: 'rooms.mediaConfirm/:rid/:fileId',
    handle(call) {
      const room = accessible(call, call.params.rid ?? '');
      const { services, user, params, body } = call;
      return {
        message: services.uploads.confirm(user, room._id, params.fileId ?? '', body),
      };
    },
  }),
];
