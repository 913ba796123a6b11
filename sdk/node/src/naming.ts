/** An id as one part of a path. Without it the path would be that of the whole list. */
export function segment(id: string): string {
  if (typeof id !== 'string' || id === '') throw new TypeError('An id is needed; this one is empty.');
  return encodeURIComponent(id);
}

// The API names fields like ssl_mode, JavaScript like sslMode.

// What is below these fields has names of its own: options of an engine, rights, classes of records, what only one
// engine tells.
const VERBATIM: ReadonlySet<string> = new Set(['engine', 'permissions', 'left_out', 'detail']);

export function toApi(value: unknown): unknown {
  return renamed(value, (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
}

/** The value with the names of JavaScript; it and everything in it is frozen. */
export function fromApi(value: unknown): unknown {
  return frozen(renamed(value, (name) => name.replace(/_([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase())));
}

function renamed(value: unknown, rename: (name: string) => string): unknown {
  if (Array.isArray(value)) return value.map((item) => renamed(item, rename));
  if (value === null || typeof value !== 'object') return value;
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .map(([name, item]) => [rename(name), VERBATIM.has(name) ? item : renamed(item, rename)]);
  return Object.fromEntries(entries);
}

function frozen(value: unknown): unknown {
  if (value !== null && typeof value === 'object') {
    Object.values(value).forEach(frozen);
    Object.freeze(value);
  }
  return value;
}
