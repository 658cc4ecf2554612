import { Random } from './random';

/** Before the request has its effect, or after it: the effect stays, the answer is lost. */
type When = 'before' | 'after';

/** What can go wrong with a REST request or a DDP method call. */
export type CallFault =
  /** The connection is cut. */
  | { kind: 'drop'; when?: When }
  /** An answer of a proxy or of the rate limiter in place of the server's. */
  | { kind: 'status'; status: number; when?: When; retryAfterMs?: number }
  | { kind: 'delay'; ms: number; when?: When }
  /**
   * Any answer in place of the server's, as a hostile server or a proxy gives it: text as it is
   * (HTML), anything else as JSON; a function gets the true one. REST only.
   */
  | { kind: 'answer'; body: unknown; status?: number; when?: When };

/** What can go wrong with an event on its way to one session. */
export type EventFault =
  | { kind: 'duplicate' }
  | { kind: 'lose' }
  /** Comes after the next event of the session, or after 50 ms when there is none. */
  | { kind: 'swap' }
  | { kind: 'delay'; ms: number };

export interface FaultOptions {
  /** How often it happens; once when absent. */
  times?: number;
  /** Lets this many pass first. */
  skip?: number;
  /** Probability of each, drawn from the workspace's seed. */
  chance?: number;
  /** Only for this user id. */
  uid?: string;
}

type Layer = 'rest' | 'method' | 'event';

interface Rule<F> {
  readonly layer: Layer;
  readonly target: string;
  readonly fault: F;
  readonly chance: number;
  readonly uid: string | undefined;
  readonly random: Random;
  left: number;
  skip: number;
}

/** Seeded: the same rules over the same traffic give the same faults. */
export class Faults {
  private rules: Rule<CallFault | EventFault>[] = [];
  private made = 0;

  constructor(private readonly seed: number) {}

  /** `route`: 'e2e.setRoomKeyID', 'rooms.media', 'file-upload', …, or '*'. Returns its undoing. */
  rest(route: string, fault: CallFault, options?: FaultOptions): () => void {
    return this.add('rest', route, fault, options);
  }

  /** `method`: a DDP method name, or '*'. */
  method(method: string, fault: CallFault, options?: FaultOptions): () => void {
    return this.add('method', method, fault, options);
  }

  /** `target`: a stream ('stream-notify-user'), the end of an event name, or '*'. */
  event(target: string, fault: EventFault, options?: FaultOptions): () => void {
    return this.add('event', target, fault, options);
  }

  clear(): void {
    this.rules = [];
  }

  callFaults(layer: 'rest' | 'method', name: string, uid: string | undefined): CallFault[] {
    return this.take(layer, (target) => target === name, uid) as CallFault[];
  }

  eventFaults(stream: string, eventName: string, uid: string | undefined): EventFault[] {
    const hits = (target: string) => target === stream || eventName.endsWith(target);
    return this.take('event', hits, uid) as EventFault[];
  }

  private add(
    layer: Layer,
    target: string,
    fault: CallFault | EventFault,
    { times = 1, skip = 0, chance = 1, uid }: FaultOptions = {},
  ): () => void {
    this.made += 1;
    const random = new Random(this.seed * 1000 + this.made);
    const rule = { layer, target, fault, chance, uid, random, left: times, skip };
    this.rules.push(rule);
    return () => {
      this.rules = this.rules.filter((other) => other !== rule);
    };
  }

  private take(
    layer: Layer,
    hits: (target: string) => boolean,
    uid: string | undefined,
  ): (CallFault | EventFault)[] {
    return this.rules
      .filter((rule) => rule.layer === layer && (rule.target === '*' || hits(rule.target)))
      .filter((rule) => rule.uid === undefined || rule.uid === uid)
      .filter((rule) => {
        if (rule.left <= 0 || rule.random.next() >= rule.chance) return false;
        if (rule.skip > 0) {
          rule.skip -= 1;
          return false;
        }
        rule.left -= 1;
        return true;
      })
      .map(({ fault }) => fault);
  }
}

/** Alone it keeps no process alive: who was to be answered late may be gone. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
