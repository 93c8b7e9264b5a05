#!/usr/bin/env node
// Published clients, in every era that each speaks, over HTTP and stdio, against six published servers behind one hub; and a
// WebSocket client on both sockets. Ends with `N passed, N failed`.
import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { Client as OldClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport as OldStdioTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport as OldHttpTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { asking } from './asking.mjs';
import { Checks, descendants, here, hubEnv, hubProgram, ofEveryClient, scratch, startHub } from './lib.mjs';
import { appSocket, mcpSocket } from './sockets.mjs';
import { whole } from './whole.mjs';

const checks = new Checks();
const { dir, remove } = scratch();
const hub = await startHub(dir, Object.fromEntries(ofEveryClient(dir).map(({ name, launch }) => [name, launch])));
const stdio = { command: hubProgram, args: ['stdio', '--config', hub.config], env: hubEnv(dir) };
const me = { name: 'interop', version: '1.0.0' };

/** With any client of the TypeScript SDKs: list, call each server, hear no error. */
async function throughSdk(what, client, transport, separator) {
  await client.connect(transport);
  try {
    const { tools } = await listed(client);
    await checks.sees(what, tools.map((tool) => tool.name), dir, separator, (name, args) => client.callTool({ name, arguments: args }));
    const missing = await client.callTool({ name: 'nobody.nothing', arguments: {} }).then(() => null, (error) => error);
    checks.ok(missing?.code === -32602, `${what}: an unknown tool answered ${missing}`);
  } finally {
    await client.close();
  }
}

/** The first list of a fresh hub may be short: servers that are still starting are announced later. */
async function listed(client) {
  for (let tries = 0; ; tries += 1) {
    const list = await client.listTools();
    const servers = new Set(list.tools.map((tool) => tool.name.split(/\.|__/)[0]));
    if (servers.size >= 6 || tries >= 60) return list;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

for (const mode of ['legacy', 'auto', { pin: '2026-07-28' }]) {
  const name = typeof mode === 'string' ? mode : mode.pin;
  const client = () => new Client(me, { versionNegotiation: { mode } });
  await checks.scenario(`TypeScript v2, ${name}, HTTP`, () =>
    throughSdk(`v2 ${name} http`, client(), new StreamableHTTPClientTransport(new URL(hub.url('/mcp'))), '.'));
  await checks.scenario(`TypeScript v2, ${name}, stdio`, () => throughSdk(`v2 ${name} stdio`, client(), new StdioClientTransport(stdio), '__'));
}
await checks.scenario('TypeScript v1, HTTP', () => throughSdk('v1 http', new OldClient(me), new OldHttpTransport(new URL(hub.url('/mcp'))), '.'));
await checks.scenario('TypeScript v1, stdio', () => throughSdk('v1 stdio', new OldClient(me), new OldStdioTransport(stdio), '__'));

await checks.scenario('WebSocket, MCP', () => mcpSocket(checks, hub, dir));
await checks.scenario('WebSocket, app', () => appSocket(checks, hub, dir));

await checks.scenario('Python', async () => {
  const python = join(here, '.venv/client/bin/python');
  const run = promisify(execFile)(python, [join(here, 'client.py'), hub.url('/mcp'), dir, hubProgram, hub.config], { env: hubEnv(dir) });
  const { stdout } = await run.catch((error) => error);
  process.stdout.write(stdout ?? '');
  const last = (stdout ?? '').trim().split('\n').at(-1) ?? '';
  const [, passed, failed] = last.match(/^(\d+) passed, (\d+) failed$/) ?? [null, 0, 1];
  checks.passed += Number(passed);
  checks.failed += Number(failed);
});

await checks.scenario('no process is left', async () => {
  const children = descendants(hub.pid);
  checks.ok(children.length >= 6, `six servers run as ${children.length} processes`);
  const code = await hub.stop();
  checks.ok(code === 0, `the hub ended with ${code}`);
  const alive = children.filter((pid) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  });
  checks.ok(alive.length === 0, `still running: ${alive}`);
});

const page = createServer((_, answer) => answer.writeHead(200, { 'content-type': 'text/html' }).end('<html><body><p>a page on loopback</p></body></html>'));
await new Promise((resolve) => page.listen(0, '127.0.0.1', resolve));
await whole(checks, dir, `http://127.0.0.1:${page.address().port}/`);
page.close();

await asking(checks, dir);

remove();
console.log(`${checks.passed} passed, ${checks.failed} failed`);
process.exit(checks.failed ? 1 : 0);
