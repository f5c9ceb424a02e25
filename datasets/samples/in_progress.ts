// A phone book; some lines are left unfinished on purpose: they are what Lacuna is asked to complete.

export interface Contact {
  name: string;
  phone: string;
  email?: string;
}

export class PhoneBook {
  private contacts: Contact[] = [];

  add(contact: Contact): void {
    if (contact.name.length === 0) {
      throw new Error("name must not be empty");
    }
    this.contacts.push(con
  }

  remove(name: string): boolean {
    const before = this.contacts.length;
    this.contacts = this.contacts.filter((contact) => contact.name !== na
    return this.contacts.length < before;
  }

  find(name: string): Contact | undefined {
    return this.contacts.find((contact) =>
  }

  get count(): number {
    return this.contacts.
  }

  names(): string[] {
    return this.contacts.map((contact) => contact.
  }

  withEmail(): Contact[] {
    return this.contacts.filter((contact) => contact.email !== unde
  }

  sorted(): Contact[] {
    return [...this.contacts].sort((a, b) => a.name.localeCompare(b.
  }
}
