/**
 * What of the Apps-Engine's accessors is used here, so that this package depends on no version of
 * `@rocket.chat/apps-engine`: the real ones fit.
 */

/** `IPersistenceRead`. */
export interface PersistenceRead {
  readByAssociation(association: object): Promise<object[]>;
}

/** `IPersistence`. */
export interface Persistence {
  createWithAssociations(data: object, associations: object[]): Promise<string>;
  updateByAssociations(associations: object[], data: object, upsert?: boolean): Promise<string>;
  removeByAssociation(association: object): Promise<object[]>;
}

/** `IHttpResponse`. */
export interface HttpResponse {
  statusCode: number;
  headers?: { [name: string]: string };
  content?: string;
}

/** `IHttp`. */
export interface Http {
  get(url: string, options?: object): Promise<HttpResponse>;
  post(url: string, options?: object): Promise<HttpResponse>;
}

/** `IRead`, as far as it is used. */
export interface Read {
  getPersistenceReader(): PersistenceRead;
  getEnvironmentReader(): {
    getSettings(): { getValueById(id: string): Promise<unknown> };
  };
  getUserReader(): { getAppUser(appId?: string): Promise<{ id: string } | undefined> };
}

/** `IModify`, as far as it is used. */
export interface Modify {
  getCreator(): {
    startMessage(data?: never): object;
    finish(builder: never): Promise<string>;
  };
}
