import { E2eeError } from '../errors';
import type { Read } from './accessors';

/** An `ISetting`. */
export interface AppSetting {
  id: string;
  /** A `SettingType`; typed so that it fits that of every version. */
  type: never;
  packageValue: string;
  required: boolean;
  public: boolean;
  multiline?: boolean;
  values?: { key: string; i18nLabel: string }[];
  section: string;
  i18nLabel: string;
  i18nDescription: string;
}

/** What the settings say. */
export interface AppConfiguration {
  url: string;
  userId: string;
  authToken: string;
  passphrase: string;
  /** Ids or names of rooms. */
  rooms: readonly string[] | 'all';
  replyAs: 'account' | 'app';
}

const ID = 'rocketchat-e2ee-';

/**
 * The settings that an {@link AppParticipant} reads, for `configuration.settings.provideSetting`.
 *
 * Their labels are keys of translations, `e2ee_url` and `e2ee_url_description` for the first: take
 * the texts from `i18n/` of the example app into the app's own.
 */
export function e2eeSettings(): AppSetting[] {
  return [
    setting('url', 'string', { packageValue: 'http://localhost:3000' }),
    setting('user-id', 'string'),
    setting('auth-token', 'password'),
    setting('passphrase', 'password'),
    setting('rooms', 'string', { multiline: true, required: false }),
    setting('reply-as', 'select', {
      packageValue: 'account',
      values: [
        { key: 'account', i18nLabel: 'e2ee_reply_as_account' },
        { key: 'app', i18nLabel: 'e2ee_reply_as_app' },
      ],
    }),
  ];
}

function setting(
  name: string,
  type: 'string' | 'password' | 'select',
  more: Partial<AppSetting> = {},
): AppSetting {
  const key = `e2ee_${name.replaceAll('-', '_')}`;
  return {
    id: ID + name,
    type: type as never,
    packageValue: '',
    required: true,
    // To people, that is, and secrets must never be.
    public: false,
    section: 'e2ee_section',
    i18nLabel: key,
    i18nDescription: `${key}_description`,
    ...more,
  };
}

/** Reads the settings. */
export async function configurationOf(read: Read): Promise<AppConfiguration> {
  const settings = read.getEnvironmentReader().getSettings();
  const textOf = async (name: string): Promise<string> => {
    const value = await settings.getValueById(ID + name);
    return typeof value === 'string' ? value.trim() : '';
  };
  const required = async (name: string): Promise<string> => {
    const value = await textOf(name);
    if (value !== '') return value;
    throw new E2eeError('ERR_E2EE_INVALID_ARGUMENT', `the app's setting ${ID}${name} is empty`);
  };
  const rooms = (await textOf('rooms')).split(/[\s,]+/).filter((room) => room !== '');
  return {
    url: await required('url'),
    userId: await required('user-id'),
    authToken: await required('auth-token'),
    passphrase: await required('passphrase'),
    rooms: rooms.includes('all') ? 'all' : rooms,
    replyAs: (await textOf('reply-as')) === 'app' ? 'app' : 'account',
  };
}
