/** Where the workspace reads the time; tests put their own in to pass hours in no time. */
export interface Clock {
  now(): number;
}

export const systemClock: Clock = { now: () => Date.now() };

/** A clock that stands still until told otherwise. */
export class ManualClock implements Clock {
  constructor(private at: number = Date.UTC(2026, 8, 1, 12)) {}

  now(): number {
    return this.at;
  }

  advance(milliseconds: number): void {
    this.at += milliseconds;
  }
}
