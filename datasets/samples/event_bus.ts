// A typed publish/subscribe bus with history for late subscribers.

export type Listener<T> = (payload: T) => void;

export interface Subscription {
  unsubscribe(): void;
}

interface Entry<T> {
  listener: Listener<T>;
  once: boolean;
}

export interface BusOptions {
  historySize: number;
  onError?: (error: unknown) => void;
}

const DEFAULT_OPTIONS: BusOptions = { historySize: 0 };

export class EventBus<Events extends Record<string, unknown>> {
  private entries = new Map<keyof Events, Entry<never>[]>();
  private history = new Map<keyof Events, unknown[]>();
  private options: BusOptions;

  constructor(options: Partial<BusOptions> = {}) {
    this.options = { ...DEFAULT_OPTIONS, ...options };
  }

  on<K extends keyof Events>(name: K, listener: Listener<Events[K]>): Subscription {
    return this.subscribe(name, listener, false);
  }

  once<K extends keyof Events>(name: K, listener: Listener<Events[K]>): Subscription {
    return this.subscribe(name, listener, true);
  }

  off<K extends keyof Events>(name: K, listener: Listener<Events[K]>): void {
    const list = this.entries.get(name) ?? [];
    this.entries.set(
      name,
      list.filter((entry) => entry.listener !== (listener as Listener<never>)),
    );
  }

  emit<K extends keyof Events>(name: K, payload: Events[K]): number {
    this.remember(name, payload);
    const list = this.entries.get(name) ?? [];
    let called = 0;
    for (const entry of [...list]) {
      try {
        entry.listener(payload as never);
        called += 1;
      } catch (error) {
        this.options.onError?.(error);
      }
      if (entry.once) {
        this.off(name, entry.listener as Listener<Events[K]>);
      }
    }
    return called;
  }

  replay<K extends keyof Events>(name: K, listener: Listener<Events[K]>): void {
    for (const payload of this.history.get(name) ?? []) {
      listener(payload as Events[K]);
    }
  }

  clear(): void {
    this.entries.clear();
    this.history.clear();
  }

  private subscribe<K extends keyof Events>(name: K, listener: Listener<Events[K]>, once: boolean): Subscription {
    const list = this.entries.get(name) ?? [];
    list.push({ listener: listener as Listener<never>, once });
    this.entries.set(name, list);
    return { unsubscribe: () => this.off(name, listener) };
  }

  private remember<K extends keyof Events>(name: K, payload: Events[K]): void {
    if (this.options.historySize === 0) {
      return;
    }
    const past = this.history.get(name) ?? [];
    past.push(payload);
    while (past.length > this.options.historySize) {
      past.shift();
    }
    this.history.set(name, past);
  }
}
