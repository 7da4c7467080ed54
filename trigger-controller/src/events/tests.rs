use serde_json::json;

use super::*;
use crate::status::Finding;
use crate::world::Kind;

fn told(status: &serde_json::Value, findings: Vec<Finding>) -> Vec<String> {
    let object = json!({"metadata": {"name": "t", "namespace": "ns"}, "status": status});
    let subject = Subject::of(Kind::Trigger, &object).unwrap();
    let plan = Plan { findings, ..Plan::default() };
    notices(&subject, &plan).into_iter().map(|notice| format!("{} {}", notice.is_warning, notice.reason)).collect()
}

#[test]
fn transitions_worth_telling() {
    let ready =
        |status: &str, reason: &str| json!({"conditions": [{"type": "Ready", "status": status, "reason": reason}]});
    let fails = || vec![Finding::fails("A", "Broken", "m".into())];
    let holds = || vec![Finding::holds("A")];
    for (was, findings, expected) in [
        (json!({}), holds(), &[][..]),
        (json!({}), fails(), &["true Broken"]),
        (ready("True", ""), fails(), &["true Broken"]),
        (ready("False", "Other"), fails(), &["true Broken"]),
        (ready("False", "Broken"), fails(), &[]),
        (ready("False", "Broken"), holds(), &["false Ready"]),
        (ready("True", ""), vec![Finding::unknown("A", "Wait", "m".into())], &[]),
    ] {
        assert_eq!(told(&was, findings), expected, "{was}");
    }
}

#[test]
fn an_address_that_cannot_work_is_told_once() {
    let odd = || vec![Finding { reason: "UnsupportedScheme".into(), ..Finding::holds("SubscriberResolved") }];
    assert_eq!(told(&json!({}), odd()), ["true UnsupportedScheme"]);
    let said = json!({"conditions": [{"type": "SubscriberResolved", "reason": "UnsupportedScheme"}]});
    assert_eq!(told(&said, odd()), Vec::<String>::new());
}

#[test]
fn notes_are_cut_between_characters() {
    assert_eq!(cut("ä".repeat(600)).len(), NOTE_BYTES_MAX);
    assert_eq!(cut("short".into()), "short");
}
