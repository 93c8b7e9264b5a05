#!/usr/bin/env node
// The reference servers over HTTP with no hub in between: shows that they are right. With --save writes baseline.json, which says
// what they must still come to behind the hub.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';

import { here } from './lib/hub.mjs';
import { runServerSet, table } from './lib/suite.mjs';

const PORT = Number(process.env.PORT ?? 3801);
const servers = {
  legacy: [['legacy-server.mjs'], ['0.1-2025-06-18', '0.1-2025-11-25', '2025-03-26', '2025-06-18', '2025-11-25']],
  modern: [['modern-server.mjs'], ['2026-07-28']],
  dual: [['modern-server.mjs', '--dual'], ['2025-03-26', '2025-06-18', '2025-11-25', '2026-07-28']],
  skills: [['skills-server.mjs'], ['skills']],
};

const counts = ({ passed, failed, warnings, skipped }) => ({ passed, failed, warnings, skipped });
const baseline = {};
const sum = { passed: 0, failed: 0 };
for (const [number, [name, [args, sets]]] of Object.entries(servers).entries()) {
  const port = PORT + number;
  const child = spawn(process.execPath, [...args, '--http', String(port)], { cwd: here, stdio: ['ignore', 'ignore', 'pipe'] });
  await new Promise((resolve, reject) => {
    child.stderr.on('data', (data) => String(data).includes('ready') && resolve());
    child.once('exit', (code) => reject(new Error(`${name} exited with ${code}`)));
  });
  baseline[name] = {};
  for (const set of sets) {
    const { results } = await runServerSet(set, `http://127.0.0.1:${port}/mcp`);
    const wrong = Object.entries(results).filter(([, { failed }]) => failed);
    console.log(table(`${name}/${set}`, results, Object.fromEntries(wrong.map(([scenario]) => [scenario, 'must pass']))));
    baseline[name][set] = Object.fromEntries(Object.entries(results).map(([scenario, result]) => [scenario, counts(result)]));
    for (const { passed, failed } of Object.values(results)) {
      sum.passed += passed;
      sum.failed += failed;
    }
  }
  child.kill();
}
if (process.argv.includes('--save')) writeFileSync(path.join(here, 'baseline.json'), `${JSON.stringify(baseline, null, 2)}\n`);
console.log(`\n${sum.passed} passed, ${sum.failed} failed`);
process.exit(sum.failed || !sum.passed ? 1 : 0);
