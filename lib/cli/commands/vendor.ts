import type { Command } from '../command';
import { vendor as write } from '../vendor';

export const vendor: Command = {
  summary: 'Write the library into the folder of a Rocket.Chat app',
  usage: '<folder>',
  arity: [1, 1],
  help: `
Writes rocketchat-e2ee.ts, code and types, for compilers that bundle no
dependencies (apps-cli 1.9.0).`,
  async run({ args: [folder = ''], output }) {
    const file = write(folder);
    if (output.json) output.result({ file });
    else output.line(`Wrote ${file}`);
    return undefined;
  },
};
