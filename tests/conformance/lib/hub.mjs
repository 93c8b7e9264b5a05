// One hub on a free port, with a configuration and state of its own.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { tap } from './wire.mjs';

export const here = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const program = path.resolve(process.env.MCP_HUB ?? path.join(here, '../../target/debug/mcp-hub'));
const STARTING = ['connecting', 'disconnected'];

/**
 * Starts the hub with these `mcpServers` and waits until each was seen to start or fail. `url(server)` is where one server is
 * alone, with names unprefixed. `stop()` answers what the hub had to complain about: an exit code other than 0.
 * With `wire`, what is said on both sides of the hub is written to that file.
 */
export async function startHub(mcpServers, { wire } = {}) {
  const dir = mkdtempSync(path.join(tmpdir(), 'mcp-hub-conformance-'));
  const config = path.join(dir, 'servers.json');
  if (wire) mcpServers = Object.fromEntries(Object.entries(mcpServers).map(([name, entry]) => [name, teed(name, entry, wire)]));
  writeFileSync(config, JSON.stringify({ mcpServers }));
  const child = spawn(program, ['--port', '0', '--config', config], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, XDG_STATE_HOME: path.join(dir, 'state'), XDG_DATA_HOME: path.join(dir, 'data') },
  });
  let said = '';
  child.stderr.on('data', (data) => (said = (said + data).slice(-4000)));
  const ended = new Promise((resolve) => child.once('close', (code, signal) => resolve(code ?? signal)).once('error', resolve));
  const port = await new Promise((resolve, reject) => {
    ended.then((code) => reject(new Error(`the hub ended with ${code} before it was ready: ${said}`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const message = JSON.parse(line);
      if (message.status === 'ready') resolve(message.port);
    });
  });
  const base = `http://127.0.0.1:${port}`;
  for (let tries = 0; tries < 100; tries += 1) {
    const { servers } = await (await fetch(`${base}/api/servers`)).json();
    if (!servers.some(({ status }) => STARTING.includes(status))) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const front = wire ? await tap(base, wire, 'client', 'hub') : { base, close() {} };
  return {
    url: (server) => `${front.base}/${server}/mcp`,
    async stop() {
      front.close();
      child.kill('SIGTERM');
      const code = await ended;
      rmSync(dir, { recursive: true, force: true });
      const errors = said.split('\n').filter((line) => !/^\{"type":"(info|warn)"/.test(line));
      return code === 0 ? [] : [`the hub ended with ${code}: ${errors.join('\n').trim()}`];
    },
  };
}

const teed = (name, entry, file) =>
  entry.command ? { ...entry, command: process.execPath, args: [path.join(here, 'lib/wire.mjs'), file, name, entry.command, ...entry.args] } : entry;
