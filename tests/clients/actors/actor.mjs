// The other end of `bench/actor.mjs`, for actors in JavaScript.
//
// In: `{ id, do, ... }` on each line of stdin. Out: `{ id, got, finished, error, ... }` on each line of stdout.

import { createInterface } from 'node:readline';

// `parts`: for each `do`, a function from the job to its outcome.
export function serve(parts) {
  createInterface({ input: process.stdin }).on('line', async (line) => {
    const job = JSON.parse(line);
    let outcome;
    try {
      outcome = await parts[job.do](job);
    } catch (error) {
      outcome = { got: [], finished: false, error: named(error) };
    }
    process.stdout.write(JSON.stringify({ id: job.id, ...outcome }) + '\n');
  });
}

// Reads ticks out of texts, and sees whether they are whole.
export class Ticks {
  got = [];
  damaged = 0;
  #pad;
  #first;
  #last;

  constructor(pad = '') {
    this.#pad = pad;
  }

  take(text) {
    for (const [, number, pad] of text.matchAll(/tick-(\d+)#([^\s"\\]*)/gu)) {
      this.#last = performance.now();
      this.#first ??= this.#last;
      this.got.push(Number(number));
      if (pad !== this.#pad) this.damaged += 1;
    }
  }

  outcome(more) {
    return { got: this.got, damaged: this.damaged, span: Math.round((this.#last ?? 0) - (this.#first ?? 0)), ...more };
  }
}

export function named(error) {
  return [error?.name ?? 'error', error?.status ?? error?.code, String(error?.message ?? error)]
    .filter((part) => part !== undefined)
    .join(' ');
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Waits until `done()`, at most `ms`.
export async function until(done, ms) {
  for (const end = performance.now() + ms; performance.now() < end && !done(); ) await sleep(20);
}
