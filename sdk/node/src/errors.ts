import { fromApi } from './naming.js';
import type { TestReport } from './types.js';

/** Every code with which the API, or this SDK in its place, can answer. */
export const ERROR_CODES = [
  'invalid_json',
  'validation_failed',
  'engine_unknown',
  'unauthorized',
  'forbidden',
  'not_found',
  'path_not_found',
  'method_not_allowed',
  'not_acceptable',
  'database_exists',
  'conflict',
  'prune_limit_exceeded',
  'db_conns_auditing_missing_config',
  'db_conns_auditing_bad_config',
  'db_conns_auditing_bad_address',
  'db_conns_audit_config_not_found',
  'db_conns_auditing_unsupported_by_capability',
  'db_conns_auditing_config_missing',
  'cannot_delete_audit_config_when_policy_enabled',
  'cannot_delete_audit_config_when_bdb_enabled',
  'malformed_request',
  'payload_too_large',
  'uri_too_long',
  'headers_too_large',
  'http_version_not_supported',
  'unsupported_media_type',
  'connection_test_failed',
  'rate_limit_exceeded',
  'no_agent_available',
  'too_many_waiting',
  'shutting_down',
  'state_unavailable',
  'internal_error',
  'api_unreachable',
  'configuration_invalid',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/** What is wrong with one field; `pointer` is a JSON pointer into the body, or the name of a parameter. */
export interface FieldError {
  readonly pointer: string;
  readonly message: string;
}

export interface ErrorFacts {
  readonly status?: number | undefined;
  readonly requestId?: string | undefined;
  readonly details?: readonly FieldError[] | undefined;
  readonly remedy?: string | undefined;
  readonly retryAfterSeconds?: number | undefined;
}

/**
 * Base of all errors of the SDK. `code` never changes its meaning; `status` is the HTTP status, undefined
 * where there was no answer; `requestId` finds the request in the log of the API.
 */
export class DBauditError extends Error {
  readonly code: ErrorCode;
  readonly status: number | undefined;
  readonly requestId: string | undefined;
  readonly details: readonly FieldError[];
  readonly remedy: string | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.status = facts.status;
    this.requestId = facts.requestId;
    this.details = facts.details ?? [];
    this.remedy = facts.remedy;
    this.retryAfterSeconds = facts.retryAfterSeconds;
  }
}

/** The address of the API is missing or malformed. */
export class ConfigurationError extends DBauditError {}
/** There was no answer: the API is not there, or did not answer in time. */
export class UnreachableError extends DBauditError {}
/** 400, 406, 413, 415 ...: not like this; `details` name each field. Nothing was changed. */
export class InvalidRequestError extends DBauditError {}
/** 401: no API key, or one that is not valid. */
export class UnauthorizedError extends DBauditError {}
/** 403: the API key does not have the scope. */
export class ForbiddenError extends DBauditError {}
/** 404: there is nothing with this id. */
export class NotFoundError extends DBauditError {}
/** 409: there is such a database already, or it was changed meanwhile. */
export class ConflictError extends DBauditError {}
/** 422: the database was not reached, or the log-in refused; `report` says why. */
export class ConnectionTestFailedError extends DBauditError {
  readonly report: TestReport | undefined;

  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}, report?: TestReport) {
    super(code, message, facts);
    this.report = report;
  }
}
/** 429: the key has used up its requests. */
export class RateLimitedError extends DBauditError {}
/** 500: a fault of the API; its log has the details under `requestId`. */
export class ServerError extends DBauditError {}
/** 502, 503, 504: the API, its state or its agents are away for the moment. */
export class UnavailableError extends DBauditError {}

type Kind = new (code: ErrorCode, message: string, facts?: ErrorFacts, report?: TestReport) => DBauditError;

const KINDS: Readonly<Record<number, readonly [Kind, ErrorCode]>> = {
  401: [UnauthorizedError, 'unauthorized'],
  403: [ForbiddenError, 'forbidden'],
  404: [NotFoundError, 'not_found'],
  409: [ConflictError, 'conflict'],
  422: [ConnectionTestFailedError, 'connection_test_failed'],
  429: [RateLimitedError, 'rate_limit_exceeded'],
  502: [UnavailableError, 'internal_error'],
  503: [UnavailableError, 'internal_error'],
  504: [UnavailableError, 'internal_error'],
};

/** The error that an answer says; where it has no JSON of ours, something before the API has answered. */
export function errorOf(status: number, headers: Headers, text: string, retryAfterSeconds: number | undefined): DBauditError {
  const otherwise: readonly [Kind, ErrorCode] =
    status >= 500 ? [ServerError, 'internal_error'] : [InvalidRequestError, 'validation_failed'];
  const [kind, fallback] = KINDS[status] ?? otherwise;
  const body = parsed(text);
  const said = saidIn(body);
  if (said === undefined) {
    // Only the API itself can say that it tested a connection.
    const bare = kind === ConnectionTestFailedError ? InvalidRequestError : kind;
    return new bare('api_unreachable', `Something that is not the API of dbaudit answered with HTTP status ${status}.`, {
      status,
      retryAfterSeconds,
      remedy: 'Look at the address of the API and at the proxies before it.',
    });
  }
  const code = (ERROR_CODES as readonly unknown[]).includes(said.code) ? (said.code as ErrorCode) : fallback;
  const facts: ErrorFacts = {
    status,
    retryAfterSeconds,
    requestId: said.request_id ?? headers.get('X-Request-Id') ?? undefined,
    remedy: said.remedy,
    details: Array.isArray(said.details) ? said.details : [],
  };
  return new kind(code, said.message ?? 'The API gave no reason.', facts, fromApi(body?.report) as TestReport | undefined);
}

interface Said {
  code?: unknown;
  message?: string;
  request_id?: string;
  remedy?: string;
  details?: FieldError[];
}

type Body = { error?: Said; error_code?: string; message?: string; report?: unknown } | undefined;

/** The error in a body: of the form of most paths, or of that of the paths under /v1/cluster. */
function saidIn(body: Body): Said | undefined {
  if (typeof body?.error === 'object' && body.error !== null) return body.error;
  return body?.error_code === undefined ? undefined : { code: body.error_code, message: body.message ?? '' };
}

function parsed(text: string): Body {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Body) : undefined;
  } catch {
    return undefined;
  }
}
