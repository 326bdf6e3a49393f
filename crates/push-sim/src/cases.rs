//! The recorded answers of the real services, by the name they have in `tests/fixtures/providers`.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use crate::lane::Provider;
use crate::reply::Transport;

const FCM: &str = include_str!("../../../tests/fixtures/providers/fcm/errors.json");
const EXPO: &str = include_str!("../../../tests/fixtures/providers/expo/errors.json");

/// One recorded answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Case {
    Response(RecordedResponse),
    /// Expo: what `getReceipts` says of one id; `None` is "absent".
    Receipt(Option<Value>),
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct RecordedResponse {
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Option<Value>,
    pub(crate) transport: Option<Transport>,
}

/// The case `id` of `provider`. The receipts endpoint knows the cases of the send endpoint as well,
/// since both stand behind the same gateway.
pub(crate) fn find(provider: Provider, id: &str) -> Option<&'static Case> {
    let table = &*TABLE;
    match provider {
        Provider::Fcm => table.fcm.get(id),
        Provider::Oauth => table.oauth.get(id),
        Provider::Expo => table.expo.get(id),
        Provider::Receipts => table.receipts.get(id).or_else(|| table.expo.get(id)),
    }
}

/// All case names of a provider, sorted.
pub(crate) fn names(provider: Provider) -> Vec<&'static str> {
    let table = match provider {
        Provider::Fcm => &TABLE.fcm,
        Provider::Oauth => &TABLE.oauth,
        Provider::Expo => &TABLE.expo,
        Provider::Receipts => &TABLE.receipts,
    };
    let mut names: Vec<_> = table.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

struct Table {
    fcm: HashMap<String, Case>,
    oauth: HashMap<String, Case>,
    expo: HashMap<String, Case>,
    receipts: HashMap<String, Case>,
}

#[derive(Deserialize)]
struct FcmFile {
    cases: Vec<Row>,
    oauth_token_endpoint: Vec<Row>,
}

#[derive(Deserialize)]
struct ExpoFile {
    push_send: Vec<Row>,
    receipts: Vec<ReceiptRow>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    response: RecordedResponse,
}

#[derive(Deserialize)]
struct ReceiptRow {
    id: String,
    receipt: Option<Value>,
}

#[expect(
    clippy::expect_used,
    reason = "the files are part of the program; a test reads them"
)]
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let fcm: FcmFile = serde_json::from_str(FCM).expect("fcm/errors.json is well formed");
    let expo: ExpoFile = serde_json::from_str(EXPO).expect("expo/errors.json is well formed");
    Table {
        fcm: responses(fcm.cases),
        oauth: responses(fcm.oauth_token_endpoint),
        expo: responses(expo.push_send),
        receipts: expo
            .receipts
            .into_iter()
            .map(|row| (row.id, Case::Receipt(row.receipt)))
            .collect(),
    }
});

fn responses(rows: Vec<Row>) -> HashMap<String, Case> {
    rows.into_iter()
        .map(|row| (row.id, Case::Response(row.response)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_of_the_files_is_known() {
        assert_eq!(names(Provider::Fcm).len(), 32);
        assert_eq!(names(Provider::Oauth).len(), 4);
        assert!(names(Provider::Expo).contains(&"ticket_device_not_registered"));
        assert!(names(Provider::Receipts).contains(&"absent"));
    }

    #[test]
    fn the_receipts_endpoint_also_knows_gateway_errors() {
        assert!(matches!(
            find(Provider::Receipts, "bad_gateway"),
            Some(Case::Response(response)) if response.status == Some(502)
        ));
        assert_eq!(
            find(Provider::Receipts, "absent"),
            Some(&Case::Receipt(None))
        );
    }
}
