import type { Command } from '../command';
import { confirm } from '../prompt';
import { openAccount } from '../session';

export const revoke: Command = {
  summary: 'Forget the private key for good',
  usage: '',
  arity: [0, 0],
  options: { yes: { type: 'boolean', help: 'do not ask' } },
  help: `
This store will never act for the account again. The key pair stays with the
server, sealed with the passphrase: to be rid of that too, reset it there
(users.resetE2EKey).`,
  async run(call) {
    const { output } = call;
    const { participant } = await openAccount(call);
    await confirm('The private key in this store is forgotten for good.', {
      yes: call.flag('yes'),
      signal: call.signal,
    });
    await participant.revokeIdentity();
    if (output.json) output.result({ revoked: true });
    else output.line('The identity is revoked in this store.');
    return undefined;
  },
};
