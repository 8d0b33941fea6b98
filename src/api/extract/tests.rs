//! What is refused of a request, and in which words.

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    #[serde(rename = "key")]
    _key: String,
    #[serde(default, rename = "count")]
    _count: i64,
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    for body in [
        r#""SECRET""#,
        r#"["SECRET"]"#,
        r#"{"key":"k","count":"SECRET"}"#,
        r#"{"key":["SECRET"]}"#,
        r#"{"key":{"SECRET":1}}"#,
    ] {
        let refusal = parse_json::<Sample>(body.as_bytes()).unwrap_err();
        assert_eq!(refusal.code, Code::ValidationFailed, "{body}");
        assert!(!format!("{refusal:?}").contains("SECRET"), "{refusal:?}");
    }
}

#[test]
fn a_value_of_a_query_that_cannot_be_read_is_refused_in_plain_words() {
    #[derive(Debug, Deserialize)]
    struct Options {
        #[serde(default, rename = "dry_run")]
        _dry_run: bool,
        #[serde(default, rename = "max_activations")]
        _max_activations: i64,
    }
    for (query, field, plain) in [
        ("dry_run=yes", "dry_run", "must be true or false"),
        ("dry_run=", "dry_run", "must be true or false"),
        (
            "max_activations=two",
            "max_activations",
            "must be a whole number",
        ),
        (
            "max_activations=",
            "max_activations",
            "must be a whole number",
        ),
        (
            "max_activations=9223372036854775808",
            "max_activations",
            "must be a whole number",
        ),
    ] {
        let refusal = filter::<Options>(query).unwrap_err();
        let error = &refusal.errors[0];
        assert_eq!(
            (error.field.as_str(), error.detail.as_str()),
            (field, plain),
            "{query}"
        );
    }
}

#[test]
fn a_list_is_no_object_even_when_its_values_fit() {
    let refusal = parse_json::<Sample>(br#"["key", 1]"#).unwrap_err();
    assert_eq!(refusal.errors[0].detail, "must be a JSON object");
}
