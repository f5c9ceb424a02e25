//! A queue of tasks; some lines are left unfinished on purpose: they are what Lacuna is asked to complete.

use std::collections::VecDeque;

#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    pub id: u64,
    pub name: String,
    pub priority: u8,
}

#[derive(Default)]
pub struct TaskQueue {
    tasks: VecDeque<Task>,
    next_id: u64,
}

impl TaskQueue {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_
    }

    pub fn add(&mut self, name: &str, priority: u8) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.tasks.push_back(Task { id, name: name.to_string(), prio
        id
    }

    pub fn next(&mut self) -> Option<Task> {
        self.tasks.pop_fr
    }

    pub fn find(&self, id: u64) -> Option<&Task> {
        for task in &self.tasks {
            if task.id == id {
                return Some(
            }
        }
        None
    }

    pub fn remove(&mut self, id: u64) -> Option<Task> {
        let index = self.tasks.iter().position(|task| task.id ==
        self.tasks.remove(index)
    }

    pub fn total_priority(&self) -> u32 {
        let mut total = 0;
        for task in &self.tasks {
            total += u32::from(task.pri
        }
        total
    }
}
