use proptest::prelude::*;

use super::*;
use crate::event::SpecVersion;
use crate::matching::Clause;

fn event(attributes: &[(String, String)]) -> Event {
    let mut builder = Event::builder(SpecVersion::V1);
    for name in ["id", "source", "type"] {
        if !attributes.iter().any(|(given, _)| given == name) {
            builder = builder.attribute(name, "a");
        }
    }
    for (name, value) in attributes {
        builder = builder.attribute(name, value);
    }
    builder.build().unwrap()
}

fn exact(name: &str, value: &str) -> Clause {
    Clause::Exact([(name.to_owned(), value.to_owned())].into())
}

/// Few names and values, so that filters and events often meet.
fn name() -> impl Strategy<Value = String> {
    let names = ["type", "source", "subject", "ext", "specversion", "dataschema", "schemaurl"];
    prop::sample::select(names.to_vec()).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "ab", "ba", "1.0"]).prop_map(str::to_owned)
}

/// Expressions of which an index could use much, some or nothing.
fn expression() -> impl Strategy<Value = String> {
    let test = || {
        (name(), value(), 0..7).prop_map(|(name, value, form)| match form {
            0 | 1 => format!("{name} = '{value}'"),
            2 => format!("{name} IN ('{value}', 'b')"),
            3 => format!("{name} LIKE '{value}%'"),
            4 => format!("{name} != '{value}'"),
            5 => format!("EXISTS {name}"),
            _ => format!("NOT ({name} = '{value}')"),
        })
    };
    let operator = prop::sample::select(vec!["AND", "OR", "XOR"]);
    (test(), prop::collection::vec((operator, test()), 0..3)).prop_map(|(first, more)| {
        more.iter().fold(first, |left, (operator, right)| format!("({left}) {operator} {right}"))
    })
}

fn clause() -> impl Strategy<Value = Clause> {
    let map = || prop::collection::btree_map(name(), value(), 1..3);
    let leaf = prop_oneof![
        map().prop_map(Clause::Exact),
        map().prop_map(Clause::Prefix),
        map().prop_map(Clause::Suffix),
        expression().prop_map(Clause::Cesql),
        expression().prop_map(Clause::Sql),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Clause::All),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Clause::Any),
            inner.prop_map(|clause| Clause::Not(Box::new(clause))),
        ]
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let attributes = prop::collection::btree_map(name(), prop_oneof![value(), Just(String::new())], 0..3);
    let filters = prop::collection::vec(clause(), 0..3);
    (attributes, filters).prop_map(|(attributes, filters)| Filter::compile(Some(&attributes), Some(&filters)).unwrap())
}

proptest! {
    #[test]
    fn finds_what_asking_each_finds(
        filters in prop::collection::vec(filter(), 0..20),
        events in prop::collection::vec(prop::collection::vec((name(), value()), 0..6), 1..6),
    ) {
        let items: Vec<(usize, Filter)> = filters.into_iter().enumerate().collect();
        let index = Index::build(items.clone());
        for attributes in events {
            let event = event(&attributes);
            let naive: Vec<usize> =
                items.iter().filter(|(_, filter)| filter.matches(&event)).map(|(at, _)| *at).collect();
            let mut found = Vec::new();
            index.matching(&event, &mut found);
            found.sort_unstable();
            prop_assert_eq!(found, naive);
            for (_, filter) in &items {
                prop_assert_eq!(filter.explain(&event).matched, filter.matches(&event));
            }
        }
    }
}

#[test]
fn ten_thousand_filters_cost_as_much_as_one() {
    type Make = fn(usize) -> Clause;
    let rows: [(&str, Make); 7] = [
        ("type", |n| exact("type", &format!("type.{n}"))),
        ("any of types", |n| Clause::Any(vec![exact("type", &format!("type.{n}")), exact("type", &format!("or.{n}"))])),
        ("own extension", |n| exact(&format!("ext{n}"), "v")),
        ("shared source", |n| Clause::All(vec![exact("source", "/all"), exact("type", &format!("type.{n}"))])),
        ("cesql", |n| Clause::Cesql(format!("type = 'type.{n}' AND source LIKE '/a%'"))),
        ("cesql, one of two", |n| Clause::Cesql(format!("type IN ('type.{n}', 'or.{n}') OR type = 'x.{n}'"))),
        ("cesql in all", |n| Clause::All(vec![exact("source", "/all"), Clause::Sql(format!("type = 'type.{n}'"))])),
    ];
    for (row, make) in rows {
        let items = (0..10_000).map(|n| (n, Filter::compile(None, Some(&[make(n)])).unwrap())).collect();
        let index = Index::build(items);
        let event = event(&[
            ("type".to_owned(), "type.77".to_owned()),
            ("source".to_owned(), "/all".to_owned()),
            ("ext77".to_owned(), "v".to_owned()),
        ]);
        assert_eq!(index.candidates(&event).count(), 1, "{row}");
        let mut found = Vec::new();
        index.matching(&event, &mut found);
        assert_eq!(found, [77], "{row}");
    }
}

#[test]
fn filters_without_an_exact_condition_are_asked() {
    let prefix = Clause::Prefix([("type".to_owned(), "a".to_owned())].into());
    let index = Index::build(vec![
        ("everything", Filter::everything()),
        ("prefix", Filter::compile(None, Some(&[prefix])).unwrap()),
        ("not", Filter::compile(None, Some(&[Clause::Not(Box::new(exact("type", "a")))])).unwrap()),
        ("cesql", Filter::compile(None, Some(&[Clause::Cesql("LENGTH(type) = 1".into())])).unwrap()),
        ("no cesql", Filter::compile(None, Some(&[Clause::Cesql("LENGTH(type) > 1".into())])).unwrap()),
    ]);
    let mut found = Vec::new();
    index.matching(&event(&[]), &mut found);
    assert_eq!(found, ["everything", "prefix", "cesql"]);
}

/// F12: two Triggers whose `any` lists overlap.
#[test]
fn overlapping_filters_each_get_their_own_set() {
    let any = |types: &[&str]| {
        let clauses = types.iter().map(|ty| exact("type", ty)).collect();
        Filter::compile(None, Some(&[Clause::Any(clauses)])).unwrap()
    };
    let index = Index::build(vec![("left", any(&["a", "b"])), ("right", any(&["b", "c"]))]);
    for (ty, expected) in [("a", vec!["left"]), ("b", vec!["left", "right"]), ("c", vec!["right"]), ("d", vec![])] {
        let mut found = Vec::new();
        index.matching(&event(&[("type".to_owned(), ty.to_owned())]), &mut found);
        found.sort_unstable();
        assert_eq!(found, expected, "{ty}");
    }
}
