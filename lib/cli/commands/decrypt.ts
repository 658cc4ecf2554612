import { createReadStream, createWriteStream } from 'fs';
import { open, readFile, rm, stat } from 'fs/promises';
import type { Writable } from 'stream';
import { E2eeError } from '../../errors';
import { type ArchiveOutcome, KeyArchive } from '../../key-archive';
import { MemoryStore } from '../../memory-store';
import type { Participant } from '../../participant';
import type { Workspace } from '../../workspace';
import type { Call, Command } from '../command';
import { CliError, Exit, usage } from '../failure';
import { historyOf } from '../history';
import { type BrokenMessage, DAMAGED, messagesIn, type ReadMessage } from '../message-reader';
import { lineOf, timeOf } from '../message-text';
import { safeJson, safeLine } from '../output';
import { secret } from '../secrets';
import { openAccount, openStore, openWorkspace, participate, Rooms } from '../session';

/** How many messages are decrypted at once: enough to pay for the way to another thread. */
const BATCH = 1000;
/** How many kinds of failure are counted apart; a hostile export can have one for each message. */
const MAX_REASONS = 200;
const REDRAW_MS = 100;

export const decrypt: Command = {
  summary: 'Decrypt an export of messages, or the history of a room',
  usage: '[export.json]',
  arity: [0, 1],
  options: {
    room: {
      type: 'string',
      value: 'room',
      help: 'whose history is read, where no file is named; else the room of messages that name none',
    },
    keys: { type: 'string', value: 'file', help: 'use keys of export-keys; no server, no store' },
    fresh: {
      type: 'boolean',
      help: "use no store: take the room's keys from the server, with the passphrase",
    },
    out: { type: 'string', value: 'file', help: 'where it goes; standard output' },
    unreadable: {
      type: 'string',
      value: 'file',
      help: 'list every message there that could not be opened, as JSON lines',
    },
  },
  help: `
Takes an array of messages, an object with “messages”, or a message on each
line, of any size; “-” is standard input. With a file, no server is asked: the
keys are those of the store or of --keys. Without one, --room is read from the
server. Text comes as a line for each message, --json as an array with a message
on each line. What could not be opened stays in its place, marked, and is summed
up on standard error; the exit code is then ${Exit.incomplete}.

Rocket.Chat's own JSON export of a room leaves the ciphertext of messages out
that were sent since 6.10: read those with --room, without a file.`,
  async run(call) {
    const { output, signal } = call;
    const [file] = call.args;
    if (file === undefined && call.text('room') === undefined) {
      throw usage('name an export, or a room with --room');
    }
    if (file !== undefined && file !== '-') await (await open(file)).close();
    const source = await sourceOf(call, file);
    const sink = await openSink(call);
    const report = new Report(await openList(call));
    const shows = output.showsProgress(call.text('out') !== undefined);
    let drawn = 0;
    const draw = () => {
      if (!shows || performance.now() - drawn < REDRAW_MS) return;
      drawn = performance.now();
      const { share, text } = source.progress();
      output.progress(share, `${text}${report.total.toLocaleString('en')} messages`);
    };
    const timer = setInterval(draw, REDRAW_MS);
    call.onEnd(() => clearInterval(timer));
    let first = true;
    const write = async (batch: readonly (ReadMessage | BrokenMessage)[], outcomes: Outcomes) => {
      const lines = batch.map((message, place) => {
        const outcome = report.add(message, outcomes[place]);
        return output.json ? jsonOf(message, outcome) : textOf(message, outcome);
      });
      if (lines.length === 0) return;
      const text = output.json
        ? `${first ? '[\n' : ',\n'}${lines.join(',\n')}`
        : `${lines.join('\n')}\n`;
      first = false;
      await sink.write(text);
      await report.flush();
    };
    // While one batch is decrypted on another thread, the next one is read here.
    let ahead: Promise<void> = Promise.resolve();
    let damage: unknown;
    try {
      for await (const batch of batches(source.messages)) {
        signal.throwIfAborted();
        const outcomes = decryptBatch(source.archive, batch, source.roomId);
        outcomes.catch(() => undefined);
        await ahead;
        ahead = outcomes.then((done) => write(batch, done));
        ahead.catch(() => undefined);
        draw();
      }
    } catch (error) {
      // What was before the damage is worth having.
      if (!(error instanceof CliError) || error.code !== DAMAGED) throw error;
      damage = error;
    }
    await ahead;
    if (output.json) await sink.write(first ? '[]\n' : '\n]\n');
    await sink.end();
    clearInterval(timer);
    output.settle();
    await report.end();
    if (output.json) output.note(safeJson(report.summary()));
    else for (const line of report.lines()) output.note(line);
    if (damage !== undefined) throw damage;
    return report.unreadable > 0 ? Exit.incomplete : Exit.done;
  },
};

type Messages = AsyncIterable<(ReadMessage | BrokenMessage)[]>;
type Outcomes = readonly ArchiveOutcome[];

interface Source {
  readonly messages: Messages;
  readonly archive: KeyArchive;
  /** The room of messages that name none. */
  readonly roomId: string | undefined;
  progress(): { readonly share: number | undefined; readonly text: string };
}

async function sourceOf(call: Call, file: string | undefined): Promise<Source> {
  const room = call.text('room');
  if (call.text('keys') !== undefined && call.flag('fresh')) {
    throw usage('--keys and --fresh exclude each other');
  }
  if (file === undefined) return historySource(call, room ?? '');
  const { archive, roomId } = await keysFor(call, room);
  const size = file === '-' ? 0 : (await stat(file)).size;
  let read = 0;
  const input = file === '-' ? process.stdin : createReadStream(file, { highWaterMark: 1 << 18 });
  call.onEnd(() => void input.destroy());
  const counted = (async function* () {
    for await (const chunk of input as AsyncIterable<Buffer>) {
      read += chunk.length;
      yield chunk;
    }
  })();
  return {
    messages: messagesIn(counted),
    archive,
    roomId,
    progress: () => ({
      share: size > 0 ? read / size : undefined,
      text: size > 0 ? `${String(Math.floor((100 * read) / size)).padStart(3)}%  ` : '',
    }),
  };
}

/** The keys for a file; a server is asked only with `--fresh`. */
async function keysFor(
  call: Call,
  room: string | undefined,
): Promise<{ archive: KeyArchive; roomId: string | undefined }> {
  const bundle = call.text('keys');
  if (bundle !== undefined) return { archive: await openBundle(call, bundle), roomId: room };
  if (!call.flag('fresh')) {
    return { archive: await KeyArchive.ofStore(await openStore(call)), roomId: room };
  }
  if (room === undefined) throw usage('--fresh needs --room, to know whose keys to take');
  return openFresh(call, room);
}

async function openBundle(call: Call, file: string): Promise<KeyArchive> {
  const text = await readFile(file, 'utf8');
  const passphrase = await secret('KEYS_PASSPHRASE', call.env, call.signal);
  return KeyArchive.ofBundle(text, passphrase);
}

interface Keys {
  readonly archive: KeyArchive;
  readonly roomId: string;
  readonly workspace: Workspace;
}

/** The keys that the server has for the account, held in memory alone. */
async function openFresh(call: Call, room: string): Promise<Keys> {
  const workspace = await openWorkspace(call);
  const { body } = await workspace.request({ method: 'GET', path: 'e2e.fetchMyKeys' });
  if (typeof (Object(body) as { private_key?: unknown }).private_key !== 'string') {
    throw new CliError('ERR_CLI_NOT_SET_UP', 'the account has no E2EE identity, and so no keys');
  }
  const passphrase = await secret('PASSPHRASE', call.env, call.signal);
  const rooms = await Rooms.of(workspace);
  const roomId = rooms.find(room);
  const store = await MemoryStore.open();
  const options = { rooms: [roomId], distributeKeys: false, passphrase };
  await takeKeys(await participate(call, workspace, store, options), roomId);
  return { archive: await KeyArchive.ofStore(store), roomId, workspace };
}

async function historySource(call: Call, room: string): Promise<Source> {
  const { archive, roomId, workspace } = await historyKeys(call, room);
  let phase = '';
  let share: number | undefined;
  const messages = historyOf(call, workspace, roomId, (count, total) => {
    share = total > 0 ? count / total : undefined;
    phase = `${count.toLocaleString('en')} fetched, `;
  });
  return { messages, archive, roomId, progress: () => ({ share, text: phase }) };
}

async function historyKeys(call: Call, room: string): Promise<Keys> {
  const bundle = call.text('keys');
  if (bundle !== undefined) {
    const archive = await openBundle(call, bundle);
    const workspace = await openWorkspace(call);
    return { archive, roomId: (await Rooms.of(workspace)).find(room), workspace };
  }
  if (call.flag('fresh')) return openFresh(call, room);
  const { participant, workspace, rooms, store } = await openAccount(call);
  const roomId = rooms.find(room);
  if (!(await participant.authorizedRooms()).includes(roomId)) {
    throw new E2eeError('ERR_E2EE_ROOM_NOT_AUTHORIZED', 'the room is not authorised');
  }
  await takeKeys(participant, roomId);
  return { archive: await KeyArchive.ofStore(store), roomId, workspace };
}

/** Takes what the server has for the account; makes no key in a room that has none. */
async function takeKeys(participant: Participant, roomId: string): Promise<void> {
  const { rooms } = await participant.status();
  const room = rooms.find((one) => one.roomId === roomId);
  if (room === undefined || room.key === 'none') return;
  try {
    await participant.createRoomKey(roomId);
  } catch (error) {
    // The current key is not to be had; older ones may open what there is.
    if (!(error instanceof E2eeError) || error.code !== 'ERR_E2EE_NO_ROOM_KEY') throw error;
  }
}

async function* batches(messages: Messages): Messages {
  let batch: (ReadMessage | BrokenMessage)[] = [];
  let damage: unknown;
  try {
    for await (const some of messages) {
      for (const message of some) {
        batch.push(message);
        if (batch.length < BATCH) continue;
        yield batch;
        batch = [];
      }
    }
  } catch (error) {
    damage = error;
  }
  if (batch.length > 0) yield batch;
  if (damage !== undefined) throw damage;
}

/** Outcomes in the order of the batch. */
async function decryptBatch(
  archive: KeyArchive,
  batch: readonly (ReadMessage | BrokenMessage)[],
  roomId: string | undefined,
): Promise<Outcomes> {
  const readable = batch.flatMap((message) => ('text' in message ? [message.text] : []));
  const outcomes = (await archive.decrypt(readable, roomId))[Symbol.iterator]();
  return batch.map((message) => {
    if ('text' in message) return outcomes.next().value;
    const why = `entry ${message.broken} of the export is not a message`;
    return { code: 'ERR_E2EE_MALFORMED_ENVELOPE', why };
  });
}

function documentOf(message: ReadMessage | BrokenMessage, outcome: ArchiveOutcome) {
  if (outcome !== undefined && 'message' in outcome) return outcome.message.document;
  return 'document' in message ? message.document : {};
}

function jsonOf(message: ReadMessage | BrokenMessage, outcome: ArchiveOutcome): string {
  const document = documentOf(message, outcome);
  if (outcome === undefined || 'message' in outcome) return safeJson(document);
  const { code, why, keyId } = outcome;
  const unreadable = { code, message: why, ...(keyId && { keyId }) };
  try {
    return safeJson({ ...document, unreadable });
  } catch {
    // Nested deeper than the stack.
    return safeJson({ unreadable });
  }
}

function textOf(message: ReadMessage | BrokenMessage, outcome: ArchiveOutcome): string {
  const failed = outcome !== undefined && 'code' in outcome ? outcome : undefined;
  return lineOf(documentOf(message, outcome), failed);
}

/** Where text goes, no faster than it is taken. */
interface Sink {
  write(text: string): Promise<void>;
  end(): Promise<void>;
}

async function openSink(call: Call): Promise<Sink> {
  const file = call.text('out');
  const stream = file === undefined ? process.stdout : await createFile(call, file);
  return sinkOf(stream, call.signal);
}

async function openList(call: Call): Promise<Sink | undefined> {
  const file = call.text('unreadable');
  return file === undefined ? undefined : sinkOf(await createFile(call, file), call.signal);
}

/**
 * A file for what people said: readable by this user alone, and never in another's place. One that
 * did not come to its end is removed.
 */
async function createFile(call: Call, file: string): Promise<Writable> {
  const stream = createWriteStream(file, { fd: await open(file, 'wx', 0o600) });
  call.onEnd(() => (stream.writableFinished ? undefined : rm(file, { force: true })));
  return stream;
}

function sinkOf(stream: Writable, signal: AbortSignal): Sink {
  let failed: Error | undefined;
  let taken = () => {};
  const wake = () => taken();
  if (stream !== process.stdout) {
    stream.on('error', (error) => {
      failed ??= error;
      wake();
    });
  }
  stream.on('drain', wake);
  signal.addEventListener('abort', wake, { once: true });
  return {
    async write(text) {
      if (failed) throw failed;
      if (stream.write(text)) return;
      await new Promise<void>((resolve) => {
        taken = resolve;
      });
      signal.throwIfAborted();
      if (failed) throw failed;
    },
    async end() {
      if (failed) throw failed;
      if (stream === process.stdout) return;
      await new Promise<void>((resolve, reject) => {
        stream.once('error', reject);
        stream.end(resolve);
      });
    },
  };
}

interface Reason {
  readonly code: string;
  readonly message: string;
  readonly roomId?: string;
  readonly keyId?: string;
  count: number;
  first?: string;
  last?: string;
}

/** What came of the messages, in constant memory. */
class Report {
  total = 0;
  decrypted = 0;
  unreadable = 0;
  readonly #reasons = new Map<string, Reason>();
  #others = 0;
  #list: string[] = [];

  constructor(private readonly sink: Sink | undefined) {}

  add(message: ReadMessage | BrokenMessage, outcome: ArchiveOutcome): ArchiveOutcome {
    this.total += 1;
    if (outcome === undefined) return outcome;
    if ('message' in outcome) {
      this.decrypted += 1;
      return outcome;
    }
    this.unreadable += 1;
    const document = 'document' in message ? message.document : {};
    const time = timeOf(document)?.toISOString();
    const { code, why, keyId } = outcome;
    // What is no id may be of any length.
    const roomId = typeof document.rid === 'string' ? document.rid.slice(0, 64) : undefined;
    const reason = this.#reason(
      // What is broken says where; the kind of failure is the same.
      'broken' in message ? { code, why: 'not a message' } : outcome,
      roomId,
    );
    if (reason !== undefined) {
      reason.count += 1;
      if (time !== undefined) {
        if (reason.first === undefined || time < reason.first) reason.first = time;
        if (reason.last === undefined || time > reason.last) reason.last = time;
      }
    }
    if (this.sink !== undefined) {
      const { _id } = document;
      this.#list.push(safeJson({ _id, roomId, ts: time, code, message: why, keyId }));
    }
    return outcome;
  }

  #reason(
    { code, why, keyId }: { code: string; why: string; keyId?: string },
    roomId: string | undefined,
  ): Reason | undefined {
    const kind = JSON.stringify([code, why, keyId, roomId]);
    const known = this.#reasons.get(kind);
    if (known !== undefined) return known;
    if (this.#reasons.size >= MAX_REASONS) {
      this.#others += 1;
      return undefined;
    }
    const reason: Reason = {
      code,
      message: why,
      ...(roomId !== undefined && { roomId }),
      ...(keyId !== undefined && { keyId }),
      count: 0,
    };
    this.#reasons.set(kind, reason);
    return reason;
  }

  /** Writes what is listed so far. */
  async flush(): Promise<void> {
    const list = this.#list.splice(0);
    if (list.length > 0) await this.sink?.write(`${list.join('\n')}\n`);
  }

  async end(): Promise<void> {
    await this.flush();
    await this.sink?.end();
  }

  #sorted(): Reason[] {
    return [...this.#reasons.values()].sort((a, b) => b.count - a.count);
  }

  summary(): object {
    const { total, decrypted, unreadable } = this;
    return {
      messages: total,
      decrypted,
      notEncrypted: total - decrypted - unreadable,
      unreadable,
      reasons: this.#sorted(),
      ...(this.#others > 0 && { others: this.#others }),
    };
  }

  /** The same for people. */
  lines(): string[] {
    const { total, decrypted, unreadable } = this;
    const number = (value: number) => value.toLocaleString('en');
    const clear = total - decrypted - unreadable;
    const lines = [
      `${number(total)} messages: ${number(decrypted)} decrypted, ${number(clear)} not encrypted, ${number(unreadable)} not readable`,
    ];
    for (const { code, message, roomId, keyId, count, first, last } of this.#sorted()) {
      lines.push('', `${number(count)} × ${safeLine(message)} [${code}]`);
      if (roomId !== undefined) lines.push(`  room  ${safeLine(roomId)}`);
      if (keyId !== undefined) lines.push(`  key   ${safeLine(keyId)}`);
      if (first !== undefined) lines.push(`  from  ${first} to ${last}`);
    }
    if (this.#others > 0) lines.push('', `${number(this.#others)} × for other reasons`);
    return lines;
  }
}
