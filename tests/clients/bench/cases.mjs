// Every case: who asks what, what is cut, and what segno promises.
//
// Out: `{ name, actor, server, path, query, job, n, cuts, away, through, ... }`, each with all its fields. `RUN` in a path
// stands for a name that each run has for itself.
// `once`: the work is done once, whatever happens without segno.
// `through`: `clean` for everything once and in order, whatever happens without segno; `direct` for no worse than without
// segno; `same` for the very same bytes and errors as without it.

import { PAD } from '../servers/completions.mjs';

const EVERY = 40;
// A resumed stream of the Python server misses what its tool says between the end of the replay and the moment when the
// stream is live: some milliseconds, so one event in this time is not met by it.
const SLOW = 150;
const N = 20;
// Time for the stream of the standalone GET to open, which no call waits for; and to open again, after it has ended.
const OPENING = 500;
const AGAIN = 3_000;
// The bytes that a cut waits for.
const MIDDLE = 'tick-8#';
const LATER = 'tick-15#';

const upstream = (at, more = {}) => ({ side: 'upstream', at, ...more });
const client = (at, more = {}) => ({ side: 'client', at, ...more });
const both = (at, more) => ({ upstream: upstream(at, more), client: client(at, more) });

function spec(name, actor, server, path, fields) {
  const { job = {}, ...rest } = fields;
  return {
    name: `${actor}: ${name}`,
    actor,
    server,
    path,
    query: {},
    n: N,
    cuts: [],
    away: 0,
    flags: [],
    through: 'clean',
    forgets: false,
    ...rest,
    job: { pad: '', ms: 15_000, every: EVERY, n: rest.n ?? N, opening: OPENING, transport: 'http', mode: 'legacy', method: 'GET', by: 'EventSource', ...job },
  };
}

// LLM SDKs: nothing of segno's own may reach them, and a cut is theirs to see.
function completions(actor) {
  const ask = (name, model, how, fields = {}) => {
    const job = { do: how, model, pad: PAD, ...fields.job };
    return spec(name, actor, 'completions', '/v1', { through: 'same', ...fields, job });
  };
  const once = { flags: ['--idempotent'], through: 'clean', once: true };
  const quick = { flags: ['--heartbeat', '1s', '--hold-head', '1s'] };
  return [
    ask('stream', 'plain', 'stream'),
    ask('stream that ends without a blank line', 'no-blank-line', 'stream'),
    ask('stream that ends without a line end', 'no-line-end', 'stream'),
    ask('stream until the connection closes', 'until-close', 'stream'),
    ask('stream with comments', 'comments', 'stream'),
    ask('stream torn inside characters', 'torn', 'stream'),
    ask('stream with gzip', 'gzip', 'stream', { bytes: false }),
    ask('stream with silence in the middle', 'pause', 'stream', quick),
    ask('stream with silence before its first event', 'pause-first', 'stream', quick),
    ask('stream whose head is slow', 'slow-head', 'stream', quick),
    ask('stream behind a redirect', 'moved', 'stream', { bytes: false }),
    ask('stream, busy at first', 'busy-once', 'stream'),
    ask('stream, limited at first', 'limited-once', 'stream'),
    ask('stream, reset before its head', 'reset-once', 'stream', { bytes: false }),
    ask('stream, refused', 'forbidden', 'stream'),
    ask('answer', 'plain', 'whole'),
    ask('answer whose head is slow', 'slow-head', 'whole', quick),
    ask('answer, busy at first', 'busy-once', 'whole'),
    ask('stream while upstream is away', 'plain', 'stream', { away: 3_000, through: 'clean' }),
    // An SDK tries again if nothing has come: the answer is the first try's, and ordered once.
    ...['stream', 'whole'].map((how) =>
      ask(`${how} given up before its head, and tried again`, 'slow-head', how, {
        ...once,
        job: { timeout: 1_500, retries: 4 },
      }),
    ),
    ask('stream cut before its first byte, and tried again', 'plain', 'stream', { ...once, cuts: [client('HTTP/1.1 200')] }),
    ...Object.entries({ ...both(MIDDLE), 'upstream (closed)': upstream(MIDDLE, { how: 'close' }) }).map(([side, cut]) =>
      ask(`stream cut at ${side}`, 'plain', 'stream', { cuts: [cut], through: 'direct' }),
    ),
    ask('stream cut at its last event', 'plain', 'stream', { cuts: [upstream('[DONE]')], through: 'direct' }),
  ];
}

// Readers of feeds that come back by themselves.
function feeds(actor) {
  const read = (name, path, query, fields = {}) =>
    spec(name, actor, 'feed', path, { query: { retry: 300, ...query }, ...fields, job: { do: 'read', ...fields.job } });
  const cut = (what, path, query, cuts, fields) =>
    Object.entries(cuts).map(([name, cut]) => read(`${what}, cut at ${name}`, path, query, { cuts: [cut].flat(), ...fields }));
  const long = { length: 1_500 };
  const latin = { before: 'caf\xe9-' };
  return [
    read('ids', '/ids', {}),
    read('ids with gzip', '/ids', { gzip: 1 }),
    read('no ids', '/bare', {}),
    read('ids of 1,500 bytes', '/ids', long),
    ...cut('ids with gzip', '/ids', { gzip: 1 }, both(MIDDLE)),
    read('ids while upstream is away', '/ids', {}, { away: 2_000, through: 'direct' }),
    ...cut('ids', '/ids', {}, both(MIDDLE)),
    ...cut('ids, closed', '/ids', {}, both(MIDDLE, { how: 'close' })),
    ...cut('ids, away for 2 s', '/ids', {}, both(MIDDLE, { down: 2_000 })),
    ...cut('ids', '/ids', {}, { both: [upstream(MIDDLE), client(LATER)], 'upstream twice': [upstream(MIDDLE), upstream(LATER)] }),
    ...cut('ids of 1,500 bytes', '/ids', long, both(MIDDLE)),
    ...cut('ids in Latin-1', '/ids', latin, both(MIDDLE), { through: 'direct' }),
    ...cut('no ids', '/bare', {}, { client: client(MIDDLE) }),
    ...cut('no ids', '/bare', {}, { upstream: upstream(MIDDLE) }, { through: 'direct', forgets: true }),
    ...cut('no ids, away for 1 s', '/bare', {}, both(MIDDLE, { down: 1_000 }), { n: 60, through: 'direct', forgets: true }),
  ];
}

// A client that repeats its POST by itself: each time upstream is asked anew, as it is without segno.
function postedFeeds(actor) {
  const post = (name, path, fields) =>
    spec(`POST, ${name}`, actor, 'feed', path, { query: { retry: 300 }, ...fields, job: { do: 'read', method: 'POST' } });
  const forgotten = { n: 60, through: 'direct', forgets: true };
  return [
    post('ids', '/ids', {}),
    post('no ids', '/bare', {}),
    ...Object.entries(both(MIDDLE)).map(([side, cut]) => post(`ids, cut at ${side}`, '/ids', { cuts: [cut] })),
    post('no ids, cut at client', '/bare', { cuts: [client(MIDDLE)] }),
    post('no ids, cut at upstream', '/bare', { cuts: [upstream(MIDDLE)], ...forgotten }),
    post('no ids, away for 1 s, cut at upstream', '/bare', { cuts: [upstream(MIDDLE, { down: 1_000 })], ...forgotten }),
  ];
}

// A page that reads with `fetch` sends `Last-Event-ID` only if the browser is told that it may.
function fetched(actor) {
  const read = (name, path, fields) =>
    spec(`fetch, ${name}`, actor, 'feed', path, { query: { retry: 300 }, ...fields, job: { do: 'read', by: 'fetch' } });
  return [
    read('no ids', '/bare', {}),
    read('no ids, cut at client', '/bare', { cuts: [client(MIDDLE)] }),
    read('no ids, cut at upstream', '/bare', { cuts: [upstream(MIDDLE)], n: 60, through: 'direct', forgets: true }),
  ];
}

// A browser gives up for good on some statuses and on heads without CORS: an outage must show neither.
function outages(actor) {
  return Object.entries(both(MIDDLE, { down: 10_000 })).map(([side, cut]) =>
    spec(`ids, away for 10 s, cut at ${side}`, actor, 'feed', '/ids', {
      query: { retry: 300 },
      cuts: [cut],
      job: { do: 'read', ms: 40_000 },
    }),
  );
}

// MCP SDKs, up to 2025-11-25: what the server forgets, only the side of the client is healed.
// The Python SDK forgets the newer ids when a connection breaks on which it had resumed, so it repeats events by itself.
function calls(actor, server, again) {
  const call = (name, kind, fields = {}) => {
    const job = { do: 'call', every: server === 'mcp-python' ? SLOW : EVERY, ...fields.job };
    return spec(`${name}, ${kind} (${server})`, actor, server, `/${kind}/RUN/mcp`, { ...fields, job });
  };
  const listen = { job: { do: 'listen' } };
  const forgotten = { through: 'direct', forgets: true };
  const cuts = (kind, promise) => [
    call('call, cut at upstream', kind, { cuts: [upstream(MIDDLE)], ...promise }),
    call('call, closed at upstream', kind, { cuts: [upstream(MIDDLE, { how: 'close' })], ...promise }),
    call('call, cut at client', kind, { cuts: [client(MIDDLE)] }),
    call('call, closed at client', kind, { cuts: [client(MIDDLE, { how: 'close' })] }),
    ...(again ? [call('call, cut twice at client', kind, { cuts: [client(MIDDLE), client(LATER)] })] : []),
    call('call, cut at its result at upstream', kind, { cuts: [upstream('counted to')], ...promise }),
    call('call, cut at its result at client', kind, { cuts: [client('counted to')] }),
    call('call, upstream away for 2 s', kind, { cuts: [upstream(MIDDLE, { down: 2_000 })], ...promise }),
    call('listen, cut at upstream', kind, { ...listen, cuts: [upstream(MIDDLE)], ...promise }),
    call('listen, cut at client', kind, { ...listen, cuts: [client(MIDDLE)] }),
  ];
  return ['stored', 'bare'].flatMap((kind) => [
    call('call', kind),
    call('listen', kind, listen),
    ...cuts(kind, kind === 'stored' ? {} : forgotten),
  ]);
}

// The stream of the standalone GET ends before it has had an event: what is told later must arrive all the same.
const ended = (actor, server) =>
  spec(`listen, ended before any event (${server})`, actor, server, '/brief/RUN/mcp', { job: { do: 'listen', opening: AGAIN } });

// A session of the older transport is its connection: no client here names the event that it goes on from.
function olderTransport(actor, server) {
  const call = (name, fields = {}) =>
    spec(`${name}, older transport (${server})`, actor, server, '/sse', { ...fields, job: { do: 'call', transport: 'sse' } });
  return [
    call('call'),
    call('call, cut at client', { cuts: [client(MIDDLE)], through: 'direct' }),
    call('call, cut at upstream', { cuts: [upstream(MIDDLE)], through: 'direct' }),
  ];
}

// 2026-07-28: a connection that closes cancels, so nothing is resumed, and nothing may change.
function newest(actor, server) {
  const call = (name, fields = {}) =>
    spec(`${name}, 2026-07-28 (${server})`, actor, server, '/stored/RUN/mcp', {
      through: 'direct',
      ...fields,
      job: { do: 'call', mode: 'auto' },
    });
  return [
    call('call', { through: 'same' }),
    call('call, cut at upstream', { cuts: [upstream(MIDDLE)] }),
    call('call, cut at client', { cuts: [client(MIDDLE)] }),
  ];
}

const redirected = (actor) => spec('call behind a redirect', actor, 'mcp-python', '/slash/RUN/mcp', { job: { do: 'call' } });
const deleted = (actor, server) =>
  spec(`session deleted (${server})`, actor, server, '/stored/RUN/mcp', { n: 0, through: 'same', bytes: false, job: { do: 'deleted' } });

export const CASES = [
  ...outages('Chromium'),
  ...['OpenAI for Node', 'OpenAI for Python'].flatMap(completions),
  ...['Chromium', 'npm eventsource', 'fetch-event-source', 'httpx-sse'].flatMap(feeds),
  ...postedFeeds('fetch-event-source'),
  ...fetched('Chromium'),
  ...calls('MCP for TypeScript', 'mcp-typescript', true),
  ...calls('MCP for Python', 'mcp-python', false),
  ended('MCP for TypeScript', 'mcp-typescript'),
  ended('MCP for Python', 'mcp-python'),
  ...olderTransport('MCP for TypeScript', 'mcp-typescript'),
  ...olderTransport('MCP for Python', 'mcp-python'),
  ...newest('MCP for Python', 'mcp-python'),
  redirected('MCP for TypeScript'),
  redirected('MCP for Python'),
  deleted('MCP for TypeScript', 'mcp-typescript'),
];
