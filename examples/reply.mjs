import { encryptedContentOf, generatePassphrase, Identity, RoomKey } from 'rocketchat-e2ee';

// Once: the bot's key pair. Both texts go to e2e.setUserPublicAndPrivateKeys.
const userId = 'botUserId00000001';
const passphrase = generatePassphrase();
const created = await Identity.generate();
const account = {
  public_key: created.publicKey,
  private_key: await created.lock(passphrase, userId),
};

// At each start: unlock what e2e.fetchMyKeys returns, and unwrap the subscription's E2EKey.
const bot = await Identity.unlock(account.private_key, passphrase, userId);
const subscription = { E2EKey: await RoomKey.generate().wrapFor(account.public_key) };
const roomKey = await bot.unwrapRoomKey(subscription.E2EKey);

// For each message that arrives: read it, and answer for chat.sendMessage.
const message = { t: 'e2e', rid: 'roomId', msg: '', content: roomKey.encrypt({ msg: 'ping' }) };
const content = encryptedContentOf(message);
if (content && roomKey.decrypt(content).msg === 'ping') {
  const reply = { rid: message.rid, t: 'e2e', content: roomKey.encrypt({ msg: 'pong' }) };
  console.log(reply);
}
