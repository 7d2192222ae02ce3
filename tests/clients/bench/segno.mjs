// The proxy under test: one process for each run of a case.
//
// In: the binary, the upstream's port, more flags. Out: its port, what it logged, how it ended.

import { spawn } from 'node:child_process';
import { once } from 'node:events';

const LOG_CHARS = 1 << 16;
const START_MS = 10_000;
const STOP_MS = 10_000;

export class Segno {
  #child;
  log = '';
  port;

  constructor(binary, upstream, flags) {
    const target = ['--listen', '127.0.0.1:0', '--upstream', `http://127.0.0.1:${upstream}`];
    this.#child = spawn(binary, ['proxy', '--store', 'memory', ...target, ...flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  }

  async open() {
    const listening = Promise.withResolvers();
    const late = setTimeout(() => listening.reject(new Error('segno does not listen: ' + this.log)), START_MS);
    this.#child.on('error', listening.reject);
    this.#child.on('exit', () => listening.reject(new Error('segno ended: ' + this.log)));
    this.#child.stderr.on('data', (text) => {
      if (this.log.length < LOG_CHARS) this.log += text;
      const found = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(this.log);
      if (found) listening.resolve(Number(found[1]));
    });
    this.port = await listening.promise;
    clearTimeout(late);
    return this;
  }

  // Ends it as an operator would. Answers what is wrong with its end, if anything.
  async close() {
    if (this.#child.exitCode !== null) return `segno ended by itself with ${this.#child.exitCode}`;
    const ended = once(this.#child, 'exit');
    const late = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    this.#child.kill('SIGTERM');
    const [code, signal] = await ended;
    clearTimeout(late);
    return code === 0 ? null : `segno ended with ${code ?? signal}`;
  }
}
