//! The guide's whole booking life, told by events: what FCM and Expo receive is the guide's, and the phone shows the
//! last of it.

use push_tests::{Device, Phone, Provider, Stack};
use serde_json::{Value, json};

use super::payloads::{expo_message, fcm_message, fixture, message_to, without_times};

/// A customer's booking, and the phones on which it is followed.
struct Booking<'a> {
    stack: &'a Stack,
    customer: i64,
    id: &'a str,
    android: Phone,
    iphone: Phone,
}

impl<'a> Booking<'a> {
    async fn of(stack: &'a Stack, customer: i64, id: &'a str) -> Self {
        let android = Device::android_fcm(&format!("android {customer}"));
        let iphone = Device::ios_expo(&format!("iphone {customer}"));
        Self {
            stack,
            customer,
            id,
            android: stack.register(customer, android).await,
            iphone: stack.register(customer, iphone).await,
        }
    }

    /// Posts an event and compares what arrived with the guide's message of that name.
    async fn happens(&self, event: Value, golden: &str, priority: &str) -> String {
        let stack = self.stack;
        let mut body = json!({
            "customerId": self.customer, "bookingId": self.id, "trackId": "BID123", "technician": {"name": "John"},
        });
        let all = body.as_object_mut().unwrap();
        all.extend(event.as_object().unwrap().clone());
        let call = stack.api().post("/api/Push/events", &body);
        let answer = call.header("prefer", "wait=20").answer().await.expect(200);
        let (id, key) = (answer.id(), format!("booking-{}", self.id));
        assert_eq!(answer.json["status"], "sent", "{}", answer.text);

        let mut fcm = fixture(&format!("fcm/{golden}"));
        fcm["wire"]["body"]["message"]["data"]["bookingId"] = self.id.into();
        let request = stack.sim.requests(Provider::Fcm, self.android.fcm()).await;
        assert_eq!(
            without_times(request.last().unwrap()["body"].clone(), 3_600),
            fcm_message(&fcm, &self.android, &id, &key, priority, Some(&key)),
            "{golden}"
        );
        let mut expo = fixture(&format!("expo/{golden}"));
        expo["wire"]["body"][0]["data"]["bookingId"] = self.id.into();
        let request = stack.sim.requests(Provider::Expo, self.iphone.expo()).await;
        assert_eq!(
            without_times(message_to(request.last().unwrap(), &self.iphone), 3_600),
            expo_message(&expo, &self.iphone, &id, &key, priority),
            "{golden}"
        );
        id
    }

    async fn changes(&self, old: &str, new: &str, priority: &str) -> String {
        let golden = format!("status_{}.json", new.to_lowercase());
        let event = json!({"event": "status_changed", "oldStatus": old, "newStatus": new});
        self.happens(event, &golden, priority).await
    }

    async fn is_given_to_john(&self) -> String {
        let event = json!({"event": "technician_assigned"});
        self.happens(event, "technician_assigned.json", "high")
            .await
    }

    /// Each of `told` rang once on both phones, and the last of them is all that they show.
    async fn shows(&self, told: &[String], title: &str) {
        for phone in [&self.android, &self.iphone] {
            for id in told {
                assert_eq!(self.stack.sim.rings(phone, id).await, 1);
            }
            let shown = self.stack.sim.shown(phone).await;
            let [entry] = shown.as_slice() else {
                panic!("{shown:?}");
            };
            assert_eq!(entry["notificationId"], *told.last().unwrap());
            assert_eq!(entry["title"], title);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_booking_is_followed_from_the_technician_to_the_end() {
    let stack = Stack::start().await;
    stack.all_ready().await;
    let booking = Booking::of(&stack, 1, "456").await;
    let told = [
        booking.is_given_to_john().await,
        booking.changes("Assigned", "StartJourney", "normal").await,
        booking.changes("StartJourney", "Reached", "high").await,
        booking.changes("Reached", "StartService", "high").await,
        booking.changes("StartService", "Completed", "high").await,
    ];
    booking.shows(&told, "Service Completed! 🎉").await;

    let cancelled = Booking::of(&stack, 2, "457").await;
    let told = [
        cancelled.is_given_to_john().await,
        cancelled.changes("Assigned", "Cancelled", "normal").await,
    ];
    cancelled.shows(&told, "Booking Cancelled ❌").await;
}
