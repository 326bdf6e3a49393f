//! That something has changed on which a customer's pushes depend: devices and their tokens.
//!
//! Each such change, by whichever program, counts the customer's version up in the same transaction. So whoever read
//! the customer at a version can tell, without reading again, whether that still holds.

use serde::{Deserialize, Serialize};

use crate::id::CustomerId;

/// Counts the changes of one customer; never goes back. A customer who never changed is at 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct CustomerVersion(pub u64);

impl CustomerVersion {
    /// Whether `self` came of `earlier` by a single change.
    #[must_use]
    pub fn follows(self, earlier: Self) -> bool {
        self.0.checked_sub(1) == Some(earlier.0)
    }
}

/// A customer is at this version now. Told to all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// Whose devices changed.
    pub customer: CustomerId,
    /// What was read at an earlier version does not hold any more.
    pub version: CustomerVersion,
}

impl Changed {
    /// Several changes as the body of one message. Unknown fields are ignored, so that programs of two versions
    /// understand each other.
    #[must_use]
    pub fn encode(changes: &[Self]) -> Vec<u8> {
        // Numbers only: it cannot fail.
        serde_json::to_vec(changes).unwrap_or_default()
    }

    /// Reads [`Changed::encode`]; `None` when it is something else.
    #[must_use]
    pub fn decode(body: &[u8]) -> Option<Vec<Self>> {
        serde_json::from_slice(body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_as_it_was_written_and_may_know_more() {
        let changed = |customer, version| Changed {
            customer: CustomerId::try_from(customer).unwrap(),
            version: CustomerVersion(version),
        };
        let changes = [changed(7, 3), changed(8, 1)];
        let body = Changed::encode(&changes);
        assert_eq!(
            String::from_utf8_lossy(&body),
            r#"[{"customer":7,"version":3},{"customer":8,"version":1}]"#
        );
        assert_eq!(Changed::decode(&body).unwrap(), changes);
        let later = br#"[{"customer":7,"version":3,"what":"devices"}]"#;
        assert_eq!(Changed::decode(later).unwrap(), [changes[0]]);
        assert_eq!(
            Changed::decode(br#"[{"customer":0,"version":3}]"#),
            None,
            "no customer"
        );
    }

    #[test]
    fn one_change_is_told_from_several() {
        let [zero, one, two] = [0, 1, 2].map(CustomerVersion);
        assert!(one.follows(zero) && two.follows(one));
        assert!(!two.follows(zero) && !one.follows(one) && !zero.follows(zero));
    }
}
