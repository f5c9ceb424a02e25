// Runs asynchronous jobs with a limit on how many run at once, with retries.

export type Job<T> = () => Promise<T>;

export interface QueueOptions {
  concurrency: number;
  retries: number;
  delayMs: number;
}

interface Waiting {
  run: () => Promise<void>;
  priority: number;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export async function withRetries<T>(job: Job<T>, retries: number, delayMs: number): Promise<T> {
  let lastError: unknown;
  for (let attempt = 0; attempt <= retries; attempt++) {
    try {
      return await job();
    } catch (error) {
      lastError = error;
      await sleep(delayMs * 2 ** attempt);
    }
  }
  throw lastError;
}

export class Queue {
  private waiting: Waiting[] = [];
  private running = 0;
  private finished = 0;

  constructor(private options: QueueOptions = { concurrency: 4, retries: 0, delayMs: 100 }) {
    if (options.concurrency < 1) {
      throw new RangeError("concurrency must be at least 1");
    }
  }

  add<T>(job: Job<T>, priority = 0): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const run = async () => {
        try {
          resolve(await withRetries(job, this.options.retries, this.options.delayMs));
        } catch (error) {
          reject(error);
        }
      };
      this.waiting.push({ run, priority });
      this.waiting.sort((a, b) => b.priority - a.priority);
      this.next();
    });
  }

  get size(): number {
    return this.waiting.length;
  }

  get active(): number {
    return this.running;
  }

  get done(): number {
    return this.finished;
  }

  private next(): void {
    while (this.running < this.options.concurrency && this.waiting.length > 0) {
      const job = this.waiting.shift();
      if (job === undefined) {
        return;
      }
      this.running += 1;
      job.run().finally(() => {
        this.running -= 1;
        this.finished += 1;
        this.next();
      });
    }
  }
}
