import { createHash } from 'node:crypto';
import type { E2eKeys } from './e2e-keys';
import { MeteorError } from './errors';
import type { Store, User } from './model';
import type { Notifier, Streams } from './notify';
import { hasPermission } from './permissions';

export interface NewUser {
  name?: string;
  password?: string;
  /** Global roles; 'user' when absent. */
  roles?: string[];
  type?: User['type'];
  federated?: boolean;
}

export interface Login {
  user: User;
  token: string;
}

/** A password travels plain (REST) or as `{digest, algorithm: 'sha-256'}` (REST and DDP). */
export type PasswordProof = string | { digest: string; algorithm: 'sha-256' };

export function sha256Hex(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

/** Users, tokens, logins, and the second factor. */
export class Accounts {
  constructor(
    private readonly store: Store,
    private readonly notify: Notifier,
    private readonly streams: Streams,
    private readonly keys: E2eKeys,
  ) {}

  create(username: string, options: NewUser = {}): User {
    if (this.store.userNamed(username) !== undefined) throw new Error(`user ${username} exists`);
    const { password, roles = ['user'], type = 'user', federated } = options;
    return this.store.users.insert({
      _id: this.store.random.id(),
      username,
      name: options.name ?? username.charAt(0).toUpperCase() + username.slice(1),
      type,
      roles: [...roles],
      active: true,
      createdAt: this.store.now(),
      emails: [{ address: `${username}@example.test`, verified: true }],
      services: {
        ...(password !== undefined && { password: { sha256: sha256Hex(password) } }),
        resume: { loginTokens: [] },
      },
      ...(federated !== undefined && { federated }),
    });
  }

  /** The server keeps hashes alone; personal access tokens live in the same array (2.3). */
  issueToken(user: User, kind: 'login' | 'personalAccessToken'): string {
    const token = this.store.random.id(43);
    this.store.users.update(user, (stored) => {
      stored.services.resume.loginTokens.push({
        hashedToken: hashToken(token),
        when: this.store.now(),
        ...(kind === 'personalAccessToken' && { type: kind }),
      });
    });
    return token;
  }

  revokeToken(user: User, token: string): void {
    const hashedToken = hashToken(token);
    this.store.users.update(user, ({ services }) => {
      services.resume.loginTokens = services.resume.loginTokens.filter(
        (stored) => stored.hashedToken !== hashedToken,
      );
    });
    this.streams.disconnect([hashedToken]);
  }

  userOfToken(token: string, uid?: string): User | undefined {
    const hashedToken = hashToken(token);
    const candidates = uid === undefined ? this.store.users.all() : [this.store.users.get(uid)];
    return candidates.find((user) =>
      user?.services.resume.loginTokens.some((stored) => stored.hashedToken === hashedToken),
    );
  }

  loginWithToken(token: string): Login {
    const user = this.userOfToken(token);
    if (user === undefined) {
      throw new MeteorError(403, "You've been logged out by the server. Please log in again.");
    }
    return { user, token };
  }

  loginWithPassword(who: { username?: string; email?: string }, proof: PasswordProof): Login {
    const user = this.store.users
      .all()
      .find(
        ({ username, emails }) =>
          username === who.username || emails.some(({ address }) => address === who.email),
      );
    if (user === undefined) throw new MeteorError(403, 'User not found');
    // The user an app is given cannot log in (8.4).
    if (user.type === 'app') {
      throw new MeteorError(
        'error-app-user-is-not-allowed-to-login',
        'App user is not allowed to login',
      );
    }
    const sha256 = typeof proof === 'string' ? sha256Hex(proof) : proof.digest;
    if (user.services.password?.sha256 !== sha256) {
      throw new MeteorError(403, 'Incorrect password');
    }
    return { user, token: this.issueToken(user, 'login') };
  }

  /**
   * The second factor of an account without an authenticator is its password, as SHA-256 in hex.
   * It is asked for every time: `users.resetE2EKey` does not accept "remember me" (2.3).
   */
  requireSecondFactor(user: User, code?: string, method?: string): void {
    const details = { method: 'password', codeGenerated: false, availableMethods: [] };
    if (!code) throw new MeteorError('totp-required', 'TOTP Required', details);
    if (method !== 'password' || user.services.password?.sha256 !== code.toLowerCase()) {
      throw new MeteorError('totp-invalid', 'TOTP Invalid', details);
    }
  }

  /** `users.resetE2EKey`, and the effect of the DDP method `e2e.resetOwnE2EKey` (2.3). */
  resetE2eKey(caller: User, target: User): void {
    if (
      target._id !== caller._id &&
      !hasPermission(this.store, caller._id, 'edit-other-user-e2ee')
    ) {
      throw new MeteorError('error-not-allowed', 'Not allowed');
    }
    if (target.federated === true) throw new MeteorError('error-not-allowed', 'Not allowed');
    this.notify.toUser(target._id, 'force_logout');
    this.keys.resetUserKeys(target);
    const hashes = target.services.resume.loginTokens.map(({ hashedToken }) => hashedToken);
    this.store.users.update(target, ({ services }) => {
      services.resume.loginTokens = [];
    });
    this.streams.disconnect(hashes);
  }
}

export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('base64');
}
