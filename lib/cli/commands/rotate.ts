import type { Command } from '../command';
import { usage } from '../failure';
import { confirm } from '../prompt';
import { openAccount, told } from '../session';

export const rotate: Command = {
  summary: 'Make a new key for a room, or a new key pair for the account',
  usage: '<room> | --identity',
  arity: [0, 1],
  options: {
    identity: { type: 'boolean', help: 'a new key pair for the account' },
    yes: { type: 'boolean', help: 'do not ask' },
  },
  help: `
A room's new key is given to its members, with the old ones; what was written
before stays readable. It takes the permission toggle-room-e2e-encryption.
A new key pair keeps the passphrase, where it is given, and the room keys that
the store holds; old keys that only the server has are lost with the old pair.`,
  async run(call) {
    const { output } = call;
    const identity = call.flag('identity');
    if (identity === (call.args.length === 1)) throw usage('name a room, or say --identity');
    if (identity) {
      await confirm('The account gets a new key pair, and another fingerprint.', {
        yes: call.flag('yes'),
        signal: call.signal,
      });
    }
    const { participant, rooms } = await openAccount(call, { distributeKeys: true });
    if (identity) {
      let made: string | undefined;
      participant.on('passphrase', ({ passphrase }) => {
        made = passphrase;
      });
      await participant.rotateIdentity();
      await told();
      const fingerprint = await participant.trust.fingerprint();
      if (output.json) {
        output.result({ fingerprint, ...(made !== undefined && { passphrase: made }) });
        return undefined;
      }
      output.line(`fingerprint  ${fingerprint?.slice(0, 39)}`);
      output.line(`             ${fingerprint?.slice(40)}`);
      if (made !== undefined) {
        output.line('\nThe new passphrase, told this once; keep it like a password:');
        output.line(`\n  ${made}`);
      }
      return undefined;
    }
    const roomId = rooms.find(call.args[0] ?? '');
    let served = 0;
    participant.on('keyDistributed', () => {
      served += 1;
    });
    await participant.resetRoomKey(roomId);
    const current = (await participant.getRoomKeyHistory(roomId)).find((key) => key.current);
    const keyId = current?.keyId;
    if (output.json) output.result({ roomId, keyId, served });
    else output.line(`new key ${keyId}, given to ${served} member${served === 1 ? '' : 's'}`);
    return undefined;
  },
};
