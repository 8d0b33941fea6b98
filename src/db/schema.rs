//! The tables as Diesel sees them; a test compares this with what the migrations make on both databases.

diesel::table! {
    instance (id) {
        id -> BigInt,
        name -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    vault_keys (name) {
        name -> Text,
        fingerprint -> Binary,
        created_at -> BigInt,
    }
}

diesel::table! {
    signing_keys (kid) {
        kid -> Text,
        public_key -> Binary,
        state -> Text,
        created_at -> BigInt,
        signing_at -> Nullable<BigInt>,
        retired_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    accounts (id) {
        id -> BigInt,
        name -> Text,
        role -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    api_tokens (id) {
        id -> BigInt,
        account_id -> BigInt,
        label -> Text,
        secret_hash -> Binary,
        hint -> Text,
        created_at -> BigInt,
        expires_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    sequences (id) {
        id -> BigInt,
        name -> Text,
        source -> Text,
        low_stock_threshold -> Nullable<BigInt>,
        extra -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
        deleted_at -> Nullable<BigInt>,
        generator_id -> Nullable<BigInt>,
    }
}

diesel::table! {
    products (id) {
        id -> BigInt,
        sku -> Text,
        name -> Text,
        status -> Text,
        is_virtual -> Bool,
        downloadable -> Bool,
        sells_keys -> Bool,
        activation_managed -> Bool,
        sequence_id -> Nullable<BigInt>,
        delivery_quantity -> BigInt,
        activation_limit_basis -> Text,
        number_prefix -> Text,
        renew_by_days -> BigInt,
        grace_days -> BigInt,
        auto_deliver -> Bool,
        self_release -> Bool,
        releases_per_month -> Nullable<BigInt>,
        entitlements -> Text,
        extra -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
        fallback_generator_id -> Nullable<BigInt>,
    }
}

diesel::table! {
    customers (id) {
        id -> BigInt,
        account_id -> BigInt,
        #[sql_name = "ref"]
        ref_ -> Nullable<Text>,
        email -> Nullable<Text>,
        email_folded -> Nullable<Text>,
        name -> Nullable<Text>,
        locale -> Nullable<Text>,
        created_at -> BigInt,
        updated_at -> BigInt,
        erased_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    order_statuses (id) {
        id -> Text,
        title -> Text,
        state -> Text,
        is_default -> Bool,
    }
}

diesel::table! {
    orders (id) {
        id -> BigInt,
        account_id -> BigInt,
        #[sql_name = "ref"]
        ref_ -> Text,
        status -> Text,
        state -> Text,
        reported_status -> Text,
        payment_method -> Nullable<Text>,
        customer_id -> Nullable<BigInt>,
        issue_state -> Text,
        issue_wanted_at -> Nullable<BigInt>,
        issue_error -> Nullable<Text>,
        keys_issued_at -> Nullable<BigInt>,
        occurred_at -> Nullable<BigInt>,
        revision -> BigInt,
        extra -> Text,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    order_lines (id) {
        id -> BigInt,
        order_id -> BigInt,
        #[sql_name = "ref"]
        ref_ -> Text,
        position -> BigInt,
        product_id -> Nullable<BigInt>,
        sku -> Text,
        quantity -> BigInt,
        managed -> Bool,
        extra -> Text,
        removed_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    lots (id) {
        id -> BigInt,
        kind -> Text,
        sequence_id -> Nullable<BigInt>,
        account_id -> Nullable<BigInt>,
        staged -> BigInt,
        created_at -> BigInt,
        heartbeat_at -> BigInt,
        published_at -> Nullable<BigInt>,
        abandoned_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    keys (id) {
        id -> BigInt,
        text_sealed -> Nullable<Binary>,
        text_hash -> Nullable<Binary>,
        sequence_id -> Nullable<BigInt>,
        product_id -> Nullable<BigInt>,
        lot_id -> Nullable<BigInt>,
        order_id -> Nullable<BigInt>,
        order_line_id -> Nullable<BigInt>,
        customer_id -> Nullable<BigInt>,
        parent_key -> Nullable<BigInt>,
        number_prefix -> Text,
        number_version -> BigInt,
        source -> Text,
        status -> Text,
        status_before -> Nullable<Text>,
        disabled_by_order -> Bool,
        max_activations -> Nullable<BigInt>,
        anonymous_activations -> BigInt,
        expires_at -> Nullable<BigInt>,
        valid_for_days -> Nullable<BigInt>,
        assigned_at -> Nullable<BigInt>,
        delivered_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
        suspended_at -> Nullable<BigInt>,
        terminated_at -> Nullable<BigInt>,
        extra -> Nullable<Text>,
        created_at -> BigInt,
        updated_at -> BigInt,
        generator_id -> Nullable<BigInt>,
    }
}

diesel::table! {
    stock (sequence_id, product_id, lot_id, key_id) {
        sequence_id -> BigInt,
        product_id -> BigInt,
        lot_id -> BigInt,
        key_id -> BigInt,
    }
}

diesel::table! {
    activations (key_id, installation_id) {
        key_id -> BigInt,
        installation_id -> Text,
        serial -> BigInt,
        activated_at -> BigInt,
        last_seen_at -> BigInt,
        address -> Nullable<Text>,
    }
}

diesel::table! {
    activation_details (key_id, installation_id) {
        key_id -> BigInt,
        installation_id -> Text,
        label -> Nullable<Text>,
        platform -> Nullable<Text>,
        app_version -> Nullable<Text>,
        extra -> Nullable<Text>,
    }
}

diesel::table! {
    activation_counts (key_id) {
        key_id -> BigInt,
        open -> BigInt,
    }
}

diesel::table! {
    activation_history (id) {
        id -> BigInt,
        key_id -> BigInt,
        installation_id -> Text,
        serial -> BigInt,
        activated_at -> BigInt,
        last_seen_at -> BigInt,
        released_at -> BigInt,
        released_by -> Text,
        address -> Nullable<Text>,
        label -> Nullable<Text>,
    }
}

diesel::table! {
    refusals (day, key_id, code) {
        day -> BigInt,
        key_id -> BigInt,
        code -> Text,
        count -> BigInt,
    }
}

diesel::table! {
    events (id) {
        id -> BigInt,
        at -> BigInt,
        action -> Text,
        actor -> Text,
        account_id -> Nullable<BigInt>,
        address -> Nullable<Text>,
        request_id -> Nullable<Text>,
        subject_type -> Text,
        subject_id -> Nullable<BigInt>,
        detail -> Nullable<Text>,
    }
}

diesel::table! {
    jobs (id) {
        id -> BigInt,
        kind -> Text,
        dedupe -> Nullable<Text>,
        payload -> Text,
        state -> Text,
        run_at -> BigInt,
        attempts -> BigInt,
        lease_until -> Nullable<BigInt>,
        last_error -> Nullable<Text>,
        created_at -> BigInt,
    }
}

diesel::table! {
    generators (id) {
        id -> BigInt,
        name -> Text,
        kind -> Text,
        charset -> Text,
        chunks -> BigInt,
        chunk_length -> BigInt,
        separator -> Text,
        prefix -> Text,
        suffix -> Text,
        max_activations -> Nullable<BigInt>,
        expires_in_days -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::table! {
    retired_texts (text_hash) {
        text_hash -> Binary,
        key_id -> BigInt,
        retired_at -> BigInt,
    }
}

diesel::table! {
    imports (id) {
        id -> BigInt,
        account_id -> Nullable<BigInt>,
        lot_id -> Nullable<BigInt>,
        state -> Text,
        lines -> BigInt,
        added -> BigInt,
        duplicates -> BigInt,
        problem -> Nullable<Text>,
        created_at -> BigInt,
        updated_at -> BigInt,
        finished_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    account_sequences (account_id, sequence_id) {
        account_id -> BigInt,
        sequence_id -> BigInt,
    }
}

diesel::table! {
    idempotency_records (account_id, method, path, key) {
        account_id -> BigInt,
        method -> Text,
        path -> Text,
        key -> Text,
        request_hash -> Binary,
        made -> Nullable<BigInt>,
        lease_until -> Nullable<BigInt>,
        created_at -> BigInt,
    }
}

diesel::table! {
    users (id) {
        id -> BigInt,
        email -> Text,
        email_folded -> Text,
        name -> Nullable<Text>,
        role -> Text,
        password_hash -> Nullable<Text>,
        disabled_at -> Nullable<BigInt>,
        created_at -> BigInt,
        updated_at -> BigInt,
    }
}

diesel::joinable!(api_tokens -> accounts (account_id));
diesel::joinable!(products -> sequences (sequence_id));
diesel::joinable!(order_lines -> orders (order_id));
diesel::joinable!(order_lines -> products (product_id));
diesel::joinable!(orders -> customers (customer_id));
diesel::joinable!(orders -> accounts (account_id));
diesel::joinable!(keys -> products (product_id));
diesel::joinable!(keys -> orders (order_id));
diesel::joinable!(keys -> sequences (sequence_id));
diesel::joinable!(activations -> keys (key_id));
diesel::joinable!(activation_history -> keys (key_id));
diesel::joinable!(account_sequences -> sequences (sequence_id));

diesel::allow_tables_to_appear_in_same_query!(
    instance,
    vault_keys,
    signing_keys,
    accounts,
    api_tokens,
    sequences,
    products,
    customers,
    order_statuses,
    orders,
    order_lines,
    lots,
    keys,
    stock,
    activations,
    activation_details,
    activation_counts,
    activation_history,
    refusals,
    events,
    jobs,
    generators,
    retired_texts,
    imports,
    account_sequences,
    idempotency_records,
    users,
);
