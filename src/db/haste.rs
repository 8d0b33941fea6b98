//! Long work on SQLite, where one job writes at a time, lets those through who want an answer now.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether somebody wants a job's answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// A call that somebody wants answered.
    Hurried,
    /// A part of long work, which looks whether somebody waits and then ends early.
    Part,
}

/// How many hurried jobs are not answered yet. Clones share the count; they may outlive the database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hurried(Arc<AtomicUsize>);

impl Hurried {
    /// Counts one more, until what this returns is dropped.
    pub(super) fn count(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    /// Whether there is one.
    pub(crate) fn is_any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// A hurried job that is there.
#[derive(Debug)]
pub(super) struct Counted(Hurried);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_counted_until_it_is_gone() {
        let hurried = Hurried::default();
        let (one, other) = (hurried.count(), hurried.count());
        drop(one);
        assert!(hurried.is_any());
        drop(other);
        assert!(!hurried.is_any());
    }
}
