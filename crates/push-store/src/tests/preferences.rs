//! Preferences are kept as they were said, and read together with the version that they belong to.

use std::collections::BTreeMap;

use push_core::changed::CustomerVersion;
use push_core::locale::Locale;
use push_core::notification::NotificationType;
use push_core::preferences::{Preferences, QuietHours, TimeOfDay, zone};

use super::seed::{customer, registration};
use super::{Db, at};

fn said() -> Preferences {
    let [start, end] = ["22:00", "07:05"].map(|text| TimeOfDay::parse(text).unwrap());
    let types = [("offer", false), ("status_changed", true)];
    let types = types.map(|(kind, wanted)| (NotificationType::parse(kind).unwrap(), wanted));
    Preferences {
        push_enabled: false,
        types: BTreeMap::from(types),
        quiet_hours: Some(QuietHours::new(start, end, zone("Europe/Berlin").unwrap()).unwrap()),
        locale: Some(Locale::parse("de-AT").unwrap()),
    }
}

#[tokio::test]
async fn what_was_said_last_is_kept_as_a_whole() {
    let db = Db::new().await;
    let (one, two) = (customer(1), customer(2));
    assert_eq!(db.store.preferences(one).await.unwrap(), None);
    for preferences in [said(), Preferences::default(), said()] {
        let set = db.store.set_preferences(one, &preferences, at(0)).await;
        assert_eq!(set.unwrap().len(), 1);
        let kept = db.store.preferences(one).await.unwrap();
        assert_eq!(kept, Some(preferences));
    }
    assert_eq!(db.store.preferences(two).await.unwrap(), None);
    db.done().await;
}

#[tokio::test]
async fn each_change_counts_and_is_read_with_its_version() {
    let db = Db::new().await;
    let (one, two) = (customer(1), customer(2));
    for name in ["a", "b"] {
        let device = registration(1, Some(name), Some(name), None);
        db.store.register(&device, at(0)).await.unwrap();
    }
    let read = async |id| {
        let read = db.store.customers(&[one, two]).await.unwrap();
        read[&id].clone()
    };
    let before = read(one).await;
    assert_eq!(before.preferences, Preferences::default());
    let changed = db.store.set_preferences(one, &said(), at(0)).await.unwrap();
    let after = read(one).await;
    assert_eq!(after.preferences, said());
    assert_eq!(after.devices, before.devices);
    assert_eq!(changed[0].customer, one);
    assert_eq!(changed[0].version, after.version);
    assert!(after.version.follows(before.version));
    // Without a device, and without having ever changed.
    assert_eq!(read(two).await.version, CustomerVersion(0));
    db.store.set_preferences(two, &said(), at(0)).await.unwrap();
    let other = read(two).await;
    assert_eq!(
        (other.preferences, other.version),
        (said(), CustomerVersion(1))
    );
    db.done().await;
}

/// Somebody wrote it by hand.
#[tokio::test]
async fn what_cannot_be_read_stops_nothing() {
    let db = Db::new().await;
    let one = customer(1);
    db.execute(
        "INSERT INTO notification_preferences (customer_id, push_enabled, quiet_start, quiet_end, time_zone) \
         VALUES (1, FALSE, '22:00', '07:00', 'Berlin'), (2, FALSE, '22:00', NULL, 'UTC')",
    )
    .await;
    let read = db.store.customers(&[one, customer(2)]).await.unwrap();
    assert_eq!(read[&one].preferences, Preferences::default());
    let half = &read[&customer(2)].preferences;
    assert_eq!((half.push_enabled, half.quiet_hours), (false, None));
    assert!(
        db.store.preferences(one).await.is_err(),
        "its reader is told"
    );
    db.store.set_preferences(one, &said(), at(0)).await.unwrap();
    assert_eq!(db.store.preferences(one).await.unwrap(), Some(said()));
    db.done().await;
}
