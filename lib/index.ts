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
export { RealtimeWorkspace, type RealtimeWorkspaceOptions } from './realtime-workspace';
export { RestWorkspace, type RestWorkspaceOptions } from './rest-workspace';
export { RoomKey, type RoomKeyAlgorithm } from './room-key';
export type {
  Workspace,
  WorkspaceEvent,
  WorkspaceForm,
  WorkspaceRequest,
  WorkspaceResponse,
} from './workspace';
