"""Stock keeping for a small shop: items, movements, and a report of what to order."""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date


@dataclass
class Item:
    sku: str
    name: str
    price_cents: int
    minimum: int = 0


@dataclass
class Movement:
    sku: str
    quantity: int
    day: date
    note: str = ""


class UnknownItem(KeyError):
    """Raised when a movement names an item that is not in the catalogue."""


@dataclass
class Inventory:
    items: dict[str, Item] = field(default_factory=dict)
    movements: list[Movement] = field(default_factory=list)

    def add_item(self, item: Item) -> None:
        if item.sku in self.items:
            raise ValueError(f"item {item.sku} exists already")
        self.items[item.sku] = item

    def receive(self, sku: str, quantity: int, day: date, note: str = "") -> None:
        if sku not in self.items:
            raise UnknownItem(sku)
        if quantity <= 0:
            raise ValueError("quantity must be positive")
        self.movements.append(Movement(sku, quantity, day, note))

    def sell(self, sku: str, quantity: int, day: date, note: str = "") -> None:
        if sku not in self.items:
            raise UnknownItem(sku)
        if quantity <= 0:
            raise ValueError("quantity must be positive")
        if self.stock(sku) < quantity:
            raise ValueError(f"only {self.stock(sku)} of {sku} left")
        self.movements.append(Movement(sku, -quantity, day, note))

    def stock(self, sku: str) -> int:
        total = 0
        for movement in self.movements:
            if movement.sku == sku:
                total += movement.quantity
        return total

    def value_cents(self) -> int:
        total = 0
        for sku, item in self.items.items():
            total += self.stock(sku) * item.price_cents
        return total

    def to_order(self) -> list[Item]:
        short = []
        for sku, item in self.items.items():
            if self.stock(sku) < item.minimum:
                short.append(item)
        return sorted(short, key=lambda item: item.name)

    def sold_per_day(self) -> dict[date, int]:
        sold = defaultdict(int)
        for movement in self.movements:
            if movement.quantity < 0:
                sold[movement.day] -= movement.quantity
        return dict(sold)


def format_cents(cents: int) -> str:
    sign = "-" if cents < 0 else ""
    euros, rest = divmod(abs(cents), 100)
    return f"{sign}{euros}.{rest:02d}"


def report(inventory: Inventory) -> str:
    lines = ["stock"]
    for sku, item in sorted(inventory.items.items()):
        lines.append(f"  {sku:<8} {item.name:<20} {inventory.stock(sku):>5}")
    lines.append(f"value: {format_cents(inventory.value_cents())}")
    for item in inventory.to_order():
        lines.append(f"order: {item.name}")
    return "\n".join(lines)
