import { createReadStream } from 'fs';
import { access, constants } from 'fs/promises';
import { basename } from 'path';
import { text } from 'stream/consumers';
import { setTimeout as wait } from 'timers/promises';
import { E2eeError } from '../../errors';
import type { Participant } from '../../participant';
import type { Command } from '../command';
import { CliError, usage } from '../failure';
import { ask } from '../prompt';
import { openAccount } from '../session';

const WAIT_SECONDS = 30;
const PAUSE_MS = 3000;

export const send: Command = {
  summary: 'Send a message, or a file, encrypted',
  usage: '<room> [text]',
  arity: [1, 2],
  options: {
    file: { type: 'string', value: 'path', help: 'a file to send; the text goes with it' },
    thread: { type: 'string', value: 'id', help: 'the message whose thread it belongs to' },
    wait: { type: 'string', value: 'seconds', help: `for the room's key; ${WAIT_SECONDS}` },
  },
  help: `
Without a text, the message is read from standard input: what stands among the
arguments can be seen by other users of this machine. Nothing is ever sent in
clear: without the room's key, nothing is sent.`,
  async run(call) {
    const { output } = call;
    const [room = '', given] = call.args;
    const seconds = Number(call.text('wait') ?? WAIT_SECONDS);
    if (!(seconds >= 0 && seconds <= 86_400)) throw usage('--wait takes seconds, up to a day');
    const file = call.text('file');
    if (file !== undefined) await access(file, constants.R_OK);
    const msg = given ?? (file === undefined ? await typed(call.signal) : '');
    if (msg === '' && file === undefined) throw usage('there is nothing to send');
    const { participant, rooms } = await openAccount(call, { distributeKeys: true });
    const roomId = rooms.find(room);
    await keyOf(participant, roomId, seconds * 1000, call.signal);
    const threadId = call.text('thread');
    const more = threadId === undefined ? {} : { threadId };
    const sent =
      file === undefined
        ? await participant.sendEncryptedMessage(roomId, { msg, ...more })
        : await participant.sendEncryptedFile(roomId, {
            name: basename(file),
            data: createReadStream(file),
            msg,
            ...more,
          });
    if (output.json) output.result(sent);
    else output.line(`sent ${sent.messageId} under key ${sent.keyId}`);
    return undefined;
  },
};

async function typed(signal: AbortSignal): Promise<string> {
  if (process.stdin.isTTY) return ask('Message: ', { signal });
  return (await text(process.stdin)).replace(/\r?\n$/, '');
}

/** Waits until the room's key is held: the one it has, or a new one where it has none. */
async function keyOf(
  participant: Participant,
  roomId: string,
  patience: number,
  signal: AbortSignal,
): Promise<void> {
  const { rooms } = await participant.status();
  const room = rooms.find((one) => one.roomId === roomId);
  if (room?.authorized && !room.encrypted) {
    throw new CliError(
      'ERR_CLI_NOT_ENCRYPTED',
      'encryption is not switched on in this room, and nothing is sent in clear',
    );
  }
  const end = performance.now() + patience;
  for (;;) {
    try {
      return await participant.createRoomKey(roomId);
    } catch (error) {
      const lacking = error instanceof E2eeError && error.code === 'ERR_E2EE_NO_ROOM_KEY';
      if (!lacking || performance.now() + PAUSE_MS > end) throw error;
      await wait(PAUSE_MS, undefined, { signal });
    }
  }
}
