//! The books (P8).

use super::Books;
use crate::Store;
use crate::error::StoreError;

impl Store {
    /// Counts the history by status, in one statement. Reads an index of the whole table (about a
    /// second for ten million rows): ask every minute, not at every scrape.
    ///
    /// # Errors
    /// [`StoreError`] when the database cannot be asked.
    pub async fn books(&self) -> Result<Books, StoreError> {
        Err(StoreError::Unusable("not built yet"))
    }
}
