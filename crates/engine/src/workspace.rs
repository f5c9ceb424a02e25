//! Buffers of a forward pass: as many as evaluations run at a time, not one a cache.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::device::{Active, Device};
use crate::pass::Pass;

/// A pass with its buffers, reused from call to call.
#[derive(Default)]
pub(crate) struct Workspace {
    pub(crate) pass: Pass<Active>,
    pub(crate) buffers: <Active as Device>::Buffers,
}

/// Workspaces nobody uses now.
static FREE: Mutex<Vec<Workspace>> = Mutex::new(Vec::new());
/// More are given back to the system.
const MAX_FREE: usize = 2;

/// A workspace for the length of a call.
pub(crate) struct Borrowed(Workspace);

/// One that was used before, if there is one: then nothing is allocated.
pub(crate) fn borrow() -> Borrowed {
    Borrowed(FREE.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default())
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < MAX_FREE {
            free.push(std::mem::take(&mut self.0));
        }
    }
}

impl Deref for Borrowed {
    type Target = Workspace;
    fn deref(&self) -> &Workspace {
        &self.0
    }
}

impl DerefMut for Borrowed {
    fn deref_mut(&mut self) -> &mut Workspace {
        &mut self.0
    }
}
