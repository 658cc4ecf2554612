import { EventEmitter } from 'events';
import { Readable, Transform } from 'stream';

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
 * - `ERR_E2EE_ROOM_NOT_AUTHORIZED`: the room is not authorised: neither read nor sent to nor given keys
 * - `ERR_E2EE_NOT_A_MEMBER`: the account is not in the room any more
 * - `ERR_E2EE_IDENTITY_REVOKED`: the identity was revoked; the participant does nothing any more
 * - `ERR_E2EE_OUTBOX_FULL`: too many messages wait to be sent in this room
 * - `ERR_E2EE_DISABLED`: the workspace has end-to-end encryption (`E2E_Enable`), or that of files
 *   (`E2E_Enable_Encrypt_Files`), switched off
 * - `ERR_E2EE_KEY_BUDGET`: the room's key has encrypted 2^32 messages; reset it
 * - `ERR_E2EE_EXPIRED`: a message waited longer than it may, and was not sent
 * - `ERR_E2EE_ROOM_NOT_ENCRYPTED`: the room's encryption is switched off; nothing is sent to it
 * - `ERR_E2EE_ROOM_NOT_ENCRYPTABLE`: rooms of this type are never encrypted: public channels, and
 *   discussions in them
 * - `ERR_E2EE_OTR_UNAVAILABLE`: off-the-record sessions are not to be had: the server is of 8.0 or later
 *   or has them switched off, the room is no direct message of two, or there is no realtime connection
 * - `ERR_E2EE_OTR_DECLINED`: the peer refused the off-the-record session
 * - `ERR_E2EE_OTR_TIMEOUT`: the peer did not answer in time
 * - `ERR_E2EE_OTR_NOT_ESTABLISHED`: no off-the-record session is established, or it ended meanwhile
 * - `ERR_E2EE_WORKSPACE`: the server refused a request, or gave no usable answer in time; see
 *   `status` and `errorType`
 * - `ERR_E2EE_RATE_LIMITED`: the server's rate limit would have outlasted the request's deadline
 * - `ERR_E2EE_CLOSED`: `close()` was called
 * - `ERR_E2EE_INVALID_ARGUMENT`: the caller passed something that cannot be used
 * - `ERR_E2EE_UNSUPPORTED_PLATFORM`: no native binary for this platform is installed
 * - `ERR_E2EE_INTERNAL`: a bug in this library; nothing was lost
 */
export type E2eeErrorCode = "ERR_E2EE_WRONG_PASSPHRASE" | "ERR_E2EE_AMBIGUOUS_PASSPHRASE" | "ERR_E2EE_ITERATIONS_OUT_OF_RANGE" | "ERR_E2EE_MALFORMED_ENVELOPE" | "ERR_E2EE_MALFORMED_KEY" | "ERR_E2EE_UNSUPPORTED_ALGORITHM" | "ERR_E2EE_DECRYPTION_FAILED" | "ERR_E2EE_NO_ROOM_KEY" | "ERR_E2EE_WRONG_STORE_SECRET" | "ERR_E2EE_STORE_CORRUPT" | "ERR_E2EE_STORE_MISMATCH" | "ERR_E2EE_STORE_TOO_NEW" | "ERR_E2EE_STORE_FOREIGN" | "ERR_E2EE_STORE_CONFLICT" | "ERR_E2EE_STORE_LOCKED" | "ERR_E2EE_STORE_REKEYED" | "ERR_E2EE_STORE_IO" | "ERR_E2EE_ROOM_NOT_AUTHORIZED" | "ERR_E2EE_NOT_A_MEMBER" | "ERR_E2EE_IDENTITY_REVOKED" | "ERR_E2EE_OUTBOX_FULL" | "ERR_E2EE_DISABLED" | "ERR_E2EE_KEY_BUDGET" | "ERR_E2EE_EXPIRED" | "ERR_E2EE_ROOM_NOT_ENCRYPTED" | "ERR_E2EE_ROOM_NOT_ENCRYPTABLE" | "ERR_E2EE_OTR_UNAVAILABLE" | "ERR_E2EE_OTR_DECLINED" | "ERR_E2EE_OTR_TIMEOUT" | "ERR_E2EE_OTR_NOT_ESTABLISHED" | "ERR_E2EE_WORKSPACE" | "ERR_E2EE_RATE_LIMITED" | "ERR_E2EE_CLOSED" | "ERR_E2EE_INVALID_ARGUMENT" | "ERR_E2EE_UNSUPPORTED_PLATFORM" | "ERR_E2EE_INTERNAL";
/**
 * The error of everything that a caller or the network can cause. Switch on `code`; the message
 * is for people, and holds neither secrets nor plaintext.
 */
export declare class E2eeError extends Error {
	/** See {@link E2eeErrorCode}. */
	readonly code: E2eeErrorCode;
	/**
	 * With `ERR_E2EE_WORKSPACE` and `ERR_E2EE_RATE_LIMITED`: the HTTP status of the last answer.
	 * Absent when there was none, so that the server may or may not have acted.
	 */
	readonly status?: number;
	/** With `ERR_E2EE_WORKSPACE`: Rocket.Chat's own code, such as `error-invalid-room`. */
	readonly errorType?: string;
	constructor(code: E2eeErrorCode, message: string, options?: {
		cause?: unknown;
		status?: number | undefined;
		errorType?: string | undefined;
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
/**
 * Where an off-the-record session stands.
 *
 * - `NOT_STARTED`: nothing is under way
 * - `REQUESTED`: the peer asks; the application has ten seconds to accept or decline
 * - `ESTABLISHING`: we have asked, or asked for new keys
 * - `ESTABLISHED`: messages can be sent and read
 * - `DECLINED`: the peer refused
 * - `TIMEOUT`: nobody answered in time
 * - `ERROR`: the server did not take the handshake or its answer
 */
export type OtrState = "NOT_STARTED" | "REQUESTED" | "ESTABLISHING" | "ESTABLISHED" | "DECLINED" | "TIMEOUT" | "ERROR";
/** An off-the-record message of the peer's. It is nowhere else. */
export interface OtrMessage {
	roomId: string;
	messageId: string;
	/** The sender: always the peer. */
	userId: string;
	username?: string;
	text: string;
	/** By the sender's clock. */
	ts?: Date;
}
/** The events of an {@link OtrSession}, and what they carry. */
export interface OtrSessionEvents {
	/** The state has changed; `ESTABLISHED` comes again after each refresh. */
	state: {
		roomId: string;
		state: OtrState;
	};
	message: OtrMessage;
	/** The peer has read a message of ours. */
	receipt: {
		roomId: string;
		messageId: string;
	};
	/** A message that is not the peer's, was changed, or is under another key; told once for each. */
	undecryptable: {
		roomId: string;
		messageId: string;
		error: E2eeError;
	};
}
/** Somebody asks for an off-the-record session. */
export interface OtrRequest {
	roomId: string;
	/** Who asks, as the event says: the other member of the direct message. */
	userId: string;
	session: OtrSession;
	/**
	 * Within ten seconds.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_OTR_NOT_ESTABLISHED` when the request is over, or
	 * `ERR_E2EE_WORKSPACE` when the server did not take the answer.
	 */
	accept(): Promise<void>;
	/** As {@link OtrRequest.accept}. */
	decline(): Promise<void>;
}
/** A message that was sent off the record. */
export interface SentOtrMessage {
	roomId: string;
	messageId: string;
}
/**
 * An off-the-record session with the other member of a direct message, on servers up to 7.x: see
 * `Participant.otr`. An emitter of {@link OtrSessionEvents}.
 *
 * Its keys are in memory alone, and so are its messages: neither this participant nor the server
 * stores them. Nothing authenticates the keys, so a server that puts in keys of its own can read
 * along.
 */
export declare class OtrSession extends EventEmitter<{
	[E in keyof OtrSessionEvents]: [
		OtrSessionEvents[E]
	];
}> {
	#private;
	/** The direct message. */
	readonly roomId: string;
	private constructor();
	/** Where it stands, as the event `state` last told. */
	get state(): OtrState;
	/**
	 * Asks the peer for a session; resolves when it is established. An established session is begun
	 * anew. Where the peer is asking, or asks meanwhile, that is accepted.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_OTR_UNAVAILABLE` when the server or the room has no
	 * such sessions or the workspace no realtime connection, `ERR_E2EE_OTR_DECLINED`,
	 * `ERR_E2EE_OTR_TIMEOUT` after twelve seconds, `ERR_E2EE_OTR_NOT_ESTABLISHED` when it was ended
	 * meanwhile, `ERR_E2EE_ROOM_NOT_AUTHORIZED`, or `ERR_E2EE_WORKSPACE`.
	 */
	start(): Promise<void>;
	/**
	 * Makes new keys; resolves when the peer has them too. Messages sent meanwhile wait for them.
	 *
	 * @throws E2eeError (rejects) as {@link OtrSession.start}; the session is over then.
	 */
	refresh(): Promise<void>;
	/**
	 * Ends the session, or what would become one, and wipes its keys.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_WORKSPACE` when the peer could not be told; the
	 * session is over all the same.
	 */
	end(): Promise<void>;
	/**
	 * Sends a text; resolves when the server has passed it on. The event `receipt` tells when the peer
	 * has read it.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_OTR_NOT_ESTABLISHED`, or `ERR_E2EE_WORKSPACE` or
	 * `ERR_E2EE_RATE_LIMITED` when the server did not take it. It is not sent later.
	 */
	send(text: string): Promise<SentOtrMessage>;
}
/** An encrypted room to make. Members are usernames, without this account's own. */
export type NewEncryptedRoom = 
/** A private channel, or a private channel of the team `teamId`. */
{
	type: "channel";
	name: string;
	members?: readonly string[];
	teamId?: string;
}
/** A direct message; where these people have one already, it is switched on. */
 | {
	type: "direct";
	members: readonly string[];
}
/** A discussion in a private channel or a direct message. */
 | {
	type: "discussion";
	parentRoomId: string;
	name: string;
	members?: readonly string[];
};
/** A room that was made. */
export interface CreatedRoom {
	roomId: string;
	/** The key of the room; absent where somebody else made it and it is still to come. */
	keyId?: string;
}
/** What is known of a room's encryption. */
export interface RoomEncryption {
	roomId: string;
	/** Whether it is switched on. */
	encrypted: boolean;
	/** The id of the room's key: 36 characters, or 12 from servers before 7.13. It outlives switching off. */
	keyId?: string;
	/** Whether this participant holds that key. */
	holdsKey: boolean;
	/** Ids of members who have a key pair, and have not got the room's key. */
	waiting: string[];
	/**
	 * Ids of members of whom no key pair is known. Either they have none, and cannot be given the key;
	 * or somebody else gave it to them before this participant ever met them: the server does not
	 * tell which.
	 */
	withoutKnownKeyPair: string[];
}
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
/** A claim to make or to lengthen together with a commit. */
export interface Claim {
	/** 1 to 1,000 characters; not secret. */
	id: string;
	/** Milliseconds, at least 1. */
	ttl: number;
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
	 * @param claims - made together with the changes, or lengthened where somebody holds them already,
	 * whoever it is; they outlive what the changes outlive
	 * @throws E2eeError (rejects) with code `ERR_E2EE_STORE_CONFLICT` when a record has another
	 * version than expected, `ERR_E2EE_STORE_MISMATCH` when `data` was not sealed by this store's
	 * vault for its place, `ERR_E2EE_INVALID_ARGUMENT`, or another of the codes for stores.
	 */
	commit(batch: readonly RecordChange[], claims?: readonly Claim[]): Promise<void>;
	/**
	 * Claims `id` for `ttl` milliseconds, among all processes that share the store. The claim outlives
	 * this process; with a loss of power it may go, for all of them.
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
/** One call of a server's REST API. */
export interface WorkspaceRequest {
	readonly method: "GET" | "POST";
	/** Below `/api/v1/`, each segment percent-encoded: `e2e.fetchMyKeys`, `rooms.media/<rid>`. */
	readonly path: string;
	/** A list travels as `roomIds[]=a&roomIds[]=b`, as the official client sends it. */
	readonly query?: Readonly<Record<string, string | readonly string[]>>;
	/** Sent as JSON: a string is taken to be JSON text already. */
	readonly body?: unknown;
	/** Sent as `multipart/form-data`, in place of a body. */
	readonly form?: WorkspaceForm;
	/**
	 * Milliseconds for all attempts together, waits included: 60,000, or 600,000 with a form. An
	 * upload is not cut by it while its bytes move.
	 */
	readonly deadline?: number;
	/**
	 * The server must not act on this twice. It is then repeated only where the server has certainly
	 * not acted (no connection, or refused by the rate limit); after anything else, the call rejects,
	 * without a `status` or with one of 500 and more, and the caller has to find out what happened.
	 */
	readonly once?: boolean;
	/** The second factor, for the few routes that demand one. */
	readonly twoFactor?: {
		readonly method: string;
		readonly code: string;
	};
}
/** A file to upload, and a text beside it. */
export interface WorkspaceForm {
	/**
	 * Bytes; or a function that opens the file anew for each attempt; or something to be read once,
	 * which leaves nothing to repeat after a failure.
	 */
	readonly file: Uint8Array | AsyncIterable<Uint8Array> | (() => AsyncIterable<Uint8Array>);
	/** The number of bytes, where it is known. Without it the upload travels in chunks. */
	readonly size?: number;
	readonly fileName: string;
	/** `application/octet-stream` when absent. */
	readonly contentType?: string;
	/** The field `content`. */
	readonly content?: string;
}
/** A successful answer. */
export interface WorkspaceResponse {
	readonly status: number;
	/** Parsed JSON, as the server sent it. */
	readonly body: unknown;
}
/**
 * What a realtime workspace tells. Documents are passed on as they came, dates as `{$date: ms}`;
 * events can come twice, late, or not at all.
 */
export type WorkspaceEvent = 
/** A message was sent, edited or otherwise updated, in any room of the account. */
{
	readonly type: "message";
	readonly message: object;
}
/** The account's subscription to a room; `action`: `inserted`, `updated`, `removed`. */
 | {
	readonly type: "subscription";
	readonly action: string;
	readonly subscription: object;
}
/** A room of the account; `action`: `inserted`, `updated`, `removed`, `changed`. */
 | {
	readonly type: "room";
	readonly action: string;
	readonly room: object;
}
/** Somebody asks for the key of a room. Anyone can send this: treat it as a hint. */
 | {
	readonly type: "keyRequest";
	readonly roomId: string;
	readonly keyId?: string;
}
/**
 * A control event of off-the-record sessions; `event`: `handshake`, `acknowledge`, `deny`, `end`.
 * Anyone can send this, in anybody's name.
 */
 | {
	readonly type: "otr";
	readonly event: string;
	readonly data: object;
} | {
	readonly type: "messageDeleted";
	readonly roomId: string;
	readonly messageId: string;
}
/**
 * All streams are live. What happened before, since the last `disconnected`, was not told and has
 * to be fetched.
 */
 | {
	readonly type: "connected";
}
/**
 * The streams stand still. With an `error`, for good: the server no longer accepts the account's
 * token or password. Otherwise the workspace is connecting again.
 */
 | {
	readonly type: "disconnected";
	readonly reason: string;
	readonly error?: E2eeError;
};
/**
 * The way to a Rocket.Chat server, with an account. It carries requests and events, and decides
 * nothing about keys.
 *
 * Every method rejects with an `E2eeError`: `ERR_E2EE_WORKSPACE`, `ERR_E2EE_RATE_LIMITED`,
 * `ERR_E2EE_CLOSED` or `ERR_E2EE_INVALID_ARGUMENT`.
 */
export interface Workspace {
	/** The account's id; with a password, known once {@link Workspace.login} or a request is done. */
	readonly userId: string;
	/** Logs in where that takes a password; every other method does so by itself. */
	login?(): Promise<void>;
	/** Resolves with a success only, after as many attempts as fit into the deadline. */
	request(request: WorkspaceRequest): Promise<WorkspaceResponse>;
	/**
	 * Opens an uploaded file by its path, `/file-upload/<id>/<name>`, or by its address on this
	 * server. The stream fails with an `E2eeError` when it is cut.
	 */
	download(path: string): Promise<Readable>;
	/** Only realtime workspaces: resolves once the streams are live. The listener must not throw. */
	subscribe?(listener: (event: WorkspaceEvent) => void): Promise<void>;
	/** Only realtime workspaces: `keyRequest` and `messageDeleted` events of one room. */
	watchRoom?(roomId: string): Promise<void>;
	/** Only realtime workspaces: a DDP method, for what servers of 7.x have no REST route for. */
	callMethod?(name: string, params: readonly unknown[]): Promise<unknown>;
	/** Ends everything under way with `ERR_E2EE_CLOSED`, and every later call. */
	close(): Promise<void>;
}
/** How a {@link Participant} is set up. */
export interface ParticipantOptions {
	/** Names the app or bot, for the audit trail. */
	appId: string;
	workspace: Workspace;
	store: RecordStore;
	/** The account's E2EE password; made, and told once by the event `passphrase`, when absent. */
	passphrase?: string;
	/** The rooms that are authorised from the start; `all` for every encrypted room it is in. */
	rooms: readonly string[] | "all";
	/** Whether members who wait for a key are served; they are unless this is false. */
	distributeKeys?: boolean;
}
/** A message to send. What stands in `mentions` travels in clear, so that people are notified. */
export interface OutgoingMessage {
	msg: string;
	attachments?: MessageAttachment[];
	/** The message whose thread this belongs to. */
	threadId?: string;
	/** Users to notify, with their sigil: `@bob`, `@all`. */
	mentions?: readonly string[];
	/** Channels to link, with their sigil: `#general`. */
	channelMentions?: readonly string[];
	/** How long it may wait for its key or a connection, in milliseconds; ten minutes by default. */
	deadline?: number;
}
/** A file to send. */
export interface OutgoingFile {
	/** Its real name, which only readers see. */
	name: string;
	/** Its media type, which only readers see. */
	type?: string;
	data: Uint8Array | Readable;
	/** Of an image, in pixels, so that readers can leave the room for it. */
	dimensions?: {
		width: number;
		height: number;
	};
	/** A text to go with it. */
	msg?: string;
	/** The message whose thread this belongs to. */
	threadId?: string;
}
/** For {@link Participant.resetIdentity}. */
export interface IdentityReset {
	/**
	 * The second factor that the server demands. `method`: `totp`, `email`, or `password` for an account
	 * without an authenticator; `code`: its code, or the SHA-256 of the password in hexadecimal.
	 */
	twoFactor: {
		method: string;
		code: string;
	};
	/** The new passphrase; made, and told once by the event `passphrase`, when absent. */
	passphrase?: string;
}
/** What {@link Participant.importKeys} took. */
export interface ImportReport {
	/** Keys that were not held before. */
	keys: number;
	/** Rooms of the bundle that are not authorised here. */
	skippedRooms: number;
}
/** A message that was sent. */
export interface SentMessage {
	roomId: string;
	messageId: string;
	/** The key that it was encrypted under. */
	keyId: string;
}
/** A message that was decrypted. */
export interface DecryptedMessage {
	roomId: string;
	messageId: string;
	/** The sender, as the server says. */
	userId: string;
	username?: string;
	threadId?: string;
	/** The id of the key that it was encrypted under. */
	keyId: string;
	/** The message as the server has it, with the decrypted content laid over. */
	document: MessageContent & Record<string, unknown>;
}
/** What of a message document says that it is encrypted, and what it says. */
export interface EncryptedMessage {
	t: "e2e";
	e2e: "pending";
	content: EncryptedContent;
	e2eMentions: {
		e2eUserMentions: string[];
		e2eChannelMentions: string[];
	};
	tmid?: string;
}
/** A room key that is held. */
export interface RoomKeyInfo {
	keyId: string;
	/** How it came; `offered`: made here for a room that took another one. */
	source: "created" | "offered" | "accepted" | "subscription" | "old" | "reset" | "imported";
	/** Milliseconds since 1970, when it was first held here. */
	since: number;
	/**
	 * Messages and files that were encrypted under it by all processes that share the store. Counted
	 * in blocks of 1,024: one that a process has begun counts in full in the others, and after a kill.
	 */
	messages: number;
	/** Whether new messages are encrypted under it. */
	current: boolean;
}
/** A message that another one quotes, as Rocket.Chat's clients show it. */
export interface Quote {
	/** The link in the message that quotes it. */
	message_link: string;
	/** The author's username, as the server says. */
	author_name: string;
	/** Path of the author's picture. */
	author_icon: string;
	/** Decrypted. */
	text: string;
	/** When it was written, as the server has it. */
	ts: unknown;
	/** What it quotes itself, then its own attachments. */
	attachments: MessageAttachment[];
}
/** A room key, wrapped for this account's identity. */
export interface EncryptedRoomKey {
	roomId: string;
	keyId: string;
	/** The key id, then 344 characters of base64. */
	key: string;
}
/** The events of a {@link Participant}, and what they carry. */
export interface ParticipantEvents {
	message: DecryptedMessage;
	undecryptable: {
		roomId: string;
		messageId: string;
		error: E2eeError;
	};
	roomKey: {
		roomId: string;
		keyId: string;
	};
	roomKeyRotated: {
		roomId: string;
		keyId: string;
	};
	/**
	 * A key has encrypted 2^30 messages here, a quarter of what random nonces allow: reset it. At
	 * 2^32 sends fail with `ERR_E2EE_KEY_BUDGET`. What other members encrypt is not counted.
	 */
	keyBudget: {
		roomId: string;
		keyId: string;
		messages: number;
		limit: number;
	};
	keyRequested: {
		roomId: string;
	};
	keyDistributed: {
		roomId: string;
		userId: string;
	};
	identityCreated: {
		fingerprint: string;
	};
	passphrase: {
		passphrase: string;
	};
	identityRotated: {
		fingerprint: string;
	};
	identityRevoked: Record<string, never>;
	publicKeyChanged: {
		userId: string;
		pinned: string;
		seen: string;
	};
	roomAuthorized: {
		roomId: string;
	};
	roomDeauthorized: {
		roomId: string;
	};
	/** Somebody has switched the encryption of an authorised room on or off. */
	roomEncryption: {
		roomId: string;
		encrypted: boolean;
	};
	/** Somebody asks for an off-the-record session; without a listener, it times out. */
	otrRequest: OtrRequest;
	disconnected: {
		reason: string;
	};
	error: {
		roomId: string;
		error: E2eeError;
	};
}
/**
 * An account that takes part in encrypted rooms: it has an identity, receives and serves room
 * keys, reads messages and answers.
 *
 * It is an emitter of {@link ParticipantEvents}, and an async iterable of messages. An `error`
 * event that nobody listens to is dropped: it never ends the process.
 *
 * Listeners may be asynchronous. An {@link E2eeError} that one throws, or rejects with, is told by the
 * event `error`, where that has a listener; anything else is uncaught, as everywhere. Neither keeps
 * anything from other listeners, nor ends what is under way.
 */
export declare class Participant extends EventEmitter {
	#private;
	/**
	 * Opens the store, and settles the account's identity with the server: unlocked, adopted, or
	 * made and published.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_WRONG_PASSPHRASE`,
	 * `ERR_E2EE_IDENTITY_REVOKED`, `ERR_E2EE_WORKSPACE`, or a code of the store.
	 */
	static open(options: ParticipantOptions): Promise<Participant>;
	/**
	 * As {@link Participant.open}, for an account whose passphrase is lost: its key pair is given up
	 * first, with all that {@link Participant.resetIdentity} says. The passphrase of the options is not
	 * used.
	 *
	 * @throws E2eeError (rejects) as both.
	 */
	static reset(options: ParticipantOptions, reset: IdentityReset): Promise<Participant>;
	private constructor();
	/** Keeps in step from here on: by the realtime streams where there are any, and by polling. */
	start(): Promise<void>;
	/** One full round by hand: keys, rooms, suggestions, waiting members, outbox, messages. */
	sync(): Promise<void>;
	/**
	 * Ends everything: off-the-record sessions, timers, connections, the store. What is under way may
	 * end by itself within a second; calls that have not reject with `ERR_E2EE_CLOSED` then, and what
	 * they were to send waits in the store.
	 */
	close(): Promise<void>;
	/** Sends a message; resolves when the server has it. */
	sendEncryptedMessage(roomId: string, message: string | OutgoingMessage): Promise<SentMessage>;
	/** Replaces the content of a message that this account has sent. */
	editEncryptedMessage(roomId: string, messageId: string, message: string | OutgoingMessage): Promise<void>;
	/** Encrypts a file, uploads it and announces it; of any size, in constant memory. */
	sendEncryptedFile(roomId: string, file: OutgoingFile): Promise<SentMessage>;
	/**
	 * Downloads and decrypts a file of a message. The stream fails with `ERR_E2EE_DECRYPTION_FAILED`
	 * at its end where the bytes are not what the sender hashed: do not act on them before.
	 *
	 * @param index - which of the message's attachments; the first unless told otherwise
	 */
	downloadFile(message: DecryptedMessage, index?: number): Promise<Readable>;
	/** Decrypts a message of an authorised room, as REST, DDP or the database has it. */
	decryptMessage(message: object): Promise<DecryptedMessage>;
	/**
	 * Takes a message that the application was brought, by a webhook or by a hook of an app, as if
	 * the workspace had told of it: where it is encrypted, in an authorised room and somebody else's,
	 * the event `message` tells it, once among all that share the store; or `undecryptable`.
	 *
	 * @param message - as REST, DDP or the database has it
	 * @param roomKeyId - the room's `e2eKeyId`, where the application was told: where it is another
	 * than the one known, the room is read anew
	 * @returns when it was told, or is known not to be told here
	 * @throws E2eeError (rejects) with a code of the store or the workspace.
	 */
	receiveMessage(message: object, roomKeyId?: string): Promise<void>;
	/**
	 * Encrypts a message for a way to the room of the application's own. It passes by the outbox:
	 * without a usable key it rejects with `ERR_E2EE_NO_ROOM_KEY`.
	 *
	 * @returns members of a message document: `t`, `e2e`, `content`, `e2eMentions`, and `tmid` in a
	 * thread
	 */
	encryptMessage(roomId: string, message: string | OutgoingMessage): Promise<EncryptedMessage>;
	/** Decrypts many; one that cannot be read does not keep the others from being read. */
	decryptMessages(messages: Iterable<object>): Promise<(DecryptedMessage | E2eeError)[]>;
	/**
	 * The messages that a message quotes, and what those quote, as deep as the workspace allows
	 * (`Message_QuoteChainLimit`, 2 unless it was changed) and 20 in all. They are fetched and
	 * decrypted; left out is what is gone, not to be read, in a room that is not authorised, or a
	 * loop.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_ROOM_NOT_AUTHORIZED`, or `ERR_E2EE_WORKSPACE`
	 * where the server gives no answer.
	 *
	 * Protocol: §6.
	 */
	resolveQuotes(message: DecryptedMessage): Promise<Quote[]>;
	/** A key of the room, the current one unless `keyId` names another, wrapped for this identity. */
	getEncryptedRoomKey(roomId: string, keyId?: string): Promise<EncryptedRoomKey>;
	/** Every key of the room that is held, without the keys themselves. */
	getRoomKeyHistory(roomId: string): Promise<RoomKeyInfo[]>;
	/** Makes the room's first key where it has none, and gives it to its members. */
	createRoomKey(roomId: string): Promise<void>;
	/** Makes a new key for the room; the server retires the old one. */
	resetRoomKey(roomId: string): Promise<void>;
	/** Asks the room's members for its key. */
	requestRoomKey(roomId: string): Promise<void>;
	/** Serves members who wait for keys, in one room or in all. */
	distributeRoomKeys(roomId?: string): Promise<void>;
	/**
	 * Makes an encrypted room, authorises it, makes its key and gives it to the members.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_ROOM_NOT_ENCRYPTABLE` for a discussion in a public
	 * channel, or `ERR_E2EE_WORKSPACE` when the server refuses; `errorType` says why.
	 */
	createEncryptedRoom(room: NewEncryptedRoom): Promise<CreatedRoom>;
	/**
	 * Switches the encryption of an authorised room on or off. Keys stay as they are, here and with the
	 * server: a room that is switched on again goes on with the key that it had.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_ROOM_NOT_ENCRYPTABLE`, or `ERR_E2EE_WORKSPACE` with
	 * `errorType` `error-action-not-allowed` (in a channel it takes the permission
	 * `toggle-room-e2e-encryption`, which owners have) or `error-encrypted-private-rooms-enforced`.
	 */
	setRoomEncryption(roomId: string, encrypted: boolean): Promise<void>;
	/** What is known of an authorised room's encryption, asked anew. */
	roomEncryption(roomId: string): Promise<RoomEncryption>;
	/** Lets the participant read, send and serve in this room. */
	authorizeRoom(roomId: string): Promise<void>;
	/** Ends that, and forgets the room's keys. */
	deauthorizeRoom(roomId: string): Promise<void>;
	/**
	 * The off-the-record session of a direct message: always the same object for the same room. The
	 * room must be authorised, and the participant started. Servers from 8.0 on have no such sessions.
	 */
	otr(roomId: string): OtrSession;
	/** The ids of the authorised rooms. */
	authorizedRooms(): Promise<string[]>;
	/** Seals the private key with another passphrase, here and with the server. */
	changePassphrase(next: string): Promise<void>;
	/**
	 * Makes a new key pair in place of the present one, under the same passphrase. Room keys that
	 * are held stay readable; the others are asked for again.
	 */
	rotateIdentity(): Promise<void>;
	/**
	 * Gives up the account's key pair and makes another, for an account whose passphrase is lost. As
	 * long as this participant is open, {@link Participant.changePassphrase} is enough; where it cannot
	 * be opened for want of the passphrase, {@link Participant.reset} does the same.
	 *
	 * What it costs, and cannot be undone:
	 * - every login token of the account is deleted, personal access tokens too: only a workspace with a
	 *   password goes on by itself;
	 * - the server forgets the account's room keys. Rooms whose keys this participant's store holds stay
	 *   readable; all others are unreadable until a member of each suggests its key again, and what was
	 *   said under older keys, until that member suggests those too;
	 * - other participants have pinned the key pair, and serve the new one after somebody trusts it.
	 *
	 * The new passphrase is told by the event `passphrase`, once, unless it is given. The code serves
	 * once.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_WORKSPACE` when the server refuses; its `errorType`
	 * is `totp-required` or `totp-invalid` where the second factor is wrong, and nothing was changed.
	 */
	resetIdentity(reset: IdentityReset): Promise<void>;
	/** Every room key that is held, sealed with a passphrase: a text to be kept or carried. */
	exportKeys(passphrase: string): Promise<string>;
	/** Takes the keys of authorised rooms from what {@link Participant.exportKeys} gave. */
	importKeys(bundle: string, passphrase: string): Promise<ImportReport>;
	/** Forgets the private key for good: every later call fails with `ERR_E2EE_IDENTITY_REVOKED`. */
	revokeIdentity(): Promise<void>;
	/**
	 * The account and its rooms, as the server has them now. Changes nothing: no key is accepted,
	 * made or given, no message is read or sent.
	 */
	status(): Promise<ParticipantStatus>;
	/**
	 * What was read, sent, given and to whom, oldest first: never content. Only what fits the filter
	 * is held in memory.
	 *
	 * @throws E2eeError (rejects) with `ERR_E2EE_INVALID_ARGUMENT`, or a code of the store.
	 */
	auditTrail(filter?: AuditFilter): Promise<AuditEntry[]>;
	/** Public keys of other people, as this participant has seen and trusts them. */
	readonly trust: {
		/** A user's pinned fingerprint, if any; without a user, this account's own. */
		fingerprint: (userId?: string) => Promise<string | undefined>;
		/** Trusts a fingerprint that somebody has compared. */
		pin: (userId: string, fingerprint: string) => Promise<void>;
		/** Every pin, by user. */
		list: () => Promise<Record<string, TrustedKey>>;
	};
	/**
	 * The messages that arrive from now on, until the participant is closed.
	 *
	 * @throws E2eeError (the iteration rejects) when no more can come: with code
	 * `ERR_E2EE_IDENTITY_REVOKED`, or with `ERR_E2EE_WORKSPACE` and status 401 where the login is not valid
	 * any more. What passes is told by the event `error` alone.
	 */
	[Symbol.asyncIterator](): AsyncGenerator<DecryptedMessage>;
	/**
	 * Resolves when nothing is under way but waiting: what a round has set going goes on after it.
	 *
	 * @internal
	 */
	settled(): Promise<void>;
}
/** What {@link Participant.status} tells. */
export interface ParticipantStatus {
	userId: string;
	/** Of the account's own public key. */
	fingerprint: string;
	rooms: RoomStatus[];
}
/** A room that the account is in, or that was authorised. */
export interface RoomStatus {
	roomId: string;
	/** Whether the account is in it. */
	member: boolean;
	/** Whether encryption is switched on. */
	encrypted: boolean;
	authorized: boolean;
	/** The id of the room's current key, as the server names it; `null` before anybody made one. */
	keyId: string | null;
	/**
	 * Whether that key is held; `offered` when the server has it for the account, which takes it at
	 * its next round; `none` when there is none.
	 */
	key: "held" | "offered" | "missing" | "none";
	/** Keys of all times that are held. */
	keysHeld: number;
	/** The ids of keys that the server names and that are not held. */
	keysMissing: string[];
	/** The ids of members who wait for keys. */
	waiting: string[];
	/** Messages that wait to be sent. */
	outbox: number;
}
/** Which lines of the audit trail are wanted; all, unless told otherwise. */
export interface AuditFilter {
	/** Lines about this room. */
	roomId?: string;
	/** Lines of this action: `read`, `sent`, … */
	action?: string;
	/** Lines about this user. */
	userId?: string;
	/** Lines from this time on, in milliseconds since 1970. Reading costs less where it is given. */
	since?: number;
	/** Lines up to this time, in milliseconds since 1970. */
	until?: number;
	/** The newest of them, at most so many. */
	limit?: number;
}
/** A line of the audit trail. */
export interface AuditEntry {
	/** Milliseconds since 1970. */
	ts: number;
	/** What the app or bot calls itself. */
	appId: string;
	/** What was done: `read`, `sent`, `edited`, `keyGiven`, `keyAccepted`, `keyRejected`, … */
	action: string;
	/** Ids of what it was done with. */
	details: {
		roomId?: string;
		messageId?: string;
		userId?: string;
		keyId?: string;
	};
}
/** A pinned public key. */
export interface TrustedKey {
	fingerprint: string;
	/** Whether somebody compared it, rather than that it was just the first. */
	verified: boolean;
	/** A fingerprint that was seen since and is not trusted. */
	changed?: string;
}
interface PersistenceRead {
	readByAssociation(association: object): Promise<object[]>;
}
interface Persistence {
	createWithAssociations(data: object, associations: object[]): Promise<string>;
	updateByAssociations(associations: object[], data: object, upsert?: boolean): Promise<string>;
	removeByAssociation(association: object): Promise<object[]>;
}
interface HttpResponse {
	statusCode: number;
	headers?: {
		[name: string]: string;
	};
	content?: string;
}
interface Http {
	get(url: string, options?: object): Promise<HttpResponse>;
	post(url: string, options?: object): Promise<HttpResponse>;
}
interface Read {
	getPersistenceReader(): PersistenceRead;
	getEnvironmentReader(): {
		getSettings(): {
			getValueById(id: string): Promise<unknown>;
		};
	};
	getUserReader(): {
		getAppUser(appId?: string): Promise<{
			id: string;
		} | undefined>;
	};
}
interface Modify {
	getCreator(): {
		startMessage(data?: never): object;
		finish(builder: never): Promise<string>;
	};
}
/**
 * What the Apps-Engine's messages carry of Rocket.Chat's encryption: members that its converters
 * do not name, in the bucket for those (protocol §8.1).
 */
export interface EncryptedMessageFields {
	_unmappedProperties_?: {
		t?: "e2e";
		e2e?: "pending" | "done";
		content?: EncryptedContent;
		e2eMentions?: {
			e2eUserMentions?: string[];
			e2eChannelMentions?: string[];
		};
		[member: string]: unknown;
	};
}
/** What the Apps-Engine's rooms carry of it. */
export interface EncryptedRoomFields {
	_unmappedProperties_?: {
		encrypted?: boolean;
		/** The id of the room's key. */
		e2eKeyId?: string;
		[member: string]: unknown;
	};
}
/** `IMessage` or `IMessageRaw` with the members of encryption: `EncryptedAppMessage<IMessage>`. */
export type EncryptedAppMessage<Message extends object> = Message & EncryptedMessageFields;
/** `IRoom` with the members of encryption: `EncryptedAppRoom<IRoom>`. */
export type EncryptedAppRoom<Room extends object> = Room & EncryptedRoomFields;
interface AppMessage {
	id?: string | undefined;
	/** In an `IMessage`. */
	room?: AppRoom;
	/** In an `IMessageRaw`. */
	roomId?: string;
	sender?: {
		id?: string;
		_id?: string;
		username?: string | undefined;
	};
	threadId?: string | undefined;
	createdAt?: unknown;
	editedAt?: unknown;
	attachments?: object[] | undefined;
}
interface AppRoom {
	id: string;
}
/** What the Apps-Engine gives to a hook, a command, or a job of the scheduler. */
export interface AppAccessors {
	read: Read;
	http: Http;
	persistence: Persistence;
	/** Needed to answer. */
	modify: Modify;
}
/** A message that an app received. */
export interface ReceivedMessage extends DecryptedMessage {
	/** What it says. */
	text: string;
	/**
	 * Answers, encrypted, in its room and thread. As the bot account, an answer that cannot be sent in
	 * a few seconds waits, sealed, for up to ten minutes; {@link AppParticipant.sync} sends it.
	 */
	reply(message: string | OutgoingMessage): Promise<void>;
}
/** What this version of the library can do for an app. */
export interface Capabilities {
	/** Counts changes to the members of {@link EncryptedMessageFields} and {@link EncryptedRoomFields}. */
	readonly fields: number;
	/** Counts changes to what the app's settings are called. */
	readonly settings: number;
	readonly features: readonly ("receive" | "sync" | "replyAsAccount" | "replyAsApp" | "history")[];
}
/** For apps that carry the library with them, or work with several versions of it. */
export declare const capabilities: Capabilities;
/**
 * An app's part in encrypted rooms, by the bot account that its settings name: what its hooks and
 * its scheduler call.
 *
 * Keep one for as long as the app's class lives. What it needs is kept in the app's persistence and
 * read from there when the process, or the server, is another one.
 */
export declare class AppParticipant {
	#private;
	/** @param appId - `this.getID()` of the app */
	constructor(appId: string);
	/**
	 * Call it in `executePostSystemMessageSent` and, for servers before 7.x, in
	 * `executePostMessageSent`: it does not matter which of them a message comes by.
	 *
	 * @returns the message; `undefined` for what is not encrypted, in no authorised room, the app's
	 * or its account's own, handled already (by whatever instance), or still without a key:
	 * {@link AppParticipant.sync} returns it when that has come
	 * @throws E2eeError (rejects) with the code of what is wrong with the message, the settings, the
	 * store or the server.
	 */
	receive(message: AppMessage, accessors: AppAccessors): Promise<ReceivedMessage | undefined>;
	/**
	 * One round of key upkeep, for a job of the scheduler, every minute or so: new keys, members who
	 * wait for one, messages that wait to be sent. What is not done in 20 seconds goes on in the next.
	 *
	 * @returns messages that no hook has handled: their key came late, or the app was not running
	 */
	sync(accessors: AppAccessors): Promise<ReceivedMessage[]>;
	/**
	 * Says something in a room as the bot account. Without a key it waits, sealed, for up to a week;
	 * {@link AppParticipant.sync} sends it.
	 */
	send(roomId: string, message: string | OutgoingMessage, accessors: AppAccessors): Promise<void>;
	/**
	 * Says something once in every room that the app may read: that it is there, and why. Rooms that it
	 * does not come to in a few seconds have their turn in the next call.
	 */
	greet(text: string, accessors: AppAccessors): Promise<void>;
	/** Decrypts messages that were handled before: `IMessage`s, or `IMessageRaw`s of a room reader. */
	history(messages: readonly AppMessage[], accessors: AppAccessors): Promise<DecryptedMessage[]>;
	/** The participant itself, for whatever is not above. */
	participant(accessors: AppAccessors): Promise<Participant>;
	/**
	 * Forgets what the app has kept, and begins anew from what the server has. Needed when the
	 * passphrase was changed, since it seals the app's store.
	 */
	reset({ read, persistence }: AppAccessors): Promise<void>;
}
/** An `ISetting`. */
export interface AppSetting {
	id: string;
	/** A `SettingType`; typed so that it fits that of every version. */
	type: never;
	packageValue: string;
	required: boolean;
	public: boolean;
	multiline?: boolean;
	values?: {
		key: string;
		i18nLabel: string;
	}[];
	section: string;
	i18nLabel: string;
	i18nDescription: string;
}
/**
 * The settings that an {@link AppParticipant} reads, for `configuration.settings.provideSetting`.
 *
 * Their labels are keys of translations, `e2ee_url` and `e2ee_url_description` for the first: take
 * the texts from `i18n/` of the example app into the app's own.
 */
export declare function e2eeSettings(): AppSetting[];
/** How {@link PersistenceStore.open} opens a store. */
export interface PersistenceStoreOptions {
	/** `IRead` or `IPersistenceRead`. */
	read: PersistenceRead | Pick<Read, "getPersistenceReader">;
	/** `IPersistence`. */
	persistence: Persistence;
	/** Names the store within the app's persistence: the app's id, and more where it has several. */
	appId: string;
	/** What wraps the data key. */
	secret: StoreSecret;
}
/**
 * Keeps records in an Apps-Engine app's own persistence, for any number of server instances.
 *
 * The persistence has neither transactions nor a conditional write. So each write announces itself
 * in a document of its own, looks who else does, waits for its turn, and then turns that document
 * into the record by one update: `docs/store-format.md` says what that guarantees, and what not.
 */
export declare class PersistenceStore implements RecordStore {
	#private;
	/** @internal */
	readonly vault: Vault;
	private constructor();
	/**
	 * Opens the app's store, or makes one where there is none. Instances that do so at once end with
	 * one store.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_WRONG_STORE_SECRET`, `ERR_E2EE_STORE_CORRUPT`,
	 * `ERR_E2EE_STORE_TOO_NEW`, `ERR_E2EE_STORE_LOCKED`, `ERR_E2EE_STORE_IO` or
	 * `ERR_E2EE_INVALID_ARGUMENT`; the store is then as it was.
	 */
	static open(options: PersistenceStoreOptions): Promise<PersistenceStore>;
	/**
	 * Removes everything that stores of this name have kept. Their keys are lost, except for what the
	 * Rocket.Chat server has itself.
	 *
	 * @throws E2eeError (rejects) with code `ERR_E2EE_STORE_IO` or `ERR_E2EE_INVALID_ARGUMENT`.
	 */
	static erase(options: Omit<PersistenceStoreOptions, "secret">): Promise<void>;
	/**
	 * Goes on with other accessors: those of the call under way. What the Apps-Engine gives to one
	 * call need not work in the next.
	 *
	 * @internal
	 */
	use(options: Pick<PersistenceStoreOptions, "read" | "persistence">): void;
	load(prefix: string): Promise<SealedRecord[]>;
	commit(batch: readonly RecordChange[], claims?: readonly Claim[]): Promise<void>;
	claim(id: string, ttl: number): Promise<boolean>;
	close(): Promise<void>;
}
/** For {@link AppsEngineWorkspace}. */
export interface AppsEngineWorkspaceOptions {
	/** `IHttp`. */
	readonly http: Http;
	/** Where the server is, as it sees itself: `http://localhost:3000`, or its public address. */
	readonly url: string;
	readonly userId: string;
	/** A personal access token of the bot account. */
	readonly authToken: string;
	/** Milliseconds for all attempts of a request: 12,000, far below the Apps-Engine's 30 seconds. */
	readonly deadline?: number;
	/** Milliseconds for one attempt: 6,000. */
	readonly attemptTimeout?: number;
}
/**
 * The server that an app runs in, reached through `IHttp` with a bot account's token.
 *
 * It is as patient as {@link RestWorkspace} with rate limits, failures and timeouts, within shorter
 * deadlines. Files cannot be uploaded, since `IHttp` carries text. `IHttp` follows redirects by
 * itself and takes the token along, so the url has to be the address that answers.
 */
export declare class AppsEngineWorkspace implements Workspace {
	#private;
	readonly userId: string;
	constructor(options: AppsEngineWorkspaceOptions);
	/**
	 * Goes on with the accessor of the call under way.
	 *
	 * @internal
	 */
	use(http: Http): void;
	/** See {@link Workspace.request}. */
	request(request: WorkspaceRequest): Promise<WorkspaceResponse>;
	/** See {@link Workspace.download}. */
	download(path: string): Promise<Readable>;
	/** See {@link Workspace.close}. */
	close(): Promise<void>;
}
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
	commit(batch: readonly RecordChange[], claims?: readonly Claim[]): Promise<void>;
	claim(id: string, ttl: number): Promise<boolean>;
	close(): Promise<void>;
}

export {};
