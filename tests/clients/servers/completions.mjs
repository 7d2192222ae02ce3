// Chat completions, as LLM services answer them. The model's name says how.
//
// In: `POST /v1/chat/completions` with `model`, `user` (who counts), `max_tokens` (ticks), `stream`. Out: a tick in each
// chunk, `data: [DONE]`, and how often each user's answer was begun.

import http from 'node:http';

import { listen } from '../bench/ports.mjs';
import { packed } from './feed.mjs';

const EVERY_MS = 40;
const PAUSE_MS = 4_000;
const PAUSE_AFTER = 3;
export const PAD = 'é✓😀';

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class Completions {
  #asked = new Map();
  #begun = new Map();
  #server = http.createServer((request, response) => this.#receive(request, response));
  port;

  async open() {
    this.port = await listen(this.#server);
    return this;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  begun(user) {
    return this.#begun.get(user) ?? 0;
  }

  async #receive(request, response) {
    const parts = [];
    for await (const part of request) parts.push(part);
    const question = JSON.parse(Buffer.concat(parts));
    const { model, user } = question;
    const times = (this.#asked.get(user) ?? 0) + 1;
    this.#asked.set(user, times);

    const first = times === 1;
    if (model === 'busy-once' && first) return refuse(response, 503, { 'Retry-After': '1' });
    if (model === 'limited-once' && first) return refuse(response, 429, { 'Retry-After-Ms': '300' });
    if (model === 'reset-once' && first) return request.socket.resetAndDestroy();
    if (model === 'forbidden') return refuse(response, 401, { 'X-Request-Id': 'r-1' });
    if (model === 'moved' && !request.url.startsWith('/moved')) {
      return response.writeHead(307, { Location: `http://${request.headers.host}/moved${request.url}` }).end();
    }
    this.#begun.set(user, this.begun(user) + 1);
    if (model === 'slow-head') await sleep(PAUSE_MS);
    if (question.stream) await stream(question, request, response);
    else response.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(whole(question)));
  }
}

function refuse(response, status, headers) {
  const error = { message: `refused with ${status}`, type: 'test', param: null, code: null };
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers }).end(JSON.stringify({ error }));
}

const answer = (question, object, choice) => ({
  id: 'chatcmpl-1',
  object,
  created: 1_700_000_000,
  model: question.model,
  choices: [{ index: 0, ...choice }],
});

function whole(question) {
  const content = Array.from({ length: question.max_tokens }, (_, i) => `tick-${i + 1}#${PAD} `).join('');
  return answer(question, 'chat.completion', { message: { role: 'assistant', content }, finish_reason: 'stop' });
}

async function stream(question, request, response) {
  const { model, max_tokens: n } = question;
  response.setHeader('Content-Type', 'text/event-stream; charset=utf-8');
  // Without chunks and without a length: the end of the connection is the end of the answer.
  if (model === 'until-close') {
    response.useChunkedEncodingByDefault = false;
    response.removeHeader('Transfer-Encoding');
    response.shouldKeepAlive = false;
  }
  const out = packed(request, response, model === 'gzip');
  response.flushHeaders();
  if (model === 'pause-first') await sleep(PAUSE_MS);
  const chunk = (choice) => `data: ${JSON.stringify(answer(question, 'chat.completion.chunk', choice))}\n\n`;
  for (let tick = 1; tick <= n && !response.destroyed; tick += 1) {
    await sleep(EVERY_MS);
    const text = Buffer.from(chunk({ delta: { content: `tick-${tick}#${PAD} ` }, finish_reason: null }));
    if (model === 'torn') {
      // In the middle of a character.
      const middle = text.indexOf(Buffer.from('é')) + 1;
      out.write(text.subarray(0, middle));
      await sleep(EVERY_MS / 2);
      out.write(text.subarray(middle));
    } else {
      if (model === 'comments') out.write(': PROCESSING\n\n');
      out.write(text);
    }
    if (model === 'pause' && tick === PAUSE_AFTER) await sleep(PAUSE_MS);
  }
  out.write(chunk({ delta: {}, finish_reason: 'stop' }));
  out.end('data: [DONE]' + ({ 'no-blank-line': '\n', 'no-line-end': '' }[model] ?? '\n\n'));
}
