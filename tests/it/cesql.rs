//! CESQL filters: a Trigger gets exactly its events; one whose expression is wrong is refused where it is made.

use tests::harness::{Home, Sample, Subscriber, TriggerManifest, eventually};

use super::{accepted, start};

/// F5: five dialects of which any suffices, one for each event but the last.
const FIVE: &str = "[{any: [{exact: {size: '6'}}, {prefix: {subject: /shop/us}}, {suffix: {size: any}}, \
                    {all: [{exact: {subject: /eu/}}]}, {not: {cesql: \"subject LIKE '/%' AND subject != '/eu/x'\"}}]}]";

#[tokio::test]
async fn f4_f5_f13_a_trigger_with_an_expression_gets_exactly_its_events() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    for (name, filters) in [
        ("typed", r#"[{cesql: "type = 'order.created' AND size > 5"}]"#),
        ("like", r#"[{sql: "NOT EXISTS subject OR subject LIKE '%/eu/_%'"}]"#),
        ("nested", r#"[{any: [{exact: {type: order.deleted}}, {not: {cesql: "EXISTS size"}}]}, {cesql: "id != 'e'"}]"#),
        ("failing", r#"[{cesql: "NOT (INT(size) = 7)"}]"#),
        ("missing", r#"[{cesql: "NOT (nothing = 'x')"}]"#),
        ("five", FIVE),
    ] {
        let trigger = TriggerManifest::new(name, &format!("{}{name}", subscriber.url()));
        home.trigger(&trigger.filters(filters));
    }
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    for (id, ty, size, subject) in [
        ("a", "order.created", Some("6"), Some("/shop/eu/1")),
        ("b", "order.created", Some("5"), Some("/shop/us/1")),
        ("c", "order.deleted", Some("many"), None),
        ("d", "order.created", None, Some("/eu/")),
        ("e", "order.deleted", None, Some("/eu/x")),
        ("f", "f", Some("1"), Some("/f")),
    ] {
        let mut sample = Sample::new(id).ty(ty);
        for (name, value) in [("size", size), ("subject", subject)] {
            sample = value.into_iter().fold(sample, |sample, value| sample.attribute(name, value));
        }
        accepted(publisher.binary(&sample).await);
    }
    for name in ["typed", "like", "nested", "failing", "missing", "five"] {
        broker.settled(name).await;
    }
    for (name, expected) in [
        ("typed", vec!["a"]),
        ("like", vec!["a", "c", "e"]),
        ("nested", vec!["c", "d"]),
        ("failing", vec!["a", "b", "f"]),
        ("missing", vec![]),
        ("five", vec!["a", "b", "c", "d", "e"]),
    ] {
        let requests = subscriber.received();
        let mut ids: Vec<&str> = requests.iter().filter(|r| r.path == format!("/{name}")).map(|r| r.id()).collect();
        ids.sort_unstable();
        assert_eq!(ids, expected, "{name}");
    }
}

#[tokio::test]
async fn a_wrong_expression_is_refused_with_a_caret_under_it() {
    let home = Home::new();
    let subscriber = Subscriber::start().await;
    let wrong = TriggerManifest::new("wrong", &subscriber.url());
    home.manifest("wrong.yaml", &wrong.clone().filters(r#"[{not: {cesql: "type == 'a'"}}]"#).yaml());
    home.trigger(&TriggerManifest::new("good", &subscriber.url()));
    let broker = start(&home).await;
    assert!(broker.trigger("wrong").await.is_none());
    let stderr = broker.stderr();
    let line =
        stderr.lines().position(|line| line.contains("spec.filters[0].not.cesql") && line.contains("wrong.yaml"));
    let lines: Vec<&str> = stderr.lines().skip(line.unwrap_or_else(|| panic!("{stderr}"))).take(3).collect();
    let caret = lines[1].find("== 'a'").map(|at| at + 1);
    assert_eq!((lines[2].find('^'), lines[2].trim()), (caret, "^"), "{stderr}");

    home.manifest("wrong.yaml", &wrong.filters(r#"[{not: {cesql: "type = 'a'"}}]"#).yaml());
    eventually("the mended Trigger", || async { broker.trigger("wrong").await }).await;
}

#[tokio::test]
async fn events_and_tail_show_what_an_expression_selects() {
    let home = Home::new();
    let broker = start(&home).await;
    let publisher = broker.publisher("default");
    for (id, size) in [("a", "7"), ("b", "5"), ("c", "many"), ("d", "8")] {
        accepted(publisher.binary(&Sample::new(id).attribute("size", size)).await);
    }
    let cli = broker.cli();
    for verb in [&["events", "ls"][..], &["tail", "--from", "#0", "--limit", "2"]] {
        let shown = cli.run(&[verb, &["--cesql", "size > 5 AND EXISTS type", "-o", "ndjson"]].concat()).await;
        let items = shown.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let ids: Vec<String> = items.map(|item| item["event"]["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids, ["a", "d"], "{verb:?}: {shown:?}");
    }
    let refused = cli.run(&["events", "ls", "--cesql", "size >> 5"]).await;
    assert_eq!((refused.code, refused.stdout.as_str()), (2, ""), "{refused:?}");
    assert!(refused.stderr.contains("not `>`\n  size >> 5\n        ^"), "{}", refused.stderr);
}
