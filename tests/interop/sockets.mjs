// The two WebSocket doors, with a client that knows nothing of MCP.
import WebSocket from 'ws';

/** Frames as they come; `next` waits for the first one that fits, whenever it came. */
async function open(url, protocols) {
  const socket = new WebSocket(url, protocols);
  const frames = [];
  const waiting = [];
  socket.on('message', (data) => {
    frames.push(JSON.parse(data.toString()));
    for (const wake of waiting.splice(0)) wake();
  });
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
  const next = async (fits) => {
    for (;;) {
      const at = frames.findIndex(fits);
      if (at >= 0) return frames.splice(at, 1)[0];
      await new Promise((resolve) => waiting.push(resolve));
    }
  };
  const close = () => new Promise((resolve) => socket.once('close', resolve).close());
  return { socket, next, close };
}

/** Both eras on one socket. */
export async function mcpSocket(checks, hub, dir) {
  const { socket, next, close } = await open(hub.ws('/ws/mcp'), 'mcp');
  checks.ok(socket.protocol === 'mcp', `the subprotocol is ${socket.protocol}`);
  let id = 0;
  const ask = (method, params) => {
    id += 1;
    const own = id;
    socket.send(JSON.stringify({ jsonrpc: '2.0', id: own, method, params }));
    return next((frame) => frame.id === own);
  };
  const meta = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} };
  const modern = await ask('tools/list', { _meta: meta });
  checks.ok(modern.result?.resultType === 'complete', `2026-07-28 lists over the socket: ${JSON.stringify(modern).slice(0, 200)}`);
  const names = modern.result.tools.map((tool) => tool.name);
  await checks.sees('ws 2026-07-28', names, dir, '.', async (name, args) => (await ask('tools/call', { name, arguments: args, _meta: meta })).result);

  const hello = await ask('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'ws', version: '1' } });
  checks.ok(hello.result?.protocolVersion === '2025-06-18', 'a handshake on the same socket');
  socket.send(JSON.stringify({ jsonrpc: '2.0', method: 'notifications/initialized' }));
  await checks.sees('ws 2025-06-18', names, dir, '.', async (name, args) => (await ask('tools/call', { name, arguments: args })).result);
  await close();
}

/** The envelope of app sockets: calls side by side, answers by their correlation id. */
export async function appSocket(checks, hub, dir) {
  const { socket, next, close } = await open(hub.ws('/ws/app/demo/default'));
  const state = await next((frame) => frame.type === 'app_state');
  checks.ok(state.data.app_id === 'demo' && state.data.tenant_id === 'default', 'app_state names app and tenant');
  let number = 0;
  await checks.sees('app', state.data.available_tools, dir, '.', async (name, args) => {
    number += 1;
    const message_id = `call-${number}`;
    socket.send(JSON.stringify({ type: 'tool_call', message_id, data: { tool_name: name, arguments: args } }));
    const answer = await next((frame) => frame.data?.correlation_id === message_id);
    checks.ok(answer.type === 'tool_result', `app: ${name} answered ${JSON.stringify(answer).slice(0, 200)}`);
    return answer.data.result;
  });
  socket.send(JSON.stringify({ type: 'ping', data: {} }));
  await next((frame) => frame.type === 'pong');
  socket.send('not json');
  await next((frame) => frame.type === 'error');
  await close();
}
