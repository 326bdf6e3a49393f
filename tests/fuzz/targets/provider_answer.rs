//! What FCM and Expo answer: a status, `Retry-After`, and a body. The first byte says how many messages were sent, the
//! second and third which status, the line after them is the header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use push_providers::fuzzing;

const STATUSES: [u16; 12] = [200, 201, 204, 302, 400, 401, 403, 404, 413, 429, 500, 503];

fuzz_target!(|given: &[u8]| {
    let [messages, status, rest @ ..] = given else {
        return;
    };
    let status = STATUSES
        .get(usize::from(*status))
        .copied()
        .unwrap_or_else(|| 100 + u16::from(*status) * 2);
    let messages = usize::from(*messages % 101);
    let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (header, body) = rest.split_at(line);
    let header = str::from_utf8(header).ok().map(str::to_owned);
    fuzzing::answered(status, header, body.to_vec(), messages);
});
