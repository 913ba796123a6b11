import { fromApi, segment } from './naming.js';
import type { CallOptions, Transport } from './transport.js';
import type { Key, KeyCreate, NewKey } from './types.js';

const PATH = '/v1/keys';

/** `client.keys`: API keys. */
export class Keys {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** The keys, in the order of their creation; those that were revoked, too. */
  async list(options: CallOptions = {}): Promise<readonly Key[]> {
    const found = await this.#transport.send<{ data: readonly Key[] }>({ method: 'GET', path: PATH }, options);
    return found.data;
  }

  /** Make a key. It is not repeated when the answer is lost: nobody would know the key that was made. */
  create(declaration: KeyCreate, options: CallOptions = {}): Promise<NewKey> {
    return this.#transport.send({ method: 'POST', path: PATH, body: declaration, repeat: 'never', understand: newKey }, options);
  }

  /** Change the fields that are given, and return the key as it is then. */
  update(id: string, changes: Partial<KeyCreate>, options: CallOptions = {}): Promise<Key> {
    return this.#transport.send({ method: 'PATCH', path: pathOf(id), body: changes }, options);
  }

  /** Revoke a key; it is refused from then on. */
  revoke(id: string, options: CallOptions = {}): Promise<void> {
    return this.#transport.send({ method: 'DELETE', path: pathOf(id), repeat: 'untilGone' }, options);
  }
}

function pathOf(id: string): string {
  return `${PATH}/${segment(id)}`;
}

/** The key itself is not enumerable, so that neither a log nor JSON shows it. */
function newKey(text: string): unknown {
  const { key, ...shown } = JSON.parse(text);
  return Object.freeze(Object.defineProperty({ ...(fromApi(shown) as object) }, 'key', { value: key, enumerable: false }));
}
