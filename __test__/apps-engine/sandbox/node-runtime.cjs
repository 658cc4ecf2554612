// An imitation of the Node runtime of newer servers, which is not on npm: an app in a process under
// `node --permission`, in a function that hides what the runtime hides, with a `require` that
// allows what the runtime allows, and accessors that ask the parent.

const { readFileSync } = require('fs');
const { serve } = require('./link.cjs');

const ALLOWED = [
  'path',
  'url',
  'crypto',
  'buffer',
  'stream',
  'net',
  'http',
  'https',
  'zlib',
  'util',
  'punycode',
  'os',
  'querystring',
  'fs',
  'uuid',
  '@rocket.chat/apps-engine',
];

function sandboxRequire(module) {
  const name = module.replace('node:', '');
  if (!ALLOWED.some((allowed) => name.startsWith(allowed))) {
    throw new Error(`Module ${module} is not allowed`);
  }
  return require(name);
}

/** As the runtime evaluates an app: the names of its parameters hide the globals. */
function evaluate(code) {
  const run = new Function(
    'require',
    `const exports = {};
    const module = { exports };
    const result = (async (exports, module, require, console, globalThis) => {
      ${code};
    })(exports, module, require, console, undefined);
    return result.then(() => module.exports);`,
  );
  return run(sandboxRequire);
}

const bridge = (name) =>
  new Proxy(
    {},
    {
      get: (_, method) =>
        // So that a bridge can be awaited.
        method === 'then' ? undefined : (...given) => link.ask(`${name}Bridge.${method}`, given),
    },
  );

let app;
let id;
const settings = new Map();
const processors = new Map();

function accessors() {
  const http =
    (method) =>
    (url, request = {}) =>
      bridge('Http').call({ appId: id, method, url, request });
  const persistence = bridge('Persistence');
  const read = {
    getEnvironmentReader: () => ({
      getSettings: () => ({
        async getValueById(name) {
          const { value, packageValue } = settings.get(name);
          return value ?? packageValue;
        },
      }),
    }),
    getPersistenceReader: () => ({
      readByAssociation: (one) => persistence.readByAssociations([one], id),
      readByAssociations: (all) => persistence.readByAssociations(all, id),
    }),
    getUserReader: () => ({ getAppUser: () => bridge('User').getAppUser(id) }),
    getRoomReader: () => ({
      getById: (room) => bridge('Room').getById(room, id),
      getMessages: (room, options) => bridge('Room').getMessages(room, options, id),
      getDirectByUsernames: (names) => bridge('Room').getDirectByUsernames(names, id),
    }),
  };
  const modify = {
    getCreator: () => ({
      startMessage(message = {}) {
        return { getMessage: () => ({ ...message }) };
      },
      startRoom() {
        const room = {};
        const set = (member) => (value) => Object.assign(room, { [member]: value }) && builder;
        const builder = {
          getRoom: () => room,
          setType: set('type'),
          setCreator: set('creator'),
          setMembersToBeAddedByUsernames: set('members'),
        };
        return builder;
      },
      async finish(builder) {
        if (builder.getRoom) return bridge('Room').create(builder.getRoom(), [], id);
        const { id: _, ...message } = builder.getMessage();
        message.sender ??= await bridge('User').getAppUser(id);
        return bridge('Message').create(message, id);
      },
    }),
    getScheduler: () => ({ scheduleRecurring: async () => undefined }),
  };
  return {
    read,
    modify,
    http: { get: http('get'), post: http('post') },
    persistence: {
      createWithAssociations: (data, all) => persistence.createWithAssociations(data, all, id),
      updateByAssociations: (all, data, upsert = false) =>
        persistence.updateByAssociations(all, data, upsert, id),
      removeByAssociation: (one) => persistence.removeByAssociations([one], id),
    },
  };
}

const link = serve({
  async start() {},

  async install(unpacked) {
    const { info, code } = JSON.parse(readFileSync(unpacked, 'utf8'));
    const start = performance.now();
    id = info.id;
    const exported = await evaluate(code);
    const [AppClass] = Object.values(exported);
    const quiet = () => undefined;
    const logger = {
      debug: quiet,
      info: quiet,
      log: quiet,
      warn: quiet,
      error: quiet,
      success: quiet,
    };
    app = new AppClass(info, logger, {});
    const { read, http, persistence, modify } = accessors();
    await app.extendConfiguration?.(
      {
        settings: { provideSetting: async (setting) => void settings.set(setting.id, setting) },
        scheduler: {
          registerProcessors: async (given) => {
            for (const processor of given) processors.set(processor.id, processor);
          },
        },
      },
      read,
    );
    await app.onEnable?.(read, { scheduler: { scheduleRecurring: async () => undefined } });
    await app.onInstall?.(
      { user: await bridge('User').getById('admin') },
      read,
      http,
      persistence,
      modify,
    );
    return { id, status: 'manually_enabled', ms: performance.now() - start };
  },

  async set(values) {
    for (const [name, value] of Object.entries(values)) settings.get(name).value = value;
  },

  settings: async () => [...settings.values()].map((setting) => ({ ...setting })),

  async hook(name, message) {
    const { read, http, persistence, modify } = accessors();
    await app[name]?.(message, read, http, persistence, modify);
  },

  async job(name) {
    const { read, http, persistence, modify } = accessors();
    await processors.get(name).processor({}, read, modify, http, persistence);
  },

  logs: async () => [],
});
