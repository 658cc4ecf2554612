import { toJson } from './ejson';
import { E2eeError, guard, kindOf } from './errors';
import type { FileEncryption } from './file';
import { native } from './native';

/** Encrypted content of servers before 7.13, and of rooms whose key is AES-128-CBC. */
export interface EncryptedContentV1 {
  algorithm: 'rc.v1.aes-sha2';
  /** The key id (12 characters), then base64 of iv (16 bytes) and ciphertext. */
  ciphertext: string;
}

/** Encrypted content since server 7.13. */
export interface EncryptedContentV2 {
  algorithm: 'rc.v2.aes-sha2';
  /** The id of the room key. */
  kid: string;
  /** Base64 of the iv: 12 bytes for AES-256-GCM, 16 for AES-128-CBC. */
  iv: string;
  /** Base64 of the ciphertext, for AES-256-GCM with the 16-byte tag at its end. */
  ciphertext: string;
}

/** Encrypted content of a room federated with Matrix. Room keys do not open it. */
export interface EncryptedContentMegolm {
  algorithm: 'm.megolm.v1.aes-sha2';
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
  encryption?: FileEncryption['encryption'];
  hashes?: FileEncryption['hashes'];
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
export function encryptedContentOf(message: object): EncryptedContent | undefined {
  if (typeof message !== 'object' || message === null) {
    throw new E2eeError(
      'ERR_E2EE_INVALID_ARGUMENT',
      `message must be an object, not ${kindOf(message)}`,
    );
  }
  const document = toJson(databaseShape(message), 'message');
  const content = guard(() => native.encryptedContentOf(document));
  return content ? (JSON.parse(content) as EncryptedContent) : undefined;
}

/** The members that matter, named as the database names them: apps see some under other names. */
function databaseShape(message: Shape): object {
  const unmapped = message._unmappedProperties_ ?? {};
  const pinned = message.attachments?.[0];
  return {
    t: message.t ?? message.type,
    msg: message.msg ?? message.text,
    content: message.content ?? unmapped.content,
    attachments: [{ content: pinned?.content ?? pinned?._unmappedProperties_?.content }],
  };
}

interface Shape {
  t?: unknown;
  type?: unknown;
  msg?: unknown;
  text?: unknown;
  content?: unknown;
  attachments?: ({ content?: unknown; _unmappedProperties_?: Shape } | undefined)[];
  _unmappedProperties_?: Shape;
}
