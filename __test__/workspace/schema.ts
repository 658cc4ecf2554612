/**
 * The part of JSON schema that the routes use, with the messages of ajv, which the server hands
 * out as they are: without the path of the member they are about.
 */
export interface Schema<T> {
  /** The first thing wrong with the value; undefined when it fits. `loose` lets extra members be. */
  check(value: unknown, loose?: boolean): string | undefined;
  /** Query strings arrive as text: turns "5" into 5 and a bare value into a list of one. */
  coerce(value: unknown): unknown;
  /** Carries the type only. */
  readonly type?: T;
}

const asIs = (value: unknown): unknown => value;

export const text: Schema<string> = {
  check: (value) => (typeof value === 'string' ? undefined : 'must be string'),
  coerce: asIs,
};

export const nonEmpty: Schema<string> = {
  check: (value) =>
    text.check(value) ?? (value === '' ? 'must NOT have fewer than 1 characters' : undefined),
  coerce: asIs,
};

export const number: Schema<number> = {
  check: (value) => (typeof value === 'number' ? undefined : 'must be number'),
  coerce: (value) =>
    typeof value === 'string' && value.trim() !== '' && Number.isFinite(Number(value))
      ? Number(value)
      : value,
};

export const flag: Schema<boolean> = {
  check: (value) => (typeof value === 'boolean' ? undefined : 'must be boolean'),
  coerce: (value) => (value === 'true' ? true : value === 'false' ? false : value),
};

export const anything: Schema<unknown> = { check: () => undefined, coerce: asIs };

export function oneOf<const T extends string>(...values: readonly T[]): Schema<T> {
  return {
    check: (value) =>
      values.some((allowed) => allowed === value)
        ? undefined
        : 'must be equal to one of the allowed values',
    coerce: asIs,
  };
}

export function list<T>(items: Schema<T>): Schema<T[]> {
  return {
    check(value, loose) {
      if (!Array.isArray(value)) return 'must be array';
      return firstOf(value, (item) => items.check(item, loose));
    },
    coerce: (value) =>
      Array.isArray(value) ? value.map((item) => items.coerce(item)) : [items.coerce(value)],
  };
}

export function dictionary<T>(values: Schema<T>): Schema<Record<string, T>> {
  return {
    check: (value, loose) =>
      isRecord(value)
        ? firstOf(Object.values(value), (member) => values.check(member, loose))
        : 'must be object',
    coerce: asIs,
  };
}

export function nullable<T>(inner: Schema<T>): Schema<T | null> {
  return {
    check: (value, loose) => (value === null ? undefined : inner.check(value, loose)),
    coerce: (value) => inner.coerce(value),
  };
}

type Members<T> = { [K in keyof T]: Schema<T[K]> };

/** An object; `extra` says what happens to members that are not named. */
export function shape<R, O = Record<never, never>>(
  required: Members<R>,
  optional?: Members<O>,
  extra: 'refused' | 'allowed' = 'refused',
): Schema<R & Partial<O>> {
  const members = { ...required, ...optional } as Record<string, Schema<unknown>>;
  return {
    check(value, loose = false) {
      if (!isRecord(value)) return 'must be object';
      const missing = Object.keys(required).find((name) => value[name] === undefined);
      if (missing !== undefined) return `must have required property '${missing}'`;
      const refuses = extra === 'refused' && !loose;
      if (refuses && Object.keys(value).some((name) => !Object.hasOwn(members, name))) {
        return 'must NOT have additional properties';
      }
      return firstOf(Object.entries(members), ([name, schema]) =>
        value[name] === undefined ? undefined : schema.check(value[name], loose),
      );
    },
    coerce: (value) =>
      isRecord(value)
        ? Object.fromEntries(
            Object.entries(value).map(([name, member]) => [
              name,
              Object.hasOwn(members, name) ? members[name]?.coerce(member) : member,
            ]),
          )
        : value,
  };
}

/** Exactly one of several objects. */
export function either<A, B>(a: Schema<A>, b: Schema<B>): Schema<A | B> {
  return {
    check(value, loose) {
      const wrong = [a.check(value, loose), b.check(value, loose)].filter(
        (message) => message !== undefined,
      );
      if (wrong.length === 1) return undefined;
      return wrong.length === 0 ? 'must match exactly one schema in oneOf' : wrong[0];
    },
    coerce: asIs,
  };
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function firstOf<T>(
  values: readonly T[],
  check: (value: T) => string | undefined,
): string | undefined {
  for (const value of values) {
    const wrong = check(value);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}
