import { E2eeError } from '../errors';

/** What the process ends with. Documented in docs/cli.md and `--help`. */
export const Exit = {
  done: 0,
  failed: 1,
  usage: 2,
  incomplete: 3,
  workspace: 4,
  secret: 5,
  noKey: 6,
  bug: 70,
  interrupted: 130,
} as const;

/** Something that the person at the keyboard can mend; its message says how. */
export class CliError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly exit: number = Exit.failed,
  ) {
    super(message);
  }
}

export function usage(message: string): CliError {
  return new CliError('ERR_CLI_USAGE', message, Exit.usage);
}

/** How an error is told: never with a stack, but where it is a bug. */
export interface Told {
  readonly code: string;
  readonly message: string;
  readonly exit: number;
  readonly errorType?: string;
  readonly status?: number;
}

export function tell(error: unknown): Told {
  if (error instanceof CliError) {
    return { code: error.code, message: error.message, exit: error.exit };
  }
  if (error instanceof E2eeError) {
    const { code, message, status, errorType } = error;
    return {
      code,
      message: hint(error) ?? message,
      exit: exitOf(error),
      ...(status !== undefined && { status }),
      ...(errorType !== undefined && { errorType }),
    };
  }
  const { code, syscall, path, message } = Object(error) as NodeJS.ErrnoException;
  if (typeof code === 'string' && typeof syscall === 'string') {
    const what = path === undefined ? syscall : `${syscall} ${path}`;
    return { code, message: `${what}: ${SYSTEM[code] ?? code}`, exit: Exit.failed };
  }
  return {
    code: 'ERR_CLI_BUG',
    message: `this is a bug in rocketchat-e2ee; please report it: ${message ?? error}`,
    exit: Exit.bug,
  };
}

const SYSTEM: Readonly<Record<string, string>> = {
  EACCES: 'not allowed',
  EEXIST: 'is there already, and is not overwritten',
  EISDIR: 'is a folder',
  ENOENT: 'no such file or folder',
  ENOSPC: 'no space left',
};

function exitOf({ code }: E2eeError): number {
  switch (code) {
    case 'ERR_E2EE_WORKSPACE':
    case 'ERR_E2EE_RATE_LIMITED':
      return Exit.workspace;
    case 'ERR_E2EE_WRONG_PASSPHRASE':
    case 'ERR_E2EE_WRONG_STORE_SECRET':
    case 'ERR_E2EE_AMBIGUOUS_PASSPHRASE':
      return Exit.secret;
    case 'ERR_E2EE_NO_ROOM_KEY':
    case 'ERR_E2EE_EXPIRED':
      return Exit.noKey;
    case 'ERR_E2EE_INVALID_ARGUMENT':
      return Exit.usage;
    case 'ERR_E2EE_INTERNAL':
      return Exit.bug;
    default:
      return Exit.failed;
  }
}

/** What helps here, where the library's own message does not say it. */
function hint({ code, message, status, errorType }: E2eeError): string | undefined {
  switch (code) {
    case 'ERR_E2EE_ROOM_NOT_AUTHORIZED':
      return 'the room is not authorised in this store; `rocketchat-e2ee rooms authorize <room>` does that';
    case 'ERR_E2EE_WRONG_STORE_SECRET':
      return `${message} (RC_E2EE_STORE_SECRET or RC_E2EE_STORE_SECRET_FILE)`;
    case 'ERR_E2EE_NO_ROOM_KEY':
      return `${message}; its members were asked, and somebody who holds it has to be online`;
    case 'ERR_E2EE_WORKSPACE':
      if (status === 401) return `${message}; check RC_E2EE_USER_ID and RC_E2EE_TOKEN`;
      return errorType === undefined ? undefined : `${message} (${errorType})`;
    default:
      return undefined;
  }
}
