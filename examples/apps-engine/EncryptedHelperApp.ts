import { App } from '@rocket.chat/apps-engine/definition/App';
import type {
  IAppAccessors,
  IAppInstallationContext,
  IConfigurationExtend,
  IConfigurationModify,
  IEnvironmentRead,
  IHttp,
  ILogger,
  IModify,
  IPersistence,
  IRead,
} from '@rocket.chat/apps-engine/definition/accessors';
import type {
  IMessage,
  IPostMessageSent,
  IPostSystemMessageSent,
} from '@rocket.chat/apps-engine/definition/messages';
import type { IAppInfo } from '@rocket.chat/apps-engine/definition/metadata';
import { RoomType } from '@rocket.chat/apps-engine/definition/rooms';
import {
  type AppAccessors,
  AppParticipant,
  e2eeSettings,
  type ReceivedMessage,
} from './rocketchat-e2ee';
import { summaryOf } from './summary';
import { GREETING, INSTALLED } from './texts';

const UPKEEP = 'e2ee-upkeep';

/** Takes part in encrypted rooms: answers `!ping` and `!summary`, and says that it is there. */
export class EncryptedHelperApp extends App implements IPostMessageSent, IPostSystemMessageSent {
  private readonly e2ee: AppParticipant;

  constructor(info: IAppInfo, logger: ILogger, accessors: IAppAccessors) {
    super(info, logger, accessors);
    this.e2ee = new AppParticipant(info.id);
  }

  /** Where encrypted messages arrive. */
  public async executePostSystemMessageSent(
    message: IMessage,
    read: IRead,
    http: IHttp,
    persistence: IPersistence,
    modify: IModify,
  ): Promise<void> {
    await this.read(message, { read, http, persistence, modify });
  }

  /** Where they arrive on older servers. */
  public async executePostMessageSent(
    message: IMessage,
    read: IRead,
    http: IHttp,
    persistence: IPersistence,
    modify: IModify,
  ): Promise<void> {
    await this.read(message, { read, http, persistence, modify });
  }

  public async extendConfiguration(configuration: IConfigurationExtend): Promise<void> {
    for (const setting of e2eeSettings()) {
      await configuration.settings.provideSetting(setting);
    }
    await configuration.scheduler.registerProcessors([
      {
        id: UPKEEP,
        processor: (_job, read, modify, http, persistence) =>
          this.upkeep({ read, http, persistence, modify }),
      },
    ]);
  }

  public async onEnable(
    _environment: IEnvironmentRead,
    configuration: IConfigurationModify,
  ): Promise<boolean> {
    await configuration.scheduler.scheduleRecurring({ id: UPKEEP, interval: '1 minute' });
    return true;
  }

  /** Says plainly to whoever installs it what it can read. */
  public async onInstall(
    context: IAppInstallationContext,
    read: IRead,
    _http: IHttp,
    _persistence: IPersistence,
    modify: IModify,
  ): Promise<void> {
    const sender = await read.getUserReader().getAppUser();
    if (!sender) {
      return;
    }
    const creator = modify.getCreator();
    const room = creator
      .startRoom()
      .setType(RoomType.DIRECT_MESSAGE)
      .setCreator(sender)
      .setMembersToBeAddedByUsernames([sender.username, context.user.username]);
    const found = await read.getRoomReader().getById(await creator.finish(room));
    if (found) {
      await creator.finish(creator.startMessage({ room: found, sender, text: INSTALLED }));
    }
  }

  /** Every minute: new keys, new rooms, messages whose key came late. */
  private async upkeep(accessors: AppAccessors): Promise<void> {
    await this.guard(async () => {
      for (const received of await this.e2ee.sync(accessors)) {
        await this.answer(received, accessors);
      }
      await this.e2ee.greet(GREETING, accessors);
    });
  }

  private async read(message: IMessage, accessors: AppAccessors): Promise<void> {
    await this.guard(async () => {
      const received = await this.e2ee.receive(message, accessors);
      if (received) {
        await this.answer(received, accessors);
      }
    });
  }

  private async answer(received: ReceivedMessage, accessors: AppAccessors): Promise<void> {
    const [command] = received.text.trim().split(/\s/, 1);
    if (command === '!ping') {
      await received.reply(`pong, ${received.username}`);
    } else if (command === '!summary') {
      const reader = (accessors.read as IRead).getRoomReader();
      const messages = await reader.getMessages(received.roomId, {
        limit: 100,
        sort: { createdAt: 'desc' },
      });
      await received.reply(summaryOf(await this.e2ee.history(messages, accessors)));
    }
  }

  /** What goes wrong is logged: errors of the library hold neither secrets nor plaintext. */
  private async guard(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.getLogger().error(`${error.code ?? 'error'}: ${error.message}`);
    }
  }
}
