//! Prints what a self-verifying product key says, and whether it is good. Asks nobody.
//!
//! ```text
//! cargo run --example product_key -- public-key.pem <prefix> <key> [<product>]
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs};

use countersign_client::{PublicKeys, verify_product_key};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("product_key: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (pem_file, prefix, key, product) = match arguments.as_slice() {
        [pem_file, prefix, key] => (pem_file, prefix, key, None),
        [pem_file, prefix, key, product] => (pem_file, prefix, key, Some(product)),
        _ => return Err("usage: product_key <public-key.pem> <prefix> <key> [<product>]".into()),
    };

    let mut keys = PublicKeys::new();
    keys.pin_pem(&fs::read_to_string(pem_file)?)?;
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let now = i64::try_from(elapsed.as_secs())?;

    let claims = verify_product_key(key, prefix, &keys, now)?;
    println!("{}", serde_json::to_string_pretty(&claims)?);
    if product.is_some_and(|product| !claims.is_for(product)) {
        return Err("the key is for another product".into());
    }
    Ok(())
}
