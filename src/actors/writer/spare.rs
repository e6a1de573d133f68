//! Compiled routes that no batch of a writer uses at present.

use std::cell::RefCell;

use crate::actors::routing::Compiled;

/// So many are kept; a batch that finds none compiles its own.
const MAX_SPARE: usize = 16;

/// Compiled routes by what they were compiled of. A batch takes them out while it uses them.
pub(super) struct Spare<K>(RefCell<Vec<(K, Compiled)>>);

// === impl Spare ===

impl<K> Default for Spare<K> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<K> Spare<K> {
    /// Takes routes out.
    pub(super) fn take(&self, is_it: impl Fn(&K) -> bool) -> Option<Compiled> {
        let mut kept = self.0.borrow_mut();
        let position = kept.iter().position(|(of, _)| is_it(of))?;
        Some(kept.swap_remove(position).1)
    }

    /// Keeps routes for the next batch.
    pub(super) fn keep(&self, of: K, compiled: Compiled) {
        let mut kept = self.0.borrow_mut();
        if kept.len() >= MAX_SPARE {
            kept.remove(0);
        }
        kept.push((of, compiled));
    }
}
