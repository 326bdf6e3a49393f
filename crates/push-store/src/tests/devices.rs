use std::sync::Arc;

use push_core::changed::{Changed, CustomerVersion};
use push_core::plan::Device;
use push_core::provider::Platform;
use push_core::token::Token;

use super::seed::{customer, device, expo, fcm, later, registration};
use super::{Db, at};
use crate::{DeadToken, Identification, Registration, SwitchedOff};

impl Db {
    /// What pushes to a customer would use: per device its FCM and Expo token, as named in the test.
    async fn devices(&self, of: i64) -> Vec<(Option<Token>, Option<Token>)> {
        let found = self.store.customers(&[customer(of)]).await.unwrap();
        let pair = |device: &Device| {
            (
                device.fcm.clone().map(Token::Fcm),
                device.expo.clone().map(Token::Expo),
            )
        };
        found[&customer(of)].devices.iter().map(pair).collect()
    }
}

fn customers(changed: &[Changed]) -> Vec<i64> {
    changed
        .iter()
        .map(|changed| changed.customer.get())
        .collect()
}

/// Whose tokens, the version, and whether it happened just now.
fn told(owners: &[SwitchedOff]) -> Vec<(i64, u64, bool)> {
    let told = |owner: &SwitchedOff| {
        let Changed { customer, version } = owner.changed;
        (customer.get(), version.0, owner.just_now)
    };
    owners.iter().map(told).collect()
}

fn f(name: &str) -> Option<Token> {
    Some(Token::Fcm(fcm(name)))
}

fn e(name: &str) -> Option<Token> {
    Some(Token::Expo(expo(name)))
}

#[tokio::test]
async fn registering_again_updates_the_row() {
    let db = Db::new().await;
    let first = db
        .store
        .register(&registration(1, Some("d"), Some("a"), None), at(0))
        .await
        .unwrap();
    assert!(first.new);
    // By the device's id: the other token is kept, the given one replaced.
    let again = db
        .store
        .register(&registration(1, Some("d"), None, Some("x")), at(1))
        .await
        .unwrap();
    assert_eq!((again.registration, again.new), (first.registration, false));
    assert_eq!(db.devices(1).await, [(f("a"), e("x"))]);
    db.store
        .register(&registration(1, Some("d"), Some("b"), None), at(2))
        .await
        .unwrap();
    assert_eq!(db.devices(1).await, [(f("b"), e("x"))]);
    // By a token, without an id, and the device keeps its id.
    let again = db
        .store
        .register(&registration(1, None, Some("b"), None), at(3))
        .await
        .unwrap();
    assert_eq!((again.registration, again.new), (first.registration, false));
    // By a token, with a new id: the app was installed again.
    let again = db
        .store
        .register(&registration(1, Some("d2"), None, Some("x")), at(4))
        .await
        .unwrap();
    assert_eq!((again.registration, again.new), (first.registration, false));
    assert_eq!(
        db.one("SELECT COUNT(*) FROM customer_push_tokens WHERE device_id = 'd2'")
            .await,
        1
    );
    assert_eq!(db.one("SELECT COUNT(*) FROM customer_push_tokens").await, 1);
    db.done().await;
}

#[tokio::test]
async fn several_devices_of_several_customers_in_one_query() {
    let db = Db::new().await;
    for (of, name) in [(1, "a"), (1, "b"), (2, "c")] {
        // `D1` and `d1` are two devices.
        let id = if name == "a" { "D1" } else { "d1" };
        db.store
            .register(&registration(of, Some(id), Some(name), None), at(0))
            .await
            .unwrap();
    }
    let of = [1, 2, 3].map(customer);
    let found = db.store.customers(&of).await.unwrap();
    assert_eq!(found.len(), 3);
    assert!(found[&customer(3)].devices.is_empty());
    let ids: Vec<_> = found[&customer(1)]
        .devices
        .iter()
        .map(|d| d.device_id.clone().unwrap())
        .collect();
    assert_eq!(ids, [device("D1"), device("d1")]);
    assert_eq!(found[&customer(2)].devices[0].platform, Platform::Android);
    db.done().await;
}

#[tokio::test]
async fn a_token_moves_to_who_registers_it_last() {
    let db = Db::new().await;
    db.store
        .register(&registration(1, None, Some("a"), Some("x")), at(0))
        .await
        .unwrap();
    let moved = db
        .store
        .register(&registration(2, None, Some("a"), None), at(1))
        .await
        .unwrap();
    assert!(moved.new);
    assert_eq!(customers(&moved.changed), [1, 2]);
    assert!(
        db.devices(1).await.is_empty(),
        "the other token is on the same device"
    );
    assert_eq!(db.devices(2).await, [(f("a"), None)]);
    // The last token goes: the row stays switched off.
    let moved = db
        .store
        .register(&registration(2, None, None, Some("x")), at(2))
        .await
        .unwrap();
    assert_eq!(customers(&moved.changed), [1, 2]);
    assert_eq!(
        db.one("SELECT COUNT(*) FROM customer_push_tokens WHERE is_active AND customer_id = 1")
            .await,
        0
    );
    assert!(db.devices(1).await.is_empty());
    db.done().await;
}

#[tokio::test]
async fn a_device_that_changed_hands_leaves_its_former_owner_nothing() {
    let db = Db::new().await;
    db.store
        .register(&registration(1, Some("d"), Some("a"), Some("x")), at(0))
        .await
        .unwrap();
    db.store
        .register(&registration(2, Some("d"), Some("a"), None), at(1))
        .await
        .unwrap();
    assert!(
        db.devices(1).await.is_empty(),
        "else customer 1's pushes arrive at customer 2's phone through Expo"
    );
    assert_eq!(db.devices(2).await, [(f("a"), None)]);
    db.done().await;
}

#[tokio::test]
async fn two_rows_of_one_device_become_one() {
    let db = Db::new().await;
    let one = db
        .store
        .register(&registration(1, None, Some("a"), None), at(0))
        .await
        .unwrap();
    let two = db
        .store
        .register(&registration(1, None, None, Some("x")), at(1))
        .await
        .unwrap();
    assert_ne!(one.registration, two.registration);
    let both = db
        .store
        .register(&registration(1, None, Some("a"), Some("x")), at(2))
        .await
        .unwrap();
    assert_eq!((both.registration, both.new), (one.registration, false));
    assert_eq!(customers(&both.changed), [1]);
    assert_eq!(db.devices(1).await, [(f("a"), e("x"))]);
    db.done().await;
}

#[tokio::test]
async fn a_device_that_takes_a_token_from_another_row_leaves_no_second_way_to_it() {
    let db = Db::new().await;
    for (millis, id, fcm, expo) in [
        (0, Some("d"), Some("a"), None),
        // The app has a new token, and does not say which device it is.
        (1, None, Some("b"), Some("x")),
        (2, Some("d"), Some("b"), None),
    ] {
        db.store
            .register(&registration(1, id, fcm, expo), at(millis))
            .await
            .unwrap();
    }
    assert_eq!(db.devices(1).await, [(f("b"), None)]);
    // The other way is back as soon as the app tells of it.
    db.store
        .register(&registration(1, Some("d"), None, Some("x")), at(3))
        .await
        .unwrap();
    assert_eq!(db.devices(1).await, [(f("b"), e("x"))]);
    db.done().await;
}

#[tokio::test]
async fn unregistering_a_token_or_a_device() {
    let db = Db::new().await;
    db.store
        .register(&registration(1, Some("d"), Some("a"), Some("x")), at(0))
        .await
        .unwrap();
    let off = async |of, identification, at| {
        let changed = db.store.unregister(of, identification, at).await.unwrap();
        changed.map(|changed| changed.version.0)
    };
    let token = Identification {
        fcm: Some(fcm("a")),
        ..Default::default()
    };
    let whole = Identification {
        device_id: Some(device("d")),
        ..Default::default()
    };
    assert_eq!(off(customer(2), &token, at(1)).await, None, "not theirs");
    assert_eq!(off(customer(2), &whole, at(1)).await, None, "not theirs");
    assert!(off(customer(1), &token, at(1)).await.is_some());
    assert_eq!(db.devices(1).await, [(None, e("x"))]);
    assert_eq!(off(customer(1), &token, at(2)).await, None, "idempotent");
    assert!(off(customer(1), &whole, at(3)).await.is_some());
    assert!(db.devices(1).await.is_empty());
    assert_eq!(off(customer(1), &whole, at(4)).await, None, "idempotent");
    // Registered again, only what is given comes back.
    db.store
        .register(&registration(1, Some("d"), Some("a"), None), at(5))
        .await
        .unwrap();
    assert_eq!(db.devices(1).await, [(f("a"), None)]);
    db.done().await;
}

#[tokio::test]
async fn a_dead_token_is_off_and_comes_back_when_registered() {
    let db = Db::new().await;
    db.store
        .register(&registration(1, None, Some("a"), Some("x")), at(0))
        .await
        .unwrap();
    db.store
        .register(&registration(2, None, None, Some("y")), at(0))
        .await
        .unwrap();
    let tokens = [
        Token::Fcm(fcm("a")),
        Token::Expo(expo("y")),
        Token::Expo(expo("nobody's")),
    ];
    let dead = |millis| {
        let dead = |token: &Token| DeadToken {
            token: token.clone(),
            at: later(millis),
        };
        tokens.iter().map(dead).collect::<Vec<_>>()
    };
    let owners = db.store.switch_off(&dead(1)).await.unwrap();
    assert_eq!(told(&owners), [(1, 2, true), (2, 2, true)]);
    assert_eq!(db.devices(1).await, [(None, e("x"))]);
    assert!(db.devices(2).await.is_empty());
    assert_eq!(
        db.one("SELECT COUNT(*) FROM customer_push_tokens WHERE is_active")
            .await,
        1
    );
    let again = db.store.switch_off(&dead(2)).await.unwrap();
    assert_eq!(
        told(&again),
        [(1, 2, false), (2, 2, false)],
        "nothing changed, and yet it is told: the other one may have been killed before it could"
    );
    db.store
        .register(&registration(2, None, None, Some("y")), at(3))
        .await
        .unwrap();
    assert_eq!(db.devices(2).await, [(None, e("y"))]);
    // News from before the registration does not count against it, whatever died later in the same batch.
    let mut mixed = dead(2);
    mixed.push(DeadToken {
        token: Token::Expo(expo("x")),
        at: later(9),
    });
    let owners = db.store.switch_off(&mixed).await.unwrap();
    assert_eq!(told(&owners), [(1, 3, true)]);
    assert_eq!(db.devices(2).await, [(None, e("y"))]);
    db.done().await;
}

#[tokio::test]
async fn one_bad_row_does_not_stop_the_pushes_to_others() {
    let db = Db::new().await;
    db.store
        .register(&registration(1, None, Some("a"), None), at(0))
        .await
        .unwrap();
    db.execute("INSERT INTO customer_push_tokens (customer_id, platform, fcm_token) VALUES (1, 'ios', 'short')").await;
    assert_eq!(db.devices(1).await, [(f("a"), None)]);
    db.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_customers_registering_one_token_at_once_end_with_one_owner() {
    let db = Arc::new(Db::new().await);
    for round in 0..10 {
        let name = format!("t{round}");
        let both = (1..=8).map(|of| {
            let (db, name) = (Arc::clone(&db), name.clone());
            tokio::spawn(async move {
                let wanted = registration(of, Some("d"), Some(&name), Some(&name));
                db.store.register(&wanted, at(round)).await.unwrap()
            })
        });
        for registered in futures::future::join_all(both).await {
            registered.unwrap();
        }
        let mut owners = 0;
        for of in 1..=8 {
            owners += db
                .devices(of)
                .await
                .iter()
                .filter(|d| d.0 == f(&name))
                .count();
        }
        assert_eq!(owners, 1, "round {round}");
        assert_eq!(
            db.one("SELECT COUNT(*) FROM customer_push_tokens").await,
            8,
            "one row a customer"
        );
        assert_eq!(
            db.one("SELECT COUNT(*) FROM customer_push_tokens WHERE is_active")
                .await,
            1
        );
    }
    Arc::into_inner(db).unwrap().done().await;
}

#[tokio::test]
async fn every_change_of_a_customer_counts_and_nothing_else_does() {
    let db = Db::new().await;
    let version =
        async |of| db.store.customers(&[customer(of)]).await.unwrap()[&customer(of)].version;
    let register = async |wanted: Registration, at| {
        let registered = db.store.register(&wanted, at).await.unwrap();
        for changed in &registered.changed {
            assert_eq!(version(changed.customer.get()).await, changed.version);
        }
        customers(&registered.changed)
    };
    assert_eq!(version(1).await, CustomerVersion(0), "never changed");
    let a = || registration(1, Some("d"), Some("a"), None);
    assert_eq!(register(a(), at(0)).await, [1]);
    assert_eq!(
        register(a(), at(1)).await,
        [0; 0],
        "the app was started again"
    );
    let without_id = registration(1, None, Some("a"), None);
    assert_eq!(register(without_id, at(2)).await, [0; 0]);
    assert_eq!(version(1).await, CustomerVersion(1));
    let changes = [
        registration(1, Some("d"), Some("a"), Some("x")),
        registration(1, Some("d"), Some("b"), None),
        registration(1, Some("e"), Some("b"), None),
        Registration {
            platform: Platform::Ios,
            ..registration(1, Some("e"), Some("b"), None)
        },
    ];
    for change in changes {
        assert_eq!(register(change.clone(), at(3)).await, [1], "{change:?}");
    }
    let whole = Identification {
        device_id: Some(device("e")),
        ..Default::default()
    };
    let off = db
        .store
        .unregister(customer(1), &whole, at(4))
        .await
        .unwrap();
    assert_eq!(version(1).await, off.unwrap().version);
    let back = registration(1, Some("e"), Some("b"), None);
    assert_eq!(register(back, at(5)).await, [1], "it was off");
    assert_eq!(version(1).await, CustomerVersion(7));
    // The one token is another customer's now; the other one, that was off, comes back with it.
    let moved = registration(2, None, Some("b"), Some("x"));
    assert_eq!(register(moved, at(6)).await, [1, 2]);
    let all = [2, 1, 3].map(customer);
    let versions = db.store.versions(&all).await.unwrap();
    assert_eq!(customers(&versions), [1, 2], "customer 3 never changed");
    assert_eq!(versions[0].version, CustomerVersion(8));
    db.done().await;
}

#[tokio::test]
async fn version_and_devices_are_of_one_moment() {
    let db = Db::new().await;
    db.store
        .register(&registration(1, Some("d"), Some("a"), None), at(0))
        .await
        .unwrap();
    // Half of a registration: the device has changed, and is not committed.
    let mut half = db.store.pool.begin().await.unwrap();
    sqlx::query("UPDATE customer_push_tokens SET fcm_dead_at = NOW(3)")
        .execute(&mut *half)
        .await
        .unwrap();
    sqlx::query("UPDATE customer_versions SET version = version + 1")
        .execute(&mut *half)
        .await
        .unwrap();
    let read = async || {
        let found = db.store.customers(&[customer(1)]).await.unwrap();
        let customer = &found[&customer(1)];
        (customer.version.0, customer.devices.len())
    };
    assert_eq!(read().await, (1, 1), "nothing of it shows");
    half.commit().await.unwrap();
    assert_eq!(read().await, (2, 0), "all of it shows");
    db.done().await;
}

/// What the timeline tells of devices that get nothing.
#[tokio::test]
async fn why_tokens_are_off_is_known_of_the_latest_devices() {
    use push_core::left_out::WhyOff::{Moved, ReportedDead, Unregistered};
    use push_core::provider::Provider::{Expo, Fcm};
    let db = Db::new().await;
    let off = async |of| {
        let found = db.store.customers(&[customer(of)]).await.unwrap();
        let off = found[&customer(of)].off.clone().into_iter();
        let told = off.map(|off| {
            let device = off.device_id.map(String::from);
            (
                device.unwrap_or_default(),
                off.provider,
                off.token.is_some(),
                off.why,
            )
        });
        let mut told: Vec<_> = told.collect();
        told.sort_unstable_by_key(|(device, provider, ..)| (device.clone(), *provider));
        told
    };
    for (id, f, e) in [
        ("a", "fa", "ea"),
        ("b", "fb", "eb"),
        ("c", "fc", "ec"),
        ("d", "fd", "ed"),
    ] {
        let device = registration(1, Some(id), Some(f), Some(e));
        db.store.register(&device, at(0)).await.unwrap();
    }
    assert_eq!(off(1).await, []);
    let identified = |device_id, expo| Identification {
        device_id,
        fcm: None,
        expo,
    };
    let whole = identified(Some(device("a")), None);
    let one = identified(None, Some(expo("eb")));
    for identified in [whole, one] {
        db.store
            .unregister(customer(1), &identified, at(5))
            .await
            .unwrap();
    }
    let dead = [DeadToken {
        token: Token::Fcm(fcm("fc")),
        at: at(7),
    }];
    db.store.switch_off(&dead).await.unwrap();
    db.store
        .register(&registration(2, Some("z"), Some("fd"), None), at(8))
        .await
        .unwrap();
    let name = |name: &str| name.to_owned();
    assert_eq!(
        off(1).await,
        [
            (name("a"), Fcm, true, Some(Unregistered)),
            (name("a"), Expo, true, Some(Unregistered)),
            (name("b"), Expo, true, Some(Unregistered)),
            (name("c"), Fcm, true, Some(ReportedDead)),
            (name("d"), Fcm, false, Some(Moved)),
            (name("d"), Expo, true, Some(Moved)),
        ]
    );
    assert_eq!(off(2).await, []);
    // Registered again they are on, and whoever went off before says nothing of it.
    for (id, f, e) in [
        ("a", "fa", "ea"),
        ("b", "fb", "eb"),
        ("c", "fc2", "ec"),
        ("d", "fd2", "ed"),
    ] {
        let device = registration(1, Some(id), Some(f), Some(e));
        db.store.register(&device, at(9)).await.unwrap();
    }
    assert_eq!(off(1).await, []);
    let why = "SELECT COUNT(*) FROM customer_push_tokens WHERE fcm_off_because IS NOT NULL OR expo_off_because IS NOT NULL";
    assert_eq!(db.one(why).await, 0);
    // No more than ten, the latest.
    for n in 0..12 {
        let name = format!("n{n:02}");
        let device = registration(3, Some(&name), Some(&name), None);
        db.store.register(&device, at(n)).await.unwrap();
        let gone = identified(device.device_id, None);
        db.store
            .unregister(customer(3), &gone, at(n))
            .await
            .unwrap();
    }
    db.execute("UPDATE customer_push_tokens SET updated_at = registered_at WHERE customer_id = 3")
        .await;
    let latest = off(3).await;
    assert_eq!((latest.len(), latest[0].0.as_str()), (10, "n02"));
    db.done().await;
}

/// Whoever is signed in can register what they like: each push would go to all of it.
#[tokio::test]
async fn a_customer_has_at_most_fifty_devices_and_the_oldest_makes_room() {
    use push_core::left_out::WhyOff::TooMany;

    let db = Db::new().await;
    let register = async |nth: i64| {
        let name = format!("d{nth}");
        let wanted = registration(1, Some(&name), Some(&name), Some(&name));
        db.store.register(&wanted, at(nth)).await.unwrap()
    };
    let names = async || {
        let found = db.store.customers(&[customer(1)]).await.unwrap();
        let devices = found[&customer(1)].devices.iter();
        let names = devices.map(|device| device.device_id.clone().unwrap().as_str().to_owned());
        names.collect::<Vec<_>>()
    };
    let other = registration(2, Some("d"), Some("other"), None);
    db.store.register(&other, at(0)).await.unwrap();
    for nth in 0..50 {
        register(nth).await;
    }
    assert_eq!(names().await.len(), 50);
    // The first was seen again since: the second is the oldest now.
    register(0).await;
    db.store
        .register(&registration(1, Some("d0"), None, None), at(50))
        .await
        .unwrap();
    let one_more = register(51).await;
    assert_eq!(customers(&one_more.changed), [1]);
    let left = names().await;
    assert_eq!(left.len(), 50);
    assert!(!left.contains(&"d1".to_owned()), "{left:?}");
    assert!(left.contains(&"d51".to_owned()) && left.contains(&"d0".to_owned()));
    let found = db.store.customers(&[customer(1)]).await.unwrap();
    let why = found[&customer(1)].off.iter().map(|off| off.why);
    assert_eq!(why.collect::<Vec<_>>(), [Some(TooMany), Some(TooMany)]);
    // One that comes back takes the place of the next.
    register(1).await;
    let left = names().await;
    assert_eq!(left.len(), 50);
    assert!(left.contains(&"d1".to_owned()), "whatever the clock says");
    assert!(!left.contains(&"d2".to_owned()), "{left:?}");
    assert_eq!(db.devices(2).await.len(), 1);
    db.done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_at_two_replicas_at_once_leave_fifty_devices_too() {
    let db = Db::new().await;
    let mut registering = tokio::task::JoinSet::new();
    for replica in 0..2 {
        let store = db.replica().await;
        for nth in 0..40 {
            let store = store.clone();
            registering.spawn(async move {
                let name = format!("r{replica}-{nth}");
                let wanted = registration(1, Some(&name), Some(&name), None);
                store.register(&wanted, at(nth)).await.unwrap();
            });
        }
    }
    registering.join_all().await;
    let rows = "SELECT COUNT(*) FROM customer_push_tokens";
    assert_eq!(db.one(rows).await, 80);
    assert_eq!(db.devices(1).await.len(), 50);
    db.done().await;
}
