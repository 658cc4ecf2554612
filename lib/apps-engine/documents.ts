import type { EncryptedContent } from '../message';

/**
 * What the Apps-Engine's messages carry of Rocket.Chat's encryption: members that its converters
 * do not name, in the bucket for those (protocol §8.1).
 */
export interface EncryptedMessageFields {
  _unmappedProperties_?: {
    t?: 'e2e';
    e2e?: 'pending' | 'done';
    content?: EncryptedContent;
    e2eMentions?: { e2eUserMentions?: string[]; e2eChannelMentions?: string[] };
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

/** An `IMessage` or `IMessageRaw`, as far as it is used. */
export interface AppMessage {
  id?: string | undefined;
  /** In an `IMessage`. */
  room?: AppRoom;
  /** In an `IMessageRaw`. */
  roomId?: string;
  sender?: { id?: string; _id?: string; username?: string | undefined };
  threadId?: string | undefined;
  createdAt?: unknown;
  editedAt?: unknown;
  attachments?: object[] | undefined;
}

/** An `IRoom`, as far as it is used. */
export interface AppRoom {
  id: string;
}

interface Bucket {
  _unmappedProperties_?: { content?: unknown; e2eKeyId?: unknown; [member: string]: unknown };
}

/** The message as the database has it. */
export function documentOf(message: AppMessage): object {
  const { id, room, roomId, sender, threadId, createdAt, editedAt } = message;
  const { type } = message as { type?: unknown };
  const unmapped = (message as Bucket)._unmappedProperties_ ?? {};
  return {
    ...unmapped,
    _id: id,
    rid: room?.id ?? roomId,
    t: type ?? unmapped.t,
    msg: '',
    ts: createdAt,
    u: { _id: sender?.id ?? sender?._id, username: sender?.username },
    ...(threadId !== undefined && { tmid: threadId }),
    ...(editedAt !== undefined && editedAt !== null && { editedAt }),
    attachments: message.attachments?.map((attachment) => {
      const { _unmappedProperties_: more, ...known } = attachment as Bucket;
      return { ...known, ...more };
    }),
  };
}

/** The id of the room's key, where the server told it. */
export function keyIdOf(room: AppRoom | undefined): string | undefined {
  const keyId = (room as Bucket | undefined)?._unmappedProperties_?.e2eKeyId;
  return typeof keyId === 'string' ? keyId : undefined;
}
