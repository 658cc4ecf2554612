import type { AuditEntry } from '../../participant';
import type { Call, Command } from '../command';
import { usage } from '../failure';
import { openAccount } from '../session';

export const audit: Command = {
  summary: 'What was read, sent, given, and to whom',
  usage: '',
  arity: [0, 0],
  options: {
    room: { type: 'string', value: 'room', help: 'of this room alone' },
    action: { type: 'string', value: 'action', help: 'such as read, sent, keyGiven' },
    user: { type: 'string', value: 'id', help: 'about this user, by id' },
    since: { type: 'string', value: 'time', help: 'from then on: 2026-11-21 or with a time' },
    until: { type: 'string', value: 'time', help: 'up to then' },
    limit: { type: 'string', value: 'number', help: 'the newest of them' },
  },
  help: '--json prints an entry on each line.',
  async run(call) {
    const { output } = call;
    const since = timeOf(call, 'since');
    const until = timeOf(call, 'until');
    const limit = call.text('limit');
    if (limit !== undefined && !/^[1-9]\d{0,8}$/.test(limit)) {
      throw usage('--limit takes a whole number');
    }
    const action = call.text('action');
    const userId = call.text('user');
    const { participant, rooms } = await openAccount(call);
    const room = call.text('room');
    const roomId = room === undefined ? undefined : rooms.find(room);
    const shown = await participant.auditTrail({
      ...(since !== undefined && { since }),
      ...(until !== undefined && { until }),
      ...(limit !== undefined && { limit: Number(limit) }),
      ...(action !== undefined && { action }),
      ...(userId !== undefined && { userId }),
      ...(roomId !== undefined && { roomId }),
    });
    if (output.json) {
      for (const entry of shown) output.result(entry);
      return undefined;
    }
    if (shown.length === 0) output.note('There are no such entries.');
    else {
      output.table(
        ['TIME (UTC)', 'ACTION', 'ROOM', 'DETAILS'],
        shown.map((entry) => [
          new Date(entry.ts).toISOString().slice(0, 19).replace('T', ' '),
          entry.action,
          entry.details.roomId === undefined ? '' : rooms.name(entry.details.roomId),
          detailsOf(entry),
        ]),
      );
    }
    return undefined;
  },
};

function timeOf(call: Call, option: string): number | undefined {
  const text = call.text(option);
  if (text === undefined) return undefined;
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw usage(`--${option} takes a time, such as 2026-11-21T08:00:00Z`);
  return time;
}

function detailsOf({ details }: AuditEntry): string {
  const { roomId: _room, ...more } = details;
  return Object.entries(more)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}
