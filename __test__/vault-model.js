// The formats of docs/store-format.md, read and written with Node's own cryptography and nothing
// of ours. `node __test__/vault-model.js` writes fixtures/vectors/vault.json anew.

const crypto = require('crypto');

/** @param {bigint} value */
function u64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

/** @param {number} value */
function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** @param {string | Uint8Array} bytes */
function field(bytes) {
  const buffer = Buffer.from(/** @type {string} */ (bytes));
  return Buffer.concat([u64(BigInt(buffer.length)), buffer]);
}

/**
 * draft-irtf-cfrg-xchacha-03 §2.2
 *
 * @param {Uint8Array} key
 * @param {Uint8Array} nonce 16 bytes
 */
function hchacha20(key, nonce) {
  const input = Buffer.concat([Buffer.from('expand 32-byte k'), key, nonce]);
  const x = Uint32Array.from({ length: 16 }, (_, i) => input.readUInt32LE(4 * i));
  const at = (/** @type {number} */ i) => /** @type {number} */ (x[i]);
  const mix = (/** @type {number} */ a, /** @type {number} */ b, /** @type {number} */ d, n = 0) => {
    x[a] = at(a) + at(b);
    const t = at(d) ^ at(a);
    x[d] = (t << n) | (t >>> (32 - n));
  };
  const quarter = (
    /** @type {number} */ a,
    /** @type {number} */ b,
    /** @type {number} */ c,
    /** @type {number} */ d,
  ) => {
    mix(a, b, d, 16);
    mix(c, d, b, 12);
    mix(a, b, d, 8);
    mix(c, d, b, 7);
  };
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 4; i++) quarter(i, 4 + i, 8 + i, 12 + i);
    for (let i = 0; i < 4; i++) {
      quarter(i, 4 + ((i + 1) % 4), 8 + ((i + 2) % 4), 12 + ((i + 3) % 4));
    }
  }
  const output = Buffer.alloc(32);
  [0, 1, 2, 3, 12, 13, 14, 15].forEach((from, to) => {
    output.writeUInt32LE(at(from), 4 * to);
  });
  return output;
}

/**
 * @param {Uint8Array} key
 * @param {Uint8Array} nonce 24 bytes
 * @param {Uint8Array} binding
 * @param {Uint8Array} plaintext
 */
function encrypt(key, nonce, binding, plaintext) {
  const iv = Buffer.concat([Buffer.alloc(4), nonce.subarray(16)]);
  const subkey = hchacha20(key, nonce.subarray(0, 16));
  const cipher = crypto.createCipheriv('chacha20-poly1305', subkey, iv, { authTagLength: 16 });
  cipher.setAAD(binding, { plaintextLength: plaintext.length });
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]);
}

/**
 * @param {Uint8Array} key
 * @param {Uint8Array} binding
 * @param {Uint8Array} sealed nonce, ciphertext, tag
 */
function decrypt(key, binding, sealed) {
  const iv = Buffer.concat([Buffer.alloc(4), sealed.subarray(16, 24)]);
  const subkey = hchacha20(key, sealed.subarray(0, 16));
  const cipher = crypto.createDecipheriv('chacha20-poly1305', subkey, iv, { authTagLength: 16 });
  cipher.setAAD(binding, { plaintextLength: sealed.length - 40 });
  cipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([cipher.update(sealed.subarray(24, -16)), cipher.final()]);
}

/**
 * @param {string} name
 * @param {number} version
 */
function recordBinding(name, version) {
  return Buffer.concat([field('rocketchat-e2ee record 1'), field(name), u64(BigInt(version))]);
}

/** @param {Uint8Array} header */
function keyBinding(header) {
  return Buffer.concat([field('rocketchat-e2ee data key 1'), field(header)]);
}

/** @param {Uint8Array} content */
function checksum(content) {
  return crypto.createHash('sha256').update(content).digest().subarray(0, 8);
}

/**
 * Opens a sealed record.
 *
 * @param {Uint8Array} dataKey
 * @param {string} name
 * @param {number} version
 * @param {Uint8Array} sealed
 */
function open(dataKey, name, version, sealed) {
  if (sealed[0] !== 1) throw new Error('not of format 1');
  return decrypt(dataKey, recordBinding(name, version), sealed.subarray(1));
}

/**
 * Opens a key record; returns the data key.
 *
 * @param {Uint8Array} record
 * @param {string | Uint8Array | ((wrapped: Uint8Array) => Uint8Array)} secret
 */
function unwrap(record, secret) {
  const content = Buffer.from(record.subarray(0, -8));
  if (!checksum(content).equals(record.subarray(-8))) throw new Error('damaged');
  if (content[0] !== 1) throw new Error('not of format 1');
  if (content[1] === 1 && typeof secret === 'string') {
    const salt = content.subarray(6, 38);
    const key = crypto.pbkdf2Sync(secret, salt, content.readUInt32BE(2), 32, 'sha256');
    return decrypt(key, keyBinding(content.subarray(0, 38)), content.subarray(38));
  }
  if (content[1] === 2 && secret instanceof Uint8Array) {
    return decrypt(secret, keyBinding(content.subarray(0, 2)), content.subarray(2));
  }
  if (content[1] === 3 && typeof secret === 'function') {
    const end = 6 + content.readUInt32BE(2);
    const key = secret(content.subarray(6, end));
    decrypt(key, keyBinding(content.subarray(0, end)), content.subarray(end));
    return Buffer.from(key);
  }
  throw new Error('another kind of secret');
}

module.exports = { open, unwrap };

/** Bytes that are the same each time. @param {string} label @param {number} length */
function fixed(label, length) {
  return crypto.createHash('shake256', { outputLength: length }).update(label).digest();
}

function vectors() {
  const dataKey = fixed('data key', 32);
  /** @type {[string, number, Buffer][]} */
  const plain = [
    ['a', 1, Buffer.alloc(0)],
    ['room/GENERAL', 1, Buffer.from('{"keys":[]}')],
    ['room/GENERAL', 2, Buffer.from('{"keys":[]}')],
    ['räume/😀', 9007199254740991, fixed('plaintext', 1000)],
  ];
  const records = plain.map(([name, version, plaintext], i) => {
    const body = encrypt(dataKey, fixed(`nonce ${i}`, 24), recordBinding(name, version), plaintext);
    const sealed = Buffer.concat([Buffer.of(1), body]);
    return { name, version, plaintext: plaintext.toString('hex'), sealed: sealed.toString('hex') };
  });

  const finish = (/** @type {Buffer} */ header, /** @type {Uint8Array} */ key, text = dataKey) => {
    const nonce = fixed(`nonce ${header.toString('hex')}`, 24);
    const content = Buffer.concat([header, encrypt(key, nonce, keyBinding(header), text)]);
    return Buffer.concat([content, checksum(content)]).toString('hex');
  };
  const byText = (/** @type {string} */ secret, /** @type {number} */ iterations) => {
    const salt = fixed(`salt ${secret}`, 32);
    const key = crypto.pbkdf2Sync(secret, salt, iterations, 32, 'sha256');
    const record = finish(Buffer.concat([Buffer.of(1, 1), u32(iterations), salt]), key);
    return { secret, record };
  };
  const key = fixed('secret key', 32);
  const wrapped = fixed('wrapped by a KMS', 100);
  return {
    generator: 'node __test__/vault-model.js',
    dataKey: dataKey.toString('hex'),
    records,
    keyRecords: {
      text: [byText('correct horse battery staple', 600000), byText('Schlüssel 🔑', 600001)],
      key: { secret: key.toString('hex'), record: finish(Buffer.of(1, 2), key) },
      kms: {
        wrapped: wrapped.toString('hex'),
        record: finish(
          Buffer.concat([Buffer.of(1, 3), u32(wrapped.length), wrapped]),
          dataKey,
          Buffer.alloc(0),
        ),
      },
    },
  };
}

if (require.main === module) {
  const file = require('path').join(__dirname, 'fixtures/vectors/vault.json');
  require('fs').writeFileSync(file, `${JSON.stringify(vectors(), null, 2)}\n`);
}
