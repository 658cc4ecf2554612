import type { IncomingHttpHeaders } from 'node:http';
import { HttpError } from '../errors';
import type { User } from '../model';
import type { Schema } from '../schema';
import type { Services } from '../services';
import type { Behaviour } from '../versions';

/** One request as its handler sees it. */
export interface Call<Q, B> {
  readonly services: Services;
  readonly user: User;
  readonly token: string;
  readonly query: Q;
  readonly body: B;
  /** The `:name` parts of the path. */
  readonly params: Readonly<Record<string, string>>;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
}

export interface RouteSpec<Q, B> {
  readonly method: 'GET' | 'POST';
  /** Below `/api/v1/`. */
  readonly path: string;
  /** No login needed; `user` and `token` must not be used. */
  readonly public?: boolean;
  readonly twoFactor?: boolean;
  readonly query?: Schema<Q>;
  readonly body?: Schema<B>;
  /** In which generation the route is there; in all when absent. */
  readonly exists?: (behaviour: Behaviour) => boolean;
  /** What a 200 adds to `success: true`. */
  readonly handle: (call: Call<Q, B>) => object | undefined | Promise<object | undefined>;
}

export type Route = RouteSpec<unknown, unknown> & {
  /** The first part of the path: what faults and logs call it. */
  readonly name: string;
  readonly pattern: RegExp;
};

export function route<Q = Record<string, unknown>, B = Record<string, unknown>>(
  spec: RouteSpec<Q, B>,
): Route {
  const pattern = spec.path.replaceAll('.', '\\.').replaceAll(/:(\w+)/g, '(?<$1>[^/]+)');
  return {
    ...(spec as unknown as RouteSpec<unknown, unknown>),
    name: spec.path.split('/')[0] ?? spec.path,
    pattern: new RegExp(`^/api/(?:v1/)?${pattern}$`),
  };
}

/** `API.v1.forbidden()` */
export function forbidden(behaviour: Behaviour): HttpError {
  return new HttpError(403, { success: false, error: behaviour.forbiddenText });
}

const DEFAULT_COUNT = 50;
const MAX_COUNT = 100;

/** `count` and `offset` of the lists: 50 when absent, 100 at most, 0 for all. */
export function paginate<T>(
  items: readonly T[],
  { count = DEFAULT_COUNT, offset = 0 }: { count?: number; offset?: number },
): { page: T[]; rest: { count: number; offset: number; total: number } } {
  const size = count === 0 ? items.length : Math.min(count, MAX_COUNT);
  const page = items.slice(offset, offset + size);
  return { page, rest: { count: page.length, offset, total: items.length } };
}
