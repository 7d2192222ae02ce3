// The MCP SDK for TypeScript.
//
// In: `{ url, tag, n, every, opening, transport }`. Out: the ticks of the notifications, and whether the tool's result came.

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { Ticks, named, serve, sleep, until } from './actor.mjs';

// Time for what comes too late or twice.
const LATE_MS = 300;

async function connect(job, ticks) {
  const client = new Client({ name: 'segno-clients', version: '1' });
  client.onerror = () => {};
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => ticks.take(params.data));
  const url = new URL(job.url);
  const transport = job.transport === 'sse' ? new SSEClientTransport(url) : new StreamableHTTPClientTransport(url);
  await client.connect(transport);
  return { client, transport };
}

async function close({ client, transport }) {
  await transport.terminateSession?.().catch(() => {});
  await client.close();
}

serve({
  // Notifications on the answer to the call.
  async call(job) {
    const ticks = new Ticks(job.pad);
    const peer = await connect(job, ticks);
    const limits = { timeout: job.ms, maxTotalTimeout: job.ms };
    const call = { name: 'count_to', arguments: { n: job.n, every: job.every, tag: job.tag } };
    let outcome;
    try {
      const result = await peer.client.callTool(call, undefined, limits);
      outcome = { finished: result.content[0].text === `counted to ${job.n}` };
    } catch (error) {
      outcome = { finished: false, error: named(error) };
    }
    await sleep(LATE_MS);
    await close(peer);
    return ticks.outcome(outcome);
  },

  // Notifications on the stream of the standalone GET.
  async listen(job) {
    const ticks = new Ticks(job.pad);
    const peer = await connect(job, ticks);
    await sleep(job.opening);
    await peer.client.callTool({ name: 'tell_all', arguments: { n: job.n, every: job.every, tag: job.tag } });
    await until(() => ticks.got.length >= job.n, job.ms);
    await sleep(LATE_MS);
    await close(peer);
    return ticks.outcome({ finished: ticks.got.length >= job.n });
  },

  // A session that the client ended is gone.
  async deleted(job) {
    const peer = await connect(job, new Ticks());
    const session = peer.transport.sessionId;
    await close(peer);
    const headers = { accept: 'text/event-stream', 'mcp-session-id': session };
    const answer = await fetch(job.url, { headers });
    await answer.body?.cancel();
    return { got: [], finished: answer.status === 404, error: answer.status === 404 ? '' : `status ${answer.status}` };
  },
});
