//! Files of texts that an operator puts into `TEMPLATES_DIR`.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use push_api::catalogue::{Catalogue, Values};
use push_core::notification::NotificationType;

static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("push-fuzz-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a folder");
    directory
});

fuzz_target!(|text: &[u8]| {
    fs::write(DIRECTORY.join("en.ftl"), text).expect("a file");
    let Ok(catalogue) = Catalogue::load(Some(&DIRECTORY)) else {
        return;
    };
    let long = |letter: &str, length| Some(letter.repeat(length));
    let values = Values {
        technician: long("\u{1f697}", 100),
        track_id: long("7", 64),
        booking_id: long("4", 56),
        status: long("s", 50),
        old_status: long("o", 50),
    };
    for kind in [
        "technician_assigned",
        "startjourney",
        "completed",
        "new_type",
    ] {
        let kind = NotificationType::parse(kind).expect("it is one");
        if let Some(template) = catalogue.template(&kind, None) {
            // What was checked at the start can be filled with anything that a request may hold.
            assert!(template.missing(&values).is_empty());
            assert!(
                template.fill(&values).is_ok(),
                "a text that was taken cannot be filled"
            );
        }
    }
});
