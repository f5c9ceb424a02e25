// A shopping cart with discounts, kept free of any framework.

const TAX_RATE = 0.19;

class Cart {
  constructor() {
    this.items = [];
    this.coupons = new Map();
  }

  add(product, quantity = 1) {
    if (quantity <= 0) {
      throw new RangeError("quantity must be positive");
    }
    const existing = this.items.find((item) => item.product.id === product.id);
    if (existing) {
      existing.quantity += quantity;
    } else {
      this.items.push({ product, quantity });
    }
  }

  remove(productId) {
    this.items = this.items.filter((item) => item.product.id !== productId);
  }

  isEmpty() {
    return this.items.length === 0;
  }

  count() {
    return this.items.reduce((total, item) => total + item.quantity, 0);
  }

  subtotal() {
    return this.items.reduce((total, item) => total + item.product.price * item.quantity, 0);
  }

  applyCoupon(code, percent) {
    if (this.coupons.has(code)) {
      return false;
    }
    this.coupons.set(code, percent);
    return true;
  }

  discount() {
    let factor = 1;
    for (const percent of this.coupons.values()) {
      factor *= 1 - percent / 100;
    }
    return this.subtotal() * (1 - factor);
  }

  tax() {
    return (this.subtotal() - this.discount()) * TAX_RATE;
  }

  total() {
    return this.subtotal() - this.discount() + this.tax();
  }
}

function formatPrice(amount, currency = "EUR") {
  return `${amount.toFixed(2)} ${currency}`;
}

function groupByCategory(items) {
  const groups = {};
  for (const item of items) {
    const category = item.product.category || "other";
    if (!groups[category]) {
      groups[category] = [];
    }
    groups[category].push(item);
  }
  return groups;
}

function cheapest(items) {
  let best = null;
  for (let i = 0; i < items.length; i++) {
    if (best === null || items[i].product.price < best.product.price) {
      best = items[i];
    }
  }
  return best;
}

module.exports = { Cart, formatPrice, groupByCategory, cheapest };
