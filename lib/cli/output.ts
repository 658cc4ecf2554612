/** What a terminal could take for a command, or what turns the order of text around. */
const CONTROLS =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not pass
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const LINE_CONTROLS = /[\t\n]/g;
/** JSON.stringify leaves these as they are. */
const JSON_CONTROLS = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
/** Two columns of a terminal; an approximation that serves names. */
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
const NARROWEST = 6;

function visible(control: string): string {
  return `\\u{${control.charCodeAt(0).toString(16)}}`;
}

/** Text from the network, on one line, without what a terminal acts on. */
export function safeLine(text: unknown): string {
  return safeText(text).replace(LINE_CONTROLS, visible);
}

/** As {@link safeLine}, but line breaks and tabs stay. */
export function safeText(text: unknown): string {
  return String(text ?? '').replace(CONTROLS, visible);
}

/** JSON on one line, which a terminal can show. */
export function safeJson(value: unknown): string {
  return JSON.stringify(value).replace(
    JSON_CONTROLS,
    (control) => `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function widthOf(text: string): number {
  let width = 0;
  for (const character of text) {
    if (WIDE.test(character)) width += 2;
    else if (!/\p{M}/u.test(character)) width += 1;
  }
  return width;
}

function pad(text: string, width: number): string {
  if (widthOf(text) <= width) return text + ' '.repeat(width - widthOf(text));
  let cut = '';
  for (const character of text) {
    if (widthOf(cut + character) > width - 1) break;
    cut += character;
  }
  return `${cut}…${' '.repeat(width - 1 - widthOf(cut))}`;
}

/** Rows under headings; where they do not fit, the widest columns give way. */
export function table(headings: readonly string[], rows: readonly string[][], width: number) {
  const lines = [headings.slice(), ...rows.map((row) => row.map(safeLine))];
  const widths = headings.map((_, column) =>
    Math.max(...lines.map((line) => widthOf(line[column] ?? ''))),
  );
  const gaps = 2 * (widths.length - 1);
  for (;;) {
    const total = widths.reduce((sum, one) => sum + one, gaps);
    const widest = Math.max(...widths);
    if (total <= width || widest <= NARROWEST) break;
    widths[widths.indexOf(widest)] = widest - 1;
  }
  return lines.map((line) =>
    line
      .map((cell, column) => pad(cell, widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** Where a command prints: results on stdout, everything else on stderr. */
export class Output {
  readonly json: boolean;
  readonly width: number;
  readonly #bold: boolean;
  readonly #stdout: NodeJS.WriteStream;
  readonly #stderr: NodeJS.WriteStream;
  #bar = false;

  constructor(json: boolean, env: NodeJS.ProcessEnv) {
    this.json = json;
    this.#stdout = process.stdout;
    this.#stderr = process.stderr;
    this.width = Math.max(40, this.#stdout.isTTY ? (this.#stdout.columns ?? 80) : 80);
    this.#bold = this.#stdout.isTTY === true && !env.NO_COLOR && env.TERM !== 'dumb';
  }

  /** A line of the result. Whoever calls has made it safe. */
  line(text = ''): void {
    this.#stdout.write(`${text}\n`);
  }

  /** The result, or one of many. */
  result(value: unknown): void {
    this.line(safeJson(value));
  }

  heading(text: string): void {
    this.line(this.#bold ? `\u001b[1m${text}\u001b[22m` : text);
  }

  table(headings: readonly string[], rows: readonly string[][]): void {
    const [first = '', ...rest] = table(headings, rows, this.width);
    this.heading(first);
    for (const line of rest) this.line(line);
  }

  /** What a person should know, and a program that reads the result should not stumble over. */
  note(text: string): void {
    this.#clear();
    this.#stderr.write(`${text}\n`);
  }

  /** Whether a bar can be seen, and hides nothing. */
  showsProgress(elsewhere: boolean): boolean {
    return this.#stderr.isTTY === true && (elsewhere || !this.#stdout.isTTY);
  }

  /** @param share - from 0 to 1, where it is known */
  progress(share: number | undefined, text: string): void {
    const cells = 24;
    const done = Math.round(Math.min(1, Math.max(0, share ?? 0)) * cells);
    const bar = share === undefined ? '' : `[${'#'.repeat(done).padEnd(cells, '-')}] `;
    this.#bar = true;
    this.#stderr.write(`\r\u001b[K${bar}${text}`);
  }

  #clear(): void {
    if (this.#bar) this.#stderr.write('\r\u001b[K');
    this.#bar = false;
  }

  /** Ends a bar. */
  settle(): void {
    this.#clear();
  }
}
