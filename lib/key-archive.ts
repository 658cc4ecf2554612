import type { KeyArchive as NativeArchive } from '../binding';
import { type E2eeErrorCode, guardAsync } from './errors';
import { native } from './native';
import type { DecryptedMessage } from './participant';
import type { RecordStore } from './store';
import { coreOf } from './vault';

/** What came of one message; `undefined` where it is not encrypted. */
export type ArchiveOutcome =
  | { readonly message: DecryptedMessage }
  | { readonly code: E2eeErrorCode; readonly why: string; readonly keyId?: string }
  | undefined;

/** The records that keys are in. */
const PREFIXES = ['identity', 'room/'];

/**
 * The room keys of a store or of an exported bundle, for messages of the past: without an account,
 * without a server. Not exported from the package.
 */
export class KeyArchive {
  /** Whose keys these are, where that is known; no fingerprint when the identity was revoked. */
  readonly account: { readonly userId: string; readonly fingerprint: string | null } | null;
  /** How many keys are held, by room. */
  readonly rooms: Readonly<Record<string, number>>;
  readonly #core: NativeArchive;

  private constructor(core: NativeArchive) {
    this.#core = core;
    const { account, rooms } = JSON.parse(core.description);
    this.account = account;
    this.rooms = rooms;
  }

  /** @throws E2eeError (rejects) with `ERR_E2EE_MALFORMED_ENVELOPE` or `ERR_E2EE_WRONG_PASSPHRASE`. */
  static async ofBundle(bundle: string, passphrase: string): Promise<KeyArchive> {
    return new KeyArchive(await guardAsync(() => native.KeyArchive.fromBundle(bundle, passphrase)));
  }

  /** @throws E2eeError (rejects) with one of the codes for stores. */
  static async ofStore(store: RecordStore): Promise<KeyArchive> {
    const records = [];
    for (const prefix of PREFIXES) {
      for (const { name, version, data } of await store.load(prefix)) {
        records.push({ name, version, data: Buffer.from(data).toString('base64') });
      }
    }
    const text = JSON.stringify(records);
    return new KeyArchive(
      await guardAsync(() => native.KeyArchive.fromRecords(coreOf(store.vault), text)),
    );
  }

  /**
   * Decrypts messages, off the event loop.
   *
   * @param messages - the JSON text of each
   * @param roomId - the room of those that name none
   */
  async decrypt(messages: readonly string[], roomId?: string): Promise<ArchiveOutcome[]> {
    const text = await guardAsync(() => this.#core.decrypt(`[${messages.join()}]`, roomId));
    return (JSON.parse(text) as Outcome[]).map(([result, why, keyId]) => {
      if (result === undefined) return undefined;
      if (typeof result !== 'string') return { message: result };
      return { code: result, why: why ?? '', ...(keyId && { keyId }) };
    });
  }
}

type Outcome = [result?: DecryptedMessage | E2eeErrorCode, why?: string, keyId?: string | null];
