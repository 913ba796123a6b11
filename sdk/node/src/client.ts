import { Cluster, Nodes, Service } from './cluster.js';
import { Databases } from './databases.js';
import { ConfigurationError } from './errors.js';
import { Events } from './events.js';
import { Keys } from './keys.js';
import { Transport } from './transport.js';
import { VERSION } from './version.js';

const INSPECT = Symbol.for('nodejs.util.inspect.custom');
const URL_OF_API = /^https?:\/\/[^/@?#\s]+(?:\/[^@?#\s]*)?$/;

export interface ClientOptions {
  /** The address of the API, such as https://dbaudit.example.com; else DBAUDIT_API_URL. */
  readonly apiUrl?: string;
  /** An API key; else DBAUDIT_API_KEY. */
  readonly apiKey?: string;
  /** Bounds every wait for an answer; else DBAUDIT_TIMEOUT_SECONDS, or 30. */
  readonly timeoutSeconds?: number;
  /** How often a request is repeated where that is safe; else DBAUDIT_MAX_RETRIES, or 2. */
  readonly maxRetries?: number;
  /** Brings your own proxies or certificates; else the global one. */
  readonly fetch?: typeof fetch;
}

/** A client of the API. */
export class DBaudit {
  readonly databases: Databases;
  readonly events: Events;
  readonly cluster: Cluster;
  readonly keys: Keys;
  readonly nodes: Nodes;
  readonly service: Service;
  readonly apiUrl: string;

  /** Throws ConfigurationError where the address is missing or is none, or a variable is no number. */
  constructor(options: ClientOptions = {}) {
    this.apiUrl = addressOf(options.apiUrl ?? variable('DBAUDIT_API_URL'));
    const transport = new Transport({
      apiUrl: this.apiUrl,
      apiKey: options.apiKey ?? variable('DBAUDIT_API_KEY'),
      timeoutSeconds: options.timeoutSeconds ?? numberIn('DBAUDIT_TIMEOUT_SECONDS', 30),
      maxRetries: Math.floor(options.maxRetries ?? numberIn('DBAUDIT_MAX_RETRIES', 2)),
      userAgent: `dbaudit-node/${VERSION}`,
      fetch: options.fetch ?? fetch,
      sleep,
    });
    this.databases = new Databases(transport);
    this.events = new Events(transport);
    this.cluster = new Cluster(transport);
    this.keys = new Keys(transport);
    this.nodes = new Nodes(transport);
    this.service = new Service(transport);
  }

  [INSPECT](): string {
    return `DBaudit { apiUrl: '${this.apiUrl}' }`;
  }
}

function addressOf(url: string | undefined): string {
  if (!url) {
    throw new ConfigurationError('configuration_invalid', 'The address of the API is not known.', {
      remedy: 'Set DBAUDIT_API_URL, such as http://127.0.0.1:8080, or give apiUrl.',
    });
  }
  if (!URL_OF_API.test(url) || !URL.canParse(url)) {
    throw new ConfigurationError('configuration_invalid', 'The address of the API is not a URL, or holds a user or a query.', {
      remedy: 'Give it like http://127.0.0.1:8080, and the key in DBAUDIT_API_KEY.',
    });
  }
  return url.replace(/\/+$/, '').replace(/\/v1$/, '');
}

declare const process: { readonly env: Readonly<Record<string, string | undefined>> } | undefined;

function variable(name: string): string | undefined {
  return (typeof process === 'undefined' ? undefined : process.env[name]) || undefined;
}

function numberIn(name: string, otherwise: number): number {
  const text = variable(name);
  if (text === undefined) return otherwise;
  if (!/^\d{1,6}(\.\d+)?$/.test(text)) {
    throw new ConfigurationError('configuration_invalid', `The variable ${name} is not a number from 0 on.`, {
      remedy: `Set it like ${otherwise}, or unset it.`,
    });
  }
  return Number(text);
}

function sleep(seconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, seconds * 1000);
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}
