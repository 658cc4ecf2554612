import { E2eeError, type E2eeErrorCode, guardAsync } from './errors';

/** What the binding says of one thing of many: what came of it, or code and message. */
export type Outcome<R> = R | string[];

interface Call<T, R> {
  item: T;
  resolve(result: R): void;
  reject(error: unknown): void;
}

/**
 * Sends what is asked for within one turn of the event loop to other threads in pieces that pay
 * for the way there, and answers each by itself.
 */
export class Batcher<T, R extends string | object> {
  readonly #size: number;
  readonly #work: (items: T[]) => Promise<Outcome<R>[]>;
  #calls: Call<T, R>[] = [];

  /** @param size - how many go at once: about a millisecond of work */
  constructor(size: number, work: (items: T[]) => Promise<Outcome<R>[]>) {
    this.#size = size;
    this.#work = work;
  }

  add(item: T): Promise<R> {
    return new Promise((resolve, reject) => {
      if (this.#calls.push({ item, resolve, reject }) === 1) {
        Promise.resolve().then(() => this.#flush());
      }
    });
  }

  #flush(): void {
    const calls = this.#calls;
    this.#calls = [];
    for (let start = 0; start < calls.length; start += this.#size) {
      void this.#send(calls.slice(start, start + this.#size));
    }
  }

  async #send(calls: Call<T, R>[]): Promise<void> {
    try {
      const outcomes = await guardAsync(() => this.#work(calls.map(({ item }) => item)));
      for (const [index, { resolve, reject }] of calls.entries()) {
        const outcome = outcomes[index] as Outcome<R>;
        if (Array.isArray(outcome)) reject(failure(outcome));
        else resolve(outcome);
      }
    } catch (error) {
      for (const { reject } of calls) reject(error);
    }
  }
}

function failure([code, message]: string[]): E2eeError {
  return new E2eeError(code as E2eeErrorCode, String(message));
}
