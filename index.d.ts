import { Transform } from 'stream';

/**
 * What went wrong, in a form that stays the same from release to release.
 *
 * - `ERR_E2EE_WRONG_PASSPHRASE`: the passphrase does not open the private key, or the stored key
 *   was changed
 * - `ERR_E2EE_AMBIGUOUS_PASSPHRASE`: Rocket.Chat's web and mobile clients would read the
 *   passphrase differently from each other (it has characters outside ASCII)
 * - `ERR_E2EE_ITERATIONS_OUT_OF_RANGE`: the stored private key asks for fewer than 1,000 or more
 *   than 2,000,000 PBKDF2 iterations; no work was done
 * - `ERR_E2EE_MALFORMED_ENVELOPE`: encrypted content, a stored private key or the description of
 *   an encrypted file has no known form
 * - `ERR_E2EE_MALFORMED_KEY`: a JWK, a wrapped room key or a key id has no known form
 * - `ERR_E2EE_UNSUPPORTED_ALGORITHM`: well formed, but for an algorithm that Rocket.Chat's own
 *   encryption does not use, such as Matrix' in federated rooms
 * - `ERR_E2EE_DECRYPTION_FAILED`: the key does not fit, or the ciphertext was changed
 * - `ERR_E2EE_NO_ROOM_KEY`: no key with the message's key id is held
 * - `ERR_E2EE_WRONG_STORE_SECRET`: the secret does not open the store, or is of another kind than the one
 *   that does
 * - `ERR_E2EE_STORE_CORRUPT`: the store's file or one of its records is damaged; nothing was overwritten
 * - `ERR_E2EE_STORE_MISMATCH`: a record is not what was sealed under its name and version: it was changed,
 *   put in another's place, or sealed under another data key
 * - `ERR_E2EE_STORE_TOO_NEW`: a newer version of this library wrote the store
 * - `ERR_E2EE_STORE_FOREIGN`: the file is not a store of this library
 * - `ERR_E2EE_STORE_CONFLICT`: a record has another version than expected, because somebody else wrote it
 *   first; nothing of the batch was written
 * - `ERR_E2EE_STORE_LOCKED`: another process kept the store locked for longer than the timeout
 * - `ERR_E2EE_STORE_REKEYED`: the store got a new data key from elsewhere; open it again
 * - `ERR_E2EE_STORE_IO`: the operating system refused to read or write the store
 * - `ERR_E2EE_CLOSED`: the object was closed before
 * - `ERR_E2EE_INVALID_ARGUMENT`: the caller passed something that cannot be used
 * - `ERR_E2EE_UNSUPPORTED_PLATFORM`: no native binary for this platform is installed
 * - `ERR_E2EE_INTERNAL`: a bug in this library; nothing was lost
 */
export type E2eeErrorCode = "ERR_E2EE_WRONG_PASSPHRASE" | "ERR_E2EE_AMBIGUOUS_PASSPHRASE" | "ERR_E2EE_ITERATIONS_OUT_OF_RANGE" | "ERR_E2EE_MALFORMED_ENVELOPE" | "ERR_E2EE_MALFORMED_KEY" | "ERR_E2EE_UNSUPPORTED_ALGORITHM" | "ERR_E2EE_DECRYPTION_FAILED" | "ERR_E2EE_NO_ROOM_KEY" | "ERR_E2EE_WRONG_STORE_SECRET" | "ERR_E2EE_STORE_CORRUPT" | "ERR_E2EE_STORE_MISMATCH" | "ERR_E2EE_STORE_TOO_NEW" | "ERR_E2EE_STORE_FOREIGN" | "ERR_E2EE_STORE_CONFLICT" | "ERR_E2EE_STORE_LOCKED" | "ERR_E2EE_STORE_REKEYED" | "ERR_E2EE_STORE_IO" | "ERR_E2EE_CLOSED" | "ERR_E2EE_INVALID_ARGUMENT" | "ERR_E2EE_UNSUPPORTED_PLATFORM" | "ERR_E2EE_INTERNAL";
/**
 * The error of everything that a caller or the network can cause. Switch on `code`; the message
 * is for people, and holds neither secrets nor plaintext.
 */
export declare class E2eeError extends Error {
	/** See {@link E2eeErrorCode}. */
	readonly code: E2eeErrorCode;
	constructor(code: E2eeErrorCode, message: string, options?: {
		cause?: unknown;
	});
}
/** A file's key, as WebCrypto exports it. */
export interface FileKey {
	kty: "oct";
	alg: "A256CTR";
	/** Base64url of the 32 bytes. */
	k: string;
	ext: boolean;
	key_ops: string[];
}
/**
 * What a reader needs to open an encrypted file: two members of the attachment that announces it.
 *
 * Protocol: §5.5.
 */
export interface FileEncryption {
	encryption: {
		key: FileKey;
		/** Base64 of the 16-byte initial counter block. */
		iv: string;
	};
	hashes: {
		/** SHA-256 of the plain bytes, 64 hexadecimal digits. */
		sha256: string;
	};
}
/** An encrypted file, and what a reader needs to open it. */
export interface EncryptedFile extends FileEncryption {
	/** The ciphertext: as long as the plain bytes. */
	data: Buffer;
	/** SHA-256 of the real name in hexadecimal, to upload the file under; where a name was given. */
	name?: string;
}
/** Encrypts what is written to it. */
export interface FileEncryptStream extends Transform, FileEncryption {
	/** As in {@link EncryptedFile}. */
	readonly name?: string;
	/** Known from the start. */
	readonly encryption: FileEncryption["encryption"];
	/** Known once the stream has ended; reading it before throws `ERR_E2EE_INVALID_ARGUMENT`. */
	readonly hashes: FileEncryption["hashes"];
}
/** Decrypts what is written to it. */
export type FileDecryptStream = Transform;
/**
 * Encrypts a file as Rocket.Chat's clients do, off the event loop: AES-256-CTR, a fresh key.
 *
 * @param data - the plain bytes; do not change them before the promise settles
 * @param name - the file's real name, of which only a hash is returned
 * @throws E2eeError (rejects) with code `ERR_E2EE_INVALID_ARGUMENT`.
 *
 * Protocol: §5.5.
 */
export declare function encryptFile(data: Uint8Array, name?: string): Promise<EncryptedFile>;
/**
 * Decrypts a file, off the event loop, and checks its hash before anything is returned.
 *
 * @param data - the ciphertext; do not change it before the promise settles
 * @param file - the attachment that announced the file, or any object with its `encryption` and
 * `hashes`
 * @throws E2eeError (rejects) with code `ERR_E2EE_DECRYPTION_FAILED` when the plain bytes do not
 * have the hash that the sender took, `ERR_E2EE_MALFORMED_ENVELOPE`, `ERR_E2EE_MALFORMED_KEY`,
 * `ERR_E2EE_UNSUPPORTED_ALGORITHM` or `ERR_E2EE_INVALID_ARGUMENT`.
 *
 * Protocol: §5.5.
 */
export declare function decryptFile(data: Uint8Array, file: FileEncryption): Promise<Buffer>;
/**
 * Encrypts a file of any size in constant memory: write the plain bytes, read the ciphertext.
 *
 * @param name - the file's real name, of which only a hash is kept
 * @throws E2eeError with code `ERR_E2EE_INVALID_ARGUMENT`.
 */
export declare function encryptFileStream(name?: string): FileEncryptStream;
/**
 * Decrypts a file of any size in constant memory: write the ciphertext, read the plain bytes.
 *
 * The hash can be checked only at the end. Where it does not fit, the stream fails with
 * `ERR_E2EE_DECRYPTION_FAILED`, and what was read until then is not to be trusted.
 *
 * @param file - as for {@link decryptFile}
 * @throws E2eeError with code `ERR_E2EE_MALFORMED_ENVELOPE`, `ERR_E2EE_MALFORMED_KEY` or
 * `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
 */
export declare function decryptFileStream(file: FileEncryption): FileDecryptStream;
/** Encrypted content of servers before 7.13, and of rooms whose key is AES-128-CBC. */
export interface EncryptedContentV1 {
	algorithm: "rc.v1.aes-sha2";
	/** The key id (12 characters), then base64 of iv (16 bytes) and ciphertext. */
	ciphertext: string;
}
/** Encrypted content since server 7.13. */
export interface EncryptedContentV2 {
	algorithm: "rc.v2.aes-sha2";
	/** The id of the room key. */
	kid: string;
	/** Base64 of the iv: 12 bytes for AES-256-GCM, 16 for AES-128-CBC. */
	iv: string;
	/** Base64 of the ciphertext, for AES-256-GCM with the 16-byte tag at its end. */
	ciphertext: string;
}
/** Encrypted content of a room federated with Matrix. Room keys do not open it. */
export interface EncryptedContentMegolm {
	algorithm: "m.megolm.v1.aes-sha2";
	ciphertext: string;
}
/** The `content` of an encrypted message or upload. */
export type EncryptedContent = EncryptedContentV1 | EncryptedContentV2 | EncryptedContentMegolm;
/**
 * An attachment inside encrypted content. The members of an encrypted file are named; there may
 * be others. A date is a `Date`, bytes are a `Uint8Array`.
 */
export interface MessageAttachment {
	title?: string;
	type?: string;
	description?: string;
	title_link?: string;
	title_link_download?: boolean;
	fileId?: string;
	encryption?: FileEncryption["encryption"];
	hashes?: FileEncryption["hashes"];
	[member: string]: unknown;
}
/** A file's description inside encrypted content. */
export interface MessageFile {
	_id?: string;
	name?: string;
	type?: string;
	/** Bytes. */
	size?: number;
	format?: string;
	[member: string]: unknown;
}
/**
 * What an encrypted message says. Nothing else of a decrypted payload is believed: nothing binds
 * it to its message, its sender or its room.
 */
export interface MessageContent {
	/** The text; empty in a message that is only a file. */
	msg: string;
	attachments?: MessageAttachment[];
	files?: MessageFile[];
	file?: MessageFile;
}
/**
 * Finds the encrypted content of a message.
 *
 * @param message - a message as REST or DDP give it, a database document, or an Apps-Engine
 * `IMessage` or `IMessageRaw` (whose `_unmappedProperties_` have it)
 * @returns the content, or `undefined` where the message is not encrypted. Whether it is, `t`
 * alone says: `e2e`, or `message_pinned_e2e`. Malformed content is returned as it is, so that
 * decrypting it says what is wrong.
 * @throws E2eeError with code `ERR_E2EE_INVALID_ARGUMENT` when `message` is not an object,
 * `ERR_E2EE_MALFORMED_ENVELOPE` when it has no JSON form.
 *
 * Protocol: §4.1, §7.4, §8.1.
 */
export declare function encryptedContentOf(message: object): EncryptedContent | undefined;
/** The `alg` of a room key's JWK. */
export type RoomKeyAlgorithm = "A256GCM" | "A128CBC";
/**
 * The key of one room. Whoever holds it reads and writes everything encrypted under it.
 *
 * Encrypting and decrypting one message is synchronous, since going to another thread would take
 * longer than the work.
 */
export declare class RoomKey {
	#private;
	/** Names the key: a UUID since server 7.13, 12 characters before. */
	readonly keyId: string;
	/** The cipher: AES-256-GCM since server 7.13, AES-128-CBC before. */
	readonly algorithm: RoomKeyAlgorithm;
	private constructor();
	/** Makes a key as Rocket.Chat's clients do since 7.13: AES-256-GCM, a random UUID for its id. */
	static generate(): RoomKey;
	/**
	 * Reads a key.
	 *
	 * @param jwk - JSON text of the JWK: `kty` is `oct`, `alg` is `A256GCM` or `A128CBC`; the order
	 * of members does not matter
	 * @param keyId - 12 or 36 printable ASCII characters; 12 for `A128CBC`
	 * @throws E2eeError with code `ERR_E2EE_MALFORMED_KEY` or `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
	 *
	 * Protocol: §7.2, §7.5.
	 */
	static fromJwk(jwk: string, keyId: string): RoomKey;
	/**
	 * Wraps the key for a member, with RSA-OAEP and SHA-256.
	 *
	 * @param publicKey - JSON text of the member's public JWK: RSA, 2048 bits, exponent 65537
	 * @returns the key id, then 344 characters of base64: an `E2EKey` or `E2ESuggestedKey`
	 * @throws E2eeError (rejects) with code `ERR_E2EE_MALFORMED_KEY` or
	 * `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
	 *
	 * Protocol: §7.2.
	 */
	wrapFor(publicKey: string): Promise<string>;
	/**
	 * Encrypts a message: `rc.v2.aes-sha2` under an AES-256-GCM key, `rc.v1.aes-sha2` under an
	 * AES-128-CBC one, as every client of that key's time reads.
	 *
	 * @param content - only `msg`, `attachments`, `files` and `file` are taken. Dates, bytes
	 * (`Uint8Array`, `ArrayBuffer`), NaN and the infinities may stand anywhere in the latter three.
	 * A lone surrogate becomes U+FFFD.
	 * @throws E2eeError with code `ERR_E2EE_INVALID_ARGUMENT`.
	 *
	 * Protocol: §6, §7.4.
	 */
	encrypt(content: MessageContent): EncryptedContent;
	/**
	 * Decrypts a message of any form that room keys open.
	 *
	 * @param content - what {@link encryptedContentOf} found, or the v1 text that old messages have
	 * in `msg`, or the JSON text of content. Its key id is not compared with this key's.
	 * @throws E2eeError with code `ERR_E2EE_DECRYPTION_FAILED` (this key does not fit, or somebody
	 * changed the message), `ERR_E2EE_MALFORMED_ENVELOPE` or `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
	 *
	 * Protocol: §6, §7.4.
	 */
	decrypt(content: EncryptedContent | string): MessageContent;
	/**
	 * Decrypts many messages off the event loop.
	 *
	 * @returns for each of `contents`, in order, what it says or why it could not be read. One bad
	 * message does not keep the others from being read.
	 */
	decryptMany(contents: readonly (EncryptedContent | string)[]): Promise<(MessageContent | E2eeError)[]>;
}
/**
 * A user's RSA key pair: RSA-OAEP, 2048 bits, SHA-256. The private half leaves this object only
 * in the envelope that {@link Identity.lock} makes.
 *
 * Protocol: §7.1, §7.3.
 */
export declare class Identity {
	#private;
	/** JSON text of the public JWK, as Rocket.Chat stores it in `e2e.public_key`. */
	readonly publicKey: string;
	/**
	 * SHA-256 over the public key's SubjectPublicKeyInfo, in hexadecimal, in 16 groups of four, for
	 * people to compare.
	 */
	readonly fingerprint: string;
	private constructor();
	/** Makes a key pair, off the event loop; about 50 ms, more when the primes are slow to come. */
	static generate(): Promise<Identity>;
	/**
	 * Opens a stored private key, off the event loop. Both forms are read, v1 and v2, of web and of
	 * mobile clients, which turn a passphrase outside ASCII into different bytes.
	 *
	 * @param storedPrivateKey - `e2e.private_key` of the user, a JSON text
	 * @param passphrase - the user's E2EE password
	 * @param userId - the user's `_id`, the salt of form v1
	 * @throws E2eeError (rejects) with code `ERR_E2EE_WRONG_PASSPHRASE`,
	 * `ERR_E2EE_MALFORMED_ENVELOPE`, `ERR_E2EE_ITERATIONS_OUT_OF_RANGE`, or
	 * `ERR_E2EE_MALFORMED_KEY` when what was sealed is not a private key.
	 *
	 * Protocol: §7.3.
	 */
	static unlock(storedPrivateKey: string, passphrase: string, userId: string): Promise<Identity>;
	/**
	 * Reads a private JWK.
	 *
	 * @param jwk - JSON text with `n`, `e`, `d`, `p` and `q`, which must fit each other
	 * @throws E2eeError with code `ERR_E2EE_MALFORMED_KEY` or `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
	 */
	static fromPrivateJwk(jwk: string): Identity;
	/**
	 * Seals the private key as the web client does, off the event loop: AES-256-GCM with a key
	 * stretched by PBKDF2-HMAC-SHA256, 100,000 iterations, salt `v2:<userId>:<uuid>`.
	 *
	 * @param passphrase - ASCII, since the official clients read nothing else alike; not empty
	 * @param userId - the user's `_id`: printable ASCII, at most 128 characters
	 * @returns the JSON text for `e2e.private_key`
	 * @throws E2eeError (rejects) with code `ERR_E2EE_AMBIGUOUS_PASSPHRASE` or
	 * `ERR_E2EE_INVALID_ARGUMENT`.
	 *
	 * Protocol: §7.3.
	 */
	lock(passphrase: string, userId: string): Promise<string>;
	/**
	 * Opens a wrapped room key, off the event loop.
	 *
	 * @param wrapped - an `E2EKey`, `E2ESuggestedKey` or `oldRoomKeys[].E2EKey`: the key id, then
	 * 344 characters of base64
	 * @throws E2eeError (rejects) with code `ERR_E2EE_DECRYPTION_FAILED` when it was wrapped for
	 * somebody else or changed, `ERR_E2EE_MALFORMED_KEY` or `ERR_E2EE_UNSUPPORTED_ALGORITHM`.
	 *
	 * Protocol: §7.2.
	 */
	unwrapRoomKey(wrapped: string): Promise<RoomKey>;
}
/**
 * Makes a passphrase for an identity as Rocket.Chat's clients do: 12 of 2,048 English words,
 * joined by spaces; 132 bits of randomness.
 */
export declare function generatePassphrase(): string;
declare class Vault {
	#private;
	private constructor();
}
/** A record as a store keeps it. */
export interface SealedRecord {
	/** What the record is called; not secret. */
	name: string;
	/** How often it was written; 1 for a new one. */
	version: number;
	/** The record, sealed under its name and version. */
	data: Uint8Array;
}
/** One change of a batch. */
export interface RecordChange {
	/** 1 to 1,000 characters; not `vault`, which is the store's own. */
	name: string;
	/** The version that the record must have; 0 where it must not exist. */
	expected: number;
	/**
	 * The record, sealed under its name and the version `expected + 1`, which it gets; `null` removes
	 * it.
	 */
	data: Uint8Array | null;
}
/**
 * Keeps sealed records. The store's backend sees their names, versions and lengths, and no more.
 *
 * Every call of a closed store but `close` rejects with `ERR_E2EE_CLOSED`.
 */
export interface RecordStore {
	/**
	 * Seals and opens the records.
	 *
	 * @internal
	 */
	readonly vault: Vault;
	/**
	 * The records whose names begin with `prefix`, all of one moment, in the order of their names'
	 * UTF-8 bytes.
	 *
	 * @throws E2eeError (rejects) with one of the codes for stores.
	 */
	load(prefix: string): Promise<SealedRecord[]>;
	/**
	 * Writes all changes or none. When the promise resolves, they outlive the process and, in stores
	 * that outlive it at all, loss of power.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_STORE_CONFLICT` when a record has another
	 * version than expected, `ERR_E2EE_STORE_MISMATCH` when `data` was not sealed by this store's
	 * vault for its place, `ERR_E2EE_INVALID_ARGUMENT`, or another of the codes for stores.
	 */
	commit(batch: readonly RecordChange[]): Promise<void>;
	/**
	 * Claims `id` for `ttl` milliseconds, among all processes that share the store.
	 *
	 * @param id - 1 to 1,000 characters; not secret
	 * @param ttl - at least 1
	 * @returns whether nobody held it
	 * @throws E2eeError (rejects) as {@link RecordStore.load}, or `ERR_E2EE_INVALID_ARGUMENT`.
	 */
	claim(id: string, ttl: number): Promise<boolean>;
	/** Lets go of files and connections. May be called again. */
	close(): Promise<void>;
}
/** A key management service, which keeps the key that wraps a store's data key. */
export interface KeyManagement {
	/**
	 * Wraps the store's data key.
	 *
	 * @param key - 32 bytes, which are wiped when the promise settles
	 * @returns 1 to 65,536 bytes, to be stored
	 */
	wrap(key: Uint8Array): Promise<Uint8Array>;
	/** Unwraps what {@link KeyManagement.wrap} returned. */
	unwrap(wrapped: Uint8Array): Promise<Uint8Array>;
}
/**
 * What opens a store: a secret string, which is stretched by PBKDF2-HMAC-SHA256 with 600,000
 * iterations; 32 random bytes; or a key management service, whose own errors pass unchanged.
 */
export type StoreSecret = string | Uint8Array | KeyManagement;
/**
 * Keeps records in this process, and forgets them with it: for tests, and for replicas that
 * rebuild everything from the server when they start.
 */
export declare class MemoryStore implements RecordStore {
	#private;
	/** @internal */
	readonly vault: Vault;
	private constructor();
	/** Makes an empty store, with a data key of its own. */
	static open(): Promise<MemoryStore>;
	load(prefix: string): Promise<SealedRecord[]>;
	commit(batch: readonly RecordChange[]): Promise<void>;
	claim(id: string, ttl: number): Promise<boolean>;
	close(): Promise<void>;
}
/** How {@link SqliteStore.open} opens a store. */
export interface SqliteStoreOptions {
	/** What wraps the data key. */
	secret: StoreSecret;
	/** How long every call waits while other processes write, in milliseconds; 5,000 at first. */
	timeout?: number;
}
/**
 * Keeps records in one SQLite file, for any number of processes of one machine: not on a network
 * file system. Beside the file stand its log and index (`-wal`, `-shm`) while it is open; a copy of
 * an open store needs all three.
 *
 * What is committed survives the end of the process and loss of power. Nothing runs on the event
 * loop.
 */
export declare class SqliteStore implements RecordStore {
	#private;
	private constructor();
	/**
	 * Opens the store in a file, or makes one, readable by this user alone (mode 0600), where there
	 * is none. Processes that do so at once end with one store.
	 *
	 * @param path - the file; its folder must exist, and its file system must have hard links
	 * @throws E2eeError (rejects) with code `ERR_E2EE_WRONG_STORE_SECRET`, `ERR_E2EE_STORE_CORRUPT`,
	 * `ERR_E2EE_STORE_FOREIGN`, `ERR_E2EE_STORE_TOO_NEW`, `ERR_E2EE_STORE_LOCKED`,
	 * `ERR_E2EE_STORE_IO` or `ERR_E2EE_INVALID_ARGUMENT`; the file is then as it was.
	 */
	static open(path: string, options: SqliteStoreOptions): Promise<SqliteStore>;
	/** @internal */
	get vault(): Vault;
	load(prefix: string): Promise<SealedRecord[]>;
	commit(batch: readonly RecordChange[]): Promise<void>;
	claim(id: string, ttl: number): Promise<boolean>;
	/**
	 * Wraps the data key with another secret, of any kind. Records stay as they are, and processes
	 * that have the store open go on.
	 *
	 * Whoever had the file and the secret before has had the data key: {@link SqliteStore.rekey}
	 * changes that for what is written from then on.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_STORE_CONFLICT` when another process changed
	 * the secret meanwhile, `ERR_E2EE_STORE_REKEYED`, `ERR_E2EE_INVALID_ARGUMENT`, or another of
	 * the codes for stores; the secret is then as it was.
	 */
	changeSecret(next: StoreSecret): Promise<void>;
	/**
	 * Draws a new data key, wraps it with the present secret and reseals every record, at once.
	 * Whatever else uses the store must open it again: other processes' calls reject with
	 * `ERR_E2EE_STORE_REKEYED`. Close participants of this process before.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_STORE_MISMATCH` when a record does not open,
	 * `ERR_E2EE_WRONG_STORE_SECRET` when another process changed the secret, or as
	 * {@link SqliteStore.changeSecret}; the store is then as it was.
	 */
	rekey(): Promise<void>;
	/** Closes the file; it may be moved or removed then. */
	close(): Promise<void>;
}

export {};
