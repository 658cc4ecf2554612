import type { Behaviour } from './versions';

export type SettingValue = string | number | boolean;

/**
 * Public settings (protocol 9.3) with the server's defaults, except `E2E_Enable` and `OTR_Enable`,
 * which a fresh server has off and a workspace made for E2EE tests has on.
 */
const DEFAULTS: Readonly<Record<string, SettingValue>> = {
  API_Enable_Rate_Limiter: true,
  API_Enable_Rate_Limiter_Limit_Calls_Default: 10,
  API_Enable_Rate_Limiter_Limit_Time_Default: 60_000,
  E2E_Enable: true,
  E2E_Allow_Unencrypted_Messages: false,
  E2E_Enabled_Default_DirectRooms: false,
  E2E_Enabled_Default_PrivateRooms: false,
  E2E_Enable_Encrypt_Files: true,
  E2E_Enabled_Mentions: true,
  FileUpload_Enabled: true,
  FileUpload_MaxFileSize: 104_857_600,
  FileUpload_MediaTypeBlackList: 'image/svg+xml',
  FileUpload_MediaTypeWhiteList: '',
  FileUpload_ProtectFiles: true,
  Message_AllowDeleting: true,
  Message_AllowEditing: true,
  Message_AllowPinning: true,
  Message_MaxAll: 0,
  Message_MaxAllowedSize: 5000,
  Message_QuoteChainLimit: 2,
  Message_Read_Receipt_Enabled: false,
  Site_Url: '',
  Threads_enabled: true,
  UTF8_User_Names_Validation: '[0-9a-zA-Z-_.]+',
};

/** A real server lists more than one page (50) of these before the first `E2E_` setting. */
const FILLERS = Array.from(
  { length: 60 },
  (_, i) => `Accounts_Option_${String(i).padStart(2, '0')}`,
);

export class Settings {
  private readonly values = new Map<string, SettingValue>();

  constructor(behaviour: Behaviour, overrides: Readonly<Record<string, SettingValue>>) {
    for (const name of FILLERS) this.values.set(name, false);
    for (const [name, value] of Object.entries(DEFAULTS)) this.values.set(name, value);
    if (behaviour.otr) this.values.set('OTR_Enable', true);
    if (behaviour.forceEncryptionSetting) {
      this.values.set('E2E_Force_Encryption_For_Private_Rooms', false);
    }
    for (const [name, value] of Object.entries(overrides)) this.values.set(name, value);
  }

  set(name: string, value: SettingValue): void {
    this.values.set(name, value);
  }

  isOn(name: string): boolean {
    return this.values.get(name) === true;
  }

  number(name: string): number {
    return Number(this.values.get(name));
  }

  text(name: string): string {
    return String(this.values.get(name) ?? '');
  }

  /** All settings, by id. */
  list(): { _id: string; value: SettingValue }[] {
    return [...this.values]
      .map(([_id, value]) => ({ _id, value }))
      .sort((a, b) => (a._id < b._id ? -1 : 1));
  }
}
