import { readdirSync, readFileSync } from 'fs';
import { join } from 'path';
import {
  MemoryStore,
  Participant,
  type ParticipantOptions,
  RealtimeWorkspace,
  type RecordStore,
  RestWorkspace,
  SqliteStore,
} from '..';
import type { Account, Message, Workspace } from './workspace';

export const PASSPHRASE = 'correct horse battery staple';
export const SECRET = Buffer.alloc(32, 7);

/** Enough randomness for a test, the same for the same seed (xorshift32). */
export function random(seed: number): (below: number) => number {
  let state = seed * 0x9e3779b1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

export interface Ways extends Partial<ParticipantOptions> {
  /** The file of a SqliteStore; a MemoryStore without it. */
  path?: string;
  /** Over DDP too. */
  realtime?: boolean;
  /** Milliseconds for all attempts of a request. */
  patience?: number;
}

/** A participant for an account of the stand-in workspace. */
export async function participate(
  workspace: Pick<Workspace, 'url'>,
  { _id: userId, authToken }: Account,
  { path, realtime = false, patience: deadline, ...options }: Ways = {},
): Promise<Participant> {
  const account = { url: workspace.url, userId, authToken, ...(deadline && { deadline }) };
  return Participant.open({
    appId: 'test',
    workspace: realtime ? new RealtimeWorkspace(account) : new RestWorkspace(account),
    store: path ? await SqliteStore.open(path, { secret: SECRET }) : await MemoryStore.open(),
    passphrase: PASSPHRASE,
    rooms: 'all',
    ...options,
  });
}

/** A store over another one, which does some things in its own way. */
export function storeOver(store: RecordStore, changes: Partial<RecordStore>): RecordStore {
  return {
    vault: store.vault,
    load: (prefix) => store.load(prefix),
    commit: (batch, claims) => store.commit(batch, claims),
    claim: (id, ttl) => store.claim(id, ttl),
    close: () => store.close(),
    ...changes,
  };
}

/** The files of a folder that hold one of these texts, byte for byte. */
export function filesWith(folder: string, ...needles: string[]): string[] {
  return readdirSync(folder).filter((file) => {
    const bytes = readFileSync(join(folder, file));
    return needles.some((needle) => bytes.includes(needle));
  });
}

/** A user's encrypted messages in a room, oldest first. */
export function postedBy({ _id }: Account, rid: string, workspace: Workspace): Message[] {
  return workspace.messagesIn(rid).filter(({ t, u }) => t === 'e2e' && u._id === _id);
}

/** Waits until something is so; says what it waited for where it never is. */
export async function until(what: string, ready: () => unknown, patience = 10_000): Promise<void> {
  const end = Date.now() + patience;
  while (!(await ready())) {
    if (Date.now() > end) throw new Error(`it never came to this: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
