// The dashboard in a real browser: what it shows, how soon, and for whom.
//
// In: `--segno` and `--chromium`, programs; `--shots`, a folder. Out: a line for each check; exit code 1 where one fails.
// Laws: nothing waits for a time where it can wait for what it is about; whatever is started is ended.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import puppeteer from 'puppeteer-core';

const { values: options } = parseArgs({
  options: { segno: { type: 'string' }, chromium: { type: 'string' }, shots: { type: 'string' } },
});
const AXE = fs.readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--disable-background-networking'];
/** How soon the page shows what has happened, in milliseconds. */
const SOON = 2_000;
const PATIENCE = 15_000;

const failures = [];
function check(holds, what) {
  console.log(`${holds ? 'ok' : 'FAILED'}: ${what}`);
  if (!holds) failures.push(what);
}

async function until(what, holds, within = PATIENCE) {
  const end = performance.now() + within;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (performance.now() > end) throw new Error(`not within ${within} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.once('listening', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** An upstream that sends a numbered event each 20 ms, can cut all its streams, and can refuse to go on with them. */
class Upstream {
  streams = new Set();
  refuses = false;
  /** It answers checks badly. */
  isSick = false;

  async start() {
    this.server = http.createServer((request, response) => this.answer(request, response)).listen(0, '127.0.0.1');
    await new Promise((done) => this.server.once('listening', done));
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  answer(request, response) {
    if (request.url === '/health') return response.writeHead(this.isSick ? 503 : 200).end();
    const last = request.headers['last-event-id'];
    if (this.refuses && last) return response.writeHead(410).end();
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    let n = Number(last ?? 0);
    const timer = setInterval(() => {
      n += 1;
      response.write(`id: ${n}\ndata: ${'x'.repeat(200)}\n\n`);
    }, 20);
    const stream = { end: () => response.socket?.destroy() };
    this.streams.add(stream);
    response.on('close', () => {
      clearInterval(timer);
      this.streams.delete(stream);
    });
  }

  cut() {
    for (const stream of this.streams) stream.end();
  }

  close() {
    this.cut();
    this.server.close();
  }
}

/** A running `segno proxy`. */
async function segno(upstream, listen, admin, env = {}, more = []) {
  const [first, ...others] = [upstream].flat();
  const all = others.length > 0 ? [first, ...others].flatMap((url) => ['--upstreams', url]) : [];
  const flags = ['proxy', '--upstream', first, ...all, ...more, '--store', 'memory', '--listen', `127.0.0.1:${listen}`];
  const child = spawn(options.segno, [...flags, '--admin', `127.0.0.1:${admin}`], {
    stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...env },
  });
  const said = [];
  let is_up = false;
  child.stderr.on('data', (data) => {
    said.push(data);
    is_up ||= String(data).includes('listening on');
  });
  await until('segno listens', () => {
    if (child.exitCode !== null) throw new Error(`segno has ended: ${Buffer.concat(said)}`);
    return is_up;
  });
  const end = (signal) => new Promise((done) => {
    child.once('exit', done);
    child.kill(signal);
  });
  return { end };
}

/** Clients that read a feed through segno, and come back when they are cut. */
function readers(port, count) {
  const abort = new AbortController();
  const read = async (n) => {
    while (!abort.signal.aborted) {
      try {
        const answer = await fetch(`http://127.0.0.1:${port}/feed/${n}`, {
          headers: { Accept: 'text/event-stream' }, signal: abort.signal,
        });
        for await (const _ of answer.body);
      } catch {
        // It was cut, or segno is being restarted.
      }
      await new Promise((done) => setTimeout(done, 100));
    }
  };
  const all = Array.from({ length: count }, (_, n) => read(n));
  return async () => {
    abort.abort();
    await Promise.all(all);
  };
}

/** When the newest incident of a kind happened, as the list has it. */
const newest = (page, kind) => page.$eval('#incidents', (table, kind) => (
  table.querySelector(`tr[data-kind="${kind}"] time`)?.dateTime ?? ''), kind);
const word = (page, id) => page.$eval(`#${id} .word`, (e) => e.textContent);
const number = (page, title) => page.$$eval('.card', (cards, title) => {
  const card = cards.find((card) => card.querySelector('h2').textContent === title);
  return Number(card.querySelector('b').textContent.replaceAll(',', ''));
}, title);

async function axe(page, what) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  const found = violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 100)).join(' | ')}`);
  check(found.length === 0, `axe finds nothing: ${what}${found.map((line) => `\n  ${line}`).join('')}`);
}

/** Pictures and axe in both themes, wide and narrow. */
async function look(page, name) {
  for (const theme of ['light', 'dark']) {
    for (const width of [1280, 360]) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: theme }]);
      await page.setViewport({ width, height: 900 });
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      check(wide <= width, `${name}, ${theme}, ${width}: nothing stands out at the side (${wide})`);
      await axe(page, `${name}, ${theme}, ${width}`);
      await page.screenshot({ path: join(options.shots, `${name}-${theme}-${width}.png`), fullPage: true });
    }
  }
  await page.setViewport({ width: 1280, height: 1100 });
}

/** A page that tells of whatever goes wrong in it, or leaves the address. */
async function open(browser, url, troubles) {
  const page = await browser.newPage();
  page.on('pageerror', (error) => troubles.push(`error: ${error.message}`));
  page.on('console', (line) => {
    const text = line.text();
    // The browser says so itself of every request that fails, and some are meant to.
    if (['error', 'warn'].includes(line.type()) && !text.includes('Failed to load resource')) troubles.push(text);
  });
  page.on('request', (request) => {
    const to = request.url();
    if (!to.startsWith(url) && !to.startsWith('data:')) troubles.push(`asks for ${to}`);
  });
  await page.setViewport({ width: 1280, height: 1100 });
  await page.evaluateOnNewDocument(() => {
    globalThis.shifts = [];
    // The rows of the list move down where a new one comes; nothing else may.
    const element = (node) => (node?.closest ? node : node?.parentElement);
    const moved = ({ node }) => element(node) && !element(node).closest('.scroll');
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
      const nodes = entry.sources.filter(moved).map(({ node }) => node.className || node.nodeName);
      if (nodes.length > 0) globalThis.shifts.push(`${entry.value.toFixed(3)} ${nodes}`);
    })).observe({ type: 'layout-shift', buffered: true });
  });
  await page.goto(url);
  return page;
}

/** How long the page takes to show an incident that is newer than `before`. */
async function shown(page, kind, before, cause) {
  const began = performance.now();
  cause?.();
  await until(`the page shows: ${kind}`, async () => (await newest(page, kind)) > before);
  return Math.round(performance.now() - began);
}

async function live(browser, upstream) {
  const [listen, admin] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${admin}/`;
  let proxy = await segno(upstream.url, listen, admin);
  const troubles = [];
  let stop;
  try {
    const page = await open(browser, url, troubles);
    await until('the page is live', async () => (await word(page, 'link')) === 'live');
    await look(page, 'empty');

    stop = readers(listen, 20);
    await until('the page shows streams', async () => (await number(page, 'Event streams')) === 20);
    await until('the page shows events', async () => (await number(page, 'Throughput')) > 100);
    const shifts = () => page.evaluate(() => globalThis.shifts);
    const calm = (await shifts()).length;

    const cuts = shown(page, 'cut', '', () => upstream.cut());
    const heals = shown(page, 'heal', '');
    check((await cuts) <= SOON, `a cut is shown within two seconds (${await cuts} ms)`);
    check((await heals) <= SOON, `its heal is shown within two seconds (${await heals} ms)`);
    upstream.refuses = true;
    const gap = await shown(page, 'gap', '', () => upstream.cut());
    check(gap <= SOON, `a stated gap is shown within two seconds (${gap} ms)`);
    upstream.refuses = false;
    await until('it counts the gaps', async () => (await number(page, 'Gaps stated')) >= 20);
    const heard = await until('it is told to screen readers', () => page.$eval('#said', (e) => e.textContent));
    check(/^(Cut|Heal|Gap|Not healed): /.test(heard), `a screen reader hears of it (${heard})`);
    const moved = (await shifts()).slice(calm);
    check(moved.length === 0, `nothing shifts while it is live (${moved.join('; ')})`);
    await keyboard(page);
    await look(page, 'busy');

    // The browser's own way to read an event stream works too, and is told that segno was restarted.
    await page.evaluate(() => {
      globalThis.gaps = [];
      const source = new EventSource('/events');
      source.addEventListener('segno.gap', (e) => globalThis.gaps.push(JSON.parse(e.data).reason));
      return new Promise((done) => source.addEventListener('snapshot', done, { once: true }));
    });
    await proxy.end('SIGKILL');
    await until('the page notices', async () => (await word(page, 'link')).includes('lost'));
    proxy = await segno(upstream.url, listen, admin);
    await until('the page goes on by itself', async () => (await word(page, 'link')) === 'live');
    await until('it says that segno was restarted', async () => (await newest(page, 'restart')) !== '');
    const gaps = await until('EventSource is told', () => page.evaluate(() => globalThis.gaps.length && globalThis.gaps));
    check(gaps.join() === 'restarted', `EventSource is told of the restart once (${gaps})`);
    await until('streams are there again', async () => (await number(page, 'Event streams')) >= 20);
    const before = await newest(page, 'cut');
    const again = await shown(page, 'cut', before, () => upstream.cut());
    check(again <= SOON, `a cut after the restart is shown within two seconds (${again} ms)`);
    await page.screenshot({ path: join(options.shots, 'restarted.png'), fullPage: true });
    check(troubles.length === 0, `nothing goes wrong in the page${troubles.map((line) => `\n  ${line}`).join('')}`);
    await page.close();
  } finally {
    await stop?.();
    await proxy.end('SIGKILL');
  }
}

/** Two upstreams, of which one fails its checks for a while. */
async function several(browser, first) {
  const [listen, admin] = [await freePort(), await freePort()];
  const second = await new Upstream().start();
  const proxy = await segno([first.url, second.url], listen, admin, {}, ['--health', '/health', '--health-every', '100ms']);
  const troubles = [];
  const stop = readers(listen, 6);
  try {
    const page = await open(browser, `http://127.0.0.1:${admin}/`, troubles);
    const name = new URL(second.url).host;
    const row = () => page.$$eval('#upstreams tr', (rows, name) => (
      rows.find((row) => row.querySelector('th')?.textContent.startsWith(name))?.querySelector('td').textContent ?? ''), name);
    await until('both serve', async () => /not away; serves [1-9]/.test(await row()));
    // What is there when the page opens is not news, and is not told.
    await page.evaluate(() => new Promise((done) => setTimeout(done, 2_000)));
    const out = shown(page, 'out', '', () => { second.isSick = true; });
    check((await out) <= SOON, `that an upstream is left out is shown within two seconds (${await out} ms)`);
    await until('its row says why', async () => /left out or failing for .*: check of \/health: it answered 503; serves/.test(await row()));
    await until('the state says so', async () => (await word(page, 'upstream')) === '1 left out or failing');
    const said = () => page.$eval('#said', (e) => e.textContent);
    await until('a screen reader hears of it', async () => (await said()).includes('Upstream out'));
    await look(page, 'several');
    const back = shown(page, 'in', '', () => { second.isSick = false; });
    check((await back) <= SOON, `that it is used again is shown within two seconds (${await back} ms)`);
    await until('its row is as before', async () => (await row()).startsWith('✓ not away'));
    check(troubles.length === 0, `nothing goes wrong in the page${troubles.map((line) => `\n  ${line}`).join('')}`);
    await page.close();
  } finally {
    await stop();
    await proxy.end('SIGKILL');
    second.close();
  }
}

async function keyboard(page) {
  await page.evaluate(() => document.activeElement?.blur());
  const order = [];
  for (let n = 0; n < 12; n += 1) {
    await page.keyboard.press('Tab');
    order.push(await page.evaluate(() => {
      const e = document.activeElement;
      const seen = getComputedStyle(e).outlineStyle !== 'none';
      return seen ? e.id || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent : 'unseen';
    }));
  }
  const expected = ['pause', 'Throughput, last five minutes', 'Event streams, last five minutes',
    'Cuts and heals, last five minutes', 'Gaps stated, last five minutes', 'Store lag, last five minutes',
    'Memory, last five minutes', 'upstreams-title', 'incidents-title', '/events', '/metrics', '/sessions'];
  check(order.join() === expected.join(), `the keyboard reaches everything in order (${order.join('; ')})`);
  const plot = await page.$('[aria-label^="Throughput"]');
  const text = () => plot.evaluate((e) => e.getAttribute('aria-valuetext'));
  check(/^now .*highest in five minutes/.test(await text()), `a plot says what it shows (${await text()})`);
  await plot.focus();
  await page.keyboard.press('ArrowLeft');
  await until('the arrow reads a value', async () => /^\d\d:\d\d:\d\d: .*\/s/.test(await text()));
  await page.keyboard.press('Escape');

  await page.focus('#pause');
  await page.keyboard.press('Enter');
  await until('it says that it is paused', async () => (await word(page, 'link')) === 'paused');
  const events = () => page.$eval('.card .more', (e) => e.textContent);
  const then = await events();
  // Two snapshots come meanwhile.
  await page.evaluate(() => new Promise((done) => setTimeout(done, 2_200)));
  check((await events()) === then, 'a paused page stands still');
  await page.keyboard.press('Enter');
  await until('it goes on', async () => (await events()) !== then);

  await page.emulateMediaFeatures([{ name: 'prefers-reduced-motion', value: 'reduce' }]);
  const moves = await page.$$eval('#incidents tr', (all) => all.map((e) => getComputedStyle(e).animationName));
  check(moves.every((name) => name === 'none'), 'nothing moves for those who want no motion');
}

async function token(browser, upstream) {
  const [listen, admin] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${admin}/`;
  const proxy = await segno(upstream.url, listen, admin, { SEGNO_ADMIN_TOKEN: 'hush-hush' });
  const troubles = [];
  try {
    const page = await open(browser, url, troubles);
    const waits = () => page.$eval('#door', (e) => !e.hidden);
    await until('it asks for the token', waits);
    await look(page, 'token');
    await page.type('#token', 'wrong');
    await page.keyboard.press('Enter');
    await until('it says that the token is wrong', () => page.$eval('#wrong', (e) => e.textContent.includes('not the token')));
    await until('it asks again', waits);
    await page.type('#token', 'hush-hush');
    await page.keyboard.press('Enter');
    await until('the page is live', async () => (await word(page, 'link')) === 'live');
    await page.reload();
    await until('the tab keeps the token', async () => (await word(page, 'link')) === 'live');
    check(page.url() === url, `no token stands in the address (${page.url()})`);
    const kept = await page.evaluate(() => [localStorage.length, document.cookie]);
    check(kept.join() === '0,', `no token outlives the tab (${kept})`);
    await page.click('#forget');
    await until('it forgets the token', waits);
    check(troubles.length === 0, `nothing goes wrong in the page${troubles.map((line) => `\n  ${line}`).join('')}`);
    await page.close();
  } finally {
    await proxy.end('SIGKILL');
  }
}

// Where a program lies: the driver wants a path, and a name alone is looked up.
function onPath(program) {
  const folders = program.includes('/') ? [] : process.env.PATH.split(':');
  return folders.map((folder) => `${folder}/${program}`).find((path) => fs.existsSync(path)) ?? program;
}

fs.mkdirSync(options.shots, { recursive: true });
const browser = await puppeteer.launch({ executablePath: onPath(options.chromium), args: FLAGS });
const upstream = await new Upstream().start();
try {
  await live(browser, upstream);
  await token(browser, upstream);
  await several(browser, upstream);
} catch (error) {
  check(false, error.stack);
} finally {
  upstream.close();
  await browser.close();
}
console.log(failures.length === 0 ? 'all checks hold' : `${failures.length} checks failed`);
process.exit(failures.length === 0 ? 0 : 1);
