/** The entry for Node.js. */
export * from './common';
export { RealtimeWorkspace, type RealtimeWorkspaceOptions } from './realtime-workspace';
export { RestWorkspace, type RestWorkspaceOptions } from './rest-workspace';
export { SqliteStore, type SqliteStoreOptions } from './sqlite-store';
