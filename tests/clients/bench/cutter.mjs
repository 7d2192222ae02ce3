// A TCP relay that cuts: it forwards every byte untouched until it sees the bytes it waits for.
//
// In: the port behind it, and a list of cuts. Out: connections that break as real ones do, and what went through them.
// Laws: a cut drops the bytes in flight, the awaited ones among them. Bytes before them in the same read are dropped
// too, as by a network that breaks.

import net from 'node:net';

import { listen } from './ports.mjs';

const KEPT_BYTES = 1 << 20;
const LONGEST_AWAITED = 64;

export class Cutter {
  #behind;
  #server = net.createServer({ noDelay: true }, (client) => this.#relay(client));
  #pairs = new Set();
  #cuts;
  #closed = false;
  port;
  // How many cuts have happened. A case whose cuts did not all happen has shown nothing.
  done = 0;
  // What the server sent, one text (latin1) for each connection.
  sent = [];

  // Each cut: { at: text in the server's bytes, how: 'reset' | 'close', down: ms without a listener, after: true to
  // forward the bytes first }.
  constructor(behind, cuts) {
    this.#behind = behind;
    this.#cuts = cuts.map((cut) => ({ how: 'reset', down: 0, after: false, ...cut }));
  }

  async open() {
    this.port = await listen(this.#server);
    return this;
  }

  // Refuses connections for `ms`, from now on.
  async away(ms) {
    await new Promise((resolve) => {
      this.#server.close(() => resolve());
      for (const pair of this.#pairs) this.#break(pair, 'reset');
    });
    setTimeout(() => this.#closed || this.#server.listen(this.port, '127.0.0.1'), ms);
  }

  close() {
    this.#closed = true;
    this.#cuts = [];
    this.#server.close();
    for (const pair of this.#pairs) this.#break(pair, 'reset');
  }

  #relay(client) {
    const server = net.connect({ port: this.#behind, host: '127.0.0.1', noDelay: true });
    const pair = { client, server, seen: '', number: this.sent.push('') - 1 };
    this.#pairs.add(pair);
    const gone = (other) => () => {
      this.#pairs.delete(pair);
      other.destroy();
    };
    client.on('error', () => server.resetAndDestroy()).on('close', gone(server));
    server.on('error', () => client.resetAndDestroy()).on('close', gone(client));
    client.on('data', (bytes) => server.write(bytes) || client.pause());
    server.on('drain', () => client.resume());
    client.on('drain', () => server.resume());
    server.on('data', (bytes) => this.#forward(pair, bytes));
  }

  #forward(pair, bytes) {
    pair.seen = pair.seen.slice(-LONGEST_AWAITED) + bytes.toString('latin1');
    const cut = this.#cuts[0];
    const hit = cut !== undefined && pair.seen.includes(cut.at);
    if (!hit || cut.after) {
      if (this.sent[pair.number].length < KEPT_BYTES) this.sent[pair.number] += bytes.toString('latin1');
      pair.client.write(bytes) || pair.server.pause();
    }
    if (!hit) return;
    this.#cuts.shift();
    this.done += 1;
    pair.seen = '';
    const breaks = () => {
      this.#break(pair, cut.how);
      if (cut.down > 0) this.away(cut.down);
    };
    // At once, so that nothing behind the dropped bytes gets through. What was forwarded gets a moment to arrive, since
    // a reset takes it along otherwise.
    if (cut.after) setTimeout(breaks, 20);
    else breaks();
  }

  #break({ client, server }, how) {
    server.removeAllListeners('data').resume();
    for (const socket of [client, server]) {
      if (how === 'close') socket.end();
      else socket.resetAndDestroy();
    }
  }
}
