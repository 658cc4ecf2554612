import { Participant, RealtimeWorkspace, SqliteStore } from 'rocketchat-e2ee';

const { RC_URL, RC_USER_ID, RC_TOKEN, RC_ROOM, E2EE_PASSPHRASE, E2EE_STORE_SECRET } = process.env;

const bot = await Participant.open({
  appId: 'echo',
  workspace: new RealtimeWorkspace({ url: RC_URL, userId: RC_USER_ID, authToken: RC_TOKEN }),
  store: await SqliteStore.open('echo.store', { secret: E2EE_STORE_SECRET }),
  passphrase: E2EE_PASSPHRASE,
  rooms: [RC_ROOM],
});

bot.on('message', async ({ roomId, username, document }) => {
  await bot.sendEncryptedMessage(roomId, `${username} said: ${document.msg}`);
});
bot.on('error', ({ error }) => console.error(error.code, error.message));

await bot.start();
process.once('SIGINT', () => bot.close());
