import type { EventEmitter } from 'events';

/**
 * Calls the listeners of an event, each by itself: what one throws, or rejects with, goes to `failed`
 * and keeps nothing from the others.
 *
 * As `captureRejections` of Node.js does, which the Apps-Engine's emitter has not.
 */
export function callListeners(
  emitter: Pick<EventEmitter, 'rawListeners'>,
  event: string,
  data: unknown,
  failed: (error: unknown) => void,
): void {
  for (const listener of emitter.rawListeners(event)) {
    try {
      const outcome: unknown = listener.call(emitter, data);
      if (isThenable(outcome)) outcome.then(undefined, failed);
    } catch (error) {
      failed(error);
    }
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === 'function';
}
