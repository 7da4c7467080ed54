//! Dead letters: stored with their reason, sent to the sink with Knative's attributes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tests::harness::{Answer, BrokerManifest, BrokerProcess, Home, Sample, Subscriber, TriggerManifest, eventually};

use super::{accepted, start};

async fn dead_letters(broker: &BrokerProcess, count: usize) -> Vec<serde_json::Value> {
    eventually(&format!("{count} dead letters"), || async {
        let list = broker.cli().run(&["dlq", "ls", "-o", "json"]).await;
        assert_eq!(list.code, 0, "{}", list.stderr);
        list.json()["items"].as_array().filter(|items| items.len() >= count).cloned()
    })
    .await
}

#[tokio::test]
async fn an_answer_that_is_not_retried_makes_a_dead_letter_at_once() {
    let home = Home::new();
    let sink = Subscriber::start().await;
    let subscriber = Subscriber::scripted(|_| Answer::code(400).body("no such customer")).await;
    let delivery = format!("retry: 5, deadLetterSink: {{uri: \"{}\"}}", sink.url());
    home.trigger(&TriggerManifest::new("orders", &subscriber.url()).delivery(&delivery));
    let broker = start(&home).await;
    let sample = Sample::new("a").attribute("subject", "s");
    accepted(broker.publisher("default").binary(&sample).await);

    let received = sink.wait_for(1).await;
    let letter = &received[0];
    assert_eq!((letter.id(), letter.header("ce-subject"), &letter.body), ("a", "s", &sample.data));
    assert_eq!(letter.header("ce-knativeerrordest"), subscriber.url());
    assert_eq!(letter.header("ce-knativeerrorcode"), "400");
    assert_eq!(letter.header("ce-knativeerrordata"), STANDARD.encode("no such customer"));
    assert!(!letter.headers.contains_key("prefer"), "a sink is not asked for a reply");

    let letters = dead_letters(&broker, 1).await;
    assert_eq!(letters[0]["trigger"], "default/orders");
    assert_eq!((&letters[0]["code"], &letters[0]["attempts"]), (&400.into(), &1.into()));
    assert_eq!(letters[0]["event"]["id"], "a");
    assert!(letters[0]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{}", letters[0]);
    assert_eq!(letters[0]["event"].get("knativeerrordest"), None, "the event is shown as it was published");
    broker.settled("orders").await;
    assert_eq!(subscriber.received().len(), 1);
}

#[tokio::test]
async fn retries_are_counted_and_then_given_up() {
    let home = Home::new();
    let sink = Subscriber::scripted(|received| Answer::code(if received.earlier == 0 { 500 } else { 200 })).await;
    home.broker(&BrokerManifest::new("default").delivery(&format!("deadLetterSink: {{uri: \"{}\"}}", sink.url())));
    let subscriber = Subscriber::scripted(|_| Answer::code(500)).await;
    let delivery = "retry: 2, backoffPolicy: linear, backoffDelay: PT0.02S";
    home.trigger(&TriggerManifest::new("failing", &subscriber.url()).delivery(delivery));
    home.trigger(&TriggerManifest::new("absent", "http://127.0.0.1:1/").delivery(delivery));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);

    // The first letter is refused once.
    sink.wait_for(3).await;
    let mut letters: Vec<(String, String)> = sink
        .received()
        .iter()
        .filter(|letter| letter.answered == 200)
        .map(|letter| {
            (letter.header("ce-knativeerrordest").to_owned(), letter.header("ce-knativeerrorcode").to_owned())
        })
        .collect();
    letters.sort();
    assert!(letters.iter().all(|(_, code)| code == "500"), "{letters:?}");
    assert_eq!(subscriber.received().len(), 3);

    let mut rows: Vec<_> = dead_letters(&broker, 2)
        .await
        .iter()
        .map(|row| (row["trigger"].as_str().unwrap().to_owned(), row["attempts"].clone(), row["code"].clone()))
        .collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        rows,
        [
            ("default/absent".to_owned(), 3.into(), serde_json::Value::Null),
            ("default/failing".to_owned(), 3.into(), 500.into())
        ]
    );
}

#[tokio::test]
async fn an_address_that_cannot_work_makes_dead_letters_and_blocks_nobody() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    home.trigger(&TriggerManifest::new("bad", "bad://uri"));
    home.trigger(&TriggerManifest::new("good", &subscriber.url()));
    let broker = start(&home).await;
    accepted(broker.publisher("default").binary(&Sample::new("a")).await);
    subscriber.wait_for(1).await;
    assert_eq!(dead_letters(&broker, 1).await[0]["trigger"], "default/bad");
}

#[tokio::test]
async fn dead_letters_outlive_a_restart() {
    let home = Home::new();
    let subscriber = Subscriber::scripted(|_| Answer::code(410)).await;
    home.trigger(&TriggerManifest::new("gone", &subscriber.url()));
    let broker = start(&home).await;
    broker.publisher("default").series("n", 3).await;
    let before = dead_letters(&broker, 3).await;
    assert!(broker.sigterm().await.success());
    let broker = start(&home).await;
    assert_eq!(dead_letters(&broker, 3).await, before);
    broker.settled("gone").await;
    assert_eq!(subscriber.received().len(), 3);
}
