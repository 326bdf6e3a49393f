-- Erasing customers, and emptying what is old.
--
-- When a customer was erased last. What was accepted before that is not sent any more, wherever it waits: its
-- notification_history.erasure_mark is smaller than this one's `mark`. Marks are the database's time in milliseconds,
-- and no two of a customer are equal; what is accepted takes over the mark that it sees, so no clock but that is asked,
-- and what is accepted at the same moment is on one of the two sides. A row goes when nothing that is older than it can
-- be in a queue any more.
CREATE TABLE IF NOT EXISTS customer_erasures (
    customer_id BIGINT NOT NULL PRIMARY KEY,
    mark BIGINT UNSIGNED NOT NULL,
    erased_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
    look_again_at TIMESTAMP(3) NULL DEFAULT NULL COMMENT 'then look for what was being accepted at that moment, and committed later',
    KEY look_again (look_again_at),
    KEY erased (erased_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- How far what is old was emptied.
CREATE TABLE IF NOT EXISTS retention_places (
    name VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY COMMENT 'the table',
    last_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) COMMENT 'created_at of the last row that was looked at',
    last_id BIGINT UNSIGNED NOT NULL COMMENT 'its id'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- Notifications that were still pending when their turn came: looked at again until they have ended.
CREATE TABLE IF NOT EXISTS retention_leftovers (
    notification_id BINARY(16) NOT NULL PRIMARY KEY
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci;

-- ALTER TABLE has no IF NOT EXISTS that both databases know, so each is only run where its first column or key is missing.
-- The columns are added at once, without a copy of the table.
SET @change = IF((SELECT COUNT(*) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'notification_history' AND column_name = 'erasure_mark') > 0, 'DO 0',
    'ALTER TABLE notification_history
        ADD COLUMN erasure_mark BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT ''customer_erasures.mark when it was accepted'',
        ADD COLUMN emptied TINYINT UNSIGNED NOT NULL DEFAULT 0 COMMENT ''its content is gone; 1: for its age, 2: its customer was erased''');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;

SET @change = IF((SELECT COUNT(*) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'dead_letters' AND column_name = 'emptied') > 0, 'DO 0',
    'ALTER TABLE dead_letters
        ADD COLUMN emptied TINYINT UNSIGNED NOT NULL DEFAULT 0 COMMENT ''its content is gone; 1: for its age, 2: its customer was erased''');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;

SET @change = IF((SELECT COUNT(*) FROM information_schema.statistics
        WHERE table_schema = DATABASE() AND table_name = 'booking_status' AND index_name = 'customer') > 0, 'DO 0',
    'ALTER TABLE booking_status ADD KEY customer (customer_id), ADD KEY updated (updated_at)');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;
