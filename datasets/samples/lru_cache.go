// Package cache holds recently used values up to a limit.
package cache

import (
	"container/list"
	"errors"
	"sync"
)

// ErrNotFound is returned when a key is not in the cache.
var ErrNotFound = errors.New("cache: key not found")

type entry struct {
	key   string
	value []byte
}

// Cache drops the least recently used entry when it is full.
type Cache struct {
	mu       sync.Mutex
	capacity int
	order    *list.List
	entries  map[string]*list.Element
	hits     int
	misses   int
}

// New returns an empty cache for capacity entries.
func New(capacity int) (*Cache, error) {
	if capacity <= 0 {
		return nil, errors.New("cache: capacity must be positive")
	}
	return &Cache{
		capacity: capacity,
		order:    list.New(),
		entries:  make(map[string]*list.Element),
	}, nil
}

// Get returns the value of key and marks it as used.
func (c *Cache) Get(key string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[key]
	if !ok {
		c.misses++
		return nil, ErrNotFound
	}
	c.hits++
	c.order.MoveToFront(element)
	return element.Value.(*entry).value, nil
}

// Put stores a value, replacing an older one of the same key.
func (c *Cache) Put(key string, value []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.entries[key]; ok {
		element.Value.(*entry).value = value
		c.order.MoveToFront(element)
		return
	}
	c.entries[key] = c.order.PushFront(&entry{key: key, value: value})
	if c.order.Len() > c.capacity {
		c.evict()
	}
}

// Remove deletes a key and reports whether it was there.
func (c *Cache) Remove(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.entries[key]
	if !ok {
		return false
	}
	c.order.Remove(element)
	delete(c.entries, key)
	return true
}

// Len returns the number of entries.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.order.Len()
}

// Stats returns hits and misses since the start.
func (c *Cache) Stats() (hits, misses int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hits, c.misses
}

func (c *Cache) evict() {
	oldest := c.order.Back()
	if oldest == nil {
		return
	}
	c.order.Remove(oldest)
	delete(c.entries, oldest.Value.(*entry).key)
}
