//! The one table of error codes: the word, its HTTP status, and its title.
//!
//! The word is the contract (`code` in every problem+json answer) and never changes its status; titles
//! and details may be reworded. `docs/errors.md` lists the same table, and a test compares the two.

macro_rules! codes {
    ($( $(#[$meta:meta])* $variant:ident = $word:literal, $status:literal, $title:literal; )+) => {
        /// A stable error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $( $(#[$meta])* #[doc = $title] $variant, )+ }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in `code`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The HTTP status that always goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// A short sentence for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

codes! {
    // The request itself.
    MalformedRequest = "malformed_request", 400, "The request cannot be read.";
    MalformedJson = "malformed_json", 400, "The body is not valid JSON.";
    Unauthenticated = "unauthenticated", 401, "An API token is needed: Authorization: Bearer TOKEN.";
    Forbidden = "forbidden", 403, "The role of this API token does not allow this.";
    NotFound = "not_found", 404, "There is nothing at this address.";
    MethodNotAllowed = "method_not_allowed", 405, "This address does not take this method.";
    BodyTooLarge = "body_too_large", 413, "The body is larger than allowed.";
    UnsupportedMediaType = "unsupported_media_type", 415, "The body has a Content-Type that is not taken here.";
    ValidationFailed = "validation_failed", 422, "A member of the request is wrong.";
    IdempotencyKeyReused = "idempotency_key_reused", 422, "This Idempotency-Key came with another request before.";
    IdempotencyInFlight = "idempotency_in_flight", 409, "The first call with this Idempotency-Key is still running.";

    // Keys and activations, in the order in which they are checked.
    KeyNotFound = "key_not_found", 404, "This product key is not known.";
    ActivationNotManaged = "activation_not_managed", 422, "Activations of this key are not managed here.";
    ProductMismatch = "product_mismatch", 422, "This key is for another product.";
    KeyTerminated = "key_terminated", 403, "This key has been terminated.";
    KeyRevoked = "key_revoked", 403, "This key has been revoked.";
    KeyDisabled = "key_disabled", 403, "This key has been disabled.";
    KeySuspended = "key_suspended", 403, "This key is suspended.";
    KeyExpired = "key_expired", 403, "This key has expired.";
    ActivationLimitReached = "activation_limit_reached", 409, "All activations of this key are in use; release one first.";
    InstallationNotActivated = "installation_not_activated", 404, "This installation is not activated.";
    ActivationNotFound = "activation_not_found", 404, "There is no such open activation.";
    TokenInvalid = "token_invalid", 401, "This activation token is not accepted.";
    ReleaseNotAllowed = "release_not_allowed", 403, "Installations of this product are released by the vendor only.";
    ReleaseLimitReached = "release_limit_reached", 409, "No more releases this month for this key.";

    // Things by name.
    ProductNotFound = "product_not_found", 404, "There is no such product.";
    SequenceNotFound = "sequence_not_found", 404, "There is no such sequence.";
    GeneratorNotFound = "generator_not_found", 404, "There is no such generator.";
    ImportNotFound = "import_not_found", 404, "There is no such import.";
    OrderNotFound = "order_not_found", 404, "There is no such order.";
    AccountNotFound = "account_not_found", 404, "There is no such account.";
    CustomerNotFound = "customer_not_found", 404, "There is no such customer.";
    ApiTokenNotFound = "api_token_not_found", 404, "There is no such API token.";
    UserNotFound = "user_not_found", 404, "There is no such user.";
    AlreadyExists = "already_exists", 409, "There is one of this name already.";
    InUse = "in_use", 409, "It is still in use.";
    LastAdmin = "last_admin", 409, "The last enabled admin must stay one.";
    Ambiguous = "ambiguous", 409, "More than one matches; say which shop with ?shop=.";

    // Orders, stock and keys.
    OutOfStock = "out_of_stock", 409, "There are not enough keys in stock.";
    OrderNotPayable = "order_not_payable", 409, "The order is not in a paid state.";
    InvalidTransition = "invalid_transition", 409, "The key cannot go there from where it is.";
    PatternExhausted = "pattern_exhausted", 422, "The generator cannot make so many more keys.";
    ImportFailed = "import_failed", 422, "Lines of the import are wrong; nothing was imported.";
    ImportInProgress = "import_in_progress", 409, "Another import is running; try again when it has finished.";

    // The server's own state.
    RateLimited = "rate_limited", 429, "Too many requests; wait a little.";
    InternalError = "internal_error", 500, "Something went wrong here; the request id finds it in the log.";
    Unavailable = "unavailable", 503, "The server cannot take this just now; try again shortly.";
}
