--- Code with a place where any code model has something to say.

local M = {}

--- One line is missing after `raise Val` (line 10).
M.ACCOUNT = [[
class Account:
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
]]

--- A block is missing at the end: several lines.
M.TRANSFER = M.ACCOUNT .. "\n    def transfer(self, amount):\n        \n"

return M
