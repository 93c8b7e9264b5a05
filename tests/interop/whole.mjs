// All published servers of servers.json behind one hub, at once: what each lists, answers, reads and prompts is what it does when it
// is asked directly, byte by byte but for what the hub must publish under another name.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { isDeepStrictEqual } from 'node:util';

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { Direct, Door, list, members, elements } from './raw.mjs';
import { entries, startHub } from './lib.mjs';

const LISTS = [['tools/list', 'tools'], ['prompts/list', 'prompts'], ['resources/list', 'resources'], ['resources/templates/list', 'resourceTemplates']];
/** What the hub maps, or has for a revision only. */
const OWN = ['name', 'uri', 'uriTemplate', '_meta', 'execution', 'resultType', 'ttlMs', 'cacheScope'];

const publishedName = (server, name) => `${server}.${name}`;
function publishedUri(server, uri) {
  if (/^https?:/.test(uri)) return uri;
  const scheme = server.toLowerCase().replaceAll('_', '-');
  return uri.startsWith('ui://') ? `ui://${scheme}/${uri.slice(5)}` : `hub+${scheme}:${uri}`;
}

/** As text, without what may differ. */
function rest(item) {
  const { error, result, ...own } = members(item);
  if (error) return `error ${members(error).code} ${members(error).message}`;
  const kept = Object.entries(result ? members(result) : own).filter(([name]) => !OWN.includes(name));
  return kept.map(([name, value]) => `${name}:${name === 'contents' ? elements(value).map(rest) : value}`).join('\n');
}

/** The first line in which they differ. */
function difference(got, want) {
  const [lines, others] = [got, want].map((text) => text.split('\n'));
  const at = others.findIndex((line, index) => line !== lines[index]);
  return `${lines[Math.max(at, 0)]?.slice(0, 300)} <> ${others[at]?.slice(0, 300)}`;
}

/** What a server says in one era when nobody stands between: lists, and answers to the requests of `asked`. */
async function directly(entry, era) {
  const direct = await Direct.start(entry.launch, era);
  if (!direct) return undefined;
  try {
    const lists = {};
    for (const [method, key] of LISTS) lists[key] = (await list(direct, method, key)) ?? [];
    const answers = [];
    for (const { method, params } of asked(entry, lists)) answers.push(await direct.ask(method, params));
    return { lists, answers };
  } finally {
    direct.stop();
  }
}

/** One meaningful call, one prompt where there are some, every resource. */
function asked({ call, prompt }, { resources }) {
  const reads = resources.map((resource) => ({ method: 'resources/read', params: { uri: JSON.parse(members(resource).uri) } }));
  return [
    { method: 'tools/call', params: { name: call.tool, arguments: call.arguments } },
    ...(prompt ? [{ method: 'prompts/get', params: prompt }] : []),
    ...reads,
  ];
}

const published = (server, { name, uri, ...more }) => ({ ...more, ...(name && { name: publishedName(server, name) }), ...(uri && { uri: publishedUri(server, uri) }) });

/** A server that speaks both eras may write the same thing in two ways, and the hub asks it in either. */
const alike = (text, truths) => (truths.includes(text) ? '' : difference(text, truths[0]));

/** A raw client of one era sees what it would see of each server alone. */
async function compare(checks, era, hub, truth) {
  const what = (...words) => `${era}: ${words.join(' ')}`;
  const door = await Door.open(hub.url('/mcp'), era);
  for (const [method, key] of LISTS) {
    const all = (await list(door, method, key)) ?? [];
    const byName = new Map(all.map((item) => [JSON.parse(members(item).name), item]));
    const byUri = new Map(all.map((item) => [JSON.parse(members(item).uri ?? members(item).uriTemplate ?? '""'), item]));
    let expected = 0;
    for (const [server, { sides }] of truth) {
      for (const [index, item] of sides[0].lists[key].entries()) {
        expected += 1;
        const { name, uri, uriTemplate } = members(item);
        const address = uri ?? uriTemplate;
        const shown = address ? byUri.get(publishedUri(server, JSON.parse(address))) : byName.get(publishedName(server, JSON.parse(name)));
        const wrong = shown ? alike(rest(shown), sides.map(({ lists }) => rest(lists[key][index]))) : 'is missing';
        checks.ok(!wrong, what(server, method, name, wrong));
      }
    }
    checks.ok(all.length === expected, what(method, `has ${all.length} items, not ${expected}`));
  }
  await Promise.all([...truth].map(async ([server, { sides, entry }]) => {
    const steady = (text) => (entry.call.varies ? text.replace(new RegExp(entry.call.varies, 'g'), '') : text);
    for (const [index, { method, params }] of asked(entry, sides[0].lists).entries()) {
      const answer = await door.ask(method, published(server, params));
      const truths = sides.map(({ answers }) => steady(rest(answers[index])));
      const wrong = alike(steady(rest(answer)), truths);
      checks.ok(!wrong, what(server, method, params.name ?? params.uri, wrong));
      if (index === 0) checks.ok(truths[0].includes(entry.call.expect), what(server, 'directly answers', truths[0].slice(0, 300)));
    }
  }));
}

/** The TypeScript SDK's client sees the same, as far as it shows what came. */
async function throughSdk(checks, mode, hub, truth) {
  const client = new Client({ name: 'interop', version: '1.0.0' }, { versionNegotiation: { mode } });
  await client.connect(new StreamableHTTPClientTransport(new URL(hub.url('/mcp'))));
  try {
    const listed = { tools: await client.listTools(), prompts: await client.listPrompts(), resources: await client.listResources() };
    for (const [server, { sides: [{ lists, answers }], entry }] of truth) {
      for (const key of Object.keys(listed)) {
        for (const item of lists[key].map(JSON.parse)) {
          // The SDK leaves out annotations that it does not know.
          const { name, uri, _meta, execution, annotations, ...same } = item;
          const shown = listed[key][key].find((other) => (uri ? other.uri === publishedUri(server, uri) : other.name === publishedName(server, name)));
          const seen = shown && Object.fromEntries(Object.keys(same).map((member) => [member, shown[member]]));
          checks.ok(isDeepStrictEqual(seen, same), `TypeScript, ${mode.pin ?? mode}: ${server} ${key} ${name}: ${JSON.stringify(seen)}`);
        }
      }
      const call = { name: publishedName(server, entry.call.tool), arguments: entry.call.arguments };
      const got = await client.callTool(call).catch((error) => ({ error: error.message }));
      const want = JSON.parse(answers[0]);
      const same = want.error ? got.error?.includes(want.error.message) : entry.call.varies || isDeepStrictEqual(got.content, want.result.content);
      checks.ok(same, `TypeScript, ${mode.pin ?? mode}: ${server} ${entry.call.tool} answered ${JSON.stringify(got).slice(0, 300)}`);
    }
  } finally {
    await client.close();
  }
}

/** A server that also listens: on Streamable HTTP, and on HTTP with SSE as in 2024-11-05. */
const LISTENING = [['everything-http', 'streamableHttp', '/mcp'], ['everything-sse', 'sse', '/sse']];

/** One of them, of the program that `entry` launches: {launch, stop}. */
async function listening(entry, argument, path) {
  const port = await new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
  const child = spawn(entry.launch.command, [argument], { stdio: 'ignore', env: { ...process.env, PORT: String(port) } });
  const url = `http://127.0.0.1:${port}${path}`;
  for (let tries = 0; tries < 300; tries += 1) {
    // Whatever it answers, it listens; an event stream is let go of.
    const leave = new AbortController();
    const answer = await fetch(url, { signal: leave.signal }).catch(() => undefined);
    leave.abort();
    if (answer) return { launch: { type: path === '/sse' ? 'sse' : 'http', url }, stop: () => child.kill() };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${argument} does not listen`);
}

/** `page`: an address on loopback that the fetching server can read. */
export async function whole(checks, dir, page) {
  const all = entries(dir, { page });
  const twin = all.find(({ name }) => name === 'everything');
  const remote = await Promise.all(LISTENING.map(async ([name, argument, path]) => ({ name, ...(await listening(twin, argument, path)) })));
  const hub = await startHub(dir, Object.fromEntries([...all, ...remote].map(({ name, launch }) => [name, launch])), 'whole');
  const truth = new Map();
  try {
    // Two at a time: each is a program that starts.
    const queue = [...all];
    const worker = async () => {
      for (let entry = queue.shift(); entry; entry = queue.shift()) {
        const sides = [await directly(entry, 'handshake'), await directly(entry, 'stateless')];
        truth.set(entry.name, { entry, sides: sides.filter(Boolean) });
      }
    };
    await Promise.all([worker(), worker()]);
    for (const { name } of remote) truth.set(name, truth.get(twin.name));
    await hub.settled();
    for (const era of ['handshake', 'stateless']) {
      await checks.scenario(`${truth.size} servers at once, raw, ${era}`, () => compare(checks, era, hub, truth));
    }
    for (const mode of ['legacy', { pin: '2026-07-28' }]) {
      await checks.scenario(`${truth.size} servers at once, TypeScript v2, ${mode.pin ?? mode}`, () => throughSdk(checks, mode, hub, truth));
    }
  } finally {
    for (const { stop } of remote) stop();
    const code = await hub.stop();
    checks.ok(code === 0, `the hub ended with ${code}`);
  }
}
