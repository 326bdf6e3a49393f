-- Every notification that was accepted, and what became of it. No foreign key to customers: see README.md.
CREATE TABLE IF NOT EXISTS notification_history (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    notification_id BINARY(16) NOT NULL COMMENT 'UUID version 7',
    customer_id BIGINT NOT NULL,
    notification_type VARCHAR(50) NOT NULL,
    title VARCHAR(200) NOT NULL,
    body TEXT NOT NULL,
    data JSON NULL,
    image_url VARCHAR(2000) CHARACTER SET ascii COLLATE ascii_bin NULL,
    priority ENUM('high', 'normal') NOT NULL DEFAULT 'high',
    collapse_key VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    status ENUM('sent', 'failed', 'pending', 'suppressed') NOT NULL DEFAULT 'pending',
    fcm_result ENUM('queued', 'success', 'failed', 'not_sent') NOT NULL DEFAULT 'queued',
    expo_result ENUM('queued', 'success', 'failed', 'not_sent') NOT NULL DEFAULT 'queued',
    reason VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'why it failed or was suppressed',
    attempts INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'most tries spent on any device',
    round INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'the last round recorded; guards against copies of a job',
    created_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    expires_at TIMESTAMP(3) NULL DEFAULT NULL,
    sent_at TIMESTAMP(3) NULL DEFAULT NULL COMMENT 'when it became sent',
    completed_at TIMESTAMP(3) NULL DEFAULT NULL COMMENT 'when it was no longer pending',
    opened_at TIMESTAMP(3) NULL DEFAULT NULL,
    due_at TIMESTAMP(3) NULL DEFAULT NULL COMMENT 'if still pending then, no queue knows it any more: publish again',
    unpublished BOOLEAN NOT NULL DEFAULT FALSE COMMENT 'the broker surely did not take the job that comes next',
    next_at TIMESTAMP(3) NULL DEFAULT NULL COMMENT 'next_job is not to be tried before',
    next_job MEDIUMTEXT NULL COMMENT 'JSON of the job that follows the last round; NULL before the first and at the end',
    timeline MEDIUMTEXT NULL COMMENT 'decisions in plain words, a JSON object a line',
    UNIQUE KEY notification (notification_id),
    KEY customer_newest (customer_id, id),
    KEY status_due (status, unpublished, due_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- The last word on each device at each provider. Found by its key only: an Expo receipt's job names notification and
-- device, so provider_id needs no index.
CREATE TABLE IF NOT EXISTS notification_deliveries (
    notification_id BINARY(16) NOT NULL,
    registration_id BIGINT UNSIGNED NOT NULL COMMENT 'customer_push_tokens.id',
    provider ENUM('fcm', 'expo') NOT NULL,
    customer_id BIGINT NOT NULL,
    platform ENUM('android', 'ios', 'web') NULL,
    token_hash BINARY(32) NULL,
    token_masked VARCHAR(64) NULL,
    outcome ENUM('accepted', 'token_dead', 'retry', 'operator_must_act', 'refused', 'dead_lettered') NOT NULL,
    provider_id VARCHAR(255) NULL COMMENT 'the provider''s id of the accepted message',
    attempts INT UNSIGNED NOT NULL DEFAULT 0,
    maybe_delivered BOOLEAN NOT NULL DEFAULT FALSE COMMENT 'some try ended without a clear answer',
    error_code VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    error_text VARCHAR(255) NULL,
    receipt VARCHAR(255) NULL COMMENT 'what Expo''s receipt said',
    at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    PRIMARY KEY (notification_id, registration_id, provider)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;
