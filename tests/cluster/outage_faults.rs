//! Broker and controller against an API server that answers, but badly: each fault is met by both.

use http::{Method, StatusCode};
use tests::cluster::{Cluster, Fault};
use tests::harness::{Subscriber, eventually};
use tokio::time::Instant;

use super::outage_setup::{Both, Held, Load, SILENCE_SECONDS, took_each_once};

const WATCHES: &str = "*watch=true*";
/// With a `Retry-After` where the API server gives one.
const CODES: [u16; 6] = [429, 409, 500, 503, 403, 404];

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
    // More than there are watches, so that each meets one.
    both.proxy.fail_next(20, None, WATCHES, Fault::ExpireWatch);
    met(&both, faults + 20).await;
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
    cut_watches(&both).await;
    for code in CODES {
        let (began, before) = (Instant::now(), both.proxy.faults());
        both.proxy.heal();
        both.proxy.fail(None, "*", Fault::Answer(StatusCode::from_u16(code).unwrap()));
        both.trigger(&format!("late-{code}"), &late);
        met(&both, before + 6).await;
        let (met, seconds) = (both.proxy.faults() - before, began.elapsed().as_secs());
        // Seven watches and a Lease, some of them at once.
        assert!(met < 30 + 30 * seconds, "{code}: {met} requests in {seconds} s");
    }
    both.proxy.heal();
    both.found().await;
    for code in CODES {
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
    let watches = || {
        let of = |seconds| both.proxy.seen(&Method::GET, &format!("*/triggers?*watch=true*timeoutSeconds={seconds}*"));
        SILENCE_SECONDS.map(|(_, seconds)| of(seconds))
    };
    let before = watches();
    both.proxy.fail(None, "*/triggers?*watch=true*", Fault::Stall);
    both.trigger("late", &late);
    for (index, (who, _)) in SILENCE_SECONDS.into_iter().enumerate() {
        // Once for the silence, and once more because nobody answered.
        eventually(&format!("{who} to notice the silence, twice"), || {
            std::future::ready((watches()[index] >= before[index] + 2).then_some(()))
        })
        .await;
    }
    both.proxy.heal();
    both.stage.trigger("late", "True", "").await;
    both.served("late", &late).await;
    let ids = load.end().await;
    took_each_once(&kept, &ids).await;
}
