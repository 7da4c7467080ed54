use proptest::prelude::*;
use serde_json::Value;

use super::tests::{broker, trigger, with};
use super::*;

/// Any JSON at all.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![Just("PT5S"), Just("http://h/"), Just("default"), Just("#5"), Just("linear")].prop_map(Value::from),
    ];
    let name = prop_oneof![
        prop::sample::select(vec![
            "exact",
            "prefix",
            "all",
            "any",
            "not",
            "cesql",
            "sql",
            "ref",
            "uri",
            "name",
            "kind",
            "apiVersion",
            "retry",
            "attributes",
            "deadLetterSink",
            "namespace",
            "timeout",
            "annotations",
            "reveille.dev/start",
            "CACerts",
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics_and_only_sound_objects_parse(
        value in any_json(),
        place in prop::sample::select(vec![
            "/spec", "/metadata", "/metadata/annotations", "/spec/filter", "/spec/filters", "/spec/subscriber",
            "/spec/delivery", "/spec/brokerRef", "/spec/config", "/apiVersion", "/spec/broker",
        ]),
        of_broker in any::<bool>(),
    ) {
        let object = with(if of_broker { broker() } else { trigger() }, place, value.clone());
        for object in [&object, &value] {
            prop_assert_eq!(validate_trigger(object).is_empty(), parse_trigger(object).is_ok());
            prop_assert_eq!(validate_broker(object).is_empty(), parse_broker(object).is_ok());
            prop_assert!(validate_trigger(object).len() <= FAULTS_MAX);
        }
        let _ = (is_foreign(&value), validate_update(&value, &object));
    }

    #[test]
    fn texts_never_panic(text in ".{0,80}") {
        let _ = crate::duration::parse(&text);
        let _ = crate::quantity::parse_bytes(&text);
        for annotation in crate::annotations::ALL {
            let _ = (annotation.check)(&text);
        }
    }
}
