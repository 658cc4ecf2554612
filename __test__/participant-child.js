// A bot in a process of its own, to be killed: sends numbered messages, and says which were taken.
const { Participant, RestWorkspace, SqliteStore } = require('..');

const [url = '', userId = '', authToken = '', path = '', roomId = '', from] = process.argv.slice(2);

(async () => {
  const participant = await Participant.open({
    appId: 'child',
    workspace: new RestWorkspace({ url, userId, authToken }),
    store: await SqliteStore.open(path, { secret: Buffer.alloc(32, 7) }),
    passphrase: 'correct horse',
    rooms: [roomId],
  });
  participant.on('message', ({ messageId }) => process.stdout.write(`read ${messageId}\n`));
  await participant.sync();
  process.stdout.write('ready\n');
  for (let number = Number(from); ; number++) {
    process.stdout.write(`try ${number}\n`);
    await participant.sendEncryptedMessage(roomId, `secret ${number}`);
    process.stdout.write(`sent ${number}\n`);
    if (number % 3 === 0) await participant.sync();
  }
})().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
