// A process that plays clients: it takes jobs as lines of JSON and answers outcomes as lines of JSON, many at once.
//
// In: a command, jobs. Out: outcomes. Law: an actor that ends fails all its jobs, with its last words.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const LAST_WORDS = 2_000;

export class Actor {
  #child;
  #waiting = new Map();
  #next = 0;
  #words = '';

  constructor(command, args, environment = {}) {
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...environment } });
    this.#child.stderr.on('data', (text) => (this.#words = (this.#words + text).slice(-LAST_WORDS)));
    this.#child.on('error', (error) => this.#fail(error.message));
    this.#child.on('exit', (code) => this.#fail(`actor ended with ${code}: ${this.#words}`));
    this.#child.stdin.on('error', () => {});
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      const { id, ...outcome } = JSON.parse(line);
      this.#waiting.get(id)?.resolve(outcome);
      this.#waiting.delete(id);
    });
  }

  play(job) {
    const answer = Promise.withResolvers();
    if (this.#child.exitCode !== null) answer.reject(new Error('actor has ended: ' + this.#words));
    this.#next += 1;
    this.#waiting.set(this.#next, answer);
    this.#child.stdin.write(JSON.stringify({ id: this.#next, ...job }) + '\n');
    return answer.promise;
  }

  close() {
    this.#child.kill('SIGTERM');
  }

  #fail(why) {
    for (const { reject } of this.#waiting.values()) reject(new Error(why));
    this.#waiting.clear();
  }
}
