// Chromium's `EventSource`, from a page of another origin than the feed.
//
// In: `{ url, pad, ms }`; the browser's path in `SEGNO_CHROMIUM`. Out: the ticks until the event `end`.
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
  const read = ({ id, url, ms }) => {
    const texts = [];
    const source = new EventSource(url);
    const end = (finished) => {
      const error = finished ? '' : `readyState ${source.readyState}`;
      source.close();
      fetch('/outcome', { method: 'POST', body: JSON.stringify({ id, texts, finished, error }) });
    };
    const late = setTimeout(() => end(false), ms);
    source.onmessage = ({ data }) => texts.push([performance.now(), data]);
    source.addEventListener('end', () => {
      clearTimeout(late);
      end(true);
    });
  };
  for (;;) {
    const answer = await fetch('/job');
    if (answer.status === 200) read(await answer.json());
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
      jobs.push({ id, url: job.url, ms: job.ms });
      hand();
    });
    const ticks = new Ticks(job.pad);
    for (const [, text] of texts) ticks.take(text);
    const span = texts.length === 0 ? 0 : Math.round(texts.at(-1)[0] - texts[0][0]);
    return { ...ticks.outcome({ finished, error }), span };
  },
});
