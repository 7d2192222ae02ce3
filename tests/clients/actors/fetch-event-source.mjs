// npm `@microsoft/fetch-event-source`: it repeats its request, also a POST, with `Last-Event-ID`.
//
// In: `{ url, method, pad, ms }`. Out: the ticks until the event `end`.

import { Ticks, named, serve } from './actor.mjs';

// It is written for pages.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import('@microsoft/fetch-event-source');

serve({
  async read(job) {
    const ticks = new Ticks(job.pad);
    const stop = new AbortController();
    let error = '';
    const finished = await new Promise((resolve) => {
      const late = setTimeout(() => resolve(false), job.ms);
      fetchEventSource(job.url, {
        method: job.method,
        body: job.method === 'POST' ? '{}' : undefined,
        signal: stop.signal,
        openWhenHidden: true,
        fetch,
        onmessage({ event, data }) {
          if (event === '') ticks.take(data);
          if (event !== 'end') return;
          clearTimeout(late);
          resolve(true);
        },
        onerror(fault) {
          error = named(fault);
        },
      }).catch((fault) => (error = named(fault)));
    });
    stop.abort();
    return ticks.outcome({ finished, error: finished ? '' : error });
  },
});
