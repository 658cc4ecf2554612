// Instructions of the core's hot paths in two revisions, counted by callgrind.
//
//   node scripts/bench-compare.mjs [before] [after]     main and the working tree unless told
//
// Needs valgrind. Counts hardly change on a busy machine; times do (`cargo bench`).

import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BENCHES = 'crates/core/benches';
/** Jobs of `benches/instructions.rs`, and how often each is done. */
const JOBS = {
  'decrypt-200': 100,
  'decrypt-4096': 100,
  'encrypt-200': 100,
  'encrypt-4096': 100,
  'decrypt_many-200': 5,
  wrap: 5,
  unwrap: 5,
  'file-1mb': 2,
  unlock: 1,
};

const [before = 'main', after] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'bench-compare-'));
const run = (cwd, program, ...words) =>
  execFileSync(program, words, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 2 ** 28,
    // One place for both revisions, so that what they share is compiled once.
    env: {
      ...process.env,
      CARGO_TARGET_DIR: join(ROOT, 'target', 'bench-compare'),
      // By its name callgrind finds what it is to count.
      CARGO_PROFILE_BENCH_STRIP: 'none',
    },
  });

/** The program of a revision; `undefined` stands for the working tree. */
function build(revision) {
  let tree = ROOT;
  if (revision !== undefined) {
    tree = join(folder, 'tree');
    run(ROOT, 'git', 'worktree', 'add', '--detach', tree, revision);
    if (!existsSync(join(tree, BENCHES))) throw new Error(`${revision} has no ${BENCHES}`);
  }
  const words = ['--package', 'rocketchat-e2ee', '--features', 'aws-lc', '--bench', 'instructions'];
  const messages = run(tree, 'cargo', 'bench', ...words, '--no-run', '--message-format=json');
  const { executable } = messages
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
    .find(({ executable, target }) => executable && target.name === 'instructions');
  const program = join(folder, revision ?? 'working-tree').replaceAll('/', '-');
  const kept = join(folder, program.slice(1));
  cpSync(executable, kept);
  if (revision !== undefined) run(ROOT, 'git', 'worktree', 'remove', '--force', tree);
  return kept;
}

function instructions(program, job, times) {
  const out = join(folder, 'callgrind.out');
  run(
    folder,
    'valgrind',
    '--tool=callgrind',
    '--toggle-collect=*measured*',
    `--callgrind-out-file=${out}`,
    program,
    job,
    String(times),
  );
  const total = /^(?:summary|totals): (\d+)/m.exec(readFileSync(out, 'utf8'));
  if (Number(total?.[1] ?? 0) === 0) throw new Error(`callgrind has counted nothing of ${job}`);
  return Number(total[1]) / times;
}

try {
  const programs = [build(before), build(after)];
  console.log(`${'job'.padEnd(18)}${before.padStart(14)}${(after ?? 'working tree').padStart(14)}`);
  for (const [job, times] of Object.entries(JOBS)) {
    const [old, now] = programs.map((program) => instructions(program, job, times));
    const change = `${now >= old ? '+' : ''}${((now / old - 1) * 100).toFixed(1)} %`;
    const [left, right] = [old, now].map((n) => Math.round(n).toLocaleString('en').padStart(14));
    console.log(`${job.padEnd(18)}${left}${right}${change.padStart(10)}`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
  run(ROOT, 'git', 'worktree', 'prune');
}
