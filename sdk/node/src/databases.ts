import { fromApi, segment } from './naming.js';
import { Listing } from './pages.js';
import type { Fetch } from './pages.js';
import type { CallOptions, Request, Transport } from './transport.js';
import type {
  ConnectionStatus,
  Database,
  DatabaseCreate,
  DatabaseDetails,
  DatabaseListEntry,
  DatabaseListResult,
  DatabaseStatus,
  DatabaseUpdate,
  DryRun,
  Prune,
  TestReport,
} from './types.js';

const PATH = '/v1/databases';
const PAGE_SIZE = 100;
const TEST_TIMEOUT_SECONDS = 75;
const BULK_TIMEOUT_SECONDS = 300;

export interface DatabaseFilters {
  readonly status?: ConnectionStatus;
  readonly type?: string;
  /** All of them. */
  readonly tags?: readonly string[];
  readonly name?: string;
  readonly host?: string;
}

export interface CreateOptions extends CallOptions {
  /** Test the connection first; nothing is stored when it fails, and ConnectionTestFailedError has the report. */
  readonly verify?: boolean;
  /** By which the API knows this call again after a crash of your program; else one is made for the retries. */
  readonly idempotencyKey?: string;
}

export interface UpdateOptions extends CallOptions {
  /** Test a changed connection first. */
  readonly verify?: boolean;
  /** The `etag` of the database as you saw it: ConflictError when somebody else was quicker. */
  readonly ifMatch?: string;
}

export interface DeleteOptions extends CallOptions {
  /** The `etag` of the database as you saw it: ConflictError when it was changed since. */
  readonly ifMatch?: string;
}

export interface ApplyOptions extends CallOptions {
  readonly prune?: Prune;
  readonly dryRun?: boolean;
}

interface Answer {
  readonly data: readonly Database[];
  readonly pagination: { readonly total: number; readonly page: number; readonly perPage: number };
}

/** `client.databases`. Every method rejects with a DBauditError. */
export class Databases {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** The databases that match every filter. Await it for an array of all, or iterate with `for await`. */
  list(filters: DatabaseFilters = {}, options: CallOptions = {}): Listing<Database> {
    const query = { ...filters, tags: filters.tags?.length ? filters.tags.join(',') : undefined };
    const page = (number: number): Fetch<Database> => async () => {
      const found = await this.#transport.send<Answer>(
        { method: 'GET', path: PATH, query: { ...query, page: number, per_page: PAGE_SIZE } },
        options,
      );
      const at = found.pagination;
      return { items: found.data, total: at.total, next: at.page * at.perPage < at.total ? page(number + 1) : undefined };
    };
    return new Listing(page(1));
  }

  /** Add a database. */
  create(declaration: DatabaseCreate, options: CreateOptions = {}): Promise<Database> {
    const { idempotencyKey, verify } = options;
    const headers = idempotencyKey === undefined ? {} : { 'Idempotency-Key': idempotencyKey };
    return this.#transport.send(
      { method: 'POST', path: PATH, body: declaration, headers, repeat: 'byKey', understand: withEtag, ...verification(verify) },
      options,
    );
  }

  /** What `create` would do; nothing is changed. */
  previewCreate(declaration: DatabaseCreate, options: CallOptions = {}): Promise<DryRun> {
    return this.#transport.send({ method: 'POST', path: PATH, body: declaration, query: { dry_run: true } }, options);
  }

  /** Declare many databases at once: all of them, or none where anything is wrong with one. */
  apply(databases: readonly DatabaseListEntry[], options: ApplyOptions = {}): Promise<DatabaseListResult> {
    const body = { databases, prune: options.prune };
    const query = { dry_run: options.dryRun || undefined };
    return this.#transport.send(
      { method: 'POST', path: `${PATH}/bulk`, body, query, timeoutSeconds: BULK_TIMEOUT_SECONDS },
      options,
    );
  }

  /** The database with its statistics and health. */
  get(id: string, options: CallOptions = {}): Promise<DatabaseDetails> {
    return this.#transport.send({ method: 'GET', path: pathOf(id), understand: withEtag }, options);
  }

  /** Change the fields that are given, and return the database as it is then. */
  update(id: string, changes: DatabaseUpdate, options: UpdateOptions = {}): Promise<Database> {
    const { ifMatch, verify } = options;
    return this.#transport.send(
      {
        method: 'PATCH',
        path: pathOf(id),
        body: changes,
        headers: ifMatch === undefined ? {} : { 'If-Match': ifMatch },
        // Once it is done, the etag is another one, and the second time would be a conflict.
        repeat: ifMatch === undefined ? 'freely' : 'never',
        understand: withEtag,
        ...verification(verify),
      },
      options,
    );
  }

  /** What `update` would do; nothing is changed. */
  previewUpdate(id: string, changes: DatabaseUpdate, options: CallOptions = {}): Promise<DryRun> {
    return this.#transport.send({ method: 'PATCH', path: pathOf(id), body: changes, query: { dry_run: true } }, options);
  }

  /** Remove the database from monitoring. Its events stay until their retention ends. */
  delete(id: string, options: DeleteOptions = {}): Promise<void> {
    const { ifMatch } = options;
    return this.#transport.send(
      {
        method: 'DELETE',
        path: pathOf(id),
        headers: ifMatch === undefined ? {} : { 'If-Match': ifMatch },
        repeat: 'untilGone',
      },
      options,
    );
  }

  /** What `delete` would do; nothing is changed. */
  previewDelete(id: string, options: CallOptions = {}): Promise<DryRun> {
    return this.#transport.send({ method: 'DELETE', path: pathOf(id), query: { dry_run: true } }, options);
  }

  /** How connection and collecting stand. */
  getStatus(id: string, options: CallOptions = {}): Promise<DatabaseStatus> {
    return this.#transport.send({ method: 'GET', path: `${pathOf(id)}/status` }, options);
  }

  /** Have an agent test the connection now; ConnectionTestFailedError, with the report, when it was not reached. */
  test(id: string, options: CallOptions = {}): Promise<TestReport> {
    return this.#transport.send(
      { method: 'POST', path: `${pathOf(id)}/test`, repeat: 'never', timeoutSeconds: TEST_TIMEOUT_SECONDS },
      options,
    );
  }
}

function pathOf(id: string): string {
  return `${PATH}/${segment(id)}`;
}

function verification(verify: boolean | undefined): Pick<Request, 'query' | 'timeoutSeconds'> {
  return verify ? { query: { verify: true }, timeoutSeconds: TEST_TIMEOUT_SECONDS } : {};
}

function withEtag(text: string, headers: Headers): unknown {
  const etag = headers.get('ETag');
  return fromApi({ ...JSON.parse(text), ...(etag === null ? {} : { etag }) });
}
