import { writeFile } from 'fs/promises';
import type { Command } from '../command';
import { secret } from '../secrets';
import { openAccount } from '../session';

export const exportKeys: Command = {
  summary: 'Write every room key that is held, sealed with a passphrase',
  usage: '<file>',
  arity: [1, 1],
  help: `
The file is made anew, readable by this user alone; “-” is standard output.
Whoever has it and its passphrase reads everything that the keys open.`,
  async run(call) {
    const { output } = call;
    const [file = ''] = call.args;
    const passphrase = await secret('KEYS_PASSPHRASE', call.env, call.signal, { twice: true });
    const { participant } = await openAccount(call);
    const bundle = await participant.exportKeys(passphrase);
    if (file === '-') {
      output.line(bundle);
      return undefined;
    }
    await writeFile(file, bundle, { mode: 0o600, flag: 'wx' });
    if (output.json) output.result({ file });
    else output.line(`The keys are in ${file}.`);
    return undefined;
  },
};
