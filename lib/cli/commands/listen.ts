import type { E2eeError } from '../../errors';
import type { Command } from '../command';
import { CliError, Exit, tell } from '../failure';
import { lineOf } from '../message-text';
import { safeJson, safeLine } from '../output';
import { openAccount } from '../session';

export const listen: Command = {
  summary: 'Print messages as they come, until Ctrl-C',
  usage: '[room...]',
  arity: [0, 1000],
  options: {
    'no-serve': { type: 'boolean', help: 'give no keys to members who wait' },
  },
  help: `
Takes part while it runs: receives keys, and gives them to members who wait.
Each message is told once among all that share the store: do not run it on the
store of a bot that should get them. --json prints a message on each line.`,
  async run(call) {
    const { output, signal } = call;
    const { participant, rooms } = await openAccount(call, {
      realtime: true,
      distributeKeys: !call.flag('no-serve'),
    });
    const wanted = new Set(call.args.map((room) => rooms.find(room)));
    const authorized = await participant.authorizedRooms();
    const foreign = [...wanted].find((id) => !authorized.includes(id));
    if (authorized.length === 0 || foreign !== undefined) {
      const what = foreign === undefined ? 'no room' : `“${rooms.name(foreign)}”`;
      throw new CliError(
        'ERR_E2EE_ROOM_NOT_AUTHORIZED',
        foreign === undefined
          ? `${what} is authorised in this store; \`rocketchat-e2ee rooms authorize <room>\` does that`
          : `${what} is not authorised in this store; \`rocketchat-e2ee rooms authorize <room>\` does that`,
      );
    }
    const ended = new Promise<number>((resolve, reject) => {
      signal.addEventListener('abort', () => resolve(Exit.done), { once: true });
      participant.on('error', ({ roomId, error }: { roomId: string; error: E2eeError }) => {
        // Nothing will come any more.
        if (error.status === 401 || error.status === 403) reject(error);
        else note({ roomId, ...tell(error) });
      });
    });
    // What ends it may come while it still starts.
    ended.catch(() => undefined);
    const note = ({ roomId, code, message }: { roomId: string; code: string; message: string }) => {
      if (output.json) output.note(safeJson({ roomId, error: { code, message } }));
      else
        output.note(`${safeLine(rooms.name(roomId) || 'account')}: ${safeLine(message)} [${code}]`);
    };
    participant.on('message', (message) => {
      if (wanted.size > 0 && !wanted.has(message.roomId)) return;
      if (output.json) output.result(message);
      else output.line(`${safeLine(rooms.name(message.roomId))}  ${lineOf(message.document)}`);
    });
    participant.on('undecryptable', ({ roomId, messageId, error }) => {
      if (wanted.size > 0 && !wanted.has(roomId)) return;
      const { code, message } = error;
      note({ roomId, code, message: `message ${messageId}: ${message}` });
    });
    participant.on('publicKeyChanged', ({ userId }) =>
      note({
        roomId: '',
        code: 'ERR_E2EE_UNTRUSTED_KEY',
        message: `the public key of user ${userId} has changed; no keys are given to it`,
      }),
    );
    participant.on('disconnected', () => output.json || output.note('disconnected; trying again'));
    await Promise.race([participant.start(), ended]);
    if (!output.json) output.note('Listening; Ctrl-C ends.');
    return await ended;
  },
};
