import type { Command } from '../command';
import { audit } from './audit';
import { changeSecret } from './change-secret';
import { decrypt } from './decrypt';
import { exportKeys } from './export-keys';
import { importKeys } from './import-keys';
import { init } from './init';
import { listen } from './listen';
import { revoke } from './revoke';
import { rooms } from './rooms';
import { rotate } from './rotate';
import { send } from './send';
import { status } from './status';
import { vendor } from './vendor';

/** Every command, in the order of `--help`. */
export const commands: Readonly<Record<string, Command>> = {
  init,
  status,
  rooms,
  send,
  listen,
  decrypt,
  rotate,
  revoke,
  'export-keys': exportKeys,
  'import-keys': importKeys,
  'change-secret': changeSecret,
  audit,
  vendor,
};
