// A server that gives scripted answers one after the other (null: it hangs up), and what it was asked.

import { createServer } from 'node:http';
import { once } from 'node:events';

export async function answering(...answers) {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push({ method: request.method, url: request.url, headers: request.headers });
    request.resume();
    request.on('end', () => {
      const answer = answers.shift();
      if (!answer) return request.socket.destroy();
      response.writeHead(answer.status, { Connection: 'close', ...answer.headers });
      response.end(answer.body);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    asked,
    url: `http://127.0.0.1:${server.address().port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

export function good(body, status = 200) {
  return { status, headers: {}, body: JSON.stringify(body) };
}

export function error(status, code, headers = {}) {
  const body = { error: { code, message: 'No.', request_id: 'r1', details: [] } };
  return { status, headers, body: JSON.stringify(body) };
}

export const DATABASE = {
  name: 'Production PostgreSQL',
  type: 'postgresql',
  host: 'prod-db.example.com',
  port: 5432,
  database: 'myapp',
  username: 'dbaudit_reader',
  password: 'Pl4nted-node',
  sslMode: 'verify-full',
};
