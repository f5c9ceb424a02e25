CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL,
    placed_at TEXT NOT NULL,
    total REAL NOT NULL
);

SELECT customer_id, COUNT(*) AS n, SUM(total) AS total
FROM orders
WHERE placed_at >= '2024-01-01'
GROUP BY customer_id
HAVING COUNT(*) > 3
ORDER BY total DESC;
