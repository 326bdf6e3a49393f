//! What follows from a round: a sub-test per transition, and properties over all of them.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use push_core::id::{CustomerId, NotificationId, RegistrationId};
use push_core::job::{GiveUpReason, Job, PutBack};
use push_core::ladder::{Ladder, RetryDelay};
use push_core::lane::Barrier;
use push_core::notification::{
    Body, Content, Data, Notification, NotificationType, Priority, Title,
};
use push_core::outcome::{Cause, Outcome, Pause, ProviderMessageId, Retry, Sent, Trouble};
use push_core::plan::{Device, PlannedTarget, Reach};
use push_core::preferences::{MandatoryTypes, OptedOut, Preferences};
use push_core::provider::{DeliveryPolicy, Platform, Provider};
use push_core::replay::{Ended, Letter, replay};
use push_core::settle::{
    DeliveryOutcome, Fate, Hold, HoldReason, Next, Report, Settlement, Try, put_off, settle,
    suppress,
};
use push_core::status::{Ending, ProviderResult, Reason};
use push_core::timeline::Step;
use push_core::token::{ExpoToken, FcmToken, Token};
use push_core::wanted::{Suppression, Verdict, judge};

fn now() -> DateTime<Utc> {
    "2026-01-02T03:04:05.678Z".parse().unwrap()
}

fn job(ttl_seconds: i64) -> Job {
    Job::first(Notification {
        id: NotificationId::generate(),
        customer: CustomerId::try_from(123).unwrap(),
        kind: NotificationType::service_update(),
        content: Content {
            title: Title::parse("t").unwrap(),
            body: Body::parse("b").unwrap(),
            data: Data::default(),
            image_url: None,
        },
        priority: Priority::High,
        collapse_key: None,
        created_at: now(),
        send_at: None,
        expires_at: now() + TimeDelta::seconds(ttl_seconds),
    })
}

fn device(registration: u64, fcm: bool, expo: bool) -> Device {
    Device {
        registration: RegistrationId(registration),
        device_id: None,
        platform: Platform::Android,
        fcm: fcm
            .then(|| FcmToken::parse(&format!("fcm-token-of-device-{registration:04}")).unwrap()),
        expo: expo.then(|| {
            ExpoToken::parse(&format!("ExponentPushToken[device-{registration:04}]")).unwrap()
        }),
    }
}

fn reach(policy: DeliveryPolicy) -> Reach {
    Reach {
        policy,
        providers: Provider::ALL.to_vec(),
    }
}

fn accepted() -> Outcome {
    Outcome::Accepted(ProviderMessageId::new("id"))
}

fn dead() -> Outcome {
    Outcome::TokenDead(Cause::new("UNREGISTERED", "x"))
}

fn refused() -> Outcome {
    Outcome::Refused(Cause::new("too_big", "x"))
}

fn operator() -> Outcome {
    Outcome::operator_must_act(Cause::new("SENDER_ID_MISMATCH", "x"))
}

fn retry(pause: Pause, sent: Sent) -> Outcome {
    Outcome::Retry(Retry {
        cause: Cause::new("http_503", "x"),
        pause,
        sent,
        trouble: Trouble::Provider,
    })
}

fn not_yet(seconds: u64) -> Fate {
    Fate::Held(Hold {
        reason: HoldReason::NotYet,
        wait: Duration::from_secs(seconds),
        tried: Vec::new(),
        next: Fcm,
    })
}

fn later() -> Outcome {
    retry(Pause::AtLeast(Duration::from_secs(10)), Sent::SurelyNot)
}

/// Plays a round as the worker does: each target through its routes until one ends it.
fn play(
    job: &Job,
    devices: &[Device],
    policy: DeliveryPolicy,
    answers: &[(Provider, Outcome)],
) -> Settlement {
    let answer = |planned: PlannedTarget| {
        let mut tries = Vec::new();
        for token in &planned.routes {
            let (_, outcome) = answers
                .iter()
                .find(|(provider, _)| *provider == token.provider())
                .unwrap();
            tries.push(Try {
                token: token.clone(),
                outcome: outcome.clone(),
                at: now(),
            });
            if !outcome.permits_next_route() {
                break;
            }
        }
        let fate = if tries.is_empty() {
            Fate::Gone
        } else {
            Fate::Tried(tries)
        };
        Report {
            planned,
            fate,
            passed_over: None,
        }
    };
    let reports: Vec<_> = reach(policy)
        .plan(job, devices)
        .into_iter()
        .map(answer)
        .collect();
    settle(job, &reports, &Ladder::default(), now())
}

fn done(settlement: &Settlement) -> Ending {
    match settlement.next {
        Next::Done(ending) => ending,
        Next::Wait(..) | Next::Later(..) | Next::DeadLetter(_) => {
            panic!("not done: {settlement:?}")
        }
    }
}

fn waiting(settlement: &Settlement) -> (&RetryDelay, &Job) {
    match &settlement.next {
        Next::Wait(rung, job) => (rung, job),
        Next::Done(_) | Next::Later(..) | Next::DeadLetter(_) => {
            panic!("not waiting: {settlement:?}")
        }
    }
}

fn dead_letter(settlement: &Settlement) -> &Job {
    match &settlement.next {
        Next::DeadLetter(job) => job,
        Next::Done(_) | Next::Wait(..) | Next::Later(..) => {
            panic!("no dead letter: {settlement:?}")
        }
    }
}

use DeliveryPolicy::{Both, Failover};
use Provider::{Expo, Fcm};

#[test]
fn two_devices_one_fcm_one_expo_give_the_guides_answer() {
    let devices = [device(1, true, false), device(2, false, true)];
    let settled = play(
        &job(3600),
        &devices,
        Failover,
        &[(Fcm, accepted()), (Expo, accepted())],
    );
    assert_eq!(done(&settled), Ending::Sent);
    assert_eq!(
        (settled.results.fcm, settled.results.expo),
        (ProviderResult::Success, ProviderResult::Success)
    );
}

#[test]
fn failover_sends_through_one_provider_a_device() {
    let devices = [device(1, true, true)];
    let settled = play(
        &job(3600),
        &devices,
        Failover,
        &[(Fcm, accepted()), (Expo, accepted())],
    );
    assert_eq!(
        (settled.results.fcm, settled.results.expo),
        (ProviderResult::Success, ProviderResult::NotSent)
    );
    assert_eq!(settled.deliveries.len(), 1);
}

#[test]
fn both_sends_through_every_provider() {
    let devices = [device(1, true, true)];
    let settled = play(
        &job(3600),
        &devices,
        Both,
        &[(Fcm, accepted()), (Expo, accepted())],
    );
    assert_eq!(
        (settled.results.fcm, settled.results.expo),
        (ProviderResult::Success, ProviderResult::Success)
    );
    assert_eq!(settled.deliveries.len(), 2);
}

#[test]
fn failover_takes_expo_where_fcm_surely_did_not_deliver() {
    for outcome in [dead(), refused(), operator()] {
        let settled = play(
            &job(3600),
            &[device(1, true, true)],
            Failover,
            &[(Fcm, outcome), (Expo, accepted())],
        );
        assert_eq!(done(&settled), Ending::Sent);
        assert_eq!(
            (settled.results.fcm, settled.results.expo),
            (ProviderResult::Failed, ProviderResult::Success)
        );
    }
}

#[test]
fn failover_never_takes_expo_after_a_maybe_delivered() {
    let devices = [device(1, true, true)];
    let maybe = retry(Pause::AtLeast(Duration::from_secs(10)), Sent::Maybe);
    let first = play(
        &job(3600),
        &devices,
        Failover,
        &[(Fcm, maybe), (Expo, accepted())],
    );
    let (_, second) = waiting(&first);
    let settled = play(
        second,
        &devices,
        Failover,
        &[(Fcm, dead()), (Expo, accepted())],
    );
    assert_eq!(done(&settled), Ending::Failed(Reason::InvalidTokens));
    assert_eq!(settled.results.expo, ProviderResult::NotSent);
}

#[test]
fn a_retry_goes_only_to_the_targets_that_have_not_accepted() {
    let devices = [device(1, true, false), device(2, false, true)];
    let first = play(
        &job(3600),
        &devices,
        Failover,
        &[(Fcm, accepted()), (Expo, later())],
    );
    let (rung, second) = waiting(&first);
    assert_eq!(rung.to_string(), "10s");
    let targets = second.targets.as_ref().unwrap();
    assert_eq!(
        targets
            .iter()
            .map(|target| target.registration)
            .collect::<Vec<_>>(),
        [RegistrationId(2)]
    );
    let settled = play(second, &devices, Failover, &[(Expo, accepted())]);
    assert_eq!(done(&settled), Ending::Sent);
    assert_eq!(
        (settled.results.fcm, settled.results.expo),
        (ProviderResult::Success, ProviderResult::Success)
    );
    assert_eq!(settled.attempts, 2);
}

#[test]
fn exhausted_retries_end_as_a_dead_letter_with_the_whole_trail() {
    let devices = [device(1, true, false)];
    let mut job = job(86_400);
    for _ in 1..Ladder::default().tries_max() {
        let settled = play(&job, &devices, Failover, &[(Fcm, later())]);
        job = waiting(&settled).1.clone();
    }
    let settled = play(&job, &devices, Failover, &[(Fcm, later())]);
    let letter = dead_letter(&settled);
    assert!(letter.is_given_up());
    assert_eq!(
        letter.progress.given_up[0].reason,
        GiveUpReason::RetriesExhausted
    );
    assert_eq!(letter.progress.given_up[0].tries, 6);
    assert_eq!(letter.progress.trail.len(), 6);
}

#[test]
fn no_attempt_is_planned_past_the_expiry() {
    let settled = play(
        &job(5),
        &[device(1, true, false)],
        Failover,
        &[(Fcm, later())],
    );
    assert_eq!(
        dead_letter(&settled).progress.given_up[0].reason,
        GiveUpReason::Expired
    );
}

#[test]
fn what_an_operator_can_mend_becomes_a_dead_letter_when_no_route_is_left() {
    let settled = play(
        &job(3600),
        &[device(1, true, true)],
        Failover,
        &[(Fcm, operator()), (Expo, dead())],
    );
    assert_eq!(
        dead_letter(&settled).progress.given_up[0].reason,
        GiveUpReason::OperatorMustAct
    );
}

/// The other route may need more than a round to fail.
#[test]
fn what_an_operator_can_mend_is_remembered_until_no_route_is_left() {
    let devices = [device(1, true, true)];
    let first = play(
        &job(3600),
        &devices,
        Failover,
        &[(Fcm, operator()), (Expo, later())],
    );
    let (_, second) = waiting(&first);
    let mut unregistered = reach(Failover).plan(second, &devices);
    unregistered[0].routes.clear();
    let gone = [Report {
        planned: unregistered.remove(0),
        fate: Fate::Gone,
        passed_over: None,
    }];
    for settled in [
        play(second, &devices, Failover, &[(Expo, dead())]),
        settle(second, &gone, &Ladder::default(), now()),
    ] {
        let given_up = &dead_letter(&settled).progress.given_up[0];
        assert_eq!(given_up.reason, GiveUpReason::OperatorMustAct);
        assert_eq!(given_up.provider, Fcm);
        assert_eq!(given_up.cause.code, "SENDER_ID_MISMATCH");
    }
    let taken = play(second, &devices, Failover, &[(Expo, accepted())]);
    assert_eq!(done(&taken), Ending::Sent);
    // Where Expo's lane did not take it: the same.
    let hold = Hold {
        reason: HoldReason::Lane(Expo, Barrier::Paused),
        wait: Duration::from_secs(10),
        tried: vec![Try {
            token: Token::Fcm(devices[0].fcm.clone().unwrap()),
            outcome: operator(),
            at: now(),
        }],
        next: Expo,
    };
    let held = [Report {
        planned: reach(Failover).plan(&job(3600), &devices).remove(0),
        fate: Fate::Held(hold),
        passed_over: None,
    }];
    let held = settle(&job(3600), &held, &Ladder::default(), now());
    let settled = play(waiting(&held).1, &devices, Failover, &[(Expo, dead())]);
    let given_up = &dead_letter(&settled).progress.given_up[0];
    assert_eq!(given_up.reason, GiveUpReason::OperatorMustAct);
}

#[test]
fn a_dead_letter_names_who_was_asked() {
    let devices = [device(1, true, true)];
    let mut job = job(86_400);
    for _ in 1..Ladder::default().tries_max() {
        let settled = play(&job, &devices, Failover, &[(Fcm, later())]);
        job = waiting(&settled).1.clone();
    }
    let exhausted = play(&job, &devices, Failover, &[(Fcm, later())]);
    let answers = [(Fcm, operator()), (Expo, dead())];
    let operator_first = play(&self::job(3600), &devices, Failover, &answers);
    let too_late = play(&self::job(5), &devices, Failover, &[(Fcm, later())]);
    for settled in [exhausted, operator_first, too_late] {
        let letter = dead_letter(&settled);
        let given_up = &letter.progress.given_up[0];
        assert_eq!(given_up.provider, Fcm, "{:?}", given_up.reason);
        let token = Token::Fcm(devices[0].fcm.clone().unwrap()).masked();
        assert_eq!(given_up.token.as_ref(), Some(&token));
        assert_eq!(settled.results.fcm, ProviderResult::Failed);
    }
}

#[test]
fn an_answer_that_makes_no_sense_is_maybe_delivered_and_asks_nobody_else() {
    let odd = Outcome::OperatorMustAct {
        cause: Cause::new("ticket_count_mismatch", "x"),
        sent: Sent::Maybe,
    };
    let devices = [device(1, true, true)];
    let settled = play(&job(3600), &devices, Failover, &[(Fcm, odd)]);
    assert_eq!(settled.deliveries.len(), 1);
    assert_eq!(settled.deliveries[0].sent, Sent::Maybe);
    assert_eq!(dead_letter(&settled).progress.given_up[0].provider, Fcm);
}

#[test]
fn expired_after_a_try_has_failed_and_is_kept() {
    let devices = [device(1, true, false)];
    let first = play(&job(3600), &devices, Failover, &[(Fcm, later())]);
    let (_, second) = waiting(&first);
    let planned = reach(Failover).plan(second, &devices).remove(0);
    let fate = Fate::Expired;
    let reports = [Report {
        planned,
        fate,
        passed_over: None,
    }];
    let settled = settle(second, &reports, &Ladder::default(), now());
    let given_up = &dead_letter(&settled).progress.given_up[0];
    assert_eq!(given_up.reason, GiveUpReason::Expired);
    assert_eq!(settled.results.fcm, ProviderResult::Failed);
}

#[test]
fn what_an_interrupted_worker_may_have_sent_asks_no_other_provider() {
    let interrupted = Job {
        interrupted: true,
        ..job(3600)
    };
    let devices = [device(1, true, true)];
    let settled = play(&interrupted, &devices, Failover, &[(Fcm, dead())]);
    assert_eq!(done(&settled), Ending::Failed(Reason::InvalidTokens));
    assert_eq!(settled.deliveries[0].sent, Sent::Maybe);
    assert_eq!(settled.timeline[0].step, Step::Interrupted);

    // In a later round, too; and the round after that was interrupted by nobody, but remembers.
    let first = play(&job(3600), &devices, Failover, &[(Fcm, later())]);
    let second = Job {
        interrupted: true,
        ..waiting(&first).1.clone()
    };
    let settled = play(&second, &devices, Failover, &[(Fcm, later())]);
    let (_, third) = waiting(&settled);
    assert!(!third.interrupted);
    assert_eq!(third.targets.as_ref().unwrap()[0].sent, Sent::Maybe);

    // Too late for another attempt: it cannot be called suppressed.
    let planned = reach(Failover).plan(&interrupted, &devices).remove(0);
    let fate = Fate::Expired;
    let reports = [Report {
        planned,
        fate,
        passed_over: None,
    }];
    let settled = settle(&interrupted, &reports, &Ladder::default(), now());
    let letter = dead_letter(&settled);
    // And whoever replays it knows, though no try of it is recorded.
    let ended = Ended {
        notification: letter.notification.clone(),
        round: letter.round,
        results: settled.results,
    };
    let about = Letter {
        job: letter.clone(),
        target: Some((RegistrationId(1), Fcm)),
        sent: Sent::SurelyNot,
    };
    let again = replay(ended, &[about]).unwrap();
    let planned = reach(Failover).plan(&again, &devices);
    assert_eq!(planned[0].target.sent, Sent::Maybe);
    assert_eq!(planned[0].routes.len(), 1, "no other provider");
}

#[test]
fn who_is_held_is_not_pushed_back_by_the_retries_of_others() {
    let devices = [device(1, true, false), device(2, false, true)];
    let asked = retry(Pause::Asked(Duration::from_secs(200)), Sent::SurelyNot);
    let answers = [(Fcm, asked), (Expo, later())];
    let first = play(&job(3600), &devices, Failover, &answers);
    let (_, second) = waiting(&first);
    let until = second.targets.as_ref().unwrap()[0].not_before.unwrap();
    let mut planned = reach(Failover).plan(second, &devices).into_iter();
    let (held, tried) = (planned.next().unwrap(), planned.next().unwrap());
    let again = Try {
        token: tried.routes[0].clone(),
        outcome: later(),
        at: now(),
    };
    let reports = [
        Report {
            planned: held,
            fate: not_yet(190),
            passed_over: None,
        },
        Report {
            planned: tried,
            fate: Fate::Tried(vec![again]),
            passed_over: None,
        },
    ];
    let at = now() + TimeDelta::seconds(10);
    let settled = settle(second, &reports, &Ladder::default(), at);
    let (_, third) = waiting(&settled);
    let held = &third.targets.as_ref().unwrap()[0];
    assert_eq!(held.not_before, Some(until), "{held:?}");
}

#[test]
fn what_is_given_up_waits_for_the_rest_and_is_kept() {
    let devices = [device(1, true, false), device(2, false, true)];
    let first = play(
        &job(3600),
        &devices,
        Failover,
        &[(Fcm, operator()), (Expo, later())],
    );
    let (_, second) = waiting(&first);
    let settled = play(second, &devices, Failover, &[(Expo, accepted())]);
    let letter = dead_letter(&settled);
    assert_eq!(letter.progress.results.expo, ProviderResult::Success);
    assert_eq!(letter.progress.given_up[0].registration, RegistrationId(1));
}

#[test]
fn dead_tokens_and_refused_messages_fail_with_their_reason() {
    let devices = [device(1, true, false)];
    let settled = play(&job(3600), &devices, Failover, &[(Fcm, dead())]);
    assert_eq!(done(&settled), Ending::Failed(Reason::InvalidTokens));
    assert_eq!(settled.dead_tokens().count(), 1);
    let settled = play(&job(3600), &devices, Failover, &[(Fcm, refused())]);
    assert_eq!(done(&settled), Ending::Failed(Reason::Refused));
    assert_eq!(settled.dead_tokens().count(), 0);
}

#[test]
fn nobody_to_reach_is_suppressed() {
    let settled = play(&job(3600), &[], Failover, &[]);
    assert_eq!(done(&settled), Ending::Suppressed(Reason::NoActiveDevice));
    let fcm_only = Reach {
        policy: Failover,
        providers: vec![Fcm],
    };
    assert!(
        fcm_only
            .plan(&job(3600), &[device(1, false, true)])
            .is_empty()
    );
}

#[test]
fn expired_before_the_first_try_is_suppressed() {
    let job = job(0);
    let planned = reach(Failover)
        .plan(&job, &[device(1, true, false)])
        .remove(0);
    let settled = settle(
        &job,
        &[Report {
            planned,
            fate: Fate::Expired,
            passed_over: None,
        }],
        &Ladder::default(),
        now(),
    );
    assert_eq!(done(&settled), Ending::Suppressed(Reason::Expired));
    assert_eq!(settled.results.fcm, ProviderResult::NotSent);
}

/// It had its tries before: neither is it as if it had never been meant to be sent.
#[test]
fn a_replay_that_is_not_tried_has_failed_all_the_same() {
    let mut replayed = job(0);
    replayed.progress.replayed = true;
    let planned = reach(Failover)
        .plan(&replayed, &[device(1, true, false)])
        .remove(0);
    for (fate, expected) in [
        (Fate::Expired, None),
        (Fate::Gone, Some(Ending::Failed(Reason::InvalidTokens))),
    ] {
        let report = Report {
            planned: planned.clone(),
            fate,
            passed_over: None,
        };
        let settled = settle(&replayed, &[report], &Ladder::default(), now());
        assert_eq!(settled.results.fcm, ProviderResult::Failed);
        match (&settled.next, expected) {
            (Next::DeadLetter(job), None) => {
                assert_eq!(job.progress.given_up[0].reason, GiveUpReason::Expired);
            }
            (Next::Done(ending), Some(expected)) => assert_eq!(*ending, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_device_that_moved_away_is_never_sent_to() {
    let first = play(
        &job(3600),
        &[device(1, true, false)],
        Failover,
        &[(Fcm, later())],
    );
    let (_, second) = waiting(&first);
    let settled = play(second, &[], Failover, &[]);
    assert_eq!(done(&settled), Ending::Failed(Reason::InvalidTokens));
}

#[test]
fn one_providers_pause_does_not_delay_the_other() {
    let devices = [device(1, true, false), device(2, false, true)];
    let asked = retry(Pause::Asked(Duration::from_secs(200)), Sent::SurelyNot);
    let first = play(
        &job(3600),
        &devices,
        Failover,
        &[(Fcm, asked), (Expo, later())],
    );
    let (rung, second) = waiting(&first);
    assert_eq!(rung.to_string(), "10s");
    let held = &second.targets.as_ref().unwrap()[0];
    assert!(
        held.not_before.unwrap() >= now() + TimeDelta::seconds(200),
        "{held:?}"
    );
}

#[test]
fn a_retry_after_beyond_the_ladder_is_looked_at_again_without_spending_an_attempt() {
    let devices = [device(1, true, false)];
    let asked = retry(Pause::Asked(Duration::from_secs(2_000)), Sent::SurelyNot);
    let first = play(&job(86_400), &devices, Failover, &[(Fcm, asked)]);
    let (rung, second) = waiting(&first);
    assert_eq!(rung.to_string(), "15m");
    assert_eq!(
        second.targets.as_ref().unwrap()[0].not_before,
        Some(now() + TimeDelta::seconds(2_000))
    );
    let planned = reach(Failover).plan(second, &devices).remove(0);
    let held = [Report {
        planned,
        fate: not_yet(1_100),
        passed_over: None,
    }];
    let settled = settle(
        second,
        &held,
        &Ladder::default(),
        now() + TimeDelta::seconds(900),
    );
    let (rung, third) = waiting(&settled);
    assert_eq!(rung.to_string(), "15m");
    assert_eq!(third.targets.as_ref().unwrap()[0].tries, 1);
    assert_eq!(third.round, 3);
}

fn put_back(barrier: Barrier, tried: Vec<Try>, next: Provider) -> Fate {
    Fate::Held(Hold {
        reason: HoldReason::Lane(next, barrier),
        wait: Duration::ZERO,
        tried,
        next,
    })
}

fn report(planned: PlannedTarget, fate: Fate) -> Report {
    Report {
        planned,
        fate,
        passed_over: None,
    }
}

/// The texts of the timeline that say that something was put back.
fn postponed(settlement: &Settlement) -> Vec<&str> {
    let told = settlement.timeline.iter();
    told.filter(|entry| entry.step == Step::Postponed)
        .map(|entry| entry.text.as_str())
        .collect()
}

#[test]
fn waiting_for_a_lane_costs_no_attempt_and_climbs_to_two_minutes() {
    let devices = [device(1, true, false)];
    let mut job = job(86_400);
    let mut rungs = Vec::new();
    for time in 0..6 {
        let planned = reach(Failover).plan(&job, &devices).remove(0);
        assert_eq!(planned.target.tries, 0);
        let reports = [report(planned, put_back(Barrier::Paused, Vec::new(), Fcm))];
        let settled = settle(&job, &reports, &Ladder::default(), now());
        assert_eq!((settled.attempts, settled.deliveries.len()), (0, 0));
        let told = usize::from(time == 0);
        assert_eq!(postponed(&settled).len(), told, "told once, not each time");
        let again = settled
            .timeline
            .iter()
            .any(|entry| entry.step == Step::Retry);
        assert!(!again, "it is no attempt");
        let (rung, next) = waiting(&settled);
        rungs.push(rung.to_string());
        job = next.clone();
    }
    assert_eq!(rungs, ["10s", "30s", "2m", "2m", "2m", "2m"]);
    // Another reason is news.
    let planned = reach(Failover).plan(&job, &devices).remove(0);
    let reports = [report(planned, put_back(Barrier::Broken, Vec::new(), Fcm))];
    let settled = settle(&job, &reports, &Ladder::default(), now());
    let told = postponed(&settled);
    assert!(told[0].contains("fcm fails for everybody"), "{told:?}");
    // And a try begins anew.
    let settled = play(&job, &devices, Failover, &[(Fcm, later())]);
    assert_eq!(
        waiting(&settled).1.targets.as_ref().unwrap()[0].put_back,
        None
    );
}

#[test]
fn what_is_put_back_comes_again_before_its_time_is_over() {
    let devices = [device(1, true, false)];
    for (left, rung) in [(100, "30s"), (31, "30s"), (30, "10s"), (5, "10s")] {
        let job = job(left);
        let mut planned = reach(Failover).plan(&job, &devices).remove(0);
        planned.target.put_back = Some(PutBack {
            times: 7,
            barrier: Barrier::Full,
        });
        let reports = [report(planned, put_back(Barrier::Full, Vec::new(), Fcm))];
        let settled = settle(&job, &reports, &Ladder::default(), now());
        assert_eq!(waiting(&settled).0.to_string(), rung, "{left} s left");
    }
}

#[test]
fn a_target_that_is_put_back_neither_delays_the_others_nor_waits_for_their_pauses() {
    let devices = [device(1, true, false), device(2, false, true)];
    let job = job(86_400);
    let mut planned = reach(Failover).plan(&job, &devices).into_iter();
    let (fcm, expo) = (planned.next().unwrap(), planned.next().unwrap());
    let attempt = Try {
        token: expo.routes[0].clone(),
        outcome: accepted(),
        at: now(),
    };
    let reports = [
        report(fcm, put_back(Barrier::Broken, Vec::new(), Fcm)),
        report(expo, Fate::Tried(vec![attempt])),
    ];
    let settled = settle(&job, &reports, &Ladder::default(), now());
    assert_eq!(settled.results.expo, ProviderResult::Success);
    let (_, next) = waiting(&settled);
    let targets = next.targets.as_ref().unwrap();
    assert_eq!(targets.len(), 1);
    assert_eq!(targets[0].registration, RegistrationId(1));
    assert_eq!((targets[0].tries, targets[0].not_before), (0, None));
}

#[test]
fn what_the_first_provider_said_is_recorded_when_the_second_cannot_be_asked() {
    let devices = [device(1, true, true)];
    let job = job(3600);
    for reason in [
        HoldReason::ClaimOver,
        HoldReason::CustomerChanged,
        HoldReason::Lane(Expo, Barrier::Paused),
    ] {
        let planned = reach(Failover).plan(&job, &devices).remove(0);
        let attempt = Try {
            token: planned.routes[0].clone(),
            outcome: dead(),
            at: now(),
        };
        let fate = Fate::Held(Hold {
            reason,
            wait: Duration::ZERO,
            tried: vec![attempt],
            next: Expo,
        });
        let settled = settle(&job, &[report(planned, fate)], &Ladder::default(), now());
        assert_eq!(settled.dead_tokens().count(), 1);
        assert_eq!(settled.deliveries.len(), 1);
        assert_eq!(settled.results.fcm, ProviderResult::Failed);
        let (_, next) = waiting(&settled);
        let target = &next.targets.as_ref().unwrap()[0];
        assert_eq!((target.provider, target.tries), (Expo, 1));
        let settled = play(next, &devices, Failover, &[(Expo, accepted())]);
        assert_eq!(done(&settled), Ending::Sent);
    }
}

#[test]
fn who_is_asked_instead_of_a_broken_lane_is_told() {
    let devices = [device(1, true, true)];
    let job = job(3600);
    let planned = reach(Failover).plan(&job, &devices).remove(0);
    let attempt = Try {
        token: planned.routes[1].clone(),
        outcome: accepted(),
        at: now(),
    };
    let mut report = report(planned, Fate::Tried(vec![attempt]));
    report.passed_over = Some(Fcm);
    let settled = settle(&job, &[report], &Ladder::default(), now());
    assert_eq!(done(&settled), Ending::Sent);
    assert_eq!(settled.results.fcm, ProviderResult::NotSent);
    let steps: Vec<_> = settled.timeline.iter().map(|entry| entry.step).collect();
    assert_eq!(
        steps,
        [Step::Devices, Step::Failover, Step::Attempt, Step::Settled]
    );
}

#[test]
fn providers_that_refuse_while_another_cannot_be_asked_are_not_asked_for_ever() {
    let devices = [device(1, true, true)];
    let mut job = job(86_400);
    for _ in 0..20 {
        let planned = reach(Failover).plan(&job, &devices).remove(0);
        let attempt = Try {
            token: planned.routes[1].clone(),
            outcome: refused(),
            at: now(),
        };
        let fate = put_back(Barrier::Broken, vec![attempt], Fcm);
        let settled = settle(&job, &[report(planned, fate)], &Ladder::default(), now());
        match settled.next {
            Next::Wait(_, next) => job = *next,
            Next::DeadLetter(letter) => {
                assert_eq!(letter.progress.given_up[0].tries, 6);
                return;
            }
            other @ (Next::Done(_) | Next::Later(..)) => panic!("{other:?}"),
        }
    }
    panic!("it never ended");
}

fn overtaken() -> Suppression {
    Suppression::Superseded {
        by: NotificationId::generate(),
    }
}

fn steps(settlement: &Settlement) -> Vec<Step> {
    settlement.timeline.iter().map(|entry| entry.step).collect()
}

#[test]
fn what_is_not_wanted_ends_without_an_attempt_and_says_why() {
    let until = now() + TimeDelta::hours(2);
    for (why, reason, step) in [
        (overtaken(), Reason::Superseded, Step::Superseded),
        (
            Suppression::OptedOut(OptedOut::Type),
            Reason::OptedOut,
            Step::Preference,
        ),
        (
            Suppression::QuietHours { until },
            Reason::QuietHours,
            Step::QuietHours,
        ),
        (Suppression::Erased, Reason::Erased, Step::Erased),
    ] {
        let settled = suppress(&job(3_600), why, now());
        assert_eq!(done(&settled), Ending::Suppressed(reason));
        assert_eq!((settled.round, settled.attempts), (1, 0));
        assert_eq!(settled.results.fcm, ProviderResult::NotSent);
        assert_eq!(settled.results.expo, ProviderResult::NotSent);
        assert_eq!(steps(&settled), [step, Step::Settled]);
    }
}

#[test]
fn one_that_is_overtaken_between_two_tries_tells_what_it_came_to() {
    // Nobody accepted: it is not tried again, and not kept as a dead letter.
    let first = play(
        &job(86_400),
        &[device(1, true, false)],
        Failover,
        &[(Fcm, later())],
    );
    let mut next = waiting(&first).1.clone();
    next.interrupted = true;
    let settled = suppress(&next, overtaken(), now());
    assert_eq!(done(&settled), Ending::Suppressed(Reason::Superseded));
    assert_eq!((settled.round, settled.attempts), (2, 1));
    assert_eq!(settled.results.fcm, ProviderResult::Failed, "it was tried");
    assert_eq!(settled.results.expo, ProviderResult::NotSent);
    let told = [Step::Interrupted, Step::Superseded, Step::Settled];
    assert_eq!(steps(&settled), told);
    // Some device has it.
    let devices = [device(1, true, false), device(2, false, true)];
    let first = play(
        &job(86_400),
        &devices,
        Failover,
        &[(Fcm, later()), (Expo, accepted())],
    );
    let settled = suppress(waiting(&first).1, overtaken(), now());
    assert_eq!(done(&settled), Ending::Sent);
    assert_eq!(settled.results.expo, ProviderResult::Success);
    // An operator can mend what was given up before.
    let first = play(
        &job(86_400),
        &devices,
        Failover,
        &[(Fcm, operator()), (Expo, later())],
    );
    let settled = suppress(waiting(&first).1, overtaken(), now());
    let letter = dead_letter(&settled);
    assert_eq!(letter.progress.given_up.len(), 1);
    assert!(letter.is_given_up());
}

#[test]
fn what_is_put_off_comes_back_as_it_was() {
    let until = now() + TimeDelta::hours(2);
    let settled = put_off(&job(86_400), until, now());
    let Next::Later(at, next) = &settled.next else {
        panic!("{settled:?}");
    };
    assert_eq!((*at, settled.attempts), (until, 0));
    assert_eq!(
        (next.round, &next.targets),
        (2, &None),
        "devices are chosen then"
    );
    assert_eq!(settled.results.fcm, ProviderResult::Queued);
    assert_eq!(steps(&settled), [Step::QuietHours]);
    let back = play(
        next,
        &[device(1, true, false)],
        Failover,
        &[(Fcm, accepted())],
    );
    assert_eq!(done(&back), Ending::Sent);
    assert_eq!(back.timeline[0].step, Step::Devices);
    // Between two tries.
    let first = play(
        &job(86_400),
        &[device(1, true, false)],
        Failover,
        &[(Fcm, later())],
    );
    let waits = waiting(&first).1;
    let settled = put_off(waits, until, now());
    let Next::Later(_, next) = &settled.next else {
        panic!("{settled:?}");
    };
    assert_eq!((&next.targets, settled.attempts), (&waits.targets, 1));
    // Nobody is to take that wait for ours, however often it is tried afterwards.
    assert!(next.progress.put_off && !waits.progress.put_off);
    let again = play(next, &[device(1, true, false)], Failover, &[(Fcm, later())]);
    let sent = Job::decode(&waiting(&again).1.encode()).unwrap();
    assert!(sent.progress.put_off);
}

#[test]
fn only_the_newest_of_its_key_is_delivered() {
    let (job, other) = (job(60), NotificationId::generate());
    let (id, none) = (job.notification.id, MandatoryTypes::default());
    let judged = |newest, push_enabled| {
        let preferences = Preferences {
            push_enabled,
            ..Preferences::default()
        };
        judge(&job, newest, &preferences, &none, now())
    };
    assert_eq!(judged(None, true), Verdict::Deliver);
    assert_eq!(judged(Some(id), true), Verdict::Deliver);
    let by = Verdict::Suppress(Suppression::Superseded { by: other });
    assert_eq!(judged(Some(other), true), by);
    let unwanted = Verdict::Suppress(Suppression::OptedOut(OptedOut::Everything));
    assert_eq!(judged(Some(id), false), unwanted);
    assert_eq!(judged(Some(other), false), by, "whatever is wanted");
}

#[test]
fn what_is_past_its_time_is_not_looked_at_further_unless_somebody_was_asked() {
    let unwanted = Preferences {
        push_enabled: false,
        ..Preferences::default()
    };
    let late = now() + TimeDelta::seconds(60);
    let judged = |job: &Job, newest, preferences: &Preferences| {
        judge(job, newest, preferences, &MandatoryTypes::default(), late)
    };
    let (fresh, everything) = (job(60), Preferences::default());
    let expired = Verdict::Suppress(Suppression::Expired);
    assert_eq!(judged(&fresh, None, &everything), expired);
    assert_eq!(
        judged(&fresh, None, &unwanted),
        expired,
        "in time or not at all"
    );
    let by = NotificationId::generate();
    let overtaken = Verdict::Suppress(Suppression::Superseded { by });
    assert_eq!(judged(&fresh, Some(by), &everything), overtaken);
    let settled = suppress(&fresh, Suppression::Expired, late);
    assert_eq!(done(&settled), Ending::Suppressed(Reason::Expired));
    assert_eq!(steps(&settled), [Step::Expired, Step::Settled]);
    // Put back for its lane only: still nobody was asked.
    let planned = reach(Failover)
        .plan(&fresh, &[device(1, true, false)])
        .remove(0);
    let back = put_back(Barrier::Paused, vec![], Fcm);
    let settled = settle(&fresh, &[report(planned, back)], &Ladder::default(), now());
    assert_eq!(judged(waiting(&settled).1, None, &everything), expired);
    // Each of these may have been sent: its targets say what comes of that.
    let tried = play(
        &fresh,
        &[device(1, true, false)],
        Failover,
        &[(Fcm, later())],
    );
    let mut interrupted = fresh.clone();
    interrupted.interrupted = true;
    for touched in [waiting(&tried).1, &interrupted] {
        assert_eq!(judged(touched, None, &everything), Verdict::Deliver);
    }
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let pause = prop_oneof![
        (0_u64..4_000).prop_map(|seconds| Pause::Asked(Duration::from_secs(seconds))),
        (0_u64..120).prop_map(|seconds| Pause::AtLeast(Duration::from_secs(seconds))),
    ];
    let sent = prop_oneof![Just(Sent::SurelyNot), Just(Sent::Maybe)];
    prop_oneof![
        Just(accepted()),
        Just(dead()),
        Just(refused()),
        Just(operator()),
        (pause, sent).prop_map(|(pause, sent)| retry(pause, sent)),
    ]
}

proptest! {
    /// Whatever providers answer: it ends within the tries; nothing that accepted is asked again;
    /// no other provider is asked after a maybe; each wait is as long as asked or the last rung.
    #[test]
    fn every_life_ends_and_keeps_the_promises(
        both in any::<bool>(),
        tokens in prop::collection::vec(prop_oneof![Just((true, true)), Just((true, false)), Just((false, true))], 0..4),
        answers in prop::collection::vec((any_outcome(), any_outcome()), 12),
        ttl in 1_i64..20_000,
    ) {
        let policy = if both { Both } else { Failover };
        let devices: Vec<_> =
            tokens.iter().enumerate().map(|(n, (fcm, expo))| device(n as u64 + 1, *fcm, *expo)).collect();
        let mut job = job(ttl);
        let (mut accepted_by, mut asked) = (Vec::new(), Vec::new());
        let mut maybe_by: Vec<(RegistrationId, Provider)> = Vec::new();
        for (round, (fcm, expo)) in answers.into_iter().enumerate() {
            let settled = play(&job, &devices, policy, &[(Fcm, fcm), (Expo, expo)]);
            prop_assert_eq!(settled.round as usize, round + 1);
            for delivery in &settled.deliveries {
                let target = (delivery.registration, delivery.token.provider());
                prop_assert!(!accepted_by.contains(&target), "asked again after it accepted");
                asked.push(target);
                if policy == Failover {
                    let other = maybe_by.iter().any(|(registration, provider)| *registration == target.0 && *provider != target.1);
                    prop_assert!(!other, "another provider after a maybe");
                }
                if delivery.outcome == DeliveryOutcome::Accepted {
                    accepted_by.push(target);
                }
                if delivery.sent == Sent::Maybe {
                    maybe_by.push(target);
                }
            }
            match settled.next {
                Next::Wait(rung, next) => {
                    prop_assert!(now() + rung.as_duration() < next.notification.expires_at);
                    prop_assert!(!next.is_given_up());
                    job = *next;
                }
                Next::DeadLetter(letter) => {
                    prop_assert!(!letter.progress.given_up.is_empty());
                    for given_up in &letter.progress.given_up {
                        let target = (given_up.registration, given_up.provider);
                        prop_assert!(asked.contains(&target), "given up for who was never asked");
                    }
                    return Ok(());
                }
                Next::Done(ending) => {
                    prop_assert_eq!(ending == Ending::Sent, !accepted_by.is_empty());
                    return Ok(());
                }
                Next::Later(..) => prop_assert!(false, "nobody put it off"),
            }
        }
        prop_assert!(false, "it never ended");
    }
}
