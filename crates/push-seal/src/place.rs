//! Where a sealed value belongs.

/// A place that one value has for itself: a column, and the row by what never changes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(Vec<u8>);

impl Place {
    /// The place `name`, such as a table's column, of the row that `parts` tell from all others.
    #[must_use]
    pub fn of(name: &str, parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for part in std::iter::once(name.as_bytes()).chain(parts.iter().copied()) {
            // With its length, so that no part can be mistaken for its neighbour.
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_runs_into_its_neighbour() {
        let place = Place::of("ab", &[b"c", b"d"]);
        assert_ne!(place, Place::of("a", &[b"bc", b"d"]));
        assert_ne!(place, Place::of("ab", &[b"cd"]));
        assert_ne!(place, Place::of("ab", &[b"c", b"d", b""]));
    }
}
