//! A cancel flag that is raised when whoever waits for the result goes away.

use lacuna_engine::Cancel;

/// Raises the flag when it is dropped, with the handler of a request that the client has given up.
pub struct RaiseOnDrop(pub Cancel);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
