//! The vault: key texts at rest.
//!
//! A text is sealed with XChaCha20-Poly1305 under a data key, with the key's id as associated data, so
//! that a sealed text moved to another row does not open. It is found by HMAC-SHA256 under the index
//! key, which is separate. Both come from `keys/vault.key`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The file with the vault's keys.
pub(crate) const FILE: &str = "vault.key";

const NONCE: usize = 24;

/// Seals, opens and finds key texts.
pub struct Vault {
    index: Zeroizing<[u8; 32]>,
    data: BTreeMap<u8, Zeroizing<[u8; 32]>>,
    current: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    index_key: String,
    data_keys: BTreeMap<String, String>,
}

impl Vault {
    /// A new vault's file.
    pub(crate) fn new_file() -> Zeroizing<String> {
        let key = || {
            let mut key = Zeroizing::new([0; 32]);
            rand::fill(&mut key[..]);
            Zeroizing::new(STANDARD.encode(&key[..]))
        };
        Zeroizing::new(format!(
            "# The vault key of a Countersign installation. With this file and the database every product key\n\
             # can be read; without it none can. Keep a copy in a safe place.\n\
             index_key = \"{}\"\n\n[data_keys]\n1 = \"{}\"\n",
            *key(),
            *key()
        ))
    }

    /// Reads a vault's file.
    ///
    /// # Errors
    /// What is wrong with it, without any of its content.
    pub(crate) fn from_file(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let key = |name: &str, text: &str| -> Result<Zeroizing<[u8; 32]>, String> {
            let bytes = Zeroizing::new(
                STANDARD
                    .decode(text)
                    .map_err(|_| format!("{name} is not base64"))?,
            );
            let key = <[u8; 32]>::try_from(bytes.as_slice())
                .map_err(|_| format!("{name} is not 32 bytes long"))?;
            Ok(Zeroizing::new(key))
        };
        let index = key("index_key", &file.index_key)?;
        let mut data = BTreeMap::new();
        for (number, text) in &file.data_keys {
            let name = format!("data_keys.{number}");
            let version = number
                .parse()
                .map_err(|_| format!("{name} is no number from 0 to 255"))?;
            data.insert(version, key(&name, text)?);
        }
        let current = *data.keys().next_back().ok_or("there is no data key")?;
        Ok(Self {
            index,
            data,
            current,
        })
    }

    /// A name and a fingerprint for each key, to tell whether a database was made with it.
    pub(crate) fn fingerprints(&self) -> Vec<(String, Vec<u8>)> {
        let fingerprint =
            |key: &[u8; 32]| mac(key, b"countersign vault key fingerprint")[..16].to_vec();
        let data = self
            .data
            .iter()
            .map(|(version, key)| (format!("data.{version}"), fingerprint(key)));
        std::iter::once(("index".to_owned(), fingerprint(&self.index)))
            .chain(data)
            .collect()
    }

    /// What a text is found by.
    pub(crate) fn hash(&self, text: &str) -> [u8; 32] {
        mac(&self.index, text.as_bytes())
    }

    /// What a request is recognised by when it is repeated. Keyed, so that nobody who reads the database
    /// learns what was sent; each part with its length, so that two requests never look alike.
    pub(crate) fn hash_request(&self, parts: &[&[u8]]) -> [u8; 32] {
        let key = Zeroizing::new(mac(&self.index, b"countersign idempotent requests"));
        let mut message = Vec::new();
        for part in parts {
            message.extend_from_slice(&part.len().to_be_bytes());
            message.extend_from_slice(part);
        }
        mac(&key, &message)
    }

    /// Seals the text of the key `id`: version, nonce, ciphertext with its tag.
    pub(crate) fn seal(&self, id: i64, text: &str) -> Vec<u8> {
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce);
        let key = &self.data[&self.current];
        let payload = Payload {
            msg: text.as_bytes(),
            aad: &id.to_be_bytes(),
        };
        let sealed = XChaCha20Poly1305::new((&**key).into())
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a text of at most 4 KiB can always be sealed");
        [&[self.current], &nonce[..], &sealed].concat()
    }

    /// Opens what [`Vault::seal`] made for the same key.
    ///
    /// # Errors
    /// When it was changed, moved from another key, or sealed with a data key that is not here.
    pub(crate) fn open(&self, id: i64, sealed: &[u8]) -> Result<String, String> {
        let cannot = || format!("the text of key {id} cannot be opened with keys/{FILE}");
        let (version, rest) = sealed.split_first().ok_or_else(cannot)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or_else(cannot)?;
        let key = self.data.get(version).ok_or_else(cannot)?;
        let payload = Payload {
            msg: sealed,
            aad: &id.to_be_bytes(),
        };
        let text = XChaCha20Poly1305::new((&**key).into())
            .decrypt(&XNonce::from(*nonce), payload)
            .map_err(|_| cannot())?;
        String::from_utf8(text).map_err(|_| cannot())
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

fn mac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut mac =
        <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        Vault::from_file(&Vault::new_file()).unwrap()
    }

    #[test]
    fn a_sealed_text_opens_for_its_own_key_only() {
        let vault = vault();
        let sealed = vault.seal(7, "Ключ 钥匙 with spaces");
        assert_eq!(vault.open(7, &sealed).unwrap(), "Ключ 钥匙 with spaces");
        assert!(vault.open(8, &sealed).is_err());
    }

    #[test]
    fn every_changed_byte_of_a_sealed_text_is_noticed() {
        let vault = vault();
        let sealed = vault.seal(7, "K1");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open(7, &changed).is_err(), "byte {at}");
        }
        assert!(vault.open(7, &[]).is_err());
    }

    #[test]
    fn the_same_text_is_sealed_differently_and_found_by_the_same_hash() {
        let vault = vault();
        assert_ne!(vault.seal(7, "K1"), vault.seal(7, "K1"));
        assert_eq!(vault.hash("K1"), vault.hash("K1"));
        assert_ne!(vault.hash("K1"), vault.hash("k1"));
    }

    #[test]
    fn two_requests_that_are_cut_in_other_places_are_not_the_same() {
        let vault = vault();
        assert_eq!(
            vault.hash_request(&[b"a", b"bc"]),
            vault.hash_request(&[b"a", b"bc"])
        );
        assert_ne!(
            vault.hash_request(&[b"a", b"bc"]),
            vault.hash_request(&[b"ab", b"c"])
        );
        assert_ne!(
            vault.hash_request(&[b"a"]).to_vec(),
            vault.hash("a").to_vec()
        );
    }

    #[test]
    fn a_damaged_file_is_refused_without_showing_its_content() {
        let good = Vault::new_file();
        for bad in [
            String::new(),
            good.replace("index_key", "index"),
            good.replace("1 = \"", "1 = \"!"),
            good.lines().take(4).collect(),
        ] {
            let message = Vault::from_file(&bad).unwrap_err();
            let secret = good.split('"').nth(1).unwrap();
            assert!(!message.contains(secret), "{message}");
        }
    }
}
