import { segment } from './naming.js';
import { DBauditError, RateLimitedError, UnavailableError, UnreachableError } from './errors.js';
import { Pages } from './pages.js';
import type { Fetch } from './pages.js';
import { backOffSeconds } from './transport.js';
import type { CallOptions, Request, Transport } from './transport.js';
import type { Event, Severity } from './types.js';

const PATH = '/v1/events';
const PAGE_SIZE = 1000;
const WAIT_SECONDS = 25;
const EARLY_MS = 1000;

export interface EventFilters {
  readonly databaseId?: string;
  /** Any of several. */
  readonly type?: string | readonly string[];
  readonly user?: string;
  readonly startDate?: Date | string;
  readonly endDate?: Date | string;
  readonly severity?: Severity;
  readonly queryContains?: string;
}

export interface EventListOptions extends EventFilters, CallOptions {
  readonly order?: 'newest' | 'oldest' | 'stored';
  /** 1 to 1000. */
  readonly pageSize?: number;
}

export interface FollowOptions extends Omit<EventFilters, 'endDate'>, CallOptions {
  /** The cursor of an earlier stream, to resume after it; null begins with the first stored event. */
  readonly cursor?: string | null;
  /** Called once when the API cannot be reached; the stream resumes when it is back. */
  readonly onOutage?: (error: DBauditError) => void;
}

interface Answer {
  readonly data: readonly Event[];
  readonly pagination: { readonly nextCursor: string | null; readonly hasMore: boolean };
}

/** `client.events`. Every method rejects with a DBauditError. */
export class Events {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** The events that match every filter. There may be millions: iterate with `for await`, or take some with `toArray`. */
  list(options: EventListOptions = {}): Pages<Event> {
    const query = { ...queryOf(options), order: options.order ?? 'newest', limit: options.pageSize ?? PAGE_SIZE };
    const page = (cursor: string | undefined): Fetch<Event> => async () => {
      const found = await this.#transport.send<Answer>({ method: 'GET', path: PATH, query: { ...query, cursor } }, options);
      const { hasMore, nextCursor } = found.pagination;
      return { items: found.data, total: undefined, next: hasMore && nextCursor !== null ? page(nextCursor) : undefined };
    };
    return new Pages(page(undefined));
  }

  /** One event. */
  get(id: string, options: CallOptions = {}): Promise<Event> {
    return this.#transport.send({ method: 'GET', path: `${PATH}/${segment(id)}` }, options);
  }

  /** The events that are stored from now on, or after a cursor, each once; never ends, abort `signal` to end it. */
  async follow(options: FollowOptions = {}): Promise<EventStream> {
    const query = { ...queryOf(options), order: 'stored' };
    const after = (cursor: string | null): Request => ({
      method: 'GET',
      path: PATH,
      query: { ...query, cursor: cursor ?? undefined, limit: PAGE_SIZE, wait_seconds: WAIT_SECONDS },
      maxRetries: 0,
    });
    let cursor = options.cursor;
    if (cursor === undefined) {
      // The end is fixed now: what is stored before the iteration begins is not missed.
      const end = await this.#transport.send<Answer>({ method: 'GET', path: PATH, query: { ...query, cursor: 'end', limit: 1 } }, options);
      cursor = end.pagination.nextCursor;
    }
    return new EventStream(this.#transport, after, cursor, options);
  }
}

/**
 * Iterates over events as they are stored, and waits for the next ones. It outlives restarts of the API.
 * `cursor` is where it stands: a new stream that begins there misses nothing, and gives at most one page again.
 */
export class EventStream implements AsyncIterable<Event> {
  readonly #transport: Transport;
  readonly #after: (cursor: string | null) => Request;
  readonly #options: FollowOptions;
  #cursor: string | null;
  #nextCursor: string | null;
  #fetched: Event[] = [];

  constructor(transport: Transport, after: (cursor: string | null) => Request, cursor: string | null, options: FollowOptions) {
    this.#transport = transport;
    this.#after = after;
    this.#options = options;
    this.#cursor = cursor;
    this.#nextCursor = cursor;
  }

  get cursor(): string | null {
    return this.#cursor;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Event> {
    for (let failures = 0, early = 0; ; ) {
      for (let event = this.#fetched.shift(); event !== undefined; event = this.#fetched.shift()) yield event;
      this.#cursor = this.#nextCursor;
      const askedAt = Date.now();
      let pause = 0;
      try {
        const found = await this.#transport.send<Answer>(this.#after(this.#cursor), this.#options);
        failures = 0;
        this.#fetched = [...found.data];
        this.#nextCursor = found.pagination.nextCursor;
        // An empty answer that comes at once has not waited: it must not be asked for again and again.
        early = found.data.length === 0 && Date.now() - askedAt < EARLY_MS ? early + 1 : 0;
        if (early > 0) pause = backOffSeconds(early);
      } catch (error) {
        if (!(error instanceof UnreachableError || error instanceof UnavailableError || error instanceof RateLimitedError)) throw error;
        failures += 1;
        if (failures === 1) this.#options.onOutage?.(error);
        pause = error.retryAfterSeconds || backOffSeconds(failures);
      }
      if (pause > 0) await this.#transport.sleep(pause, this.#options.signal);
    }
  }
}

function queryOf(filters: EventFilters): Record<string, string | undefined> {
  return {
    database_id: filters.databaseId,
    type: typeof filters.type === 'object' ? filters.type.join(',') : filters.type,
    user: filters.user,
    start_date: timeOf(filters.startDate),
    end_date: timeOf(filters.endDate),
    severity: filters.severity,
    query_contains: filters.queryContains,
  };
}

function timeOf(moment: Date | string | undefined): string | undefined {
  return moment instanceof Date ? moment.toISOString() : moment;
}
