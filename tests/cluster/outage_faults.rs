//! Broker and controller against an API server that answers, but badly: each fault is met by both.

use http::{Method, StatusCode};
use tests::cluster::{Cluster, Fault};
use tests::harness::{Subscriber, eventually};

use super::outage_setup::{Both, Held, Load, took_each_once};

const WATCHES: &str = "*watch=true*";

async fn met(both: &Both<'_>, faults: u64) {
    eventually(&format!("{faults} faults to be met"), || {
        std::future::ready((both.proxy.faults() >= faults).then_some(()))
    })
    .await;
}

/// Ends the watches that stand, so that new ones are asked for.
async fn cut_watches(both: &Both<'_>) {
    let before = both.proxy.faults();
    both.proxy.fail(None, WATCHES, Fault::Cut);
    // Two of the broker, and at least three of the controller.
    met(both, before + 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_watch_is_listed_anew_and_nothing_is_dropped() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let both = Both::start(cluster, "expired").await;
    let (kept, held, gone) = (Subscriber::start().await, Held::new().await, Subscriber::start().await);
    let late = Subscriber::start().await;
    for (name, subscriber) in [("kept", &kept), ("held", &held.subscriber), ("gone", &gone)] {
        both.trigger(name, subscriber);
        both.served(name, subscriber).await;
    }
    let load = Load::start(both.publisher());
    kept.wait_for(10).await;
    cut_watches(&both).await;
    both.stage.delete("trigger", "gone");
    both.trigger("late", &late);
    let (lists, faults) = (both.proxy.seen(&Method::GET, "*/triggers?&limit=*"), both.proxy.faults());
    both.proxy.heal();
    both.proxy.fail_next(10, None, WATCHES, Fault::ExpireWatch);
    met(&both, faults + 10).await;
    both.dropped("gone").await;
    both.served("late", &late).await;
    both.stage.trigger("late", "True", "").await;
    assert!(both.proxy.seen(&Method::GET, "*/triggers?&limit=*") >= lists + 2, "each lists anew");
    held.open();
    let ids = load.end().await;
    took_each_once(&kept, &ids).await;
    took_each_once(&held.subscriber, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_every_kind_are_waited_out_without_pressing() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let both = Both::start(cluster, "refused").await;
    let (kept, held, late) = (Subscriber::start().await, Held::new().await, Subscriber::start().await);
    for (name, subscriber) in [("kept", &kept), ("held", &held.subscriber)] {
        both.trigger(name, subscriber);
        both.served(name, subscriber).await;
    }
    let load = Load::start(both.publisher());
    for code in [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::CONFLICT,
        StatusCode::INTERNAL_SERVER_ERROR,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
    ] {
        cut_watches(&both).await;
        both.proxy.heal();
        let (began, before) = (tokio::time::Instant::now(), both.proxy.faults());
        both.proxy.fail(None, "*", Fault::Answer(code));
        both.trigger(&format!("late-{}", code.as_u16()), &late);
        met(&both, before + 8).await;
        let (met, seconds) = (both.proxy.faults() - before, began.elapsed().as_secs());
        // Seven watches and one Lease, some of them at once.
        assert!(met < 60 + 60 * seconds, "{code}: {met} requests in {seconds} s");
        both.proxy.heal();
        both.found().await;
    }
    for code in [429, 409, 500, 503, 403, 404] {
        both.stage.trigger(&format!("late-{code}"), "True", "").await;
        both.served(&format!("late-{code}"), &late).await;
    }
    held.open();
    let ids = load.end().await;
    took_each_once(&kept, &ids).await;
    took_each_once(&held.subscriber, &ids).await;
}

/// A silent watch is given up after `--api-timeout` and 5 s, a request without any answer after that and 10 s.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_watch_is_noticed_and_begun_anew() {
    let Some(cluster) = Cluster::shared_or_skip().await else { return };
    let both = Both::start(cluster, "silent").await;
    let (kept, late) = (Subscriber::start().await, Subscriber::start().await);
    both.trigger("kept", &kept);
    both.served("kept", &kept).await;
    let load = Load::start(both.publisher());
    let triggers = "*/triggers?*watch=true*";
    let watches = both.proxy.seen(&Method::GET, triggers);
    both.proxy.fail(None, triggers, Fault::Stall);
    both.trigger("late", &late);
    // Each of the two watches once for its silence, and once more because nobody answered.
    eventually("the silence to be noticed, twice by each", || {
        std::future::ready((both.proxy.seen(&Method::GET, triggers) >= watches + 4).then_some(()))
    })
    .await;
    both.proxy.heal();
    both.stage.trigger("late", "True", "").await;
    both.served("late", &late).await;
    let ids = load.end().await;
    took_each_once(&kept, &ids).await;
}
