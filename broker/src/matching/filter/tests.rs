use std::collections::BTreeMap;

use super::super::{FILTER_DEPTH_MAX, FILTER_TESTS_MAX, VALUE_BYTES_MAX};
use super::*;
use crate::event::{Event, SpecVersion, ValueKind};

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn exact(entries: &[(&str, &str)]) -> Clause {
    Clause::Exact(map(entries))
}

fn prefix(entries: &[(&str, &str)]) -> Clause {
    Clause::Prefix(map(entries))
}

fn suffix(entries: &[(&str, &str)]) -> Clause {
    Clause::Suffix(map(entries))
}

fn not(clause: Clause) -> Clause {
    Clause::Not(Box::new(clause))
}

fn event(attributes: &[(&str, &str)]) -> Event {
    let mut builder = Event::builder(SpecVersion::V1);
    for (name, value) in [("id", "1"), ("source", "/shop/eu"), ("type", "order.created")] {
        if !attributes.iter().any(|(given, _)| *given == name) {
            builder = builder.attribute(name, value);
        }
    }
    for (name, value) in attributes {
        builder = builder.attribute(name, value);
    }
    builder.build().unwrap()
}

/// The id names the line of the conformance checklist where there is one.
#[track_caller]
fn check(id: &str, filters: &[Clause], attributes: &[(&str, &str)], matched: bool, clause: &str) {
    let filter = Filter::compile(None, Some(filters)).unwrap();
    let event = event(attributes);
    assert_eq!(filter.matches(&event), matched, "{id}: {filters:?}");
    assert_eq!(filter.explain(&event), Verdict { matched, clause: clause.to_owned() }, "{id}");
}

#[track_caller]
fn check_attributes(id: &str, wanted: &[(&str, &str)], attributes: &[(&str, &str)], matched: bool, clause: &str) {
    let filter = Filter::compile(Some(&map(wanted)), None).unwrap();
    let event = event(attributes);
    assert_eq!(filter.matches(&event), matched, "{id}: {wanted:?}");
    assert_eq!(filter.explain(&event), Verdict { matched, clause: clause.to_owned() }, "{id}");
}

#[test]
fn the_dialects() {
    let both = exact(&[("type", "order.created"), ("source", "/shop/eu")]);
    let both = [both];
    check("F1 hit", &both, &[], true, "filters[0].exact");
    check("F1 miss", &both, &[("type", "order.deleted")], false, "filters[0].exact.type");
    check("F2 hit", &[prefix(&[("type", "order.")])], &[], true, "filters[0].prefix.type");
    check("F2 miss", &[prefix(&[("type", "invoice.")])], &[], false, "filters[0].prefix.type");
    check("F3 hit", &[suffix(&[("source", "/eu")])], &[], true, "filters[0].suffix.source");
    check("F3 miss", &[suffix(&[("source", "/us")])], &[], false, "filters[0].suffix.source");
    check("whole value as prefix", &[prefix(&[("type", "order.created")])], &[], true, "filters[0].prefix.type");
    check("longer than the value", &[prefix(&[("type", "order.createdX")])], &[], false, "filters[0].prefix.type");
}

#[test]
fn any_all_and_not() {
    let five = [Clause::Any(vec![
        exact(&[("type", "exact.type")]),
        prefix(&[("type", "prefix.")]),
        suffix(&[("type", ".suffix")]),
        Clause::All(vec![prefix(&[("type", "all.")]), suffix(&[("source", "/all")])]),
        not(exact(&[("source", "/shop/eu")])),
    ])];
    check("F5 exact", &five, &[("type", "exact.type")], true, "filters[0].any[0].exact.type");
    check("F5 prefix", &five, &[("type", "prefix.x")], true, "filters[0].any[1].prefix.type");
    check("F5 suffix", &five, &[("type", "x.suffix")], true, "filters[0].any[2].suffix.type");
    check("F5 all", &five, &[("type", "all.x"), ("source", "/all")], true, "filters[0].any[3].all");
    check("F5 not", &five, &[("source", "/elsewhere")], true, "filters[0].any[4].not.exact.source");
    check("F5 miss", &five, &[], false, "filters[0].any");

    let three = [Clause::Any(["a", "b", "c"].iter().map(|ty| exact(&[("type", ty)])).collect())];
    check("F6 first", &three, &[("type", "a")], true, "filters[0].any[0].exact.type");
    check("F6 last", &three, &[("type", "c")], true, "filters[0].any[2].exact.type");
    check("F6 miss", &three, &[("type", "d")], false, "filters[0].any");
}

#[test]
fn a_list_means_all() {
    let four = vec![
        exact(&[("type", "order.created")]),
        prefix(&[("source", "/shop")]),
        suffix(&[("subject", "42")]),
        not(exact(&[("ext", "no")])),
    ];
    let all = [Clause::All(four.clone())];
    check("F7 hit", &all, &[("subject", "order-42")], true, "filters[0].all");
    check("F7 miss", &all, &[("subject", "order-43")], false, "filters[0].all[2].suffix.subject");
    check("F7 not", &all, &[("subject", "42"), ("ext", "no")], false, "filters[0].all[3].not.exact.ext");
    check("F8 hit", &four, &[("subject", "order-42")], true, "filters");
    check("F8 miss", &four, &[("subject", "order-43")], false, "filters[2].suffix.subject");
    check("F8 not", &four, &[("subject", "42"), ("ext", "no")], false, "filters[3].not.exact.ext");
}

#[test]
fn a_missing_attribute() {
    let wants = [Clause::All(vec![exact(&[("myext", "v")]), exact(&[("type", "order.created")])])];
    check("F9 missing", &wants, &[], false, "filters[0].all[0].exact.myext");
    check("F9 present", &wants, &[("myext", "v")], true, "filters[0].all");
    check("F13", &[not(exact(&[("missing", "x")]))], &[], true, "filters[0].not.exact.missing");
    check("F13 prefix", &[not(prefix(&[("missing", "x")]))], &[], true, "filters[0].not.prefix.missing");
    check("F13 suffix", &[not(suffix(&[("missing", "x")]))], &[], true, "filters[0].not.suffix.missing");
}

fn cesql(text: &str) -> Clause {
    Clause::Cesql(text.to_owned())
}

#[test]
fn cesql_expressions() {
    check("F4 hit", &[cesql("type = 'order.created'")], &[], true, "filters[0].cesql");
    check("F4 miss", &[cesql("type = 'order.deleted'")], &[], false, "filters[0].cesql");
    check("sql", &[Clause::Sql("source LIKE '/shop/%'".into())], &[], true, "filters[0].sql");
    check("no boolean", &[cesql("myext")], &[("myext", "true")], false, "filters[0].cesql");
    // An error passes nothing, also under the language's own NOT; the dialect `not` turns that round.
    check("F13", &[cesql("missing = 'x'")], &[], false, "filters[0].cesql");
    check("F13 NOT", &[cesql("NOT (missing = 'x')")], &[], false, "filters[0].cesql");
    check("F13 EXISTS", &[cesql("NOT EXISTS missing OR missing != 'x'")], &[], true, "filters[0].cesql");
    check("dialect not", &[not(cesql("missing = 'x'"))], &[], true, "filters[0].not.cesql");
    let mixed = [Clause::All(vec![
        prefix(&[("source", "/shop")]),
        Clause::Any(vec![cesql("INT(size) > 5"), not(Clause::Sql("EXISTS size".into()))]),
    ])];
    check("mixed, large", &mixed, &[("size", "6")], true, "filters[0].all");
    check("mixed, small", &mixed, &[("size", "5")], false, "filters[0].all[1].any");
    check("mixed, no number", &mixed, &[("size", "many")], false, "filters[0].all[1].any");
    check("mixed, none", &mixed, &[], true, "filters[0].all");
    check("mixed, elsewhere", &mixed, &[("source", "/s"), ("size", "6")], false, "filters[0].all[0].prefix.source");
}

#[test]
fn cesql_sees_what_other_dialects_see() {
    let event = Event::builder(SpecVersion::V03)
        .attribute("id", "1")
        .attribute("source", "/s")
        .attribute("type", "t")
        .typed_attribute("count", "7", ValueKind::Integer)
        .typed_attribute("urgent", "true", ValueKind::Boolean)
        .attribute("text", "true")
        .attribute("schemaurl", "/schemas/1")
        .attribute("datacontenttype", "application/json; charset=utf-8")
        .attribute("time", "2020-01-01T00:00:00Z")
        .build()
        .unwrap();
    for (text, matched) in [
        ("specversion = '0.3' AND id = '1' AND source = '/s' AND type = 't'", true),
        ("count = 7 AND count + 1 = 8 AND count = '7'", true),
        ("count = '07'", false),
        ("urgent", true),
        ("text", false),
        ("schemaurl = '/schemas/1' AND dataschema = '/schemas/1'", true),
        ("datamediatype = 'application/json'", true),
        ("datacontenttype LIKE 'application/json;%'", true),
        ("time LIKE '2020-%' AND EXISTS time AND NOT EXISTS subject", true),
        ("EXISTS data", false),
    ] {
        let filter = Filter::compile(None, Some(&[cesql(text)])).unwrap();
        assert_eq!(filter.matches(&event), matched, "{text}");
    }
}

#[test]
fn filters_override_attributes_unless_empty() {
    let attributes = map(&[("type", "by.attributes")]);
    let by_attributes = event(&[("type", "by.attributes")]);
    let by_filters = event(&[("type", "by.filters")]);
    let f10 = Filter::compile(Some(&attributes), Some(&[])).unwrap();
    assert!(f10.matches(&by_attributes) && !f10.matches(&by_filters), "F10");
    let f11 = Filter::compile(Some(&attributes), Some(&[exact(&[("type", "by.filters")])])).unwrap();
    assert!(!f11.matches(&by_attributes) && f11.matches(&by_filters), "F11");
}

#[test]
fn no_filter_wants_everything() {
    for filter in [
        Filter::everything(),
        Filter::default(),
        Filter::compile(None, None).unwrap(),
        Filter::compile(Some(&BTreeMap::new()), Some(&[])).unwrap(),
    ] {
        assert_eq!(filter.explain(&event(&[])), Verdict { matched: true, clause: "filter".to_owned() }, "R1");
        assert!(filter.matches(&event(&[])), "R1");
    }
}

#[test]
fn attributes_filters() {
    check_attributes("R2", &[("type", "other")], &[], false, "filter.attributes.type");
    check_attributes("R3", &[("type", "order.created")], &[], true, "filter.attributes.type");
    check_attributes("F14 present", &[("myext", "")], &[("myext", "v")], true, "filter.attributes.myext");
    check_attributes("F14 absent", &[("myext", "")], &[], false, "filter.attributes.myext");
    check_attributes("F14 empty", &[("myext", "")], &[("myext", "")], false, "filter.attributes.myext");
    check_attributes("F14 time", &[("time", "")], &[], false, "filter.attributes.time");
    check_attributes("F15", &[("type", "Order.created")], &[], false, "filter.attributes.type");
    check("F15", &[exact(&[("type", "Order.created")])], &[], false, "filters[0].exact.type");
    check("F15", &[prefix(&[("type", "Order")])], &[], false, "filters[0].prefix.type");
    check_attributes("version", &[("specversion", "1.0")], &[], true, "filter.attributes.specversion");
    check_attributes("version", &[("specversion", "0.3")], &[], false, "filter.attributes.specversion");
}

/// R8: four patterns of type and source, then eight with extensions, each against every event.
#[test]
fn each_pattern_gets_precisely_its_events() {
    let patterns: [&[(&str, &str)]; 8] = [
        &[("type", ""), ("source", "")],
        &[("type", "t1"), ("source", "")],
        &[("type", ""), ("source", "s1")],
        &[("type", "t1"), ("source", "s1")],
        &[("type", "t1"), ("ext1", "v1")],
        &[("ext1", "v1"), ("ext2", "v2")],
        &[("ext1", "")],
        &[("type", "t1"), ("ext1", ""), ("ext2", "")],
    ];
    let events: [&[(&str, &str)]; 8] = [
        &[("type", "t1"), ("source", "s1")],
        &[("type", "t1"), ("source", "s2")],
        &[("type", "t2"), ("source", "s1")],
        &[("type", "t2"), ("source", "s2")],
        &[("type", "t1"), ("source", "s1"), ("ext1", "v1")],
        &[("type", "t1"), ("source", "s1"), ("ext1", "v1"), ("ext2", "v2")],
        &[("type", "t2"), ("source", "s1"), ("ext1", "v1"), ("ext2", "v2")],
        &[("type", "t1"), ("source", "s1"), ("ext1", "w1"), ("ext2", "w2")],
    ];
    let expected = ["11111111", "11001101", "10101111", "10001101", "00001100", "00000110", "00001111", "00000101"];
    for (pattern, row) in patterns.iter().zip(expected) {
        let filter = Filter::compile(Some(&map(pattern)), None).unwrap();
        let got: String = events.iter().map(|e| if filter.matches(&event(e)) { '1' } else { '0' }).collect();
        assert_eq!(got, row, "{pattern:?}");
    }
}

#[test]
fn typed_values_compare_by_their_string_form() {
    let event = Event::builder(SpecVersion::V03)
        .attribute("id", "1")
        .attribute("source", "/s")
        .attribute("type", "t")
        .typed_attribute("count", "7", ValueKind::Integer)
        .typed_attribute("urgent", "true", ValueKind::Boolean)
        .attribute("schemaurl", "/schemas/1")
        .attribute("datacontenttype", "application/json; charset=utf-8")
        .build()
        .unwrap();
    for (wanted, matched) in [
        (("count", "7"), true),
        (("count", "07"), false),
        (("urgent", "true"), true),
        (("specversion", "0.3"), true),
        (("schemaurl", "/schemas/1"), true),
        (("dataschema", "/schemas/1"), true),
        (("datamediatype", "application/json"), true),
        (("datacontenttype", "application/json"), false),
    ] {
        assert_eq!(Filter::compile(None, Some(&[exact(&[wanted])])).unwrap().matches(&event), matched, "{wanted:?}");
        assert_eq!(Filter::compile(Some(&map(&[wanted])), None).unwrap().matches(&event), matched, "{wanted:?}");
    }
}

#[test]
fn more_names_than_slots() {
    let names: Vec<String> = (0..SLOTS + 3).map(|n| format!("ext{n}")).collect();
    let wanted: BTreeMap<String, String> = names.iter().map(|name| (name.clone(), "v".to_owned())).collect();
    let filter = Filter::compile(Some(&wanted), None).unwrap();
    let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    assert!(filter.matches(&event(&all)));
    for left_out in 0..all.len() {
        let mut some = all.clone();
        some.remove(left_out);
        assert!(!filter.matches(&event(&some)), "{left_out}");
    }
}

#[test]
fn what_cannot_be_understood_is_refused() {
    let nested = |depth: usize| (0..depth).fold(exact(&[("type", "t")]), |inner, _| not(inner));
    let many = |n: usize| Clause::Any((0..n).map(|n| exact(&[("type", &n.to_string())])).collect());
    let rows: Vec<(&str, Clause, Option<&str>)> = vec![
        ("no attribute", exact(&[]), Some("filters[0].exact")),
        ("empty value", prefix(&[("type", "")]), Some("filters[0].prefix.type")),
        ("empty all", Clause::All(vec![]), Some("filters[0].all")),
        ("empty any", not(Clause::Any(vec![])), Some("filters[0].not.any")),
        ("nested name", Clause::Any(vec![suffix(&[("a-b", "x")])]), Some("filters[0].any[0].suffix.a-b")),
        ("upper case", exact(&[("SOURCE", "x")]), Some("filters[0].exact.SOURCE")),
        ("digits", exact(&[("12", "x")]), Some("filters[0].exact.12")),
        ("space", exact(&[("a b", "x")]), Some("filters[0].exact.a b")),
        ("no name", exact(&[("", "x")]), Some("filters[0].exact.")),
        ("emoji", exact(&[("a😀", "x")]), Some("filters[0].exact.a😀")),
        ("T10", exact(&[("aaa", "x"), ("c1d2e3", "x"), ("abcdefghijklmnopqrst", "x")]), None),
        ("depth", nested(FILTER_DEPTH_MAX - 1), None),
        (
            "too deep",
            nested(FILTER_DEPTH_MAX),
            Some("filters[0].not.not.not.not.not.not.not.not.not.not.not.not.not.not.not.not"),
        ),
        ("size", many(FILTER_TESTS_MAX), None),
        ("too many", many(FILTER_TESTS_MAX + 9), Some("filters[0].any[512].exact.type")),
        ("cesql", not(cesql("type = ")), Some("filters[0].not.cesql")),
        ("sql", Clause::All(vec![Clause::Sql("NOSUCH()".into())]), Some("filters[0].all[0].sql")),
        ("many looks", Clause::All(vec![cesql(&vec!["id = ''"; 256].join(" OR ")); 2]), None),
        (
            "too many looks",
            Clause::All(vec![cesql(&vec!["id = ''"; 257].join(" OR ")); 2]),
            Some("filters[0].all[1].cesql"),
        ),
        ("long value", exact(&[("type", &"x".repeat(VALUE_BYTES_MAX + 1))]), Some("filters[0].exact.type")),
    ];
    for (row, clause, fault) in rows {
        let faults = Filter::compile(None, Some(&[clause])).err();
        let paths: Option<Vec<&str>> =
            faults.as_ref().map(|faults| faults.iter().map(|fault| fault.path.as_str()).collect());
        assert_eq!(paths, fault.map(|path| vec![path]), "{row}");
    }
    let faults = Filter::compile(Some(&map(&[("Bad", "x"), ("also bad", "")])), None).unwrap_err();
    assert_eq!(faults.len(), 2, "all faults at once: {faults:?}");
}

#[test]
fn equal_specs_make_equal_filters() {
    let make = |ty: &str| Filter::compile(None, Some(&[exact(&[("type", ty)])])).unwrap();
    assert_eq!(make("a"), make("a"));
    assert_ne!(make("a"), make("b"));
    assert_ne!(make("a"), Filter::everything());
}
