/** What apps import: `index.ts` without what needs Node.js, over WebAssembly. */
export {
  type AppAccessors,
  AppParticipant,
  type Capabilities,
  capabilities,
  type ReceivedMessage,
} from './apps-engine/app-participant';
export type {
  EncryptedAppMessage,
  EncryptedAppRoom,
  EncryptedMessageFields,
  EncryptedRoomFields,
} from './apps-engine/documents';
export { PersistenceStore, type PersistenceStoreOptions } from './apps-engine/persistence-store';
export { type AppSetting, e2eeSettings } from './apps-engine/settings';
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
  type Quote,
  type RoomKeyInfo,
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
