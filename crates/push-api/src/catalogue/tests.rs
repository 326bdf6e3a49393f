use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A directory that exists as long as this does.
struct Directory(PathBuf);

impl Directory {
    fn with(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("push-catalogue-{}-{next}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            std::fs::write(path.join(name), text).unwrap();
        }
        Self(path)
    }

    fn load(&self) -> Result<Catalogue, Vec<String>> {
        Catalogue::load(Some(&self.0))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn load(files: &[(&str, &str)]) -> Catalogue {
    let loaded = Directory::with(files).load();
    loaded.unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn problems(files: &[(&str, &str)]) -> Vec<String> {
    Directory::with(files).load().unwrap_err()
}

fn kind(name: &str) -> NotificationType {
    NotificationType::parse(name).unwrap()
}

fn locale(tag: &str) -> Tag {
    Tag::parse(tag).unwrap()
}

fn values() -> Values {
    Values {
        technician: Some("John".to_owned()),
        track_id: Some("BID123".to_owned()),
        booking_id: Some("456".to_owned()),
        ..Values::default()
    }
}

fn filled(catalogue: &Catalogue, name: &str, wanted: Option<&str>) -> (String, String) {
    let wanted = wanted.map(locale);
    let template = catalogue.template(&kind(name), wanted.as_ref()).unwrap();
    let (title, body) = template.fill(&values()).unwrap();
    (title.as_str().to_owned(), body.as_str().to_owned())
}

#[test]
fn the_built_in_texts_are_the_guides_to_the_letter() {
    let catalogue = Catalogue::load(None).unwrap();
    for (name, title, body, priority) in [
        (
            "technician_assigned",
            "Technician Assigned! 🚗",
            "John has been assigned to your booking BID123. They will contact you soon.",
            Priority::High,
        ),
        (
            "startjourney",
            "Technician is on the way! 🚗",
            "John has started the journey to your location. (Booking: BID123)",
            Priority::Normal,
        ),
        (
            "reached",
            "Technician has arrived! ✅",
            "John has reached your location and is ready to start. (Booking: BID123)",
            Priority::High,
        ),
        (
            "startservice",
            "Service Started! 🔧",
            "John has begun working on your vehicle. (Booking: BID123)",
            Priority::High,
        ),
        (
            "completed",
            "Service Completed! 🎉",
            "Your vehicle service has been completed successfully. (Booking: BID123)",
            Priority::High,
        ),
        (
            "cancelled",
            "Booking Cancelled ❌",
            "Your service booking has been cancelled. (Booking: BID123)",
            Priority::Normal,
        ),
    ] {
        let told = filled(&catalogue, name, Some("de"));
        assert_eq!(told, (title.to_owned(), body.to_owned()));
        let template = catalogue.template(&kind(name), None).unwrap();
        assert_eq!(template.priority, priority, "{name}");
    }
    assert!(catalogue.template(&kind("onhold"), None).is_none());
    assert!(!catalogue.is_translated());
    assert_eq!(format!("{catalogue:?}"), "Catalogue(6 types, 1 languages)");
}

#[test]
fn a_text_is_looked_for_in_the_nearest_language_message_by_message() {
    let catalogue = load(&[
        (
            "de.ftl",
            "reached =\n .title = Da! ✅\n .body = { $technician } ist da.\n\
             completed =\n .title = Fertig\n .body = Fertig.\n",
        ),
        (
            "de-AT.ftl",
            "completed =\n .title = Fertig, gell?\n .body = Servus.\n",
        ),
        (
            "he.ftl",
            "reached =\n .title = \u{200f}הטכנאי הגיע! ✅\n .body = { $technician } הגיע (\u{2067}{ $trackId }\u{2069})\n",
        ),
    ]);
    let title = |name, wanted| filled(&catalogue, name, wanted).0;
    assert_eq!(title("completed", Some("de-AT")), "Fertig, gell?");
    assert_eq!(title("completed", Some("de-CH")), "Fertig");
    assert_eq!(title("reached", Some("de-AT")), "Da! ✅");
    assert_eq!(
        title("cancelled", Some("de-AT-u-hc-h23")),
        "Booking Cancelled ❌"
    );
    assert_eq!(title("reached", Some("fr")), "Technician has arrived! ✅");
    assert_eq!(title("reached", None), "Technician has arrived! ✅");
    // Whatever direction it is read in, it is what the file says.
    let (title, body) = filled(&catalogue, "reached", Some("he-IL"));
    assert_eq!(title, "\u{200f}הטכנאי הגיע! ✅");
    assert_eq!(body, "John הגיע (\u{2067}BID123\u{2069})");
    assert!(catalogue.is_translated());
}

#[test]
fn a_file_overrides_adds_chooses_and_shares_words() {
    let catalogue = load(&[(
        "en.ftl",
        "\u{feff}# Ours
-brand = My Car Buddy{\" \"}
reached =
    .title = { -brand }has arrived
    .body =
        { $technician ->
            [John] Our best man
           *[other] { $technician }
        } is there.
    .priority = normal
invoice_ready =
    .title = Your invoice
    .body = See booking { $bookingId }. { \"{\" }ok{ \"}\" } { \"\\u2705\" }
    .priority = normal
",
    )]);
    let reached = (
        "My Car Buddy has arrived".to_owned(),
        "Our best man is there.".to_owned(),
    );
    assert_eq!(filled(&catalogue, "reached", None), reached);
    let template = catalogue.template(&kind("reached"), None).unwrap();
    assert_eq!(template.priority, Priority::Normal);
    let mut other = values();
    other.technician = Some("\u{202e}רון \u{1f468}\u{200d}\u{1f527} {$x}".to_owned());
    let (_, body) = template.fill(&other).unwrap();
    assert_eq!(
        body.as_str(),
        "\u{202e}רון \u{1f468}\u{200d}\u{1f527} {$x} is there."
    );
    other.technician = None;
    assert_eq!(template.missing(&other), [Placeholder::Technician]);
    assert_eq!(template.fill(&other).unwrap_err(), Broken);
    let (_, body) = filled(&catalogue, "invoice_ready", None);
    assert_eq!(body, "See booking 456. {ok} ✅");
    // The others are still the guide's.
    assert_eq!(
        filled(&catalogue, "completed", None).0,
        "Service Completed! 🎉"
    );
}

/// Wrong in every way that the checks know, with an id and a text that are made longer.
const WRONG: &str = r#"
one =
    .title = Hello { $technican }
    .body = x
    .priority = urgent
two =
    .titel = x
    .body = { one.body } { -nothing } { DATETIME($trackId) } { -term(x: 1) }
Three =
    .title = { "" }
    .body = x
    .priority = high
    .priority = high
long = text { $bookingId }
    .title = { $technician } { $technician } { "!" }
    .body = yyy
        { 1 ->
           *[one] { $trackId }
        }
    .priority = high
status_changed =
    .title = x
    .body =
        { $status ->
            [a] x
           *[b] { "" }
        }
    .priority = low { "" }
-term = { $trackId }
"#;

#[test]
fn every_problem_of_every_file_is_told_together() {
    let long = "x".repeat(60);
    let english = WRONG.replace("long =", &format!("{long} ="));
    let english = english.replace("yyy", &"y".repeat(2_500));
    let told = problems(&[
        ("en.ftl", &english),
        (
            "de.ftl",
            "reached =\n .title = x\n .body = x\n .priority = normal\n\n???\nfour =\n .title = x\n",
        ),
        ("de_at.ftl", "reached =\n .title = x\n .body = x\n"),
        ("xx-broken-name-.ftl", ""),
        ("notes.txt", "hello"),
        (".hidden", "nobody's business"),
        (
            "fr.ftl",
            "reached =\n .title = x\n .body = x\nreached =\n .title = y\n .body = x\n",
        ),
    ]);
    let wanted = [
        "notes.txt: is no file of texts",
        "de_at.ftl: must be spelled de-AT.ftl",
        "xx-broken-name-.ftl: its name must be a BCP 47",
        "de.ftl, line 6: Expected",
        "de.ftl: `four` has no .body",
        "de.ftl: `four` is not in en.ftl",
        "de.ftl: `reached.priority` is another than in en.ftl",
        "fr.ftl: `reached` is there twice",
        "en.ftl: `one.title` uses $technican, which is no placeholder; there are $technician, $trackId, $bookingId, $status, $oldStatus",
        "en.ftl: `one.priority` must be high or normal",
        "en.ftl: `two` has .titel; there are .title, .body and .priority",
        "en.ftl: `two` has no .title",
        "en.ftl: `two` has no .priority",
        "en.ftl: `two.body` refers to `one`",
        "en.ftl: `two.body` uses `-nothing`, which",
        "en.ftl: `two.body` calls DATETIME()",
        "en.ftl: `two.body` asks `-term` for more than its text",
        "en.ftl: `Three` is no type",
        "en.ftl: `Three.title` may come out empty",
        "en.ftl: `Three` has .priority twice",
        "en.ftl: `-term` must be plain text",
        &format!("en.ftl: `{long}` is no type"),
        &format!("en.ftl: `{long}` has a text of its own"),
        &format!("en.ftl: `{long}.title` may come to 203 characters"),
        &format!("en.ftl: `{long}` may come to 3560 bytes"),
        &format!("en.ftl: `{long}.body` chooses by something that is no placeholder"),
        "en.ftl: `status_changed` is the name of the event",
        "en.ftl: `status_changed.body` may come out empty",
        "en.ftl: `status_changed.priority` must be high or normal",
    ];
    for what in wanted {
        let times = told.iter().filter(|problem| problem.starts_with(what));
        assert_eq!(times.count(), 1, "{what}: {told:#?}");
    }
    assert_eq!(told.len(), wanted.len(), "{told:#?}");
}

#[test]
fn the_readmes_files_can_be_used() {
    let readme = include_str!("../../../../README.md");
    let blocks = readme.split("```ftl\n").skip(1);
    let files: Vec<(&str, &str)> = blocks
        .map(|block| {
            let text = block.split("```").next().unwrap();
            let name = text.strip_prefix("# ").unwrap().split(':').next().unwrap();
            (name, text)
        })
        .collect();
    let catalogue = load(&files);
    let title = |name, wanted| filled(&catalogue, name, wanted).0;
    assert_eq!(title("reached", Some("de")), "My Car Buddy is there ✅");
    assert_eq!(title("invoice_ready", Some("de-AT")), "Ihre Rechnung 🧾");
}

#[test]
fn a_directory_or_file_that_cannot_be_read_is_told() {
    let told = Catalogue::load(Some(Path::new("/nowhere/at/all"))).unwrap_err();
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("is /nowhere/at/all, which cannot be read: "));
    let directory = Directory::with(&[("en.ftl", "")]);
    std::fs::write(directory.0.join("de.ftl"), b"reached =\n .title = \xff\n").unwrap();
    std::fs::create_dir(directory.0.join("fr.ftl")).unwrap();
    let large = " ".repeat(1024 * 1024 + 1);
    std::fs::write(directory.0.join("it.ftl"), large).unwrap();
    let told = directory.load().unwrap_err();
    for name in ["de.ftl", "fr.ftl", "it.ftl"] {
        let what = format!("{name}: cannot be read: ");
        assert!(
            told.iter().any(|problem| problem.starts_with(&what)),
            "{told:?}"
        );
    }
    assert_eq!(told.len(), 3);
}

/// The largest values that a request may tell, in the longest text that is let through.
#[test]
fn what_was_loaded_can_be_filled_whatever_a_request_tells() {
    let widest = |placeholder: Placeholder| {
        let char = if placeholder == Placeholder::BookingId {
            "x"
        } else {
            "👩"
        };
        Some(char.repeat(placeholder.chars_max()))
    };
    let values = Values {
        technician: widest(Placeholder::Technician),
        track_id: widest(Placeholder::TrackId),
        booking_id: widest(Placeholder::BookingId),
        status: widest(Placeholder::Status),
        old_status: widest(Placeholder::OldStatus),
    };
    let text = format!(
        "reached =\n .title = {{ $technician }}{{ $status }}{{ $oldStatus }}\n .body = {}\n .priority = high\n",
        "y".repeat(1_690)
    );
    let catalogue = load(&[("en.ftl", &text)]);
    let template = catalogue.template(&kind("reached"), None).unwrap();
    let (title, body) = template.fill(&values).unwrap();
    assert_eq!(title.as_str().chars().count(), 200);
    let data = values.booking_id.unwrap().len()
        + values.track_id.unwrap().len()
        + values.status.unwrap().len()
        + values.technician.unwrap().len()
        + "typebookingIdtrackIdstatustechNamepriority".len()
        + 50
        + "normal".len();
    let bytes = title.as_str().len() + body.as_str().len() + data;
    assert_eq!(bytes, push_core::notification::CONTENT_BYTES_MAX);
    let longer = text.replace("yyy\n", "yyyy\n");
    assert_eq!(problems(&[("en.ftl", &longer)]).len(), 1);
}

#[test]
fn an_escape_that_the_parser_would_break_at_is_told_with_its_line() {
    for cut in ["\\ud8\u{34d}!", "\\u\u{e9}", "\\U0001\u{1f697}"] {
        let text = format!("completed = x\n    .title = T {{\"{cut}\"}}\n    .body = B\n");
        let told = problems(&[("en.ftl", &text)]);
        assert_eq!(
            told,
            ["en.ftl, line 2: \\u is followed by four hexadecimal digits, and \\U by six"]
        );
    }
}
