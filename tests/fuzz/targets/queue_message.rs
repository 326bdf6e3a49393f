//! Messages, bodies and headers: whoever may publish may put anything on a queue.
#![no_main]

use libfuzzer_sys::fuzz_target;
use push_core::changed::Changed;
use push_core::job::Job;
use push_core::receipt_batch::ReceiptBatch;

fuzz_target!(|body: &[u8]| {
    push_queue::fuzzing::body(body);
    push_queue::fuzzing::headers(body);
    // What can be read means the same when it is written and read again, as each round of a job is.
    match Job::decode(body) {
        Ok(job) => assert_eq!(Job::decode(&job.encode()).as_ref(), Ok(&job)),
        Err(why) => assert!(
            why.to_string().len() < 1_000,
            "an error that repeats the job"
        ),
    }
    if let Ok(batch) = ReceiptBatch::decode(body) {
        assert_eq!(ReceiptBatch::decode(&batch.encode()).as_ref(), Ok(&batch));
    }
    if let Some(changes) = Changed::decode(body) {
        assert_eq!(Changed::decode(&Changed::encode(&changes)), Some(changes));
    }
});
