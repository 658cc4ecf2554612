// The interoperation tests drive a real Chromium. Finds one, or installs Debian's.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

function found() {
  if (process.env.CHROMIUM_PATH) return existsSync(process.env.CHROMIUM_PATH);
  const which = process.platform === 'win32' ? 'where' : 'which';
  return NAMES.some((name) => spawnSync(which, [name], { stdio: 'ignore' }).status === 0);
}

if (!found()) {
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    console.log('No Chromium here: installing the one of the distribution.');
    const apt = (...words) =>
      execFileSync('apt-get', ['-qq', ...words], {
        stdio: 'inherit',
        env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      });
    apt('update');
    apt('install', '-y', '--no-install-recommends', 'chromium');
  }
  if (!found()) {
    console.error(
      'The tests need Chromium or Chrome. Install one (Debian and Ubuntu: apt-get install ' +
        'chromium), or set CHROMIUM_PATH to its program.',
    );
    process.exit(1);
  }
}
