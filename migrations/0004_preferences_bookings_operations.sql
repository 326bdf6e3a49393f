-- What a customer wants to get, and when. No row: everything, always.
CREATE TABLE IF NOT EXISTS notification_preferences (
    customer_id BIGINT NOT NULL PRIMARY KEY,
    push_enabled BOOLEAN NOT NULL DEFAULT TRUE,
    types JSON NULL COMMENT 'type to boolean; a type that is missing is wanted',
    quiet_start CHAR(5) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'HH:MM in time_zone',
    quiet_end CHAR(5) CHARACTER SET ascii COLLATE ascii_bin NULL,
    time_zone VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'IANA name',
    locale VARCHAR(35) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'BCP 47',
    updated_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- The last known status of a booking: an event that is not newer is ignored.
CREATE TABLE IF NOT EXISTS booking_status (
    booking_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
    customer_id BIGINT NOT NULL,
    status VARCHAR(50) NOT NULL,
    occurred_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    updated_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- Replaying or discarding many dead letters: survives a restart, because its progress stands here.
CREATE TABLE IF NOT EXISTS operations (
    operation_id BINARY(16) NOT NULL PRIMARY KEY,
    kind VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    state ENUM('running', 'done', 'cancelled', 'failed') NOT NULL DEFAULT 'running',
    parameters MEDIUMTEXT NULL COMMENT 'JSON: filter, rate',
    last_id BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'handled up to this dead letter',
    total BIGINT UNSIGNED NOT NULL DEFAULT 0,
    done BIGINT UNSIGNED NOT NULL DEFAULT 0,
    failed BIGINT UNSIGNED NOT NULL DEFAULT 0,
    created_by VARCHAR(64) NULL,
    created_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    finished_at TIMESTAMP(3) NULL DEFAULT NULL,
    KEY state_oldest (state, created_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- The answer that a key got first. Purged after 24 hours.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    key_hash BINARY(32) NOT NULL PRIMARY KEY COMMENT 'SHA-256 of the caller''s API key name and its Idempotency-Key',
    body_hash BINARY(32) NOT NULL COMMENT 'SHA-256 of the body as a JSON value',
    http_status SMALLINT UNSIGNED NULL COMMENT 'NULL: the first request is still being answered',
    answer MEDIUMTEXT NULL,
    created_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    KEY created (created_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- The operator's lever: a paused provider's jobs wait, on every worker and over restarts.
CREATE TABLE IF NOT EXISTS provider_switches (
    provider ENUM('fcm', 'expo') NOT NULL PRIMARY KEY,
    paused BOOLEAN NOT NULL DEFAULT FALSE,
    changed_by VARCHAR(64) NULL,
    changed_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;
