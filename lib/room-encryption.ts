/** An encrypted room to make. Members are usernames, without this account's own. */
export type NewEncryptedRoom =
  /** A private channel, or a private channel of the team `teamId`. */
  | { type: 'channel'; name: string; members?: readonly string[]; teamId?: string }
  /** A direct message; where these people have one already, it is switched on. */
  | { type: 'direct'; members: readonly string[] }
  /** A discussion in a private channel or a direct message. */
  | { type: 'discussion'; parentRoomId: string; name: string; members?: readonly string[] };

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
