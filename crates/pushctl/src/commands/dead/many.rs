//! Many dead letters, by a filter: a worker does it, and it goes on whatever becomes of us.

use chrono::Utc;
use serde::Deserialize;
use serde_json::{Value, json};

use super::act::Act;
use super::filter::Filter;
use crate::client::Answer;
use crate::commands::Context;
use crate::commands::operations;
use crate::confirm::sure;
use crate::escape::escape;
use crate::failure::Failure;

/// What is done with which.
#[derive(Debug)]
pub struct Many {
    pub filter: Filter,
    pub per_second: Option<u32>,
    pub act: Act,
    pub how: Value,
}

#[derive(Deserialize)]
struct Counted {
    count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Started {
    operation_id: String,
}

impl Many {
    /// Tells how many are meant.
    pub async fn count(&self, context: &Context) -> Result<(), Failure> {
        let answer = self.ask(context, &self.body(true)).await?;
        let Counted { count } = answer.read()?;
        context.screen.answer(&answer.body, |_| {
            format!("{count} open dead letters are meant; nothing was changed")
        })
    }

    /// Asks, starts it, and follows it.
    pub async fn run(&self, context: &Context, yes: bool, no_wait: bool) -> Result<(), Failure> {
        // The times of the filter are those of the question.
        let body = self.body(false);
        let mut dry = body.clone();
        dry["dryRun"] = true.into();
        let counted = self.ask(context, &dry).await?;
        let Counted { count } = counted.read()?;
        if count == 0 {
            context
                .screen
                .note("No open dead letter is meant: nothing to do.");
            return if context.screen.json {
                context.screen.document(&counted.body)
            } else {
                Ok(())
            };
        }
        let which = self.filter.told(Utc::now());
        let title = self.act.title();
        sure(&format!("{title} {count} dead letters ({which})?"), yes)?;
        let started = self.ask(context, &body).await?;
        let Started { operation_id } = started.read()?;
        if no_wait {
            context.screen.note(&operations::again(&operation_id));
            return context
                .screen
                .answer(&started.body, |_| escape(&operation_id));
        }
        operations::follow(context, &operation_id).await
    }

    async fn ask(&self, context: &Context, body: &Value) -> Result<Answer, Failure> {
        let path = ["admin", "deadLetters", self.act.path()];
        context.client.post(&path, body).answer().await
    }

    fn body(&self, dry_run: bool) -> Value {
        let mut body = self.how.clone();
        body["filter"] = self.filter.body(Utc::now());
        if let Some(per_second) = self.per_second {
            body["perSecond"] = json!(per_second);
        }
        if dry_run {
            body["dryRun"] = true.into();
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_what_was_given() {
        let many = Many {
            filter: Filter::default(),
            per_second: Some(5),
            act: Act::Replay,
            how: json!({"extendTtlSeconds": 60}),
        };
        assert_eq!(
            many.body(true),
            json!({"filter": {}, "perSecond": 5, "dryRun": true, "extendTtlSeconds": 60})
        );
        assert_eq!(
            many.body(false),
            json!({"filter": {}, "perSecond": 5, "extendTtlSeconds": 60})
        );
    }
}
