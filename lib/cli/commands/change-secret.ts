import type { Command } from '../command';
import { secret } from '../secrets';
import { openStore } from '../session';

export const changeSecret: Command = {
  summary: 'Open the store with another secret from now on',
  usage: '',
  arity: [0, 0],
  options: {
    rekey: { type: 'boolean', help: 'draw a new data key too, and reseal every record' },
  },
  help: `
Whoever had the file and the old secret has had the data key: --rekey changes
it for what is written from now on. Programs that have the store open must then
open it again.`,
  async run(call) {
    const { output } = call;
    const store = await openStore(call);
    const next = await secret('NEW_STORE_SECRET', call.env, call.signal, { twice: true });
    await store.changeSecret(next);
    const rekeyed = call.flag('rekey');
    if (rekeyed) await store.rekey();
    if (output.json) output.result({ changed: true, rekeyed });
    else
      output.line(rekeyed ? 'The secret and the data key are changed.' : 'The secret is changed.');
    return undefined;
  },
};
