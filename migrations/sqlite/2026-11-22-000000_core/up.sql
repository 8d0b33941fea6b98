-- Instants are microseconds since 1970 in UTC (BIGINT). JSON is TEXT. See migrations/README.md.

-- Who we are -----------------------------------------------------------------

CREATE TABLE instance (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE vault_keys (
    name TEXT PRIMARY KEY NOT NULL,
    fingerprint BLOB NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY NOT NULL,
    public_key BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('next', 'signing', 'retired', 'revoked')),
    created_at BIGINT NOT NULL,
    signing_at BIGINT,
    retired_at BIGINT,
    revoked_at BIGINT
);
CREATE UNIQUE INDEX signing_keys_one_signing ON signing_keys (state) WHERE state = 'signing';
CREATE UNIQUE INDEX signing_keys_one_next ON signing_keys (state) WHERE state = 'next';

-- Accounts and API tokens ----------------------------------------------------

CREATE TABLE accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('admin', 'viewer', 'shop', 'importer', 'partner')),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE api_tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    account_id BIGINT NOT NULL REFERENCES accounts (id),
    label TEXT NOT NULL,
    secret_hash BLOB NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX api_tokens_account ON api_tokens (account_id);

-- What is sold ---------------------------------------------------------------

CREATE TABLE sequences (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('pool', 'generator', 'external')),
    low_stock_threshold BIGINT CHECK (low_stock_threshold >= 0),
    extra TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT
);
CREATE UNIQUE INDEX sequences_name ON sequences (name) WHERE deleted_at IS NULL;

CREATE TABLE products (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    sku TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('draft', 'published')),
    is_virtual BOOLEAN NOT NULL,
    downloadable BOOLEAN NOT NULL,
    sells_keys BOOLEAN NOT NULL,
    activation_managed BOOLEAN NOT NULL,
    sequence_id BIGINT REFERENCES sequences (id),
    delivery_quantity BIGINT NOT NULL CHECK (delivery_quantity >= 1),
    activation_limit_basis TEXT NOT NULL CHECK (activation_limit_basis IN ('key', 'quantity')),
    number_prefix TEXT NOT NULL,
    renew_by_days BIGINT NOT NULL CHECK (renew_by_days >= 1),
    grace_days BIGINT NOT NULL CHECK (grace_days >= 0),
    auto_deliver BOOLEAN NOT NULL,
    self_release BOOLEAN NOT NULL,
    releases_per_month BIGINT CHECK (releases_per_month >= 0),
    entitlements TEXT NOT NULL,
    extra TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX products_sequence ON products (sequence_id);

-- Orders ---------------------------------------------------------------------

CREATE TABLE customers (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    account_id BIGINT NOT NULL REFERENCES accounts (id),
    ref TEXT,
    email TEXT,
    email_folded TEXT,
    name TEXT,
    locale TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX customers_ref ON customers (account_id, ref) WHERE ref IS NOT NULL;
CREATE UNIQUE INDEX customers_email ON customers (account_id, email_folded) WHERE ref IS NULL AND email_folded IS NOT NULL;

CREATE TABLE order_statuses (
    id TEXT PRIMARY KEY NOT NULL,
    title TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'payment_received', 'processing', 'completed', 'cancelled', 'refunded')),
    is_default BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX order_statuses_default ON order_statuses (state) WHERE is_default;

INSERT INTO order_statuses (id, title, state, is_default) VALUES
    ('pending', 'Pending', 'pending', TRUE),
    ('payment_received', 'Payment received', 'payment_received', TRUE),
    ('processing', 'Processing', 'processing', TRUE),
    ('completed', 'Completed', 'completed', TRUE),
    ('cancelled', 'Cancelled', 'cancelled', TRUE),
    ('refunded', 'Refunded', 'refunded', TRUE);

CREATE TABLE orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    account_id BIGINT NOT NULL REFERENCES accounts (id),
    ref TEXT NOT NULL,
    status TEXT NOT NULL REFERENCES order_statuses (id),
    state TEXT NOT NULL,
    reported_status TEXT NOT NULL,
    payment_method TEXT,
    customer_id BIGINT REFERENCES customers (id),
    issue_state TEXT NOT NULL CHECK (issue_state IN ('none', 'wanted', 'waiting_stock', 'waiting_hook', 'waiting_external', 'done')),
    issue_wanted_at BIGINT,
    issue_error TEXT,
    keys_issued_at BIGINT,
    occurred_at BIGINT,
    revision BIGINT NOT NULL,
    extra TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (account_id, ref)
);
CREATE INDEX orders_waiting ON orders (issue_wanted_at, id) WHERE issue_state IN ('wanted', 'waiting_stock');
CREATE INDEX orders_customer ON orders (customer_id);

CREATE TABLE order_lines (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    order_id BIGINT NOT NULL REFERENCES orders (id),
    ref TEXT NOT NULL,
    position BIGINT NOT NULL,
    product_id BIGINT REFERENCES products (id),
    sku TEXT NOT NULL,
    quantity BIGINT NOT NULL CHECK (quantity >= 1),
    managed BOOLEAN NOT NULL,
    extra TEXT NOT NULL,
    removed_at BIGINT,
    UNIQUE (order_id, ref)
);
CREATE INDEX order_lines_product ON order_lines (product_id) WHERE product_id IS NOT NULL;

-- Keys and stock -------------------------------------------------------------

CREATE TABLE lots (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('import', 'manual', 'generated')),
    sequence_id BIGINT REFERENCES sequences (id),
    account_id BIGINT REFERENCES accounts (id),
    staged BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL,
    published_at BIGINT,
    abandoned_at BIGINT
);
-- One import runs at a time: see licensing/import.rs.
CREATE UNIQUE INDEX lots_one_unpublished ON lots (kind) WHERE published_at IS NULL;

-- The next free key id; ids are never used twice, also after a deletion.
CREATE TABLE key_ids (next BIGINT NOT NULL);
INSERT INTO key_ids (next) VALUES (1);

CREATE TABLE keys (
    id BIGINT PRIMARY KEY NOT NULL,
    text_sealed BLOB,
    text_hash BLOB UNIQUE,
    sequence_id BIGINT REFERENCES sequences (id),
    product_id BIGINT REFERENCES products (id),
    lot_id BIGINT REFERENCES lots (id),
    order_id BIGINT REFERENCES orders (id),
    order_line_id BIGINT REFERENCES order_lines (id),
    customer_id BIGINT REFERENCES customers (id),
    parent_key BIGINT REFERENCES keys (id),
    number_prefix TEXT NOT NULL,
    number_version BIGINT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('import', 'manual', 'generator', 'external', 'partner')),
    status TEXT NOT NULL CHECK (status IN ('active', 'inactive', 'sold', 'delivered', 'disabled')),
    status_before TEXT CHECK (status_before IN ('active', 'inactive', 'sold', 'delivered')),
    disabled_by_order BOOLEAN NOT NULL,
    max_activations BIGINT CHECK (max_activations >= 1),
    anonymous_activations BIGINT NOT NULL,
    expires_at BIGINT,
    valid_for_days BIGINT CHECK (valid_for_days >= 1),
    assigned_at BIGINT,
    delivered_at BIGINT,
    revoked_at BIGINT,
    suspended_at BIGINT,
    terminated_at BIGINT,
    extra TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    -- Once assigned, in stock never again; and only what has a product can be sold.
    CHECK (assigned_at IS NULL OR status NOT IN ('active', 'inactive')),
    CHECK (assigned_at IS NOT NULL OR status NOT IN ('sold', 'delivered')),
    CHECK (assigned_at IS NULL OR product_id IS NOT NULL),
    CHECK ((status = 'disabled') = (status_before IS NOT NULL)),
    CHECK ((text_sealed IS NULL) = (text_hash IS NULL))
);
CREATE INDEX keys_sequence ON keys (sequence_id, id);
CREATE INDEX keys_product ON keys (product_id, id) WHERE product_id IS NOT NULL;
CREATE INDEX keys_order ON keys (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX keys_customer ON keys (customer_id, id) WHERE customer_id IS NOT NULL;
CREATE INDEX keys_parent ON keys (parent_key) WHERE parent_key IS NOT NULL;
CREATE INDEX keys_expiring ON keys (expires_at) WHERE expires_at IS NOT NULL AND assigned_at IS NULL;
CREATE INDEX keys_lot ON keys (lot_id, id) WHERE lot_id IS NOT NULL;

-- What can be claimed. product_id 0: for any product of the sequence.
CREATE TABLE stock (
    sequence_id BIGINT NOT NULL,
    product_id BIGINT NOT NULL,
    lot_id BIGINT NOT NULL,
    key_id BIGINT NOT NULL,
    PRIMARY KEY (sequence_id, product_id, lot_id, key_id)
) WITHOUT ROWID;

-- Activations ----------------------------------------------------------------

CREATE TABLE activations (
    key_id BIGINT NOT NULL REFERENCES keys (id),
    installation_id TEXT NOT NULL,
    serial BIGINT NOT NULL,
    activated_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    address TEXT,
    PRIMARY KEY (key_id, installation_id)
) WITHOUT ROWID;

CREATE TABLE activation_details (
    key_id BIGINT NOT NULL,
    installation_id TEXT NOT NULL,
    label TEXT,
    platform TEXT,
    app_version TEXT,
    extra TEXT,
    PRIMARY KEY (key_id, installation_id)
) WITHOUT ROWID;

-- Only keys with more open activations than are cheap to count have a row.
CREATE TABLE activation_counts (
    key_id BIGINT PRIMARY KEY NOT NULL REFERENCES keys (id),
    open BIGINT NOT NULL
);

CREATE TABLE activation_history (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    key_id BIGINT NOT NULL REFERENCES keys (id),
    installation_id TEXT NOT NULL,
    serial BIGINT NOT NULL,
    activated_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    released_at BIGINT NOT NULL,
    released_by TEXT NOT NULL,
    address TEXT,
    label TEXT
);
CREATE INDEX activation_history_key ON activation_history (key_id, installation_id, released_at);

CREATE TABLE refusals (
    day BIGINT NOT NULL,
    key_id BIGINT NOT NULL,
    code TEXT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (day, key_id, code)
) WITHOUT ROWID;

-- What happened, what is to be done ------------------------------------------

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at BIGINT NOT NULL,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    account_id BIGINT,
    address TEXT,
    request_id TEXT,
    subject_type TEXT NOT NULL,
    subject_id BIGINT,
    detail TEXT
);
CREATE INDEX events_subject ON events (subject_type, subject_id, id);

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    kind TEXT NOT NULL,
    dedupe TEXT UNIQUE,
    payload TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'dead')),
    run_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    lease_until BIGINT,
    last_error TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX jobs_due ON jobs (state, run_at);
