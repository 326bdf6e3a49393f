//! `POST /api/Push/sendBatch`

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use push_core::id::{CustomerId, NotificationId};
use push_core::notification::Notification;
use push_store::{Item, KeptAnswer, Keyed};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::send_to_customer;
use crate::accept::{Accepted, Submission};
use crate::answer::replayed;
use crate::caller::{Caller, Send};
use crate::catalogue::Catalogue;
use crate::error::{ApiError, BatchErrors, CallErrors, Code, FieldProblem, KeyErrors};
use crate::idempotency::Nameable;
use crate::limits::policy::whole_seconds;
use crate::privacy::Guard;
use crate::ready_made::ReadyMade;
use crate::request::{BATCH_BYTES_MAX, BatchPlace, Field, FromJson as _, Problems, typed};
use crate::state::{AppState, now};
use push_core::trace::TraceContext;

/// Elements of a batch.
const ITEMS_MAX: usize = 1_000;
/// Problems that are told of one element: more than an honest one has. Of the rest their number is told.
const PROBLEMS_MAX: usize = 50;

/// Many notifications in one of two forms.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    #[serde(default)]
    notifications: Field<Vec<Value>>,
    #[serde(default)]
    customer_ids: Field<Vec<Value>>,
    /// What all of `customer_ids` get.
    #[serde(flatten)]
    content: ReadyMade,
}

/// How the document tells the two forms apart.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = SendBatchRequest)]
#[expect(
    dead_code,
    clippy::large_enum_variant,
    reason = "for the document only"
)]
enum Forms {
    Each(Each),
    Same(Same),
}

/// To each customer something else.
#[derive(ToSchema)]
#[schema(as = SendBatchEach)]
#[expect(dead_code, reason = "for the document only")]
struct Each {
    /// 1 to 1,000, each as the body of `sendToCustomer`.
    #[schema(min_items = 1, max_items = 1_000)]
    notifications: Vec<send_to_customer::Request>,
}

/// The same to many customers.
#[derive(ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SendBatchSame)]
#[expect(dead_code, reason = "for the document only")]
struct Same {
    /// 1 to 1,000 customers. Who is listed several times gets it once.
    #[schema(min_items = 1, max_items = 1_000, example = json!([123, 124]))]
    customer_ids: Vec<i64>,
    #[serde(flatten)]
    content: ReadyMade,
}

/// What became of each element, in their order.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BatchAnswer {
    /// Always true: the batch was carried out. What became of each element is told there.
    #[schema(example = true)]
    success: bool,
    /// For people.
    message: String,
    /// One for each element.
    results: Vec<ItemResult>,
}

/// What became of one element.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemResult {
    /// Whether it is accepted: committed, and on its way.
    success: bool,
    /// Its notification, if it is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<uuid::Uuid>, nullable = false, required = false)]
    notification_id: Option<NotificationId>,
    /// Why it is not accepted: `invalid_input`, `unknown_customer` or `rate_limited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, required = false)]
    code: Option<Code>,
    /// Where it is `rate_limited`: after so many seconds one more is accepted for its customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, required = false)]
    retry_after_seconds: Option<u64>,
    /// Every problem of it, where it is `invalid_input`; the fields are named as within the element. Of more than 50 the
    /// rest is counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldProblem>,
}

/// What was read of a batch.
#[derive(Debug, Default)]
struct Batch {
    /// The good ones, in order, each once.
    notifications: Vec<Notification>,
    /// One for each element, in order.
    elements: Vec<Element>,
}

/// An element of a batch.
#[derive(Clone, Debug)]
enum Element {
    /// It asks for this notification, which stands there among the good ones.
    Good(NotificationId, usize),
    /// Something is wrong with it.
    Bad(Vec<FieldProblem>),
}

impl Request {
    /// The notifications that are asked for, and what is wrong with others.
    ///
    /// # Errors
    /// [`ApiError::InvalidInput`] with every problem that is not one element's own.
    fn parse(
        self,
        now: DateTime<Utc>,
        catalogue: &Catalogue,
        guard: Guard<'_>,
    ) -> Result<Batch, ApiError> {
        let mut problems = Problems::default();
        match (self.notifications, self.customer_ids) {
            (Field::Missing, Field::Missing) => {
                problems.note("notifications", "is required, or `customerIds`");
                problems.finish(None)
            }
            (notifications, Field::Missing) => {
                let items = problems.optional("notifications", notifications, check_count);
                let items = problems.finish(items)?;
                Batch::of_each(items, now, catalogue, guard)
            }
            (Field::Missing, customers) => {
                let items = problems.optional("customerIds", customers, check_count);
                let draft = self.content.read(&mut problems, now, catalogue, guard);
                let (items, draft) = problems.finish(items.zip(draft))?;
                Ok(Batch::of_same(items, |customer| {
                    draft.clone().to(customer, now)
                }))
            }
            (_, _) => {
                problems.note("customerIds", "must not be sent beside `notifications`");
                problems.finish(None)
            }
        }
    }
}

fn check_count(items: Vec<Value>) -> Result<Vec<Value>, String> {
    if (1..=ITEMS_MAX).contains(&items.len()) {
        Ok(items)
    } else {
        Err(format!("must have 1 to {ITEMS_MAX} elements"))
    }
}

impl Batch {
    fn of_each(
        items: Vec<Value>,
        now: DateTime<Utc>,
        catalogue: &Catalogue,
        guard: Guard<'_>,
    ) -> Result<Self, ApiError> {
        let mut batch = Self::default();
        for (index, item) in items.into_iter().enumerate() {
            let mut problems = Problems::default();
            let notification = if item.is_object() {
                typed::<send_to_customer::Request>(item)?.read(&mut problems, now, catalogue, guard)
            } else {
                problems.note(format!("notifications.{index}"), "must be an object");
                None
            };
            let element = match problems.check(notification) {
                Ok(notification) => batch.add(notification),
                Err(problems) => Element::bad(problems),
            };
            batch.elements.push(element);
        }
        Ok(batch)
    }

    fn of_same(customers: Vec<Value>, to: impl Fn(CustomerId) -> Notification) -> Self {
        let mut batch = Self::default();
        let mut known: HashMap<CustomerId, Element> = HashMap::new();
        for (index, customer) in customers.into_iter().enumerate() {
            let element = match read_customer(index, customer) {
                Ok(customer) => known
                    .entry(customer)
                    .or_insert_with(|| batch.add(to(customer)))
                    .clone(),
                Err(problem) => Element::bad(vec![problem]),
            };
            batch.elements.push(element);
        }
        batch
    }

    fn add(&mut self, notification: Notification) -> Element {
        let good = Element::Good(notification.id, self.notifications.len());
        self.notifications.push(notification);
        good
    }
}

fn read_customer(index: usize, value: Value) -> Result<CustomerId, FieldProblem> {
    let problem = |what: &dyn Display| FieldProblem::new(format!("customerIds.{index}"), what);
    let id = i64::from_json(value).ok_or_else(|| problem(&i64::KIND))?;
    CustomerId::try_from(id).map_err(|wrong| problem(&wrong))
}

impl Element {
    /// With so many problems that the answer of a batch of them can be kept with its key.
    fn bad(mut problems: Vec<FieldProblem>) -> Self {
        let more = problems.len().saturating_sub(PROBLEMS_MAX);
        if more > 0 {
            problems.truncate(PROBLEMS_MAX);
            problems.push(FieldProblem::new(
                "data",
                format!("has {more} more problems"),
            ));
        }
        Self::Bad(problems)
    }
}

/// What the answer is composed of, once it is known what became of the notifications.
#[derive(Debug)]
struct Outline(Vec<Element>);

impl Outline {
    /// `items`: what became of each notification.
    fn answer(&self, items: &[Item]) -> BatchAnswer {
        let result = |element: &Element| match element {
            Element::Bad(problems) => ItemResult::refused(Code::InvalidInput, problems.clone()),
            Element::Good(id, index) => match items.get(*index) {
                Some(Item::Accepted) => ItemResult::accepted(*id),
                Some(Item::RateLimited(after)) => ItemResult::too_many(*after),
                Some(Item::UnknownCustomer | Item::Ignored(_)) | None => {
                    ItemResult::refused(Code::UnknownCustomer, Vec::new())
                }
            },
        };
        let results: Vec<ItemResult> = self.0.iter().map(result).collect();
        let (all, good) = (
            results.len(),
            results.iter().filter(|result| result.success),
        );
        BatchAnswer {
            success: true,
            message: format!("{} of {all} push notifications queued", good.count()),
            results,
        }
    }

    /// As for a single one, what refuses all is not kept.
    fn kept(&self, items: &[Item]) -> Option<KeptAnswer> {
        items.contains(&Item::Accepted).then(|| KeptAnswer {
            status: Some(StatusCode::ACCEPTED.as_u16()),
            // Texts and ids always serialize.
            body: serde_json::to_string(&self.answer(items)).unwrap_or_default(),
        })
    }
}

impl ItemResult {
    const fn accepted(id: NotificationId) -> Self {
        Self {
            success: true,
            notification_id: Some(id),
            code: None,
            retry_after_seconds: None,
            errors: Vec::new(),
        }
    }

    fn too_many(after: Duration) -> Self {
        Self {
            retry_after_seconds: Some(whole_seconds(after)),
            ..Self::refused(Code::RateLimited, Vec::new())
        }
    }

    const fn refused(code: Code, errors: Vec<FieldProblem>) -> Self {
        Self {
            success: false,
            notification_id: None,
            code: Some(code),
            retry_after_seconds: None,
            errors,
        }
    }
}

/// Sends up to 1,000 notifications at once.
///
/// Either `notifications`, each as the body of `sendToCustomer`, or `customerIds` and what all of them get. The answer has
/// one result for each element, in their order. A bad element is told there, with all its problems, and does not stop the
/// good ones, not even where all are bad; what is wrong with the request as a whole is 400. Who stands several times in
/// `customerIds` gets one notification, and the same result each time.
///
/// Of more than a customer may get (`RATE_LIMIT_PER_CUSTOMER`) the first ones are accepted; the others are `rate_limited`.
///
/// The good ones are committed together, all or none: 202 means that each accepted one will end as `sent`, `failed` or
/// `suppressed`, whatever happens. They are sent in the order of the list. `Prefer: wait` does not apply; ask
/// `GET /api/Push/notifications/{notificationId}`. `sendAt` works as with `sendToCustomer`.
///
/// An `Idempotency-Key` is for the whole: a repeated call gets the first answer again, with all its results, and
/// nothing is sent twice. Where no element was accepted the key is not kept.
#[utoipa::path(
    post,
    path = "/api/Push/sendBatch",
    operation_id = "sendBatch",
    tag = "sending",
    request_body(
        content = Forms,
        examples(
            ("each" = (summary = "To each customer something else", value = json!({"notifications": [
                {"id": 123, "title": "Technician Assigned! 🚗", "body": "Ravi Kumar has been assigned to your booking TRK123. They will contact you soon."},
                {"id": 124, "title": "", "body": "Your invoice is ready."}]}))),
            ("same" = (summary = "The same to many customers", value = json!({
                "customerIds": [123, 124, 123], "title": "We are closed on Sunday", "body": "Bookings are possible again from Monday.",
                "type": "offer", "priority": "normal"})))
        )
    ),
    params(("Idempotency-Key" = Option<String>, Header, example = "8e03978e-40d5-43dd-bc93-6894a57f9324",
            description = "Your own name for this request, 1 to 255 printable ASCII characters: within 24 hours it is carried \
                           out once, however often it comes")),
    responses(
        (status = 202, description = "Carried out; each element has its result", body = BatchAnswer,
         headers(("Idempotent-Replayed" = bool, description = "`true`: the request came before, and was not carried out again")),
         examples(
            ("each" = (value = json!({"success": true, "message": "1 of 2 push notifications queued", "results": [
                {"success": true, "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11"},
                {"success": false, "code": "invalid_input", "errors": [{"field": "title", "message": "must not be empty"}]}]}))),
            ("same" = (value = json!({"success": true, "message": "2 of 3 push notifications queued", "results": [
                {"success": true, "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11"},
                {"success": false, "code": "unknown_customer"},
                {"success": true, "notificationId": "0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11"}]})))
         )),
        BatchErrors, CallErrors, KeyErrors,
    ),
)]
pub async fn send_batch(
    caller: Caller<Send>,
    State(state): State<AppState>,
    Extension(trace): Extension<TraceContext>,
    _place: BatchPlace,
    Nameable { body, name }: Nameable<Request, BATCH_BYTES_MAX>,
) -> Result<Response, ApiError> {
    let key = name.map(|name| name.of(caller.name()));
    let guard = state.guard.towards(caller.name());
    let Batch {
        notifications,
        elements,
    } = match body.parse(now(), &state.catalogue, guard) {
        Ok(batch) => batch,
        Err(wrong) => return state.answered_before(key, wrong).await.map(replayed),
    };
    let outline = Arc::new(Outline(elements));
    let carried_out = |items: &[Item]| (StatusCode::ACCEPTED, Json(outline.answer(items)));
    if notifications.is_empty() {
        let first = state.kept_answer(key).await?;
        return Ok(first.map_or_else(|| carried_out(&[]).into_response(), replayed));
    }
    let composing = Arc::clone(&outline);
    let keyed = key.map(|key| Keyed {
        key,
        answer: Arc::new(move |items| composing.kept(items)),
    });
    let submission = Submission {
        notifications: notifications.into(),
        event: None,
        keyed,
        origin: format!("from {} in a batch", caller.name()),
        trace,
    };
    Ok(match state.accept(submission).await? {
        Accepted::Now(items) => carried_out(&items).into_response(),
        Accepted::Before(first) => {
            state.tell_of_repetition(made_by(&first));
            replayed(first)
        }
    })
}

/// The notifications that a batch made when it came first.
fn made_by(first: &KeptAnswer) -> Vec<NotificationId> {
    #[derive(Deserialize)]
    struct Kept {
        results: Vec<KeptResult>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct KeptResult {
        notification_id: Option<NotificationId>,
    }
    let kept = serde_json::from_str(&first.body).map(|kept: Kept| kept.results);
    let results = kept.unwrap_or_default().into_iter();
    results
        .filter_map(|result| result.notification_id)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: Value) -> Result<Batch, ApiError> {
        let request: Request = typed(body).unwrap();
        request.parse(
            DateTime::UNIX_EPOCH,
            &Catalogue::load(None).unwrap(),
            Guard::Reject(None),
        )
    }

    /// The answer when these customers exist.
    fn answer(body: Value, known: &[i64]) -> Value {
        let batch = parse(body).unwrap();
        let items = batch.notifications.iter().map(|asked| {
            if known.contains(&asked.customer.get()) {
                Item::Accepted
            } else {
                Item::UnknownCustomer
            }
        });
        let items: Vec<Item> = items.collect();
        let outline = Outline(batch.elements);
        let told = serde_json::to_value(outline.answer(&items)).unwrap();
        let kept = outline.kept(&items).map(|kept| kept.body);
        let some = items.contains(&Item::Accepted).then(|| told.clone());
        let kept: Option<Value> = kept.map(|body| serde_json::from_str(&body).unwrap());
        assert_eq!(kept, some, "the same again, if any was accepted");
        told
    }

    fn fields(told: Result<Batch, ApiError>) -> Vec<String> {
        let Err(ApiError::InvalidInput(problems)) = told else {
            panic!("not told as invalid input");
        };
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn each_element_has_its_result_in_order() {
        let told = answer(
            json!({"notifications": [
                {"id": 1, "title": "t", "body": "b"},
                {"id": 1, "title": "t", "body": "b"},
                {"id": -1, "title": "", "data": {"from": 1}},
                {"id": 2, "title": "t", "body": "b"},
                [],
                null,
            ]}),
            &[1],
        );
        assert_eq!(told["message"], "2 of 6 push notifications queued");
        assert_eq!(told["success"], true);
        let results = told["results"].as_array().unwrap();
        let told: Vec<_> = results
            .iter()
            .map(|result| (result["success"] == true, result["code"].as_str()))
            .collect();
        let invalid = (false, Some("invalid_input"));
        assert_eq!(
            told,
            [
                (true, None),
                (true, None),
                invalid,
                (false, Some("unknown_customer")),
                invalid,
                invalid,
            ]
        );
        assert_ne!(results[0]["notificationId"], results[1]["notificationId"]);
        let fields = |index: usize| -> Vec<&str> {
            let errors = results[index]["errors"].as_array().unwrap();
            errors
                .iter()
                .map(|error| error["field"].as_str().unwrap())
                .collect()
        };
        assert_eq!(fields(2), ["id", "title", "body", "data.from"]);
        assert_eq!(fields(4), ["notifications.4"]);
        assert_eq!(results[3].get("errors"), None);
    }

    #[test]
    fn who_is_listed_twice_gets_it_once() {
        let body = json!({
            "customerIds": [1, 2, "3", 1, 0, 9, 1], "title": "t", "body": "b", "data": {"k": 1},
        });
        let batch = parse(body.clone()).unwrap();
        let customers: Vec<_> = batch
            .notifications
            .iter()
            .map(|n| n.customer.get())
            .collect();
        assert_eq!(customers, [1, 2, 9]);
        let told = answer(body, &[1, 2]);
        let results = told["results"].as_array().unwrap();
        let id = |index: usize| results[index]["notificationId"].as_str();
        assert_eq!((id(0), id(0)), (id(3), id(6)));
        assert!(id(0).is_some() && id(1).is_some() && id(0) != id(1));
        assert_eq!(results[2]["errors"][0]["field"], "customerIds.2");
        assert_eq!(results[4]["errors"][0]["field"], "customerIds.4");
        assert_eq!(results[5]["code"], "unknown_customer");
    }

    #[test]
    fn what_is_wrong_with_the_whole_is_told_of_the_whole() {
        let one = json!({"id": 1, "title": "t", "body": "b"});
        let thousand = vec![one.clone(); 1_000];
        assert_eq!(
            parse(json!({"notifications": thousand}))
                .unwrap()
                .notifications
                .len(),
            1_000
        );
        for (body, wrong) in [
            (json!({}), vec!["notifications"]),
            (json!({"notifications": null}), vec!["notifications"]),
            (json!({"notifications": []}), vec!["notifications"]),
            (json!({"notifications": {}}), vec!["notifications"]),
            (
                json!({"notifications": vec![one.clone(); 1_001]}),
                vec!["notifications"],
            ),
            (
                json!({"notifications": [one], "customerIds": [1]}),
                vec!["customerIds"],
            ),
            (
                json!({"notifications": 1, "customerIds": 1}),
                vec!["customerIds"],
            ),
            (
                json!({"customerIds": [], "title": 5}),
                vec!["customerIds", "title", "body"],
            ),
            (
                json!({"customerIds": [1], "title": "t", "body": "b", "data": {"tag": 1, "gcm": 1}}),
                vec!["data.gcm", "data.tag"],
            ),
            (
                json!({"customerIds": vec![1; 1_001], "title": "t", "body": "b"}),
                vec!["customerIds"],
            ),
        ] {
            assert_eq!(fields(parse(body.clone())), wrong, "{body}");
        }
    }

    #[test]
    fn of_very_many_problems_the_rest_is_counted() {
        let data: serde_json::Map<_, _> = (0..200).map(|n| (format!("k{n}"), json!([]))).collect();
        let told = answer(json!({"notifications": [{"data": data}]}), &[]);
        let errors = told["results"][0]["errors"].as_array().unwrap();
        assert_eq!(errors.len(), PROBLEMS_MAX + 1);
        let last = errors.last().unwrap();
        // The id, title and body, and that there are too many keys at all.
        assert_eq!(
            last["message"],
            format!("has {} more problems", 204 - PROBLEMS_MAX)
        );
    }
}
