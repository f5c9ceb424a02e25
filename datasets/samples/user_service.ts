// Users in memory: creation, lookup, search and paging.

export interface User {
  id: number;
  name: string;
  email: string;
  active: boolean;
  createdAt: Date;
}

export interface Page<T> {
  items: T[];
  total: number;
  page: number;
  pageSize: number;
}

export class NotFoundError extends Error {
  constructor(kind: string, id: number) {
    super(`${kind} ${id} was not found`);
    this.name = "NotFoundError";
  }
}

export class ValidationError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ValidationError";
  }
}

const EMAIL = /^[^@\s]+@[^@\s]+\.[^@\s]+$/;

export class UserService {
  private users: Map<number, User> = new Map();
  private nextId = 1;

  create(name: string, email: string): User {
    if (name.trim().length === 0) {
      throw new ValidationError("name must not be empty");
    }
    if (!EMAIL.test(email)) {
      throw new ValidationError(`${email} is not an e-mail address`);
    }
    if (this.findByEmail(email) !== undefined) {
      throw new ValidationError(`${email} is taken`);
    }
    const user: User = { id: this.nextId, name: name.trim(), email, active: true, createdAt: new Date() };
    this.users.set(user.id, user);
    this.nextId += 1;
    return user;
  }

  get(id: number): User {
    const user = this.users.get(id);
    if (user === undefined) {
      throw new NotFoundError("user", id);
    }
    return user;
  }

  findByEmail(email: string): User | undefined {
    for (const user of this.users.values()) {
      if (user.email === email) {
        return user;
      }
    }
    return undefined;
  }

  rename(id: number, name: string): User {
    const user = { ...this.get(id), name };
    this.users.set(id, user);
    return user;
  }

  deactivate(id: number): User {
    const user = { ...this.get(id), active: false };
    this.users.set(id, user);
    return user;
  }

  search(text: string): User[] {
    const needle = text.toLowerCase();
    return [...this.users.values()].filter((user) => {
      return user.name.toLowerCase().includes(needle) || user.email.toLowerCase().includes(needle);
    });
  }

  list(page = 1, pageSize = 20): Page<User> {
    const all = [...this.users.values()].sort((a, b) => a.id - b.id);
    const start = (page - 1) * pageSize;
    return { items: all.slice(start, start + pageSize), total: all.length, page, pageSize };
  }
}
