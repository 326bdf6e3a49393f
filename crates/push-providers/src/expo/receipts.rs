//! What became of accepted pushes.

use push_core::outcome::{Outcome, ProviderMessageId};
use push_core::receipt::Receipt;

use crate::expo::api::ExpoApi;

/// "At most 1000 ids a request" (Expo docs).
const TICKETS_MAX: usize = 1_000;

/// Asks for all of them, in as many requests as that takes. If one fails, all are to be asked again.
pub(crate) async fn receipts(
    api: &ExpoApi,
    tickets: &[ProviderMessageId],
) -> Result<Vec<(ProviderMessageId, Receipt)>, Outcome> {
    let mut receipts = Vec::with_capacity(tickets.len());
    for part in tickets.chunks(TICKETS_MAX) {
        receipts.extend(api.receipts(part).await?);
    }
    Ok(receipts)
}
