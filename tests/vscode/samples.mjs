// Code with a place where any code model has something to say.

/** One line is missing after `raise Val` (line 10, column 22). */
export const account = `class Account:
    def deposit(self, amount):
        if amount <= 0:
            raise ValueError("amount must be positive")
        self.balance += amount
        return self.balance

    def withdraw(self, amount):
        if amount <= 0:
            raise Val
        self.balance -= amount
        return self.balance
`;

/** A block is missing at the end: several lines (line 15, column 9). */
export const transfer = `${account}\n    def transfer(self, amount):\n        \n`;

export const atRaise = [10, 22];

/** `account` with text after `raise Val`. */
export function raised(text) {
    return account.replace("raise Val\n", () => `raise Val${text}\n`);
}
