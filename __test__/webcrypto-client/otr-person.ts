import { randomUUID } from 'node:crypto';
import type { Account, Workspace } from '../workspace';
import { type Frame, Rest, Socket } from '../workspace/probe';
import type { BrowserClient } from './browser';

interface Pair {
  publicKey: string;
  privateKey: string;
}

/** A message that was sent, and the text that its receipt must have. */
interface Sent {
  _id: string;
  ack: string;
}

/**
 * Somebody with Rocket.Chat's web client of 7.x in an off-the-record session: the WebCrypto model in
 * a browser, and plain frames against the stand-in workspace. Imports nothing of ours. What the
 * human does, the test does.
 */
export class OtrPerson {
  #pair: Pair | undefined;
  #key: Uint8Array<ArrayBuffer> | undefined;
  #controls = 0;
  #messages = 0;

  private constructor(
    readonly account: Account,
    readonly peer: string,
    readonly rid: string,
    readonly browser: BrowserClient,
    readonly socket: Socket,
    readonly rest: Rest,
  ) {}

  static async open(
    workspace: Workspace,
    account: Account,
    { peer, rid, browser }: { peer: string; rid: string; browser: BrowserClient },
  ): Promise<OtrPerson> {
    const socket = await Socket.connect(workspace, account);
    await socket.sub('stream-notify-user', `${account._id}/otr`);
    await socket.sub('stream-room-messages', rid);
    const rest = new Rest(workspace, account);
    return new OtrPerson(account, peer, rid, browser, socket, rest);
  }

  get publicKey(): string | undefined {
    return this.#pair?.publicKey;
  }

  /** The next control event of the peer's. */
  async hears(timeoutMs = 3000): Promise<[string, Frame]> {
    const name = `${this.account._id}/otr`;
    await this.socket.until(() => this.socket.events(name).length > this.#controls, timeoutMs);
    const event = this.socket.events(name)[this.#controls];
    this.#controls += 1;
    return event;
  }

  /** Control events that nobody has looked at yet. */
  get unheard(): string[] {
    const events = this.socket.events(`${this.account._id}/otr`).slice(this.#controls);
    return events.map(([type]) => type);
  }

  /** Sends a control event, as any user can to anybody. */
  async tell(type: string, data: unknown): Promise<void> {
    const { error } = await this.socket.call('stream-notify-user', `${this.peer}/otr`, type, data);
    if (error) throw new Error(error.error);
  }

  private get who(): object {
    return { roomId: this.rid, userId: this.account._id };
  }

  private async draw(): Promise<Pair> {
    this.#pair = await this.browser.call('createOtrPair');
    await this.socket.call('deleteOldOTRMessages', this.rid);
    return this.#pair;
  }

  private async agree(peerKey: string): Promise<void> {
    if (!this.#pair) throw new Error('no pair was drawn');
    this.#key = await this.browser.call('agreeOtrKey', this.#pair.privateKey, peerKey);
  }

  /** Asks for a session, or for new keys. */
  async asks(refresh = false): Promise<void> {
    const { publicKey } = await this.draw();
    await this.tell('handshake', { ...this.who, publicKey, ...(refresh && { refresh }) });
    if (refresh) await this.notice('user_requested_otr_key_refresh');
  }

  /** Hears that the peer accepts what was asked. */
  async isAccepted(first = true): Promise<void> {
    const [type, data] = await this.hears();
    expect([type, data]).toEqual([
      'acknowledge',
      { roomId: this.rid, userId: this.peer, publicKey: expect.any(String) },
    ]);
    await this.agree(data.publicKey);
    if (first) await this.notice('user_joined_otr');
  }

  /** Hears that the peer asks. */
  async isAsked(refresh = false): Promise<Frame> {
    const [type, data] = await this.hears();
    expect([type, data]).toEqual([
      'handshake',
      {
        roomId: this.rid,
        userId: this.peer,
        publicKey: expect.any(String),
        ...(refresh && { refresh }),
      },
    ]);
    return data;
  }

  async accepts({ publicKey: peerKey, refresh }: Frame): Promise<void> {
    const { publicKey } = await this.draw();
    await this.agree(peerKey);
    await this.tell('acknowledge', { ...this.who, publicKey });
    if (refresh) await this.notice('user_key_refreshed_successfully');
  }

  async denies(): Promise<void> {
    await this.tell('deny', this.who);
  }

  async ends(): Promise<void> {
    this.#key = undefined;
    await this.tell('end', this.who);
  }

  private async notice(type: string): Promise<void> {
    const { status, body } = await this.rest.post('chat.otr', { roomId: this.rid, type });
    if (status !== 200) throw new Error(JSON.stringify(body));
  }

  seal(payload: object | string): Promise<string> {
    if (!this.#key) throw new Error('there is no session');
    return this.browser.call('sealOtr', this.#key, payload);
  }

  /** Says something; `change` replaces members of what goes into the envelope. */
  async says(text: string, change: object = {}): Promise<Sent> {
    const sent = { _id: id(), ack: id() };
    const payload = { ...sent, text, userId: this.account._id, ts: new Date(), ...change };
    await this.sends(sent._id, await this.seal(payload));
    return sent;
  }

  async sends(_id: string, msg: string): Promise<void> {
    const message = { _id, rid: this.rid, t: 'otr', msg };
    const { error } = await this.socket.call('sendMessage', message);
    if (error) throw new Error(JSON.stringify(error));
  }

  /** The next message of the room's that the server streams. */
  async sees(): Promise<Frame> {
    await this.socket.until(() => this.socket.events(this.rid).length > this.#messages);
    const [message] = this.socket.events(this.rid)[this.#messages];
    this.#messages += 1;
    return message;
  }

  /** Reads the peer's next message, and confirms it. */
  async reads(): Promise<{ text: string; _id: string; ts: Date }> {
    let message: Frame;
    do message = await this.sees();
    while (message.t !== 'otr' || message.u._id !== this.peer || receiptOf(message));
    if (!this.#key) throw new Error('there is no session');
    const { _id, text, userId, ack, ts } = await this.browser.call(
      'openOtr',
      this.#key,
      message.msg,
    );
    expect({ _id, userId }).toEqual({ _id: message._id, userId: this.peer });
    const { error } = await this.socket.call('updateOTRAck', {
      message,
      ack: await this.seal({ text: ack, ack: id() }),
    });
    if (error) throw new Error(JSON.stringify(error));
    return { text, _id, ts };
  }

  /** Sees that the peer has read it. */
  async isConfirmed({ _id, ack }: Sent): Promise<void> {
    let message: Frame;
    do message = await this.sees();
    while (message._id !== _id || !receiptOf(message));
    if (!this.#key) throw new Error('there is no session');
    const receipt = await this.browser.call('openOtr', this.#key, receiptOf(message) as string);
    expect(receipt.text).toBe(ack);
  }

  close(): void {
    this.socket.close();
  }
}

function receiptOf(message: Frame): string | undefined {
  return message.otrAck ?? message.otr?.ack;
}

function id(): string {
  return randomUUID().replaceAll('-', '').slice(0, 17);
}
