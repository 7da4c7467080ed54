use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Wrapper {
    #[command(flatten)]
    config: ServeConfig,
}

fn parse(args: &str) -> Result<ServeConfig, clap::Error> {
    Wrapper::try_parse_from(std::iter::once("serve").chain(args.split_whitespace())).map(|wrapper| wrapper.config)
}

fn faults(args: &str) -> Vec<String> {
    parse(args).unwrap().validate().err().map_or_else(Vec::new, |faults| faults.0)
}

#[test]
fn the_defaults_are_those_of_local_apart_from_addresses() {
    let parsed = parse("--data d --manifests m").unwrap();
    let local = ServeConfig {
        ingress_addr: parsed.ingress_addr,
        health_addr: parsed.health_addr,
        admin_addr: parsed.admin_addr,
        ..ServeConfig::local("d".into(), "m".into())
    };
    assert_eq!(parsed, local);
    assert_eq!(parsed.admin_addr.to_string(), "127.0.0.1:9091");
    assert_eq!(parsed.validate(), Ok(()));
}

#[test]
fn all_faults_are_listed_at_once() {
    let listed = faults(
        "--kube --manifests m --admin-addr 0.0.0.0:8080 --max-event-bytes 2MiB --max-request-bytes 1MiB --concurrency 0 \
         --state-flush-interval 5m --log-level =x=",
    );
    let expected = [
        "--kube and --manifests are both given",
        "--admin-addr 0.0.0.0:8080 is open to other machines",
        "--ingress-addr and --admin-addr are both 0.0.0.0:8080",
        "--max-event-bytes 2MiB is more than --max-request-bytes 1MiB",
        "--concurrency 0 is not between",
        "--state-flush-interval PT5M is not above zero",
        "--log-level `=x=`",
    ];
    assert_eq!(listed.len(), expected.len(), "{listed:#?}");
    for (fault, start) in listed.iter().zip(expected) {
        assert!(fault.starts_with(start), "{fault}");
    }
    let text = ConfigFaults(listed).to_string();
    assert!(text.starts_with("7 faults in the configuration:\n  - --kube"), "{text}");
}

#[test]
fn single_faults() {
    for (args, start) in [
        ("", "there is no source of Brokers and Triggers"),
        ("--manifests m --default-class", "--default-class goes with --kube"),
        ("--manifests m --admin-addr 10.0.0.1:9091", "--admin-addr 10.0.0.1:9091 is open"),
        ("--manifests m --max-event-bytes 0", "--max-event-bytes must not be 0"),
        ("--manifests m --max-request-bytes 1GiB --max-in-flight-bytes 2GiB", "--max-request-bytes 1GiB is more"),
        ("--manifests m --retention-bytes 2GiB --discard-above-bytes 1GiB", "--discard-above-bytes 1GiB is less"),
        ("--manifests m --retention-age 0s", "--retention-age must not be 0"),
        ("--manifests m --dead-letter-age 0s", "--dead-letter-age must not be 0"),
        ("--manifests m --max-connections 0", "--max-connections must not be 0"),
    ] {
        let listed = faults(args);
        assert!(listed.len() == 1 && listed[0].starts_with(start), "{args}: {listed:?}");
    }
    for sound in [
        "--kube --default-class",
        "--manifests m --admin-addr [::1]:0",
        "--manifests m --admin-addr 10.0.0.1:1 --admin-token-file t",
    ] {
        assert_eq!(faults(sound), [""; 0], "{sound}");
    }
}

#[test]
fn every_option_has_an_environment_twin() {
    let command = <Wrapper as clap::CommandFactory>::command();
    let options: Vec<_> = command.get_arguments().filter(|arg| arg.get_id() != "help").collect();
    assert!(options.len() > 20);
    for option in options {
        let flag = option.get_long().unwrap();
        let twin = format!("REVEILLE_{}", flag.replace('-', "_").to_uppercase());
        assert_eq!(option.get_env().unwrap().to_str(), Some(twin.as_str()));
        assert!(option.get_help().is_some(), "{flag}");
    }
}

#[test]
fn the_printed_configuration_has_every_option_and_units() {
    let text = parse("--manifests m --retention-bytes 1GiB").unwrap().to_yaml().unwrap();
    for line in [
        "ingress-addr: 0.0.0.0:8080",
        "retention-bytes: 1GiB",
        "retention-age: PT168H",
        "dead-letter-age: PT720H",
        "log-format: text",
    ] {
        assert!(text.lines().any(|l| l.replace(['"', '\''], "") == line), "{line} in\n{text}");
    }
}

#[test]
fn retention_comes_from_three_options() {
    let config = parse("--manifests m --retention-age none --retention-bytes 1k --discard-above-bytes 2k").unwrap();
    let expected = Retention { age: None, bytes: Some(1000), discard_above_bytes: Some(2000) };
    assert_eq!(config.retention(), expected);
}
