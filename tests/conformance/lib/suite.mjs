// Runs one set of the suite's scenarios, counts what each of them says, and judges it against what the references do by themselves.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { here } from './hub.mjs';

const modules = path.join(here, 'node_modules');

/** The suites need Node 22 or later; an older one gets the binary from npm. */
function node22() {
  if (Number(process.versions.node.split('.')[0]) >= 22) return process.execPath;
  const bin = path.join(modules, `node-${process.platform}-${process.arch}`, 'bin', 'node');
  if (!existsSync(bin)) throw new Error('Node 22 or later is needed');
  return bin;
}

/** Server sets: [release of the suite, its arguments, scenarios if not all]. */
export const SERVER_SETS = {
  '0.1-2025-06-18': ['conformance-0.1', ['--suite', 'all', '--spec-version', '2025-06-18']],
  '0.1-2025-11-25': ['conformance-0.1', ['--suite', 'all', '--spec-version', '2025-11-25']],
  '2025-03-26': ['conformance-0.2', ['--suite', 'all', '--spec-version', '2025-03-26']],
  '2025-06-18': ['conformance-0.2', ['--suite', 'all', '--spec-version', '2025-06-18']],
  '2025-11-25': ['conformance-0.2', ['--requirements', '2025-11-25']],
  '2026-07-28': ['conformance-0.2', ['--requirements', '2026-07-28']],
  skills: ['conformance-0.2', [], ['sep-2640-skills-directory', 'sep-2640-skills-enumeration', 'sep-2640-skills-manifest']],
};
/** Client scenarios by revision: all but `auth/*`. */
export const CLIENT_SETS = {
  '2025-11-25': ['initialize', 'tools_call', 'elicitation-sep1034-client-defaults', 'sse-retry', 'json-schema-2020-12-preservation'],
  '2026-07-28': ['tools_call', 'request-metadata', 'sep-2322-client-request-state', 'http-standard-headers', 'http-custom-headers',
    'http-invalid-tool-headers', 'json-schema-ref-no-deref', 'json-schema-2020-12-preservation'],
};

/** These have milliseconds to answer in, or measure them; a new process of a server may take longer while all cores are busy. */
export const TIMED = ['server-stateless', 'sse-retry'];

/** What the suite prints; killed after `seconds`. */
const run = (release, args, seconds, env = {}) =>
  new Promise((resolve) => {
    const child = spawn(node22(), [path.join(modules, release, 'dist', 'index.js'), ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    child.stdout.on('data', (data) => (out += data));
    child.stderr.on('data', (data) => (out += data));
    const timer = setTimeout(() => child.kill('SIGKILL'), seconds * 1000);
    child.on('close', () => (clearTimeout(timer), resolve(out)));
  });

async function collected(runIn) {
  const dir = mkdtempSync(path.join(tmpdir(), 'conformance-'));
  try {
    const out = await runIn(dir);
    return { results: collect(dir), out };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** {results: {scenario: counts}, out: what the suite printed}, of a server at `url`; `only` limits the scenarios. */
export const runServerSet = (set, url, only) =>
  collected(async (dir) => {
    const [release, args, own] = SERVER_SETS[set];
    const scenarios = only ?? own;
    const ask = (...more) => run(release, ['server', '--url', url, ...more, '-o', dir], 300);
    if (!scenarios) return ask(...args);
    const version = own || release === 'conformance-0.1' ? [] : ['--spec-version', set];
    let out = '';
    for (const scenario of scenarios) out += await ask('--scenario', scenario, ...version);
    return out;
  });

/** The same of the client that `command` runs. */
export const runClientSet = (set, command, only, env) =>
  collected(async (dir) => {
    let out = '';
    for (const scenario of only ?? CLIENT_SETS[set]) {
      out += await run('conformance-0.2', ['client', '--command', command, '--scenario', scenario, '--spec-version', set, '-o', dir], 60, env);
    }
    return out;
  });

const STATUS = { SUCCESS: 'passed', FAILURE: 'failed', WARNING: 'warnings', SKIPPED: 'skipped' };

/** {scenario: {passed, failed, warnings, skipped, not: [[status, check, message]]}} */
function collect(dir) {
  const found = {};
  for (const entry of readdirSync(dir, { recursive: true }).map(String).filter((file) => path.basename(file) === 'checks.json').sort()) {
    // <server|client>-<scenario>-<time>; a scenario's name may hold a slash
    const scenario = path.dirname(entry).replace(/^(server|client)-/, '').replace(/-\d{4}-\d\d-\d\dT[\d-]+Z?$/, '');
    const sum = { passed: 0, failed: 0, warnings: 0, skipped: 0, not: [] };
    for (const check of JSON.parse(readFileSync(path.join(dir, entry), 'utf8'))) {
      if (check.status in STATUS) sum[STATUS[check.status]] += 1;
      if (['FAILURE', 'WARNING'].includes(check.status)) sum.not.push([check.status, check.id, check.errorMessage ?? check.details?.message ?? '']);
    }
    found[scenario] = sum;
  }
  return found;
}

/** In these a check comes and goes with what a server may choose: sessions or none, JSON or events, a stream that it can close. */
const LOOSE = ['server-initialize', 'server-session-lifecycle', 'server-sse-multiple-streams', 'server-sse-polling'];

/**
 * 2026-07-28 in front of a server of the handshake era: how many checks of a scenario may fail, since only the server itself could
 * pass them. It would have to choose the input's key, know one request's capabilities, or have tasks: of those scenarios the checks
 * that ask for no task must pass.
 */
const ACROSS = {
  'server-stateless': 2,
  'input-required-result-basic-elicitation': 1,
  'input-required-result-capability-check': 1,
  'tasks-capability-negotiation': 3,
  'tasks-dispatch-and-envelope': 5,
  'tasks-lifecycle': 8,
  'tasks-mrtr-composition': 1,
  'tasks-mrtr-input': 3,
  'tasks-request-headers': 3,
  'tasks-request-state-removal': 1,
  'tasks-required-task-error': 1,
  'tasks-wire-fields': 3,
};
const mayFail = (scenario) => ACROSS[scenario] ?? 0;

/** Against the reference by itself: scenarios that do worse, or are gone, as {scenario: why}. */
export function worse(results, baseline, only) {
  const bad = {};
  for (const [scenario, want] of Object.entries(baseline)) {
    if (only && !only.includes(scenario)) continue;
    const got = results[scenario];
    if (!got) bad[scenario] = 'did not run';
    else if (got.failed > want.failed || (got.passed < want.passed && !LOOSE.includes(scenario))) {
      bad[scenario] = `${got.passed} passed, ${got.failed} failed; the reference alone: ${want.passed} and ${want.failed}`;
    }
  }
  return bad;
}

/** Across the eras, where there is no reference alone: it passes these scenarios but for what `ACROSS` allows. */
export function worseAcross(results, baseline, only) {
  const bad = {};
  for (const scenario of Object.keys(baseline)) {
    if (only && !only.includes(scenario)) continue;
    const got = results[scenario];
    if (!got) bad[scenario] = 'did not run';
    else if (got.failed > mayFail(scenario)) bad[scenario] = `${got.failed} failed, ${mayFail(scenario)} may`;
  }
  return bad;
}

/** Client scenarios must pass whole. */
export function worseClient(results, scenarios) {
  const wrong = scenarios.filter((scenario) => !results[scenario]?.passed || results[scenario].failed);
  return Object.fromEntries(wrong.map((scenario) => [scenario, results[scenario] ? `${results[scenario].failed} failed` : 'did not run']));
}

/** The lines of a set's table; `bad` scenarios are marked. */
export function table(title, results, bad) {
  const lines = [`\n== ${title}`];
  for (const scenario of new Set([...Object.keys(results), ...Object.keys(bad)])) {
    const { passed, failed, warnings, skipped, not } = results[scenario] ?? { passed: 0, failed: 0, not: [] };
    const more = [warnings && `${warnings} warned`, skipped && `${skipped} skipped`].filter(Boolean).join(', ');
    const verdict = bad[scenario] ? 'FAIL' : failed ? 'may ' : 'ok  ';
    lines.push(`${verdict} ${scenario}: ${passed} passed, ${failed} failed${more && ` (${more})`}${bad[scenario] ? ` [${bad[scenario]}]` : ''}`);
    for (const [status, id, message] of not) lines.push(`       ${status} ${id}: ${String(message).slice(0, 300)}`);
  }
  return lines.join('\n');
}
