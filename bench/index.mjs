// npm run bench: ours beside what a Node developer would use instead, in one run.
//
//   npm run bench                  everything; writes bench/results.json and the files in docs/
//   npm run bench -- decrypt       only the jobs whose names hold a word, in place of what they
//                                  had in bench/results.json

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { child } from './child.mjs';
import { jobs, wasm } from './jobs.mjs';
import { participantFigures } from './participant.mjs';
import { markdown, picture, tableOf } from './report.mjs';
import { sizes } from './sizes.mjs';

const words = process.argv.slice(2);
const wanted = (name) => words.length === 0 || words.some((word) => name.includes(word));

const results = {
  date: new Date().toISOString().slice(0, 10),
  node: process.version,
  openssl: process.versions.openssl,
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  wasm: wasm !== undefined,
  jobs: [],
};
if (!wasm) console.log('Without the WASM build, which `npm run build:wasm` makes.\n');

for (const index of jobs.keys()) {
  for (const result of (await child('job-child.mjs', index, ...words)).answer) {
    if (result.name.includes('encrypt and hash')) {
      result.streamMemory = (await child('stream-child.mjs')).answer;
      console.log('memory beyond the start while files stream:', result.streamMemory);
    }
    results.jobs.push(result);
    console.log(tableOf(result));
  }
}
if (wanted('participant')) {
  results.participant = await participantFigures();
  console.log(results.participant);
}
results.sizes = sizes();

const file = new URL('results.json', import.meta.url);
if (words.length > 0 && existsSync(file)) {
  const before = JSON.parse(readFileSync(file, 'utf8'));
  const anew = new Map(results.jobs.map((job) => [job.name, job]));
  const kept = before.jobs.map((job) => {
    const again = anew.get(job.name) ?? job;
    anew.delete(job.name);
    return again;
  });
  results.jobs = [...kept, ...anew.values()];
  results.participant ??= before.participant;
}
writeFileSync(file, `${JSON.stringify(results, undefined, 2)}\n`);
markdown(results, new URL('../docs/performance.md', import.meta.url));
picture(results, new URL('../docs/', import.meta.url));
