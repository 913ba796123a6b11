// The client as such: configuration, names, and what it shows of itself.

import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { test } from 'node:test';
import { ConfigurationError, DBaudit } from '@dbaudit/sdk';
import { DATABASE, answering, good } from './answers.js';

const SECRET = 'dbaudit_live_Pl4nted';

test('no secret is in what a client shows', () => {
  const client = new DBaudit({ apiUrl: 'http://127.0.0.1:8080', apiKey: SECRET });
  for (const shown of [client, client.databases, client.events, client.cluster, client.nodes, client.service]) {
    for (const text of [inspect(shown, { depth: 9, showHidden: true }), JSON.stringify(shown), String(shown)]) {
      assert(!text.includes(SECRET), text);
    }
  }
  assert.equal(inspect(client), "DBaudit { apiUrl: 'http://127.0.0.1:8080' }");
});

for (const apiUrl of [
  '127.0.0.1:8080',
  'ftp://127.0.0.1',
  `http://user:${SECRET}@127.0.0.1`,
  'http://127.0.0.1?key=x',
  'http://',
  'http://127.0.0.1:99999',
  'http://[::1',
]) {
  test(`${apiUrl} is no address`, () => {
    assert.throws(
      () => new DBaudit({ apiUrl }),
      (refused) => refused instanceof ConfigurationError && !`${refused.message}${refused.remedy}`.includes(SECRET),
    );
  });
}

test('without an address the variable is named', () => {
  const { DBAUDIT_API_URL, ...others } = process.env;
  const before = process.env;
  process.env = others;
  try {
    assert.throws(() => new DBaudit(), (refused) => refused.remedy.includes('DBAUDIT_API_URL'));
  } finally {
    process.env = before;
  }
});

test('a variable that is no number is refused by name', () => {
  process.env.DBAUDIT_MAX_RETRIES = 'many';
  try {
    assert.throws(() => new DBaudit({ apiUrl: 'http://127.0.0.1' }), /DBAUDIT_MAX_RETRIES/);
  } finally {
    delete process.env.DBAUDIT_MAX_RETRIES;
  }
});

test('names are those of JavaScript, except of what has names of its own; results are frozen', async () => {
  const answer = {
    ssl_mode: 'require',
    audit_options: { retention_days: 7, engine: { log_directory: '/var' } },
    tags: ['a_b'],
  };
  const server = await answering(good(answer, 201));
  try {
    const client = new DBaudit({ apiUrl: server.url, apiKey: 'x' });
    const found = await client.databases.create({ ...DATABASE, auditOptions: { engine: { log_directory: '/var' } } });
    assert.equal(found.sslMode, 'require');
    assert.deepEqual(found.auditOptions, { retentionDays: 7, engine: { log_directory: '/var' } });
    assert.deepEqual(found.tags, ['a_b']);
    assert.throws(() => found.tags.push('c'), TypeError);
    assert.throws(() => { found.auditOptions.engine.log_directory = '/'; }, TypeError);
  } finally {
    await server[Symbol.asyncDispose]();
  }
});
