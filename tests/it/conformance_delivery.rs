//! What Knative demands of delivery (DP-D), where no other test has it.

use std::time::Duration;

use tests::harness::{Answer, BrokerManifest, BrokerProcess, Home, Sample, Subscriber, TriggerManifest, eventually};

use super::{accepted, start};

const QUICK: &str = "retry: 3, backoffPolicy: linear, backoffDelay: PT0.01S";

/// A Trigger per code, whose subscriber always answers with it.
async fn answering(home: &Home, codes: &[u16], delivery: &str) -> (BrokerProcess, Vec<Subscriber>) {
    let mut subscribers = Vec::new();
    for code in codes {
        let code = *code;
        let subscriber = Subscriber::scripted(move |_| Answer::code(code)).await;
        home.trigger(&TriggerManifest::new(&format!("t-{code}"), &subscriber.url()).delivery(delivery));
        subscribers.push(subscriber);
    }
    let broker = start(home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    for code in codes {
        broker.settled(&format!("t-{code}")).await;
    }
    (broker, subscribers)
}

/// That each subscriber was asked `attempts` times, and each Trigger has `letters` dead letters.
async fn each(codes: &[u16], attempts: usize, letters: u64) {
    let home = Home::new();
    let (broker, subscribers) = answering(&home, codes, QUICK).await;
    for (code, subscriber) in codes.iter().zip(&subscribers) {
        let item = broker.trigger(&format!("t-{code}")).await.unwrap();
        assert_eq!((subscriber.received().len(), item.dead_letters), (attempts, letters), "{code}");
    }
}

#[tokio::test]
async fn l3_the_format_asked_for_is_the_mode_of_delivery() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    for (name, delivery) in [("plain", "retry: 0"), ("json", "format: json"), ("binary", "format: binary")] {
        home.trigger(&TriggerManifest::new(name, &format!("{}{name}", subscriber.url())).delivery(delivery));
    }
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    accepted(publisher.structured(&Sample::new("s")).await);
    accepted(publisher.binary(&Sample::new("b")).await);
    for one in subscriber.wait_for(6).await {
        let structured = one.header("content-type").starts_with("application/cloudevents+json");
        assert_eq!(structured, one.path == "/json", "{one:?}");
        assert_eq!(one.header("ce-specversion").is_empty(), structured, "one mode, not both");
    }
}

#[tokio::test]
async fn l5_every_2xx_is_a_delivery() {
    each(&[200, 201, 202, 204, 299], 1, 0).await;
}

#[tokio::test]
async fn l6_a_refusal_goes_straight_to_the_dead_letters() {
    each(&[400, 401, 403, 405, 410, 413, 422, 425], 1, 1).await;
}

#[tokio::test]
async fn l7_l9_what_may_pass_is_retried_as_often_as_asked() {
    each(&[404, 408, 409, 429, 500, 502, 503, 599, 600, 999], 4, 1).await;
    // Nobody there, and nobody who answers.
    let home = Home::new();
    let hung = Subscriber::scripted(|_| Answer::code(200).after(Duration::from_secs(3600))).await;
    home.trigger(&TriggerManifest::new("absent", "http://127.0.0.1:1/").delivery(QUICK));
    home.trigger(&TriggerManifest::new("hung", &hung.url()).delivery(&format!("{QUICK}, timeout: PT0.1S")));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    for name in ["absent", "hung"] {
        let what = format!("the dead letter of {name}");
        eventually(&what, || async { broker.trigger(name).await.filter(|item| item.dead_letters == 1) }).await;
    }
    assert_eq!(hung.received().len(), 4);
}

#[tokio::test]
async fn l8_a_redirect_is_an_error_that_is_not_retried() {
    each(&[301, 302, 303, 307, 308], 1, 1).await;
}

#[tokio::test]
async fn l10_the_last_retry_counts() {
    for (failures, letters) in [(3, 0), (4, 1)] {
        let home = Home::new();
        let dead = Subscriber::start().await;
        let flaky = Subscriber::scripted(move |r| Answer::code(if r.earlier < failures { 500 } else { 200 })).await;
        let delivery = format!("{QUICK}, deadLetterSink: {{uri: \"{}\"}}", dead.url());
        home.trigger(&TriggerManifest::new("t", &flaky.url()).delivery(&delivery));
        let broker = start(&home).await;
        accepted(broker.publisher("default").binary(&Sample::new("a")).await);
        broker.settled("t").await;
        assert_eq!((flaky.received().len(), dead.wait_for(letters).await.len()), (4, letters));
    }
}

#[tokio::test]
async fn l11_l12_l13_the_triggers_delivery_counts_before_the_brokers_and_none_is_one_attempt() {
    for (brokers, triggers, attempts) in [
        (Some("retry: 1"), Some("retry: 3"), 4),
        (Some("retry: 2"), None, 3),
        (Some("retry: 2"), Some("timeout: PT5S"), 1),
        (Some("timeout: PT5S"), None, 1),
    ] {
        let home = Home::new();
        if let Some(delivery) = brokers {
            home.broker(&BrokerManifest::new("default").delivery(delivery));
        }
        let refusing = Subscriber::scripted(|_| Answer::code(500)).await;
        let mut trigger = TriggerManifest::new("t", &refusing.url());
        if let Some(delivery) = triggers {
            trigger = trigger.delivery(delivery);
        }
        home.trigger(&trigger);
        let broker = start(&home).await;
        accepted(broker.publisher("default").binary(&Sample::new("a")).await);
        broker.settled("t").await;
        let letters = broker.trigger("t").await.unwrap().dead_letters;
        assert_eq!((refusing.received().len(), letters), (attempts, 1), "{brokers:?} {triggers:?}");
    }
}

#[tokio::test]
async fn l14_l15_linear_waits_grow_by_the_delay_and_a_timeout_cuts_an_attempt() {
    let home = Home::new();
    let slow = Subscriber::scripted(|_| Answer::code(200).after(Duration::from_secs(3600))).await;
    let refusing = Subscriber::scripted(|_| Answer::code(500)).await;
    let linear = "retry: 3, backoffPolicy: linear, backoffDelay: PT0.1S";
    home.trigger(&TriggerManifest::new("linear", &refusing.url()).delivery(linear));
    home.trigger(&TriggerManifest::new("slow", &slow.url()).delivery(&format!("{linear}, timeout: PT1S")));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    let received = refusing.wait_for(4).await;
    for (pair, wait_ms) in received.windows(2).zip([100, 200, 300]) {
        let waited = pair[1].at - pair[0].at;
        // Jitter takes at most a tenth.
        assert!(waited >= Duration::from_millis(wait_ms * 9 / 10), "{waited:?}, not {wait_ms} ms, before a retry");
    }
    let received = slow.wait_for(2).await;
    let waited = received[1].at - received[0].at;
    // Sooner than the subscriber would have answered; how much later depends on the machine.
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(3600), "{waited:?}");
}

#[tokio::test]
async fn l16_retry_after_is_obeyed_up_to_its_limit() {
    let home = Home::new();
    let busy = Subscriber::scripted(|r| match r.earlier {
        0 => Answer::code(429).header("retry-after", if r.path == "/obeyed" { "2" } else { "3600" }),
        _ => Answer::code(200),
    });
    let busy = busy.await;
    for (name, limit) in [("obeyed", "PT5S"), ("limited", "PT0S")] {
        // Counted apart: the subscriber counts by id.
        let filter = format!("[{{exact: {{type: {name}}}}}]");
        home.trigger(
            &TriggerManifest::new(name, &format!("{}{name}", busy.url()))
                .filters(&filter)
                .delivery(&format!("{QUICK}, retryAfterMax: {limit}")),
        );
    }
    let broker = start(&home).await;
    for name in ["obeyed", "limited"] {
        accepted(broker.publisher("default").binary(&Sample::new(name).ty(name)).await);
    }
    let received = busy.wait_for(4).await;
    let times: Vec<_> = received.iter().filter(|one| one.path == "/obeyed").map(|one| one.at).collect();
    assert!(times[1] - times[0] >= Duration::from_secs(2));
    broker.settled("limited").await;
}

#[tokio::test]
async fn l17_a_subscriber_that_drops_the_first_five_or_by_fibonacci_gets_all() {
    let home = Home::new();
    let first_five = Subscriber::scripted(|r| Answer::code(if r.earlier < 5 { 503 } else { 200 })).await;
    let requests = std::sync::atomic::AtomicUsize::new(0);
    let fibonacci = Subscriber::scripted(move |_| {
        let number = requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        let (mut one, mut two) = (1, 2);
        while one < number {
            (one, two) = (two, one + two);
        }
        if one == number { Answer::drop_connection() } else { Answer::code(200) }
    })
    .await;
    let delivery = "retry: 5, backoffPolicy: linear, backoffDelay: PT0.05S";
    for (name, subscriber) in [("five", &first_five), ("fibonacci", &fibonacci)] {
        home.trigger(&TriggerManifest::new(name, &subscriber.url()).delivery(delivery));
    }
    let broker = start(&home).await;
    broker.publisher("default").series("n", 20).await;
    for (name, subscriber) in [("five", &first_five), ("fibonacci", &fibonacci)] {
        broker.settled(name).await;
        assert_eq!(broker.trigger(name).await.unwrap().dead_letters, 0, "{name}");
        let taken: std::collections::BTreeSet<_> =
            subscriber.received().iter().filter(|one| one.answered == 200).map(|one| one.id().to_owned()).collect();
        assert_eq!(taken.len(), 20, "{name}");
    }
}

#[tokio::test]
async fn l20_l21_each_trigger_delivers_once_also_to_one_subscriber() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    for name in ["a", "b", "c"] {
        home.trigger(&TriggerManifest::new(name, &subscriber.url()));
    }
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("x")).await);
    for name in ["a", "b", "c"] {
        broker.settled(name).await;
    }
    assert_eq!(subscriber.ids(), ["x"; 3]);
}
