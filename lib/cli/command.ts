import type { Output } from './output';

/** An option, as `util.parseArgs` takes it, and as `--help` shows it. */
export interface Option {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
  /** What stands for the value in the help. */
  readonly value?: string;
  readonly help: string;
}

/** One command: a file of its own in `commands/`, and a line in its table. */
export interface Command {
  /** What it does, in one line. */
  readonly summary: string;
  /** Its arguments, such as `<room> [text]`. */
  readonly usage: string;
  /** The least and the greatest number of arguments. */
  readonly arity: readonly [number, number];
  readonly options?: Readonly<Record<string, Option>>;
  /** Further lines for `--help`. */
  readonly help?: string;
  /** @returns the exit code, where it is not 0 */
  run(call: Call): Promise<number | undefined>;
}

/** What a command is called with. */
export interface Call {
  readonly args: readonly string[];
  readonly output: Output;
  readonly env: NodeJS.ProcessEnv;
  /** Aborted by Ctrl-C, and when nobody reads the output any more. */
  readonly signal: AbortSignal;
  /** An option that takes a value. */
  text(name: string): string | undefined;
  /** An option that may be given more than once. */
  list(name: string): readonly string[];
  flag(name: string): boolean;
  /** Runs when the command ends, however it ends; the last one first. */
  onEnd(end: () => Promise<void> | void): void;
}
