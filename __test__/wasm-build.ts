/**
 * What `..` is in the tests' second run: the file that apps import. Beside it, Node's build lends
 * its way to a server, since an app's own is the Apps-Engine.
 */
export * from '../apps-engine';
export const { RestWorkspace } = require('../dist/rest-workspace') as typeof import('..');
