import type { PasswordProof } from '../accounts';
import { failure, HttpError, MeteorError } from '../errors';
import type { User } from '../model';
import { withDefaultExclusions } from '../projections';
import { anything, number, shape, text } from '../schema';
import { paginate, route } from './route';

/** A user as others see it: neither secrets nor, by the default exclusions, the keys (4.1). */
function profile(user: User): object {
  const { services: _services, emails: _emails, createdAt: _createdAt, ...rest } = user;
  return withDefaultExclusions(rest);
}

function me(user: User): object {
  return { ...profile(user), emails: user.emails, settings: { preferences: {} } };
}

export const userRoutes = [
  route({
    method: 'POST',
    path: 'login',
    public: true,
    body: shape(
      {},
      { user: anything, username: text, email: text, password: anything, resume: text },
      'allowed',
    ),
    handle({ services, body }) {
      const who = String(body.user ?? body.username ?? body.email ?? '');
      try {
        const { user, token } =
          body.resume === undefined
            ? services.accounts.loginWithPassword(
                who.includes('@') ? { email: who } : { username: who },
                body.password as PasswordProof,
              )
            : services.accounts.loginWithToken(body.resume);
        return {
          success: undefined,
          status: 'success',
          data: { userId: user._id, authToken: token, me: me(user) },
        };
      } catch (error) {
        if (!(error instanceof MeteorError)) throw error;
        const own = error.error === 403 ? {} : { error: error.error, message: error.reason };
        throw new HttpError(401, {
          status: 'error',
          error: 'Unauthorized',
          message: 'Unauthorized',
          ...own,
        });
      }
    },
  }),
  route({
    method: 'POST',
    path: 'logout',
    handle({ services, user, token }) {
      services.accounts.revokeToken(user, token);
      return {
        success: undefined,
        status: 'success',
        data: { message: "You've been logged out!" },
      };
    },
  }),
  route({ method: 'GET', path: 'me', handle: ({ user }) => me(user) }),
  route({
    method: 'GET',
    path: 'info',
    public: true,
    // Without a permission of its own a caller learns major and minor alone.
    handle: ({ services }) => ({
      version: services.store.behaviour.release.split('.').slice(0, 2).join('.'),
    }),
  }),
  route({
    method: 'GET',
    path: 'settings.public',
    public: true,
    query: shape({}, { _id: text, query: text, sort: text, count: number, offset: number }),
    handle({ services, query }) {
      const wanted = query._id?.split(',').map((id) => id.trim());
      const all = services.store.settings
        .list()
        .filter(({ _id }) => wanted === undefined || wanted.includes(_id));
      const { page, rest } = paginate(all, query);
      return { settings: page, ...rest };
    },
  }),
  route({
    method: 'GET',
    path: 'users.info',
    query: shape({}, { userId: text, username: text, user: text, fields: text }),
    handle({ services, query }) {
      const { store } = services;
      const found =
        query.userId !== undefined
          ? store.users.get(query.userId)
          : store.userNamed(query.username ?? query.user ?? '');
      if (found === undefined) throw failure('User not found.');
      return { user: profile(found) };
    },
  }),
];
