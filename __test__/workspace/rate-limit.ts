import type { Clock } from './clock';

export interface Limit {
  readonly calls: number;
  readonly windowMs: number;
}

export interface Verdict {
  readonly allowed: boolean;
  readonly remaining: number;
  /** Epoch milliseconds. */
  readonly resetAt: number;
}

/** Fixed windows that open with the first call, as Meteor's rate limiter counts (protocol 9.1). */
export class RateLimiter {
  private readonly windows = new Map<string, { count: number; resetAt: number }>();

  constructor(private readonly clock: Clock) {}

  hit(key: string, { calls, windowMs }: Limit): Verdict {
    const now = this.clock.now();
    let window = this.windows.get(key);
    if (window === undefined || now >= window.resetAt) {
      window = { count: 0, resetAt: now + windowMs };
      this.windows.set(key, window);
    }
    window.count += 1;
    return {
      allowed: window.count <= calls,
      remaining: Math.max(0, calls - window.count),
      resetAt: window.resetAt,
    };
  }

  clear(): void {
    this.windows.clear();
  }
}

export function tooManyRequests(waitMs: number): string {
  return `Error, too many requests. Please slow down. You must wait ${Math.ceil(waitMs / 1000)} seconds before trying this endpoint again.`;
}
