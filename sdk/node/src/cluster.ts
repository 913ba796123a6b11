import { fromApi } from './naming.js';
import type { CallOptions, Transport } from './transport.js';
import type { AgentNode, ClusterPolicy, DbConnsSettings, DbConnsStatus, Readiness } from './types.js';

const SETTINGS = '/v1/cluster/auditing/db_conns';
const POLICY = '/v1/cluster/policy';

/** `client.cluster`: where connection events are sent, and what new databases get. */
export class Cluster {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Where connection events are sent; null where nothing is set. */
  getDbConnsAuditing(options: CallOptions = {}): Promise<DbConnsSettings | null> {
    return this.#transport.send({ method: 'GET', path: SETTINGS, understand: settingsOrNull }, options);
  }

  /** Set where connection events are sent; what is not given stays. */
  putDbConnsAuditing(settings: Partial<DbConnsSettings>, options: CallOptions = {}): Promise<DbConnsSettings> {
    return this.#transport.send({ method: 'PUT', path: SETTINGS, body: settings }, options);
  }

  /** Forget where connection events are sent; refused while the policy or a database is on. */
  deleteDbConnsAuditing(options: CallOptions = {}): Promise<void> {
    return this.#transport.send({ method: 'DELETE', path: SETTINGS, repeat: 'untilGone', understand: () => undefined }, options);
  }

  /** How the sending of connection events stands. */
  getDbConnsAuditingStatus(options: CallOptions = {}): Promise<DbConnsStatus> {
    return this.#transport.send({ method: 'GET', path: `${SETTINGS}/status` }, options);
  }

  /** What new databases get. */
  getPolicy(options: CallOptions = {}): Promise<ClusterPolicy> {
    return this.#transport.send({ method: 'GET', path: POLICY }, options);
  }

  /** Set what new databases get. Databases that exist stay as they are. */
  putPolicy(policy: Partial<ClusterPolicy>, options: CallOptions = {}): Promise<ClusterPolicy> {
    return this.#transport.send({ method: 'PUT', path: POLICY, body: policy }, options);
  }
}

/** `client.nodes`: the agents. */
export class Nodes {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** The agents, oldest first; those that have been silent for less than a day, too. */
  async list(options: CallOptions = {}): Promise<readonly AgentNode[]> {
    const found = await this.#transport.send<{ data: readonly AgentNode[] }>({ method: 'GET', path: '/v1/nodes' }, options);
    return found.data;
  }
}

/** `client.service`: the service itself. `live` and `ready` need no API key. */
export class Service {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Whether the process answers. */
  live(options: CallOptions = {}): Promise<{ readonly status: 'ok' }> {
    return this.#transport.send({ method: 'GET', path: '/health/live' }, options);
  }

  /** Whether the service can do its work; when it cannot, that is an answer and no error. */
  ready(options: CallOptions = {}): Promise<Readiness> {
    return this.#transport.send({ method: 'GET', path: '/health/ready', alsoAnswers: [503] }, options);
  }

  /** The figures in the text format of Prometheus. */
  metrics(options: CallOptions = {}): Promise<string> {
    const headers = { Accept: 'text/plain' };
    return this.#transport.send({ method: 'GET', path: '/metrics', headers, understand: (text) => text }, options);
  }

  /** The OpenAPI document of the service, with the names of the API. */
  openapi(options: CallOptions = {}): Promise<Record<string, unknown>> {
    return this.#transport.send({ method: 'GET', path: '/v1/openapi.json', understand: (text) => JSON.parse(text) }, options);
  }
}

function settingsOrNull(text: string): unknown {
  const settings = JSON.parse(text);
  return Object.keys(settings).length === 0 ? null : fromApi(settings);
}
