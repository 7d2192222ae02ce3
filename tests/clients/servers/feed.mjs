// An event feed as small services write it.
//
// In: `/ids` or `/bare`, by GET or POST, with `key`, `n`, `every` (ms), `pad`, `before` (of each id), `retry`, `length`. Out: ticks,
// then the event `end`, for any origin.
// Laws: there is one clock for each key, started by the first request. `/ids` sends what follows `Last-Event-ID`, and
// answers 204 to who has everything. `/bare` forgets: who comes late gets what comes from then on.

import http from 'node:http';
import zlib from 'node:zlib';

import { listen } from '../bench/ports.mjs';

export class Feed {
  #starts = new Map();
  #server = http.createServer((request, response) => this.#answer(request, response));
  port;

  async open() {
    this.port = await listen(this.#server);
    return this;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #answer(request, response) {
    response.setHeader('Access-Control-Allow-Origin', '*');
    // It has never heard of headers that pages would have to ask for.
    if (request.method === 'OPTIONS') return response.writeHead(204).end();
    request.resume();
    const url = new URL(request.url, 'http://feed');
    const wants = Object.fromEntries(url.searchParams);
    const n = Number(wants.n);
    const every = Number(wants.every);
    const withIds = url.pathname === '/ids';
    const start = this.#starts.get(wants.key) ?? performance.now();
    this.#starts.set(wants.key, start);
    const due = () => Math.min(n, Math.floor((performance.now() - start) / every));
    const known = /(\d+)$/.exec(request.headers['last-event-id'] ?? '');
    let sent = withIds ? Number(known?.[1] ?? 0) : due();
    if (withIds && known && sent >= n) return response.writeHead(204).end();

    response.setHeader('Content-Type', 'text/event-stream');
    const out = packed(request, response);
    response.flushHeaders();
    if (wants.retry) out.write(`retry: ${wants.retry}\n\n`);
    const clock = setInterval(() => {
      for (; sent < due(); sent += 1) out.write(event(wants, sent + 1, withIds));
      if (sent < n) return;
      clearInterval(clock);
      out.end(`${withIds ? id(wants, n) : ''}event: end\ndata: end\n\n`);
    }, 5);
    response.on('close', () => clearInterval(clock));
  }
}

// Latin-1, so that ids can be bytes that are not UTF-8.
function id(wants, number) {
  const before = wants.before ?? '';
  return Buffer.from(`id: ${before.padEnd(Number(wants.length ?? 0), '.')}${number}\n`, 'latin1');
}

function event(wants, number, withIds) {
  const data = Buffer.from(`data: tick-${number}#${wants.pad ?? ''}\n\n`);
  return withIds ? Buffer.concat([id(wants, number), data]) : data;
}

// Where the client takes gzip and the query asks for it, each event is compressed and flushed.
export function packed(request, response, wanted = new URL(request.url, 'http://feed').searchParams.has('gzip')) {
  if (!wanted || !/\bgzip\b/.test(request.headers['accept-encoding'] ?? '')) return response;
  response.setHeader('Content-Encoding', 'gzip');
  response.setHeader('Vary', 'Accept-Encoding');
  const gzip = zlib.createGzip({ flush: zlib.constants.Z_SYNC_FLUSH });
  gzip.pipe(response);
  return gzip;
}
