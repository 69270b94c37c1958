//! Answers of a Prometheus: whose a value is, of when, and what is none.

use std::sync::Arc;

use super::answer::Answer;
use super::*;
use crate::engine::id::{CloneId, InstanceId};

const NOW: Time = Time(1_795_248_000_000);

fn clone() -> InstanceId {
    InstanceId::Clone(CloneId::new(2, 1_795_000_000).unwrap())
}

fn crew(addresses: &[&str]) -> Vec<Upstream> {
    let instances = [InstanceId::SEED, clone()];
    let both = instances.into_iter().zip(addresses);
    both.map(|(instance, address)| Upstream {
        instance,
        address: address.parse().unwrap(),
    })
    .collect()
}

/// A vector at second 1,000 of elements with these labels.
fn vector(elements: &[(&str, &str)]) -> Answer {
    let one = |(labels, value): &(&str, &str)| {
        let labels = labels.replace("CLONE", &clone().to_string());
        format!("{{\"metric\":{{{labels}}},\"value\":[1000.5,\"{value}\"]}}")
    };
    let all: Vec<_> = elements.iter().map(one).collect();
    read(&format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{}]}}}}",
        all.join(",")
    ))
    .unwrap()
}

fn read(body: &str) -> Result<Answer, String> {
    Answer::read(200, body.as_bytes())
}

fn measured(values: Answer, moments: Answer, crew: &[Upstream]) -> Measured {
    let pair = Pair {
        values: Arc::new(values),
        moments: Arc::new(moments),
    };
    let service = "blog".parse().unwrap();
    of(&pair, Duration::from_secs(2), &service, crew, NOW)
}

/// What came out for each, in hundredths of a percent and as an age in milliseconds.
fn told(measured: &Measured) -> Vec<(InstanceId, u64, u64)> {
    let one = |it: &Sample| (it.instance, it.busy.in_hundredths(), NOW.0 - it.at.0);
    measured.samples.iter().map(one).collect()
}

fn whys(measured: &Measured) -> Vec<String> {
    let one = |(_, why): &(InstanceId, Lack)| why.to_string();
    measured.lacking.iter().map(one).collect()
}

#[test]
fn an_instance_is_found_by_its_address_whatever_the_port() {
    let values = vector(&[
        (r#""instance":"10.0.0.7:9100""#, "71.5"),
        (r#""instance":"10.0.0.8""#, "20"),
        (r#""instance":"10.0.0.9:9100""#, "99"),
        (r#""job":"x""#, "1"),
    ]);
    let moments = vector(&[
        (r#""instance":"10.0.0.7:9100""#, "997.5"),
        (r#""instance":"10.0.0.8:9100""#, "990.5"),
        (r#""instance":"10.0.0.8:80""#, "985.5"),
    ]);
    let measured = measured(values, moments, &crew(&["10.0.0.7:80", "10.0.0.8:80"]));
    // The answer is 2 s old, and of two moments the earlier counts.
    assert_eq!(
        told(&measured),
        [(InstanceId::SEED, 7_150, 5_000), (clone(), 2_000, 17_000)]
    );
}

#[test]
fn instances_at_one_address_are_told_by_their_ports_alone() {
    let labels = [
        (r#""instance":"127.0.0.1:8001""#, "30"),
        (r#""instance":"127.0.0.1:8002""#, "40"),
    ];
    let moments = labels.map(|(label, _)| (label, "1000.5"));
    let both = crew(&["127.0.0.1:8001", "127.0.0.1:8002"]);
    let all = measured(vector(&labels), vector(&moments), &both);
    assert_eq!(
        told(&all),
        [(InstanceId::SEED, 3_000, 2_000), (clone(), 4_000, 2_000)]
    );
    let one = measured(vector(&labels[..1]), vector(&moments), &both);
    assert_eq!(told(&one), [(InstanceId::SEED, 3_000, 2_000)]);
    assert!(whys(&one)[0].contains("nothing of 127.0.0.1:8002"));
}

#[test]
fn our_own_labels_are_surer_than_addresses_and_of_one_service() {
    let values = vector(&[
        (
            r#""anteroom_instance":"seed","anteroom_service":"shop""#,
            "90",
        ),
        (
            r#""anteroom_instance":"seed","anteroom_service":"blog","instance":"x:1""#,
            "10",
        ),
        (
            r#""anteroom_instance":"CLONE","instance":"10.0.0.7:80""#,
            "20",
        ),
    ]);
    let moments = vector(&[
        (
            r#""anteroom_instance":"seed","anteroom_service":"shop""#,
            "1",
        ),
        (
            r#""anteroom_instance":"seed","anteroom_service":"blog""#,
            "1000.5",
        ),
        (r#""anteroom_instance":"CLONE""#, "999.5"),
    ]);
    let measured = measured(values, moments, &crew(&["10.0.0.7:80", "10.0.0.8:80"]));
    assert_eq!(
        told(&measured),
        [(InstanceId::SEED, 1_000, 2_000), (clone(), 2_000, 3_000)]
    );
}

#[test]
fn one_value_that_is_nobodys_is_everybodys() {
    let both = crew(&["10.0.0.7:80", "10.0.0.8:80"]);
    let moments = || {
        vector(&[
            (r#""instance":"10.0.0.7:80""#, "1000.5"),
            (r#""instance":"10.0.0.8:80""#, "0"),
        ])
    };
    let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1000.5,"55"]}}"#;
    for values in [vector(&[(r#""job":"x""#, "55")]), read(scalar).unwrap()] {
        let measured = measured(values, moments(), &both);
        assert_eq!(told(&measured), [(InstanceId::SEED, 5_500, 2_000)]);
        assert_eq!(
            whys(&measured),
            ["Prometheus could not scrape it the last time"]
        );
    }
    let many = vector(&[(r#""job":"x""#, "55"), (r#""job":"y""#, "56")]);
    assert_eq!(told(&measured(many, moments(), &both)), []);
    // So is the moment that an expression of the operator's gives for all.
    let one = vector(&[("", "1000.5")]);
    let values = vector(&[(r#""instance":"10.0.0.8:80""#, "7")]);
    assert_eq!(told(&measured(values, one, &both)), [(clone(), 700, 2_000)]);
}

#[test]
fn what_is_no_percentage_or_is_of_no_moment_gives_no_sample() {
    let one = crew(&["10.0.0.7:80"]);
    let label = r#""instance":"10.0.0.7:9100""#;
    let with = |value: &str, moment: &str| {
        measured(vector(&[(label, value)]), vector(&[(label, moment)]), &one)
    };
    for (value, hundredths) in [
        ("0", 0),
        ("-0.4", 0),
        ("100", 10_000),
        ("104.2", 10_000),
        ("33.337", 3_334),
    ] {
        assert_eq!(
            told(&with(value, "1000.5")),
            [(InstanceId::SEED, hundredths, 2_000)],
            "{value}"
        );
    }
    for value in ["NaN", "+Inf", "-Inf", "-2", "380", "1e9"] {
        let why = whys(&with(value, "1000.5"));
        assert!(why[0].contains("no percentage"), "{value}: {why:?}");
    }
    for moment in ["NaN", "0", "-5", "+Inf", "-Inf", "2000"] {
        assert_eq!(told(&with("50", moment)), [], "{moment}");
    }
    assert_eq!(
        told(&with("50", "1002")),
        [(InstanceId::SEED, 5_000, 2_000)],
        "clocks differ a little"
    );
    assert_eq!(
        told(&with("50", "700.5")),
        [(InstanceId::SEED, 5_000, 302_000)],
        "as old as it is"
    );
    let nowhere = measured(vector(&[(label, "50")]), vector(&[]), &one);
    assert!(
        whys(&nowhere)[0].contains("does not tell when"),
        "{nowhere:?}"
    );
}

#[test]
fn an_expression_with_many_values_for_one_instance_is_refused_with_the_mend() {
    let one = crew(&["10.0.0.7:80"]);
    let values = vector(&[
        (r#""instance":"10.0.0.7:9100","cpu":"0""#, "50"),
        (r#""instance":"10.0.0.7:9100","cpu":"1""#, "60"),
    ]);
    let why = whys(&measured(values, vector(&[("", "1000.5")]), &one));
    assert!(why[0].contains("gives 2 values of it; write one that begins with avg by (instance)"));
}

#[test]
fn errors_are_told_in_prometheus_own_words() {
    let refused = r#"{"status":"error","errorType":"bad_data","error":"parse error: x"}"#;
    for (status, body, expected) in [
        (400, refused, "it answers 400, bad_data: parse error: x"),
        (
            502,
            "<html>Bad\nGateway</html>",
            "it answers 502: <html>Bad Gateway</html>",
        ),
        (200, "[]", "not Prometheus' form"),
        (200, "{}", "not Prometheus' form"),
        (200, r#"{"status":"success"}"#, "no data"),
        (
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
            "a range of values",
        ),
        (
            200,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
            "a text",
        ),
        (
            200,
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"x"]}}"#,
            "is no number",
        ),
        (
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}}"#,
            "histograms",
        ),
    ] {
        let why = Answer::read(status, body.as_bytes()).unwrap_err();
        assert!(why.contains(expected), "{expected}: {why}");
    }
    let long = format!(
        "{{\"status\":\"error\",\"error\":\"{}\"}}",
        "x".repeat(100_000)
    );
    assert!(Answer::read(400, long.as_bytes()).unwrap_err().len() < 2_000);
}

#[test]
fn nothing_is_said_of_an_instance_that_the_answer_does_not_know() {
    let empty = measured(vector(&[]), vector(&[]), &crew(&["10.0.0.7:80"]));
    assert_eq!((empty.samples.len(), empty.lacking.len()), (0, 1));
}
