import { execFileSync } from 'child_process';
import { readFileSync } from 'fs';
import { join } from 'path';
import { ROOT } from './helpers';

const run = (file: string) =>
  execFileSync(process.execPath, [join(ROOT, 'examples', file)], { encoding: 'utf8' });

test('the example of the README is the one that runs', () => {
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
  const example = readFileSync(join(ROOT, 'examples', 'reply.mjs'), 'utf8');
  expect(readme).toContain(`\`\`\`js\n${example}\`\`\``);
});

test('reply.mjs answers', () => {
  expect(run('reply.mjs')).toMatch(/t: 'e2e'.*algorithm: 'rc\.v2\.aes-sha2'/s);
});

test('ciphertext.mjs reads everything', () => {
  const output = run('ciphertext.mjs');
  expect(output).toContain('Bob reads, with WebCrypto alone              "You asked: Can you read');
  expect(output.trimEnd()).toMatch(/Everything was read\.$/);
});

test('demo.mjs: the bot reads, answers and serves, and the server learns nothing', () => {
  const output = run('demo.mjs');
  expect(output).toContain('ann    reads "pong, ann"');
  expect(output).toContain('carol  reads what was before her: "pong, ann"');
  expect(output).toContain('the secret is in 0 of them.');
});
