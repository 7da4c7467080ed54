pub(crate) mod fixture;

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::log::EventLog;
use fixture::{Fixture, START, event};

async fn ask(fixture: &Fixture, path: &str) -> (StatusCode, String, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router(fixture.parts.clone()).oneshot(request).await.unwrap();
    let status = response.status();
    let media = response.headers().get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, media, String::from_utf8(body.to_vec()).unwrap())
}

async fn json(fixture: &Fixture, path: &str) -> Value {
    let (status, _, body) = ask(fixture, path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

async fn problem(fixture: &Fixture, path: &str) -> Problem {
    let (status, media, body) = ask(fixture, path).await;
    let problem: Problem = serde_json::from_str(&body).unwrap();
    assert_eq!((status.as_u16(), media.as_str()), (problem.status, "application/problem+json"), "{path}");
    problem
}

const DEFAULT: &str = "/api/v1/brokers/default/default";

#[tokio::test]
async fn events_of_ranges_and_filters() {
    let fixture = Fixture::new().await;
    for (query, ids) in [
        ("", "0123456789"),
        ("?from=%237", "789"),
        ("?from=%232&to=%235", "234"),
        ("?from=-3", "789"),
        ("?from=-112s", "89"),
        ("?from=2023-11-14T22:13:25Z&to=2023-11-14T22:13:28Z", "567"),
        ("?limit=2", "01"),
        ("?limit=0", ""),
        ("?filter=type%3Dbill&limit=2", "13"),
        ("?filter=type%3Dbill&filter=id%3D3", "3"),
        ("?filters=[{\"any\":[{\"exact\":{\"id\":\"1\"}},{\"exact\":{\"id\":\"8\"}}]}]", "18"),
        ("?from=now", ""),
        ("?from=%23500", ""),
    ] {
        let encode = |c: char| if "[]{}\" ".contains(c) { format!("%{:02x}", u32::from(c)) } else { c.to_string() };
        let query: String = query.chars().map(encode).collect();
        let (status, media, body) = ask(&fixture, &format!("{DEFAULT}/events{query}")).await;
        assert_eq!((status, media.as_str()), (StatusCode::OK, "application/x-ndjson"), "{query}: {body}");
        let items: Vec<Value> = body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let found: String = items.iter().map(|item| item["event"]["id"].as_str().unwrap()).collect();
        assert_eq!(found, ids, "{query}");
    }
    let (_, _, body) = ask(&fixture, &format!("{DEFAULT}/events?from=%237&limit=1")).await;
    let expected = concat!(
        r#"{"offset":7,"appended":"2023-11-14T22:13:27.000000Z","event":{"specversion":"1.0","id":"7","source":"/shop","#,
        r#""type":"bill","datacontenttype":"application/json","data":{"id":"7"}}}"#,
        "\n"
    );
    assert_eq!(body, expected);
}

#[tokio::test]
async fn an_event_shows_where_it_stands_at_every_trigger() {
    let fixture = Fixture::new().await;
    for (which, bills, orders) in [
        ("%230", "filtered", "delivered"),
        ("%231", "filtered", "filtered"),
        ("%232", "filtered", "retrying"),
        ("%234", "filtered", "dead"),
        ("6", "filtered", "pending"),
        ("8", "filtered", "pending"),
        ("3", "filtered", "filtered"),
        ("5", "delivered", "filtered"),
        ("9", "asleep", "filtered"),
    ] {
        let detail = json(&fixture, &format!("{DEFAULT}/events/{which}")).await;
        let states: Vec<_> =
            detail["deliveries"].as_array().unwrap().iter().map(|d| d["state"].as_str().unwrap()).collect();
        assert_eq!(states, [bills, orders], "{which}");
    }
    let detail = json(&fixture, &format!("{DEFAULT}/events/2?source=/shop")).await;
    assert_eq!(detail["deliveries"][1]["attempts"][1]["error"], "HTTP 503");
    assert_eq!(detail["deliveries"][1]["attempts"].as_array().unwrap().len(), 2);
    for which in ["%2310", "none", "2?source=/other"] {
        let problem = problem(&fixture, &format!("{DEFAULT}/events/{which}")).await;
        assert_eq!(problem.code, ErrorCode::NotFound, "{which}");
    }
}

#[tokio::test]
async fn the_newest_event_of_an_id_is_found_far_from_the_end() {
    let fixture = Fixture::new().await;
    let many = (0..3000).map(|_| event("later", "order")).collect();
    fixture.events.append(many).await.unwrap();
    let detail = json(&fixture, &format!("{DEFAULT}/events/3")).await;
    assert_eq!(detail["offset"], 3);
    let detail = json(&fixture, &format!("{DEFAULT}/events/later")).await;
    assert_eq!(detail["offset"], 3009);
}

#[tokio::test]
async fn brokers_triggers_and_faults() {
    let fixture = Fixture::new().await;
    let brokers = json(&fixture, "/api/v1/brokers").await;
    let broker = json(&fixture, DEFAULT).await;
    assert_eq!(brokers["items"], Value::Array(vec![broker.clone()]));
    assert_eq!(
        (&broker["next_offset"], &broker["triggers"], &broker["dead_letters"]),
        (&10.into(), &2.into(), &1.into())
    );
    assert_eq!(broker["health"], "writable");
    let orders = json(&fixture, "/api/v1/triggers/default/orders").await;
    assert_eq!(orders["state"], "failing");
    assert_eq!(orders["lag"]["events"], 4);
    assert_eq!(orders["lag"]["oldest_seconds"], 118.0);
    let triggers = json(&fixture, "/api/v1/triggers?namespace=default&broker=default").await;
    let names: Vec<_> = triggers["items"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bills", "orders"]);
    assert_eq!(json(&fixture, "/api/v1/triggers?broker=other").await["items"], Value::Array(Vec::new()));
    let faults = json(&fixture, "/api/v1/faults").await;
    assert_eq!(faults["items"][0], "triggers.yaml:3: spec.broker is empty");
}

#[tokio::test]
async fn dead_letters_are_listed() {
    let fixture = Fixture::new().await;
    for (query, count) in
        [("", 1), ("?trigger=orders", 1), ("?trigger=default/orders", 1), ("?trigger=bills", 0), ("?reason=Refused", 0)]
    {
        let (_, _, body) = ask(&fixture, &format!("{DEFAULT}/dead-letters{query}")).await;
        assert_eq!(body.lines().count(), count, "{query}");
    }
    let (_, _, body) = ask(&fixture, &format!("{DEFAULT}/dead-letters")).await;
    let item: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&item["id"], &item["offset"], &item["attempts"]), (&0.into(), &4.into(), &4.into()));
    assert_eq!(item["event"]["id"], "4");
    assert_eq!(item["event"].get("reveilledltrigger"), None);
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let fixture = Fixture::new().await;
    for (path, code, text) in [
        ("/api/v1/brokers/default/other", ErrorCode::NotFound, "there is no Broker default/other"),
        ("/api/v1/brokers/default/other/events", ErrorCode::NotFound, "`reveille brokers ls`"),
        ("/api/v1/triggers/default/x", ErrorCode::NotFound, "there is no Trigger default/x"),
        ("/api/v1/brokers/default/default/events?from=x", ErrorCode::BadRequest, "`x` is no place in a log"),
        ("/api/v1/brokers/default/default/events?form=x", ErrorCode::BadRequest, "`form` is no parameter"),
        ("/api/v1/brokers/default/default/events?limit=x", ErrorCode::BadRequest, "`limit` is no number"),
        ("/api/v1/brokers/default/default/events/%23x", ErrorCode::BadRequest, "`#x` is no offset"),
        ("/api/v1/brokers/default/default/tail?to=now", ErrorCode::BadRequest, "`to` is no parameter"),
        ("/api/v1/brokers/%ff/x", ErrorCode::BadRequest, "UTF-8"),
        ("/api/v2", ErrorCode::BadPath, "/openapi.json"),
    ] {
        let problem = problem(&fixture, path).await;
        assert_eq!(problem.code, code, "{path}");
        assert!(problem.detail.contains(text), "{path}: {}", problem.detail);
    }
    let request = Request::post("/api/v1/brokers").body(Body::empty()).unwrap();
    let response = router(fixture.parts.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}

#[tokio::test]
async fn without_the_token_only_the_description_is_open() {
    let fixture = Fixture::new().await.guarded("0123456789abcdef");
    let refused = problem(&fixture, "/api/v1/brokers").await;
    assert_eq!(refused.code, ErrorCode::Unauthorized);
    assert_eq!(ask(&fixture, "/openapi.json").await.0, StatusCode::OK);
    let request = Request::get("/api/v1/brokers").header("authorization", "Bearer 0123456789abcdef");
    let request = request.body(Body::empty()).unwrap();
    assert_eq!(router(fixture.parts.clone()).oneshot(request).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_tail_follows_shows_life_and_ends() {
    let fixture = Fixture::new().await;
    let request = Request::get(format!("{DEFAULT}/tail?from=-1&filter=type%3Dbill")).body(Body::empty()).unwrap();
    let response = router(fixture.parts.clone()).oneshot(request).await.unwrap();
    let mut chunks = response.into_body().into_data_stream();
    let mut next = async || chunks.next().await.map(|chunk| String::from_utf8(chunk.unwrap().to_vec()).unwrap());
    assert!(next().await.unwrap().contains("\"id\":\"9\""));
    assert_eq!(next().await.unwrap(), "\n");
    fixture.micros.store(START.0 + 200_000_000, Ordering::Release);
    fixture.events.append(vec![event("a", "order"), event("b", "bill")]).await.unwrap();
    let line = next().await.unwrap();
    assert!(line.contains("\"offset\":11") && !line.contains("\"offset\":10"), "{line}");
    fixture.parts.stop.cancel();
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn the_description_has_every_route_and_parameter() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let described: Vec<_> = paths.keys().map(String::as_str).collect();
    let mut routes: Vec<_> = ROUTES.iter().map(|(path, _)| *path).collect();
    routes.sort_unstable();
    assert_eq!(described, routes);
    let fixture = Fixture::new().await;
    for (path, item) in paths {
        let names = item["get"]["parameters"].as_array().unwrap();
        let of = |place: &str| -> Vec<&str> {
            let here = names.iter().filter(|p| p["in"] == place);
            here.map(|p| p["name"].as_str().unwrap()).collect()
        };
        for name in of("path") {
            assert!(path.contains(&format!("{{{name}}}")), "{path} {name}");
        }
        // A parameter that the route does not know is refused with the list of those it does.
        let asked = path.replace("{namespace}", "default").replace("{which}", "9");
        let asked = asked.replace("{name}", if path.contains("triggers") { "orders" } else { "default" });
        let detail = problem(&fixture, &format!("{asked}?nonsense=1")).await.detail;
        let mut known: Vec<_> =
            detail.split_once("there are ").map_or(Vec::new(), |(_, list)| list.split(", ").collect());
        let mut described = of("query");
        known.sort_unstable();
        described.sort_unstable();
        assert_eq!(known, described, "{path}");
    }
    let answer = json(&fixture, "/api/v1/triggers/default/orders").await;
    let schema = &document["components"]["schemas"]["Trigger"]["properties"];
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&answer), keys(schema));
}
