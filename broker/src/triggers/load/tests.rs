use std::os::unix::fs::symlink;

use super::*;

const BROKER: &str = "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: default}\n";

fn trigger(name: &str, spec: &str) -> String {
    format!("apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata:\n  name: {name}\nspec:\n{spec}")
}

fn sound(name: &str) -> String {
    trigger(name, "  broker: default\n  subscriber: {uri: 'http://localhost:8081'}\n")
}

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

/// Loads the files; the keys that are served, and the faults as printed.
fn load(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let directory = directory(files);
    let loaded = load_dir(directory.path()).unwrap();
    let keys = loaded.objects.iter().map(|object| object.key().to_string()).collect();
    (keys, loaded.faults.iter().map(ToString::to_string).collect())
}

fn check_fault(files: &[(&str, &str)], keys: &[&str], start: &str, part: &str) {
    let (loaded, faults) = load(files);
    assert_eq!(loaded, keys);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].starts_with(start) && faults[0].contains(part), "{} is not {start} … {part}", faults[0]);
}

#[test]
fn objects_are_read_from_every_kind_of_file() {
    let json = r#"{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"eventing.knative.dev/v1","kind":"Trigger",
        "metadata":{"name":"c"},"spec":{"broker":"default","subscriber":{"uri":"http://x"}}}]}"#;
    let both = format!("# ours\n{BROKER}---\n{}---\n", sound("a"));
    let (keys, faults) = load(&[
        ("a.yaml", &both),
        ("b.yml", &sound("b")),
        ("c.json", json),
        ("notes.txt", "not: [yaml"),
        (".hidden.yaml", "not: [yaml"),
        ("empty.yaml", "# nothing\n"),
    ]);
    assert_eq!(keys, ["Broker default/default", "Trigger default/a", "Trigger default/b", "Trigger default/c"]);
    assert_eq!(faults, [""; 0]);
}

#[test]
fn faults_name_file_line_and_field() {
    let bad = trigger(
        "orders",
        "  broker: default\n  subscriber:\n    uri: http://x\n  filters:\n  - exact:\n      Type: a\n",
    );
    check_fault(
        &[("a.yaml", BROKER), ("orders.yaml", &bad)],
        &["Broker default/default"],
        "orders.yaml:11: spec.filters[0].exact.Type: ",
        "write `type`",
    );
    let list = format!("kind: List\nitems:\n- {}", bad.replace('\n', "\n  "));
    check_fault(
        &[("a.yaml", BROKER), ("l.yaml", &list)],
        &["Broker default/default"],
        "l.yaml:13: spec.filters[0]",
        "write `type`",
    );
    let second = format!("{BROKER}---\n{}", sound("a").replace("broker:", "brokr:"));
    let (keys, faults) = load(&[("x.yaml", &second)]);
    assert_eq!(keys, ["Broker default/default"]);
    assert!(faults[0].starts_with("x.yaml:9: spec.broker: is missing"), "{faults:?}");
    assert!(faults[1].starts_with("x.yaml:10: spec.brokr: is unknown; did you mean `broker`?"), "{faults:?}");
}

#[test]
fn a_bad_file_or_document_stops_no_good_one() {
    let mixed = format!("a: [1\n---\n{BROKER}---\n{}", sound("a"));
    check_fault(&[("m.yaml", &mixed)], &["Broker default/default", "Trigger default/a"], "m.yaml:", "this is no YAML");
    check_fault(&[("a.yaml", "a: ["), ("b.yaml", BROKER)], &["Broker default/default"], "a.yaml:1", "this is no YAML");
    let directory = directory(&[("b.yaml", BROKER)]);
    fs::write(directory.path().join("a.yaml"), [0xff, 0xfe, 0x00, 0xd8]).unwrap();
    symlink("/nowhere/at/all", directory.path().join("c.yaml")).unwrap();
    let loaded = load_dir(directory.path()).unwrap();
    assert_eq!(loaded.objects.len(), 1);
    let files: Vec<&str> = loaded.faults.iter().map(|fault| fault.file.as_str()).collect();
    assert_eq!(files, ["a.yaml", "c.yaml"]);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let (_, faults) = load(&[("s.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n")]);
    assert_eq!(faults, ["s.yaml:2: kind: Service (v1) is left alone; only Brokers and Triggers are read here"]);
    let text = "apiVersion: example.com/v1\nkind: Broker\n";
    assert_eq!(read_text("x", text).faults[0].severity, Severity::Warning);
    let text = "apiVersion: eventing.knative.dev/v1beta1\nkind: Broker\nmetadata: {name: x}\n";
    assert_eq!(read_text("x", text).faults[0].path, "apiVersion");
    check_fault(&[("k.yaml", "metadata: {name: x}")], &[], "k.yaml:1: kind: names no kind", "kind: Broker");
    check_fault(&[("k.yaml", "just text")], &[], "k.yaml:1: kind: names no kind", "kind: Broker");
}

#[test]
fn brokers_of_other_classes_and_their_triggers_are_left_alone() {
    let class = |class: &str| {
        BROKER.replace(
            "{name: default}",
            &format!("{{name: default, annotations: {{eventing.knative.dev/broker.class: {class}}}}}"),
        )
    };
    assert_eq!(load(&[("a.yaml", &class("Kafka")), ("b.yaml", &sound("b"))]), (vec![], vec![]));
    let (keys, faults) = load(&[("a.yaml", &class("Reveille")), ("b.yaml", &sound("b"))]);
    assert_eq!((keys.len(), faults.len()), (2, 0), "{faults:?}");
}

#[test]
fn names_count_once_and_brokers_must_exist() {
    let (keys, faults) = load(&[("a.yaml", BROKER), ("b.yaml", &sound("x")), ("c.yaml", &sound("x"))]);
    assert_eq!(keys, ["Broker default/default", "Trigger default/x"]);
    assert_eq!(
        faults,
        [
            "c.yaml:4: metadata.name: Trigger default/x is already at b.yaml:1, which is used; rename or remove one of the two"
        ]
    );
    check_fault(
        &[("a.yaml", BROKER), ("b.yaml", &sound("x").replace("broker: default", "broker: other"))],
        &["Broker default/default"],
        "b.yaml:6: spec.broker: ",
        "Broker default/other is in no manifest",
    );
    let elsewhere = sound("x").replace("name: x", "name: x\n  namespace: shop");
    check_fault(
        &[("a.yaml", BROKER), ("b.yaml", &elsewhere)],
        &["Broker default/default"],
        "b.yaml:7: spec.broker",
        "shop/default",
    );
}

#[test]
fn config_maps_are_mounted_through_links() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("..2026_01")).unwrap();
    fs::write(at("..2026_01/broker.yaml"), BROKER).unwrap();
    symlink("..2026_01", at("..data")).unwrap();
    symlink("..data/broker.yaml", at("broker.yaml")).unwrap();
    fs::create_dir(at("folder.yaml")).unwrap();
    let loaded = load_dir(directory.path()).unwrap();
    assert_eq!((loaded.objects.len(), loaded.faults.len()), (1, 0));
}

#[test]
fn a_directory_that_cannot_be_read_is_one_clear_error() {
    let directory = directory(&[("a.yaml", BROKER)]);
    let check = |path: &Path, part: &str| {
        let message = load_dir(path).unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("--manifests"), "{message}");
    };
    check(&directory.path().join("missing"), "there is no such directory");
    check(&directory.path().join("a.yaml"), "is no directory");
}

#[test]
fn files_too_large_are_faults() {
    let directory = directory(&[("b.yaml", BROKER)]);
    fs::File::create(directory.path().join("a.yaml")).unwrap().set_len(MANIFEST_BYTES_MAX + 1).unwrap();
    let loaded = load_dir(directory.path()).unwrap();
    assert_eq!(loaded.objects.len(), 1);
    assert!(loaded.faults[0].to_string().contains("larger than"), "{:?}", loaded.faults);
}

#[test]
fn the_samples_work_without_kubernetes() {
    let loaded = load_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/samples")).unwrap();
    assert_eq!(loaded.faults, []);
    assert!(loaded.objects.len() >= 5, "a Broker and four Triggers");
}
