//! The promises of the service, each seen from outside.
