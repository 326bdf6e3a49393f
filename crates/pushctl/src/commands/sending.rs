//! What all commands that send have in common.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::commands::Context;
use crate::commands::status::mood;
use crate::escape::escape;
use crate::failure::Failure;
use crate::screen::Paint;

/// How to wait for the outcome, and how to send once.
#[derive(Args, Debug)]
pub struct Sending {
    /// Wait for the outcome, up to so many seconds (30 at most)
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=30))]
    wait: Option<u32>,
    /// A name for this request: repeated with the same name within 24 hours, it is sent once
    #[arg(long, value_name = "NAME")]
    idempotency_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    message: String,
    status: String,
    notification_id: Option<String>,
    send_at: Option<String>,
    reason: Option<String>,
    fcm_result: Option<String>,
    expo_result: Option<String>,
}

impl Sending {
    /// Posts the body, and tells what came of it.
    pub async fn post(
        &self,
        context: &Context,
        path: &str,
        body: &Value,
        wait_default: u32,
    ) -> Result<(), Failure> {
        let wait = self.wait.unwrap_or(wait_default);
        // Also where nobody wished for one: an answer that is lost on its way can be asked for again.
        let key = self
            .idempotency_key
            .clone()
            .unwrap_or_else(|| Uuid::new_v4().to_string());
        let call = context.client.post(&[path], body).wait(wait);
        let answer = call.header("idempotency-key", Some(&key)).answer().await;
        if answer.as_ref().is_err_and(Failure::may_pass) {
            context.screen.note(&format!(
                "If it was accepted all the same: repeated with --idempotency-key {} it is sent once.",
                escape(&key)
            ));
        }
        let answer = answer?;
        let sent: Sent = answer.read()?;
        context
            .screen
            .answer(&answer.body, |paint| sent.told(paint))?;
        sent.judge(context, wait)
    }
}

impl Sent {
    fn told(&self, paint: Paint) -> String {
        let status = escape(&self.status);
        let lines = [
            ("notification", self.notification_id.as_deref().map(escape)),
            ("status", Some(paint.mood(mood(&self.status), &status))),
            ("reason", self.reason.as_deref().map(escape)),
            ("send at", self.send_at.as_deref().map(escape)),
            ("fcm", self.fcm_result.as_deref().map(escape)),
            ("expo", self.expo_result.as_deref().map(escape)),
        ];
        let lines = lines
            .into_iter()
            .filter_map(|(name, value)| Some(format!("  {name:<13} {}", value?)));
        let message = escape(&self.message);
        std::iter::once(message)
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Whoever waits wants to know by the exit code, too.
    fn judge(&self, context: &Context, waited: u32) -> Result<(), Failure> {
        let id = self.notification_id.as_deref().map(escape);
        match (self.status.as_str(), id) {
            ("pending", Some(id)) if waited > 0 && self.send_at.is_none() => Err(Failure::NotDone(
                format!("still pending; follow it: pushctl status {id} --follow"),
            )),
            ("pending", Some(id)) => {
                context
                    .screen
                    .note(&format!("What becomes of it: pushctl status {id} --follow"));
                Ok(())
            }
            ("failed" | "suppressed", Some(id)) => Err(Failure::NotDone(format!(
                "it was not sent; why, device by device: pushctl status {id}"
            ))),
            (_, _) => Ok(()),
        }
    }
}

/// Reads `key=value`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("give key=value")?;
    if key.is_empty() {
        return Err("give key=value".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_told_line_by_line() {
        let sent = json!({"success": true, "message": "Push notification failed: \u{1b}x", "status": "failed",
                          "notificationId": "0198", "reason": "refused", "fcmResult": "failed", "expoResult": "not_sent"});
        let sent: Sent = serde_json::from_value(sent).unwrap();
        assert_eq!(
            sent.told(Paint::PLAIN),
            "Push notification failed: \\u{1b}x\n  notification  0198\n  status        failed\n  reason        refused\n  \
             fcm           failed\n  expo          not_sent"
        );
        let ignored =
            json!({"message": "Event ignored", "status": "ignored", "reason": "unchanged"});
        let ignored: Sent = serde_json::from_value(ignored).unwrap();
        assert!(ignored.told(Paint::PLAIN).contains("unchanged"));
    }

    #[test]
    fn a_pair_has_a_key_and_any_value() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("a="), Ok(("a".to_owned(), String::new())));
        assert!(pair("a").is_err() && pair("=b").is_err());
    }
}
