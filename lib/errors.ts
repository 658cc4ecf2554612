/**
 * What went wrong, in a form that stays the same from release to release.
 *
 * - `ERR_E2EE_WRONG_PASSPHRASE`: the passphrase does not open the private key, or the stored key
 *   was changed
 * - `ERR_E2EE_AMBIGUOUS_PASSPHRASE`: Rocket.Chat's web and mobile clients would read the
 *   passphrase differently from each other (it has characters outside ASCII)
 * - `ERR_E2EE_ITERATIONS_OUT_OF_RANGE`: the stored private key asks for fewer than 1,000 or more
 *   than 2,000,000 PBKDF2 iterations; no work was done
 * - `ERR_E2EE_MALFORMED_ENVELOPE`: encrypted content, a stored private key or the description of
 *   an encrypted file has no known form
 * - `ERR_E2EE_MALFORMED_KEY`: a JWK, a wrapped room key or a key id has no known form
 * - `ERR_E2EE_UNSUPPORTED_ALGORITHM`: well formed, but for an algorithm that Rocket.Chat's own
 *   encryption does not use, such as Matrix' in federated rooms
 * - `ERR_E2EE_DECRYPTION_FAILED`: the key does not fit, or the ciphertext was changed
 * - `ERR_E2EE_NO_ROOM_KEY`: no key with the message's key id is held
 * - `ERR_E2EE_WRONG_STORE_SECRET`: the secret does not open the store, or is of another kind than the one
 *   that does
 * - `ERR_E2EE_STORE_CORRUPT`: the store's file or one of its records is damaged; nothing was overwritten
 * - `ERR_E2EE_STORE_MISMATCH`: a record is not what was sealed under its name and version: it was changed,
 *   put in another's place, or sealed under another data key
 * - `ERR_E2EE_STORE_TOO_NEW`: a newer version of this library wrote the store
 * - `ERR_E2EE_STORE_FOREIGN`: the file is not a store of this library
 * - `ERR_E2EE_STORE_CONFLICT`: a record has another version than expected, because somebody else wrote it
 *   first; nothing of the batch was written
 * - `ERR_E2EE_STORE_LOCKED`: another process kept the store locked for longer than the timeout
 * - `ERR_E2EE_STORE_REKEYED`: the store got a new data key from elsewhere; open it again
 * - `ERR_E2EE_STORE_IO`: the operating system refused to read or write the store
 * - `ERR_E2EE_ROOM_NOT_AUTHORIZED`: the room is not authorised: neither read nor sent to nor given keys
 * - `ERR_E2EE_NOT_A_MEMBER`: the account is not in the room any more
 * - `ERR_E2EE_IDENTITY_REVOKED`: the identity was revoked; the participant does nothing any more
 * - `ERR_E2EE_OUTBOX_FULL`: too many messages wait to be sent in this room
 * - `ERR_E2EE_DISABLED`: the workspace has end-to-end encryption (`E2E_Enable`), or that of files
 *   (`E2E_Enable_Encrypt_Files`), switched off
 * - `ERR_E2EE_KEY_BUDGET`: the room's key has encrypted 2^32 messages; reset it
 * - `ERR_E2EE_EXPIRED`: a message waited longer than it may, and was not sent
 * - `ERR_E2EE_ROOM_NOT_ENCRYPTED`: the room's encryption is switched off; nothing is sent to it
 * - `ERR_E2EE_ROOM_NOT_ENCRYPTABLE`: rooms of this type are never encrypted: public channels, and
 *   discussions in them
 * - `ERR_E2EE_OTR_UNAVAILABLE`: off-the-record sessions are not to be had: the server is of 8.0 or later
 *   or has them switched off, the room is no direct message of two, or there is no realtime connection
 * - `ERR_E2EE_OTR_DECLINED`: the peer refused the off-the-record session
 * - `ERR_E2EE_OTR_TIMEOUT`: the peer did not answer in time
 * - `ERR_E2EE_OTR_NOT_ESTABLISHED`: no off-the-record session is established, or it ended meanwhile
 * - `ERR_E2EE_WORKSPACE`: the server refused a request, or gave no usable answer in time; see
 *   `status` and `errorType`
 * - `ERR_E2EE_RATE_LIMITED`: the server's rate limit would have outlasted the request's deadline
 * - `ERR_E2EE_CLOSED`: `close()` was called
 * - `ERR_E2EE_INVALID_ARGUMENT`: the caller passed something that cannot be used
 * - `ERR_E2EE_UNSUPPORTED_PLATFORM`: no native binary for this platform is installed
 * - `ERR_E2EE_INTERNAL`: a bug in this library; nothing was lost
 */
export type E2eeErrorCode =
  | 'ERR_E2EE_WRONG_PASSPHRASE'
  | 'ERR_E2EE_AMBIGUOUS_PASSPHRASE'
  | 'ERR_E2EE_ITERATIONS_OUT_OF_RANGE'
  | 'ERR_E2EE_MALFORMED_ENVELOPE'
  | 'ERR_E2EE_MALFORMED_KEY'
  | 'ERR_E2EE_UNSUPPORTED_ALGORITHM'
  | 'ERR_E2EE_DECRYPTION_FAILED'
  | 'ERR_E2EE_NO_ROOM_KEY'
  | 'ERR_E2EE_WRONG_STORE_SECRET'
  | 'ERR_E2EE_STORE_CORRUPT'
  | 'ERR_E2EE_STORE_MISMATCH'
  | 'ERR_E2EE_STORE_TOO_NEW'
  | 'ERR_E2EE_STORE_FOREIGN'
  | 'ERR_E2EE_STORE_CONFLICT'
  | 'ERR_E2EE_STORE_LOCKED'
  | 'ERR_E2EE_STORE_REKEYED'
  | 'ERR_E2EE_STORE_IO'
  | 'ERR_E2EE_ROOM_NOT_AUTHORIZED'
  | 'ERR_E2EE_NOT_A_MEMBER'
  | 'ERR_E2EE_IDENTITY_REVOKED'
  | 'ERR_E2EE_OUTBOX_FULL'
  | 'ERR_E2EE_DISABLED'
  | 'ERR_E2EE_KEY_BUDGET'
  | 'ERR_E2EE_EXPIRED'
  | 'ERR_E2EE_ROOM_NOT_ENCRYPTED'
  | 'ERR_E2EE_ROOM_NOT_ENCRYPTABLE'
  | 'ERR_E2EE_OTR_UNAVAILABLE'
  | 'ERR_E2EE_OTR_DECLINED'
  | 'ERR_E2EE_OTR_TIMEOUT'
  | 'ERR_E2EE_OTR_NOT_ESTABLISHED'
  | 'ERR_E2EE_WORKSPACE'
  | 'ERR_E2EE_RATE_LIMITED'
  | 'ERR_E2EE_CLOSED'
  | 'ERR_E2EE_INVALID_ARGUMENT'
  | 'ERR_E2EE_UNSUPPORTED_PLATFORM'
  | 'ERR_E2EE_INTERNAL';

/**
 * The error of everything that a caller or the network can cause. Switch on `code`; the message
 * is for people, and holds neither secrets nor plaintext.
 */
export class E2eeError extends Error {
  /** See {@link E2eeErrorCode}. */
  readonly code: E2eeErrorCode;
  /**
   * With `ERR_E2EE_WORKSPACE` and `ERR_E2EE_RATE_LIMITED`: the HTTP status of the last answer.
   * Absent when there was none, so that the server may or may not have acted.
   */
  declare readonly status?: number;
  /** With `ERR_E2EE_WORKSPACE`: Rocket.Chat's own code, such as `error-invalid-room`. */
  declare readonly errorType?: string;

  constructor(
    code: E2eeErrorCode,
    message: string,
    options: {
      cause?: unknown;
      status?: number | undefined;
      errorType?: string | undefined;
    } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'E2eeError';
    this.code = code;
    if (options.status !== undefined) this.status = options.status;
    if (options.errorType !== undefined) this.errorType = options.errorType;
  }
}

/** Whether an error carries one of the codes: the binding's, of this build or of the other. */
export function hasCode(error: unknown): error is Pick<E2eeError, 'code' | 'message'> {
  const { code } = Object(error) as { code?: unknown };
  return typeof code === 'string' && code.startsWith('ERR_E2EE_');
}

/** Runs a call into the binding, whose plain errors carry the core's code. */
export function guard<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw e2eeError(error);
  }
}

/** As {@link guard}, for calls that leave the event loop. */
export async function guardAsync<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw e2eeError(error);
  }
}

/** Errors of the binding are known by their code: they need not be of this realm's `Error`. */
function e2eeError(error: unknown): unknown {
  if (error instanceof E2eeError || !hasCode(error)) return error;
  return new E2eeError(error.code, String(error.message));
}

/** Lets text pass, and answers anything else with `code`. */
export function expectText(value: unknown, name: string, code: E2eeErrorCode): string {
  if (typeof value !== 'string') {
    throw new E2eeError(code, `${name} must be a string, not ${kindOf(value)}`);
  }
  return value;
}

/** What a value is, without saying what it holds. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : typeof value;
}
