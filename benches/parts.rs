//! The parts of the hot path, each by itself: `cargo bench --features bench`. The whole, over HTTP and with
//! its databases, is `scripts/bench`; see docs/performance.md.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::hint::black_box;

use countersign::bench::{Parts, parse_activate};
use criterion::{Criterion, criterion_group, criterion_main};

const TEXT: &str = "K7Q2M-9XHD4-T3RWP-6VJNC-BY8FZ";
const ACTIVATE: &[u8] = br#"{"key":"K7Q2M-9XHD4-T3RWP-6VJNC-BY8FZ","installation_id":"0192f0c1-7be4-7cc0-9d2c-1a5f6c1f2b3e","product":"editor-pro","platform":"linux","app_version":"4.2.1"}"#;

fn tokens(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let parts = Parts::new(folder.path()).unwrap();
    let token = parts.sign_activation();
    assert!(parts.verify(&token), "what was signed is good");
    c.bench_function("sign an activation token", |b| {
        b.iter(|| parts.sign_activation());
    });
    c.bench_function("sign a verdict", |b| b.iter(|| parts.sign_verdict()));
    c.bench_function("verify an activation token", |b| {
        b.iter(|| parts.verify(black_box(&token)));
    });
}

fn keys(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mut parts = Parts::new(folder.path()).unwrap();
    let sealed = parts.seal(TEXT);
    assert_eq!(
        parts.open(&sealed).as_deref(),
        Some(TEXT),
        "what was sealed opens"
    );
    c.bench_function("seal a key text", |b| {
        b.iter(|| parts.seal(black_box(TEXT)));
    });
    c.bench_function("open a key text", |b| {
        b.iter(|| parts.open(black_box(&sealed)));
    });
    c.bench_function("hash a key text", |b| {
        b.iter(|| parts.hash(black_box(TEXT)));
    });
    c.bench_function("generate a key text", |b| b.iter(|| parts.generate()));
}

fn rules(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let parts = Parts::new(folder.path()).unwrap();
    assert!(parts.verdict(), "the key is good");
    assert!(parse_activate(ACTIVATE), "the body is good");
    c.bench_function("reach a verdict", |b| {
        b.iter(|| black_box(&parts).verdict());
    });
    c.bench_function("parse the body of an activate", |b| {
        b.iter(|| parse_activate(black_box(ACTIVATE)));
    });
}

criterion_group!(parts, tokens, keys, rules);
criterion_main!(parts);
