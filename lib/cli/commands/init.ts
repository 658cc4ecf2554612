import { KeyArchive } from '../../key-archive';
import type { Command } from '../command';
import { knownSecret, secret } from '../secrets';
import { openStore, openWorkspace, participate, Rooms, storePath, told } from '../session';

const WARNING = `Whoever has this store and its secret, or the passphrase, can read everything that
people write in the rooms that the account is authorised for. Tell them that the
account is there, and why.`;

export const init: Command = {
  summary: 'Set up the store and the identity',
  usage: '[room...]',
  arity: [0, 1000],
  help: `
Makes the store, and the account's key pair where it has none: with the
passphrase that is given, or with a new one, which is told once. Where the
account has a key pair, the passphrase opens it. The rooms that are named, by
name or id, are authorised. May be run again.`,
  async run(call) {
    const { output } = call;
    const workspace = await openWorkspace(call);
    // Before a store is made: an account that the server refuses needs none.
    const rooms = await Rooms.of(workspace);
    const ids = call.args.map((room) => rooms.find(room));
    const known = await workspace.request({ method: 'GET', path: 'e2e.fetchMyKeys' });
    const store = await openStore(call, { create: true });
    let passphrase = knownSecret('PASSPHRASE', call.env);
    const held = (await KeyArchive.ofStore(store)).account !== null;
    if (!held && passphrase === undefined && hasKeys(known.body)) {
      passphrase = await secret('PASSPHRASE', call.env, call.signal);
    }
    const participant = await participate(call, workspace, store, {
      rooms: ids,
      ...(passphrase !== undefined && { passphrase }),
    });
    let made: string | undefined;
    let created = false;
    participant.on('passphrase', ({ passphrase }) => {
      made = passphrase;
    });
    participant.on('identityCreated', () => {
      created = true;
    });
    // Then the passphrase is marked as told, which is done when a further call has an answer.
    await told();
    const fingerprint = await participant.trust.fingerprint();
    const authorized = await participant.authorizedRooms();
    if (output.json) {
      output.result({
        userId: workspace.userId,
        store: storePath(call),
        created,
        fingerprint,
        authorized,
        ...(made !== undefined && { passphrase: made }),
      });
      return undefined;
    }
    output.line(created ? 'A new key pair was made.' : 'The account has its key pair.');
    output.line(`store        ${storePath(call)}`);
    output.line(`fingerprint  ${fingerprint?.slice(0, 39)}`);
    output.line(`             ${fingerprint?.slice(40)}`);
    output.line(`rooms        ${authorized.length} authorised`);
    if (made !== undefined) {
      output.line();
      output.line('The passphrase, told this once; keep it like a password:');
      output.line();
      output.line(`  ${made}`);
    }
    output.note(`\n${WARNING}`);
    return undefined;
  },
};

function hasKeys(body: unknown): boolean {
  return typeof (Object(body) as { private_key?: unknown }).private_key === 'string';
}
