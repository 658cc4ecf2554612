import { randomUUID } from 'crypto';
import type { WorkspaceForm } from './workspace';

/** A form on its way, written piece by piece: memory does not grow with the file. */
export interface Multipart {
  readonly contentType: string;
  /** Where the size of the file is known. */
  readonly contentLength: number | undefined;
  readonly body: ReadableStream<Uint8Array>;
  /** What reading the file failed with: not the network's fault. */
  readonly sourceError: () => { readonly error: unknown } | undefined;
}

const PIECE = 64 * 1024;

/** True once a file that can be read only once has been begun. */
export function isSpent({ file }: WorkspaceForm): boolean {
  return typeof file === 'object' && spent.has(file);
}

const spent = new WeakSet<object>();

/** `progress` is called whenever the connection takes another piece. */
export function multipart(form: WorkspaceForm, progress: () => void): Multipart {
  const boundary = `rocketchat-e2ee-${randomUUID()}`;
  const { file, fileName, content, contentType = 'application/octet-stream' } = form;
  // The field first: a server that streams has it before the file begins.
  const field =
    content === undefined
      ? ''
      : `--${boundary}\r\ncontent-disposition: form-data; name="content"\r\n\r\n${content}\r\n`;
  const head = Buffer.from(
    `${field}--${boundary}\r\n` +
      `content-disposition: form-data; name="file"; filename="${quoted(fileName)}"\r\n` +
      `content-type: ${contentType}\r\n\r\n`,
  );
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  const size = file instanceof Uint8Array ? file.length : form.size;
  let failed: { error: unknown } | undefined;

  async function* pieces(): AsyncGenerator<Uint8Array> {
    yield head;
    try {
      if (typeof file === 'object' && !(file instanceof Uint8Array)) spent.add(file);
      yield* cut(file instanceof Uint8Array ? [file] : typeof file === 'function' ? file() : file);
    } catch (error) {
      failed = { error };
      throw error;
    }
    yield tail;
  }

  const source = pieces();
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        progress();
        const { done, value } = await source.next();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await source.return(undefined);
      },
    },
    { highWaterMark: 0 }, // nothing is read before there is a connection
  );
  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    contentLength: size === undefined ? undefined : head.length + size + tail.length,
    body,
    sourceError: () => failed,
  };
}

/** Progress is seen piece by piece. */
async function* cut(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += PIECE) yield chunk.subarray(at, at + PIECE);
  }
}

/** As browsers write it. */
function quoted(name: string): string {
  return name.replace(/["\r\n]/g, (character) => encodeURIComponent(character));
}
