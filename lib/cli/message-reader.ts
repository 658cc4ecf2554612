/*
 * @streamparser/json (MIT, no dependencies, 90 KB as CommonJS, released in August 2026, 4.8 million
 * downloads a month) reads arrays of any length. stream-json would do the same with 3 times the
 * code and a dependency; jsonparse and what builds on it has not been kept up since 2016.
 */
import { JSONParser } from '@streamparser/json';
import { StringDecoder } from 'string_decoder';
import { CliError } from './failure';

/** A message of an export. */
export interface ReadMessage {
  /** Its JSON text. */
  readonly text: string;
  readonly document: Readonly<Record<string, unknown>>;
}

/** Something in an export that is no message; its place, counted from 1. */
export interface BrokenMessage {
  readonly broken: number;
}

/** The code of an export that cannot be read to its end. */
export const DAMAGED = 'ERR_CLI_DAMAGED_EXPORT';
/** Characters. No message is longer. */
const MAX_LINE = 16 * 1024 * 1024;
/** Characters. What begins with a longer line is one document. */
const MAX_HEAD = 1024 * 1024;

/**
 * Reads the messages of an export of any size, in constant memory. Three forms are known: an array
 * of messages (REST pages put together, `mongoexport --jsonArray`), an object whose `messages` is
 * one (a page of `*.history`, what Rocket.Chat's web client downloads), and a message on each line
 * (Rocket.Chat's own export of a room, `mongoexport`).
 */
export async function* messagesIn(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<(ReadMessage | BrokenMessage)[]> {
  const chunks = source[Symbol.asyncIterator]();
  const head: Uint8Array[] = [];
  let start = '';
  let ended = false;
  const decoder = new StringDecoder('utf8');
  while (!ended && start.length < MAX_HEAD && !isDecided(start)) {
    const { value, done } = await chunks.next();
    if (done) ended = true;
    else {
      head.push(value);
      start += decoder.write(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
    }
  }
  const rest = (async function* () {
    yield* head;
    for (;;) {
      const { value, done } = await chunks.next();
      if (done) return;
      yield value;
    }
  })();
  if (start.trim() === '') return;
  const form = formOf(start);
  if (form === '$.messages.*' && !start.includes('"messages"')) {
    throw new CliError('ERR_CLI_NOT_AN_EXPORT', 'there are no “messages” in this export');
  }
  if (form === 'lines') yield* lines(rest);
  else yield* elements(rest, form);
}

/** Whether enough was read to tell the form: the first line, or the first character of an array. */
function isDecided(start: string): boolean {
  const trimmed = start.replace(/^\ufeff/, '').trimStart();
  return trimmed.startsWith('[') || trimmed.includes('\n');
}

function formOf(start: string): 'lines' | '$.*' | '$.messages.*' {
  const trimmed = start.replace(/^\ufeff/, '').trimStart();
  if (trimmed.startsWith('[')) return '$.*';
  const [line = ''] = trimmed.split('\n', 1);
  try {
    return Array.isArray((JSON.parse(line) as { messages?: unknown }).messages)
      ? '$.messages.*'
      : 'lines';
  } catch {
    if (trimmed.startsWith('{')) return '$.messages.*';
    throw new CliError(
      'ERR_CLI_NOT_AN_EXPORT',
      'this is not an export of messages: it is not JSON',
    );
  }
}

async function* lines(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<(ReadMessage | BrokenMessage)[]> {
  const decoder = new StringDecoder('utf8');
  let pending = '';
  let place = 0;
  const read = (line: string) => {
    const text = line.replace(/^\ufeff/, '').trim();
    if (text === '') return [];
    place += 1;
    try {
      const document = JSON.parse(text);
      return [isObject(document) ? { text, document } : { broken: place }];
    } catch {
      return [{ broken: place }];
    }
  };
  for await (const chunk of source) {
    pending += decoder.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    const complete = pending.split('\n');
    pending = complete.pop() ?? '';
    if (pending.length > MAX_LINE) {
      throw new CliError(DAMAGED, `line ${place + 1} is too long for a message`);
    }
    if (complete.length > 0) yield complete.flatMap(read);
  }
  yield read(pending + decoder.end());
}

async function* elements(
  source: AsyncIterable<Uint8Array>,
  path: string,
): AsyncGenerator<(ReadMessage | BrokenMessage)[]> {
  let found: (ReadMessage | BrokenMessage)[] = [];
  let place = 0;
  let damage: Error | undefined;
  const parser = new JSONParser({ paths: [path], keepStack: false });
  parser.onValue = ({ value }) => {
    place += 1;
    found.push(readElement(value, place));
  };
  parser.onError = (error) => {
    damage ??= error;
  };
  for await (const chunk of source) {
    parser.write(chunk);
    if (found.length > 0) yield found;
    found = [];
    if (damage !== undefined) break;
  }
  if (damage === undefined && !parser.isEnded) damage = new Error('it ends too early');
  if (damage !== undefined) {
    throw new CliError(
      DAMAGED,
      `the export is damaged after message ${place}: it is not valid JSON from there on`,
    );
  }
}

function readElement(value: unknown, place: number): ReadMessage | BrokenMessage {
  if (!isObject(value)) return { broken: place };
  try {
    return { text: JSON.stringify(value), document: value };
  } catch {
    // Nested deeper than the stack.
    return { broken: place };
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
