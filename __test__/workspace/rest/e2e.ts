import { failure } from '../errors';
import { hasPermission } from '../permissions';
import { dictionary, flag, list, shape, text } from '../schema';
import { forbidden, route } from './route';

const room = shape({ rid: text });

const suggestions = dictionary(
  list(
    shape(
      { _id: text, key: text },
      // The server does not demand the members of an old key, nor refuse others.
      { oldKeys: list(shape({}, { e2eKeyId: text, ts: text, E2EKey: text }, 'allowed')) },
    ),
  ),
);

/** Protocol 2.2 and 2.3. */
export const e2eRoutes = [
  route({
    method: 'GET',
    path: 'e2e.fetchMyKeys',
    handle: ({ services, user }) => services.keys.myKeys(user),
  }),
  route({
    method: 'POST',
    path: 'e2e.setUserPublicAndPrivateKeys',
    body: shape({ public_key: text, private_key: text }, { force: flag }),
    handle({ services, user, body }) {
      services.keys.setUserKeys(user, body);
      return undefined;
    },
  }),
  route({
    method: 'GET',
    path: 'e2e.getUsersOfRoomWithoutKey',
    query: room,
    handle: ({ services, user, query }) => ({
      users: services.keys.usersWithoutKey(user._id, query.rid),
    }),
  }),
  route({
    method: 'POST',
    path: 'e2e.setRoomKeyID',
    body: shape({ rid: text, keyID: text }),
    async handle({ services, user, body }) {
      await services.keys.setRoomKeyId(user._id, body.rid, body.keyID);
      return undefined;
    },
  }),
  route({
    method: 'POST',
    path: 'e2e.updateGroupKey',
    body: shape({ uid: text, rid: text, key: text }),
    handle({ services, user, body }) {
      services.keys.updateGroupKey(user._id, body.rid, body.uid, body.key);
      return undefined;
    },
  }),
  route({
    method: 'POST',
    path: 'e2e.acceptSuggestedGroupKey',
    body: room,
    handle({ services, user, body }) {
      services.keys.acceptSuggestion(user._id, body.rid);
      return undefined;
    },
  }),
  route({
    method: 'POST',
    path: 'e2e.rejectSuggestedGroupKey',
    body: room,
    handle({ services, user, body }) {
      services.keys.rejectSuggestion(user._id, body.rid);
      return undefined;
    },
  }),
  route({
    method: 'GET',
    path: 'e2e.fetchUsersWaitingForGroupKey',
    query: shape({ roomIds: list(text) }),
    handle: ({ services, user, query }) => ({
      usersWaitingForE2EKeys: services.keys.usersWaiting(user._id, query.roomIds),
    }),
  }),
  route({
    method: 'POST',
    path: 'e2e.provideUsersSuggestedGroupKeys',
    body: shape({ usersSuggestedGroupKeys: suggestions }),
    handle({ services, user, body }) {
      services.keys.suggestKeys(user._id, body.usersSuggestedGroupKeys);
      return undefined;
    },
  }),
  route({
    method: 'POST',
    path: 'e2e.resetRoomKey',
    body: shape({ rid: text, e2eKey: text, e2eKeyId: text }),
    async handle({ services, user, body }) {
      const { store, keys } = services;
      if (!hasPermission(store, user._id, 'toggle-room-e2e-encryption', body.rid)) {
        throw forbidden(store.behaviour);
      }
      await keys.resetRoomKey(user._id, body.rid, body.e2eKey, body.e2eKeyId);
      return undefined;
    },
  }),
  route({
    method: 'POST',
    path: 'e2e.requestSubscriptionKeys',
    exists: (behaviour) => behaviour.restRequestSubscriptionKeys,
    handle({ services, user }) {
      services.keys.requestKeys(user._id);
      return undefined;
    },
  }),
  route({
    method: 'POST',
    path: 'users.resetE2EKey',
    twoFactor: true,
    body: shape({}, { userId: text, username: text, user: text }),
    handle({ services, user, body }) {
      const { store, accounts } = services;
      const named = body.userId ?? body.username ?? body.user;
      const target =
        named === undefined ? user : (store.users.get(named) ?? store.userNamed(named));
      if (target === undefined) throw failure('Invalid user id');
      accounts.resetE2eKey(user, target);
      return undefined;
    },
  }),
];
