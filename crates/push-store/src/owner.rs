//! Whose data somebody may touch.

use push_core::id::CustomerId;

/// Whose data somebody may touch. What is not theirs is, for them, not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Everybody's.
    Anyone,
    /// This customer's.
    Only(CustomerId),
}

impl Owner {
    /// Whether that of this customer is among it.
    #[must_use]
    pub fn includes(self, customer: CustomerId) -> bool {
        match self {
            Self::Anyone => true,
            Self::Only(own) => own == customer,
        }
    }
}
