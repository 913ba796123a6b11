// What the SDK does when the API, or something before it, answers badly, late or not at all.

import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { test } from 'node:test';
import {
  ConflictError,
  ConnectionTestFailedError,
  DBaudit,
  DBauditError,
  InvalidRequestError,
  NotFoundError,
  RateLimitedError,
  ServerError,
  UnavailableError,
  UnreachableError,
} from '@dbaudit/sdk';
import { DATABASE, answering, error, good } from './answers.js';

const AT_ONCE = { 'Retry-After': '0' };
const EMPTY_PAGE = { data: [], pagination: { total: 0, page: 1, per_page: 100 } };

async function within(answers, work) {
  const server = await answering(...answers);
  try {
    return await work(new DBaudit({ apiUrl: server.url, apiKey: 'x' }), server.asked);
  } finally {
    await server[Symbol.asyncDispose]();
  }
}

for (const bad of [error(503, 'state_unavailable', AT_ONCE), error(429, 'rate_limit_exceeded', AT_ONCE), null]) {
  test(`reading is tried again after ${bad?.status ?? 'a hang-up'}`, () =>
    within([bad, good(EMPTY_PAGE)], async (client, asked) => {
      assert.deepEqual(await client.databases.list(), []);
      assert.equal(asked.length, 2);
    }));
}

test('it gives up after maxRetries with the last error', async () => {
  const answers = Array(5).fill(error(503, 'state_unavailable', AT_ONCE));
  await within(answers, async (client, asked) => {
    await assert.rejects(client.databases.get('db_1'), (failed) => {
      assert(failed instanceof UnavailableError);
      assert.equal(failed.code, 'state_unavailable');
      assert.equal(failed.requestId, 'r1');
      return true;
    });
    assert.equal(asked.length, 3);
  });
});

test('nobody waits longer than a minute', () =>
  within([error(429, 'rate_limit_exceeded', { 'Retry-After': '3600' })], async (client) => {
    await assert.rejects(client.databases.get('db_1'), (failed) => {
      assert(failed instanceof RateLimitedError);
      assert.equal(failed.retryAfterSeconds, 3600);
      return true;
    });
  }));

test('adding is repeated under one key, and every call has another one', async () => {
  const bad = error(503, 'state_unavailable', AT_ONCE);
  const made = good({ ...DATABASE, id: 'db_1' }, 201);
  await within([bad, made, made, made], async (client, asked) => {
    assert.equal((await client.databases.create(DATABASE)).id, 'db_1');
    await client.databases.create(DATABASE);
    await client.databases.create(DATABASE, { idempotencyKey: 'mine' });
    const keys = asked.map((request) => request.headers['idempotency-key']);
    assert(keys[0]);
    assert.equal(keys[0], keys[1]);
    assert.notEqual(keys[1], keys[2]);
    assert.equal(keys[3], 'mine');
  });
});

const ONCE = {
  test: (client) => client.databases.test('db_1'),
  'update of a known version': (client) => client.databases.update('db_1', { name: 'n' }, { ifMatch: '"1"' }),
};
for (const [name, change] of Object.entries(ONCE)) {
  test(`a ${name} is not repeated`, () =>
    within([error(503, 'state_unavailable', AT_ONCE)], async (client, asked) => {
      await assert.rejects(change(client), UnavailableError);
      assert.equal(asked.length, 1);
    }));
}

test('a removal that may have happened is repeated, and then absence is success', () =>
  within([null, error(404, 'not_found')], (client) => client.databases.delete('db_1')));

test('removing what was never there is an error', () =>
  within([error(429, 'rate_limit_exceeded', AT_ONCE), error(404, 'not_found')], (client) =>
    assert.rejects(client.databases.delete('db_1'), NotFoundError)));

const ANSWERS = [
  [{ status: 200, headers: {}, body: '<html>Welcome</html>' }, ServerError, 'internal_error'],
  [{ status: 301, headers: { Location: 'http://127.0.0.1:1/' }, body: '' }, InvalidRequestError, 'api_unreachable'],
  [{ status: 404, headers: {}, body: '<html>Not found</html>' }, NotFoundError, 'api_unreachable'],
  [{ status: 422, headers: {}, body: 'nothing' }, InvalidRequestError, 'api_unreachable'],
  [{ status: 500, headers: {}, body: '' }, ServerError, 'api_unreachable'],
  [error(409, 'database_exists'), ConflictError, 'database_exists'],
  [error(418, 'a_code_of_the_future'), InvalidRequestError, 'validation_failed'],
  [{ status: 406, headers: {}, body: '{"error_code":"db_conns_auditing_config_missing","message":"No."}' }, InvalidRequestError, 'db_conns_auditing_config_missing'],
];
for (const [answer, kind, code] of ANSWERS) {
  test(`${answer.status} ${answer.body.slice(0, 40)} is a ${kind.name}`, () =>
    within([answer], (client) =>
      assert.rejects(client.databases.get('db_1'), (failed) => {
        assert.equal(failed.constructor, kind);
        assert.equal(failed.name, kind.name);
        assert.equal(failed.code, code);
        assert.equal(failed.status, answer.status);
        return true;
      })));
}

test('a failed connection test has its report, with the names of JavaScript', () => {
  const body = JSON.stringify({
    error: { code: 'connection_test_failed', message: 'No.', request_id: 'r1', details: [] },
    report: { success: false, error_code: 'tls_failed', permissions: { pg_monitor: false } },
  });
  return within([{ status: 422, headers: {}, body }], (client) =>
    assert.rejects(client.databases.test('db_1'), (failed) => {
      assert(failed instanceof ConnectionTestFailedError);
      assert.equal(failed.report.errorCode, 'tls_failed');
      assert.equal(failed.report.permissions.pg_monitor, false);
      return true;
    }));
});

test('an answer that never comes is given up in time, and a call can be aborted', async () => {
  const silent = createServer(() => {});
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const apiUrl = `http://127.0.0.1:${silent.address().port}`;
  try {
    const client = new DBaudit({ apiUrl, apiKey: 'x', timeoutSeconds: 0.1, maxRetries: 0 });
    await assert.rejects(client.databases.get('db_1'), (failed) => {
      assert(failed instanceof UnreachableError);
      assert.equal(failed.code, 'api_unreachable');
      assert.match(failed.message, /no answer in time/);
      return true;
    });
    const aborted = AbortSignal.abort(new Error('enough'));
    await assert.rejects(client.databases.get('db_1', { signal: aborted }), /enough/);
  } finally {
    silent.close();
  }
});

test('nobody at the address is an error that names it', async () => {
  const client = new DBaudit({ apiUrl: 'http://127.0.0.1:1', apiKey: 'x', maxRetries: 0 });
  await assert.rejects(client.nodes.list(), (failed) => {
    assert(failed instanceof UnreachableError && failed instanceof DBauditError);
    assert.match(failed.message, /http:\/\/127\.0\.0\.1:1 cannot be reached/);
    return true;
  });
});

test('a follower that is answered at once in vain pauses before it asks again', async () => {
  const nothing = good({ data: [], pagination: { next_cursor: 'c', has_more: false } });
  await within([nothing, error(503, 'too_many_waiting', AT_ONCE), error(403, 'forbidden')], async (client) => {
    const begun = Date.now();
    const stream = await client.events.follow({ cursor: 'c' });
    await assert.rejects(stream[Symbol.asyncIterator]().next(), { code: 'forbidden' });
    assert(Date.now() - begun > 700);
  });
});
