// npm `eventsource`: the browser's interface, on Node's own `fetch`.
//
// In: `{ url, pad, ms }`. Out: the ticks until the event `end`.

import { EventSource } from 'eventsource';

import { Ticks, serve } from './actor.mjs';

serve({
  read(job) {
    const ticks = new Ticks(job.pad);
    const source = new EventSource(job.url);
    return new Promise((resolve) => {
      let error = '';
      const end = (finished) => {
        source.close();
        resolve(ticks.outcome({ finished, error: finished ? '' : error }));
      };
      const late = setTimeout(() => end(false), job.ms);
      source.onmessage = ({ data }) => ticks.take(data);
      source.onerror = (event) => {
        error = `${event.code ?? ''} ${event.message ?? ''}`;
      };
      source.addEventListener('end', () => {
        clearTimeout(late);
        end(true);
      });
    });
  },
});
