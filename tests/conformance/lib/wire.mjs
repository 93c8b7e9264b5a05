// Writes down what passes: an HTTP proxy (`tap`), and a command that runs another with its pipes in between:
//   node wire.mjs FILE NAME COMMAND ARGUMENTS…
import { spawn } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { pathToFileURL } from 'node:url';

const WORTH = /^(mcp-.*|accept|content-type|last-event-id|origin|host)$/;
const headers = (all) => Object.entries(all).filter(([name]) => WORTH.test(name)).map(([name, value]) => `${name}: ${value}`).join(', ');
const write = (file, from, to, text) => appendFileSync(file, `${new Date().toISOString().slice(17, 23)} ${from} -> ${to}  ${text}\n`);

/** A proxy in front of `base` on a port of its own: {base, close}. */
export async function tap(base, file, from, to) {
  const { hostname, port } = new URL(base);
  let count = 0;
  const proxy = createServer((ask, answer) => {
    const number = (count += 1);
    const say = (a, b, text) => write(file, a, b, `#${number} ${text}`);
    say(from, to, `${ask.method} ${ask.url} (${headers(ask.headers)})`);
    ask.on('data', (data) => say(from, to, data));
    const out = request({ hostname, port, method: ask.method, path: ask.url, headers: ask.rawHeaders, agent: false }, (got) => {
      say(to, from, `${got.statusCode} (${headers(got.headers)})`);
      got.on('data', (data) => say(to, from, String(data).trimEnd()));
      got.on('close', () => say(to, from, got.complete ? 'end' : 'cut'));
      answer.writeHead(got.statusCode, got.rawHeaders).flushHeaders();
      got.pipe(answer);
    });
    out.on('error', () => answer.destroy());
    answer.on('close', () => out.destroy());
    ask.pipe(out);
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const close = () => (proxy.close(), proxy.closeAllConnections());
  return { base: `http://127.0.0.1:${proxy.address().port}`, close };
}

/** Lines as they pass, whole. */
function lines(file, from, to) {
  let rest = '';
  return (data) => {
    const all = (rest + data).split('\n');
    rest = all.pop();
    for (const line of all) write(file, from, to, line);
  };
}

function tee([file, name, command, ...args]) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const who = `${name}(${child.pid})`;
  process.stdin.on('data', lines(file, 'hub', who)).pipe(child.stdin);
  child.stdout.on('data', lines(file, who, 'hub')).pipe(process.stdout);
  child.on('exit', (code) => (write(file, who, 'hub', `exited with ${code}`), process.exit(code ?? 1)));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) tee(process.argv.slice(2));
