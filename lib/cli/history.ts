import { mkdtemp, open, rm } from 'fs/promises';
import { tmpdir } from 'os';
import { join } from 'path';
import type { Workspace } from '../workspace';
import type { Call } from './command';
import { CliError } from './failure';
import type { ReadMessage } from './message-reader';

/** What servers give at once, at most, unless they are set up otherwise. */
const PAGE = '100';

const ROUTES: Readonly<Record<string, string>> = { p: 'groups.history', d: 'im.history' };

/**
 * The whole history of a room, oldest first. Servers give the newest first, so the pages wait in a
 * temporary file, as the server sent them: encrypted.
 *
 * @param told - called for each page, with the messages so far and how many the room has
 */
export async function* historyOf(
  call: Call,
  workspace: Workspace,
  roomId: string,
  told: (count: number, total: number) => void,
): AsyncGenerator<ReadMessage[]> {
  const { body } = await workspace.request({
    method: 'GET',
    path: 'rooms.info',
    query: { roomId },
  });
  const { t, msgs } = Object((Object(body) as { room?: unknown }).room) as Record<string, unknown>;
  const route = ROUTES[String(t)];
  if (route === undefined) {
    throw new CliError(
      'ERR_CLI_NOT_ENCRYPTED',
      'only private rooms and direct messages are ever encrypted',
    );
  }
  const folder = await mkdtemp(join(tmpdir(), 'rocketchat-e2ee-'));
  call.onEnd(() => rm(folder, { recursive: true, force: true }));
  const file = await open(join(folder, 'history'), 'wx+', 0o600);
  call.onEnd(() => file.close());
  const pages: { start: number; length: number }[] = [];
  let end = 0;
  let count = 0;
  for await (const page of newestFirst(workspace, route, roomId)) {
    call.signal.throwIfAborted();
    const bytes = Buffer.from(JSON.stringify(page));
    await file.write(bytes, 0, bytes.length, end);
    pages.push({ start: end, length: bytes.length });
    end += bytes.length;
    count += page.length;
    told(count, Number(msgs) || 0);
  }
  for (const { start, length } of pages.reverse()) {
    const bytes = Buffer.alloc(length);
    await file.read(bytes, 0, length, start);
    const page = JSON.parse(bytes.toString()) as Record<string, unknown>[];
    yield page.reverse().map((document) => ({ text: JSON.stringify(document), document }));
  }
}

/** Pages by time, each from the last message of the one before; none comes twice. */
async function* newestFirst(
  workspace: Workspace,
  route: string,
  roomId: string,
): AsyncGenerator<Record<string, unknown>[]> {
  let latest: string | undefined;
  let offset = 0;
  let seen = new Set<unknown>();
  for (;;) {
    const { body } = await workspace.request({
      method: 'GET',
      path: route,
      query: {
        roomId,
        count: PAGE,
        offset: String(offset),
        ...(latest !== undefined && { latest, inclusive: 'true' }),
      },
    });
    const { messages } = Object(body) as { messages?: unknown };
    const page = (Array.isArray(messages) ? messages : []).filter(
      (message): message is Record<string, unknown> =>
        typeof message === 'object' && message !== null,
    );
    const last = page.at(-1)?.ts;
    if (typeof last !== 'string') return;
    const fresh = page.filter(({ _id }) => !seen.has(_id));
    if (last === latest) {
      // More messages of one moment than fit into a page.
      offset += page.length;
      for (const { _id } of page) seen.add(_id);
    } else {
      latest = last;
      offset = 0;
      seen = new Set(page.filter(({ ts }) => ts === last).map(({ _id }) => _id));
    }
    if (fresh.length > 0) yield fresh;
  }
}
