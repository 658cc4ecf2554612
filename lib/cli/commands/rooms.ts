import type { Command } from '../command';
import { usage } from '../failure';
import { confirm } from '../prompt';
import { openAccount } from '../session';

export const rooms: Command = {
  summary: 'List encrypted rooms; authorise rooms, and withdraw that',
  usage: '[authorize|deauthorize <room...>]',
  arity: [0, 1000],
  options: { yes: { type: 'boolean', help: 'do not ask' } },
  help: `
Only in authorised rooms does the account read, send, and give keys. To
deauthorise a room forgets its keys: what only they open is unreadable then,
unless the server or other members still have them.`,
  async run(call) {
    const { output } = call;
    const [action, ...wanted] = call.args;
    if (action !== undefined && action !== 'authorize' && action !== 'deauthorize') {
      throw usage(`rooms can authorize and deauthorize, not “${action}”`);
    }
    if (action !== undefined && wanted.length === 0) throw usage(`${action} needs a room`);
    const { participant, rooms } = await openAccount(call, { distributeKeys: true });
    const ids = wanted.map((room) => rooms.find(room));
    if (action === 'deauthorize') {
      const names = ids.map((id) => rooms.name(id)).join(', ');
      await confirm(`The keys of ${names} will be forgotten.`, {
        yes: call.flag('yes'),
        signal: call.signal,
      });
    }
    for (const id of ids) {
      if (action === 'authorize') await participant.authorizeRoom(id);
      else await participant.deauthorizeRoom(id);
    }
    const { rooms: all } = await participant.status();
    const shown = all.filter(
      ({ roomId, encrypted, authorized }) => encrypted || authorized || ids.includes(roomId),
    );
    if (output.json) {
      for (const { roomId, authorized, encrypted, keyId, key } of shown) {
        output.result({ roomId, name: rooms.name(roomId), authorized, encrypted, keyId, key });
      }
      return undefined;
    }
    if (shown.length === 0) output.note('The account is in no encrypted room.');
    else {
      output.table(
        ['ROOM', 'ID', 'AUTHORISED', 'ENCRYPTED', 'KEY'],
        shown.map(({ roomId, authorized, encrypted, key }) => [
          rooms.name(roomId),
          roomId,
          authorized ? 'yes' : 'no',
          encrypted ? 'yes' : 'no',
          key,
        ]),
      );
    }
    return undefined;
  },
};
