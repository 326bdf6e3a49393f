//! Notes in the timelines of notifications, made beside a request: nothing is wrong without them, so they must never be in
//! anybody's way.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use push_core::id::NotificationId;

/// The notifications that a note is being made of. More about one of them says nothing new.
#[derive(Debug, Default)]
pub struct Notes(Mutex<HashSet<NotificationId>>);

/// Notifications of which nobody else makes a note, until this is dropped.
#[derive(Debug)]
pub struct Taken<'a> {
    notes: &'a Notes,
    ids: Vec<NotificationId>,
}

impl Notes {
    /// Those of which nobody is making a note.
    pub fn take(&self, ids: Vec<NotificationId>) -> Taken<'_> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = ids.into_iter().filter(|id| all.insert(*id)).collect();
        Taken { notes: self, ids }
    }
}

impl Taken<'_> {
    /// Which they are.
    pub fn ids(&self) -> &[NotificationId] {
        &self.ids
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut all = self.notes.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in &self.ids {
            all.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_notification_one_note_is_made_at_a_time() {
        let notes = Notes::default();
        let [one, other] = [(); 2].map(|()| NotificationId::generate());
        let first = notes.take(vec![one, one]);
        assert_eq!(first.ids(), [one]);
        assert_eq!(notes.take(vec![one, other]).ids(), [other]);
        drop(first);
        assert_eq!(notes.take(vec![one, other]).ids(), [one, other]);
    }
}
