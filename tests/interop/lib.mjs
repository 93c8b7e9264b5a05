// What every run here shares: the servers, the hub in front of them, and a list of checks that were made.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const here = dirname(fileURLToPath(import.meta.url));
export const hubProgram = process.env.MCP_HUB ?? join(here, '../../target/debug/mcp-hub');

/** A scratch folder with what the servers need: files, a memory, a repository, a database. */
export function scratch() {
  const dir = mkdtempSync(join(tmpdir(), 'mcp-hub-interop-'));
  mkdirSync(join(dir, 'files'));
  writeFileSync(join(dir, 'files/note.txt'), 'a note on disk\n');
  const entity = { type: 'entity', name: 'lighthouse', entityType: 'building', observations: ['stands on a rock'] };
  writeFileSync(join(dir, 'memory.jsonl'), JSON.stringify(entity) + '\n');
  const repository = join(dir, 'repository');
  mkdirSync(repository);
  const git = (...args) => execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.com', ...args], { cwd: repository, stdio: 'pipe' });
  git('init', '-q');
  writeFileSync(join(repository, 'a.txt'), 'a\n');
  git('add', 'a.txt');
  git('commit', '-q', '-m', 'the only commit');
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

/** The published servers of servers.json, each with how a desktop host would `launch` it. `more` names values besides {dir}. */
export function entries(dir, more = {}) {
  const filled = Object.entries({ dir, ...more }).reduce((text, [name, value]) => text.replaceAll(`{${name}}`, value), readFileSync(join(here, 'servers.json'), 'utf8'));
  return JSON.parse(filled).map(({ npm, python, program, args, env, ...entry }) => {
    const command = npm ? join(here, 'node_modules/.bin', npm) : join(here, '.venv', python, 'bin', program);
    return { ...entry, launch: { command, args, env } };
  });
}

/** The six of them that every client is tried with. */
export const ofEveryClient = (dir) => entries(dir).filter(({ every }) => every);

export function writeConfig(dir, servers, name = 'servers') {
  const path = join(dir, `${name}.json`);
  writeFileSync(path, JSON.stringify({ mcpServers: servers }, null, 2));
  return path;
}

/** The environment of a hub whose state is its own, and that of others of the same name. */
export function hubEnv(dir, name = 'servers') {
  return { ...process.env, XDG_STATE_HOME: join(dir, name, 'state'), XDG_DATA_HOME: join(dir, name, 'data') };
}

/** A hub on a free port; resolves when it says that it is ready. */
export async function startHub(dir, servers, name = 'servers') {
  const config = writeConfig(dir, servers, name);
  const hub = spawn(hubProgram, ['--port', '0', '--config', config], { stdio: ['ignore', 'pipe', 'inherit'], env: hubEnv(dir, name) });
  const ended = new Promise((resolve) => hub.once('exit', (code, signal) => resolve(code ?? signal)));
  const port = await new Promise((resolve, reject) => {
    ended.then((code) => reject(new Error(`the hub ended with ${code} before it was ready`)));
    createInterface({ input: hub.stdout }).on('line', (line) => {
      const message = JSON.parse(line);
      if (message.status === 'ready') resolve(message.port);
    });
  });
  const stop = async () => {
    hub.kill('SIGTERM');
    return ended;
  };
  const url = (path) => `http://127.0.0.1:${port}${path}`;
  /** Every server has started and told its tools, of which each has some. */
  const settled = async () => {
    for (let tries = 0; tries < 120; tries += 1) {
      const answer = await (await fetch(url('/api/servers'))).json();
      const isKnown = ({ status, capabilities }) => !['connecting', 'disconnected'].includes(status) && capabilities.tools.length > 0;
      if (answer.servers.every(isKnown)) return;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    throw new Error('some servers did not start in a minute');
  };
  return { port, pid: hub.pid, config, stop, settled, url, ws: (path) => `ws://127.0.0.1:${port}${path}` };
}

/** Processes below `pid`, however deep. */
export function descendants(pid) {
  const table = execFileSync('ps', ['-eo', 'pid=,ppid='], { encoding: 'utf8' });
  const parents = table.trim().split('\n').map((line) => line.trim().split(/\s+/).map(Number));
  const found = [];
  for (let wave = [pid]; wave.length; ) {
    wave = parents.filter(([, parent]) => wave.includes(parent)).map(([child]) => child);
    found.push(...wave);
  }
  return found;
}

export class Checks {
  passed = 0;
  failed = 0;

  ok(condition, what) {
    if (condition) this.passed += 1;
    else {
      this.failed += 1;
      console.error(`FAILED: ${what}`);
    }
  }

  /** Runs one scenario; whatever it throws is one failure. */
  async scenario(what, run) {
    const before = this.failed;
    try {
      await run();
    } catch (error) {
      this.ok(false, `${what}: ${error?.stack ?? error}`);
    }
    console.log(`${this.failed === before ? 'ok  ' : 'FAIL'} ${what}`);
  }

  /** The tools that a client must see, and that each call answers what it should. */
  async sees(what, names, dir, separator, ask) {
    for (const { name: server, call: { tool, arguments: args, expect, tools_min: least } } of ofEveryClient(dir)) {
      const own = names.filter((name) => name.startsWith(server + separator));
      this.ok(own.length >= least, `${what}: ${server} lists ${own.length} tools, fewer than ${least}`);
      const text = JSON.stringify(await ask(`${server}${separator}${tool}`, args));
      this.ok(text.includes(expect), `${what}: ${server}.${tool} answered ${text.slice(0, 300)}`);
    }
  }
}
