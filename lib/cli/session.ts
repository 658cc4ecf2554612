import { existsSync } from 'fs';
import { setTimeout } from 'timers/promises';
import { KeyArchive } from '../key-archive';
import { Participant, type ParticipantOptions } from '../participant';
import { RealtimeWorkspace } from '../realtime-workspace';
import { RestWorkspace } from '../rest-workspace';
import { SqliteStore } from '../sqlite-store';
import type { RecordStore } from '../store';
import type { Workspace } from '../workspace';
import type { Call } from './command';
import { CliError, Exit, usage } from './failure';
import { knownSecret, PREFIX, secret } from './secrets';

const APP_ID = 'rocketchat-e2ee-cli';
/** Longer than the participant waits for its listeners. */
const TOLD_MS = 20;
const DEFAULT_STORE = 'rocketchat-e2ee.store';

/** A setting that is not secret: an option, or an environment variable. */
function setting(call: Call, option: string, variable: string, what: string): string {
  const value = call.text(option) ?? call.env[PREFIX + variable];
  if (!value) throw usage(`${what} is missing: set ${PREFIX}${variable}, or say --${option}`);
  return value;
}

export function storePath(call: Call): string {
  return call.text('store') ?? (call.env[`${PREFIX}STORE`] || DEFAULT_STORE);
}

/** Opens the store; makes one only where `create` says so. */
export async function openStore(call: Call, { create = false } = {}): Promise<SqliteStore> {
  const path = storePath(call);
  const exists = existsSync(path);
  if (!exists && !create) {
    throw new CliError(
      'ERR_CLI_NOT_SET_UP',
      `there is no store at ${path}: run \`rocketchat-e2ee init\` first, or name another with --store or ${PREFIX}STORE`,
      Exit.usage,
    );
  }
  const key = await secret('STORE_SECRET', call.env, call.signal, { twice: !exists });
  const store = await SqliteStore.open(path, { secret: key });
  call.onEnd(() => store.close());
  return store;
}

/** The way to the server; a realtime one only for what listens. */
export async function openWorkspace(call: Call, { realtime = false } = {}): Promise<Workspace> {
  const url = setting(call, 'url', 'URL', 'the address of the server');
  const userId = setting(call, 'user-id', 'USER_ID', "the account's user id");
  const authToken = await secret('TOKEN', call.env, call.signal);
  const Way = realtime ? RealtimeWorkspace : RestWorkspace;
  const workspace = new Way({ url, userId, authToken });
  call.onEnd(() => workspace.close());
  return workspace;
}

/** Opens the account in a workspace and a store; closes both at the end. */
export async function participate(
  call: Call,
  workspace: Workspace,
  store: RecordStore,
  options: Pick<ParticipantOptions, 'rooms' | 'distributeKeys'> & { passphrase?: string },
): Promise<Participant> {
  const participant = await Participant.open({ appId: APP_ID, workspace, store, ...options });
  call.onEnd(() => participant.close());
  return participant;
}

/** What most commands work with. */
interface Account {
  readonly participant: Participant;
  readonly workspace: Workspace;
  readonly store: RecordStore;
  readonly rooms: Rooms;
}

/** Opens an account that `init` has set up. */
export async function openAccount(
  call: Call,
  { realtime = false, distributeKeys = false } = {},
): Promise<Account> {
  const store = await openStore(call);
  // Any other command than `init` must not make an identity by the way.
  if ((await KeyArchive.ofStore(store)).account === null) {
    throw new CliError(
      'ERR_CLI_NOT_SET_UP',
      'this store has no identity yet: run `rocketchat-e2ee init` first',
      Exit.usage,
    );
  }
  const workspace = await openWorkspace(call, { realtime });
  const passphrase = knownSecret('PASSPHRASE', call.env);
  const participant = await participate(call, workspace, store, {
    rooms: [],
    distributeKeys,
    ...(passphrase !== undefined && { passphrase }),
  });
  return { participant, workspace, store, rooms: await Rooms.of(workspace) };
}

/** Until what happened while the participant was opened has been told to whoever listens. */
export async function told(): Promise<void> {
  await setTimeout(TOLD_MS);
}

/** The account's rooms, by id and by the names that its people know. */
export class Rooms {
  /** What a room is called, by its id: first what people see, then what mentions say. */
  readonly #names = new Map<string, string[]>();

  static async of(workspace: Workspace): Promise<Rooms> {
    const { body } = await workspace.request({ method: 'GET', path: 'subscriptions.get' });
    const rooms = new Rooms();
    const { update } = Object(body) as { update?: unknown };
    for (const subscription of Array.isArray(update) ? update : []) {
      const { rid, name, fname } = Object(subscription) as Record<string, unknown>;
      if (typeof rid !== 'string') continue;
      const isName = (one: unknown): one is string => typeof one === 'string' && one !== '';
      rooms.#names.set(rid, [fname, name].filter(isName));
    }
    return rooms;
  }

  /** What people call a room; its id where they call it nothing. */
  name(id: string): string {
    return this.#names.get(id)?.[0] ?? id;
  }

  /** The id of a room that somebody has named, by id or by name. */
  find(wanted: string): string {
    if (this.#names.has(wanted)) return wanted;
    const name = wanted.replace(/^[#@]/, '');
    const found = [...this.#names].filter(([, names]) => names.includes(name));
    if (found.length > 1) {
      const ids = found.map(([id]) => id).join(', ');
      throw usage(`more than one room has this name; say which by its id: ${ids}`);
    }
    const [id] = found[0] ?? [];
    if (id === undefined) {
      throw new CliError('ERR_CLI_NO_SUCH_ROOM', `the account is in no room “${wanted}”`);
    }
    return id;
  }
}
