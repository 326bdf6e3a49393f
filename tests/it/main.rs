//! The promises of the service, each seen from outside. One file is one topic; one test is one story.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what is not there fails the test, helpers of a test included"
)]

mod access;
mod access_matrix;
mod admin_queues;
mod booking_life;
mod both_providers;
mod broker_care;
mod cache;
mod cancel;
mod chaos;
mod claims;
mod clients;
mod console;
mod console_access;
mod console_letters;
mod crash_points;
mod crash_points_api;
mod dead_letters;
mod docs;
mod encryption;
mod erasure;
mod errors;
mod events;
mod expiry;
mod failover;
mod garbage;
mod harness;
mod history;
mod https_to_fcm;
mod idempotency;
mod lanes;
mod limits;
mod lying_provider;
mod many;
mod metrics;
mod openapi;
mod opened;
mod outages;
mod overload;
mod p3_never_stale;
mod p4_never_to_the_wrong_person;
mod p5_a_dead_token_is_used_once;
mod p6_ones_trouble_is_its_own;
mod p7_no_secrets_in_logs;
mod payloads;
mod policy_both;
mod preferences;
mod privacy;
mod pushctl;
mod pushctl_access;
mod pushctl_dead;
mod pushctl_doctor;
mod queue;
mod readme;
mod receipts;
mod reconciling;
mod register;
mod replay;
mod replay_many;
mod restarts;
mod retention;
mod retries;
mod rolling;
mod schedule;
mod schemathesis;
mod send;
mod send_batch;
mod settings;
mod shutdown;
mod snippets;
mod stats;
mod timelines;
mod tls_of_callers;
mod tls_to_servers;
mod traces;
