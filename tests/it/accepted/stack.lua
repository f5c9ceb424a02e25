local Stack = {}
Stack.__index = Stack

function Stack.new()
  return setmetatable({ items = {}, size = 0 }, Stack)
end

function Stack:push(item)
  self.size = self.size + 1
  self.items[self.size] = item
end

function Stack:pop()
  if self.size == 0 then
    return nil
  end
  local item = self.items[self.size]
  self.items[self.size] = nil
  self.size = self.size - 1
  return item
end

function Stack:each(visit)
  for i = self.size, 1, -1 do
    visit(self.items[i])
  end
end

return Stack
