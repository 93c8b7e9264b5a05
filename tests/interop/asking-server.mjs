#!/usr/bin/env node
// A stdio server of 2025-11-25 with one tool, that asks whoever called it: `ask {nonce}` asks a question that is the nonce, and says
// both the nonce and what was answered. Its questions carry nothing else that would tell whose they are, and do not come in the order
// of the calls.
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { CallToolRequestSchema, ListToolsRequestSchema } from '@modelcontextprotocol/sdk/types.js';

const inputSchema = { type: 'object', properties: { nonce: { type: 'string' } }, required: ['nonce'] };
const requestedSchema = { type: 'object', properties: { answer: { type: 'string' } }, required: ['answer'] };

let calls = 0;
const server = new Server({ name: 'asking', version: '1.0.0' }, { capabilities: { tools: {} } });
server.setRequestHandler(ListToolsRequestSchema, () => ({ tools: [{ name: 'ask', description: 'Asks', inputSchema }] }));
server.setRequestHandler(CallToolRequestSchema, async ({ params }) => {
  const { nonce } = params.arguments;
  calls += 1;
  await new Promise((resolve) => setTimeout(resolve, 60 - 9 * (calls % 7)));
  const { action, content } = await server.elicitInput({ message: nonce, requestedSchema });
  return { content: [{ type: 'text', text: `${nonce} ${action} ${content?.answer}` }] };
});
await server.connect(new StdioServerTransport());
