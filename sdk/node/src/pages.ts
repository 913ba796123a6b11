/** One page: its items, how many items all pages have (undefined where the API does not count them). */
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly total: number | undefined;
}

interface Found<Item> extends Page<Item> {
  /** Fetches the next page; undefined: this is the last. */
  readonly next: (() => Promise<Found<Item>>) | undefined;
}

export type Fetch<Item> = () => Promise<Found<Item>>;

/** Iterates over the items of all pages; each page is fetched when it is reached, again in every iteration. */
export class Pages<Item> implements AsyncIterable<Item> {
  readonly #first: Fetch<Item>;

  constructor(first: Fetch<Item>) {
    this.#first = first;
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Item> {
    for await (const page of this.pages()) yield* page.items;
  }

  /** The pages themselves. */
  async *pages(): AsyncGenerator<Page<Item>> {
    let fetch: Fetch<Item> | undefined = this.#first;
    while (fetch !== undefined) {
      const page: Found<Item> = await fetch();
      yield page;
      fetch = page.next;
    }
  }

  /** The items as an array, at most `limit` of them. */
  async toArray(limit = Infinity): Promise<readonly Item[]> {
    const items: Item[] = [];
    if (limit <= 0) return items;
    for await (const item of this) {
      items.push(item);
      if (items.length >= limit) break;
    }
    return items;
  }
}

/** Pages of a list that fits into memory: awaiting it gives all items as an array. */
export class Listing<Item> extends Pages<Item> implements PromiseLike<readonly Item[]> {
  then<Fulfilled = readonly Item[], Rejected = never>(
    fulfilled?: ((items: readonly Item[]) => Fulfilled | PromiseLike<Fulfilled>) | null,
    rejected?: ((reason: unknown) => Rejected | PromiseLike<Rejected>) | null,
  ): Promise<Fulfilled | Rejected> {
    return this.toArray().then(fulfilled, rejected);
  }
}
