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

/** Six published servers, as a desktop host would write them down. */
export function writeConfig(dir) {
  const node = (name) => join(here, 'node_modules/.bin', name);
  const python = (venv, name) => join(here, '.venv', venv, 'bin', name);
  const mcpServers = {
    everything: { command: node('mcp-server-everything'), args: ['stdio'] },
    filesystem: { command: node('mcp-server-filesystem'), args: [join(dir, 'files')] },
    memory: { command: node('mcp-server-memory'), env: { MEMORY_FILE_PATH: join(dir, 'memory.jsonl') } },
    time: { command: python('servers', 'mcp-server-time') },
    git: { command: python('servers', 'mcp-server-git'), args: ['--repository', join(dir, 'repository')] },
    sqlite: { command: python('sqlite', 'mcp-server-sqlite'), args: ['--db-path', join(dir, 'data.db')] },
  };
  const path = join(dir, 'servers.json');
  writeFileSync(path, JSON.stringify({ mcpServers }, null, 2));
  return path;
}

export function calls(dir) {
  return JSON.parse(readFileSync(join(here, 'calls.json'), 'utf8').replaceAll('{dir}', dir));
}

/** The environment of a hub whose state is its own. */
export function hubEnv(dir) {
  return { ...process.env, XDG_STATE_HOME: join(dir, 'state'), XDG_DATA_HOME: join(dir, 'data') };
}

/** A hub on a free port; resolves when it says that it is ready. */
export async function startHub(dir, config) {
  const hub = spawn(hubProgram, ['--port', '0', '--config', config], { stdio: ['ignore', 'pipe', 'inherit'], env: hubEnv(dir) });
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
  return { port, pid: hub.pid, stop, url: (path) => `http://127.0.0.1:${port}${path}`, ws: (path) => `ws://127.0.0.1:${port}${path}` };
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
  async sees(what, names, dir, separator, call) {
    for (const { server, tool, arguments: args, expect, tools_min: least } of calls(dir)) {
      const own = names.filter((name) => name.startsWith(server + separator));
      this.ok(own.length >= least, `${what}: ${server} lists ${own.length} tools, fewer than ${least}`);
      const text = JSON.stringify(await call(`${server}${separator}${tool}`, args));
      this.ok(text.includes(expect), `${what}: ${server}.${tool} answered ${text.slice(0, 300)}`);
    }
  }
}
