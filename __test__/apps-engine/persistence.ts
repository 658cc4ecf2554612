interface Stored {
  associations: object[];
  data: object;
}

/**
 * An app's persistence as Rocket.Chat's server has it, on a collection without transactions: what
 * is found is found by equal associations, and between any two of its steps others may act.
 * Imports nothing of ours.
 */
export class AppPersistence {
  documents: Stored[] = [];
  /** How often it was called. */
  calls = 0;
  /** Milliseconds that a step takes at most; below 0, none waits. */
  latency = -1;
  /** What a call fails with, where it does. */
  failure: (method: string) => Error | undefined = () => undefined;

  /** `IPersistenceRead` and `IPersistence`. */
  get accessors() {
    return { read: this.read, persistence: this.persistence };
  }

  readonly read = {
    readByAssociation: async (association: object): Promise<object[]> => {
      await this.#step('readByAssociation');
      return this.#find([association]).map(({ data }) => structuredClone(data));
    },
  };

  readonly persistence = {
    createWithAssociations: async (data: object, associations: object[]): Promise<string> => {
      await this.#step('createWithAssociations');
      this.documents.push({ associations, data: structuredClone(data) });
      return 'id';
    },

    updateByAssociations: async (
      associations: object[],
      data: object,
      upsert = false,
    ): Promise<string> => {
      await this.#step('updateByAssociations');
      const found = this.documents.find((stored) => same(stored.associations, associations));
      if (found) found.data = structuredClone(data);
      else if (upsert) this.documents.push({ associations, data: structuredClone(data) });
      // As it is on real servers: there is no id when nothing was inserted.
      if (found || !upsert) throw new TypeError("Cannot read properties of null ('toString')");
      return 'id';
    },

    removeByAssociation: async (association: object): Promise<object[]> => {
      await this.#step('removeByAssociation');
      const found = this.#find([association]);
      await this.#step('');
      this.documents = this.documents.filter((stored) => !has(stored, [association]));
      return found.map(({ data }) => structuredClone(data));
    },
  };

  #find(associations: object[]): Stored[] {
    return this.documents.filter((stored) => has(stored, associations));
  }

  async #step(method: string): Promise<void> {
    if (method !== '') this.calls += 1;
    if (this.latency >= 0) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * this.latency));
    } else {
      await Promise.resolve();
    }
    const failure = this.failure(method);
    if (failure) throw failure;
  }
}

const same = (one: object, other: object) => JSON.stringify(one) === JSON.stringify(other);

const has = (stored: Stored, associations: object[]) =>
  associations.every((wanted) => stored.associations.some((found) => same(found, wanted)));
