//! In `push-worker`: from the message's bytes to what providers and database are handed.

use std::time::Duration;

use anyhow::Context as _;
use push_core::admit::{Admission, Claimed, Recorded, admit};
use push_core::changed::CustomerVersion;
use push_core::job::Job;
use push_core::ladder::Ladder;
use push_core::plan::{PlannedTarget, Reach};
use push_core::preferences::{MandatoryTypes, Preferences};
use push_core::provider::{DeliveryPolicy, Provider};
use push_core::settle::{Fate, Next, Report, Settlement, Try, settle};
use push_core::status::Status;
use push_core::wanted::{Verdict, judge};
use push_providers::Look;
use push_providers::counted::{expo_body, expo_outcomes, fcm_body, fcm_outcome};
use push_seal::{Keyring, Place};
use push_store::counted::{deliveries, settled};
use push_store::{ClaimId, ClaimedRound};

use crate::Case;
use crate::samples::{device, expo_token, fcm_token, job, keys, now, push};

/// What is asked of Expo at once where many wait.
const BATCH: u32 = 100;
const FCM_TOOK_IT: &str =
    "{\n  \"name\": \"projects/your-project-id/messages/0:1500415314455276%31bd1c9631bd1c96\"\n}\n";
const FCM_IS_OVERLOADED: &str = r#"{"error": {"code": 503, "message": "The service is currently unavailable.",
    "status": "UNAVAILABLE", "details": [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
    "errorCode": "UNAVAILABLE"}]}}"#;
const EXPO_TICKET: &str = r#"{"status":"ok","id":"0198c5a1-7c3e-7d0a-b7a5-3f6f4f0e9c11"}"#;
/// As `RECONCILE_AFTER` is.
const GRACE: Duration = Duration::from_secs(300);

pub fn cases() -> anyhow::Result<Vec<Case>> {
    Ok(vec![
        opening()?,
        reading()?,
        planning()?,
        fcm()?,
        fcm_answer("worker: FCM answer", 200, FCM_TOOK_IT)?,
        fcm_answer("worker: FCM error", 503, FCM_IS_OVERLOADED)?,
        expo("worker: Expo body", 1)?,
        expo("worker: Expo body of 100", BATCH)?,
        expo_answer("worker: Expo answer", 1)?,
        expo_answer("worker: Expo answer of 100", BATCH)?,
        settling("worker: settlement", 200, FCM_TOOK_IT)?,
        settling("worker: settlement to try again", 503, FCM_IS_OVERLOADED)?,
        row("worker: row", 200, FCM_TOOK_IT)?,
        row("worker: row to try again", 503, FCM_IS_OVERLOADED)?,
        device_rows()?,
    ])
}

fn opening() -> anyhow::Result<Case> {
    let keys = keys()?;
    let place = Place::of("push.job", &[]);
    let sealed = keys.seal(&place, String::from_utf8(job()?.encode())?)?;
    Case::new("worker: job opened", move || {
        keys.open(&place, sealed.clone())
    })
}

fn reading() -> anyhow::Result<Case> {
    let json = job()?.encode();
    Case::new("worker: job", move || Job::decode(&json))
}

/// Who gets it, if anybody: all that is decided before a provider is asked.
fn planning() -> anyhow::Result<Case> {
    let (job, devices, reach) = (job()?, [device()?], reach());
    let (preferences, mandatory) = (Preferences::default(), MandatoryTypes::default());
    Case::new("worker: plan", move || {
        let admission = admit(&job, Some(claimed()));
        let verdict = judge(&job, None, &preferences, &mandatory, now());
        match (admission, verdict) {
            (Admission::Deliver, Verdict::Deliver) => Ok(reach.plan(&job, &devices)),
            other => Err(other),
        }
    })
}

fn claimed() -> Claimed {
    Claimed {
        recorded: Recorded {
            status: Status::Pending,
            round: 0,
        },
        ours: true,
        erased: false,
        newest: None,
        behind: false,
        interruptions: 0,
    }
}

fn reach() -> Reach {
    Reach {
        policy: DeliveryPolicy::Failover,
        providers: Provider::ALL.to_vec(),
    }
}

fn fcm() -> anyhow::Result<Case> {
    let (push, look) = (push(fcm_token()?)?, Look::default());
    Case::new("worker: FCM body", move || fcm_body(&push, &look, now()))
}

fn fcm_answer(name: &'static str, status: u16, body: &'static str) -> anyhow::Result<Case> {
    Case::new(name, move || {
        fcm_outcome(status, body.as_bytes(), now()).ok_or("our access token is refused")
    })
}

fn expo(name: &'static str, notifications: u32) -> anyhow::Result<Case> {
    let push = push(expo_token()?)?;
    let pushes: Vec<_> = (0..notifications).map(|_| push.clone()).collect();
    let look = Look::default();
    let case = Case::new(name, move || expo_body(&pushes, &look, now()))?;
    Ok(case.of_many(notifications))
}

fn expo_answer(name: &'static str, notifications: u32) -> anyhow::Result<Case> {
    let tickets: Vec<_> = (0..notifications).map(|_| EXPO_TICKET).collect();
    let body = format!(r#"{{"data":[{}]}}"#, tickets.join(","));
    let case = Case::new(name, move || {
        expo_outcomes(200, body.as_bytes(), tickets.len(), now()).ok_or("no ticket for each")
    })?;
    Ok(case.of_many(notifications))
}

/// A round in which FCM answered so.
fn reports(status: u16, body: &str) -> anyhow::Result<(Job, Vec<Report>)> {
    let job = job()?;
    let outcome = fcm_outcome(status, body.as_bytes(), now()).context("no outcome")?;
    let report = |planned: PlannedTarget| -> anyhow::Result<Report> {
        let tried = Try {
            token: fcm_token()?,
            outcome: outcome.clone(),
            at: now(),
        };
        Ok(Report {
            planned,
            fate: Fate::Tried(vec![tried]),
            passed_over: None,
        })
    };
    let planned = reach().plan(&job, &[device()?]);
    let reports = planned.into_iter().map(report).collect::<Result<_, _>>()?;
    Ok((job, reports))
}

fn settling(name: &'static str, status: u16, body: &str) -> anyhow::Result<Case> {
    let ((job, reports), ladder) = (reports(status, body)?, Ladder::default());
    let accepted = status == 200;
    Case::new(name, move || {
        let settlement = settle(&job, &reports, &ladder, now());
        let as_meant = matches!(settlement.next, Next::Done(_)) == accepted;
        as_meant.then_some(settlement).ok_or("another end")
    })
}

fn settlement(status: u16, body: &str) -> anyhow::Result<(Job, Settlement)> {
    let (job, reports) = reports(status, body)?;
    let settlement = settle(&job, &reports, &Ladder::default(), now());
    Ok((job, settlement))
}

fn row(name: &'static str, status: u16, body: &str) -> anyhow::Result<Case> {
    let (_, settlement) = settlement(status, body)?;
    let round = ClaimedRound {
        claim: ClaimId::generate(),
        version: CustomerVersion(0),
        settlement,
    };
    let keys = Keyring::default();
    Case::new(name, move || settled(&keys, &round, now(), GRACE))
}

fn device_rows() -> anyhow::Result<Case> {
    let (job, settlement) = settlement(200, FCM_TOOK_IT)?;
    let customer = job.notification.customer;
    Case::new("worker: device row", move || {
        deliveries(&settlement, customer)
    })
}
