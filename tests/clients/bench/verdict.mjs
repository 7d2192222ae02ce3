// Was it worse than without segno?
//
// In: what a client got, without segno and through it. Out: what is wrong, in words.
// Laws: a case that promises `clean` is judged by itself, one that promises `direct` or `same` by the run without segno.
// What is lost and not said to be lost is a fault in every case.

const SLOWEST = 0.5;
const NAMED = 3;
// How a fault begins that a busy machine can make, too.
export const TOGETHER = 'events came together';

// What a client got, as numbers.
export function measure(outcome, n) {
  const seen = new Map();
  for (const tick of outcome.got) seen.set(tick, (seen.get(tick) ?? 0) + 1);
  const all = Array.from({ length: n }, (_, i) => i + 1);
  return {
    lost: all.filter((tick) => !seen.has(tick)),
    repeated: all.filter((tick) => seen.get(tick) > 1),
    ordered: outcome.got.every((tick, i) => i === 0 || tick >= outcome.got[i - 1]),
    damaged: outcome.damaged ?? 0,
    finished: outcome.finished,
    error: outcome.error ?? '',
    executions: outcome.executions,
    span: outcome.span ?? 0,
  };
}

// In short, for the table.
export function brief(m) {
  const parts = [];
  if (m.lost.length > 0) parts.push(`lost ${ranges(m.lost)}`);
  if (m.repeated.length > 0) parts.push(`repeated ${ranges(m.repeated)}`);
  if (!m.ordered) parts.push('out of order');
  if (m.damaged > 0) parts.push(`damaged ${m.damaged}`);
  if (!m.finished) parts.push('no end');
  if (m.executions !== undefined && m.executions !== 1) parts.push(`executed ${m.executions} times`);
  if (m.error !== '') parts.push(m.error.slice(0, 40));
  return parts.length === 0 ? 'all' : parts.join(', ');
}

// What is wrong with the run through segno.
export function faults(spec, direct, through) {
  const { through: promise } = spec;
  const wrong = [];
  if (through.repeated.length > 0 && promise !== 'same') wrong.push(`repeated ${ranges(through.repeated)}`);
  if (!through.ordered) wrong.push('out of order');
  if (through.damaged > 0) wrong.push(`${through.damaged} events with other bytes`);
  if (through.executions > Math.max(1, direct.executions ?? 1)) wrong.push(`executed ${through.executions} times`);
  if (spec.once && through.executions !== 1) wrong.push(`executed ${through.executions} times, and not once`);
  if (promise === 'clean') wrong.push(...unclean(through));
  else wrong.push(...worse(spec, direct, through));
  if (spec.cuts.length === 0 && through.span < direct.span * SLOWEST) {
    wrong.push(`${TOGETHER}: within ${through.span} ms, and within ${direct.span} ms without segno`);
  }
  return wrong;
}

function unclean(through) {
  const wrong = [];
  if (through.lost.length > 0) wrong.push(`lost ${ranges(through.lost)}`);
  if (!through.finished) wrong.push(`no end: ${through.error}`);
  return wrong;
}

function worse(spec, direct, through) {
  const wrong = [];
  if (!spec.forgets) {
    const more = through.lost.filter((tick) => !direct.lost.includes(tick));
    if (more.length > 0) wrong.push(`lost ${ranges(more)}, which comes without segno`);
  }
  if (direct.finished && !through.finished) wrong.push(`no end, which comes without segno: ${through.error}`);
  if (!direct.finished && through.finished && through.lost.length > 0) wrong.push('a cut looks like an end');
  if (spec.through === 'same' && through.error !== direct.error) {
    wrong.push(`another error: '${through.error}' and not '${direct.error}'`);
  }
  return wrong;
}

function ranges(numbers) {
  const spans = [];
  for (const n of numbers) {
    const last = spans.at(-1);
    if (last && last[1] === n - 1) last[1] = n;
    else spans.push([n, n]);
  }
  const names = spans.slice(0, NAMED).map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`));
  return names.join(', ') + (spans.length > NAMED ? ', ...' : '');
}
