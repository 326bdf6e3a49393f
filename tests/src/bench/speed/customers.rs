//! Who is notified: so many that they are not all remembered, registered by a statement instead of a request each.

use crate::database::Database;

/// The first of the customers with a device at each provider; the others begin at 1.
pub(super) const FIRST_WITH_TWO: i64 = 10_000_001;
/// How many they are.
pub(super) const WITH_TWO: usize = 2_000;

/// The token of a customer at FCM, as [`register`] makes it.
pub(super) fn fcm_token(customer: i64) -> String {
    format!("c{customer:x>21}:APA91b{customer:x>96}")
}

/// The same at Expo.
pub(super) fn expo_token(customer: i64) -> String {
    format!("ExponentPushToken[{customer:x>22}]")
}

const FCM: &str = "CONCAT('c', LPAD(seq, 21, 'x'), ':APA91b', LPAD(seq, 96, 'x'))";
const EXPO: &str = "CONCAT('ExponentPushToken[', LPAD(seq, 22, 'x'), ']')";

/// All of them: so many with one device, and those with two.
pub(super) async fn register(database: &Database, with_one: usize) {
    let last_with_two = FIRST_WITH_TWO + WITH_TWO as i64 - 1;
    let (one, two) = (
        format!("seq_1_to_{with_one}"),
        format!("seq_{FIRST_WITH_TWO}_to_{last_with_two}"),
    );
    for customers in [&one, &two] {
        let known = format!("INSERT INTO customers (id) SELECT seq FROM {customers}");
        database.execute(&known).await;
        database
            .execute(&devices(customers, "android", "fcm_token", FCM))
            .await;
    }
    database
        .execute(&devices(&two, "ios", "expo_push_token", EXPO))
        .await;
}

fn devices(customers: &str, platform: &str, column: &str, token: &str) -> String {
    let hash = match column {
        "fcm_token" => "fcm_token_hash",
        _ => "expo_token_hash",
    };
    format!(
        "INSERT INTO customer_push_tokens (customer_id, device_id, platform, {column}, {hash}) \
         SELECT seq, CONCAT('{platform} of ', seq), '{platform}', token, UNHEX(SHA2(token, 256)) \
         FROM (SELECT seq, {token} AS token FROM {customers}) AS made"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_look_like_the_providers() {
        let (fcm, expo) = (fcm_token(7), expo_token(7));
        assert_eq!(fcm.len(), 1 + 21 + 7 + 96 + 1 - 1);
        assert!(fcm.starts_with("cxxx") && fcm.ends_with("x7"));
        assert_eq!(expo, "ExponentPushToken[xxxxxxxxxxxxxxxxxxxxx7]");
        assert_ne!(fcm_token(71), fcm_token(17));
    }
}
