//! The router that leaves nothing out.

use crate::route::Router;

/// Every layer.
pub(crate) struct All;

impl Router for All {
    fn decide(&self, _: usize, _: &[u32]) -> bool {
        true
    }
}
