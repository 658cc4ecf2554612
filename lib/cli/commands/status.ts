import type { Command } from '../command';
import { openAccount, storePath } from '../session';

export const status: Command = {
  summary: 'The account, its rooms and keys, who waits, what is unsent',
  usage: '',
  arity: [0, 0],
  help: `
Reads, and changes nothing. KEY says of the room's current key: held; offered
(the server has it for the account, which takes it at its next round); missing
(somebody who holds it has to come online); none (nobody has made one yet).
OLD counts the older keys that the server names and the store lacks.`,
  async run(call) {
    const { output } = call;
    const { participant, rooms } = await openAccount(call);
    const state = await participant.status();
    const shown = state.rooms.filter(({ encrypted, authorized }) => encrypted || authorized);
    if (output.json) {
      const named = shown.map((room) => ({ ...room, name: rooms.name(room.roomId) }));
      output.result({ ...state, store: storePath(call), rooms: named });
      return undefined;
    }
    const count = (of: (room: (typeof shown)[number]) => number) =>
      shown.reduce((sum, room) => sum + of(room), 0);
    const plural = (number: number, what: string) => `${number} ${what}${number === 1 ? '' : 's'}`;
    const authorized = shown.filter((room) => room.authorized).length;
    output.line(`account      ${state.userId}`);
    output.line(`fingerprint  ${state.fingerprint.slice(0, 39)}`);
    output.line(`             ${state.fingerprint.slice(40)}`);
    output.line(`store        ${storePath(call)}`);
    output.line(`rooms        ${shown.length} encrypted, ${authorized} authorised`);
    output.line(
      `keys         ${count((room) => room.keysHeld)} held, ${count((room) => room.keysMissing.length)} missing`,
    );
    output.line(
      `waiting      ${plural(
        count((room) => room.waiting.length),
        'member',
      )}`,
    );
    output.line(
      `outbox       ${plural(
        count((room) => room.outbox),
        'message',
      )}`,
    );
    if (shown.length === 0) return undefined;
    output.line();
    output.table(
      ['ROOM', 'ID', 'AUTH', 'KEY', 'HELD', 'OLD', 'WAIT', 'OUT'],
      shown.map((room) => [
        rooms.name(room.roomId),
        room.roomId,
        room.authorized ? 'yes' : 'no',
        room.encrypted ? room.key : 'off',
        String(room.keysHeld),
        String(room.keysMissing.filter((id) => id !== room.keyId).length),
        String(room.waiting.length),
        String(room.outbox),
      ]),
    );
    return undefined;
  },
};
