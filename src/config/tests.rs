//! What settings mean, and where a wrong one is said to stand.

use super::*;

fn load(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let pairs = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(&Overrides::default(), pairs)
}

#[test]
fn the_defaults_are_complete() {
    let config = load(&[]).unwrap();
    assert_eq!(config.database_url(), "sqlite://data/countersign.db");
    assert_eq!(config.tokens.renew_past_expiry_days, 180);
}

#[test]
fn a_variable_is_read_as_the_type_of_its_default() {
    let config = load(&[
        ("COUNTERSIGN_TOKENS_ISSUER", "123"),
        ("COUNTERSIGN_TOKENS_RENEW_PAST_EXPIRY_DAYS", "7"),
        ("COUNTERSIGN_KEYS_ALLOW_GROUP_READ", "true"),
        ("COUNTERSIGN_KEYS_DIR", "elsewhere"),
    ])
    .unwrap();
    assert_eq!(config.tokens.issuer, "123");
    assert_eq!(config.tokens.renew_past_expiry_days, 7);
    assert!(config.keys.allow_group_read);
    assert_eq!(config.keys_dir, PathBuf::from("elsewhere"));
}

#[test]
fn a_value_that_cannot_be_used_is_refused_with_where_it_stands() {
    for (name, value) in [
        ("COUNTERSIGN_LISTEN", "nowhere"),
        ("COUNTERSIGN_TOKENS_RENEW_PAST_EXPIRY_DAYS", "-4"),
        ("COUNTERSIGN_RATE_LIMIT_ADDRESS_BURST", "0"),
        ("COUNTERSIGN_PRODUCTS_NUMBER_PREFIX", "A B"),
        ("COUNTERSIGN_TOKENS_ISSUER", ""),
    ] {
        let message = load(&[("COUNTERSIGN_LOG_LEVEL", "warn"), (name, value)])
            .unwrap_err()
            .to_string();
        assert!(message.starts_with(&format!("{name}: ")), "{message}");
        assert!(!message.contains("u32"), "{message}");
    }
    let overrides = Overrides {
        listen: Some("nowhere".into()),
        ..Overrides::default()
    };
    let message = Config::load(&overrides, std::iter::empty()).unwrap_err();
    assert!(message.to_string().starts_with("--listen: "), "{message}");
}

#[test]
fn a_list_in_a_variable_has_commas() {
    let name = "COUNTERSIGN_SERVER_TRUSTED_PROXIES";
    let config = load(&[(name, "127.0.0.1, 10.0.0.0/8,,2001:db8::/32")]).unwrap();
    assert_eq!(config.server.trusted_proxies.len(), 3);
    assert!(config.server.trusts("10.1.2.3".parse().unwrap()));
    assert!(
        load(&[(name, "")])
            .unwrap()
            .server
            .trusted_proxies
            .is_empty()
    );
    let message = load(&[(name, "127.0.0.1,localhost")]).unwrap_err();
    assert!(message.to_string().contains("`localhost`"), "{message}");
}

#[test]
fn a_rate_of_zero_is_refused_by_name() {
    let name = "COUNTERSIGN_RATE_LIMIT_ADDRESS_UNKNOWN_KEYS_PER_MINUTE";
    let message = load(&[(name, "0")]).unwrap_err().to_string();
    let setting = "rate_limit.address_unknown_keys_per_minute";
    assert!(message.contains(setting), "{message}");
    assert!(load(&[(name, "1")]).unwrap().rate_limit.enabled);
}

#[test]
fn an_unknown_variable_and_a_wrong_value_are_refused_by_name() {
    for (name, value) in [
        ("COUNTERSIGN_TOKENS_ISUER", "x"),
        ("COUNTERSIGN_NOTHING", "x"),
        ("COUNTERSIGN_IMPORTS_MAX_BYTES", "many"),
        ("COUNTERSIGN_KEYS_ALLOW_GROUP_READ", "yes"),
    ] {
        let message = load(&[(name, value)]).unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn a_file_is_laid_over_the_defaults_and_an_unknown_name_in_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, "[orders]\nunknown_sku = \"unmanaged\"\n").unwrap();
    let overrides = Overrides {
        file: Some(path.clone()),
        ..Overrides::default()
    };
    let config = Config::load(&overrides, std::iter::empty()).unwrap();
    assert_eq!(config.orders.unknown_sku, UnknownSku::Unmanaged);

    std::fs::write(&path, "[orders]\nunknown_skus = \"unmanaged\"\n").unwrap();
    let message = Config::load(&overrides, std::iter::empty())
        .unwrap_err()
        .to_string();
    assert!(message.contains("orders.unknown_skus"), "{message}");
}
