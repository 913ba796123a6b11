// Against a real service at DBAUDIT_API_URL, which has no database yet.

import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { test } from 'node:test';
import { ConflictError, DBaudit, ForbiddenError, InvalidRequestError, NotFoundError, UnauthorizedError } from '@dbaudit/sdk';
import { DATABASE } from './answers.js';

const options = { skip: process.env.DBAUDIT_API_URL ? false : 'DBAUDIT_API_URL is not set' };

test('everything that can be done', options, async (t) => {
  const client = new DBaudit();

  await t.test('the service is alive and ready, and tells its figures and its document', async () => {
    assert.deepEqual(await client.service.live(), { status: 'ok' });
    assert.equal((await client.service.ready()).status, 'ready');
    assert.match(await client.service.metrics(), /# TYPE dbaudit_/);
    assert((await client.service.openapi()).paths['/v1/databases']);
    const [agent] = await client.nodes.list();
    assert.equal(agent.alive, true);
    assert(agent.capabilities.includes('engine:postgresql'));
  });

  await t.test('a list goes over all pages, awaited and iterated', async () => {
    const entries = Array.from({ length: 205 }, (_nothing, number) => ({
      ...DATABASE,
      name: `db ${number}`,
      host: `db${number}.example.com`,
      tags: [number % 2 ? 'odd' : 'even'],
      auditStatus: 'paused',
    }));
    const applied = await client.databases.apply(entries);
    assert.equal(applied.results.length, 205);
    assert(applied.results.every((result) => result.action === 'created'));
    assert.equal((await client.databases.apply(entries, { dryRun: true })).changed, false);
    const all = await client.databases.list();
    assert.deepEqual(all.map((db) => db.name), entries.map((entry) => entry.name));
    const names = [];
    for await (const db of client.databases.list({ tags: ['even'] })) names.push(db.name);
    assert.equal(names.length, 103);
    for await (const page of client.databases.list().pages()) {
      assert.equal(page.total, 205);
      break;
    }
    const gone = entries.map(({ name }) => ({ name, state: 'absent' }));
    assert.equal((await client.databases.apply(gone)).changed, true);
  });

  await t.test('a database is added, read, changed and removed', async () => {
    assert.equal((await client.databases.previewCreate(DATABASE)).changed, true);
    const made = await client.databases.create({ ...DATABASE, auditStatus: 'paused' }, { idempotencyKey: 'service-1' });
    const again = await client.databases.create({ ...DATABASE, auditStatus: 'paused' }, { idempotencyKey: 'service-1' });
    assert.equal(again.id, made.id);
    await assert.rejects(client.databases.create(DATABASE), (refused) => refused instanceof ConflictError && refused.code === 'database_exists');
    const got = await client.databases.get(made.id);
    assert.equal(got.stats.eventsToday, 0);
    const wanted = { tags: ['b', 'c'], auditOptions: { retentionDays: 7 } };
    assert.deepEqual((await client.databases.previewUpdate(made.id, wanted)).diff.after.tags, ['b', 'c']);
    const changed = await client.databases.update(made.id, wanted, { ifMatch: got.etag });
    assert.deepEqual([changed.tags, changed.auditOptions.retentionDays], [['b', 'c'], 7]);
    await assert.rejects(client.databases.update(made.id, { name: 'late' }, { ifMatch: got.etag }), ConflictError);
    await assert.rejects(client.databases.delete(made.id, { ifMatch: got.etag }), ConflictError);
    const status = await client.databases.getStatus(made.id);
    assert.equal(status.collector.eventsPerSecond, 0);
    assert.equal((await client.databases.previewDelete(made.id)).changed, true);
    await client.databases.delete(made.id);
    await assert.rejects(client.databases.get(made.id), NotFoundError);
  });

  await t.test('a key is made, used, narrowed and revoked, and shown nowhere', async () => {
    const made = await client.keys.create({ name: 'node', scopes: ['read:databases'] });
    assert(made.key.startsWith('dbaudit_live_'));
    assert(!`${inspect(made)}${JSON.stringify(made)}`.includes(made.key));
    const reader = new DBaudit({ apiKey: made.key });
    assert.deepEqual(await reader.databases.list(), []);
    await assert.rejects(reader.keys.list(), ForbiddenError);
    assert.deepEqual((await client.keys.update(made.id, { name: 'renamed' })).scopes, ['read:databases']);
    const bounds = { expiresAt: '2126-01-31T12:00:00Z', networks: ['127.0.0.0/8'], tags: ['shop'] };
    const bound = await client.keys.update(made.id, bounds);
    assert.deepEqual({ expiresAt: bound.expiresAt, networks: bound.networks, tags: bound.tags }, bounds);
    await client.keys.revoke(made.id);
    const found = (await client.keys.list()).find((key) => key.id === made.id);
    assert.equal(found.name, 'renamed');
    assert.notEqual(found.revokedAt, null);
  });

  await t.test('refusals name the field, and ids lead to no other path', async () => {
    await assert.rejects(client.databases.create({ ...DATABASE, port: 0 }), (refused) => {
      assert(refused instanceof InvalidRequestError);
      assert.deepEqual(refused.details.map((detail) => detail.pointer), ['/port']);
      assert(!JSON.stringify(refused).includes(DATABASE.password));
      return true;
    });
    await assert.rejects(client.databases.get('../../health/live'), NotFoundError);
    const stranger = new DBaudit({ apiKey: 'dbaudit_live_wrong' });
    await assert.rejects(stranger.nodes.list(), UnauthorizedError);
  });

  await t.test('events are listed, and followed until the call is aborted', async () => {
    assert.deepEqual(await client.events.list({ startDate: new Date(0), order: 'oldest', type: ['database.query'] }).toArray(10), []);
    await assert.rejects(client.events.get('ev_none'), NotFoundError);
    const stop = new AbortController();
    const stream = await client.events.follow({ type: 'database.query', signal: stop.signal });
    assert.equal(typeof stream.cursor, 'string');
    setTimeout(() => stop.abort(new Error('enough')), 50);
    await assert.rejects(stream[Symbol.asyncIterator]().next(), /enough/);
  });

  await t.test('the settings of connection events are set, shown and forgotten', async () => {
    assert.equal(await client.cluster.getDbConnsAuditing(), null);
    const set = await client.cluster.putDbConnsAuditing({ auditProtocol: 'TCP', auditAddress: '127.0.0.1', auditPort: 12345 });
    assert.equal(set.auditReconnectInterval, 1);
    assert.deepEqual(await client.cluster.getDbConnsAuditing(), set);
    assert.deepEqual((await client.cluster.getDbConnsAuditingStatus()).databases, []);
    assert.deepEqual(await client.cluster.putPolicy({ dbConnsAuditing: true }), { dbConnsAuditing: true });
    await assert.rejects(client.cluster.deleteDbConnsAuditing(), { code: 'cannot_delete_audit_config_when_policy_enabled' });
    await client.cluster.putPolicy({ dbConnsAuditing: false });
    assert.deepEqual(await client.cluster.getPolicy(), { dbConnsAuditing: false });
    await client.cluster.deleteDbConnsAuditing();
    await assert.rejects(client.cluster.deleteDbConnsAuditing(), { code: 'db_conns_audit_config_not_found' });
  });
});
