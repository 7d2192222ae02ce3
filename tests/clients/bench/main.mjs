// Real clients, each case without segno and through it, and what is worse through it.
//
// In: `--segno PATH`, `--python PATH`, `--chromium PATH` (none: its cases are skipped), `--width N` runs at once, and
// parts of the names of cases (none: all). Out: a line for each case, the faults, and exit code 1 if there are any.
// Laws: the same job, servers and cuts on both sides. Each run has a proxy and relays of its own. Cases run at once, so
// nothing may depend on how long anything takes.

import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { Completions } from '../servers/completions.mjs';
import { Feed } from '../servers/feed.mjs';
import { Actor } from './actor.mjs';
import { bodies } from './bodies.mjs';
import { CASES } from './cases.mjs';
import { Cutter } from './cutter.mjs';
import { freePort } from './ports.mjs';
import { Segno } from './segno.mjs';
import { TOGETHER, brief, faults, measure } from './verdict.mjs';

const options = parseArgs({
  allowPositionals: true,
  options: {
    segno: { type: 'string' },
    python: { type: 'string' },
    chromium: { type: 'string', default: '' },
    width: { type: 'string', default: '16' },
  },
});
const { segno, python, chromium, width } = options.values;
const here = dirname(dirname(fileURLToPath(import.meta.url)));
const inNode = (file) => [process.execPath, [join(here, 'actors', file)]];
const inPython = (file) => [python, [join(here, 'actors', file)]];

const ACTORS = {
  'OpenAI for Node': () => inNode('openai.mjs'),
  'OpenAI for Python': () => inPython('openai_sdk.py'),
  'MCP for TypeScript': () => inNode('mcp.mjs'),
  'MCP for Python': () => inPython('mcp_sdk.py'),
  'npm eventsource': () => inNode('eventsource.mjs'),
  'fetch-event-source': () => inNode('fetch-event-source.mjs'),
  'httpx-sse': () => inPython('httpx_events.py'),
  Chromium: () => [...inNode('browser.mjs'), { SEGNO_CHROMIUM: chromium }],
};

// Jobs that make the server work, which it must do once.
const EXECUTED = ['stream', 'whole', 'call'];
const LONGEST_RUN_MS = 60_000;
const SERVER_START_MS = 30_000;

// An MCP server in a process of its own, asked over HTTP how often a tool ran.
async function mcpServer(command, file) {
  const port = await freePort();
  const child = spawn(command, [join(here, 'servers', file), String(port)], { stdio: ['ignore', 'ignore', 'inherit'] });
  const begun = async (tag) => (await fetch(`http://127.0.0.1:${port}/count?tag=${encodeURIComponent(tag)}`)).json();
  for (const end = Date.now() + SERVER_START_MS; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    try {
      await begun('');
      break;
    } catch (error) {
      if (Date.now() > end || child.exitCode !== null) throw new Error(`${file} does not start`, { cause: error });
    }
  }
  return { port, begun, close: () => child.kill('SIGKILL') };
}

const SERVERS = {
  feed: () => new Feed().open(),
  completions: () => new Completions().open(),
  'mcp-typescript': () => mcpServer(process.execPath, 'mcp.mjs'),
  'mcp-python': () => mcpServer(python, 'mcp_server.py'),
};

// One case, one way. The chain: client, relay, segno or nothing, relay, server.
async function run(spec, way, world) {
  const server = world.servers[spec.server];
  const number = (world.runs += 1);
  const tag = `${spec.name} ${way} ${number}`;
  const side = (name) => spec.cuts.filter((cut) => cut.side === name);
  const near = await new Cutter(server.port, side('upstream')).open();
  const proxy = way === 'direct' ? near : await new Segno(segno, near.port, spec.flags).open();
  const far = await new Cutter(proxy.port, side('client')).open();
  if (spec.away > 0) await near.away(spec.away);

  const query = new URLSearchParams({ key: tag, n: spec.n, every: spec.job.every, ...spec.query });
  const path = spec.path.replace('RUN', `run-${number}`);
  const url = `http://127.0.0.1:${far.port}${path}${spec.server === 'feed' ? `?${query}` : ''}`;
  let outcome;
  try {
    outcome = await within(LONGEST_RUN_MS, world.actors[spec.actor].play({ url, tag, ...spec.job }));
  } catch (error) {
    outcome = { got: [], finished: false, error: error.message };
  }
  const executions = EXECUTED.includes(spec.job.do) ? await server.begun(tag) : undefined;
  const uncut = spec.cuts.length - near.done - far.done;
  far.close();
  const end = way === 'direct' ? null : await proxy.close();
  near.close();
  return { ...measure({ ...outcome, executions }, spec.n), uncut, end, log: proxy.log, bodies: bodies(far.sent) };
}

function within(ms, promise) {
  let late;
  const timeout = new Promise((_, reject) => {
    late = setTimeout(() => reject(new Error(`no outcome within ${ms} ms`)), ms);
  });
  return Promise.race([promise, timeout]).finally(() => clearTimeout(late));
}

// Everything that is wrong with a case.
function judge(spec, direct, through) {
  const wrong = faults(spec, direct, through);
  if (through.end !== null) wrong.push(through.end);
  if (through.uncut > 0) wrong.push('its cut did not happen, so it shows nothing');
  if (spec.through === 'same' && spec.server === 'completions' && spec.bytes !== false) {
    if (direct.bodies !== through.bodies) wrong.push(`other bytes than without segno: ${difference(direct, through)}`);
  }
  return wrong;
}

function difference(direct, through) {
  let at = 0;
  while (at < direct.bodies.length && direct.bodies[at] === through.bodies[at]) at += 1;
  const some = ({ bodies }) => JSON.stringify(bodies.slice(Math.max(0, at - 10), at + 50));
  return `${some(through)} and not ${some(direct)}`;
}

async function inParallel(jobs, width, work) {
  const queue = jobs.entries();
  const worker = async () => {
    for (const [, job] of queue) await work(job);
  };
  await Promise.all(Array.from({ length: width }, worker));
}

async function main() {
  const wanted = CASES.filter(({ name }) => options.positionals.every((part) => name.includes(part)));
  const cases = wanted.filter(({ actor }) => actor !== 'Chromium' || chromium !== '');
  if (cases.length < wanted.length) console.log(`SKIPPED: ${wanted.length - cases.length} cases, for want of Chromium`);
  if (cases.length === 0) throw new Error('no such case');

  const world = { servers: {}, actors: {}, runs: 0 };
  const results = new Map(cases.map((spec) => [spec, {}]));
  try {
    for (const name of new Set(cases.map(({ server }) => server))) world.servers[name] = await SERVERS[name]();
    for (const name of new Set(cases.map(({ actor }) => actor))) world.actors[name] = new Actor(...ACTORS[name]());
    const runs = cases.flatMap((spec) => ['direct', 'through'].map((way) => ({ spec, way })));
    await inParallel(runs, Number(width), async ({ spec, way }) => {
      results.get(spec)[way] = await run(spec, way, world);
    });
    // Many at once can hold a client up. Where nothing else is wrong, the case has another run, alone.
    for (const [spec, result] of results) {
      const wrong = judge(spec, result.direct, result.through);
      if (wrong.length === 0 || !wrong.every((fault) => fault.startsWith(TOGETHER))) continue;
      for (const way of ['direct', 'through']) result[way] = await run(spec, way, world);
    }
  } finally {
    for (const actor of Object.values(world.actors)) actor.close();
    for (const server of Object.values(world.servers)) server.close();
  }

  let bad = 0;
  for (const [spec, { direct, through }] of results) {
    const wrong = judge(spec, direct, through);
    console.log(`${wrong.length === 0 ? 'ok  ' : 'FAIL'} ${spec.name} | without: ${brief(direct)} | through: ${brief(through)}`);
    for (const fault of wrong) console.log(`     ${fault}`);
    if (wrong.length > 0) console.log(through.log.replace(/^/gm, '       '));
    bad += wrong.length > 0 ? 1 : 0;
  }
  console.log(`${cases.length} cases, ${bad} worse than promised`);
  return bad === 0;
}

process.exit((await main()) ? 0 : 1);
