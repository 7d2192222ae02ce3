'use strict';
// What is shown: the last five minutes.
const SPAN = 300_000;
const BIN = 5_000;
const ROWS = 100;

const $ = (id) => document.getElementById(id);
const make = (name, attributes = {}, ...children) => {
  const svg = ['svg', 'path', 'line', 'rect', 'text', 'g'].includes(name);
  const e = svg ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.append(...children);
  return e;
};

// Words for numbers.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });
const fine = new Intl.NumberFormat('en', { maximumSignificantDigits: 2 });
const clock = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const count = (n) => (n >= 100_000 ? short.format(n) : n > 0 && n < 10 && n % 1 ? fine.format(n) : whole.format(n));
const bytes = (n) => {
  let unit = 0;
  while (n >= 1024 && unit < 4) [n, unit] = [n / 1024, unit + 1];
  return `${unit && n < 10 ? n.toFixed(1) : whole.format(n)} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`;
};
const lasted = (ms) => {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 172_800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
};
const many = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

// What has come, and what is shown of it.

const state = {
  start: null, boot: '', raw: null, samples: [], restarts: [], news: [], held: [],
  paused: false, cursor: null, link: 'connecting',
};

const RATES = ['events', 'event_bytes', 'connects', 'connects_failed', 'requests'];
const BURSTS = ['cuts', 'heals', 'heals_failed', 'gaps'];

function onSnapshot(raw, boot) {
  const last = state.boot === boot ? state.raw : null;
  if (last && raw.at <= last.at) return;
  const seconds = last ? (raw.at - last.at) / 1000 : 0;
  const sample = { at: raw.at };
  const since = (key) => (last ? Math.max(0, raw[key] - last[key]) : 0);
  for (const key of RATES) sample[key] = last ? since(key) / seconds : null;
  for (const key of BURSTS) sample[key] = since(key);
  for (const key of ['streams', 'log_bytes', 'stream_bytes', 'buffer_bytes']) sample[key] = raw[key];
  sample.lag = raw.lag_ms / 1000;
  [state.raw, state.boot] = [raw, boot];
  state.samples.push(sample);
  const first = raw.at - SPAN;
  while (state.samples[0].at < first) state.samples.shift();
  state.restarts = state.restarts.filter((at) => at >= first);
}

function onIncident(incident) {
  state.news.push(incident);
  if (state.news.length > ROWS) state.news.shift();
}

function onStart(start) {
  if (state.start && state.start.started !== start.started) {
    state.restarts.push(start.started);
    onIncident({ at: start.started, kind: 'restart', what: 'segno', why: 'a new process; its counters begin at 0' });
  }
  state.start = start;
}

function onEvent({ name, data, id }) {
  if (name === 'snapshot') onSnapshot(data, id.split('-')[0]);
  if (name === 'incident') onIncident(data);
  if (name === 'start') onStart(data);
  if (name === 'segno.gap' && data.reason !== 'restarted') {
    onIncident({ at: now(), kind: 'missed', what: 'this page', why: `it was away for too long (${data.reason})` });
  }
}

// While the page is paused, what comes waits for its turn.
function take(event) {
  if (!state.paused) {
    onEvent(event);
    return draw();
  }
  state.held.push(event);
  if (state.held.length > 2_000) state.held.shift();
}

// Drawing.

const now = () => (state.raw ? state.raw.at : Date.now());
const per = (n) => (n === null ? 'unknown' : `${count(n)}/s`);
const key = (color, text) => make('span', {}, make('i', { class: `key ${color}` }), text);

const CARDS = [
  {
    title: 'Throughput', unit: 'events/s', nothing: 'no event',
    now: (s) => count(s.events ?? 0),
    more: (s) => `${bytes(s.event_bytes ?? 0)}/s, ${count(state.raw.events)} events since the start`,
    at: (s) => `${per(s.events)}, ${bytes(s.event_bytes ?? 0)}/s`,
    lines: [['events', 'calm']],
  },
  {
    title: 'Event streams', unit: 'open', nothing: 'no stream',
    now: (s) => count(s.streams),
    more: () => `${many(state.raw.connections, 'connection')}, ${many(state.raw.resumes, 'resume')}`,
    at: (s) => many(s.streams, 'stream'),
    lines: [['streams', 'calm']],
  },
  {
    title: 'Cuts and heals', unit: 'since the start', nothing: 'no cut',
    now: () => count(state.raw.cuts),
    more: () => [
      key('warn', 'cut'),
      key('calm', `healed: ${count(state.raw.heals)}`),
      key('bad', `not healed: ${count(state.raw.heals_failed)}`),
    ],
    at: (s) => `${many(s.cuts, 'cut')}, ${many(s.heals, 'heal')}, not healed: ${count(s.heals_failed)}`,
    up: [['cuts', 'warn']], down: [['heals', 'calm'], ['heals_failed', 'bad']],
  },
  {
    title: 'Gaps stated', unit: 'since the start', nothing: 'no gap',
    now: () => count(state.raw.gaps),
    more: () => (state.raw.gaps ? 'clients were told that events are gone' : 'no client has missed an event'),
    at: (s) => many(s.gaps, 'gap'),
    up: [['gaps', 'bad']], down: [],
  },
  {
    title: 'Store lag', unit: 'oldest cursor not stored', nothing: '', suffix: ' s', least: 1,
    now: (s) => (s.lag < 10 ? `${s.lag.toFixed(2)} s` : lasted(s.lag * 1000)),
    more: () => `${many(state.raw.store_queue, 'stream')} wait, ${count(state.raw.stored)} records stored`,
    at: (s) => `${s.lag.toFixed(2)} s`,
    lines: [['lag', 'calm']],
  },
  {
    title: 'Memory', unit: 'of streams', nothing: '', scale: bytes, binary: true, least: 1 << 20,
    about: () => `logs may take ${bytes(state.start?.log_budget ?? 0)}`,
    now: (s) => bytes(s.log_bytes + s.stream_bytes + s.buffer_bytes),
    more: (s) => [
      key('calm', `logs ${bytes(s.log_bytes)}`),
      key('second', `streams ${bytes(s.stream_bytes)}`),
      key('third', `buffers ${bytes(s.buffer_bytes)}`),
    ],
    at: (s) => `logs ${bytes(s.log_bytes)}, streams ${bytes(s.stream_bytes)}, buffers ${bytes(s.buffer_bytes)}`,
    stack: [['log_bytes', 'calm'], ['stream_bytes', 'second'], ['buffer_bytes', 'third']],
  },
];

function build() {
  for (const [n, card] of CARDS.entries()) {
    [card.big, card.word] = [make('b', {}, '–'), make('span', { class: 'quiet' }, card.unit)];
    card.small = make('p', { class: card.stack || card.down?.length ? 'more legend' : 'more' });
    card.plot = make('div', {
      class: 'plot', role: 'slider', tabindex: '0', 'aria-label': `${card.title}, last five minutes`,
      'aria-valuemin': '0', 'aria-valuemax': '0', 'aria-valuenow': '0', 'aria-valuetext': 'no data yet',
    });
    const title = make('div', { class: 'top' }, make('h2', { id: `card-${n}` }, card.title), card.word);
    const head = make('p', { class: 'now' }, card.big);
    $('cards').append(make('section', { class: 'card', 'aria-labelledby': `card-${n}` }, title, head, card.small, card.plot));
    card.plot.addEventListener('pointermove', (e) => {
      const box = card.plot.getBoundingClientRect();
      const share = (e.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT);
      point(nearest(now() - SPAN * (1 - share)));
    });
    card.plot.addEventListener('pointerleave', () => point(null));
    card.plot.addEventListener('blur', () => point(null));
    card.plot.addEventListener('keydown', (e) => {
      const end = state.samples.length - 1;
      const at = state.cursor === null ? end : state.samples.findIndex((s) => s.at === state.cursor);
      const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, PageUp: at + 30,
        PageDown: at - 30, Home: 0, End: end }[e.key];
      if (e.key === 'Escape') point(null);
      if (to === undefined || end < 0) return;
      e.preventDefault();
      point(state.samples[Math.min(end, Math.max(0, to))].at);
    });
  }
  new ResizeObserver(draw).observe($('cards'));
}

function nearest(at) {
  let best = null;
  for (const s of state.samples) if (best === null || Math.abs(s.at - at) < Math.abs(best - at)) best = s.at;
  return best;
}

function point(at) {
  if (state.cursor === at) return;
  state.cursor = at;
  draw();
}

const LEFT = 52;
const RIGHT = 6;
const TOP = 8;
const BOTTOM = 22;

// The least round number that is not below n.
function round(n, binary) {
  const base = binary ? 1024 ** Math.floor(Math.log(Math.max(n, 1)) / Math.log(1024)) : 10 ** Math.floor(Math.log10(n));
  const steps = binary ? [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
    : n > 10 ? [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10] : [1, 2, 4, 6, 8, 10];
  return base * steps.find((step) => step * base >= n);
}

function bins(card, end) {
  const first = Math.floor((end - SPAN) / BIN) * BIN;
  const all = Array.from({ length: SPAN / BIN + 1 }, (_, n) => ({ at: first + n * BIN }));
  for (const s of state.samples) {
    const bin = all[Math.floor((s.at - first) / BIN)];
    if (bin) for (const [key] of [...card.up, ...card.down]) bin[key] = (bin[key] ?? 0) + s[key];
  }
  return all;
}

function plot(card) {
  const { width, height } = card.plot.getBoundingClientRect();
  if (width === 0) return;
  const end = now();
  const [w, h] = [width - LEFT - RIGHT, height - TOP - BOTTOM];
  const x = (at) => LEFT + w * (1 - (end - at) / SPAN);
  const svg = make('svg', { viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' });
  const sum = (s, keys) => keys.reduce((all, [key]) => all + (s[key] ?? 0), 0);
  const all = card.up ? bins(card, end) : state.samples;
  const tops = all.map((s) => (card.up ? Math.max(sum(s, card.up), sum(s, card.down))
    : sum(s, card.stack ?? card.lines)));
  const most = Math.max(0, ...tops);
  const top = round(Math.max(most, card.least ?? 1), card.binary);
  const low = card.down?.length ? -top : 0;
  const y = (n) => TOP + h * (1 - (n - low) / (top - low));
  const word = card.scale ?? ((n) => `${count(Math.abs(n))}${card.suffix ?? ''}`);
  for (const n of new Set([low, low === 0 ? top / 2 : 0, top])) {
    const half = n !== 0 && n !== top && n !== low;
    svg.append(make('line', { class: n === 0 ? 'base' : 'grid', x1: LEFT, x2: width - RIGHT, y1: y(n), y2: y(n) }));
    const label = half && n % 1 && !card.suffix ? '' : word(n);
    svg.append(make('text', { x: LEFT - 6, y: y(n) + 4, 'text-anchor': 'end' }, label));
  }
  for (const minutes of w < 260 ? [5, 3, 2, 1, 0] : [5, 4, 3, 2, 1, 0]) {
    const at = x(end - minutes * 60_000);
    const anchor = minutes === 5 ? 'start' : minutes === 0 ? 'end' : 'middle';
    svg.append(make('text', { x: at, y: height - 4, 'text-anchor': anchor }, minutes === 5 ? '−5 min' : minutes ? `−${minutes}` : 'now'));
  }
  for (const at of state.restarts) svg.append(make('line', { class: 'restart', x1: x(at), x2: x(at), y1: TOP, y2: TOP + h }));
  if (card.up) drawBars(card, svg, all, x, y, w);
  else drawLines(card, svg, x, y);
  if (most === 0 && card.nothing && state.raw) {
    svg.append(make('text', { x: LEFT + w / 2, y: TOP + h / 2 - 6, 'text-anchor': 'middle' }, `${card.nothing} in five minutes`));
  }
  if (state.cursor !== null) {
    const at = x(state.cursor);
    svg.append(make('line', { class: 'cursor', x1: at, x2: at, y1: TOP, y2: TOP + h }));
  }
  card.plot.replaceChildren(svg);
  tell(card, most, word);
}

function drawBars(card, svg, all, x, y, w) {
  const wide = Math.max(1, (w * BIN) / SPAN - 1);
  for (const bin of all) {
    for (const [keys, sign] of [[card.up, 1], [card.down, -1]]) {
      let from = 0;
      for (const [key, color] of keys) {
        const n = bin[key] ?? 0;
        if (n === 0) continue;
        const [a, b] = [y(sign * from), y(sign * (from + n))];
        const left = Math.max(LEFT, x(bin.at));
        svg.append(make('rect', { class: `bar ${color}`, x: left, y: Math.min(a, b), width: wide, height: Math.abs(a - b) }));
        from += n;
      }
    }
  }
}

function drawLines(card, svg, x, y) {
  // A stretch ends where a second is missing, or where segno was restarted.
  const stretches = [];
  let last = null;
  for (const s of state.samples) {
    const value = (card.stack ?? card.lines).every(([key]) => s[key] !== null);
    const broken = !last || s.at - last.at > 3_500 || state.restarts.some((at) => at > last.at && at <= s.at);
    if (value && (broken || stretches.length === 0)) stretches.push([]);
    if (value) stretches.at(-1).push(s);
    last = value ? s : null;
  }
  for (const stretch of stretches) {
    let below = stretch.map(() => 0);
    for (const [key, color] of card.stack ?? card.lines) {
      const above = stretch.map((s, n) => below[n] + s[key]);
      const line = (values) => stretch.map((s, n) => `${Math.max(LEFT, x(s.at)).toFixed(1)} ${y(values[n]).toFixed(1)}`);
      const back = line(below).reverse();
      svg.append(make('path', { class: `fill ${color}`, d: `M${line(above).join('L')}L${back.join('L')}Z` }));
      svg.append(make('path', { class: `stroke ${color}`, d: `M${line(above).join('L')}` }));
      below = above;
    }
  }
}

// The same in words, for those who do not see the plot. What has the focus changes by keys alone.
let told = 0;
function tell(card, most, word) {
  const { samples, cursor } = state;
  const end = samples.length - 1;
  if (end < 0) return;
  const focused = document.activeElement === card.plot;
  const at = cursor === null ? end : samples.findIndex((s) => s.at === cursor);
  if (focused && cursor === null && performance.now() - told < 10_000) return;
  if (focused) told = performance.now();
  const s = samples[Math.max(0, at)];
  const text = cursor === null ? `now ${card.at(s)}; highest in five minutes ${word(most)}` : `${clock.format(s.at)}: ${card.at(s)}`;
  card.plot.setAttribute('aria-valuemax', end);
  card.plot.setAttribute('aria-valuenow', Math.max(0, at));
  card.plot.setAttribute('aria-valuetext', text);
}

function mood(id, mood, word) {
  const item = $(id);
  item.dataset.mood = mood;
  item.querySelector('.mark').textContent = { good: '✓', warn: '!', bad: '✕', none: '·' }[mood];
  item.querySelector('.word').textContent = word;
}

const LINK = {
  live: ['good', 'live'], connecting: ['none', 'connecting'], lost: ['bad', 'connection lost, trying again'],
  token: ['warn', 'waits for the token'], full: ['warn', 'too many watch, trying again'],
};

function drawStates() {
  const { raw, link, start } = state;
  const [linkMood, linkWord] = LINK[link];
  mood('link', state.paused ? 'warn' : linkMood, state.paused ? 'paused' : linkWord);
  if (start) $('about').textContent = `version ${start.version}, up for ${lasted(now() - start.started)}`;
  if (!raw) return;
  const late = raw.reactor_late_ms;
  mood('reactor', late ? 'bad' : raw.draining ? 'warn' : 'good',
    late ? (late > 1e9 ? 'has ended' : `stuck for ${lasted(late)}`) : raw.draining ? 'draining' : 'turning');
  mood('store', !raw.store_open || raw.store_failing ? 'bad' : 'good',
    !raw.store_open ? 'away: nothing is stored' : raw.store_failing ? 'failing: cursors wait' : 'open');
  const away = raw.away.length;
  const out = raw.upstreams.filter((u) => u.why !== undefined).length;
  const words = [away && `${away} away`, out && `${out} left out or failing`].filter(Boolean);
  mood('upstream', words.length ? 'bad' : 'good', words.join(', ') || 'none is away');
}

function drawUpstreams() {
  const { raw, start, samples } = state;
  if (!raw) return;
  const s = samples.at(-1);
  $('connects').textContent = `Connections: ${per(s.connects)} opened, ${count(raw.connects_failed)} failed since the start`;
  const known = new Set(raw.upstreams.map((u) => u.upstream));
  const names = [...(start?.upstreams ?? []), ...raw.away.map((a) => a.upstream)].filter((name) => !known.has(name));
  const others = [...new Set(names)].map((upstream) => ({ upstream }));
  const routes = new Set(raw.upstreams.map((u) => u.route)).size;
  const rows = [...raw.upstreams, ...others].map(({ upstream, route, busy, out_since: since, why }) => {
    const away = raw.away.find((a) => a.upstream === upstream);
    const is_bad = away || why !== undefined;
    const name = make('th', { scope: 'row' }, upstream);
    if (routes > 1 && route !== undefined) name.append(make('span', { class: 'quiet' }, ` of ${route}`));
    const words = [];
    if (why !== undefined) words.push(`left out or failing for ${lasted(raw.at - since)}: ${why}`);
    if (away) words.push(`away for ${lasted(raw.at - away.since)}: ${away.why}`);
    if (!is_bad) words.push('not away');
    if (busy !== undefined) words.push(`serves ${count(busy)}`);
    const row = make('tr', { 'data-mood': is_bad ? 'bad' : 'good' }, name);
    row.append(make('td', {}, make('span', { class: 'mark', 'aria-hidden': 'true' }, is_bad ? '✕ ' : '✓ '), words.join('; ')));
    return row;
  });
  if (raw.upstreams_left) rows.push(make('tr', {}, make('td', { class: 'quiet' }, `${count(raw.upstreams_left)} more: see /metrics`)));
  $('upstreams').replaceChildren(...rows);
}

const KINDS = {
  cut: ['warn', '✂', 'Cut'], heal: ['good', '✓', 'Heal'], lost: ['bad', '✕', 'Not healed'], gap: ['bad', '!', 'Gap'],
  away: ['bad', '✕', 'Upstream away'], back: ['good', '✓', 'Upstream back'],
  out: ['bad', '✕', 'Upstream out'], in: ['good', '✓', 'Upstream in'], restart: ['warn', '↻', 'Restart'],
  missed: ['warn', '!', 'Missed'],
};

function drawIncidents() {
  const body = $('incidents').tBodies[0];
  const fresh = state.news.splice(0).slice(-ROWS);
  for (const { at, kind, what, why, stream } of fresh) {
    const [feel, mark, word] = KINDS[kind] ?? ['warn', '!', kind];
    const row = make('tr', { 'data-mood': feel, 'data-kind': kind });
    if (settled()) row.className = 'fresh';
    row.append(
      make('td', { class: 'time quiet' }, make('time', { datetime: new Date(at).toISOString() }, clock.format(at))),
      make('td', { class: 'kind' }, make('span', { class: 'mark', 'aria-hidden': 'true' }, `${mark} `), make('b', {}, word)),
      make('td', { class: 'what' }, what),
      make('td', { class: 'why quiet' }, why),
      make('td', { class: 'stream quiet' }, stream ? make('span', { class: 'unseen' }, 'stream ') : '', stream ?? ''),
    );
    body.prepend(row);
  }
  while (body.rows.length > ROWS) body.rows[body.rows.length - 1].remove();
  $('incidents').tHead.hidden = body.rows.length === 0;
  const left = state.raw?.incidents_lost ?? 0;
  const shown = body.rows.length ? 'Newest first.' : 'Nothing has happened yet.';
  $('lost').textContent = left ? `${shown} ${count(left)} more came too fast to be listed.` : shown;
  if (settled() && fresh.length) say(fresh);
}

// Told to screen readers, and no faster than it can be heard.
let waiting = [];
let spoken = 0;
let timer = 0;
function say(incidents) {
  waiting.push(...incidents);
  if (timer) return;
  timer = setTimeout(() => {
    const words = waiting.slice(0, 3).map(({ kind, what }) => `${(KINDS[kind] ?? [0, 0, kind])[2]}: ${what}`);
    const rest = waiting.length - words.length;
    $('said').textContent = words.join('. ') + (rest ? `, and ${rest} more` : '');
    [waiting, timer, spoken] = [[], 0, performance.now()];
  }, Math.max(250, 4_000 - (performance.now() - spoken)));
}

let frame = 0;
function draw() {
  if (frame) return;
  frame = requestAnimationFrame(() => {
    frame = 0;
    drawStates();
    drawUpstreams();
    drawIncidents();
    const s = state.samples.find((s) => s.at === state.cursor) ?? state.samples.at(-1);
    for (const card of CARDS) {
      if (s) {
        card.big.textContent = card.now(state.samples.at(-1));
        if (card.about) card.word.textContent = card.about();
        const parts = state.cursor === null ? card.more(s) : `${clock.format(s.at)}: ${card.at(s)}`;
        card.small.replaceChildren(...(Array.isArray(parts) ? parts : [parts]));
      }
      plot(card);
    }
  });
}

// The stream. Not by EventSource, which cannot send a token and does not tell a refusal from a lost connection.

let last = '';
let opened = Infinity;
const settled = () => performance.now() - opened > 1_500;

function* parse(block) {
  const event = { name: 'message', data: '', id: '' };
  for (const line of block.split('\n')) {
    const at = line.indexOf(':');
    const [field, value] = [line.slice(0, at), line.slice(at + 1).replace(/^ /, '')];
    if (field === 'id') event.id = value;
    if (field === 'event') event.name = value;
    if (field === 'data') event.data += value;
  }
  if (event.data) yield { ...event, data: JSON.parse(event.data) };
}

async function read() {
  const headers = { Accept: 'text/event-stream' };
  const token = sessionStorage.getItem('token');
  if (token) headers.Authorization = `Bearer ${token}`;
  if (last) headers['Last-Event-ID'] = last;
  const abort = new AbortController();
  // A snapshot comes each second. Silence is a lost connection that nobody has told of.
  let watch = setTimeout(() => abort.abort(), 10_000);
  try {
    const answer = await fetch('/events', { headers, cache: 'no-store', signal: abort.signal });
    if (answer.status === 401) return 'token';
    if (answer.status === 503) return 'full';
    if (!answer.ok) return 'lost';
    state.link = 'live';
    opened = performance.now();
    $('forget').hidden = !token;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return 'lost';
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort(), 10_000);
      const blocks = (text + value).split('\n\n');
      text = blocks.pop();
      for (const event of blocks.flatMap((block) => [...parse(block)])) {
        take(event);
        if (event.id) last = event.id;
      }
    }
  } catch {
    return 'lost';
  } finally {
    clearTimeout(watch);
    abort.abort();
  }
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function run() {
  for (let tries = 0; ; tries += 1) {
    const began = performance.now();
    state.link = await read();
    draw();
    if (state.link === 'token') return ask();
    if (performance.now() - began > 10_000 || opened > began) tries = 0;
    await sleep(Math.min(5_000, 500 * 2 ** tries) * (0.75 + Math.random() / 2));
  }
}

// Without the token there is nothing to see but the door.
function shut(is) {
  for (const id of ['states', 'cards', 'lower', 'pause']) $(id).hidden = is;
  $('door').hidden = !is;
}

function ask() {
  if (sessionStorage.getItem('token')) $('wrong').textContent = 'That was not the token.';
  sessionStorage.removeItem('token');
  $('forget').hidden = true;
  shut(true);
  $('token').focus();
}

$('door').addEventListener('submit', (e) => {
  e.preventDefault();
  sessionStorage.setItem('token', $('token').value.trim());
  $('token').value = '';
  shut(false);
  run();
});
$('forget').addEventListener('click', () => {
  sessionStorage.removeItem('token');
  location.reload();
});
$('pause').addEventListener('click', () => {
  state.paused = !state.paused;
  if (!state.paused) state.held.splice(0).forEach(onEvent);
  $('pause').textContent = state.paused ? 'Go on' : 'Pause';
  $('pause').setAttribute('aria-pressed', String(state.paused));
  draw();
});

build();
draw();
run();
