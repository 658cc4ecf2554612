/** A stand-in Rocket.Chat workspace for tests and the demo. It imports nothing of the product. */
export { type Clock, ManualClock } from './clock';
export type { CallFault, EventFault, FaultOptions } from './faults';
export type {
  Message,
  OldRoomKey,
  Room,
  Subscription,
  Upload,
  User,
} from './model';
export type { LoggedRequest } from './request-log';
export { type Account, Workspace, type WorkspaceOptions } from './server';
export { BEHAVIOUR, type Behaviour, type Version } from './versions';
