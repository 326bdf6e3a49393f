//! Promises that are a matter of time, measured on real processes: always side by side with what they are compared to, in
//! one run on one machine.

mod figures;
pub mod history;
pub mod p6;
pub mod speed;
