// The OpenAI SDK for Node.
//
// In: `{ url, model, tag, n, pad }`. Out: the ticks of the answer's text, and whether the answer was finished.

import OpenAI from 'openai';

import { Ticks, named, serve } from './actor.mjs';

const client = (job) => new OpenAI({ baseURL: job.url, apiKey: 'key', maxRetries: job.retries ?? 2, timeout: job.timeout ?? 30_000 });
const question = (job, stream) => ({
  model: job.model,
  user: job.tag,
  max_tokens: job.n,
  messages: [{ role: 'user', content: 'count' }],
  stream,
});

serve({
  async stream(job) {
    const ticks = new Ticks(job.pad);
    let finished = false;
    try {
      for await (const chunk of await client(job).chat.completions.create(question(job, true))) {
        const [choice] = chunk.choices;
        ticks.take(choice.delta.content ?? '');
        finished ||= choice.finish_reason === 'stop';
      }
    } catch (error) {
      return ticks.outcome({ finished: false, error: named(error) });
    }
    return ticks.outcome({ finished });
  },

  async whole(job) {
    const ticks = new Ticks(job.pad);
    const answer = await client(job).chat.completions.create(question(job, false));
    ticks.take(answer.choices[0].message.content);
    return ticks.outcome({ finished: true });
  },
});
