// Measures one entry of `jobs` in a process of its own, so that none finds another's garbage.

import { jobs, loopDelay } from './jobs.mjs';
import { compare } from './measure.mjs';

const [index, ...words] = process.argv.slice(2);
const results = [];
for (const job of [await jobs[index]()].flat()) {
  if (words.length > 0 && !words.some((word) => job.name.includes(word))) continue;
  const result = { name: job.name, goals: job.goals, peers: await compare(job) };
  if (job.delayed) result.loopDelayP99 = await loopDelay(job.delayed);
  results.push(result);
}
process.send(results);
process.disconnect();
