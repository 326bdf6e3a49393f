//! What fuzzing reaches: the envelope of sealed jobs, and the headers that a broker, or anybody, puts on a message. Compiled
//! for that only.

use lapin::types::{AMQPValue, FieldTable};
use push_core::job::GiveUpReason;
use push_core::trace::{TRACE_PARENT, TraceContext};
use push_seal::Keyring;

use crate::delivery::{death, delivery_count, text};
use crate::message::GIVEN_UP;
use crate::sealed;

/// A key that anybody may know.
const KEYS: &str = "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// The headers that are read, those in `x-death` among them: found at once instead of by luck.
const NAMES: [&str; 10] = [
    "x-delivery-count",
    "x-acquired-count",
    "x-death",
    "x-first-death-reason",
    "x-first-death-queue",
    "reason",
    "queue",
    "exchange",
    TRACE_PARENT,
    GIVEN_UP,
];

/// A body as it is delivered, and the same one sealed.
pub fn body(body: &[u8]) {
    let Ok(keys) = Keyring::parse(KEYS) else {
        return;
    };
    match sealed::open(&keys, body) {
        Ok(opened) => {
            let _ = sealed::read(opened.as_deref().unwrap_or(body), None);
        }
        Err(why) => {
            let told = sealed::read(body, Some(why))
                .err()
                .map(|why| why.to_string());
            assert!(
                told.is_some_and(|told| told.len() < 200),
                "an error that repeats the body"
            );
        }
    }
    let Ok(sealed) = sealed::seal(&keys, body.to_vec()) else {
        return;
    };
    assert_eq!(
        sealed::seal(&keys, sealed.clone()).as_ref(),
        Ok(&sealed),
        "sealed twice"
    );
    if sealed != body {
        assert_eq!(sealed::open(&keys, &sealed), Ok(Some(body.to_vec())));
    }
}

/// The headers of a message, made of bytes: names, types, lengths and nesting are what they say.
pub fn headers(bytes: &[u8]) {
    let mut bytes = bytes.iter().copied();
    let headers = table(&mut bytes, 4);
    let _ = delivery_count(&headers);
    if let Some(death) = death(&headers) {
        assert!(headers.contains_key("x-death"), "{death:?}");
    }
    let trace = text(&headers, TRACE_PARENT).and_then(|text| TraceContext::parse(&text));
    if let Some(trace) = trace {
        assert_eq!(TraceContext::parse(&trace.to_string()), Some(trace));
    }
    let given_up = text(&headers, GIVEN_UP);
    let _ = given_up.and_then(|reason| GiveUpReason::from_spelling(&reason));
}

fn table(bytes: &mut impl Iterator<Item = u8>, depth: u8) -> FieldTable {
    let mut table = FieldTable::default();
    for _ in 0..bytes.next().unwrap_or(0) % 12 {
        let index = usize::from(bytes.next().unwrap_or(0)) % NAMES.len();
        let value = value(bytes, depth);
        if let Some(name) = NAMES.get(index) {
            table.insert((*name).into(), value);
        }
    }
    table
}

fn value(bytes: &mut impl Iterator<Item = u8>, depth: u8) -> AMQPValue {
    let kind = bytes.next().unwrap_or(0) % 11;
    let below = depth.saturating_sub(1);
    match kind {
        0 => AMQPValue::ShortShortInt(i8::from_le_bytes(some(bytes))),
        1 => AMQPValue::ShortShortUInt(u8::from_le_bytes(some(bytes))),
        2 => AMQPValue::ShortInt(i16::from_le_bytes(some(bytes))),
        3 => AMQPValue::ShortUInt(u16::from_le_bytes(some(bytes))),
        4 => AMQPValue::LongInt(i32::from_le_bytes(some(bytes))),
        5 => AMQPValue::LongUInt(u32::from_le_bytes(some(bytes))),
        6 => AMQPValue::LongLongInt(i64::from_le_bytes(some(bytes))),
        7 => AMQPValue::LongString(long(bytes).into()),
        8 if depth > 0 => AMQPValue::FieldTable(table(bytes, below)),
        9 if depth > 0 => {
            let length = bytes.next().unwrap_or(0) % 4;
            let values: Vec<_> = (0..length).map(|_| value(bytes, below)).collect();
            AMQPValue::FieldArray(values.into())
        }
        10 => {
            // ASCII: at most 255 bytes, as whatever comes over the wire.
            let text: String = long(bytes)
                .into_iter()
                .map(|byte| char::from(byte & 0x7f))
                .collect();
            AMQPValue::ShortString(text.into())
        }
        _ => AMQPValue::Void,
    }
}

fn some<const N: usize>(bytes: &mut impl Iterator<Item = u8>) -> [u8; N] {
    std::array::from_fn(|_| bytes.next().unwrap_or(0))
}

fn long(bytes: &mut impl Iterator<Item = u8>) -> Vec<u8> {
    let length = usize::from(bytes.next().unwrap_or(0));
    bytes.take(length).collect()
}
