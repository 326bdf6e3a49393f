-- What is kept sealed, if ENCRYPTION_KEYS is set: content in a column of its own, tokens and jobs in theirs.

SET @change = IF((SELECT COUNT(*) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'notification_history' AND column_name = 'sealed') > 0, 'DO 0',
    'ALTER TABLE notification_history
        ADD COLUMN sealed MEDIUMTEXT CHARACTER SET ascii COLLATE ascii_bin NULL
            COMMENT ''title, body, data and image_url as sealed JSON; then those columns are empty''');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;

SET @change = IF((SELECT character_maximum_length FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'customer_push_tokens' AND column_name = 'fcm_token') >= 1000, 'DO 0',
    'ALTER TABLE customer_push_tokens
        MODIFY COLUMN fcm_token VARCHAR(1000) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT ''may be sealed'',
        MODIFY COLUMN expo_push_token VARCHAR(1000) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT ''may be sealed''');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;

CREATE TABLE IF NOT EXISTS encryption_keys (
    key_id VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY COMMENT 'the name of a key under which values may be; empty: clear ones',
    proof VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'a value that it sealed: who opens it has the same key',
    used_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) COMMENT 'when a program said last that it writes under it'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

INSERT IGNORE INTO encryption_keys (key_id) VALUES ('');

CREATE TABLE IF NOT EXISTS encryption_passes (
    place VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY COMMENT 'the table',
    key_id VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'under which its values are brought; empty: clear',
    last_id BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'done up to this row',
    started_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    ended_at TIMESTAMP(3) NULL DEFAULT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;
