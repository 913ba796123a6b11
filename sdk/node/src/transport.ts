// One request to the API and its answer: the key, time-outs, retries, errors.

import { DBauditError, NotFoundError, RateLimitedError, ServerError, UnavailableError, UnreachableError, errorOf } from './errors.js';
import { fromApi, toApi } from './naming.js';

const FIRST_DELAY_SECONDS = 0.5;
const LONGEST_DELAY_SECONDS = 8;
const LONGEST_RETRY_AFTER_SECONDS = 60;
const NEVER_SENT: ReadonlySet<unknown> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/**
 * Whether a request may be sent again although the first one may have been done: `freely`, as doing it twice
 * is the same; `byKey`, by which the API knows it again; `untilGone`, as its absence is what was wanted; or
 * `never`.
 */
export type Repeat = 'freely' | 'byKey' | 'untilGone' | 'never';

/** What every method takes as its last argument. */
export interface CallOptions {
  /** Ends the call, and its retries, when it is aborted. */
  readonly signal?: AbortSignal;
  /** Bounds the wait for each answer, in place of the client's. */
  readonly timeoutSeconds?: number;
}

export interface Request {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly repeat?: Repeat;
  readonly alsoAnswers?: readonly number[];
  readonly timeoutSeconds?: number | undefined;
  readonly maxRetries?: number;
  readonly understand?: (text: string, headers: Headers) => unknown;
}

export interface Connecting {
  readonly apiUrl: string;
  readonly apiKey: string | undefined;
  readonly timeoutSeconds: number;
  readonly maxRetries: number;
  readonly userAgent: string;
  readonly fetch: typeof fetch;
  readonly sleep: (seconds: number, signal: AbortSignal | undefined) => Promise<void>;
}

export class Transport {
  readonly #connecting: Connecting; // private in earnest: it has the key

  constructor(connecting: Connecting) {
    this.#connecting = connecting;
  }

  get apiUrl(): string {
    return this.#connecting.apiUrl;
  }

  sleep(seconds: number, signal: AbortSignal | undefined): Promise<void> {
    return this.#connecting.sleep(seconds, signal);
  }

  /** The answer to `request`, which is sent again where that is safe and promising. */
  async send<Answer>(request: Request, options: CallOptions = {}): Promise<Answer> {
    const repeat = request.repeat ?? 'freely';
    const headers = this.#headers(request, repeat);
    const attempts = 1 + (request.maxRetries ?? this.#connecting.maxRetries);
    let mayBeDone = false;
    for (let attempt = 1; ; attempt += 1) {
      let error: DBauditError;
      let sent = true;
      try {
        const response = await this.#exchange(request, headers, options);
        const text = await response.text();
        if (response.ok || request.alsoAnswers?.includes(response.status)) return this.#understood<Answer>(request, response, text);
        error = errorOf(response.status, response.headers, text, retryAfterSeconds(response.headers));
      } catch (problem) {
        if (problem instanceof DBauditError) throw problem;
        if (options.signal?.aborted) throw options.signal.reason;
        sent = !NEVER_SENT.has(codeOf(problem));
        error = this.#unreachable(problem);
      }
      if (mayBeDone && repeat === 'untilGone' && error instanceof NotFoundError) return undefined as Answer;
      const delay = retryDelaySeconds(repeat, attempt, error, sent);
      if (delay === undefined || attempt >= attempts) throw error;
      mayBeDone ||= sent && (error instanceof UnreachableError || (error.status ?? 0) >= 500);
      await this.sleep(delay, options.signal);
    }
  }

  #headers(request: Request, repeat: Repeat): Record<string, string> {
    const { apiKey, userAgent } = this.#connecting;
    return {
      Accept: 'application/json',
      'User-Agent': userAgent,
      ...(request.body === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...(apiKey === undefined ? {} : { Authorization: `Bearer ${apiKey}` }),
      ...(repeat === 'byKey' ? { 'Idempotency-Key': crypto.randomUUID() } : {}),
      ...request.headers,
    };
  }

  #exchange(request: Request, headers: Record<string, string>, options: CallOptions): Promise<Response> {
    const seconds = options.timeoutSeconds ?? request.timeoutSeconds ?? this.#connecting.timeoutSeconds;
    const timeout = AbortSignal.timeout(seconds * 1000);
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) query.set(name, String(value));
    }
    return this.#connecting.fetch(`${this.#connecting.apiUrl}${request.path}${query.size ? `?${query}` : ''}`, {
      method: request.method,
      headers,
      body: request.body === undefined ? null : JSON.stringify(toApi(request.body)),
      redirect: 'manual',
      signal: options.signal ? AbortSignal.any([options.signal, timeout]) : timeout,
    });
  }

  #understood<Answer>(request: Request, response: Response, text: string): Answer {
    try {
      if (request.understand) return request.understand(text, response.headers) as Answer;
      return (text === '' ? undefined : fromApi(JSON.parse(text))) as Answer;
    } catch {
      throw new ServerError('internal_error', `The answer of ${this.apiUrl} cannot be understood: it is no JSON.`, {
        status: response.status,
        requestId: response.headers.get('X-Request-Id') ?? undefined,
        remedy: 'Look whether DBAUDIT_API_URL is the address of a dbaudit API of this version.',
      });
    }
  }

  #unreachable(problem: unknown): UnreachableError {
    const late = problem instanceof Error && problem.name === 'TimeoutError';
    const reason = late ? 'no answer in time' : String(codeOf(problem) ?? problem);
    return new UnreachableError('api_unreachable', `The API at ${this.apiUrl} cannot be reached: ${reason}.`, {
      remedy: /CERT|SELF_SIGNED|ISSUER/.test(reason)
        ? 'Set NODE_EXTRA_CA_CERTS to the PEM file of its certificate authority.'
        : 'Look whether it runs (dbaudit up), and at DBAUDIT_API_URL.',
    });
  }
}

/** A delay that doubles with every attempt (from 1 on) up to 8 seconds, less up to a quarter by chance. */
export function backOffSeconds(attempt: number): number {
  return Math.min(FIRST_DELAY_SECONDS * 2 ** Math.min(attempt - 1, 10), LONGEST_DELAY_SECONDS) * (1 - Math.random() / 4);
}

function retryDelaySeconds(repeat: Repeat, attempt: number, error: DBauditError, sent: boolean): number | undefined {
  const refused = error instanceof RateLimitedError || error.code === 'too_many_waiting' || !sent;
  const away = error instanceof UnavailableError || error instanceof UnreachableError;
  if (error.code === 'no_agent_available' || !(refused || (away && repeat !== 'never'))) return undefined;
  if (error.retryAfterSeconds === undefined) return backOffSeconds(attempt);
  return error.retryAfterSeconds > LONGEST_RETRY_AFTER_SECONDS ? undefined : error.retryAfterSeconds;
}

/** The header in seconds, of both its forms: a number, or a date. */
function retryAfterSeconds(headers: Headers): number | undefined {
  const value = headers.get('Retry-After') ?? '';
  if (/^\d+$/.test(value)) return Number(value);
  const moment = Date.parse(value);
  return Number.isNaN(moment) ? undefined : Math.max(0, (moment - Date.now()) / 1000);
}

function codeOf(problem: unknown): unknown {
  const cause = problem instanceof Error ? problem.cause : undefined;
  return typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;
}
