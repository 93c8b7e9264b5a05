#!/usr/bin/env node
// The command that the suite's client scenarios run. The suite starts a test server, puts its URL last on the command line and
// names the scenario in MCP_CONFORMANCE_SCENARIO; here a hub is put in front of that URL and asked for what the scenario wants, so
// that the suite judges the hub. With DIRECT set there is no hub: the SDK's own client is judged.
import { appendFileSync } from 'node:fs';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { startHub } from './lib/hub.mjs';
import { tap } from './lib/wire.mjs';

const { MCP_CONFORMANCE_SCENARIO: scenario, CONFORMANCE_WIRE: wire, CONFORMANCE_COMPLAINTS: complaints, DIRECT } = process.env;
const version = process.env.MCP_CONFORMANCE_PROTOCOL_VERSION ?? '2025-11-25';
const context = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const mode = version >= '2026' ? { pin: version } : 'legacy';

const actions = {
  async tools_call(c) {
    const { tools } = await c.listTools();
    for (const t of tools) await c.callTool({ name: t.name, arguments: { a: 2, b: 3 } });
  },
  async initialize(c) {
    await c.listTools();
  },
  async 'elicitation-sep1034-client-defaults'(c) {
    await c.listTools();
    await c.callTool({ name: 'test_client_elicitation_defaults', arguments: {} });
  },
  async 'sse-retry'(c) {
    await c.listTools();
    await c.callTool({ name: 'test_reconnection', arguments: {} });
  },
  async 'sep-2322-client-request-state'(c) {
    await c.listTools();
    await Promise.all(['test_mrtr_echo_state', 'test_mrtr_unrelated'].map((name) => c.callTool({ name, arguments: {} })));
    await c.callTool({ name: 'test_mrtr_no_state', arguments: {} });
    // The SDK's own client refuses a result without resultType; what counts is that nobody retries.
    await c.callTool({ name: 'test_mrtr_no_result_type', arguments: {} }).catch((e) => console.error(String(e)));
  },
  async 'http-standard-headers'(c) {
    const { tools } = await c.listTools();
    for (const t of tools) await c.callTool({ name: t.name, arguments: {} });
    const { resources } = await c.listResources();
    for (const r of resources) await c.readResource({ uri: r.uri });
    const { prompts } = await c.listPrompts();
    for (const p of prompts) await c.getPrompt({ name: p.name });
  },
  async 'http-custom-headers'(c) {
    await c.listTools();
    for (const call of context.toolCalls ?? []) await c.callTool({ name: call.name, arguments: call.arguments });
  },
  async 'http-invalid-tool-headers'(c) {
    const { tools } = await c.listTools();
    for (const t of tools) await c.callTool({ name: t.name, arguments: { region: 'eu' } }).catch((e) => console.error(String(e)));
  },
  async 'json-schema-ref-no-deref'(c) {
    await c.listTools();
  },
  async 'json-schema-2020-12-preservation'(c) {
    const { tools } = await c.listTools();
    const schema = tools.find((t) => t.name === 'json_schema_2020_12_tool').inputSchema;
    await c.callTool({ name: 'json_schema_echo', arguments: { schema } });
  },
  async 'request-metadata'(c) {
    await c.listTools().catch((e) => console.error(String(e)));
  },
};

const target = new URL(process.argv.at(-1));
const back = wire ? await tap(target.origin, wire, 'hub', 'suite') : { base: target.origin, close() {} };
const url = `${back.base}${target.pathname}`;
const hub = DIRECT ? { url: () => url, stop: () => [] } : await startHub({ up: { type: 'http', url } }, { wire });
try {
  const act = actions[scenario];
  if (!act) throw new Error(`no action for scenario ${scenario}`);
  const client = new Client(
    { name: 'conformance-client', version: '1.0.0' },
    {
      capabilities: { elicitation: { form: { applyDefaults: true } }, sampling: {}, roots: {} },
      versionNegotiation: { mode },
    },
  );
  client.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: {} }));
  client.setRequestHandler('roots/list', () => ({ roots: [] }));
  await client.connect(new StreamableHTTPClientTransport(new URL(hub.url('up'))));
  await act(client);
  await client.close();
} finally {
  for (const complaint of await hub.stop()) appendFileSync(complaints, `${JSON.stringify(`${scenario}: ${complaint}`)}\n`);
  back.close();
}
