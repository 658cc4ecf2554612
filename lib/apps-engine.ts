/** The entry for apps, over WebAssembly: nothing here needs Node.js. */
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
export { type AppSetting, e2eeSettings } from './apps-engine/settings';
export * from './common';
