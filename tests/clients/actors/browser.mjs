// Chromium's `EventSource` and `fetch`, from a page of another origin than the feed.
//
// In: `{ url, by, pad, ms }`; the browser's path in `SEGNO_CHROMIUM`. Out: the ticks until the event `end`.
// Law: one browser with one page serves all jobs. The page asks this process for jobs and reports back, so nothing
// drives it from outside.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Ticks, serve } from './actor.mjs';

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

// Runs in the page.
async function page() {
  const report = (outcome) => fetch('/outcome', { method: 'POST', body: JSON.stringify(outcome) });
  const byEventSource = ({ id, url, ms }) => {
    const texts = [];
    const source = new EventSource(url);
    const end = (finished) => {
      const error = finished ? '' : `readyState ${source.readyState}`;
      source.close();
      report({ id, texts, finished, error });
    };
    const late = setTimeout(() => end(false), ms);
    source.onmessage = ({ data }) => texts.push([performance.now(), data]);
    source.addEventListener('end', () => {
      clearTimeout(late);
      end(true);
    });
  };
  // As libraries on `fetch` do it: they come back with the last id in a header.
  const byFetch = async ({ id, url, ms }) => {
    const texts = [];
    let [last, error, finished] = ['', '', false];
    for (const end = performance.now() + ms; performance.now() < end && !finished; ) {
      try {
        const headers = { Accept: 'text/event-stream', ...(last === '' ? {} : { 'Last-Event-ID': last }) };
        const answer = await fetch(url, { headers, signal: AbortSignal.timeout(end - performance.now()) });
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = '';
        for (let part = await reader.read(); !part.done; part = await reader.read()) {
          const blocks = (rest + part.value).split('\n\n');
          rest = blocks.pop();
          for (const block of blocks) {
            last = /^id: ?(.*)$/m.exec(block)?.[1] ?? last;
            finished ||= /^event: end$/m.test(block);
            if (!/^event:/m.test(block)) texts.push([performance.now(), block]);
          }
        }
      } catch (fault) {
        error = String(fault);
      }
      if (!finished) await new Promise((resolve) => setTimeout(resolve, 300));
    }
    report({ id, texts, finished, error: finished ? '' : error });
  };
  for (;;) {
    const answer = await fetch('/job');
    if (answer.status !== 200) continue;
    const job = await answer.json();
    if (job.by === 'fetch') byFetch(job);
    else byEventSource(job);
  }
}

const jobs = [];
const reports = new Map();
let asking = null;
let next = 0;

function hand() {
  if (asking === null || jobs.length === 0) return;
  asking.setHeader('Content-Type', 'application/json');
  asking.end(JSON.stringify(jobs.shift()));
  asking = null;
}

const server = http.createServer(async (request, response) => {
  if (request.url === '/job') {
    asking = response;
    return hand();
  }
  if (request.url === '/outcome') {
    const parts = [];
    for await (const part of request) parts.push(part);
    const report = JSON.parse(Buffer.concat(parts));
    reports.get(report.id)?.(report);
    return response.writeHead(204).end();
  }
  response.setHeader('Content-Type', 'text/html');
  response.end(`<!doctype html><meta charset="utf-8"><script>(${page})()</script>`);
});

const profile = mkdtempSync(join(tmpdir(), 'segno-chromium-'));
let browser;
server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}/`;
  const arguments_ = [...FLAGS, `--user-data-dir=${profile}`, url];
  browser = spawn(process.env.SEGNO_CHROMIUM, arguments_, { stdio: 'ignore' });
  browser.on('exit', (code) => process.exit(code ?? 1));
});
process.on('SIGTERM', () => {
  browser.removeAllListeners('exit');
  browser.on('exit', () => {
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    process.exit(0);
  });
  browser.kill('SIGTERM');
});

serve({
  async read(job) {
    next += 1;
    const id = next;
    const { texts, finished, error } = await new Promise((resolve) => {
      reports.set(id, resolve);
      jobs.push({ id, url: job.url, by: job.by, ms: job.ms });
      hand();
    });
    const ticks = new Ticks(job.pad);
    for (const [, text] of texts) ticks.take(text);
    const span = texts.length === 0 ? 0 : Math.round(texts.at(-1)[0] - texts[0][0]);
    return { ...ticks.outcome({ finished, error }), span };
  },
});
