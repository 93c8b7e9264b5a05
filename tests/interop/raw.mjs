// MCP without an SDK: messages stay the text that they were, so that two answers can be compared byte by byte.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

const STATELESS = '2026-07-28';
const HANDSHAKE = '2025-11-25';
const INFO = { name: 'interop', version: '1.0.0' };
const META = {
  'io.modelcontextprotocol/protocolVersion': STATELESS,
  'io.modelcontextprotocol/clientInfo': INFO,
  'io.modelcontextprotocol/clientCapabilities': {},
};
const SECONDS = 60;

const params = (era, own) => (era === 'stateless' ? { ...own, _meta: META } : own);

/** Where the JSON value that begins at `at` ends. */
function end(text, at) {
  if (text[at] === '"') {
    for (at += 1; text[at] !== '"'; at += 1) if (text[at] === '\\') at += 1;
    return at + 1;
  }
  if (text[at] !== '{' && text[at] !== '[') return at + text.slice(at).match(/^[^,\]}\s]*/)[0].length;
  for (let depth = 0; ; ) {
    if (text[at] === '"') at = end(text, at);
    else {
      if ('{['.includes(text[at])) depth += 1;
      if ('}]'.includes(text[at])) depth -= 1;
      at += 1;
      if (depth === 0) return at;
    }
  }
}

function* values(text) {
  for (let at = 1; ; ) {
    at += text.slice(at).match(/^[\s,:]*/)[0].length;
    if (at >= text.length || '}]'.includes(text[at])) return;
    const stop = end(text, at);
    yield text.slice(at, stop);
    at = stop;
  }
}

/** The elements of a JSON array, as they are written. */
export const elements = (text) => [...values(text)];

/** {name: value} of a JSON object, values as they are written. */
export function members(text) {
  const all = [...values(text)];
  return Object.fromEntries(all.flatMap((name, index) => (index % 2 ? [] : [[JSON.parse(name), all[index + 1]]])));
}

/** A stdio server of its own, asked in one era. */
export class Direct {
  #waiting = new Map();
  #next = 0;

  /** `era`: "stateless" if the server speaks it, else "handshake". */
  static async start({ command, args, env }, era) {
    const direct = new Direct();
    direct.child = spawn(command, args ?? [], { stdio: ['pipe', 'pipe', 'ignore'], env: { ...process.env, ...env } });
    direct.child.stdin.on('error', () => {});
    direct.child.once('exit', (code) => direct.#waiting.forEach((answer) => answer(`{"error":{"message":"the server ended with ${code}"}}`)));
    createInterface({ input: direct.child.stdout }).on('line', (line) => {
      const { id, method } = JSON.parse(line);
      if (id !== undefined && method === undefined) direct.#waiting.get(id)?.(line);
    });
    direct.era = era;
    if (era === 'stateless') {
      const answer = members(await direct.ask('server/discover', {}));
      if (answer.result && JSON.parse(answer.result).supportedVersions?.includes(STATELESS)) return direct;
      direct.stop();
      return undefined;
    }
    await direct.ask('initialize', { protocolVersion: HANDSHAKE, capabilities: {}, clientInfo: INFO });
    direct.#say({ jsonrpc: '2.0', method: 'notifications/initialized' });
    return direct;
  }

  #say(message) {
    this.child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  /** The whole answer, as text. */
  ask(method, own) {
    const id = (this.#next += 1);
    const answered = new Promise((resolve, reject) => {
      this.#waiting.set(id, resolve);
      setTimeout(() => reject(new Error(`no answer to ${method} in ${SECONDS} s`)), SECONDS * 1000).unref();
    });
    this.#say({ jsonrpc: '2.0', id, method, params: params(this.era, own) });
    return answered;
  }

  stop() {
    this.child.kill();
  }
}

/** An endpoint of the hub, asked in one era over HTTP. */
export class Door {
  #next = 0;
  #headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

  static async open(url, era) {
    const door = new Door();
    Object.assign(door, { url, era });
    if (era === 'stateless') {
      door.#headers['mcp-protocol-version'] = STATELESS;
      return door;
    }
    const answer = await door.#post({ id: 0, method: 'initialize', params: { protocolVersion: HANDSHAKE, capabilities: {}, clientInfo: INFO } });
    Object.assign(door.#headers, { 'mcp-session-id': answer.headers.get('mcp-session-id'), 'mcp-protocol-version': HANDSHAKE });
    await answer.text();
    await door.#post({ method: 'notifications/initialized' });
    return door;
  }

  #post(message, headers = {}) {
    const signal = AbortSignal.timeout(SECONDS * 1000);
    return fetch(this.url, { method: 'POST', headers: { ...this.#headers, ...headers }, body: JSON.stringify({ jsonrpc: '2.0', ...message }), signal });
  }

  /** The whole answer, as text. */
  async ask(method, own) {
    const id = (this.#next += 1);
    const named = own.name ?? own.uri;
    const headers = this.era === 'stateless' ? { 'mcp-method': method, ...(named && { 'mcp-name': named }) } : {};
    const answer = await this.#post({ id, method, params: params(this.era, own) }, headers);
    const text = await answer.text();
    if (!answer.headers.get('content-type')?.startsWith('text/event-stream')) return text;
    const events = text.split('\n').filter((line) => line.startsWith('data: {')).map((line) => line.slice(6));
    return events.find((event) => JSON.parse(event).id === id);
  }
}

/** All items of a list, each as text; `undefined` where there is no such list. */
export async function list(peer, method, key) {
  const items = [];
  for (let cursor; ; ) {
    const { result } = members(await peer.ask(method, cursor ? { cursor } : {}));
    if (!result) return undefined;
    const page = members(result);
    items.push(...elements(page[key]));
    if (!page.nextCursor) return items;
    cursor = JSON.parse(page.nextCursor);
  }
}
