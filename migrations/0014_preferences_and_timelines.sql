-- Which notifications wait for the end of their customer's quiet hours: so that a change of the preferences finds them. A
-- row goes when its notification is published again, or a day after it would have been.
CREATE TABLE IF NOT EXISTS quiet_hours_waits (
    notification_id BINARY(16) NOT NULL PRIMARY KEY,
    customer_id BIGINT NOT NULL,
    ends_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) COMMENT 'notification_history.next_at, for as long as it waits',
    KEY customer (customer_id, ends_at),
    KEY ends (ends_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- Why a token is off, for whoever asks why a device got nothing. NULL: it is not, or a program switched it off that did
-- not say.
SET @change = IF((SELECT COUNT(*) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'customer_push_tokens' AND column_name = 'fcm_off_because') > 0, 'DO 0',
    'ALTER TABLE customer_push_tokens
        ADD COLUMN fcm_off_because ENUM(''unregistered'', ''reported_dead'', ''moved'') NULL,
        ADD COLUMN expo_off_because ENUM(''unregistered'', ''reported_dead'', ''moved'') NULL');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;
