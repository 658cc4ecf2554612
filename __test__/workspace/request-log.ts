/** One thing a client sent: a REST request, or a frame of a websocket. */
export interface LoggedRequest {
  readonly transport: 'rest' | 'ddp';
  /** 'GET', 'POST'; 'method', 'sub', … for a frame. */
  readonly method: string;
  /** Path with query; the method's or stream's name for a frame. */
  readonly path: string;
  /** Without tokens and cookies. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Of the answer; undefined while there is none, and for frames. */
  status?: number;
}

const SECRET_HEADERS = ['x-auth-token', 'authorization', 'cookie', 'x-2fa-code'];
const SECRET_PARAMETERS = /([?&]rc_token=)[^&]*/g;

/** Everything that reached the workspace, byte for byte. */
export class RequestLog {
  readonly entries: LoggedRequest[] = [];

  add(entry: LoggedRequest): LoggedRequest {
    const headers = Object.fromEntries(
      Object.entries(entry.headers).filter(([name]) => !SECRET_HEADERS.includes(name)),
    );
    const path = entry.path.replace(SECRET_PARAMETERS, '$1…');
    const stored = { ...entry, headers, path };
    this.entries.push(stored);
    return stored;
  }

  /** REST requests to a route ('e2e.setRoomKeyID'), or frames with that name. */
  to(name: string): LoggedRequest[] {
    return this.entries.filter(
      ({ path }) => path === name || path.replace(/^\/api\/v1\//, '').split(/[/?]/)[0] === name,
    );
  }

  /**
   * Requests that carry `needle` anywhere, as it is or in one of the encodings in which text
   * travels: JSON escapes, percent, hex, base64 at each of its three alignments.
   */
  containing(needle: string): LoggedRequest[] {
    const forms = encodings(needle);
    return this.entries.filter(({ path, headers, body }) => {
      const haystack = [path, ...Object.values(headers), body.toString('latin1')].join('\n');
      return forms.some((form) => haystack.includes(form));
    });
  }

  clear(): void {
    this.entries.length = 0;
  }
}

function encodings(needle: string): string[] {
  const bytes = Buffer.from(needle);
  const json = JSON.stringify(needle).slice(1, -1);
  const ascii = json.replace(
    /[\u0080-\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
  const shifted = [0, 1, 2].map((shift) => {
    // Characters that also depend on the neighbours of the needle are cut off.
    const encoded = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64');
    const start = shift === 0 ? 0 : shift + 1;
    const whole = Math.floor(((bytes.length + shift) * 8) / 6);
    return encoded.slice(start, whole);
  });
  const base64 = shifted.filter((form) => form.length >= 8);
  return [
    ...new Set([
      bytes.toString('latin1'),
      Buffer.from(json).toString('latin1'),
      ascii,
      encodeURIComponent(needle),
      bytes.toString('hex'),
      ...base64,
      ...base64.map((form) => form.replaceAll('+', '-').replaceAll('/', '_')),
    ]),
  ];
}
