import { failure, MeteorError } from '../errors';
import type { Room, User } from '../model';
import { canAccessRoom, hasPermission } from '../permissions';
import { withDefaultExclusions } from '../projections';
import { anything, flag, list, number, shape, text } from '../schema';
import type { Services } from '../services';
import { type Call, paginate, type Route, route } from './route';

interface RoomReference {
  roomId?: string;
  roomName?: string;
}

const reference = { roomId: text, roomName: text };
const pages = { count: number, offset: number, sort: text };
const span = {
  latest: text,
  oldest: text,
  inclusive: flag,
  count: number,
  offset: number,
  unreads: flag,
  showThreadMessages: flag,
};

/** Groups and direct rooms differ in how a room is named and found; the lists are the same. */
type Find = (call: Call<unknown, unknown>, reference: RoomReference) => Room;

const findGroup: Find = ({ services, user }, { roomId, roomName }) => {
  const { store } = services;
  const room = store.rooms.get(roomId ?? '') ?? store.roomNamed(roomName);
  if (room?.t !== 'p' || !canAccessRoom(store, room, user._id)) {
    throw new MeteorError(
      'error-room-not-found',
      'The required "roomId" or "roomName" param provided does not match any group',
    );
  }
  return room;
};

const findDirect: Find = ({ services, user }, { roomId }) => {
  const room = services.store.rooms.get(roomId ?? '');
  if (room?.t !== 'd' || !canAccessRoom(services.store, room, user._id)) {
    throw new MeteorError(
      'error-room-not-found',
      'The required "roomId" param provided does not match any dirct message',
    );
  }
  return room;
};

function lists(prefix: 'groups' | 'im', find: Find): Route[] {
  return [
    route({
      method: 'GET',
      path: `${prefix}.history`,
      query: shape({}, { ...reference, ...span }),
      // Whole messages (4.1).
      handle: (call) => ({
        messages: call.services.messages.history(find(call, call.query)._id, call.query),
      }),
    }),
    route({
      method: 'GET',
      path: `${prefix}.messages`,
      query: shape({}, { ...reference, ...pages }),
      // Messages without their `e2e` (4.1).
      handle(call) {
        const newestFirst = call.services.messages.inRoom(find(call, call.query)._id).reverse();
        const { page, rest } = paginate(newestFirst, call.query);
        return { messages: page.map(withDefaultExclusions), ...rest };
      },
    }),
    route({
      method: 'GET',
      path: `${prefix}.members`,
      query: shape({}, { ...reference, ...pages, filter: text }),
      handle(call) {
        const { store } = call.services;
        const members = store
          .membersOf(find(call, call.query)._id)
          .flatMap(({ u }) => store.users.get(u._id) ?? [])
          .map(({ _id, username, name }) => ({ _id, username, name, status: 'online' }));
        const { page, rest } = paginate(members, call.query);
        return { members: page, ...rest };
      },
    }),
  ];
}

const target = { userId: text, username: text };

function userOf(
  { store }: Services,
  { userId, username }: { userId?: string; username?: string },
): User {
  const user = store.users.get(userId ?? '') ?? store.userNamed(username ?? '');
  if (user === undefined) {
    throw new MeteorError(
      'error-invalid-user',
      'The required "userId" or "username" param provided does not match any users',
    );
  }
  return user;
}

function permitted(
  { services, user }: Call<unknown, unknown>,
  permission: 'add-user-to-any-p-room' | 'remove-user',
  room: Room,
): void {
  if (!hasPermission(services.store, user._id, permission, room._id)) {
    throw new MeteorError('error-not-allowed', 'Not allowed', { method: permission });
  }
}

export const groupRoutes = [
  ...lists('groups', findGroup),
  route({
    method: 'POST',
    path: 'groups.create',
    body: shape(
      { name: text },
      {
        members: list(text),
        readOnly: flag,
        customFields: anything,
        // `encrypted` is in here, not beside it, and with `broadcast` it is required (2.4).
        extraData: shape({ broadcast: flag, encrypted: flag }, { teamId: text }),
        excludeSelf: flag,
      },
    ),
    handle({ services, user, body }) {
      const { store } = services;
      const group = services.rooms.create({
        t: 'p',
        name: body.name,
        owner: user,
        members: (body.members ?? []).flatMap((username) => store.userNamed(username) ?? []),
        encrypted: body.extraData?.encrypted,
        broadcast: body.extraData?.broadcast,
        teamId: body.extraData?.teamId,
      });
      return { group: withDefaultExclusions(group) };
    },
  }),
  route({
    method: 'POST',
    path: 'groups.setEncrypted',
    body: shape({}, { ...reference, encrypted: flag }),
    handle(call) {
      const { services, user, body } = call;
      const room = findGroup(call, body);
      if (body.encrypted === undefined) throw failure('The "encrypted" parameter is required');
      services.rooms.setEncrypted(user, room, body.encrypted);
      return { group: withDefaultExclusions(room) };
    },
  }),
  route({
    method: 'POST',
    path: 'groups.invite',
    body: shape({}, { ...reference, ...target, userIds: list(text), usernames: list(text) }),
    handle(call) {
      const { services, user, body } = call;
      const room = findGroup(call, body);
      permitted(call, 'add-user-to-any-p-room', room);
      const many = [
        ...(body.userIds ?? []).map((userId) => ({ userId })),
        ...(body.usernames ?? []).map((username) => ({ username })),
      ];
      const invited = (many.length > 0 ? many : [body]).map((who) => userOf(services, who));
      for (const one of invited) services.rooms.add(room, one, user);
      return { group: withDefaultExclusions(room) };
    },
  }),
  route({
    method: 'POST',
    path: 'groups.kick',
    body: shape({}, { ...reference, ...target }),
    handle(call) {
      const room = findGroup(call, call.body);
      permitted(call, 'remove-user', room);
      call.services.rooms.remove(room, userOf(call.services, call.body), call.user);
      return undefined;
    },
  }),
  route({
    method: 'POST',
    path: 'groups.leave',
    body: shape({}, reference),
    handle(call) {
      call.services.rooms.remove(findGroup(call, call.body), call.user);
      return undefined;
    },
  }),
];

export const directRoutes = [
  ...lists('im', findDirect),
  route({
    method: 'POST',
    path: 'im.create',
    body: shape({}, { username: text, usernames: text, excludeSelf: flag }),
    handle({ services, user, body }) {
      const names = (body.usernames ?? body.username ?? '').split(',').map((name) => name.trim());
      const others = names.map((username) => userOf(services, { username }));
      const room = services.rooms.direct(user, others);
      return { room: { ...withDefaultExclusions(room), rid: room._id } };
    },
  }),
];
