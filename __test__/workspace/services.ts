import { Accounts } from './accounts';
import { E2eKeys, type Gaps } from './e2e-keys';
import { Messages, type Quirks } from './messages';
import type { Store } from './model';
import { Notifier, type Streams } from './notify';
import { Otr } from './otr';
import { Rooms } from './rooms';
import { Uploads } from './uploads';

/** The rules of the workspace, as REST routes and DDP methods call them. */
export interface Services {
  readonly store: Store;
  readonly notify: Notifier;
  readonly keys: E2eKeys;
  readonly accounts: Accounts;
  readonly messages: Messages;
  readonly rooms: Rooms;
  readonly uploads: Uploads;
  readonly otr: Otr;
}

export function createServices(
  store: Store,
  streams: Streams,
  gaps: Gaps,
  quirks: Quirks,
): Services {
  const notify = new Notifier(store, streams);
  const keys = new E2eKeys(store, notify, gaps);
  const messages = new Messages(store, notify, quirks);
  return {
    store,
    notify,
    keys,
    messages,
    accounts: new Accounts(store, notify, streams, keys),
    rooms: new Rooms(store, notify, messages, keys),
    uploads: new Uploads(store, messages),
    otr: new Otr(store, notify, messages, quirks),
  };
}
