-- Notifications that wait in the database for a time that was chosen, and not in the broker.
--
-- ALTER TABLE has no IF NOT EXISTS that both databases know, so it is only run where its column is missing.
SET @change = IF((SELECT COUNT(*) FROM information_schema.columns
        WHERE table_schema = DATABASE() AND table_name = 'notification_history' AND column_name = 'send_at') > 0, 'DO 0',
    'ALTER TABLE notification_history
        ADD COLUMN send_at TIMESTAMP(3) NULL DEFAULT NULL COMMENT ''not to be sent before; NULL: at once'',
        MODIFY COLUMN unpublished TINYINT(1) NOT NULL DEFAULT 0
            COMMENT ''1: the broker surely did not take the job that comes next; 2: that waits here until due_at, on purpose''');
PREPARE change_table FROM @change;
EXECUTE change_table;
DEALLOCATE PREPARE change_table;
