/** What both entries have: `index.ts`, over the addon, and `apps-engine.ts`, over WebAssembly. */
export { PersistenceStore, type PersistenceStoreOptions } from './apps-engine/persistence-store';
export { AppsEngineWorkspace, type AppsEngineWorkspaceOptions } from './apps-engine/workspace';
export { E2eeError, type E2eeErrorCode } from './errors';
export {
  decryptFile,
  decryptFileStream,
  type EncryptedFile,
  encryptFile,
  encryptFileStream,
  type FileDecryptStream,
  type FileEncryption,
  type FileEncryptStream,
  type FileKey,
} from './file';
export { generatePassphrase, Identity } from './identity';
export { MemoryStore } from './memory-store';
export {
  type EncryptedContent,
  type EncryptedContentMegolm,
  type EncryptedContentV1,
  type EncryptedContentV2,
  encryptedContentOf,
  type MessageAttachment,
  type MessageContent,
  type MessageFile,
} from './message';
export type {
  OtrMessage,
  OtrRequest,
  OtrSession,
  OtrSessionEvents,
  OtrState,
  SentOtrMessage,
} from './otr';
export {
  type AuditEntry,
  type AuditFilter,
  type DecryptedMessage,
  type EncryptedMessage,
  type EncryptedRoomKey,
  type IdentityReset,
  type ImportReport,
  type OutgoingFile,
  type OutgoingMessage,
  Participant,
  type ParticipantEvents,
  type ParticipantOptions,
  type ParticipantStatus,
  type Quote,
  type RoomKeyInfo,
  type RoomStatus,
  type SentMessage,
  type TrustedKey,
} from './participant';
export type { CreatedRoom, NewEncryptedRoom, RoomEncryption } from './room-encryption';
export { RoomKey, type RoomKeyAlgorithm } from './room-key';
export type {
  Claim,
  KeyManagement,
  RecordChange,
  RecordStore,
  SealedRecord,
  StoreSecret,
} from './store';
export type {
  Workspace,
  WorkspaceEvent,
  WorkspaceForm,
  WorkspaceRequest,
  WorkspaceResponse,
} from './workspace';
