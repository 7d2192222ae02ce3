// Ports for servers that go away and come back.
//
// In: a server. Out: its port. Law: no port lies in the range from which systems take the ports of clients, so that none
// is taken, and nothing connects to itself, while its server is away.

const FIRST = 20_000;
const LAST = 32_000;
let next = FIRST + ((process.pid * 97) % (LAST - FIRST));

// Listens on the first free port of loopback.
export async function listen(server) {
  for (let tries = LAST - FIRST; tries > 0; tries -= 1) {
    const port = next;
    next = next + 1 < LAST ? next + 1 : FIRST;
    const taken = await new Promise((resolve) => {
      server.once('error', resolve);
      server.listen(port, '127.0.0.1', () => {
        server.off('error', resolve);
        resolve(null);
      });
    });
    if (taken === null) return port;
    if (taken.code !== 'EADDRINUSE') throw taken;
  }
  throw new Error('no free port');
}

// A port that was free a moment ago, for a server in another process.
export async function freePort() {
  const { createServer } = await import('node:net');
  const server = createServer();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}
