//! A buffer of fixed capacity that overwrites its oldest element when it is full.

/// Keeps the last `capacity` elements pushed into it.
#[derive(Clone, Debug)]
pub struct RingBuffer<T> {
    items: Vec<T>,
    capacity: usize,
    start: usize,
}

impl<T> RingBuffer<T> {
    /// Panics if `capacity` is zero.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a ring buffer needs room for one element");
        RingBuffer { items: Vec::with_capacity(capacity), capacity, start: 0 }
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.items.len() == self.capacity
    }

    /// Appends an element; returns the one that had to go.
    pub fn push(&mut self, item: T) -> Option<T> {
        if !self.is_full() {
            self.items.push(item);
            return None;
        }
        let old = std::mem::replace(&mut self.items[self.start], item);
        self.start = (self.start + 1) % self.capacity;
        Some(old)
    }

    /// The element `index` places after the oldest one.
    pub fn get(&self, index: usize) -> Option<&T> {
        if index >= self.items.len() {
            return None;
        }
        self.items.get((self.start + index) % self.items.len())
    }

    pub fn first(&self) -> Option<&T> {
        self.get(0)
    }

    pub fn last(&self) -> Option<&T> {
        self.get(self.len().checked_sub(1)?)
    }

    pub fn clear(&mut self) {
        self.items.clear();
        self.start = 0;
    }

    /// From the oldest to the newest.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

impl RingBuffer<f64> {
    pub fn sum(&self) -> f64 {
        self.iter().sum()
    }

    pub fn mean(&self) -> Option<f64> {
        if self.is_empty() {
            return None;
        }
        Some(self.sum() / self.len() as f64)
    }

    pub fn max(&self) -> Option<f64> {
        self.iter().copied().fold(None, |best, value| match best {
            Some(best) if best >= value => Some(best),
            _ => Some(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_elements() {
        let mut buffer = RingBuffer::new(3);
        for i in 0..5 {
            buffer.push(i);
        }
        assert_eq!(buffer.iter().copied().collect::<Vec<_>>(), vec![2, 3, 4]);
        assert_eq!(buffer.first(), Some(&2));
        assert_eq!(buffer.last(), Some(&4));
    }

    #[test]
    fn mean_of_nothing_is_none() {
        let buffer: RingBuffer<f64> = RingBuffer::new(2);
        assert_eq!(buffer.mean(), None);
    }
}
