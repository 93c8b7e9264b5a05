#!/usr/bin/env node
// Runs the conformance suites through the hub. For every set a hub of its own is started in front of one of the reference servers;
// for the client scenarios one stands in front of the suite's own server, each time.
//
//   run [--set NAME,…] [--only SCENARIO,…] [--jobs N] [--wire FILE] [--list]
//
// --set takes the names that --list shows, or the part before or after the slash. --wire writes to FILE what is said on both sides
// of the hub. Ends with `N passed, N failed`, counting scenarios; exits 1 if one did worse than the reference does by itself.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { here, startHub } from './lib/hub.mjs';
import { CLIENT_SETS, TIMED, runClientSet, runServerSet, table, worse, worseAcross, worseClient } from './lib/suite.mjs';

const { values: options } = parseArgs({
  options: { set: { type: 'string' }, only: { type: 'string' }, jobs: { type: 'string' }, wire: { type: 'string' }, list: { type: 'boolean' } },
});
const only = options.only?.split(',');
const baseline = JSON.parse(readFileSync(path.join(here, 'baseline.json'), 'utf8'));
const node = (file) => ({ command: process.execPath, args: [path.join(here, file)] });

/** [name, server behind the hub, set, verdict on the results]; the longest first. */
const serverSets = [
  ...Object.entries(baseline.dual).map(([set, want]) => [`modern/${set}`, 'modern', set, (results) => worse(results, want, only)]),
  ['legacy/2026-07-28', 'legacy', '2026-07-28', (results) => worseAcross(results, baseline.modern['2026-07-28'], only)],
  ...Object.entries(baseline.legacy).reverse().map(([set, want]) => [`legacy/${set}`, 'legacy', set, (results) => worse(results, want, only)]),
  ...Object.entries(baseline.skills).map(([set, want]) => ['skills', 'skills', set, (results) => worse(results, want, only)]),
];

async function throughHub(server, set, only) {
  const hub = await startHub({ [server]: node(`${server}-server.mjs`) }, options);
  let ran;
  try {
    ran = await runServerSet(set, hub.url(server), only);
  } finally {
    ran = { ...ran, complaints: await hub.stop() };
  }
  return ran;
}

async function asClient(set, only) {
  const complaints = path.join(tmpdir(), `conformance-complaints-${process.pid}-${set}`);
  const env = { CONFORMANCE_COMPLAINTS: complaints, ...(options.wire && { CONFORMANCE_WIRE: options.wire }) };
  const command = [process.execPath, path.join(here, 'client.mjs')].map((word) => JSON.stringify(word)).join(' ');
  const ran = await runClientSet(set, command, only, env);
  const said = existsSync(complaints) ? readFileSync(complaints, 'utf8').trim().split('\n').map((line) => JSON.parse(line)) : [];
  rmSync(complaints, { force: true });
  return { ...ran, complaints: said };
}

const jobs = [
  ...serverSets.map(([name, server, set, judge]) => ({ name, judge, run: (only) => throughHub(server, set, only) })),
  ...Object.entries(CLIENT_SETS).map(([set, scenarios]) => ({
    name: `client/${set}`,
    judge: (results) => worseClient(results, only ?? scenarios),
    run: (only) => asClient(set, only),
  })),
];
const wanted = options.set?.split(',');
const chosen = jobs.filter(({ name }) => !wanted || wanted.some((want) => name === want || name.split('/').includes(want)));
if (options.list || !chosen.length) {
  console.log(jobs.map(({ name }) => name).join('\n'));
  process.exit(options.list ? 0 : 2);
}
if (options.wire) {
  options.wire = path.resolve(options.wire);
  rmSync(options.wire, { force: true });
}

const broken = (error) => ({ results: {}, out: '', complaints: [String(error?.stack ?? error)] });

async function runNext(queue) {
  for (let job = queue.shift(); job; job = queue.shift()) {
    const began = Date.now();
    Object.assign(job, await job.run(only).catch(broken));
    const wrong = Object.keys(job.judge(job.results)).length + job.complaints.length;
    console.error(`${wrong ? 'FAIL' : 'ok  '} ${job.name}: ${wrong} wrong, ${Math.round((Date.now() - began) / 1000)} s`);
  }
}
const queue = [...chosen];
const workers = Math.max(1, Number(options.jobs ?? (options.wire ? 1 : availableParallelism() + 1)));
await Promise.all(Array.from({ length: workers }, () => runNext(queue)));

// What measures time is asked once more when nothing else runs.
for (const job of chosen) {
  for (const scenario of Object.keys(job.judge(job.results)).filter((scenario) => TIMED.includes(scenario) && workers > 1)) {
    const again = await job.run([scenario]).catch(broken);
    console.error(`${job.name}: ${scenario} again, alone`);
    Object.assign(job.results, again.results);
    job.complaints.push(...again.complaints);
  }
}

let passed = 0;
let failed = 0;
for (const { name, judge, results, out, complaints } of chosen) {
  const bad = judge(results);
  failed += Object.keys(bad).length + complaints.length;
  passed += Object.keys(results).filter((scenario) => !(scenario in bad)).length;
  console.log([table(name, results, bad), ...complaints.map((complaint) => `COMPLAINT ${complaint}`)].join('\n'));
  if (!Object.keys(results).length) console.log(out.slice(-2000));
}
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed || !passed ? 1 : 0);
