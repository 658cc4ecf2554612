import { randomUUID } from 'node:crypto';
import type { Account, Workspace } from '../workspace';
import { Rest } from '../workspace/probe';
import client from './client.js';

type Flavour = Parameters<typeof client.createRoomKey>[0];
type Identity = Awaited<ReturnType<typeof client.createIdentity>>;
type RoomKey = Awaited<ReturnType<typeof client.createRoomKey>>;

/**
 * Somebody with one of Rocket.Chat's own clients: the WebCrypto model, and plain fetch against the
 * stand-in workspace. Imports nothing of ours.
 */
export class Person {
  readonly rest: Rest;
  readonly #keys = new Map<string, { current?: RoomKey; old: RoomKey[] }>();

  private constructor(
    readonly account: Account,
    readonly flavour: Flavour,
    readonly identity: Identity,
    rest: Rest,
  ) {
    this.rest = rest;
  }

  /** Opens the client for the first time: makes a key pair and publishes it. */
  static async join(workspace: Workspace, account: Account, flavour: Flavour): Promise<Person> {
    const identity = await client.createIdentity();
    const private_key = await client.lockPrivateKey(
      flavour,
      identity.privateKey,
      'prize fluid crystal',
      account._id,
    );
    const rest = new Rest(workspace, account);
    await ok(
      rest.post('e2e.setUserPublicAndPrivateKeys', { public_key: identity.publicKey, private_key }),
    );
    return new Person(account, flavour, identity, rest);
  }

  /** Makes the room's first key, and gives it to everybody who has a public key (§3.4). */
  async createKey(rid: string): Promise<string> {
    const key = await client.createRoomKey(this.flavour);
    await ok(this.rest.post('e2e.setRoomKeyID', { rid, keyID: key.keyId }));
    await this.#keepAs(rid, key);
    await this.serve(rid);
    return key.keyId;
  }

  async #keepAs(rid: string, key: RoomKey): Promise<void> {
    const wrapped = await client.wrapRoomKey(key, this.identity.publicKey);
    await ok(this.rest.post('e2e.updateGroupKey', { uid: this.account._id, rid, key: wrapped }));
    const { current, old } = this.keysOf(rid);
    this.#keys.set(rid, { current: key, old: current ? [current, ...old] : old });
  }

  /** Resets the room's key (§3.5). */
  async resetKey(rid: string): Promise<string> {
    const key = await client.createRoomKey(this.flavour);
    const e2eKey = await client.wrapRoomKey(key, this.identity.publicKey);
    await ok(this.rest.post('e2e.resetRoomKey', { rid, e2eKey, e2eKeyId: key.keyId }));
    const { current, old } = this.keysOf(rid);
    this.#keys.set(rid, { current: key, old: current ? [current, ...old] : old });
    return key.keyId;
  }

  keysOf(rid: string): { current?: RoomKey; old: RoomKey[] } {
    return this.#keys.get(rid) ?? { old: [] };
  }

  /** One turn of the holders' loop in one room (§3.2): everybody who waits is served. */
  async serve(rid: string): Promise<string[]> {
    const { current, old } = this.keysOf(rid);
    if (!current) throw new Error('this person holds no key');
    const { users } = await ok(this.rest.get('e2e.getUsersOfRoomWithoutKey', { rid }));
    const others = users.filter((user: { _id: string }) => user._id !== this.account._id);
    if (others.length === 0) return [];
    const given = [];
    for (const { _id, e2e } of others) {
      const oldKeys = [];
      for (const key of old) {
        const E2EKey = await client.wrapRoomKey(key, e2e.public_key);
        oldKeys.push({ e2eKeyId: key.keyId, ts: new Date(0).toISOString(), E2EKey });
      }
      const key = await client.wrapRoomKey(current, e2e.public_key);
      given.push({ _id, key, ...(oldKeys.length > 0 && { oldKeys }) });
    }
    const body = { usersSuggestedGroupKeys: { [rid]: given } };
    await ok(this.rest.post('e2e.provideUsersSuggestedGroupKeys', body));
    return given.map(({ _id }) => _id);
  }

  /** Takes what the server has for this person in a room: a suggestion first, then its own key. */
  async fetchKeys(rid: string): Promise<boolean> {
    const read = async () =>
      (await ok(this.rest.get('subscriptions.getOne', { roomId: rid }))).subscription;
    let subscription = await read();
    if (subscription.E2ESuggestedKey) {
      await ok(this.rest.post('e2e.acceptSuggestedGroupKey', { rid }));
      subscription = await read();
    }
    if (!subscription.E2EKey) return false;
    const unwrap = (wrapped: string) =>
      client.unwrapRoomKey(this.flavour, wrapped, this.identity.privateKey);
    const old = [];
    for (const { E2EKey } of subscription.oldRoomKeys ?? []) old.push(await unwrap(E2EKey));
    this.#keys.set(rid, { current: await unwrap(subscription.E2EKey), old });
    return true;
  }

  /** Says something in a room, encrypted. */
  async say(rid: string, msg: string, more: object = {}): Promise<string> {
    const { current } = this.keysOf(rid);
    if (!current) throw new Error('this person holds no key');
    const { content } = (await client.encryptMessage(this.flavour, current, { msg })) as {
      content: object;
    };
    const _id = randomUUID().replaceAll('-', '').slice(0, 17);
    const message = { _id, rid, t: 'e2e', e2e: 'pending', content, ...more };
    await ok(this.rest.post('chat.sendMessage', { message }));
    return _id;
  }

  /** Reads a message of the server's. */
  async read(rid: string, message: object): Promise<{ msg: string }> {
    const keys = this.keysOf(rid);
    return client.decryptMessage(this.flavour, keys as never, message as never) as Promise<{
      msg: string;
    }>;
  }

  /** Reads a message by its id. */
  async readById(rid: string, msgId: string): Promise<string> {
    const { message } = await ok(this.rest.get('chat.getMessage', { msgId }));
    return (await this.read(rid, message)).msg;
  }
}

// biome-ignore lint/suspicious/noExplicitAny: answers have many shapes
async function ok(reply: Promise<{ status: number; body: any }>): Promise<any> {
  const { status, body } = await reply;
  if (status !== 200) throw new Error(`${status} ${JSON.stringify(body)}`);
  return body;
}
