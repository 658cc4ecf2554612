import { E2eeError } from './errors';

/** Everything that has to end when its owner is closed: timers, requests, sockets. */
export class Lifetime {
  readonly #ends = new Set<() => void>();
  #closed = false;

  get closed(): boolean {
    return this.#closed;
  }

  /** Throws `ERR_E2EE_CLOSED` once closed. */
  check(): void {
    if (this.#closed) throw closedError();
  }

  /** Calls `end` on closing, at once when that has happened; returns how to forget it. */
  onClose(end: () => void): () => void {
    if (this.#closed) end();
    else this.#ends.add(end);
    return () => this.#ends.delete(end);
  }

  /** Rejects with `ERR_E2EE_CLOSED` when it is interrupted. */
  async sleep(ms: number): Promise<void> {
    this.check();
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        forget();
        resolve();
      }, ms);
      const forget = this.onClose(() => {
        clearTimeout(timer);
        reject(closedError());
      });
    });
  }

  close(): void {
    this.#closed = true;
    const ends = [...this.#ends];
    this.#ends.clear();
    for (const end of ends) end();
  }
}

export function closedError(): E2eeError {
  return new E2eeError('ERR_E2EE_CLOSED', 'the workspace is closed');
}

/** Exponential backoff with full jitter: what a crowd of clients does not do in step. */
export function backoff(failures: number, base: number, cap: number): number {
  return Math.random() * Math.min(cap, base * 2 ** Math.min(failures, 30));
}

/** Waits for so long and no longer; what is under way goes on. */
export async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  try {
    await Promise.race([work, over]);
  } finally {
    clearTimeout(timer);
    work.catch(() => undefined);
  }
}
