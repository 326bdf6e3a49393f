-- Dead letters as a product: listed by any filter, replayed and discarded one by one or many at a time.
--
-- ALTER TABLE has no IF NOT EXISTS that both databases know, so each is only run where its first column is missing.

-- Letters that a running operation comes back to: another replay of the same notification was still under way.
CREATE TABLE IF NOT EXISTS operation_letters (
    operation_id BINARY(16) NOT NULL,
    dead_letter_id BIGINT UNSIGNED NOT NULL,
    PRIMARY KEY (operation_id, dead_letter_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- An operation's place, its pace, and what could not be done.
SET @change = IF((SELECT COUNT(*) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'operations' AND column_name = 'version') > 0, 'DO 0',
    'ALTER TABLE operations
        ADD COLUMN version INT UNSIGNED NOT NULL DEFAULT 0 COMMENT ''steps taken: a step counts only after the one it has seen'',
        ADD COLUMN last_at TIMESTAMP(3) NULL DEFAULT NULL COMMENT ''created_at of the dead letter last_id'',
        ADD COLUMN next_at TIMESTAMP(3) NULL DEFAULT NULL COMMENT ''no step before'',
        ADD COLUMN failures MEDIUMTEXT NULL COMMENT ''JSON: why how many of failed''');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;

-- Each filter of the list, and each combination of the three that have few values, is a range of one index, newest last.
SET @change = IF((SELECT COUNT(*) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'dead_letters' AND column_name = 'state') > 0, 'DO 0',
    'ALTER TABLE dead_letters
        ADD COLUMN state ENUM(''open'', ''replayed'', ''discarded'') AS (CASE WHEN replayed_at IS NOT NULL THEN ''replayed''
            WHEN discarded_at IS NOT NULL THEN ''discarded'' ELSE ''open'' END) STORED,
        ADD COLUMN bytes_due_at TIMESTAMP(3) NULL DEFAULT NULL COMMENT ''replayed: its raw bytes are to be published'',
        ADD KEY bytes_due (bytes_due_at),
        ADD KEY by_state (state, created_at),
        ADD KEY by_reason (reason, created_at),
        ADD KEY by_provider (provider, created_at),
        ADD KEY by_state_reason (state, reason, created_at),
        ADD KEY by_state_provider (state, provider, created_at),
        ADD KEY by_reason_provider (reason, provider, created_at),
        ADD KEY by_state_reason_provider (state, reason, provider, created_at),
        ADD KEY by_customer (customer_id, created_at),
        DROP KEY customer_newest,
        DROP KEY reason_newest');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;
