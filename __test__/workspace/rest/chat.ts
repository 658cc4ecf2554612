import { failure, MeteorError, PlainError } from '../errors';
import { type Draft, Messages } from '../messages';
import { OTR_NOTICES } from '../otr';
import {
  anything,
  dictionary,
  either,
  flag,
  list,
  nonEmpty,
  nullable,
  number,
  oneOf,
  shape,
  text,
} from '../schema';
import { syncMessages } from '../sync-messages';
import { route } from './route';

const object = dictionary(anything);

/** 5.1: these are typed, further members of `message` are let through. */
const draft = shape(
  { rid: text },
  {
    _id: nullable(text),
    tmid: nullable(text),
    msg: nullable(text),
    alias: nullable(text),
    emoji: nullable(text),
    tshow: nullable(flag),
    avatar: nullable(text),
    attachments: nullable(list(object)),
    blocks: nullable(list(object)),
    customFields: nullable(object),
  },
  'allowed',
);

/** 5.3: all members non-empty, nothing else. */
const content = either(
  shape({ algorithm: oneOf('rc.v1.aes-sha2'), ciphertext: nonEmpty }),
  shape({ algorithm: oneOf('rc.v2.aes-sha2'), ciphertext: nonEmpty, iv: nonEmpty, kid: nonEmpty }),
);

const mentions = shape({}, { e2eUserMentions: list(text), e2eChannelMentions: list(text) });

export const chatRoutes = [
  route({
    method: 'POST',
    path: 'chat.sendMessage',
    body: shape({ message: draft }, { previewUrls: list(text) }),
    handle({ services, user, body }) {
      const given: Draft = Object.fromEntries(
        Object.entries(body.message).filter(([, value]) => value !== null),
      );
      if (Messages.isSystemType(given.t)) {
        throw new PlainError("Cannot send system messages using 'chat.sendMessage'");
      }
      const message = services.messages.send(user, given);
      // The answer to a taken `_id` is open (11.6). The code read normalises "no message" and
      // trips over it: a 400 without `errorType`, although the message is there.
      if (message === undefined) {
        throw new PlainError("Cannot read properties of undefined (reading 'starred')");
      }
      return { message };
    },
  }),
  route({
    method: 'POST',
    path: 'chat.update',
    body: either(
      shape({ roomId: text, msgId: text, text }, { previewUrls: list(text), customFields: object }),
      shape({ roomId: text, msgId: text, content }, { e2eMentions: mentions }),
    ),
    handle: ({ services, user, body }) => ({ message: services.messages.update(user, body) }),
  }),
  route({
    method: 'POST',
    path: 'chat.delete',
    body: shape({ msgId: text, roomId: text }, { asUser: flag }),
    handle({ services, user, body }) {
      const { _id, rid, u } = services.messages.delete(user, body.msgId, body.roomId);
      return { _id, ts: String(services.store.clock.now()), message: { _id, rid, u } };
    },
  }),
  route({
    method: 'GET',
    path: 'chat.getMessage',
    query: shape({ msgId: nonEmpty }),
    // The whole message (4.1).
    handle: ({ services, user, query }) => ({
      message: services.messages.readable(user, query.msgId),
    }),
  }),
  route({
    method: 'GET',
    path: 'chat.syncMessages',
    query: shape(
      { roomId: text },
      {
        lastUpdate: text,
        fromTs: text,
        type: oneOf('UPDATED', 'DELETED'),
        next: text,
        previous: text,
        count: number,
      },
    ),
    handle: ({ services, user, query }) => ({
      result: syncMessages(services.store, user._id, query),
    }),
  }),
  route({
    method: 'POST',
    path: 'chat.pinMessage',
    body: shape({ messageId: nonEmpty }),
    handle: ({ services, user, body }) => ({
      message: services.messages.pin(user, body.messageId),
    }),
  }),
  route({
    method: 'POST',
    path: 'chat.postMessage',
    // No place for `t` and `content`: of no use in an encrypted room (5.2).
    body: shape(
      {},
      {
        roomId: text,
        channel: text,
        text: nullable(text),
        alias: nullable(text),
        emoji: nullable(text),
        avatar: nullable(text),
        attachments: nullable(list(object)),
        tmid: text,
        customFields: object,
        parseUrls: flag,
      },
    ),
    handle({ services, user, body }) {
      const { store, messages } = services;
      const name = body.channel?.replace(/^[#@]/, '');
      const room = store.rooms.get(body.roomId ?? '') ?? store.roomNamed(name);
      if (room === undefined) throw new MeteorError('invalid-channel', 'invalid-channel');
      const message = messages.send(user, {
        rid: room._id,
        msg: body.text ?? '',
        ...(body.alias && { alias: body.alias }),
        ...(body.avatar && { avatar: body.avatar }),
        ...(body.attachments && { attachments: body.attachments }),
        ...(body.tmid && { tmid: body.tmid }),
      });
      return { ts: store.clock.now(), channel: name ?? body.roomId, message };
    },
  }),
  route({
    method: 'POST',
    path: 'chat.otr',
    exists: (behaviour) => behaviour.otr,
    body: shape({ roomId: text, type: oneOf(...OTR_NOTICES) }),
    handle({ services, user, body }) {
      if (!services.store.settings.isOn('OTR_Enable')) {
        throw failure('OTR is disabled');
      }
      services.otr.notice(user, body.roomId, body.type);
      return undefined;
    },
  }),
];
