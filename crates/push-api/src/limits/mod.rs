//! How much a caller may ask for: requests a key and an address, notifications a customer.
//!
//! Customers are counted in the database, by the store, for all replicas together; keys and addresses in this process.

pub mod address;
pub mod budgets;
pub mod gate;
pub mod policy;
pub mod seats;
