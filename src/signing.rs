//! Keys and what is made with them: the keyring and its tokens, the vault for key texts, API tokens.

pub(crate) mod activation_id;
pub(crate) mod api_token;
pub(crate) mod dice;
pub(crate) mod key_file;
pub(crate) mod keyring;
pub mod password;
pub(crate) mod product_key;
pub(crate) mod set_up;
pub(crate) mod vault;
