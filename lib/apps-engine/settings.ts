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
 * Their labels are texts, not keys of translations, except where the app's i18n has them as keys.
 */
export function e2eeSettings(): AppSetting[] {
  const setting = (
    name: string,
    type: 'string' | 'password' | 'select',
    label: string,
    description: string,
    more: Partial<AppSetting> = {},
  ): AppSetting => ({
    id: ID + name,
    type: type as never,
    packageValue: '',
    required: true,
    // To people, that is; secrets must never be.
    public: false,
    section: 'End-to-end encryption',
    i18nLabel: label,
    i18nDescription: description,
    ...more,
  });
  return [
    setting(
      'url',
      'string',
      'Server address',
      'Where the app reaches this server, such as http://localhost:3000. It must answer without a redirect.',
      { packageValue: 'http://localhost:3000' },
    ),
    setting(
      'user-id',
      'string',
      'Bot account: user id',
      'The account that holds the keys. It must be a member of the rooms; give it the role bot.',
    ),
    setting(
      'auth-token',
      'password',
      'Bot account: personal access token',
      'Made in the account, under Personal Access Tokens, ignoring two-factor authentication.',
    ),
    setting(
      'passphrase',
      'password',
      'Bot account: end-to-end encryption password',
      'Opens the account’s keys, and seals what the app keeps. Where the account has no keys yet, they are made with it.',
    ),
    setting(
      'rooms',
      'string',
      'Rooms that the app may read',
      'Ids or names, separated by commas or lines. The word all stands for every encrypted room of the account.',
      { multiline: true, required: false },
    ),
    setting(
      'reply-as',
      'select',
      'Who answers',
      'The bot account, through REST; or the app’s own user, which cannot be seen among the members.',
      {
        packageValue: 'account',
        values: [
          { key: 'account', i18nLabel: 'The bot account' },
          { key: 'app', i18nLabel: 'The app’s own user' },
        ],
      },
    ),
  ];
}

/** Reads the settings. */
export async function configurationOf(read: Read): Promise<AppConfiguration> {
  const settings = read.getEnvironmentReader().getSettings();
  const valueOf = async (name: string): Promise<string> => {
    const value = await settings.getValueById(ID + name);
    return typeof value === 'string' ? value.trim() : '';
  };
  const required = async (name: string): Promise<string> => {
    const value = await valueOf(name);
    if (value !== '') return value;
    throw new E2eeError('ERR_E2EE_INVALID_ARGUMENT', `the app's setting ${ID}${name} is empty`);
  };
  const rooms = (await valueOf('rooms')).split(/[\s,]+/).filter((room) => room !== '');
  return {
    url: await required('url'),
    userId: await required('user-id'),
    authToken: await required('auth-token'),
    passphrase: await required('passphrase'),
    rooms: rooms.includes('all') ? 'all' : rooms,
    replyAs: (await valueOf('reply-as')) === 'app' ? 'app' : 'account',
  };
}
