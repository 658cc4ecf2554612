import { readFile } from 'fs/promises';
import { text } from 'stream/consumers';
import type { Command } from '../command';
import { secret } from '../secrets';
import { openAccount } from '../session';

export const importKeys: Command = {
  summary: 'Take the keys of authorised rooms from such a file',
  usage: '<file>',
  arity: [1, 1],
  help: '“-” is standard input.',
  async run(call) {
    const { output } = call;
    const [file = ''] = call.args;
    const bundle = file === '-' ? await text(process.stdin) : await readFile(file, 'utf8');
    const passphrase = await secret('KEYS_PASSPHRASE', call.env, call.signal);
    const { participant } = await openAccount(call);
    const report = await participant.importKeys(bundle, passphrase);
    if (output.json) output.result(report);
    else {
      output.line(`${report.keys} new keys`);
      if (report.skippedRooms > 0) {
        output.note(
          `${report.skippedRooms} rooms were left out: they are not authorised in this store.`,
        );
      }
    }
    return undefined;
  },
};
