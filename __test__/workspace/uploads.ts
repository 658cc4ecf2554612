import { MatchError, MeteorError, PlainError } from './errors';
import type { Messages } from './messages';
import type { Message, MessageFile, Store, Upload, User } from './model';
import { canAccessRoom } from './permissions';
import { isRecord } from './schema';

const EXPIRY_MS = 24 * 60 * 60 * 1000;

/** What the inner check of step 2 lets through, with the type of each (5.5). */
const MESSAGE_KEYS: Readonly<Record<string, (value: unknown) => boolean>> = {
  avatar: isText,
  emoji: isText,
  alias: isText,
  groupable: (value) => typeof value === 'boolean',
  msg: isText,
  tmid: isText,
  customFields: isText, // JSON, as a string
  t: isText,
  content: (value) => isRecord(value) && isText(value.algorithm) && isText(value.ciphertext),
};

/** Files in two steps: `rooms.media`, `rooms.mediaConfirm` (5.5). */
export class Uploads {
  constructor(
    private readonly store: Store,
    private readonly messages: Messages,
  ) {}

  /** Step 1. What is not confirmed within 24 hours goes away. */
  receive(user: User, rid: string, form: FormData, bytes: Buffer | undefined): Upload {
    const { settings } = this.store;
    const file = form.get('file');
    if (!(file instanceof File) || bytes === undefined) {
      throw new MeteorError('error-no-file-uploaded', 'No file was uploaded');
    }
    if (!settings.isOn('FileUpload_Enabled')) {
      throw new MeteorError('error-file-upload-disabled', 'File upload is disabled');
    }
    if (bytes.length > settings.number('FileUpload_MaxFileSize')) {
      throw new MeteorError('error-file-too-large', 'File is too big');
    }
    const type = file.type || 'application/octet-stream';
    if (!this.typeAllowed(type)) {
      throw new MeteorError('error-invalid-file-type', 'File type is not accepted');
    }
    const content = parseContent(form.get('content'));
    const _id = this.store.random.id();
    const upload = this.store.uploads.insert({
      _id,
      name: file.name,
      size: bytes.length,
      type,
      rid,
      userId: user._id,
      uploadedAt: this.store.now(),
      path: `/file-upload/${_id}/${encodeURI(file.name)}`,
      expiresAt: new Date(this.store.clock.now() + EXPIRY_MS),
      ...(content !== undefined && { content }),
    });
    this.store.blobs.set(_id, bytes);
    return upload;
  }

  /**
   * Step 2. Nothing stops a second call: it posts a second message, and answers with the first.
   */
  confirm(
    user: User,
    rid: string,
    fileId: string,
    body: Readonly<Record<string, unknown>>,
  ): Message | undefined {
    const upload = this.find(fileId);
    if (upload === undefined || upload.userId !== user._id || upload.rid !== rid) {
      throw new MeteorError('invalid-file');
    }
    const { description, fileName, fileContent, ...message } = body;
    const text = typeof description === 'string' ? description : undefined;
    if ((text ?? '').length > this.store.settings.number('Message_MaxAllowedSize')) {
      throw new MeteorError('error-message-size-exceeded');
    }
    if (fileContent !== undefined && !this.store.behaviour.fileContent) {
      throw new MatchError('Unknown key in field fileContent');
    }
    checkMessageKeys(message);
    this.store.uploads.update(upload, (stored) => {
      if (text !== undefined) stored.description = text;
      if (typeof fileName === 'string' && fileName !== '') stored.name = fileName;
      if (isRecord(fileContent)) stored.content = fileContent;
    });
    const file = describe(upload);
    this.messages.send(user, {
      ...message,
      ...(isText(message.customFields) && { customFields: parseJson(message.customFields) }),
      rid,
      msg: isText(message.msg) ? message.msg : '',
      groupable: message.groupable === true,
      file,
      files: [file],
      attachments: [attachmentOf(upload, file)],
    });
    this.store.uploads.update(upload, (stored) => {
      delete stored.expiresAt;
    });
    return this.messages
      .inRoom(rid)
      .find((sent) => sent.file?._id === fileId && sent.u._id === user._id);
  }

  /** An upload past its time is gone. */
  find(id: string): Upload | undefined {
    const upload = this.store.uploads.get(id);
    if (upload?.expiresAt === undefined || upload.expiresAt.getTime() > this.store.clock.now()) {
      return upload;
    }
    this.store.uploads.remove(upload);
    this.store.blobs.delete(id);
    return undefined;
  }

  /** The file behind `/file-upload/<id>/<name>`, for who can access its room. */
  download(
    user: User | undefined,
    id: string,
  ): { upload: Upload; bytes: Buffer } | 'denied' | 'absent' {
    const upload = this.find(id);
    const bytes = this.store.blobs.get(id);
    if (upload === undefined || bytes === undefined) return 'absent';
    if (this.store.settings.isOn('FileUpload_ProtectFiles')) {
      const room = this.store.rooms.get(upload.rid);
      if (user === undefined || !canAccessRoom(this.store, room, user._id)) return 'denied';
    }
    return { upload, bytes };
  }

  private typeAllowed(type: string): boolean {
    const listed = (setting: string) =>
      this.store.settings
        .text(setting)
        .split(',')
        .map((entry) => entry.trim())
        .filter((entry) => entry !== '');
    const matches = (entry: string) =>
      entry.endsWith('/*') ? type.startsWith(entry.slice(0, -1)) : type === entry;
    if (listed('FileUpload_MediaTypeBlackList').some(matches)) return false;
    const white = listed('FileUpload_MediaTypeWhiteList');
    return white.length === 0 || white.some(matches);
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new PlainError((error as Error).message);
  }
}

function parseContent(field: unknown): unknown {
  if (typeof field !== 'string') return undefined;
  try {
    return JSON.parse(field);
  } catch {
    throw new MeteorError('invalid-field-content');
  }
}

function checkMessageKeys(message: Readonly<Record<string, unknown>>): void {
  for (const [key, value] of Object.entries(message)) {
    const fits = MESSAGE_KEYS[key];
    if (fits === undefined) throw new MatchError(`Unknown key in field ${key}`);
    if (!fits(value)) throw new MatchError(`Unexpected value in field ${key}`);
  }
}

function describe({ _id, name, type, size }: Upload): MessageFile {
  return { _id, name, type, size, format: extension(name) };
}

/** The server's own plaintext attachment, made from the upload record. */
function attachmentOf(upload: Upload, file: MessageFile): Record<string, unknown> {
  const link = `/file-upload/${upload._id}/${encodeURI(upload.name)}`;
  const kind = /^(image|audio|video)\//.exec(upload.type)?.[1];
  return {
    title: upload.name,
    type: 'file',
    ...(upload.description !== undefined && { description: upload.description }),
    title_link: link,
    title_link_download: true,
    fileId: upload._id,
    ...(kind === undefined
      ? { format: file.format, size: upload.size }
      : {
          [`${kind}_url`]: link,
          [`${kind}_type`]: upload.type,
          [`${kind}_size`]: upload.size,
        }),
  };
}

function extension(name: string): string {
  const dot = name.lastIndexOf('.');
  return dot === -1 ? '' : name.slice(dot + 1);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}
