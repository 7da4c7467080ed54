//! What can be seen from outside: health, metrics, logs without payloads, trace context.

use tests::harness::{Answer, Home, Sample, Subscriber, TriggerManifest, eventually, http_client};

use super::{accepted, start};

#[tokio::test]
async fn metrics_tell_what_happened() {
    let home = Home::new();
    let (good, bad) = (Subscriber::start().await, Subscriber::scripted(|_| Answer::code(500)).await);
    home.trigger(&TriggerManifest::new("good", &good.url()));
    home.trigger(
        &TriggerManifest::new("bad", &bad.url()).delivery("retry: 1, backoffPolicy: linear, backoffDelay: PT0.01S"),
    );
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    publisher.series("n", 10).await;
    let refused = publisher.send(publisher.request().body("no event")).await.unwrap();
    assert_eq!(refused.code, 400);
    broker.settled("good").await;
    broker.settled("bad").await;
    for (name, value) in [
        ("reveille_ingest_events_total", 10.0),
        ("reveille_ingest_answers_total", 11.0),
        ("reveille_ingest_duration_seconds_count", 11.0),
        ("reveille_delivery_attempts_total", 30.0),
        ("reveille_delivery_duration_seconds_count", 30.0),
        ("reveille_delivery_retries_total", 10.0),
        ("reveille_dead_letters_total", 10.0),
        ("reveille_settled_events_total", 20.0),
        ("reveille_delivery_in_flight", 0.0),
        ("reveille_window_events", 0.0),
        ("reveille_ingest_in_flight_bytes", 0.0),
    ] {
        eventually(&format!("{name} to be {value}"), || async {
            let text = broker.metrics().await;
            assert!(text.lines().any(|line| line.starts_with(name)), "{name} is not there: {text}");
            (broker.metric(name).await == value).then_some(())
        })
        .await;
    }
    for above_zero in [
        "reveille_log_fsync_duration_seconds_count",
        "reveille_log_append_group_records_sum",
        "reveille_log_size_bytes",
    ] {
        assert!(broker.metric(above_zero).await > 0.0, "{above_zero}");
    }
    eventually("no lag", || async { (broker.metric("reveille_lag_events").await == 0.0).then_some(()) }).await;
}

#[tokio::test]
async fn lag_is_seen_while_a_subscriber_is_down() {
    let home = Home::new();
    home.trigger(
        &TriggerManifest::new("down", "http://127.0.0.1:1/")
            .delivery("retry: 9, backoffPolicy: linear, backoffDelay: PT60S"),
    );
    let broker = start(&home).await;
    broker.publisher("default").series("n", 7).await;
    for (name, least) in
        [("reveille_lag_events", 7.0), ("reveille_lag_bytes", 100.0), ("reveille_oldest_undelivered_seconds", 0.001)]
    {
        eventually(&format!("{name} of {least}"), || async { (broker.metric(name).await >= least).then_some(()) })
            .await;
    }
}

#[tokio::test]
async fn lag_is_one_number_and_what_came_before_a_trigger_was_not_delivered_to_it() {
    let home = Home::new();
    // Takes all but the first, which it is going to be asked about for a long time.
    let subscriber = Subscriber::scripted(|r| Answer::code(if r.id() == "n-0" { 503 } else { 204 })).await;
    home.trigger(
        &TriggerManifest::new("early", &subscriber.url())
            .delivery("retry: 9, backoffPolicy: linear, backoffDelay: PT60S"),
    );
    let broker = start(&home).await;
    broker.publisher("default").series("n", 50).await;
    let item = eventually("only the first event to be left", || async {
        broker.trigger("early").await.filter(|item| item.retrying == 1 && item.lag.events == 1)
    })
    .await;
    assert_eq!(broker.metric("reveille_lag_events").await, item.lag.events as f64);

    let late = TriggerManifest::new("late", &subscriber.url()).annotation("reveille.dev/start", "latest");
    home.trigger(&late);
    let begun = || async { broker.metrics().await.contains("trigger=\"late\"").then_some(()) };
    eventually("the late Trigger to begin", begun).await;
    accepted(broker.publisher("default").binary(&Sample::new("after")).await);
    broker.settled("late").await;
    let states = |which: &'static str| {
        let broker = &broker;
        async move {
            let path = format!("/api/v1/brokers/default/default/events/{which}");
            let detail: schemas::admin::EventDetail = broker.admin(&path).await;
            let states = detail.deliveries.iter().map(|one| (one.trigger.clone(), one.state.as_str()));
            states.collect::<std::collections::BTreeMap<_, _>>()
        }
    };
    let row = |early, late| [("default/early".to_owned(), early), ("default/late".to_owned(), late)].into();
    assert_eq!(states("n-0").await, row("retrying", "filtered"));
    assert_eq!(states("n-7").await, row("delivered", "filtered"));
    assert_eq!(states("after").await, row("delivered", "delivered"));
}

#[tokio::test]
async fn health_answers_and_logs_hold_no_payload() {
    let home = Home::new();
    let subscriber = Subscriber::scripted(|_| Answer::code(400).body("a secret of the subscriber")).await;
    home.trigger(&TriggerManifest::new("orders", &subscriber.url()));
    let broker = start(&home).await;
    for path in ["live", "ready"] {
        let answer = http_client().get(format!("http://{}/{path}", broker.addresses().health)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    accepted(
        broker.publisher("default").binary(&Sample::new("a").data("text/plain", "a secret of the publisher")).await,
    );
    broker.settled("orders").await;
    assert!(!broker.stderr().contains("a secret"), "payloads are in the log");
}

#[tokio::test]
async fn o2_trace_context_is_carried_on_to_deliveries_and_replies() {
    let home = Home::new();
    let subscriber = Subscriber::scripted(|received| {
        let reply = Answer::code(200).header("ce-specversion", "1.0").header("ce-id", "reply");
        let reply = reply.header("ce-source", "/r").header("ce-type", "reply");
        // As a subscriber does that takes part in the trace.
        reply.header("ce-traceparent", received.header("traceparent"))
    })
    .await;
    let replied = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("orders", &subscriber.url()).attributes("type: t"));
    home.trigger(&TriggerManifest::new("replied", &replied.url()).attributes("type: reply"));
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let request = publisher.request().header("traceparent", format!("00-{trace}-{span}-01"));
    let request =
        request.header("ce-specversion", "1.0").header("ce-id", "1").header("ce-source", "/s").header("ce-type", "t");
    accepted(publisher.send(request).await);
    let parents =
        [&subscriber.wait_for(1).await[0], &replied.wait_for(1).await[0]].map(|r| r.header("traceparent").to_owned());
    for parent in &parents {
        assert!(parent.contains(trace) && !parent.contains(span), "another trace, or the publisher's span: {parent:?}");
    }
    assert_ne!(parents[0], parents[1], "each attempt is a span of its own");
}
