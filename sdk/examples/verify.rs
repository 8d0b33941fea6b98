//! Prints what an activation token says, and whether it is good.
//!
//! ```text
//! cargo run --example verify -- public-key.pem <token>
//! ```

use std::error::Error;
use std::process::ExitCode;
use std::{env, fs};

use countersign_client::{PublicKeys, Verifier, verify_signature};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("verify: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [pem_file, token] = arguments.as_slice() else {
        return Err("usage: verify <public-key.pem> <token>".into());
    };

    let mut keys = PublicKeys::new();
    keys.pin_pem(&fs::read_to_string(pem_file)?)?;

    // First without looking at the clock, so that an expired token is shown as well.
    let claims = verify_signature(token, &keys)?;
    println!("{}", serde_json::to_string_pretty(&claims)?);

    Verifier::new(keys).verify(token)?;
    Ok(())
}
