// The bodies in what a server sent.
//
// In: one text (latin1) for each connection. Out: all bodies, one behind the other in the order of the connections, without
// chunks.

// A body as far as it came.
function body(rest, head) {
  const length = /^content-length: *(\d+)/im.exec(head);
  if (length) return [rest.slice(0, Number(length[1])), rest.slice(Number(length[1]))];
  if (!/^transfer-encoding: *chunked/im.test(head)) return [/^HTTP\/1\.1 (1|204|304)/.test(head) ? '' : rest, ''];
  let out = '';
  for (;;) {
    const line = rest.indexOf('\r\n');
    const size = Number.parseInt(rest.slice(0, line), 16);
    if (line < 0 || !(size > 0)) return [out, line < 0 ? '' : rest.slice(line + 4)];
    out += rest.slice(line + 2, line + 2 + size);
    rest = rest.slice(line + 2 + size + 2);
  }
}

export function bodies(connections) {
  const all = [];
  for (let rest of connections) {
    for (let end = rest.indexOf('\r\n\r\n'); end >= 0; end = rest.indexOf('\r\n\r\n')) {
      const [found, behind] = body(rest.slice(end + 4), rest.slice(0, end));
      all.push(found);
      rest = behind;
    }
  }
  return all.join('');
}
