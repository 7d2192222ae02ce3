// MCP servers of the TypeScript SDK: `/stored/RUN/mcp` keeps its events, `/bare/RUN/mcp` does not, `/brief/RUN/mcp` ends
// the first stream of each session's standalone GET without an event, `/sse` is the older transport.
//
// In: a port. Out: the tools `count_to` (ticks on its own stream) and `tell_all` (ticks on the standalone stream), and
// `GET /count?tag=`: how often the tool ran.

import { randomUUID } from 'node:crypto';

import { createMcpExpressApp } from '@modelcontextprotocol/sdk/server/express.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { z } from 'zod';

const port = Number(process.argv[2]);
const runs = new Map();
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const said = (text) => ({ content: [{ type: 'text', text }] });

// The events of one session, in order.
class Events {
  #kept = [];

  async storeEvent(stream, message) {
    this.#kept.push({ stream, message });
    return `${stream}:${this.#kept.length}`;
  }

  async getStreamIdForEventId(id) {
    return id.slice(0, id.lastIndexOf(':'));
  }

  async replayEventsAfter(last, { send }) {
    const stream = await this.getStreamIdForEventId(last);
    for (let at = Number(last.slice(stream.length + 1)); at < this.#kept.length; at += 1) {
      if (this.#kept[at].stream === stream) await send(`${stream}:${at + 1}`, this.#kept[at].message);
    }
    return stream;
  }
}

function counter() {
  const server = new McpServer({ name: 'counter', version: '1' }, { capabilities: { logging: {}, tools: {} } });
  const inputSchema = { n: z.number(), every: z.number(), tag: z.string() };
  const tick = (i) => ({ method: 'notifications/message', params: { level: 'info', data: `tick-${i}#` } });
  server.registerTool('count_to', { inputSchema }, async ({ n, every, tag }, { sendNotification }) => {
    runs.set(tag, (runs.get(tag) ?? 0) + 1);
    for (let i = 1; i <= n; i += 1) {
      await sleep(every);
      await sendNotification(tick(i));
    }
    await sleep(every);
    return said(`counted to ${n}`);
  });
  server.registerTool('tell_all', { inputSchema }, async ({ n, every }) => {
    (async () => {
      for (let i = 1; i <= n; i += 1) {
        await sleep(every);
        await server.server.notification(tick(i)).catch(() => {});
      }
    })();
    return said('telling');
  });
  return server;
}

const app = createMcpExpressApp({ host: '127.0.0.1' });
const sessions = new Map();
// Sessions whose first standalone stream has ended.
const ended = new Set();
const BRIEF_MS = 200;

app.all('/:kind/:run/mcp', async (request, response) => {
  const session = request.headers['mcp-session-id'];
  let transport = sessions.get(session);
  if (session !== undefined && transport === undefined) {
    return response.status(404).json({ jsonrpc: '2.0', error: { code: -32001, message: 'no such session' }, id: null });
  }
  if (transport === undefined) {
    transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      eventStore: request.params.kind === 'stored' ? new Events() : undefined,
      onsessioninitialized: (id) => sessions.set(id, transport),
    });
    transport.onclose = () => sessions.delete(transport.sessionId);
    await counter().connect(transport);
  }
  if (request.params.kind === 'brief' && request.method === 'GET' && !ended.has(session)) {
    ended.add(session);
    response.writeHead(200, { 'content-type': 'text/event-stream', 'mcp-session-id': session }).flushHeaders();
    await sleep(BRIEF_MS);
    return response.end();
  }
  await transport.handleRequest(request, response, request.body);
});

app.get('/sse', async (_request, response) => {
  const transport = new SSEServerTransport('/messages', response);
  sessions.set(transport.sessionId, transport);
  response.on('close', () => sessions.delete(transport.sessionId));
  await counter().connect(transport);
});
app.post('/messages', async (request, response) => {
  const transport = sessions.get(request.query.sessionId);
  if (transport === undefined) return response.status(404).end();
  await transport.handlePostMessage(request, response, request.body);
});

app.get('/count', (request, response) => response.json(runs.get(request.query.tag) ?? 0));
app.listen(port, '127.0.0.1');
