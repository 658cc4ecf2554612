// A bot for encrypted rooms: says that it is there, and answers `!ping`.
//
//   RC_URL=https://chat.example RC_USER_ID=… RC_TOKEN=… RC_ROOMS=id,id \
//   E2EE_PASSPHRASE=… E2EE_STORE_SECRET=… node examples/bot.mjs
//
// Without E2EE_PASSPHRASE, an account that has no identity yet gets one, and its passphrase is
// shown once: keep it.

import { pathToFileURL } from 'node:url';
import { Participant, RealtimeWorkspace, SqliteStore } from 'rocketchat-e2ee';

const GREETING =
  'I am a bot. I hold the key of this room, so I can read what is written here; I answer !ping.';

/** Runs the bot until its participant is closed. */
export async function runBot({ url, userId, authToken, rooms, passphrase, secret, path, log }) {
  const participant = await Participant.open({
    appId: 'example-bot',
    workspace: new RealtimeWorkspace({ url, userId, authToken }),
    store: await SqliteStore.open(path, { secret }),
    passphrase,
    rooms,
  });
  participant.on('passphrase', (event) => log(`keep this passphrase: ${event.passphrase}`));
  participant.on('identityCreated', () => log('made an identity and published it'));
  participant.on('roomKey', ({ roomId, keyId }) => log(`has the key ${keyId} of room ${roomId}`));
  participant.on('roomKeyRotated', ({ keyId }) => log(`goes on with the new key ${keyId}`));
  participant.on('keyDistributed', ({ userId }) => log(`gave the keys to ${userId}`));
  participant.on('undecryptable', ({ error }) => log(`cannot read a message: ${error.code}`));
  participant.on('error', ({ error }) => log(`${error.code}: ${error.message}`));
  participant.on('message', async ({ roomId, username, document }) => {
    log(`reads ${JSON.stringify(document.msg)} of ${username}`);
    if (document.msg.startsWith('!ping')) {
      await participant.sendEncryptedMessage(roomId, `pong, ${username}`);
      log('answered, encrypted');
    }
  });
  await participant.start();
  for (const room of await participant.authorizedRooms()) {
    // Goes out when somebody has given us the room's key, which may take its time.
    participant.sendEncryptedMessage(room, GREETING).catch(({ message }) => log(message));
  }
  return participant;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { RC_URL, RC_USER_ID, RC_TOKEN, RC_ROOMS, E2EE_PASSPHRASE, E2EE_STORE_SECRET } =
    process.env;
  if (!RC_URL || !RC_USER_ID || !RC_TOKEN || !RC_ROOMS || !E2EE_STORE_SECRET) {
    console.error('Set RC_URL, RC_USER_ID, RC_TOKEN, RC_ROOMS and E2EE_STORE_SECRET.');
    process.exit(2);
  }
  const bot = await runBot({
    url: RC_URL,
    userId: RC_USER_ID,
    authToken: RC_TOKEN,
    rooms: RC_ROOMS.split(','),
    passphrase: E2EE_PASSPHRASE,
    secret: E2EE_STORE_SECRET,
    path: 'bot.store',
    log: (line) => console.log(`bot  ${line}`),
  });
  process.once('SIGINT', () => bot.close());
}
