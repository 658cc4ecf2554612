export type Version = '7.0' | '8.8';

/** Every point where the two generations of servers differ, in one place. */
export interface Behaviour {
  /** What `info` reports. */
  readonly release: string;
  /** `setRoomKeyID` is one conditional update; before, read-then-write: two may win (2.3, 3.9). */
  readonly atomicSetRoomKeyId: boolean;
  /** `fetchUsersWaitingForGroupKey` leaves out rooms the caller cannot access (2.2, 3.9). */
  readonly waitingUsersFilteredByAccess: boolean;
  /** POST `e2e.requestSubscriptionKeys` exists; before, only the DDP method of that name (3.9). */
  readonly restRequestSubscriptionKeys: boolean;
  /** `stream-notify-room-users` passes `e2ekeyRequest` on; now it is dropped silently (3.8). */
  readonly relaysKeyRequests: boolean;
  /** Text of a 403 (2.3, resetRoomKey). */
  readonly forbiddenText: 'unauthorized' | 'error-not-allowed';
  /** `e2e.*` refuse unknown keys (3.9: from 8.3). */
  readonly strictE2eSchemas: boolean;
  /**
   * Schemas are checked by the router, before authentication, with a bare message; before, by
   * the route, as a thrown Meteor error (the shape of the 400 is open in section 11.8).
   */
  readonly schemasCheckedByRouter: boolean;
  /** DDP methods `sendMessage`, `e2e.setUserPublicAndPrivateKeys`, … are registered (2.3, 5.2). */
  readonly oldDdpMethods: boolean;
  /** Off-the-record messages; removed in 8.0. */
  readonly otr: boolean;
  /** `oldRoomKeys` is among the subscription fields (4.2: an older copy lacks it). */
  readonly subscriptionFieldsWithOldRoomKeys: boolean;
  /** A pruned file leaves an attachment with `type: 'removed-file'` (3.9: from 8.2). */
  readonly removedFileAttachments: boolean;
  /** `E2E_Force_Encryption_For_Private_Rooms` exists (2.4). */
  readonly forceEncryptionSetting: boolean;
  /** `chat.syncMessages` has cursors (4.1: from 7.1); before, `lastUpdate` alone. */
  readonly syncCursors: boolean;
  /** `rooms.mediaConfirm` takes `fileContent` (5.5: from 8.5). */
  readonly fileContent: boolean;
  /** A 401 is plain text; 2.1 warns that 401 bodies are not always JSON. */
  readonly plainTextUnauthorized: boolean;
}

export const BEHAVIOUR: Readonly<Record<Version, Behaviour>> = {
  '7.0': {
    release: '7.0.3',
    atomicSetRoomKeyId: false,
    waitingUsersFilteredByAccess: false,
    restRequestSubscriptionKeys: false,
    relaysKeyRequests: true,
    forbiddenText: 'unauthorized',
    strictE2eSchemas: false,
    schemasCheckedByRouter: false,
    oldDdpMethods: true,
    otr: true,
    subscriptionFieldsWithOldRoomKeys: false,
    removedFileAttachments: false,
    forceEncryptionSetting: false,
    syncCursors: false,
    fileContent: false,
    plainTextUnauthorized: false,
  },
  '8.8': {
    release: '8.8.1',
    atomicSetRoomKeyId: true,
    waitingUsersFilteredByAccess: true,
    restRequestSubscriptionKeys: true,
    relaysKeyRequests: false,
    forbiddenText: 'error-not-allowed',
    strictE2eSchemas: true,
    schemasCheckedByRouter: true,
    oldDdpMethods: false,
    otr: false,
    subscriptionFieldsWithOldRoomKeys: true,
    removedFileAttachments: true,
    forceEncryptionSetting: true,
    syncCursors: true,
    fileContent: true,
    plainTextUnauthorized: true,
  },
};
