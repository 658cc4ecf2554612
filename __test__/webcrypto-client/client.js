/**
 * A model of Rocket.Chat's own end-to-end encryption clients, on WebCrypto alone.
 *
 * It is written from the protocol reference (the § numbers below), shares no code with this
 * package and imports nothing, so that agreement between the two means something. The same file
 * runs in a page, as a classic script that defines `RocketChatClient`, and in Node by `require`.
 *
 * A flavour names one writer and reader of history (§0): the client, and the generation of server
 * it talks to. 8 stands for 7.13 and later, 7 for 7.0 to 7.12, 6 for everything before.
 *
 * @typedef {'web-8' | 'web-7' | 'web-6' | 'mobile-8' | 'mobile-7' | 'mobile-6'} Flavour
 * @typedef {'a' | 'b' | 'c' | 'd' | 'e'} Form  the rows of the table in §7.4
 * @typedef {Uint8Array<ArrayBuffer>} Bytes
 * @typedef {{ publicKey: string, privateKey: string }} IdentityJwks  both JWK JSON
 * @typedef {{ keyId: string, jwk: string }} RoomKeyJwk  `jwk` is the exact JSON text that is wrapped
 * @typedef {{ current: RoomKeyJwk, old?: RoomKeyJwk[] }} KeyRing
 * @typedef {{ algorithm: string, ciphertext: string, kid?: string, iv?: string }} Content
 * @typedef {{ msg?: string, content?: Content }} MessageFields
 * @typedef {{ t: 'e2e', e2e: 'pending', msg: string, content?: Content }} MessageDocument
 * @typedef {{ encryption: { key: JsonWebKey, iv: string }, hashes: { sha256: string } }} FileSecrets
 * @typedef {FileSecrets & { data: Bytes, name: string }} EncryptedFile
 * @typedef {object} UploadedFile
 * @property {string} fileId
 * @property {string} url
 * @property {string} name
 * @property {string} type
 * @property {number} size
 * @property {number} [width]
 * @property {number} [height]
 * @property {string} [msg]
 * @property {FileSecrets['encryption']} encryption
 * @property {FileSecrets['hashes']} hashes
 */

const RocketChatClient = (() => {
  const subtle = globalThis.crypto.subtle;

  // --- Bytes and text -------------------------------------------------------------------------

  /** @param {number} length @returns {Bytes} */
  const randomBytes = (length) => globalThis.crypto.getRandomValues(new Uint8Array(length));

  /** @param {string} text @returns {Bytes} */
  const utf8 = (text) => new TextEncoder().encode(text);

  /** @param {BufferSource} bytes */
  const fromUtf8 = (bytes) => new TextDecoder().decode(bytes);

  /**
   * One byte per UTF-16 unit, as web reads passphrases and salts (§7.3).
   *
   * @param {string} text
   * @returns {Bytes}
   */
  function latin1(text) {
    const bytes = new Uint8Array(text.length);
    for (let index = 0; index < text.length; index++) {
      const unit = text.charCodeAt(index);
      if (unit > 0xff) throw new RangeError(`Not a Latin-1 character: U+${unit.toString(16)}`);
      bytes[index] = unit;
    }
    return bytes;
  }

  /** @param {Bytes} bytes */
  function fromLatin1(bytes) {
    let text = '';
    for (let start = 0; start < bytes.length; start += 0x8000) {
      text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
    }
    return text;
  }

  /** @param {Bytes} bytes */
  const toBase64 = (bytes) => btoa(fromLatin1(bytes));

  /** @param {string} text */
  const fromBase64 = (text) => latin1(atob(text));

  /** @param {Bytes} bytes base64url without padding, as inside a JWK (§7) */
  const toBase64Url = (bytes) =>
    toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

  /** @param {...Bytes} parts @returns {Bytes} */
  function concat(...parts) {
    const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
    let offset = 0;
    for (const part of parts) {
      whole.set(part, offset);
      offset += part.length;
    }
    return whole;
  }

  /** @param {BufferSource} bytes @returns {Promise<string>} lower-case hex */
  async function sha256(bytes) {
    const digest = new Uint8Array(await subtle.digest('SHA-256', bytes));
    return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
  }

  /**
   * Tags what JSON has no literal for, and undoes it: EJSON (§6) inside envelopes, and the same
   * trick with other tags for `invoke`.
   *
   * @param {string} dateTag
   * @param {string} bytesTag
   */
  function taggedJson(dateTag, bytesTag) {
    /** @param {unknown} value @returns {unknown} */
    const tag = (value) => {
      if (value instanceof Date) return { [dateTag]: value.getTime() };
      if (value instanceof Uint8Array) return { [bytesTag]: toBase64(new Uint8Array(value)) };
      if (Array.isArray(value)) return value.map(tag);
      if (typeof value !== 'object' || value === null) return value;
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, tag(item)]));
    };
    /** @param {string} _name @param {any} value */
    const untag = (_name, value) => {
      if (typeof value !== 'object' || value === null || Object.keys(value).length !== 1) {
        return value;
      }
      if (typeof value[dateTag] === 'number') return new Date(value[dateTag]);
      if (typeof value[bytesTag] === 'string') return fromBase64(value[bytesTag]);
      return value;
    };
    return {
      /** @param {unknown} value @returns {string} */
      stringify: (value) => JSON.stringify(tag(value)),
      /** @param {string} text @returns {any} */
      parse: (text) => JSON.parse(text, untag),
    };
  }

  const ejson = taggedJson('$date', '$binary');

  // --- Flavours -------------------------------------------------------------------------------

  /** @param {Flavour} flavour */
  function traitsOf(flavour) {
    const [client, era] = flavour.split('-');
    return { mobile: client === 'mobile', era: Number(era) };
  }

  // --- Identities (§7.1) ----------------------------------------------------------------------

  const RSA = { name: 'RSA-OAEP', hash: 'SHA-256' };

  /**
   * The member order that browsers export. Node's differs.
   *
   * @param {object} jwk
   */
  const webOrder = (jwk) =>
    JSON.stringify(Object.fromEntries(Object.entries(jwk).sort(([a], [b]) => (a < b ? -1 : 1))));

  /** @returns {Promise<IdentityJwks>} */
  async function createIdentity() {
    const pair = await subtle.generateKey(
      { ...RSA, modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
      true,
      ['encrypt', 'decrypt'],
    );
    return {
      publicKey: webOrder(await subtle.exportKey('jwk', pair.publicKey)),
      privateKey: webOrder(await subtle.exportKey('jwk', pair.privateKey)),
    };
  }

  // --- Private key at rest (§7.3) -------------------------------------------------------------

  const V2_ITERATIONS = 100_000;
  const V1_ITERATIONS = 1000;

  /** @param {Flavour} flavour web takes Latin-1 bytes of passphrase and salt, mobile UTF-8 */
  const passphraseBytes = (flavour) => (traitsOf(flavour).mobile ? utf8 : latin1);

  /**
   * @param {Flavour} flavour
   * @param {string} passphrase
   * @param {string} salt
   * @param {number} iterations
   * @param {'AES-CBC' | 'AES-GCM'} cipher
   */
  async function derivePassphraseKey(flavour, passphrase, salt, iterations, cipher) {
    const toBytes = passphraseBytes(flavour);
    const base = await subtle.importKey('raw', toBytes(passphrase), 'PBKDF2', false, ['deriveKey']);
    return subtle.deriveKey(
      { name: 'PBKDF2', hash: 'SHA-256', salt: toBytes(salt), iterations },
      base,
      { name: cipher, length: 256 },
      false,
      ['encrypt', 'decrypt'],
    );
  }

  /**
   * Writes the envelope that this flavour stores as `private_key`: v2 from 7.13 on, v1 before.
   *
   * @param {Flavour} flavour
   * @param {string} privateKey
   * @param {string} passphrase
   * @param {string} userId
   */
  async function lockPrivateKey(flavour, privateKey, passphrase, userId) {
    const { mobile, era } = traitsOf(flavour);
    if (era < 8) {
      const iv = randomBytes(16);
      const key = await derivePassphraseKey(flavour, passphrase, userId, V1_ITERATIONS, 'AES-CBC');
      const sealed = await subtle.encrypt({ name: 'AES-CBC', iv }, key, utf8(privateKey));
      return JSON.stringify({ $binary: toBase64(concat(iv, new Uint8Array(sealed))) });
    }
    const iv = randomBytes(12);
    const salt = `v2:${userId}:${mobile ? 'mobile' : globalThis.crypto.randomUUID()}`;
    const key = await derivePassphraseKey(flavour, passphrase, salt, V2_ITERATIONS, 'AES-GCM');
    const sealed = await subtle.encrypt({ name: 'AES-GCM', iv }, key, utf8(privateKey));
    return JSON.stringify({
      iv: toBase64(iv),
      ciphertext: toBase64(new Uint8Array(sealed)),
      salt,
      iterations: V2_ITERATIONS,
    });
  }

  /**
   * Opens a stored `private_key`, of any version this flavour knows.
   *
   * @param {Flavour} flavour
   * @param {string} stored
   * @param {string} passphrase
   * @param {string} userId
   */
  async function unlockPrivateKey(flavour, stored, passphrase, userId) {
    const envelope = JSON.parse(stored);
    if ('$binary' in envelope) {
      const bytes = fromBase64(envelope.$binary);
      const key = await derivePassphraseKey(flavour, passphrase, userId, V1_ITERATIONS, 'AES-CBC');
      const iv = bytes.slice(0, 16);
      return fromUtf8(await subtle.decrypt({ name: 'AES-CBC', iv }, key, bytes.slice(16)));
    }
    if (traitsOf(flavour).era < 8) throw new Error(`${flavour} does not know v2 envelopes`);
    const { iv, ciphertext, salt, iterations } = envelope;
    const key = await derivePassphraseKey(flavour, passphrase, salt, iterations, 'AES-GCM');
    return fromUtf8(
      await subtle.decrypt({ name: 'AES-GCM', iv: fromBase64(iv) }, key, fromBase64(ciphertext)),
    );
  }

  // --- Room keys (§7.2, §7.5) -----------------------------------------------------------------

  /** The base64 of 256 RSA bytes. */
  const WRAPPED_LENGTH = 344;

  /**
   * Makes the key that this flavour gives to a new room.
   *
   * @param {Flavour} flavour
   * @returns {Promise<RoomKeyJwk>}
   */
  async function createRoomKey(flavour) {
    const { mobile, era } = traitsOf(flavour);
    const members = {
      kty: 'oct',
      alg: era < 8 ? 'A128CBC' : 'A256GCM',
      k: toBase64Url(randomBytes(era < 8 ? 16 : 32)),
      ext: true,
      key_ops: ['encrypt', 'decrypt'],
    };
    const jwk = mobile ? JSON.stringify(members) : webOrder(members);
    return { keyId: await createKeyId(era, jwk), jwk };
  }

  /** @param {number} era @param {string} jwk */
  async function createKeyId(era, jwk) {
    if (era >= 8) return globalThis.crypto.randomUUID();
    if (era === 7) return (await sha256(utf8(jwk))).slice(0, 12);
    return toBase64(utf8(jwk)).slice(0, 12);
  }

  /**
   * @param {RoomKeyJwk} roomKey
   * @param {string} publicKey
   */
  async function wrapRoomKey(roomKey, publicKey) {
    const key = await subtle.importKey('jwk', JSON.parse(publicKey), RSA, true, ['encrypt']);
    const wrapped = await subtle.encrypt({ name: 'RSA-OAEP' }, key, utf8(roomKey.jwk));
    return roomKey.keyId + toBase64(new Uint8Array(wrapped));
  }

  /**
   * Before 7.13 the key id is cut at 12 characters, and the JWK text is asked for it again:
   * rewrapping a key with another member order changes its id for these clients.
   *
   * @param {Flavour} flavour
   * @param {string} wrapped
   * @param {string} privateKey
   * @returns {Promise<RoomKeyJwk>}
   */
  async function unwrapRoomKey(flavour, wrapped, privateKey) {
    const { era } = traitsOf(flavour);
    const idLength = era < 8 ? 12 : wrapped.length - WRAPPED_LENGTH;
    const ciphertext = fromBase64(wrapped.slice(idLength));
    if (idLength < 1 || ciphertext.length !== 256) throw new Error('Not a wrapped room key');
    const key = await subtle.importKey('jwk', JSON.parse(privateKey), RSA, true, ['decrypt']);
    const jwk = fromUtf8(await subtle.decrypt({ name: 'RSA-OAEP' }, key, ciphertext));
    const { alg } = JSON.parse(jwk);
    if (era < 8 && alg !== 'A128CBC') throw new Error(`${flavour} does not know ${alg}`);
    return { keyId: era < 8 ? await createKeyId(era, jwk) : wrapped.slice(0, idLength), jwk };
  }

  /**
   * `alg` decides the cipher, whatever the envelope says (§7.4).
   *
   * @param {RoomKeyJwk} roomKey
   */
  async function importRoomKey({ jwk }) {
    const members = JSON.parse(jwk);
    const name = { A256GCM: 'AES-GCM', A128CBC: 'AES-CBC' }[String(members.alg)];
    if (!name) throw new Error(`Not a room key: ${members.alg}`);
    const key = await subtle.importKey('jwk', members, name, true, ['encrypt', 'decrypt']);
    return { name, key, ivLength: name === 'AES-GCM' ? 12 : 16 };
  }

  // --- Messages (§6, §7.4, §7.6) --------------------------------------------------------------

  const V1 = 'rc.v1.aes-sha2';
  const V2 = 'rc.v2.aes-sha2';

  /**
   * Encrypts a payload and lays it out in one of the forms of §7.4.
   *
   * @param {Form} form
   * @param {RoomKeyJwk} roomKey
   * @param {object | string} payload an object, or EJSON text to be taken as it is
   * @returns {Promise<MessageDocument>}
   */
  async function writeMessage(form, roomKey, payload) {
    const { name, key, ivLength } = await importRoomKey(roomKey);
    if ((form === 'c') !== (name === 'AES-GCM')) throw new Error(`Form ${form} is not for ${name}`);
    const plaintext = utf8(typeof payload === 'string' ? payload : ejson.stringify(payload));
    const iv = randomBytes(ivLength);
    const sealed = new Uint8Array(await subtle.encrypt({ name, iv }, key, plaintext));

    const document = /** @type {const} */ ({ t: 'e2e', e2e: 'pending' });
    if (form === 'c' || form === 'd') {
      const ciphertext = toBase64(sealed);
      const content = { algorithm: V2, kid: roomKey.keyId, iv: toBase64(iv), ciphertext };
      return { ...document, msg: '', content };
    }
    const ciphertext = roomKey.keyId + toBase64(concat(iv, sealed));
    const content = { algorithm: V1, ciphertext };
    if (form === 'a') return { ...document, msg: ciphertext };
    if (form === 'b') return { ...document, msg: '', content };
    return { ...document, msg: ciphertext, content };
  }

  /**
   * Writes what this flavour sends for a message. `meta` is what the oldest payload repeats inside
   * the envelope.
   *
   * @param {Flavour} flavour
   * @param {RoomKeyJwk} roomKey
   * @param {object & { msg?: string }} payload
   * @param {{ _id?: string, userId?: string, ts?: Date }} [meta]
   * @returns {Promise<MessageDocument>}
   */
  async function encryptMessage(flavour, roomKey, payload, meta = {}) {
    const { mobile, era } = traitsOf(flavour);
    if (era >= 8) {
      const gcm = JSON.parse(roomKey.jwk).alg === 'A256GCM';
      return writeMessage(gcm ? 'c' : mobile ? 'b' : 'd', roomKey, payload);
    }
    if (era === 7 && !mobile) return writeMessage('b', roomKey, payload);
    const { _id = 'messageId00000001', userId = 'userId00000000001', ts = new Date() } = meta;
    const oldPayload = { _id, text: payload.msg, userId, ts };
    const oldest = await writeMessage('a', roomKey, oldPayload);
    if (era < 7) return oldest;
    // Mobile wrote form e with two envelopes: the old payload in `msg`, the new one in `content`.
    return { ...(await writeMessage('b', roomKey, payload)), msg: oldest.msg };
  }

  /**
   * Decrypts one envelope to its EJSON text: the `content` of a message or upload, or a `msg`.
   *
   * @param {Flavour} flavour
   * @param {KeyRing} keys
   * @param {Content | string} envelope
   */
  async function openEnvelope(flavour, keys, envelope) {
    const { kid, iv, ciphertext } = parseEnvelope(envelope);
    const { name, key } = await importRoomKey(chooseKey(flavour, keys, kid));
    return fromUtf8(await subtle.decrypt({ name, iv }, key, ciphertext));
  }

  /** @param {Content | string} envelope */
  function parseEnvelope(envelope) {
    if (typeof envelope === 'string' || envelope.algorithm === V1) {
      const text = typeof envelope === 'string' ? envelope : envelope.ciphertext;
      const bytes = fromBase64(text.slice(12));
      return { kid: text.slice(0, 12), iv: bytes.slice(0, 16), ciphertext: bytes.slice(16) };
    }
    const { algorithm, kid = '', iv = '', ciphertext } = envelope;
    if (algorithm !== V2) throw new Error(`Unsupported algorithm: ${algorithm}`);
    return { kid, iv: fromBase64(iv), ciphertext: fromBase64(ciphertext) };
  }

  /** @param {Flavour} flavour @param {KeyRing} keys @param {string} kid */
  function chooseKey(flavour, { current, old = [] }, kid) {
    const { mobile, era } = traitsOf(flavour);
    if (mobile && kid === current.keyId) return current;
    const oldKey = era < 7 ? undefined : old.find(({ keyId }) => keyId === kid);
    const guesses = mobile ? era < 8 : era > 6;
    if (!oldKey && !guesses && kid !== current.keyId) throw new Error(`No key ${kid}`);
    return oldKey ?? current;
  }

  /**
   * Reads a message as this flavour does, and answers the payload it lays over the message.
   *
   * @param {Flavour} flavour
   * @param {KeyRing} keys
   * @param {MessageFields} message
   * @returns {Promise<Record<string, any>>}
   */
  async function decryptMessage(flavour, keys, { msg, content }) {
    const { era } = traitsOf(flavour);
    const known = era >= 8 ? [V1, V2] : era === 7 ? [V1] : [];
    const envelope = content && known.includes(content.algorithm) ? content : msg;
    if (!envelope) throw new Error(`${flavour} finds nothing it can read`);
    const payload = ejson.parse(await openEnvelope(flavour, keys, envelope));
    if (typeof payload !== 'object' || payload === null) throw new Error('Not a payload');
    const { text, ...rest } = payload;
    return text === undefined || 'msg' in rest ? payload : { ...rest, msg: text };
  }

  // --- Files (§5.5) ---------------------------------------------------------------------------

  /**
   * @param {Bytes} data
   * @param {string} name
   * @param {Bytes} [iv]
   * @returns {Promise<EncryptedFile>}
   */
  async function encryptFile(data, name, iv = randomBytes(16)) {
    const key = await subtle.generateKey({ name: 'AES-CTR', length: 256 }, true, [
      'encrypt',
      'decrypt',
    ]);
    const counter = { name: 'AES-CTR', counter: iv, length: 64 };
    return {
      data: new Uint8Array(await subtle.encrypt(counter, key, data)),
      name: await sha256(utf8(name)),
      encryption: { key: await subtle.exportKey('jwk', key), iv: toBase64(iv) },
      hashes: { sha256: await sha256(data) },
    };
  }

  /**
   * Web leaves the hash unchecked, mobile checks it.
   *
   * @param {Bytes} data
   * @param {FileSecrets} secrets
   * @returns {Promise<Bytes>}
   */
  async function decryptFile(data, { encryption, hashes }) {
    const key = await subtle.importKey('jwk', encryption.key, 'AES-CTR', true, ['decrypt']);
    const counter = { name: 'AES-CTR', counter: fromBase64(encryption.iv), length: 64 };
    const plain = new Uint8Array(await subtle.decrypt(counter, key, data));
    if ((await sha256(plain)) !== hashes.sha256) throw new Error('The file is not what was hashed');
    return plain;
  }

  /** @param {string} name */
  const extensionOf = (name) => /.\.([^.]+)$/s.exec(name)?.[1]?.toUpperCase() ?? 'file';

  /**
   * The payload of the message that shows an uploaded file.
   *
   * @param {Flavour} flavour
   * @param {UploadedFile} upload
   */
  function fileMessage(flavour, upload) {
    const { fileId, url, name, type, size, width, height, msg = '' } = upload;
    const { mobile } = traitsOf(flavour);
    const format = extensionOf(name);
    const kind = /^(image|audio|video)\//.exec(type)?.[1];
    const dimensions = kind === 'image' && width && height && { width, height };
    const attachment = {
      title: name,
      type: 'file',
      title_link: url,
      title_link_download: true,
      encryption: upload.encryption,
      hashes: upload.hashes,
      ...(mobile ? msg && { description: msg } : { fileId }),
      ...(kind
        ? { [`${kind}_url`]: url, [`${kind}_type`]: type, [`${kind}_size`]: size }
        : { size, format }),
      ...(dimensions && { image_dimensions: dimensions }),
    };
    const file = { _id: fileId, name, type, size, ...(!mobile && { format }) };
    return { attachments: [attachment], files: [file], file, ...(!mobile && { msg }) };
  }

  /**
   * The payload of the envelope that goes with the upload itself.
   *
   * @param {Pick<UploadedFile, 'name' | 'type' | 'encryption' | 'hashes'>} upload
   */
  function uploadMetadata({ name, type, encryption, hashes }) {
    return { type, typeGroup: type.split('/')[0], name, encryption, hashes };
  }

  // --- Off the record (servers up to 7.x) ------------------------------------------------------

  const P256 = { name: 'ECDH', namedCurve: 'P-256' };

  /**
   * An ephemeral pair. A client keeps the private half to itself; here it travels as a JWK, so that
   * the model keeps no state.
   *
   * @returns {Promise<{ publicKey: string, privateKey: string }>}
   */
  async function createOtrPair() {
    const pair = await subtle.generateKey(P256, true, ['deriveKey', 'deriveBits']);
    return {
      publicKey: ejson.stringify(await subtle.exportKey('jwk', pair.publicKey)),
      privateKey: ejson.stringify(await subtle.exportKey('jwk', pair.privateKey)),
    };
  }

  /**
   * The session key: the first 16 bytes of SHA-256 over the 256 shared bits.
   *
   * @param {string} privateKey
   * @param {string} peerKey
   * @returns {Promise<Bytes>}
   */
  async function agreeOtrKey(privateKey, peerKey) {
    const own = await subtle.importKey('jwk', ejson.parse(privateKey), P256, false, ['deriveBits']);
    const peer = await subtle.importKey('jwk', ejson.parse(peerKey), P256, false, []);
    const bits = await subtle.deriveBits({ name: 'ECDH', public: peer }, own, 256);
    return new Uint8Array(await subtle.digest('SHA-256', bits)).slice(0, 16);
  }

  /** @param {Bytes} key */
  const importOtrKey = (key) =>
    subtle.importKey('raw', key, 'AES-GCM', false, ['encrypt', 'decrypt']);

  /**
   * @param {Bytes} key
   * @param {object | string} payload an object, or EJSON text to be taken as it is
   */
  async function sealOtr(key, payload) {
    const iv = randomBytes(12);
    const plaintext = utf8(typeof payload === 'string' ? payload : ejson.stringify(payload));
    const cipher = { name: 'AES-GCM', iv };
    const sealed = await subtle.encrypt(cipher, await importOtrKey(key), plaintext);
    return ejson.stringify(concat(iv, new Uint8Array(sealed)));
  }

  /**
   * @param {Bytes} key
   * @param {string} msg
   * @returns {Promise<Record<string, any>>}
   */
  async function openOtr(key, msg) {
    /** @type {Bytes} */
    const bytes = ejson.parse(msg);
    const cipher = { name: 'AES-GCM', iv: bytes.slice(0, 12) };
    return ejson.parse(
      fromUtf8(await subtle.decrypt(cipher, await importOtrKey(key), bytes.slice(12))),
    );
  }

  // --- Calls from outside a page --------------------------------------------------------------

  /** JSON that carries dates and bytes, both ways. */
  const wire = taggedJson('$wireDate', '$wireBytes');

  /**
   * Runs one function for many lists of arguments, with text alone going in and out.
   *
   * @param {string} request wire JSON of `{ method, calls }`
   * @returns {Promise<string>} wire JSON of the results, in the order of the calls
   */
  async function invoke(request) {
    const { method, calls } = wire.parse(request);
    const run = /** @type {(...args: unknown[]) => unknown} */ (
      /** @type {Record<string, unknown>} */ (client)[method]
    );
    return wire.stringify(
      await Promise.all(calls.map((/** @type {unknown[]} */ args) => run(...args))),
    );
  }

  const client = {
    createIdentity,
    lockPrivateKey,
    unlockPrivateKey,
    createRoomKey,
    wrapRoomKey,
    unwrapRoomKey,
    writeMessage,
    encryptMessage,
    openEnvelope,
    decryptMessage,
    encryptFile,
    decryptFile,
    fileMessage,
    uploadMetadata,
    createOtrPair,
    agreeOtrKey,
    sealOtr,
    openOtr,
    sha256,
  };

  return { ...client, ejson, wire, invoke };
})();

if (typeof module === 'object') module.exports = RocketChatClient;
else Object.assign(globalThis, { RocketChatClient });
