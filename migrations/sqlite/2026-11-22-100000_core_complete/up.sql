-- Generators, retired texts, progress of imports, users, idempotency, what importers may push into.

CREATE TABLE generators (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('pattern', 'signed')),
    charset TEXT NOT NULL,
    chunks BIGINT NOT NULL CHECK (chunks BETWEEN 1 AND 99),
    chunk_length BIGINT NOT NULL CHECK (chunk_length BETWEEN 1 AND 99),
    separator TEXT NOT NULL,
    prefix TEXT NOT NULL,
    suffix TEXT NOT NULL,
    max_activations BIGINT CHECK (max_activations >= 1),
    expires_in_days BIGINT CHECK (expires_in_days >= 1),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

ALTER TABLE sequences ADD COLUMN generator_id BIGINT REFERENCES generators (id);
CREATE INDEX sequences_generator ON sequences (generator_id) WHERE generator_id IS NOT NULL;
ALTER TABLE products ADD COLUMN fallback_generator_id BIGINT REFERENCES generators (id);
CREATE INDEX products_fallback ON products (fallback_generator_id) WHERE fallback_generator_id IS NOT NULL;

-- Which generator made the key, for counting what is left of a pattern. No reference: a generator may
-- be deleted, its keys stay, and ids are never used twice.
ALTER TABLE keys ADD COLUMN generator_id BIGINT;
CREATE INDEX keys_generator ON keys (generator_id) WHERE generator_id IS NOT NULL;

-- Texts that were replaced: never usable again, by whatever key.
CREATE TABLE retired_texts (
    text_hash BLOB PRIMARY KEY NOT NULL,
    key_id BIGINT NOT NULL,
    retired_at BIGINT NOT NULL
) WITHOUT ROWID;

-- An import under way, and what it came to.
CREATE TABLE imports (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    account_id BIGINT REFERENCES accounts (id),
    lot_id BIGINT,
    state TEXT NOT NULL CHECK (state IN ('running', 'done', 'refused', 'interrupted')),
    lines BIGINT NOT NULL,
    added BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    problem TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX imports_running ON imports (lot_id) WHERE state = 'running';

-- The sequences that an account of the role importer may push keys into.
CREATE TABLE account_sequences (
    account_id BIGINT NOT NULL REFERENCES accounts (id),
    sequence_id BIGINT NOT NULL REFERENCES sequences (id),
    PRIMARY KEY (account_id, sequence_id)
) WITHOUT ROWID;

-- What an authenticated call with an Idempotency-Key has made: its id, never the answer.
CREATE TABLE idempotency_records (
    account_id BIGINT NOT NULL REFERENCES accounts (id),
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    made BIGINT,
    lease_until BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, method, path, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_records_created ON idempotency_records (created_at);

-- People who sign in.
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    email TEXT NOT NULL,
    email_folded TEXT NOT NULL UNIQUE,
    name TEXT,
    role TEXT NOT NULL CHECK (role IN ('admin', 'viewer')),
    password_hash TEXT,
    disabled_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

ALTER TABLE customers ADD COLUMN erased_at BIGINT;
