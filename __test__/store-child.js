// A process that shares a store with others: node store-child.js <root> <job> <path> <key> <id>

const { writeSync } = require('fs');
const { join } = require('path');

const [root = '', job = '', path = '', key = '', id = ''] = process.argv.slice(2);
const { SqliteStore } = require(root);
const { coreOf } = require(join(root, 'dist/vault'));
const secret = Buffer.from(key, 'hex');

/** @typedef {{ value: number, version: number }} Counter */

/**
 * The numbers that the records begin with, by name.
 *
 * @param {any} store
 * @returns {Promise<Record<string, Counter>>}
 */
async function counters(store) {
  const records = await store.load('');
  return Object.fromEntries(
    records.map((/** @type {any} */ { name, version, data }) => [
      name,
      { version, value: Number.parseInt(coreOf(store.vault).open(name, version, data), 10) },
    ]),
  );
}

/**
 * A change that writes a counter's next value, followed by so many bytes.
 *
 * @param {any} store
 * @param {string} name
 * @param {Counter | undefined} counter
 */
function increment(store, name, counter, padding = 0) {
  const { value, version } = counter ?? { value: 0, version: 0 };
  const text = Buffer.from(`${value + 1}${' '.repeat(padding)}`);
  const data = coreOf(store.vault).seal(name, version + 1, text);
  return { name, expected: version, data };
}

/** @type {Record<string, (store: any) => Promise<void>>} */
const jobs = {
  /** Says which data key the store ended with. */
  async open(store) {
    writeSync(1, coreOf(store.vault).revealDataKey().toString('hex'));
  },

  /** Adds one to a counter, 50 times. */
  async count(store) {
    for (let done = 0; done < 50; ) {
      const { counter } = await counters(store);
      try {
        await store.commit([increment(store, 'counter', counter)]);
        done++;
      } catch (error) {
        if (/** @type {any} */ (error).code !== 'ERR_E2EE_STORE_CONFLICT') throw error;
      }
    }
  },

  /** Draws data keys until it is killed. */
  async rekey(store) {
    for (;;) {
      await store.rekey();
      writeSync(1, '\n');
    }
  },

  /** Changes the secret to its reverse and back until it is killed. */
  async secret(store) {
    for (;;) {
      await store.changeSecret(Buffer.from(secret).reverse());
      await store.changeSecret(secret);
      writeSync(1, '\n');
    }
  },

  /** Writes batches until it is killed, and says of each that it was written. */
  async write(store) {
    for (;;) {
      const found = await counters(store);
      const names = [0, 1, 2, 3].map((i) => `${id}/${i}`);
      const batch = names.map((name, i) =>
        increment(store, name, found[name], Math.floor(Math.random() * 3000 * i)),
      );
      batch.push(increment(store, 'total', found.total));
      try {
        await store.commit(batch);
        writeSync(1, `${(found[`${id}/0`]?.value ?? 0) + 1}\n`);
      } catch (error) {
        if (/** @type {any} */ (error).code !== 'ERR_E2EE_STORE_CONFLICT') throw error;
      }
    }
  },
};

(async () => {
  const store = await SqliteStore.open(path, { secret });
  await jobs[job]?.(store);
  await store.close();
})();
