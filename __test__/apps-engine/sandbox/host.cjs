// The part of a Rocket.Chat server that runs apps: the real AppManager of an engine, with the
// real runtime of apps in a process of its own. Bridges ask the parent, which has the workspace.
//   node host.cjs <folder of the engine> <folder for temporary files>

const { generateKeyPairSync } = require('crypto');
const { join } = require('path');
const { serve } = require('./link.cjs');

const [engine = '', temporary = ''] = process.argv.slice(2);
const from = (path) => require(join(engine, path));
const { AppManager } = from('server/AppManager');
const bridges = from('server/bridges');
const storage = from('server/storage');
const { AppSourceStorage } = from('server/storage/AppSourceStorage');

class Metadata extends storage.AppMetadataStorage {
  constructor() {
    super('memory');
    this.items = new Map();
  }
  async create(item) {
    item._id ??= item.id;
    this.items.set(item.id, item);
    return item;
  }
  async retrieveOne(id) {
    return this.items.get(id) ?? null;
  }
  async retrieveAll() {
    return this.items;
  }
  async retrieveAllPrivate() {
    return new Map();
  }
  async remove(id) {
    return { success: this.items.delete(id) };
  }
  async update(item) {
    this.items.set(item.id, item);
    return item;
  }
  async updatePartialAndReturnDocument(change) {
    const item = [...this.items.values()].find(
      ({ _id, id }) => _id === change._id || id === change.id,
    );
    return Object.assign(item, change);
  }
  async updateStatus(_id, status) {
    const item = [...this.items.values()].find((found) => found._id === _id);
    if (item) item.status = status;
    return item !== undefined;
  }
  async updateSetting() {
    return true;
  }
  async updateAppInfo() {
    return true;
  }
  async updateMarketplaceInfo() {
    return true;
  }
}

/** What apps logged, with what the engine says of their errors. */
const logged = [];

class Logs extends storage.AppLogStorage {
  constructor() {
    super('memory');
  }
  async find() {
    return logged;
  }
  async findPaginated() {
    return { logs: logged, total: logged.length };
  }
  async storeEntries(entries) {
    logged.push(entries);
    return entries;
  }
  async getEntriesFor() {
    return logged;
  }
  async removeEntriesFor() {}
}

class Sources extends AppSourceStorage {
  constructor() {
    super();
    this.zips = new Map();
  }
  async store({ id }, zip) {
    this.zips.set(id, zip);
    return id;
  }
  async fetch({ id }) {
    return this.zips.get(id);
  }
  async update(item, zip) {
    return this.store(item, zip);
  }
  async remove({ id }) {
    this.zips.delete(id);
  }
}

/** The bridges of every engine. */
const BRIDGES = [
  'Command',
  'Contact',
  'Api',
  'AppDetailChanges',
  'EnvironmentalVariable',
  'Http',
  'Listener',
  'Livechat',
  'Message',
  'Persistence',
  'AppActivation',
  'Room',
  'Internal',
  'ServerSetting',
  'Upload',
  'Email',
  'User',
  'UiInteraction',
  'Scheduler',
  'CloudWorkspace',
  'VideoConference',
  'OAuthApps',
  'Moderation',
  'Thread',
  'Role',
  'OutboundMessage',
  'Experimental',
];

/** Bridges whose methods the parent answers. */
const ASKED = ['HttpBridge', 'MessageBridge', 'PersistenceBridge', 'RoomBridge', 'UserBridge'];
const processors = new Map();

/** The real abstract class of a bridge, with what it leaves open. */
function bridge(name, ask) {
  const Base = bridges[name] ?? tryFrom(`server/bridges/${name}`)?.[name] ?? Object;
  class Bridge extends Base {}
  return new Proxy(new Bridge(), {
    get(target, member, receiver) {
      const known = Reflect.get(target, member, receiver);
      if (known !== undefined || typeof member !== 'string' || member === 'then') return known;
      if (name === 'SchedulerBridge' && member === 'registerProcessors') {
        return async (given) => {
          for (const { id, processor } of given) processors.set(id, processor);
        };
      }
      if (!ASKED.includes(name)) return async () => undefined;
      return (...parameters) => ask(`${name}.${member}`, parameters);
    },
  });
}

function tryFrom(path) {
  try {
    return from(path);
  } catch {
    return undefined; // an older engine: no such bridge
  }
}

/** The server's own, by which it signs what it installs. */
const keys = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
});
let manager;
let app;

const link = serve({
  async start() {
    class Bridges extends bridges.AppBridges {}
    for (const name of BRIDGES) {
      const made = bridge(`${name}Bridge`, (method, parameters) => link.ask(method, parameters));
      Bridges.prototype[`get${name}Bridge`] = () => made;
    }
    Bridges.prototype.getInternalFederationBridge = () => ({
      getPrivateKey: async () => keys.privateKey,
      getPublicKey: async () => keys.publicKey,
    });
    manager = new AppManager({
      metadataStorage: new Metadata(),
      logStorage: new Logs(),
      sourceStorage: new Sources(),
      bridges: new Bridges(),
      tempFilePath: temporary,
    });
    await manager.load();
    await manager.enableAll();
  },

  /** Installs and enables the app; the time that took. */
  async install(zip, user) {
    const start = performance.now();
    const facts = await manager.add(Buffer.from(zip), { enable: true, user });
    app = facts.getApp();
    const error = facts.getStorageError?.() ?? facts.getCompilerErrors?.()?.[0];
    if (error) throw new Error(String(error.message ?? error));
    return { id: app.getID(), status: await app.getStatus(), ms: performance.now() - start };
  },

  async set(values) {
    for (const [id, value] of Object.entries(values)) {
      const setting = manager.getSettingsManager().getAppSetting(app.getID(), id);
      await manager.getSettingsManager().updateAppSetting(app.getID(), { ...setting, value });
    }
  },

  settings: async () => Object.values(manager.getSettingsManager().getAppSettings(app.getID())),

  /** Runs a hook as the server does, and waits for it, which the server does not. */
  async hook(name, data) {
    const listeners = manager.getListenerManager();
    // An engine that does not know this event would tell it as the other one.
    await (listeners[name] ?? listeners.executePostMessageSent).call(listeners, data);
  },

  async job(id) {
    const [, processor] = [...processors].find(([known]) => known.startsWith(id)) ?? [];
    if (!processor) throw new Error(`no processor ${id}`);
    await processor({});
  },

  /** Kills the app's process, as the server does with one that hangs; it is started again. */
  async restart() {
    const controller = app.getRuntimeController?.() ?? app.getDenoRuntime();
    await (controller.restartApp?.() ?? controller.setupApp());
  },

  logs: async () => logged,
});
