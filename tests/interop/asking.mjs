// Many clients call one server that asks them, at the same time: nobody sees another's question, and every answer comes back to the
// call that it was given for. The server knows one peer only, the hub.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { here, startHub } from './lib.mjs';

const CALLS = 8;
const MODES = ['legacy', '2026-07-28'];

/** {run}: makes its calls at once, and says what was wrong. */
async function typescript(name, mode, url) {
  const wrong = [];
  let questions = 0;
  const client = new Client({ name, version: '1.0.0' }, { capabilities: { elicitation: {} }, versionNegotiation: { mode: mode === 'legacy' ? mode : { pin: mode } } });
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    questions += 1;
    if (!params.message.startsWith(`${name}-`)) wrong.push(`${name} was asked ${params.message}`);
    // As long as a person would never be: so long that others ask meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 30));
    return { action: 'accept', content: { answer: `${params.message} by ${name}` } };
  });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  const call = async (number) => {
    const nonce = `${name}-${number}`;
    const result = await client.callTool({ name: 'ask', arguments: { nonce } }).catch((error) => error);
    const text = result.content?.[0]?.text ?? String(result);
    if (text !== `${nonce} accept ${nonce} by ${name}`) wrong.push(`${nonce} came back as ${text}`);
  };
  const run = async () => {
    await Promise.all(Array.from({ length: CALLS }, (_, number) => call(number)));
    if (questions !== CALLS) wrong.push(`${name} was asked ${questions} times, not ${CALLS}`);
    await client.close();
    return wrong;
  };
  return { run };
}

/** The same in a process of its own: it says `ready`, waits for a line, and then says what was wrong. */
async function python(name, mode, url) {
  const child = spawn(join(here, '.venv/client/bin/python'), [join(here, 'asking.py'), name, mode, url, String(CALLS)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await lines.next();
  const run = async () => {
    if (first.value !== 'ready') return [`${name} did not start: ${first.value}`];
    child.stdin.end('go\n');
    const wrong = [];
    for await (const line of lines) wrong.push(line);
    return wrong.at(-1) === 'done' ? wrong.slice(0, -1) : [...wrong, `${name} did not end well`];
  };
  return { run };
}

export async function asking(checks, dir) {
  const hub = await startHub(dir, { asking: { command: process.execPath, args: [join(here, 'asking-server.mjs')] } }, 'asking');
  await hub.settled();
  const url = hub.url('/asking/mcp');
  for (const modes of [['legacy'], ['2026-07-28'], MODES]) {
    await checks.scenario(`questions of one server to many clients, ${modes.join(' and ')}`, async () => {
      const starts = modes.flatMap((mode) => [0, 1].flatMap((number) => [[typescript, `ts${number}-${mode}`, mode], [python, `py${number}-${mode}`, mode]]));
      const clients = await Promise.all(starts.map(([start, name, mode]) => start(name, mode, url)));
      const wrong = (await Promise.all(clients.map(({ run }) => run()))).flat();
      checks.ok(wrong.length === 0, `${wrong.length} of ${clients.length * CALLS}: ${wrong.slice(0, 5).join('; ')}`);
    });
  }
  const code = await hub.stop();
  checks.ok(code === 0, `the hub ended with ${code}`);
}
