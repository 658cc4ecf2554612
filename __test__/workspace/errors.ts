/**
 * A Meteor error: REST answers 400 with `error: "<reason> [<code>]"` and `errorType: "<code>"`
 * (protocol 2.1).
 */
export class MeteorError extends Error {
  constructor(
    readonly error: string | number,
    readonly reason?: string,
    readonly details?: Record<string, unknown>,
  ) {
    super(reason === undefined ? `[${error}]` : `${reason} [${error}]`);
    this.name = 'MeteorError';
  }
}

/** An error without a code: REST answers 400 without `errorType`. */
export class PlainError extends Error {}

/** An answer that a handler gives in place of its result. */
export class HttpError extends Error {
  constructor(
    readonly status: number,
    readonly body: unknown,
    readonly headers: Record<string, string> = {},
  ) {
    super(`HTTP ${status}`);
    this.name = 'HttpError';
  }
}

/** `API.v1.failure(text)`: a 400 whose body has at most `error`. */
export function failure(error?: string): HttpError {
  return new HttpError(400, error === undefined ? { success: false } : { success: false, error });
}

/** Meteor's `check()`. */
export class MatchError extends PlainError {
  constructor(message: string) {
    super(`Match error: ${message}`);
    this.name = 'MatchError';
  }
}
