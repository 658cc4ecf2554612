/** Said in each room that the app joins. */
export const GREETING =
  'I am an app of this workspace, and I take part in this encrypted room. I hold its key: I can read ' +
  'what is written here, and so can whoever administers this server. I am here to answer !ping and ' +
  '!summary, and keep no messages. To have me leave, ask an administrator to take this room from my settings.';

/** Said to whoever installs it. */
export const INSTALLED =
  'Encrypted Helper takes part in end-to-end-encrypted rooms by a bot account. Once its settings name ' +
  'that account and the rooms, it holds their keys and CAN READ everything people write there, and so can ' +
  'whoever administers this server. It is there to answer !ping and !summary, and says so in each room ' +
  'that it joins. Tell people before you add a room.';
